"""L-BFGS for many problems side by side: one wide product for all of them, finished ones dropped from the block.

Nocedal and Wright, Numerical Optimization (2006), algorithms 7.4 and 3.1, with a curvature of one's own for a start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import solve_triangular

from .blas import dots, rowwise
from .problems import Problems

MEMORY = 12
TRIES = 12
"""Steps that a line search tries, each at most half of the last."""
FIRST = 3.0
"""Most that the first step may change the scale of the curvature by."""
CAUTION = 2.0
"""What a gap is multiplied by at most: the slower it falls, the less of it the known curvature sees."""

Precondition = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From gradients (A, P) of the problems at these positions (A,) to the inverse curvature times them."""


@dataclass(eq=False)
class State:
    """The current state of S problems."""

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
    logits: np.ndarray
    """(K, S, n) of every row."""

    @classmethod
    def begin(cls, problems: Problems, points: np.ndarray) -> State:
        """At `points`."""
        count, logits = len(problems), problems.empty_logits()
        value, gradient = problems.evaluate(points, logits)
        return cls(points.copy(), value, gradient, np.full(count, np.inf), np.ones(count, np.int64), logits)


def minimise(
    problems: Problems,
    state: State,
    live: np.ndarray,
    precondition: Precondition,
    *,
    caution: np.ndarray | None,
    tol: float,
    steps: int,
) -> tuple[np.ndarray, History]:
    """Evaluates each of the problems `live` (positions) up to `steps` times on its way down, and changes `state`.

    All are evaluated together, whether they try a new step or a shorter one, so that the product stays wide.

    Args:
        problems: S problems.
        state: where they are.
        live: (A,) positions of those to solve.
        precondition: the inverse of the known curvature.
        caution: (S,) by how much it may understate a gap; None to take gaps as it has them.
        tol: gap at which a problem is solved.
        steps: most evaluations.

    Returns:
        Those that are not at their optimum yet, a problem that can go no further among them; and the steps taken.
    """
    history = History(len(problems), problems.size, problems.rows.dtype)
    search = _Search(len(problems), problems.size, cautious=caution is not None)
    if caution is None:
        caution = np.ones(len(problems))
    moving, arrived = live, live
    for _ in range(steps):
        if len(arrived):
            direction = _downhill(history, state.gradient[arrived], arrived, precondition)
            search.turn(arrived, direction, history.stiffness(arrived) / caution[arrived] ** 2, state)
        moving = moving[search.promising(moving, state, tol)]
        if not len(moving):
            break
        points, tried = search.trial(moving, state), problems.among(moving)
        logits = tried.empty_logits()
        value, gradient = tried.evaluate(points, logits)
        state.evaluations[moving] += 1
        enough = search.judge(moving, state, value, problems.rows.dtype)
        arrived = moving[enough]
        moved, changes = points[enough] - state.points[arrived], gradient[enough] - state.gradient[arrived]
        history.add(arrived, moved, changes, search.predicted(arrived))
        state.points[arrived], state.value[arrived], state.gradient[arrived] = (
            points[enough],
            value[enough],
            gradient[enough],
        )
        state.logits[:, arrived] = logits[:, enough]
    return live[state.gap[live] > tol], history


def _downhill(history: History, gradient: np.ndarray, which: np.ndarray, precondition: Precondition) -> np.ndarray:
    """(A, P) directions in which the objectives fall, if need be without the steps that were met."""
    direction = -history.times_inverse(gradient, which, precondition)
    uphill = np.flatnonzero(~(dots(gradient, direction) < 0))
    if len(uphill):
        history.forget(which[uphill])
        direction[uphill] = -precondition(gradient[uphill], which[uphill])
    return direction


