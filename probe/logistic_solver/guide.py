"""The mean of many similar problems, solved ahead of them: their start and their common curvature."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np

from .curvature import Curvature, Rest
from .path import Predictor
from .problems import Problems
from .solver import Solution, WarmStart, solve


class Guide:
    """The path of the problems that are the mean of the others, one value of C after another.

    Resamples of the same rows differ little, and so do their optima, the more so the smaller C is. Begun at the
    guide's optimum, and where the last differences from it point, a problem needs fewer steps than from its own path
    alone; and the most expensive part of the curvature is computed once for all.

    The path is walked in a thread of its own and as far as it is needed. Leaving the context ends it.

    Args:
        problems: L problems, one for each target.
        Cs: the path, rising.
        tol: relative gradient at which they are solved.
        max_iter: most steps for one value of C.
        ahead: whether to go one step further than requested, while others work on what they got.
    """

    def __init__(self, problems: Problems, Cs: Sequence[float], *, tol: float, max_iter: int, ahead: bool) -> None:
        self._problems, self._Cs = problems, Cs
        self._tol, self._max_iter, self._ahead = tol, max_iter, ahead
        self._predictor = Predictor(problems)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="guide")
        self._lock = threading.Lock()
        self._found: list[Future[Solution]] = []
        self._at_optimum: dict[int, Future[Rest]] = {}

    def __enter__(self) -> Guide:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def at(self, number: int) -> WarmStart:
        """From `Cs[number]`; waits for it where it must. May be called from any thread."""
        with self._lock:
            for further in range(len(self._found), min(number + 1 + self._ahead, len(self._Cs))):
                self._found.append(self._pool.submit(self._solve, self._Cs[further]))
        found = self._found[number].result()
        return WarmStart(found.points, found.rest, found.steps, lambda: self._precise(number))

    def _solve(self, C: float) -> Solution:
        found = solve(
            self._problems.at(C),
            self._predictor.at(C),
            tol=self._tol,
            max_iter=self._max_iter,
            certify=False,
            leading=True,
        )
        self._predictor.add(C, found.points)
        return found

    def _precise(self, number: int) -> Rest:
        with self._lock:
            if number not in self._at_optimum:
                self._at_optimum[number] = self._pool.submit(self._rest_at_optimum, number)
        return self._at_optimum[number].result()

    def _rest_at_optimum(self, number: int) -> Rest:
        problems, found = self._problems.at(self._Cs[number]), self._found[number].result()
        return Curvature(problems, found.probabilities(), dtype=np.dtype(np.float64), leading=True).rest
