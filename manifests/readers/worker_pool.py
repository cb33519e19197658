"""Looks at images in worker processes: a decoder that crashes, hangs or takes all memory costs one image.

Workers are forked and talk through pipes, and what is large travels in memory without a name, so neither semaphores
nor /dev/shm are needed and nothing is left behind. A worker reports each image when it is done. When it dies, another
one takes over with the image that was being decoded; if that one dies as well, the image is at fault and is skipped.
The system's own limits apply to a worker: processor time for each image, and memory. It ends with its parent.
"""

from __future__ import annotations

import faulthandler
import math
import mmap
import os
import pickle
import resource
import signal
import time
import traceback
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from ...base import ImageError, WorkerError
from .read_errors import reason_of
from .source import Source

_SECONDS, _SECONDS_PER_MB, _MOST_SECONDS = 30.0, 1.0, 600.0
"""Processor time that an image may take, by the size of its file."""
_MOST_BYTES = 8 * 2**30
"""Of address space, beyond what a worker has when it starts."""
_BLOCKED_S, _DISK_S, _GLANCE_S = 60.0, 900.0, 5.0
"""After which a worker is ended that uses no processor time: in general, and while the system reads for it; and how
often that is looked at."""
_START_S = 60.0
_KEPT_BLOCKS = 4
"""Blocks of 16 MiB that Pillow keeps for the next image: fresh pages from the system are cleared one by one."""
_AHEAD = 2
"""Chunks that each worker keeps ready."""
_READY = "ready"

Result = TypeVar("Result")
Shape = tuple[int, ...]


class Chunk(Generic[Result]):
    """Some images that one worker looks at, B of them."""

    def __init__(self, rows: Sequence[int], shapes: Sequence[Shape], memory: mmap.mmap | bytearray) -> None:
        self.rows = rows
        self.results: list[Result | ImageError] = []
        """In the order of rows; why an image could not be looked at, where it could not."""
        self.arrays: list[np.ndarray] = []
        """uint8 (B, *shape) for each shape, in memory that is shared with the worker."""
        self.fell_at = -1
        """The place in the chunk at which a worker died."""
        self.memory = np.frombuffer(memory, np.uint8) if shapes else np.empty(0, np.uint8)
        """What the arrays are parts of: it is alive while any of them is."""
        start = 0
        for shape in shapes:
            end = start + len(rows) * math.prod(shape)
            self.arrays.append(self.memory[start:end].reshape(len(rows), *shape))
            start = end

    @property
    def is_done(self) -> bool:
        """Whether there is a result for each row."""
        return len(self.results) == len(self.rows)


def look_at(
    look: Callable[..., Result],
    sources: Sequence[Source],
    chunks: Iterable[Sequence[int]],
    *,
    workers: int,
    shapes: Sequence[Shape] = (),
) -> Iterator[Chunk[Result]]:
    """Calls `look(source, *places)` for each row of each chunk, and yields the chunks in order.

    A worker begins a chunk only when one of its two has been taken, so at most `2 * workers + 1` chunks exist besides
    those that the caller keeps. Workers are started as there is work for them. With 0 workers this process looks
    itself, without any limit. What `look` raises besides ImageError, MemoryError and OSError is a fault of the program.

    Args:
        look: gets a source, and a uint8 array of each shape, of any content, which it may fill. What it returns is
            pickled.
        sources: of all rows.
        chunks: rows, at least one; a chunk is looked at by one worker.
        workers: processes.
        shapes: of the arrays of each image, without the first axis of `Chunk.arrays`.

    Raises:
        WorkerError: a worker could not be started.
    """
    if not workers:
        for rows in chunks:
            chunk = Chunk[Result](rows, shapes, bytearray(_bytes(rows, shapes)))
            for row in rows:
                chunk.results.append(_result(look, sources[row], chunk))
            yield chunk
        return
    pool = _Pool(_Task(look, sources, shapes), workers)
    ahead: deque[Chunk[Result]] = deque()
    try:
        for rows in chunks:
            ahead.append(pool.hand_out(rows))
            if len(ahead) > _AHEAD * workers:
                yield pool.finished(ahead.popleft())
        while ahead:
            yield pool.finished(ahead.popleft())
    finally:
        pool.end()


class _Task(NamedTuple):
    """As `look_at` has them."""

    look: Callable
    sources: Sequence[Source]
    shapes: Sequence[Shape]


