"""An approximate inverse of the Hessian of each problem: what makes a few steps do for the whole of the path.

The Hessian is the identity (the penalty) and a sum over rows of ``x x^T`` with ``C * weight * (diag(p) - p p^T)``.
Where the fit is certain of most rows, few rows carry nearly all of it; where it is not, all rows do, in similar ways.
So two parts are kept:

- the heaviest *pairs*: a row, its likeliest class k and another class l, with the weight ``p_k p_l``. Each is a term of
  rank one, ``x (e_k - e_l)``, and all of them together are inverted exactly through a system as large as there are
  pairs (Woodbury). These differ from problem to problem.
- the *rest*, as one d x d matrix that is the same for all classes and all problems of the block, and inverted once for
  them. Only its mean over the problems is needed, since the iterations make up for what it is not; problems that
  differ little take it from a guide, and their pairs among those that the guide has.

Neither changes the optimum, only the way there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .blas import cholesky, cholesky_inverse, cholesky_solve, rowwise
from .problems import Problems

_MOST_PAIRS = 1000
"""Per problem; the cube of it is what a factor costs."""
_LEADING_PAIRS = 1400
"""The same of a leading problem, which learns from more rows than those that follow it."""
_RESERVE = 2000
"""Rows that the pairs of following problems may have, at least: their heaviest are not just those of the leader."""
_LIGHT = 0.3
"""Pairs whose term is smaller than this, relative to the penalty's one, belong to the rest."""
_WORTH = 0.85
"""Share of a problem's weight that the heaviest pairs must carry to be worth a factor."""
_MOST_CAUTION = 5.0
"""Most that a gap is multiplied by for a class that is rare."""
_SAMPLED = 20_000
"""Rows that the rest is made from, at most."""
_FEW = 0.5
"""Rows per column below which the rest is inverted through a system as large as there are rows."""


@dataclass(frozen=True, eq=False)
class _Pairs:
    """The heaviest pairs of one problem, inverted."""

    rows: np.ndarray
    """(R,) positions among the heavy rows."""
    first: np.ndarray
    """(R,) where each row's pairs begin."""
    row: np.ndarray
    """(T,) of each pair, a position in `rows`."""
    sides: np.ndarray
    """(T, K) root of the weight times +1 for the likelier class and -1 for the other."""
    factor: np.ndarray
    """(T, T) lower Cholesky factor, in Fortran's order."""

    def solve(self, at_rows: np.ndarray, shift: np.ndarray, back: np.ndarray) -> None:
        """From what is at the heavy rows (K, H) and the intercepts (K,) to what goes back to the rows, (K, H)."""
        if not len(self.row):
            return
        seen = at_rows[:, self.rows].T + shift.astype(at_rows.dtype)
        at_pairs = np.einsum("tk,tk->t", seen[self.row], self.sides)
        whole = cholesky_solve(self.factor, at_pairs)
        back[:, self.rows] = np.add.reduceat(self.sides * whole[:, None], self.first, axis=0).T


@dataclass(frozen=True, eq=False)
class Rest:
    """The part of the curvature that problems have in common, and what their pairs need of it."""

    inverse: np.ndarray
    """(d, d) of the identity and the rows' second moments under what the heaviest pairs leave of their weights."""
    stretch: np.ndarray
    """(d,) of the rows' columns, the mean over the problems."""
    paired: np.ndarray
    """(L,) bool: for which problems pairs were taken out of it."""
    heavy: np.ndarray
    """(H,) ascending positions of the rows that pairs may have."""
    Z: np.ndarray
    """(H, d) these rows, stretched."""
    solved: np.ndarray
    """(H, d) the inverse times them."""
    kernel: np.ndarray
    """(H, H) their products under the inverse."""

    @classmethod
    def of(cls, problems: Problems, chosen: list[_Choice], dtype: np.dtype, *, leading: bool) -> Rest:
        """Of all problems, from the pairs that each has chosen."""
        stretch = problems.stretch.mean(axis=0).astype(dtype)
        weight = np.mean([choice.left for choice in chosen], axis=0)
        inverse = _inverse_of_rest(problems, weight, stretch, dtype)
        heavy = np.unique(np.concatenate([choice.rows for choice in chosen]))
        if leading and 0 < len(heavy) < _RESERVE:
            heaviest = np.argsort(-np.max([choice.peak for choice in chosen], axis=0), kind="stable")
            heavy = np.union1d(heavy, heaviest[:_RESERVE])
        Z = problems.rows.take(heavy) * stretch
        solved = Z @ inverse
        paired = np.array([len(choice.rows) > 0 for choice in chosen])
        return cls(inverse, stretch, paired, heavy, Z, solved, solved @ Z.T)


