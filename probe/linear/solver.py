"""From a start to the optimum: steps under one curvature, a new curvature where these do not suffice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .curvature import Curvature, Rest
from .lbfgs import State, minimise
from .problems import Problems

_STEPS = 40
"""Evaluations under one curvature."""


@dataclass(frozen=True, eq=False)
class Solution:
    """The optima of S problems."""

    points: np.ndarray
    """(S, P) float64."""
    value: np.ndarray
    """(S,) of the objective."""
    gap: np.ndarray
    """(S,) the relative gradient: the root of what one more Newton step would gain, over the value."""
    evaluations: np.ndarray
    """(S,) of the objective."""
    converged: np.ndarray
    """(S,) bool: whether the gap is at most the tolerance."""
    rest: Rest
    """What the curvature at the start had in common for all problems."""


def solve(
    problems: Problems, points: np.ndarray, *, tol: float, max_iter: int = 300, rest: Rest | None = None
) -> Solution:
    """Solves S problems side by side.

    Args:
        problems: what to solve.
        points: (S, P) where to begin.
        tol: relative gradient at which a problem is solved; the objective is then about tol squared above the optimum,
            as a share of it.
        max_iter: most evaluations of each, about.
        rest: the common part of the curvature, if it is known from problems that are much like these.
    """
    state = State.begin(problems, points)
    curvature = Curvature(problems, problems.probabilities(points), rest)
    common, live = curvature.rest, np.arange(len(problems))
    for taken in range(0, max_iter, _STEPS):
        part = problems.among(live)
        place = np.full(len(problems), -1)
        place[live] = np.arange(len(live))
        if taken:
            curvature = Curvature(part, part.probabilities(state.points[live]))
        before = state.value[live]
        unsolved = minimise(
            problems,
            state,
            live,
            lambda gradient, which, curvature=curvature, place=place: curvature.times(gradient, place[which]),
            tol=tol,
            steps=min(_STEPS, max_iter - taken),
        )
        stuck = live[state.value[live] >= before]  # rounding allows no lower value
        live = np.setdiff1d(unsolved, stuck, assume_unique=True)
        if not len(live):
            break
    return Solution(state.points, state.value, state.gap, state.evaluations, state.gap <= tol, common)
