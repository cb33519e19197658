"""From a start to the optimum: steps under one curvature, a new curvature where these do not suffice."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from .curvature import Curvature, Rest
from .lbfgs import State, Steps, minimise
from .problems import Problems, proba_of_logits
from .row_space import RowProblem

_STEPS = 40
"""Evaluations under one curvature."""
_OUTGROWN = 1.1
"""Fall of an objective, as a ratio, beyond which the curvature that it started with says little of what is left."""
_FROM_FAR = (1e-6, 1e-4, 1e-2, 1.0)
"""Shares of C by which a problem on few rows that does not end is solved from zero: at a large C a first step may lead
to where the loss has no curvature."""
_NEWTON_SIZE = 3000
"""Numbers in a point up to which a problem that stays unsolved is solved by Newton steps."""
_NEWTON_ROWS = 2**26
"""Numbers in all rows up to which that is done: they are held in float64."""
_WARNINGS = threading.Lock()
"""Around changes to the filters of warnings, which are those of the whole process."""


@dataclass(frozen=True, eq=False)
class WarmStart:
    """What L problems hand on to others that are much like them, L by L, at the same C."""

    points: np.ndarray
    """(L, P) float64, their optima."""
    rest: Rest | None
    """What their curvature had in common where they started; None where each has its own."""
    steps: list[Steps]
    """(L,) those that each first took."""
    precise: Callable[[], Rest]
    """The same as `rest`, at their optima and in float64; computed when it is called for."""


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
    rest: Rest | None
    """What the curvature at the start had in common for all problems; None where each has its own."""
    steps: list[Steps]
    """(S,) those that each first took."""
    logits: np.ndarray
    """(K, S, n) of every row, those of weight zero too."""

    def probabilities(self) -> np.ndarray:
        """(K, S, n) of each class, or of the positive one, for every row."""
        return proba_of_logits(self.logits.copy())


def solve(
    problems: Problems,
    points: np.ndarray,
    *,
    tol: float,
    max_iter: int = 300,
    warm_starts: Sequence[tuple[WarmStart, np.ndarray]] = (),
    certify: bool = True,
    leading: bool = False,
) -> Solution:
    """Solves S problems side by side, and one by one in float64 those that remain.

    With `warm_starts` and rows that are `exact`, the solution of a problem has the same bits whatever the others are.

    Args:
        problems: what to solve.
        points: (S, P) where to begin.
        tol: relative gradient at which a problem is solved; the objective is then about tol squared above the optimum,
            as a share of it.
        max_iter: most evaluations of each, about.
        warm_starts: each of L problems at some C, and the positions (ascending) of problems at that C much like them,
            L by L, which reuse their curvature. Every problem is in one, or there are none.
        certify: whether gaps are measured cautiously, and with curvature that fits the end; False for solutions
            that only lead to others.
        leading: whether other problems will be given the solution for a warm start.
    """
    if problems.kernels:
        return _one_by_one(problems, points, tol, max_iter, certify=certify)
    share = max_iter // 4  # of the evaluations, for each of the two further ways
    small = problems.size <= _NEWTON_SIZE and len(problems.rows) * problems.rows.width <= _NEWTON_ROWS
    most = max_iter - 2 * share
    found = _side_by_side(problems, points, tol, most, warm_starts, certify=certify, leading=leading)
    for s in np.flatnonzero(~found.converged).tolist() if share else ():
        alone = problems.among(np.array([s]))
        if warm_starts and most > 2 * _STEPS:
            _take(found, s, _side_by_side(alone, found.points[[s]], tol, most - 2 * _STEPS, certify=certify))
        if not found.converged[s]:
            alone = alone.in_float64()
            _take(found, s, _side_by_side(alone, found.points[[s]], tol, share))
        if not found.converged[s] and small:
            _take(found, s, _side_by_side(alone, _by_newton(alone, share), tol, min(_STEPS, share)))
    return found


def _one_by_one(problems: Problems, starts: np.ndarray, tol: float, max_iter: int, *, certify: bool) -> Solution:
    """Each in the space of its own rows, in float64 where it is certified or else does not end."""
    count, double = len(problems), np.dtype(np.float64)
    value, gap, spent = np.empty(count), np.full(count, np.inf), np.zeros(count, np.int64)
    W, b = (part.copy() for part in problems.split(starts))
    for s, kernel in enumerate(problems.kernels):
        point = np.c_[W[s][:, kernel.own], b[s]]
        tries = dict.fromkeys([(double if certify else problems.rows.dtype, 1.0), (double, 1.0)])
        for dtype, share in (*tries, *((double, share) for share in _FROM_FAR)):
            if spent[s] >= max_iter:
                break
            if share == _FROM_FAR[0]:
                point = np.zeros_like(point)
            alone = RowProblem(kernel.products(dtype), *problems.of_own_rows(s), float(share * problems.C[s]))
            most = max_iter - spent[s] if dtype == double else min(max_iter, 2 * _STEPS)
            place, gap[s], steps = alone.solve(point, tol=tol, max_iter=most, certify=certify)
            spent[s] += steps
            point, value[s] = place.point, place.value
            if gap[s] <= tol and share == 1:
                break
            if share < 1:
                gap[s] = np.inf
        W[s] = 0
        W[s][:, kernel.own], b[s] = point[:, :-1], point[:, -1]
        if certify and count > 1 and kernel is not problems.kernels[(s + 1) % count]:
            kernel.forget()  # in float64, of a resample that is fitted but once
    points = problems.join(W, b)
    return Solution(points, value, gap, spent, gap <= tol, None, [], problems.logits_of_few(points))


def _take(found: Solution, s: int, alone: Solution) -> None:
    """Puts the solution of problem `s` alone in its place, unless that one is worse."""
    found.evaluations[s] += alone.evaluations[0]
    if alone.converged[0] or alone.value[0] <= found.value[s]:
        for name in ("points", "value", "gap", "converged"):
            getattr(found, name)[s] = getattr(alone, name)[0]
        found.logits[:, s] = alone.logits[:, 0]


def _by_newton(alone: Problems, max_iter: int) -> np.ndarray:
    """(1, P) where scikit-learn's Newton steps lead for one problem, whose Hessian is small enough to be factored."""
    from sklearn.linear_model import LogisticRegression  # rarely needed, and slow to import

    Z, weight = alone.rows.take(np.arange(len(alone.rows))) * alone.stretch, alone.weight[0]
    if alone.signs is not None:
        y, present = alone.signs[0], slice(None)
    else:
        assert alone.bounds is not None
        y = np.repeat(np.arange(alone.outputs), np.diff(alone.bounds))
        present = np.unique(y[weight > 0])
    point = np.zeros((1, alone.size))
    if not np.isfinite(weight).all() or len(np.unique(y[weight > 0])) < 2:
        return point
    model = LogisticRegression(C=float(alone.C[0]), solver="newton-cholesky", tol=1e-10, max_iter=max_iter)
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether it has converged is judged by our own measure
        model.fit(Z[weight > 0], y[weight > 0], sample_weight=weight[weight > 0])
    W, b = alone.split(point)
    if len(model.coef_) == len(W[0, present]):  # of several classes two may be left, which scikit-learn has as one row
        W[0, present], b[0, present] = model.coef_, model.intercept_
    return alone.join(W, b)