def _inverse_of_rest(problems: Problems, weight: np.ndarray, stretch: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """(d, d) of the identity and the second moments of the rows under weights (n,)."""
    rows = problems.rows
    weighted = np.flatnonzero(weight)
    if len(weighted) < _FEW * rows.width:
        block = rows.take(weighted) * (np.sqrt(weight[weighted])[:, None] * stretch.astype(np.float64))
        seen = block.T @ (_inverse(np.eye(len(block)) + block @ block.T) @ block) if len(block) else 0
        return (np.eye(rows.width) - seen).astype(dtype)
    moments = np.eye(rows.width, dtype=dtype)
    step = -(-len(rows) // _SAMPLED)
    for part, Z in rows.blocks():
        sample = slice((-part.start) % step, None, step)
        root = np.sqrt(weight[part][sample] * step).astype(dtype)[:, None]
        block = Z[sample] * (root * stretch)
        moments += block.T @ block
    return _inverse(moments).astype(dtype)


def caution_of(by_class: np.ndarray) -> np.ndarray:
    """(S,) by how much a gap may be understated where classes (S, K) have one curvature, the mean over them.

    The weights of a rare class have less of it.
    """
    share = by_class.min(axis=1) / np.maximum(by_class.mean(axis=1), 1e-300)
    return np.clip(4 * share, 1 / _MOST_CAUTION**2, 1) ** -0.5


class Curvature:
    """The approximate inverse Hessians of some problems at some points.

    Args:
        problems: S problems.
        proba: (K, S, n) the probabilities at the points.
        rest: of L problems that are much like these; None to make it of these.
        like: (S,) which of the L each is like.
        dtype: of the inverses; by default that of the rows. In float32 rounding can make them indefinite where the
            curvature is a million times the penalty's one.
        leading: whether other problems will be given the `rest`.
    """

    def __init__(
        self,
        problems: Problems,
        proba: np.ndarray,
        rest: Rest | None = None,
        *,
        like: np.ndarray | None = None,
        dtype: np.dtype | None = None,
        leading: bool = False,
    ) -> None:
        self._problems = problems
        dtype = rest.inverse.dtype if rest else dtype or problems.rows.dtype
        among, most = [None] * len(problems), _LEADING_PAIRS if leading else _MOST_PAIRS
        if rest is not None:
            like = np.arange(len(problems)) if like is None else like
            among = [rest.heavy if paired else rest.heavy[:0] for paired in rest.paired[like % len(rest.paired)]]
        chosen = [_choose(problems, proba[:, s], s, allowed, most, dtype) for s, allowed in enumerate(among)]
        self.rest = rest or Rest.of(problems, chosen, dtype, leading=leading)
        # The intercepts have no penalty. Where pairs carry their curvature they get a slight one, for sound factors.
        total, unpaired = np.stack([one.total for one in chosen]), np.stack([one.unpaired for one in chosen])
        slight = np.minimum(4 / problems.rows.width, 1e-4 * total)
        self._intercept = 1 / np.where(total > 0, slight + unpaired, 1)
        self.caution = np.ones(len(problems)) if self.rest.paired.any() else caution_of(unpaired)
        """(S,) by how much a gap may be understated."""
        self._pairs = [
            _invert(np.searchsorted(self.rest.heavy, one.rows), one.sides, self.rest.kernel, intercept)
            for one, intercept in zip(chosen, self._intercept, strict=True)
        ]

    def times(self, gradient: np.ndarray, which: np.ndarray) -> np.ndarray:
        """The inverse Hessians of the problems `which` times their gradients (A, P); (A, P) float64."""
        W, b = self._problems.split(gradient)
        rest, exact = self.rest, self._problems.rows.exact
        base = rowwise(W.reshape(-1, W.shape[2]).astype(rest.Z.dtype), rest.inverse, exact=exact)
        shift = b * self._intercept[which]
        if len(rest.heavy):
            at_rows = rowwise(base, rest.Z.T, exact=exact).reshape(*b.shape, -1)
            back = np.zeros_like(at_rows)
            for a, s in enumerate(which):
                self._pairs[s].solve(at_rows[a], shift[a], back[a])
            base -= rowwise(back.reshape(len(base), -1), rest.solved, exact=exact)
            shift -= self._intercept[which] * back.sum(axis=2)
        return self._problems.join(base.reshape(W.shape).astype(np.float64), shift)


@dataclass(frozen=True, eq=False)
class _Choice:
    """The heaviest pairs of one problem, and what they leave."""

    rows: np.ndarray
    """(T,) of each pair, ascending."""
    sides: np.ndarray
    """(T, K) as in `_Pairs`."""
    peak: np.ndarray
    """(n,) the heaviest pair of each row."""
    left: np.ndarray
    """(n,) what the other pairs of each row weigh, per dimension of the classes."""
    total: np.ndarray
    """(K,) for the intercept of each class: what all pairs weigh."""
    unpaired: np.ndarray
    """(K,) what the others do."""


def _choose(
    problems: Problems,
    proba: np.ndarray,
    s: int,
    allowed: np.ndarray | None,
    most: int,
    dtype: np.dtype,
) -> _Choice:
    """The heaviest pairs of problem `s`, from its probabilities (K, n).

    Args:
        problems: among others.
        proba: its own.
        s: which.
        allowed: positions of the rows that pairs are taken from; None to take them from all where they carry enough
            to be worth it.
        most: pairs.
        dtype: of the sides.
    """
    scale = problems.C[s] * problems.weight[s]
    if len(proba) == 1:
        weights, likeliest, dimensions = scale * proba * (1 - proba), None, 1
        total = weights[0]
    else:
        likeliest, dimensions = proba.argmax(axis=0), len(proba) - 1
        best = np.take_along_axis(proba, likeliest[None], axis=0)
        weights = scale * best * proba
        np.put_along_axis(weights, likeliest[None], 0, axis=0)
        total = scale * (proba * (1 - proba)).sum(axis=0)
    places = np.arange(len(scale)) if allowed is None else allowed
    candidates = np.ascontiguousarray(weights[:, places].T)
    length = 2 * problems.rows.width  # of a standardised row, times that of e_k - e_l
    chosen = np.flatnonzero(candidates * length > _LIGHT)
    if len(chosen) > most:
        heaviest = np.argpartition(candidates.ravel()[chosen], -most)[-most:]
        chosen = np.sort(chosen[heaviest])
    place, other = np.divmod(chosen, len(proba))
    rows = places[place]
    twice = 1 if likeliest is None else 2
    if allowed is None and twice * weights[other, rows].sum() < _WORTH * total.sum():
        rows, other = rows[:0], other[:0]
    root = np.sqrt(weights[other, rows])
    sides = np.zeros((len(rows), len(proba)), dtype)
    each = np.arange(len(rows))
    sides[each, other] = root if likeliest is None else -root
    if likeliest is not None:
        sides[each, likeliest[rows]] = root
    taken = np.bincount(rows, twice * root**2, minlength=len(scale))
    by_class = (proba * (1 - proba)) @ scale * (len(proba) / dimensions)
    unpaired = np.maximum(by_class - (sides**2).sum(axis=0) * (len(proba) / dimensions), 0)
    return _Choice(rows, sides, weights.max(axis=0), np.maximum(total - taken, 0) / dimensions, by_class, unpaired)


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Of a symmetric positive definite matrix."""
    inverse = factored(matrix)
    cholesky_inverse(inverse)
    lower = np.tril(inverse)
    full = lower + lower.T
    full.flat[:: len(full) + 1] /= 2
    return full


def factored(matrix: np.ndarray) -> np.ndarray:
    """The lower Cholesky factor of a symmetric matrix, in Fortran's order; its upper triangle is not cleared.

    Where the penalty's one vanishes against very large weights, rounding can leave the matrix indefinite. It is then
    made a little stiffer, as much as is needed: that costs steps and changes no optimum.
    """
    stiffer = np.finfo(matrix.dtype).eps * matrix.diagonal().max()
    while True:
        factor = matrix.copy().T  # symmetric, and so in Fortran's order
        if cholesky(factor):
            return factor
        if not np.isfinite(stiffer):
            raise FloatingPointError("the curvature is not finite")
        matrix = matrix.copy()
        matrix.flat[:: len(matrix) + 1] += stiffer
        stiffer *= 10


def _invert(rows: np.ndarray, sides: np.ndarray, kernel: np.ndarray, intercept: np.ndarray) -> _Pairs:
    """Factors what pairs at `rows` (T,) of the heavy rows, ascending, make of the kernel (H, H)."""
    first = np.flatnonzero(np.r_[True, np.diff(rows) != 0]) if len(rows) else np.empty(0, np.int64)
    distinct = rows[first]
    row = np.repeat(np.arange(len(first)), np.diff(np.r_[first, len(rows)]))
    places = distinct[row]
    system = kernel.take(places, axis=0).take(places, axis=1)  # twice as fast as by np.ix_
    system *= sides @ sides.T
    system += (sides * intercept.astype(sides.dtype)) @ sides.T
    system[np.diag_indices_from(system)] += 1
    return _Pairs(distinct, first, row, sides, factored(system) if len(rows) else system)
