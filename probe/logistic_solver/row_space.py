"""One logistic regression on fewer rows than columns, in the space of its rows.

The optimum is a sum of the rows, since the penalty holds all else at zero; and of the rows of a sum the objective needs
their products alone, the kernel ``X X^T``. A step then reads as many numbers as there are pairs of rows, whatever the
columns. A point is (K, m + 1): for each output the coefficients of the m rows, and the intercept, which the kernel has
as a further row that is orthogonal to the others. Slopes are coefficients too, and the product of two is ``a K b``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .blas import cholesky_solve
from .curvature import caution_of, factored
from .lbfgs import CAUTION, FIRST, MEMORY, TRIES, shorter
from .problems import proba_of_logits

_STEPS = 12
"""Evaluations under one curvature, which costs as much as a few of them."""
_OUTGROWN = 1.001
"""Fall of the objective, as a ratio, beyond which the curvature that it started with says little of what is left."""
_LIGHT = 0.4
"""Rows whose term is smaller than this, relative to the penalty's one, are left out of the curvature."""
_DEAR = 2
"""Work, compared to that of one system for all outputs, up to which each has its own: that spares a third of steps."""

_MOST_PAIRS = 1000
"""Pairs of a row and a class up to which what couples the outputs is known."""
_FLAT = 1e-8
"""Curvature that a step met over the known one, below which it is rounding."""

Loss = Callable[[np.ndarray], float]
"""Turns logits (K, m) into the loss's derivative by them, in place, and returns the loss."""


@dataclass(frozen=True, eq=False)
class Place:
    """A point and what is known of it."""

    point: np.ndarray
    """(K, m + 1)."""
    seen: np.ndarray
    """(K, m + 1) the kernel times the point."""
    value: float
    slope: np.ndarray
    """(K, m + 1)."""


