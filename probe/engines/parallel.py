"""Side-by-side work without oversubscription: processes or threads over seeds, one BLAS thread in each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError
from threadpoolctl import ThreadpoolController

from ...base import ProbeError


class JoblibWorkers:
    """Runs on `n_jobs` processes through joblib, to which features travel as one memory map; or on as many threads.

    One BLAS thread each whatever `n_jobs` is: the products of a probe are too skinny to gain from more, and the order
    of a threaded sum would make results depend on the number of workers.
    """

    def __init__(self, n_jobs: int = -1) -> None:
        if n_jobs < -1 or n_jobs == 0:
            raise ProbeError(f"{n_jobs} jobs: give a number of processes, or -1 for one on every core.")
        self.n_jobs = joblib.effective_n_jobs(n_jobs)

    def map(
        self, function: Callable[..., Any], shared: Any, items: Sequence[Any], *, threads: bool = False
    ) -> Iterator[Any]:
        """`function(shared, item)` for each item, in the order of the items.

        Args:
            function: a module's function, which a process can be sent.
            shared: a task, or the state of an engine for all items; its large arrays travel as memory maps.
            items: one per call.
            threads: threads instead of processes, for short work of numpy, which releases the interpreter's lock.

        Raises:
            ProbeError: a process was killed.
        """
        if self.n_jobs == 1 or len(items) == 1:
            for item in items:
                yield _single_threaded(function, shared, item)
        elif threads:
            # The limit holds for the process, so it is set once around all threads and not in each.
            with _blas().limit(limits=1), _turns_taken_often(), ThreadPoolExecutor(self.n_jobs) as pool:
                yield from pool.map(partial(function, shared), items)
        else:
            jobs = (joblib.delayed(_single_threaded)(function, shared, item) for item in items)
            try:
                yield from joblib.Parallel(n_jobs=self.n_jobs, return_as="generator")(jobs)
            except TerminatedWorkerError as error:
                raise ProbeError(
                    "a worker process was killed, most likely because memory ran out; run again with fewer --jobs."
                ) from error


@contextmanager
def _turns_taken_often() -> Iterator[None]:
    """Lets threads ask for the interpreter's lock every 0.2 ms instead of 5, which is as long as a product takes."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, 2e-4))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _single_threaded(function: Callable[..., Any], shared: Any, item: Any) -> Any:
    with _blas().limit(limits=1):
        return function(shared, item)


@cache
def _blas() -> ThreadpoolController:
    """The libraries of this process, looked for once: each look reads the process's memory map, for milliseconds."""
    return ThreadpoolController()
