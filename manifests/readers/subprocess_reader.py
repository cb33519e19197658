"""Reads in a process of its own, for formats whose native decoders crash or do not end on damaged files.

A process that reads has one such guard, started when it is first needed and never forked. It is asked through its
standard input and answers through its output: a line of JSON, then the pixels. When it dies, the file is to blame and
the next read starts another. What it may take is set by the system's own limits: of processor time 4 s and 1 s per MB
of the file, of memory 4 GiB. It ends when its input is closed, so it cannot outlive the process that it reads for.
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
"""Seconds after which a guard that uses no processor time is given up: its file system does not answer."""
_CRASHED = "the file is damaged: its decoder crashed"
_ENDLESS = "the file is damaged: its decoder does not come to an end"


class SubprocessReader:
    """The process that reads for this one. Threads wait for each other; a forked process has a guard of its own."""

    def __init__(self, program: str | None = None) -> None:
        package = __name__.rpartition(".")[0]
        self._program = program or f"from {package} import read_here, subprocess_reader as r; r.serve(read_here)"
        self._process: subprocess.Popen[bytes] | None = None
        self._forget()
        os.register_at_fork(after_in_child=self._forget)
        atexit.register(self.close)

    def _forget(self) -> None:
        if self._process is not None:
            _let_go(self._process)
        self._lock = threading.Lock()
        self._process = None
        self._answered = 0

    def read(self, source: Source) -> np.ndarray:
        """What the reader of `source` gives.

        Raises:
            ImageError: the reader refused, or the decoder crashed or took more than it may.
        """
        with self._lock:
            while True:
                process = self._process or self._start()
                answer = _asked(process, source)
                if answer is not None:
                    self._answered += 1
                    return _pixels(answer)
                had_answered, status = self._answered, self._end()
                if status == -signal.SIGXCPU:
                    raise ImageError(_ENDLESS)
                # Memory that an earlier file spoilt may be to blame: only a new process tells.
                if not had_answered:
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
        self._answered = 0
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


GUARD = SubprocessReader()
"""Of this process."""


def _let_go(inherited: subprocess.Popen[bytes]) -> None:
    """In a fork: its copies of the pipes become nothing, or the guard would not see its own process end."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for pipe in (inherited.stdin, inherited.stdout):
        if pipe is not None and not pipe.closed:
            os.dup2(nothing, pipe.fileno(), inheritable=False)
    os.close(nothing)
    inherited.returncode = 0  # no child of this process: there is nothing to wait for


def _asked(process: subprocess.Popen[bytes], source: Source) -> tuple[dict[str, Any], bytearray] | None:
    """The answer's line and pixels; None where the process ended instead."""
    assert process.stdin is not None
    assert process.stdout is not None
    reading = source.reading.model_dump(mode="json", exclude_defaults=True)
    question = json.dumps([os.fspath(source.path.absolute()), source.frame, source.member, reading])
    try:
        process.stdin.write(question.encode("utf-8", "surrogatepass") + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        return None
    ready, _, _ = select.select([process.stdout], [], [], _STALLED)
    line = process.stdout.readline() if ready else b""
    if not line.endswith(b"\n"):
        return None
    told = json.loads(line)
    pixels = bytearray(math.prod(told.get("shape", [0])))
    # Read into place: a large picture is not copied again.
    return (told, pixels) if _filled(process.stdout, pixels) else None


def _filled(stream: IO[bytes], room: bytearray) -> bool:
    view, done = memoryview(room), 0
    while done < len(room):
        count = stream.readinto(view[done:])  # pyright: ignore[reportAttributeAccessIssue]
        if not count:
            return False
        done += count
    return True


def _pixels(answer: tuple[dict[str, Any], bytearray]) -> np.ndarray:
    told, pixels = answer
    if "refused" in told:
        raise ImageError(told["refused"])
    return np.frombuffer(pixels, np.uint8).reshape(told["shape"])


def serve(read: Callable[[Source], np.ndarray]) -> None:
    """Answers what is asked on the standard input with `read`, until it is closed."""
    # The terminal's interrupt is for the process that is read for, which then closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    _limit(resource.RLIMIT_CORE, 0)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    answers.write(b"ready\n")
    answers.flush()
    _limit(resource.RLIMIT_AS, _address_space() + _MOST_BYTES)
    with suppress(BrokenPipeError):
        for line in sys.stdin.buffer:
            path, frame, member, reading = json.loads(line.decode("utf-8", "surrogatepass"))
            source = Source(Path(path), frame, member, IntensityPolicy.model_validate(reading))
            _allow(source.path)
            _answer(source, read, answers)
            answers.flush()


def _answer(source: Source, read: Callable[[Source], np.ndarray], answers: IO[bytes]) -> None:
    try:
        pixels = np.ascontiguousarray(read(source))
    except (ImageError, MemoryError) as error:
        refused = str(error) if isinstance(error, ImageError) else "needs more memory than there is"
        answers.write(json.dumps({"refused": refused}).encode() + b"\n")
        return
    answers.write(json.dumps({"shape": pixels.shape}).encode() + b"\n")
    answers.write(pixels.data)


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
    """Of a file, or of all files of a folder; asked once, since a folder may hold a million chunks."""
    with suppress(OSError):
        if path.is_dir():
            return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6
        return path.stat().st_size / 1e6
    return 0.0


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