class _Pool:
    """The workers of one call, and what each of them has to do."""

    def __init__(self, task: _Task, most: int) -> None:
        self._task, self._most = task, most
        self._workers: list[_Worker] = []

    def hand_out(self, rows: Sequence[int]) -> Chunk:
        """Gives a chunk to the worker that has least to do, or to a new one."""
        worker = min(self._workers, key=lambda one: len(one.chunks), default=None)
        if worker is None or (worker.chunks and len(self._workers) < self._most):
            worker = self._start(deque(), _Memories())
        return worker.take(rows, self._task.shapes)

    def finished(self, chunk: Chunk) -> Chunk:
        """Waits until all images of `chunk` have been looked at."""
        while not chunk.is_done:
            busy = [worker for worker in self._workers if worker.chunks]
            ready = wait([worker.results for worker in busy], _GLANCE_S)
            for worker in busy:
                if worker.results in ready:
                    self._hear(worker)
                elif reason := worker.stalled():
                    self._replace(worker, reason)
        return chunk

    def end(self) -> None:
        """Ends all workers."""
        for worker in self._workers:
            worker.end()

    def _start(self, chunks: deque[Chunk], memories: _Memories) -> _Worker:
        try:
            self._workers.append(_Worker(self._task, chunks, memories))
            return self._workers[-1]
        except (OSError, EOFError) as error:
            raise WorkerError(
                f"a process that decodes images could not be started ({getattr(error, 'strerror', 0) or 'it ended'}), "
                "most likely because memory ran out or this system allows no further process. What is finished is "
                "kept; run the same command again."
            ) from error

    def _hear(self, worker: _Worker) -> None:
        worker.seen = time.monotonic()
        try:
            result = worker.results.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            self._replace(worker)
            return
        if isinstance(result, _Fault):
            raise RuntimeError(f"while an image was looked at:\n{result}")  # noqa: TRY004
        worker.add(result)

    def _replace(self, worker: _Worker, reason: str = "") -> None:
        """Lets another worker go on with the image at which this one died, or with the next."""
        self._workers.remove(worker)
        status, chunk = worker.end(), worker.chunks[0]
        place = len(chunk.results)
        # An image before it may have damaged the worker's memory, and the system kills whom it likes: tried once more.
        if chunk.fell_at == place or status == -signal.SIGPROF:
            worker.add(ImageError(reason or _REASONS.get(-status, "the file is damaged: its decoder crashed")))
        chunk.fell_at = place
        if worker.chunks:
            self._start(worker.chunks, worker.memories)


_ENDLESS = "the file is damaged: its decoder does not end"
_REASONS: dict[int, str] = {
    signal.SIGPROF: _ENDLESS,
    signal.SIGKILL: "its decoder was killed, most likely because memory ran out",
}
"""Why an image is at fault, by the signal that ended its worker."""

_OURS: weakref.WeakSet[Connection] = weakref.WeakSet()
"""This process's ends of all pipes. A fork closes them, so that a worker sees its parent end however it ends."""


def _forget() -> None:
    for connection in list(_OURS):
        connection.close()


os.register_at_fork(after_in_child=_forget)


class _Memories:
    """The memory of a worker's chunks, used again once nobody has arrays of it: new pages cost as much as a decode."""

    def __init__(self) -> None:
        self.mapped: list[mmap.mmap] = []
        self._free: list[int] = []

    def chunk(self, rows: Sequence[int], shapes: Sequence[Shape]) -> tuple[Chunk, int, int]:
        """A chunk, the place in `mapped` of its memory, and a handle of that to be closed, -1 where it is not new."""
        if not shapes:
            return Chunk(rows, (), bytearray()), -1, -1
        size, handle = _bytes(rows, shapes), -1
        place = next((place for place in self._free if len(self.mapped[place]) >= size), len(self.mapped))
        if place < len(self.mapped):
            self._free.remove(place)
        else:
            handle = os.memfd_create("medprobe")
            os.truncate(handle, size)
            self.mapped.append(mmap.mmap(handle, size))
        chunk = Chunk(rows, shapes, self.mapped[place])
        weakref.finalize(chunk.memory, self._free.append, place).atexit = False
        return chunk, place, handle