class RowProblem:
    """A problem with weights (m,) of its rows, at one C.

    Args:
        kernel: (m + 1, m + 1).
        loss: of its rows.
        weight: (m,) of each of them.
        C: inverse strength of the penalty.
    """

    def __init__(self, kernel: np.ndarray, loss: Loss, weight: np.ndarray, C: float) -> None:
        self._kernel, self._loss, self._weight, self._C = kernel, loss, weight, C

    def solve(self, point: np.ndarray, *, tol: float, max_iter: int, certify: bool) -> tuple[Place, float, int]:
        """The optimum, the gap there and the evaluations; the arguments are those of `solver.solve`."""
        point, spent, dtype = point.astype(self._kernel.dtype), 1, np.float32
        while True:
            here = self._at(point, self.seen(point))  # not as the steps have summed it, with the rounding of large ones
            before = here.value
            curvature = _Curvature(self, here, dtype) if spent == 1 else _coupled(self, here)
            here, gap, steps = self._descend(here, curvature, tol, min(_STEPS, max_iter), certify)
            spent, max_iter = spent + steps, max_iter - _STEPS
            # The curvature of the start is another one than that at the end: the gap is measured with a new one.
            outgrown = certify and before > _OUTGROWN * here.value
            if max_iter <= 0:
                return here, np.inf if outgrown else gap, spent
            if (gap <= tol and not outgrown) or (dtype is np.float64 and here.value >= before):
                return here, gap, spent
            point, dtype = here.point, np.float64

    def _at(self, point: np.ndarray, seen: np.ndarray) -> Place:
        residuals = self.logits(seen)
        loss = self._loss(residuals)
        slope = np.empty_like(point)
        np.multiply(residuals, self._C, out=slope[:, :-1])
        slope[:, -1] = slope[:, :-1].sum(axis=1)
        slope[:, :-1] += point[:, :-1]
        penalty = np.vdot(point[:, :-1].astype(np.float64), seen[:, :-1].astype(np.float64)) / 2
        return Place(point, seen, self._C * loss + float(penalty), slope)

    @staticmethod
    def logits(seen: np.ndarray) -> np.ndarray:
        """(K, m) of the rows, from what is seen of a point."""
        return seen[:, :-1] + seen[:, -1:]

    def _descend(
        self, here: Place, curvature: _Curvature | _Coupled, tol: float, steps: int, certify: bool
    ) -> tuple[Place, float, int]:
        """L-BFGS as in `lbfgs`, where the reasons are."""
        history: list[tuple[np.ndarray, np.ndarray, np.ndarray, float]] = []
        first: float = 1.0
        met: float = 1.0
        last: float = np.nan
        gap: float = np.inf
        spent = 0
        slack = float(4 * np.finfo(here.point.dtype).eps)
        while True:
            if not here.slope.any():
                return here, 0.0, spent
            q: np.ndarray = here.slope
            along: list[float] = []
            for _, step_seen, change, scale in reversed(history):
                along.append(scale * float(np.vdot(step_seen, q)))
                q = q - along[-1] * change
            ahead: np.ndarray = curvature.times_inverse(q) * q.dtype.type(first)
            ahead_seen: np.ndarray = self.seen(ahead)
            for (step, step_seen, change, scale), weight in zip(history, reversed(along), strict=True):
                back = weight - scale * float(np.vdot(change, ahead_seen))
                ahead += back * step
                ahead_seen += back * step_seen
            fall = float(np.vdot(here.slope, ahead_seen))
            if not fall > 0:
                return here, np.inf, spent
            curved = met * min(first, 1) / curvature.caution**2
            known: float = float(np.sqrt(fall / curved / 2 / max(here.value, 1e-300)))
            left: float = max(1 - known / last, 1e-9) ** -0.5 if np.isfinite(last) else CAUTION
            gap, last = known * (min(max(left, 1), CAUTION) if certify else 1), known
            if gap <= tol or spent >= steps:
                return here, gap, spent
            length: float = 1.0
            for _ in range(TRIES):
                point, seen = here.point - length * ahead, here.seen - length * ahead_seen
                there, spent = self._at(point, seen), spent + 1
                rise = there.value - here.value
                if rise <= slack * abs(here.value) - 1e-4 * length * fall:
                    break
                length = float(shorter(*map(np.array, (length, -fall, rise))))
            else:
                return here, gap, spent
            moved, moved_seen, changed = -length * ahead, -length * ahead_seen, there.slope - here.slope
            product = float(np.vdot(moved_seen, changed))
            ratio: float = max(product / (fall * length**2), 1e-12)
            met = min(ratio, 1)
            if not history:
                first = min(max(1 / ratio, 1 / FIRST), FIRST)
            if ratio > _FLAT:
                history = [*history[1 - MEMORY :], (moved, moved_seen, changed, 1 / product)]
            here = there

    def weights(self, proba: np.ndarray) -> np.ndarray:
        """(K, m) what each row adds to the curvature of each output."""
        return proba * (1 - proba) * self.scale * (len(proba) / max(len(proba) - 1, 1))

    @property
    def scale(self) -> np.ndarray:
        """(m,) what the loss of each row is multiplied by."""
        return self._C * self._weight

    def system(self, places: np.ndarray, root: np.ndarray) -> np.ndarray:
        """(h, h) of the identity and the kernel of the rows `places` (h,), whose weights have these roots."""
        system = self._kernel.take(places, axis=0).take(places, axis=1).astype(root.dtype, copy=False)
        system *= root
        system *= root[:, None]
        system[np.diag_indices_from(system)] += 1
        return system

    def among(self, places: np.ndarray) -> np.ndarray:
        """(T, T) products of the rows `places` (T,), in float64."""
        return self._kernel.take(places, axis=0).take(places, axis=1).astype(np.float64)

    def seen(self, point: np.ndarray) -> np.ndarray:
        """(K, m + 1) the kernel times a point."""
        return point @ self._kernel

    @property
    def size(self) -> np.ndarray:
        """(m,) of each row: its product with itself."""
        return self._kernel.diagonal()[:-1]


class _Curvature:
    """The approximate inverse Hessian of a problem at a place.

    Without what couples outputs, the Hessian of an output is ``I + X^T D X``, whose inverse follows from the kernel
    (Woodbury), and so does what the intercept adds to it. Where few rows are uncertain, each output has its own D;
    elsewhere one system serves all outputs, with the mean of their weights.
    """

    def __init__(self, problem: RowProblem, here: Place, dtype: type) -> None:
        self._problem = problem
        weights = problem.weights(proba_of_logits(problem.logits(here.seen)))
        mean = weights.mean(axis=0, keepdims=True)
        heavy, heavy_for_all = (w * problem.size > _LIGHT for w in (weights, mean))
        self.caution = 1.0
        """By how much a gap may be understated."""
        if (heavy.sum(axis=1) ** 3).sum() > _DEAR * heavy_for_all.sum() ** 3:
            self.caution = float(caution_of(weights.sum(axis=1)[None])[0])
            weights, heavy = mean, heavy_for_all
        self._systems = [_System.of(problem, *one, dtype) for one in zip(weights, heavy, strict=True)]

    def times_inverse(self, slope: np.ndarray) -> np.ndarray:
        """(K, m + 1) the inverse Hessian times a slope."""
        at_rows, share = self._problem.seen(slope)[:, :-1], len(slope) // len(self._systems)
        parts = [slice(start, start + share) for start in range(0, len(slope), share)]
        out = slope.copy()
        for part, system in zip(parts, self._systems, strict=True):
            rows = np.atleast_2d(system.solve(at_rows[part]))
            intercepts = (slope[part, -1] - rows.sum(axis=1)) / system.total
            out[part, -1] = intercepts
            out[part, system.places] -= rows + intercepts[:, None] * system.ones
        return out


