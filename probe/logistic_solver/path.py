"""Along a path of penalties: where the next optimum should be, from the last ones."""

from __future__ import annotations

import numpy as np

from .problems import Problems

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
