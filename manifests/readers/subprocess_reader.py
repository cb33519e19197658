"""Reads in a subprocess, for formats whose native decoders crash or hang on damaged files.

Each process that reads has at most one such subprocess, started on first use and never forked. Requests and replies go
through a pair of sockets: JSON each, and the pixels. When it dies, the file is damaged and the next read
starts another. The system's own limits apply to it: processor time of 4 s and 1 s per MB of the file, memory of 4 GiB.
It ends when its socket is closed, so it cannot outlive the process that it reads for.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...base import ImageError
from ..schema.intensity_policy import IntensityPolicy
from .read_errors import reason_of
from .source import Source

_SECONDS, _SECONDS_PER_MB, _MOST_SECONDS = 4.0, 1.0, 600.0
_MOST_BYTES = 4 * 2**30
"""Of address space, beyond what the process has when it starts."""
_STALLED = 900
"""Seconds after which a subprocess that uses no processor time is ended: its file system does not respond."""
_LENGTH = struct.Struct("<Q")
"""Comes before each message."""
_CRASHED = "the file is damaged: its decoder crashed"
_ENDLESS = "the file is damaged: its decoder does not end"


class SubprocessReader:
    """The subprocess that reads for this process. Threads take turns; a forked process starts its own."""

    def __init__(self, program: str | None = None) -> None:
        package = __name__.rpartition(".")[0]
        self._program = program or f"from {package} import read_here, subprocess_reader as r; r.serve(read_here)"
        self._process: subprocess.Popen[bytes] | None = None
        self._forget()
        os.register_at_fork(after_in_child=self._forget)
        atexit.register(self.close)

    def _forget(self) -> None:
        """In a fork: closes its copy of the socket, or the subprocess would not notice that its parent ended."""
        if self._process is not None:
            self._socket.close()
            self._process.returncode = 0  # not a child of this process: there is no status to wait for
        self._lock = threading.Lock()
        self._process = None

    def read(self, source: Source) -> np.ndarray:
        """The pixels of `source`, uint8.

        Raises:
            ImageError: the reader raised it, or the decoder crashed or exceeded its limits.
        """
        with self._lock:
            while True:
                if self._process is None:
                    self._start()
                try:
                    return self._request(source)
                except (EOFError, ConnectionError, TimeoutError):
                    had_replied, status = self._has_replied, self._end()
                except KeyboardInterrupt:
                    self._end()  # its reply would be taken for that to the next request
                    raise
                if status == -signal.SIGXCPU:
                    raise ImageError(_ENDLESS)
                # An earlier file may have corrupted the memory: retry once in a new process.
                if not had_replied:
                    raise ImageError(_CRASHED)

    def close(self) -> None:
        """Ends the process, if there is one."""
        with self._lock:
            if self._process is not None:
                self._end()

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(_STALLED)
        # -P: a file in the working folder that is named like a library is not imported. What a library prints goes to
        # the terminal's errors.
        words = [sys.executable, "-P", "-c", self._program, str(theirs.fileno())]
        self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=2, pass_fds=[theirs.fileno()])
        self._has_replied = False
        theirs.close()
        try:
            _receive(self._socket)
        except (EOFError, ConnectionError, TimeoutError):
            raise ImageError(f"the process that decodes it did not start (status {self._end()})") from None

    def _request(self, source: Source) -> np.ndarray:
        reading = source.reading.model_dump(mode="json", exclude_defaults=True)
        request = json.dumps([os.fspath(source.path.absolute()), source.frame, source.member, reading])
        _send(self._socket, request.encode("utf-8", "surrogatepass"))
        reply = json.loads(_receive(self._socket))
        self._has_replied = True
        if "refused" in reply:
            raise ImageError(reply["refused"])
        return np.frombuffer(_receive(self._socket), np.uint8).reshape(reply["shape"])

    def _end(self) -> int:
        process, self._process = self._process, None
        assert process is not None
        self._socket.close()
        try:
            return process.wait(1)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


SUBPROCESS_READER = SubprocessReader()
"""The one of this process."""


def serve(read: Callable[[Source], np.ndarray]) -> None:
    """Replies to the requests of the socket that the command line names with `read`, until it is closed."""
    # The terminal's interrupt is handled by the parent process, which then closes the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    _limit(resource.RLIMIT_CORE, 0)
    replies = socket.socket(fileno=int(sys.argv[1]))
    with suppress(EOFError, ConnectionError):
        _send(replies, b"ready")
        _limit(resource.RLIMIT_AS, _address_space() + _MOST_BYTES)
        while True:
            request = json.loads(_receive(replies).decode("utf-8", "surrogatepass"))
            _reply(request, read, replies)


def _reply(request: list, read: Callable[[Source], np.ndarray], replies: socket.socket) -> None:
    path, frame, member, reading = request
    _allow(Path(path))
    try:
        pixels = np.ascontiguousarray(read(Source(Path(path), frame, member, IntensityPolicy.model_validate(reading))))
    except (ImageError, MemoryError) as error:
        _send(replies, json.dumps({"refused": reason_of(error)}).encode())
        return
    _send(replies, json.dumps({"shape": pixels.shape}).encode())
    _send(replies, pixels.reshape(-1).data)


def _send(to: socket.socket, content: bytes | memoryview) -> None:
    to.sendall(_LENGTH.pack(len(content)))
    to.sendall(content)


def _receive(source: socket.socket) -> bytearray:
    (length,) = _LENGTH.unpack(_received(source, _LENGTH.size))
    return _received(source, length)


def _received(source: socket.socket, length: int) -> bytearray:
    content = bytearray(length)
    left = memoryview(content)
    while left:
        count = source.recv_into(left)
        if not count:
            raise EOFError
        left = left[count:]
    return content


def _allow(path: Path) -> None:
    """Sets the processor time (s) at which the system ends this process to what one more read may take."""
    seconds = min(_SECONDS + _SECONDS_PER_MB * _megabytes(path), _MOST_SECONDS)
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime + seconds))


def _limit(what: int, value: int) -> None:
    """Sets a limit that may be set again, within the one that was set for this process."""
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


@lru_cache(maxsize=16)
def _megabytes(path: Path) -> float:
    """Of a file, or of all files of a folder; computed once, since a folder may hold a million chunks."""
    with suppress(OSError):
        if path.is_dir():
            return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6
        return path.stat().st_size / 1e6
    return 0.0


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