@dataclass(frozen=True, eq=False)
class _System:
    """The inverse of the kernel of h heavy rows plus that of their weights."""

    places: np.ndarray
    """(h,)."""
    root: np.ndarray
    """(h,) of their weights."""
    factor: np.ndarray
    """(h, h) of the identity and the kernel, multiplied by the roots from both sides."""
    ones: np.ndarray
    """(h,) the inverse times ones."""
    total: float
    """Their sum, and the weights of the other rows: the curvature of the intercept."""

    @classmethod
    def of(cls, problem: RowProblem, weight: np.ndarray, heavy: np.ndarray, dtype: type) -> _System:
        """With the weights (m,) of all rows, of which some are heavy (m,)."""
        places = np.flatnonzero(heavy)
        root = np.sqrt(weight[places]).astype(dtype)
        factor = factored(problem.system(places, root)) if len(places) else np.empty((0, 0), root.dtype)
        ones = root * cholesky_solve(factor, root)
        return cls(places, root, factor, ones, float(ones.sum() + weight[~heavy].sum()) or 1.0)

    def solve(self, at_rows: np.ndarray) -> np.ndarray:
        """(A, h) the inverse times what is at all rows, (A, m)."""
        right = (at_rows[:, self.places] * self.root).astype(self.root.dtype).T
        # For one right-hand side LAPACK has a quicker routine.
        return cholesky_solve(self.factor, right if len(at_rows) > 1 else right[:, 0]).T * self.root


def _coupled(problem: RowProblem, here: Place) -> _Curvature | _Coupled:
    """What ends a problem that the curvature of each output by itself does not end; that, where pairs are too many."""
    proba = proba_of_logits(problem.logits(here.seen).astype(np.float64))
    likeliest, each = proba.argmax(axis=0), np.arange(proba.shape[1])
    weights = problem.scale * proba[likeliest, each] * proba
    weights[likeliest, each] = 0
    rows, others = np.nonzero((2 * weights * problem.size > _LIGHT).T)
    if len(proba) == 1 or not 0 < len(rows) <= _MOST_PAIRS:
        return _Curvature(problem, here, np.float64)
    root, pairs = np.sqrt(weights[others, rows]), np.arange(len(rows))
    sides = np.zeros((len(rows), len(proba)))
    sides[pairs, others], sides[pairs, likeliest[rows]] = -root, root
    slight = 1e-4 * (sides**2).sum(axis=0).mean()
    system = (problem.among(rows) + 1 / slight) * (sides @ sides.T)
    system[np.diag_indices_from(system)] += 1
    return _Coupled(problem, rows, sides, slight, factored(system))


@dataclass(frozen=True, eq=False)
class _Coupled:
    """The inverse Hessian of the heaviest pairs of a row's likeliest class and another, as in `curvature`."""

    problem: RowProblem
    rows: np.ndarray
    """(T,) of the pairs."""
    sides: np.ndarray
    """(T, K) root of the weight times +1 for the likelier class and -1 for the other."""
    slight: float
    """A penalty of intercepts, for sound factors."""
    factor: np.ndarray
    """(T, T)."""
    caution: float = 1.0

    def times_inverse(self, slope: np.ndarray) -> np.ndarray:
        """(K, m + 1) the inverse Hessian times a slope."""
        at_rows, out = self.problem.seen(slope), slope.astype(np.float64)
        out[:, -1] /= self.slight
        at_pairs = ((at_rows[:, self.rows] + out[:, -1:]).T * self.sides).sum(axis=1)
        back = self.sides * cholesky_solve(self.factor, at_pairs)[:, None]
        np.subtract.at(out.T, self.rows, back)
        out[:, -1] -= back.sum(axis=0) / self.slight
        return out.astype(slope.dtype)
