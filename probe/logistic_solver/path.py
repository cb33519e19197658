"""Along a path of penalties: where the next optimum should be, by the last ones and by the mean of many problems."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np

from .curvature import Curvature, Rest
from .problems import Problems
from .solver import Solution, WarmStart, solve

_BENT = 0.5
"""Weight of the second difference in the extrapolation: with 1 it overshoots where the path turns."""


class Predictor:
    """Guesses the next optimum by a polynomial in log C through the last three, which halves the steps to it."""

    def __init__(self, problems: Problems) -> None:
        self._origin = np.zeros((len(problems), problems.size))
        self._known: list[tuple[float, np.ndarray]] = []

    def add(self, C: float, points: np.ndarray) -> None:
        """Takes the optima (S, P) at `C`, which grows from call to call."""
        self._known = [*self._known[-2:], (np.log(C), points)]

    def keep(self, which: np.ndarray) -> None:
        """Goes on with those of the problems that `which` (positions) names."""
        self._origin = self._origin[which]
        self._known = [(place, points[which]) for place, points in self._known]

    def at(self, C: float) -> np.ndarray:
        """(S, P) where the optima at `C` should be; zero as long as none is known."""
        if not self._known:
            return self._origin
        place, (last, points) = np.log(C), self._known[-1]
        if len(self._known) == 1:
            return points
        before, former = self._known[-2]
        slope = (points - former) / (last - before)
        guess = points + (place - last) * slope
        if len(self._known) == 3:
            earlier, first = self._known[0]
            bend = (slope - (former - first) / (before - earlier)) / (last - earlier)
            guess += _BENT * (place - last) * (place - before) * bend
        return guess


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