class _Search:
    """The line searches of all problems: where each is headed, and how far it goes the next time."""

    def __init__(self, count: int, size: int, *, cautious: bool) -> None:
        self._most = CAUTION if cautious else 1.0
        self._direction = np.zeros((count, size))
        self._slope = np.zeros(count)
        self._length = np.zeros(count)
        self._tries = np.zeros(count, np.int64)
        self._seen = np.full(count, np.nan)
        """Gaps as the known curvature has them."""

    def turn(self, which: np.ndarray, direction: np.ndarray, stiffness: np.ndarray, state: State) -> None:
        """Heads the problems `which` in new directions, and measures how far from their optimum they are."""
        slope = dots(state.gradient[which], direction)
        self._direction[which], self._slope[which], self._length[which] = direction, slope, 1
        self._tries[which] = 0
        # Where a direction leads up, the known curvature is nothing but rounding, and the gap remains unknown.
        gain = np.where(slope < 0, -slope / stiffness / 2, np.inf)
        gain[~state.gradient[which].any(axis=1)] = 0
        seen = np.sqrt(gain / np.maximum(state.value[which], 1e-300))
        with np.errstate(all="ignore"):
            left = np.maximum(1 - seen / self._seen[which], 0) ** -0.5
        self._seen[which] = seen
        state.gap[which] = np.clip(np.nan_to_num(left, nan=self._most), 1, self._most) * seen

    def promising(self, which: np.ndarray, state: State, tol: float) -> np.ndarray:
        """Of the problems `which`, those that have a way to go and lead down there."""
        return (state.gap[which] > tol) & (self._slope[which] < 0) & (self._tries[which] < TRIES)

    def trial(self, which: np.ndarray, state: State) -> np.ndarray:
        """(A, P) the next points."""
        return state.points[which] + self._length[which, None] * self._direction[which]

    def predicted(self, which: np.ndarray) -> np.ndarray:
        """(A,) the product of step and change in gradient that the known curvature has for the last steps."""
        return -self._slope[which] * self._length[which] ** 2

    def judge(self, which: np.ndarray, state: State, value: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """(A,) bool: whether the values there are low enough; the others will go less far."""
        length, slope, rise = self._length[which], self._slope[which], value - state.value[which]
        slack = 4 * np.finfo(dtype).eps * np.abs(state.value[which])
        enough = rise <= 1e-4 * length * slope + slack
        self._length[which[~enough]] = shorter(length, slope, rise)[~enough]
        self._tries[which] += 1
        return enough


def shorter(length: np.ndarray, slope: np.ndarray, rise: np.ndarray) -> np.ndarray:
    """The bottom of the parabola through what is known, kept between a tenth and a half of the last length."""
    with np.errstate(all="ignore"):
        bottom = -slope * length**2 / (2 * (rise - slope * length))
    return np.clip(np.nan_to_num(bottom, nan=0.0, posinf=0.0), 0.1 * length, 0.5 * length)


class History:
    """The last steps of each problem and what they changed, in the rows' precision: curvature that was met.

    A place holds what all have done in one turn, and nothing for a problem that only searched along its line: so what
    is kept of a problem does not depend on the others.
    """

    def __init__(self, count: int, size: int, dtype: np.dtype) -> None:
        self._steps = np.zeros((MEMORY, count, size), dtype)
        self._changes = np.zeros((MEMORY, count, size), dtype)
        self._scale = np.zeros((MEMORY, count))
        """One over the product of step and change; 0 for a place that holds none."""
        self._first = np.ones(count)
        """What the first curvature's inverse is multiplied by, so that it agrees with the first step."""
        self._new = np.ones(count, bool)
        self._met = np.ones(count)
        """Curvature that the last step met, over what was known of it, where that is below 1."""
        self._added = 0

    def add(self, which: np.ndarray, steps: np.ndarray, changes: np.ndarray, predicted: np.ndarray) -> None:
        """Remembers a step of each of the problems `which`, what it changed in their gradients and should have."""
        place = self._added % MEMORY
        self._scale[place] = 0
        self._steps[place, which], self._changes[place, which] = steps, changes
        product = dots(steps, changes)
        size = dots(steps, steps) * dots(changes, changes)
        curved = product > 1e-8 * np.sqrt(size)
        self._scale[place, which[curved]] = 1 / product[curved]
        ratio = np.maximum(product / predicted, 1e-12)
        self._met[which] = np.minimum(ratio, 1)
        new = self._new[which]
        self._first[which[new]] = np.clip(1 / ratio[new], 1 / FIRST, FIRST)
        self._new[which] = False
        self._added += 1

    def forget(self, which: np.ndarray) -> None:
        """Drops the steps of the problems `which`."""
        self._scale[:, which] = 0
        self._first[which], self._new[which] = 1, True

    def stiffness(self, which: np.ndarray) -> np.ndarray:
        """(A,) at most 1: curvature that the steps met over the known one, which understates what is left to gain."""
        return self._met[which] * np.minimum(self._first[which], 1)

    def times_inverse(self, gradient: np.ndarray, which: np.ndarray, precondition: Precondition) -> np.ndarray:
        """The two loops: (A, P) gradients of the problems `which`, times the inverse curvature."""
        q, known = gradient.copy(), range(max(0, self._added - MEMORY), self._added)
        weights = {}
        for number in reversed(known):
            place = number % MEMORY
            weights[place] = self._scale[place, which] * dots(self._of(self._steps, place, which), q)
            q -= weights[place][:, None] * self._of(self._changes, place, which)
        q = precondition(q, which) * self._first[which, None]
        for number in known:
            place = number % MEMORY
            back = self._scale[place, which] * dots(self._of(self._changes, place, which), q)
            q += (weights[place] - back)[:, None] * self._of(self._steps, place, which)
        return q

    @staticmethod
    def _of(kept: np.ndarray, place: int, which: np.ndarray) -> np.ndarray:
        return kept[place] if len(which) == kept.shape[1] else kept[place, which]

    def of(self, problem: int) -> Steps:
        """Those of one problem that are kept, the oldest first."""
        order = [number % MEMORY for number in range(max(0, self._added - MEMORY), self._added)]
        places = [place for place in order if self._scale[place, problem]]
        return Steps(self._steps[places, problem], self._changes[places, problem])


@dataclass(frozen=True, eq=False)
class Steps:
    """m steps of one problem, in a form that serves many others at once.

    The two loops over the steps are two triangular systems, and all else one product each (Byrd, Nocedal and Schnabel
    1994, Representations of quasi-Newton matrices, theorem 2.2).
    """

    steps: np.ndarray
    """(m, P) in the rows' precision."""
    changes: np.ndarray
    """(m, P) of the gradient."""

    @cached_property
    def _products(self) -> np.ndarray:
        """(m, m) steps by changes, of each step with the later ones and itself."""
        return np.triu(self.steps @ self.changes.T).astype(np.float64)

    @cached_property
    def _inverse(self) -> np.ndarray:
        return solve_triangular(self._products, np.eye(len(self.steps)))

    def times_inverse(self, gradient: np.ndarray, precondition: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """(A, P) gradients times the inverse curvature that `precondition` makes and the steps correct."""
        if not len(self.steps):
            return precondition(gradient)
        kind = self.steps.dtype
        along = rowwise(gradient.astype(kind), self.steps.T, exact=True)
        along = rowwise(along.astype(np.float64), self._inverse.T, exact=True)
        q = precondition(gradient - rowwise(along.astype(kind), self.changes, exact=True))
        left = np.diag(self._products) * along - rowwise(q.astype(kind), self.changes.T, exact=True)
        back = rowwise(left, self._inverse, exact=True)
        return q + rowwise(back.astype(kind), self.steps, exact=True)
