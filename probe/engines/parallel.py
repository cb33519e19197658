"""Side-by-side work without oversubscription: threads over seeds, one BLAS thread in each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any, TypeVar

from joblib import cpu_count
from threadpoolctl import ThreadpoolController

from ...base import ProbeError

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """Runs on `n_jobs` threads: numpy, LightGBM and the compiled parts of scikit-learn release the interpreter's lock.

    One BLAS thread each whatever `n_jobs` is: the products of a probe are too skinny to gain from more, and the order
    of a threaded sum would make results depend on the number of workers.
    """

    def __init__(self, n_jobs: int = -1) -> None:
        if n_jobs < -1 or n_jobs == 0:
            raise ProbeError(f"{n_jobs} jobs: give a number of threads, or -1 for one on every core.")
        self.n_jobs = cpu_count() if n_jobs == -1 else n_jobs

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """`function(item)` for each item, in the order of the items."""
        if self.n_jobs == 1 or len(items) == 1:
            with one_blas_thread():
                yield from map(function, items)
            return
        # In each thread too: a limit on BLAS holds for the process, one on OpenMP for the thread that sets it.
        pool = ThreadPoolExecutor(self.n_jobs, initializer=one_blas_thread)
        try:
            with one_blas_thread(), _turns_taken_often():
                yield from pool.map(function, items)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C does not wait for fits


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


@cache
def _blas() -> ThreadpoolController:
    """The libraries of this process, looked for once: each look reads the process's memory map, for milliseconds."""
    return ThreadpoolController()