class _Worker:
    """A forked process that looks at images; as its parent sees it."""

    def __init__(self, task: _Task, chunks: deque[Chunk], memories: _Memories) -> None:
        self.chunks = chunks
        """Not done yet; those that are there when it starts it need not be sent."""
        self.memories = memories
        (self.results, theirs), (requests, self._requests) = Pipe(duplex=False), Pipe()
        _OURS.update((self.results, self._requests))
        self._pid = os.fork()
        if not self._pid:
            with suppress(BaseException):
                _work(task, chunks, memories.mapped, requests, theirs)
            os._exit(0)  # runs nothing that the parent has yet to run
        theirs.close()
        requests.close()
        self.seen, self._used = time.monotonic(), 0
        """When it was last known to do something, and how many ticks of the clock it had used by then."""
        try:
            is_ready = self.results.poll(_START_S) and self.results.recv() == _READY
        except BaseException:
            self.end()
            raise
        if not is_ready:
            self.end()
            raise EOFError

    def take(self, rows: Sequence[int], shapes: Sequence[Shape]) -> Chunk:
        """Sends it a further chunk, and the memory for its arrays."""
        if not self.chunks:
            self.seen = time.monotonic()
        chunk, place, handle = self.memories.chunk(rows, shapes)
        self.chunks.append(chunk)
        with suppress(OSError):  # it has just died, which is noticed in a moment
            self._requests.send((rows, place))
            if handle >= 0:
                send_handle(self._requests, handle, self._pid)
        if handle >= 0:
            os.close(handle)
        return chunk

    def add(self, result: Any) -> None:
        """Keeps the result of the image that it was to look at next."""
        self.chunks[0].results.append(result)
        if self.chunks[0].is_done:
            self.chunks.popleft()

    def stalled(self) -> str:
        """Why it has to be ended, where it has used no processor time for too long."""
        silent_s = time.monotonic() - self.seen
        if silent_s < _GLANCE_S:
            return ""
        state, *fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(") ")[2].split()
        used = int(fields[10]) + int(fields[11])
        if used != self._used or state == "R":  # it waits for a core
            self.seen, self._used = time.monotonic(), used
        elif silent_s > (_DISK_S if state == "D" else _BLOCKED_S):
            return "the file cannot be read: its file system does not respond" if state == "D" else _ENDLESS
        return ""

    def end(self) -> int:
        """Ends the process and waits for it; the status it ended with, the negative signal where it was killed."""
        if self.results.closed:  # this is a fork, whose process it never was
            return 0
        self.results.close()
        self._requests.close()
        with suppress(ProcessLookupError, ChildProcessError):  # where the program ignores SIGCHLD
            os.kill(self._pid, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return 0


class _Fault(str):
    """The traceback of an exception that is no image's fault."""

    __slots__ = ()


def _work(
    task: _Task, chunks: Iterable[Chunk], memories: list[mmap.mmap], requests: Connection, results: Connection
) -> None:
    """What a worker does, until the pipe is closed."""
    # The terminal's interrupt is handled by the parent, which then ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    faulthandler.disable()
    warnings.simplefilter("ignore")
    Image.core.set_blocks_max(_KEPT_BLOCKS)
    os.dup2(2, 1)  # what a library prints is no output of the command
    with suppress(OSError):
        # Where memory runs out, the system kills a worker rather than its parent.
        Path("/proc/self/oom_score_adj").write_text("1000")
    _limit(resource.RLIMIT_CORE, 0)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + _MOST_BYTES)
    results.send(_READY)
    for chunk in chunks:
        _look_through(task, chunk, results)
    while True:
        rows, place = requests.recv()
        if place == len(memories):
            handle = recv_handle(requests)
            memories.append(mmap.mmap(handle, 0))
            os.close(handle)
        chunk = Chunk(rows, task.shapes, memories[place] if task.shapes else bytearray())
        _look_through(task, chunk, results)


def _look_through(task: _Task, chunk: Chunk, results: Connection) -> None:
    while not chunk.is_done:
        source = task.sources[chunk.rows[len(chunk.results)]]
        # The default action of its signal ends the process, whatever the decoder does.
        signal.setitimer(signal.ITIMER_PROF, min(_SECONDS + _SECONDS_PER_MB * _megabytes(source.path), _MOST_SECONDS))
        try:
            result = _result(task.look, source, chunk)
        except Exception:  # noqa: BLE001  raised again by the parent
            result = _Fault(traceback.format_exc())
        signal.setitimer(signal.ITIMER_PROF, 0)
        results.send(result)
        chunk.results.append(result)


def _result(look: Callable[..., Result], source: Source, chunk: Chunk[Result]) -> Result | ImageError:
    place = len(chunk.results)
    try:
        return look(source, *(array[place] for array in chunk.arrays))
    except (ImageError, MemoryError, OSError) as error:
        return ImageError(reason_of(error))


def _bytes(rows: Sequence[int], shapes: Sequence[Shape]) -> int:
    return len(rows) * sum(map(math.prod, shapes))


def _limit(what: int, value: int) -> None:
    """Sets a limit, within the one that was set for this process."""
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


@lru_cache(maxsize=16)
def _megabytes(path: Path) -> float:
    """Of a file, or of all files of a folder; computed once, since a folder may hold a million chunks."""
    with suppress(OSError, ValueError):  # ValueError: a NUL in the name
        if path.is_dir():
            return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6
        return path.stat().st_size / 1e6
    return 0.0