def _side_by_side(
    problems: Problems,
    points: np.ndarray,
    tol: float,
    max_iter: int,
    warm_starts: Sequence[tuple[WarmStart, np.ndarray]] = (),
    *,
    certify: bool = True,
    leading: bool = False,
) -> Solution:
    """With `warm_starts`, under their two curvatures at most; those of the problems' own would be shared by them."""
    state = State.begin(problems, points)
    live, first, rest, met, left = np.arange(len(problems)), True, None, [], max_iter
    groups = warm_starts or [(None, live)]
    while len(live):
        dtype, caution, known = None if first else np.dtype(np.float64), np.ones(len(problems)), []
        for warm_start, members in groups:
            mine = np.intersect1d(members, live, assume_unique=True)
            if not len(mine):
                continue
            part, proba = problems.among(mine), proba_of_logits(state.logits[:, mine])
            shared = warm_start and (warm_start.rest if first else warm_start.precise())
            curvature = Curvature(part, proba, shared, like=mine, dtype=dtype, leading=leading)
            rest = rest or curvature.rest
            caution[mine] = curvature.caution
            known.append((mine, curvature, warm_start if first else None))
        before = state.value[live]
        unsolved, history = minimise(
            problems,
            state,
            live,
            partial(_precondition, known),
            caution=caution if certify else None,
            tol=tol,
            steps=min(_STEPS, left),
        )
        left -= _STEPS
        last = left <= 0 or (len(warm_starts) > 0 and not first)
        if first:
            met = [history.of(int(problem)) for problem in live]
        # Rounding allows no lower value, under a curvature that is not rounding itself.
        stuck = live[:0] if first else live[state.value[live] >= before]
        # The curvature of the start is another one than that at the end: the gap is measured once more, with a new one.
        outgrown = live[before > _OUTGROWN * state.value[live]] if certify else live[:0]
        live = np.union1d(np.setdiff1d(unsolved, stuck), outgrown)
        if last:
            state.gap[outgrown] = np.inf
            break
        first = False
    return Solution(state.points, state.value, state.gap, state.evaluations, state.gap <= tol, rest, met, state.logits)


def _precondition(
    known: list[tuple[np.ndarray, Curvature, WarmStart | None]], gradient: np.ndarray, which: np.ndarray
) -> np.ndarray:
    """The inverse curvature times gradients (A, P) of the problems `which`, from the curvatures of all problems.

    Each of these is of some problems, and corrected by the steps of a warm start.
    """
    out = np.empty_like(gradient)
    for members, curvature, warm_start in known:
        steps: list[Steps | None] = [None]
        # Where the heaviest pairs are another problem's own, so are its steps.
        if warm_start and warm_start.rest and not warm_start.rest.paired.any():
            steps = list(warm_start.steps)
        for number, met in enumerate(steps):
            mine = np.flatnonzero(np.isin(which, members) & (which % len(steps) == number))
            if len(mine):
                made = partial(curvature.times, which=np.searchsorted(members, which[mine]))
                out[mine] = met.times_inverse(gradient[mine], made) if met else made(gradient[mine])
    return out
