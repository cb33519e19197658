"""Side-by-side work without oversubscription: processes or threads over seeds, one BLAS thread in each."""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache, partial
from multiprocessing.connection import Connection, Pipe, wait
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

from cloudpickle import dumps
from joblib import cpu_count
from threadpoolctl import ThreadpoolController

from ...base import ProbeError
from ..data.shared_memory import handle_of

_ALIGNED = 64
"""Bytes: where an array begins in shared memory, as numpy's own do."""


class Workers:
    """Runs on `n_jobs` processes, which share the memory of the features; or on as many threads.

    One BLAS thread each whatever `n_jobs` is: the products of a probe are too skinny to gain from more, and the order
    of a threaded sum would make results depend on the number of workers.
    """

    def __init__(self, n_jobs: int = -1) -> None:
        if n_jobs < -1 or n_jobs == 0:
            raise ProbeError(f"{n_jobs} jobs: give a number of processes, or -1 for one on every core.")
        self.n_jobs = cpu_count() if n_jobs == -1 else n_jobs

    def map(
        self, function: Callable[..., Any], shared: Any, items: Sequence[Any], *, threads: bool = False
    ) -> Iterator[Any]:
        """`function(shared, item)` for each item, in the order of the items.

        Args:
            function: a module's function, which a process can be sent.
            shared: a task, or the state of an engine for all items; its arrays are in memory once for all processes.
            items: one per call.
            threads: threads instead of processes, for short work of numpy, which releases the interpreter's lock.

        Raises:
            ProbeError: a process was killed, or cannot be started.
        """
        if self.n_jobs == 1 or len(items) == 1:
            for item in items:
                yield _single_threaded(function, shared, item)
        elif threads:
            # The limit holds for the process, so it is set once around all threads and not in each.
            with one_blas_thread(), _turns_taken_often(), ThreadPoolExecutor(self.n_jobs) as pool:
                yield from pool.map(partial(function, shared), items)
        else:
            yield from _in_processes(min(self.n_jobs, len(items)), (function, shared), items)


def _in_processes(count: int, work: Any, items: Sequence[Any]) -> Iterator[Any]:
    """As `Workers.map`; of more items than there are processes, each gets the next when it is done with one."""
    processes: list[_Process] = []
    try:
        with _in_shared_memory(work) as (handles, layout):
            for _ in range(count):
                processes.append(_idle_process() or _Process())
                processes[-1].begin(handles, layout)
        free, left, done = list(processes), deque(enumerate(items)), {}
        at_work: dict[Any, tuple[_Process, int]] = {}
        for place in range(len(items)):
            while place not in done:
                while free and left:
                    process, (number, item) = free.pop(), left.popleft()
                    process.send(item)
                    at_work[process.connection] = process, number
                for connection in wait(list(at_work)):
                    process, number = at_work.pop(connection)
                    done[number] = process.result()
                    free.append(process)
            yield done.pop(place)
        for process in processes:
            process.send(None)
        _IDLE.extend(processes)
        processes = []
    finally:
        for process in processes:
            process.end()


class _Process:
    """A process of this package that waits for work. It is not a fork: OpenMP does not survive one.

    Its pipe is all that connects it, so that it ends with this process, and nothing has to be removed then.
    """

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        # -c: the user's script is not run again. What it imports is found where it was found here.
        program = _PROGRAM.format(parent=os.getpid(), path=sys.path, module=__name__, handle=theirs.fileno())
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        with theirs, self._faults(), _without_interrupts():
            self._popen = subprocess.Popen(
                [sys.executable, "-c", program],
                env={**os.environ, **threads},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a library prints is no output of the command
            )

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, ConnectionError) as error:
            raise ProbeError(
                "a worker process was killed, most likely because memory ran out; run again with fewer --jobs."
            ) from error
        except OSError as error:
            raise ProbeError(
                f"worker processes cannot be started ({error.strerror}); run again with fewer --jobs."
            ) from error

    @property
    def is_alive(self) -> bool:
        """Whether it can be given work."""
        return self._popen.poll() is None

    def begin(self, handles: Sequence[int], layout: _Layout) -> None:
        """Lets it take up work that lies in shared memory."""
        self.send(layout)
        with self._faults():
            for handle in handles:
                send_handle(self.connection, handle, self._popen.pid)

    def send(self, item: Any) -> None:
        """Gives it an item of its work, or None, after which there are no more."""
        with self._faults():
            self.connection.send(item)

    def result(self) -> Any:
        """What it has computed; raises what was raised there."""
        with self._faults():
            result, error = self.connection.recv()
        if error is not None:
            raise error
        return result

    def end(self) -> None:
        """Ends it, whatever it is doing."""
        self.connection.close()
        self._popen.kill()
        self._popen.wait()


