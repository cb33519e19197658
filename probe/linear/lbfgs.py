"""L-BFGS for many problems side by side: one wide product for all of them, finished ones dropped from the block.

Nocedal and Wright, Numerical Optimization (2006), algorithms 7.4 and 3.1, with a curvature of one's own for a start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .problems import Problems

_MEMORY = 12
_TRIES = 12
"""Steps that a line search tries, each at most half of the last."""

Precondition = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From gradients (A, P) of the problems at these positions (A,) to the inverse curvature times them."""


@dataclass(eq=False)
class State:
    """Where S problems stand."""

    points: np.ndarray
    """(S, P) float64."""
    value: np.ndarray
    """(S,) float64."""
    gradient: np.ndarray
    """(S, P) float64."""
    gap: np.ndarray
    """(S,) relative gradient: the root of what a Newton step would gain, over the value."""
    evaluations: np.ndarray
    """(S,) int64 of the objective."""

    @classmethod
    def begin(cls, problems: Problems, points: np.ndarray) -> State:
        """At `points`."""
        count = len(problems)
        value, gradient = problems.evaluate(points)
        return cls(points.copy(), value, gradient, np.full(count, np.inf), np.ones(count, np.int64))


def minimise(
    problems: Problems, state: State, live: np.ndarray, precondition: Precondition, *, tol: float, steps: int
) -> np.ndarray:
    """Takes up to `steps` steps with each of the problems `live` (positions) and changes `state`.

    Returns:
        Those that are not at their optimum yet; a problem that can go no further is among them.
    """
    history = _History(len(problems), problems.size, problems.rows.dtype)
    moving = live
    for _ in range(steps):
        direction = -history.times_inverse(state.gradient[moving], moving, precondition)
        slope = np.einsum("ap,ap->a", state.gradient[moving], direction)
        state.gap[moving] = np.sqrt(np.maximum(-slope, 0) / 2 / np.maximum(state.value[moving], 1e-300))
        further = (state.gap[moving] > tol) & (slope < 0)
        moving, direction, slope = moving[further], direction[further], slope[further]
        if not len(moving):
            break
        moving = _step(problems, state, moving, direction, slope, history)
    return live[state.gap[live] > tol]


def _step(
    problems: Problems, state: State, moving: np.ndarray, direction: np.ndarray, slope: np.ndarray, history: _History
) -> np.ndarray:
    """One line search for each; returns those that moved."""
    slack = 4 * np.finfo(problems.rows.dtype).eps * np.abs(state.value[moving])
    before, former = state.points[moving], state.gradient[moving]
    length = np.ones(len(moving))
    waiting = np.arange(len(moving))
    for _ in range(_TRIES):
        which = moving[waiting]
        points = before[waiting] + length[waiting, None] * direction[waiting]
        value, gradient = problems.among(which).evaluate(points)
        state.evaluations[which] += 1
        enough = value <= state.value[which] + 1e-4 * length[waiting] * slope[waiting] + slack[waiting]
        rejected, rise = waiting[~enough], (value - state.value[which])[~enough]
        length[rejected] = _shorter(length[rejected], slope[rejected], rise)
        at = which[enough]
        state.points[at], state.value[at], state.gradient[at] = points[enough], value[enough], gradient[enough]
        waiting = rejected
        if not len(waiting):
            break
    went = np.delete(np.arange(len(moving)), waiting)
    moved = moving[went]
    history.add(moved, state.points[moved] - before[went], state.gradient[moved] - former[went])
    return moved


def _shorter(length: np.ndarray, slope: np.ndarray, rise: np.ndarray) -> np.ndarray:
    """The bottom of the parabola through what is known, kept between a tenth and a half of the last length."""
    with np.errstate(all="ignore"):
        bottom = -slope * length**2 / (2 * (rise - slope * length))
    return np.clip(np.nan_to_num(bottom, nan=0.0, posinf=0.0), 0.1 * length, 0.5 * length)


class _History:
    """The last steps of each problem, in the rows' precision."""

    def __init__(self, count: int, size: int, dtype: np.dtype) -> None:
        self._steps = np.zeros((_MEMORY, count, size), dtype)
        self._changes = np.zeros((_MEMORY, count, size), dtype)
        self._scale = np.zeros((_MEMORY, count))
        """One over the product of step and change; 0 for a place that holds none."""
        self._added = 0

    def add(self, which: np.ndarray, steps: np.ndarray, changes: np.ndarray) -> None:
        """Remembers a step of each of the problems `which`, and what it changed in their gradients."""
        place = self._added % _MEMORY
        self._scale[place] = 0
        self._steps[place, which], self._changes[place, which] = steps, changes
        product = np.einsum("ap,ap->a", steps, changes)
        size = np.einsum("ap,ap->a", steps, steps) * np.einsum("ap,ap->a", changes, changes)
        curved = product > 1e-8 * np.sqrt(size)
        self._scale[place, which[curved]] = 1 / product[curved]
        self._added += 1

    def times_inverse(self, gradient: np.ndarray, which: np.ndarray, precondition: Precondition) -> np.ndarray:
        """The two loops: (A, P) gradients of the problems `which`, times the inverse curvature."""
        q, known = gradient.copy(), range(max(0, self._added - _MEMORY), self._added)
        weights = {}
        for number in reversed(known):
            place = number % _MEMORY
            weights[place] = self._scale[place, which] * np.einsum("ap,ap->a", self._of(self._steps, place, which), q)
            q -= weights[place][:, None] * self._of(self._changes, place, which)
        q = precondition(q, which)
        for number in known:
            place = number % _MEMORY
            back = self._scale[place, which] * np.einsum("ap,ap->a", self._of(self._changes, place, which), q)
            q += (weights[place] - back)[:, None] * self._of(self._steps, place, which)
        return q

    @staticmethod
    def _of(kept: np.ndarray, place: int, which: np.ndarray) -> np.ndarray:
        return kept[place] if len(which) == kept.shape[1] else kept[place, which]
