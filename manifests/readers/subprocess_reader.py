"""Reads in a subprocess, for formats whose native decoders crash or hang on damaged files.

Each process that reads has at most one such subprocess, started on first use and never forked. Requests go to its
standard input, replies come from its standard output: a line of JSON, then the pixels. When it dies, the file is
damaged and the next read starts another. The system's own limits apply to it: processor time of 4 s and 1 s per MB of
the file, memory of 4 GiB. It ends when its input is closed, so it cannot outlive the process that it reads for.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from ...base import ImageError
from ..schema.intensity_policy import IntensityPolicy
from .source import Source

_SECONDS, _SECONDS_PER_MB, _MOST_SECONDS = 4.0, 1.0, 600.0
_MOST_BYTES = 4 * 2**30
"""Of address space, beyond what the process has when it starts."""
_STALLED = 900
"""Seconds after which a subprocess that uses no processor time is ended: its file system does not respond."""
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
        if self._process is not None:
            _release_pipes(self._process)
        self._lock = threading.Lock()
        self._process = None
        self._replies = 0

    def read(self, source: Source) -> np.ndarray:
        """The pixels of `source`, uint8.

        Raises:
            ImageError: the reader raised it, or the decoder crashed or exceeded its limits.
        """
        with self._lock:
            while True:
                process = self._process or self._start()
                reply = _request(process, source)
                if reply is not None:
                    self._replies += 1
                    return _pixels(reply)
                had_replied, status = self._replies, self._end()
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

    def _start(self) -> subprocess.Popen[bytes]:
        # -P: a file in the working folder that is named like a library is not imported.
        words = [sys.executable, "-P", "-c", self._program]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._replies = 0
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            raise ImageError(f"the process that decodes it did not start (status {self._end()})")
        return self._process

    def _end(self) -> int:
        process, self._process = self._process, None
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):
            process.stdin.close()
        process.stdout.close()
        try:
            return process.wait(1)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


SUBPROCESS_READER = SubprocessReader()
"""The one of this process."""


def _release_pipes(inherited: subprocess.Popen[bytes]) -> None:
    """In a fork: replaces its copies of the pipes, or the subprocess would not notice that its parent ended."""
    devnull = os.open(os.devnull, os.O_RDWR)
    for pipe in (inherited.stdin, inherited.stdout):
        if pipe is not None and not pipe.closed:
            os.dup2(devnull, pipe.fileno(), inheritable=False)
    os.close(devnull)
    inherited.returncode = 0  # not a child of this process: there is no status to wait for


def _request(process: subprocess.Popen[bytes], source: Source) -> tuple[dict[str, Any], bytearray] | None:
    """Header and pixels of the reply; None where the process ended instead."""
    assert process.stdin is not None
    assert process.stdout is not None
    reading = source.reading.model_dump(mode="json", exclude_defaults=True)
    request = json.dumps([os.fspath(source.path.absolute()), source.frame, source.member, reading])
    try:
        process.stdin.write(request.encode("utf-8", "surrogatepass") + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        return None
    ready, _, _ = select.select([process.stdout], [], [], _STALLED)
    line = process.stdout.readline() if ready else b""
    if not line.endswith(b"\n"):
        return None
    header = json.loads(line)
    pixels = bytearray(math.prod(header.get("shape", [0])))
    # Read into place: a large picture is not copied again.
    return (header, pixels) if _read_into(process.stdout, pixels) else None


def _read_into(stream: IO[bytes], buffer: bytearray) -> bool:
    view, done = memoryview(buffer), 0
    while done < len(buffer):
        count = stream.readinto(view[done:])  # pyright: ignore[reportAttributeAccessIssue]
        if not count:
            return False
        done += count
    return True


def _pixels(reply: tuple[dict[str, Any], bytearray]) -> np.ndarray:
    header, pixels = reply
    if "refused" in header:
        raise ImageError(header["refused"])
    return np.frombuffer(pixels, np.uint8).reshape(header["shape"])


def serve(read: Callable[[Source], np.ndarray]) -> None:
    """Replies to requests on the standard input with `read`, until it is closed."""
    # The terminal's interrupt is handled by the parent process, which then closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    _limit(resource.RLIMIT_CORE, 0)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output that a library prints is not a reply
    replies.write(b"ready\n")
    replies.flush()
    _limit(resource.RLIMIT_AS, _address_space() + _MOST_BYTES)
    with suppress(BrokenPipeError):
        for line in sys.stdin.buffer:
            path, frame, member, reading = json.loads(line.decode("utf-8", "surrogatepass"))
            source = Source(Path(path), frame, member, IntensityPolicy.model_validate(reading))
            _allow(source.path)
            _reply(source, read, replies)
            replies.flush()


def _reply(source: Source, read: Callable[[Source], np.ndarray], replies: IO[bytes]) -> None:
    try:
        pixels = np.ascontiguousarray(read(source))
    except (ImageError, MemoryError) as error:
        refused = str(error) if isinstance(error, ImageError) else "needs more memory than there is"
        replies.write(json.dumps({"refused": refused}).encode() + b"\n")
        return
    replies.write(json.dumps({"shape": pixels.shape}).encode() + b"\n")
    replies.write(pixels.data)


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