_PROGRAM = """
import os, sys, threading, time
def end_with_parent():
    while os.getppid() == {parent}:
        time.sleep(1)
    os._exit(0)
threading.Thread(target=end_with_parent, daemon=True).start()
sys.path[:] = {path!r}
from {module} import serve
serve({handle})
"""
"""A process ends with the one that started it, also while it imports and in the middle of a fit."""


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ctrl-C does not reach the processes that are started meanwhile, from their first moment: it is handled here."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_IDLE: list[_Process] = []
"""Those that have started and have nothing to do."""
os.register_at_fork(after_in_child=_IDLE.clear)


def _idle_process() -> _Process | None:
    while _IDLE:
        if (process := _IDLE.pop()).is_alive:
            return process
        process.end()
    return None


_Layout = list[tuple[int, int]]
"""Of a pickle and of each of its arrays, which memory it is in, by position, and its bytes."""


@contextmanager
def _in_shared_memory(work: Any) -> Iterator[tuple[list[int], _Layout]]:
    """`work` pickled into memory without a name: descriptors of that memory, and of that of arrays that are shared."""
    arrays: list[pickle.PickleBuffer] = []
    # cloudpickle also sends what a notebook or a script has defined.
    parts = [memoryview(dumps(work, protocol=5, buffer_callback=arrays.append)), *(a.raw() for a in arrays)]
    with open(os.memfd_create("medprobe"), "wb") as file:  # noqa: PTH123
        handles, layout = [file.fileno()], []
        for part in parts:
            own = handle_of(part)
            layout.append((0 if own is None else len(handles), part.nbytes))
            if own is not None:
                handles.append(own)
                continue
            file.seek(-file.tell() % _ALIGNED, os.SEEK_CUR)
            file.write(part)
        file.truncate(max(1, file.tell()))
        file.flush()
        yield handles, layout


def _from_shared_memory(handles: Sequence[int], layout: _Layout) -> Any:
    # A copy of each page that is written to, and of no other.
    memories = [memoryview(mmap.mmap(handle, 0, access=mmap.ACCESS_COPY)) for handle in handles]
    parts, start = [], 0
    for which, size in layout:
        if which:
            parts.append(memories[which])
            continue
        start += -start % _ALIGNED
        parts.append(memories[0][start : start + size])
        start += size
    return pickle.loads(parts[0], buffers=parts[1:])  # noqa: S301  written by the process that started this one


def serve(handle: int) -> None:
    """What a process does, until its pipe is closed: calls a function for each item that it is sent."""
    with suppress(EOFError, ConnectionError):
        connection = Connection(handle)
        while True:
            layout = connection.recv()
            handles = [recv_handle(connection) for _ in range(1 + max(which for which, _ in layout))]
            function, shared = _from_shared_memory(handles, layout)
            for handle in handles:
                os.close(handle)
            while (item := connection.recv()) is not None:
                connection.send(_outcome(function, shared, item))
            del function, shared


def _outcome(function: Callable[..., Any], shared: Any, item: Any) -> tuple[Any, Exception | None]:
    try:
        return _single_threaded(function, shared, item), None
    except Exception as error:  # noqa: BLE001  raised again by the process that started this one
        try:
            return None, pickle.loads(pickle.dumps(error))  # noqa: S301
        except Exception:  # noqa: BLE001
            return None, RuntimeError(repr(error))


@contextmanager
def _turns_taken_often() -> Iterator[None]:
    """Lets threads ask for the interpreter's lock every 0.2 ms instead of 5, which is as long as a product takes."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, 2e-4))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def one_blas_thread() -> AbstractContextManager[Any]:
    """Products in the block have the same bits on any number of cores: BLAS with several threads divides them."""
    return _blas().limit(limits=1)


def _single_threaded(function: Callable[..., Any], shared: Any, item: Any) -> Any:
    with one_blas_thread():
        return function(shared, item)


@cache
def _blas() -> ThreadpoolController:
    """The libraries of this process, looked for once: each look reads the process's memory map, for milliseconds."""
    return ThreadpoolController()
