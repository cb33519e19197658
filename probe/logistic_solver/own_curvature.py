"""The inverse Hessian of each problem on its own, where rows are so few that a system of them is solved quickly."""

from __future__ import annotations

import numpy as np

from . import lapack
from .curvature import caution_of, factored
from .problems import Problems
from .products import rowwise

_LIGHT = 0.05
"""Rows whose term is smaller than this, relative to the penalty's one, are left out."""
_DEAR = 2
"""Work, compared to that of one system for all classes, up to which each has its own: that spares a third of steps."""

_System = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Rows (m,), the roots of their weights, and the factor (m, m) of what is to be solved for them."""


class OwnCurvature:
    """The approximate inverse Hessians of some problems on few rows, at some points.

    Without what couples classes, the Hessian of a class is ``I + X^T D X`` with ``C * weight * p (1 - p)`` in D, and
    its inverse follows from the kernel ``X X^T`` of the problem's own standardised rows (Woodbury). Where few rows are
    uncertain, each class has its own D; elsewhere one system serves all classes, with the mean of their weights.

    What problems share would serve less: in many dimensions the rows of two problems, standardised apart, span
    subspaces that are tilted to each other.

    Args:
        problems: S problems with kernels.
        proba: (K, S, n) the probabilities at the points.
        dtype: of the systems; by default that of the rows.
    """

    def __init__(self, problems: Problems, proba: np.ndarray, dtype: np.dtype | None = None) -> None:
        self._problems, self._dtype = problems, dtype or problems.rows.dtype
        self._Z = problems.rows.take(np.arange(len(problems.rows))).astype(self._dtype)
        weights = proba * (1 - proba) * (problems.C[:, None] * problems.weight)
        weights *= len(proba) / max(len(proba) - 1, 1)
        by_class = weights.sum(axis=2).T
        self._intercept = 1 / np.where(by_class > 0, by_class, 1)
        self._systems = [self._systems_of(s, weights[:, s]) for s in range(len(problems))]
        alike = np.array([len(systems) < len(proba) for systems in self._systems])
        self.caution = np.where(alike, caution_of(by_class), 1)
        """(S,) by how much a gap may be understated."""

    def _systems_of(self, s: int, weights: np.ndarray) -> list[_System]:
        """Of a problem with weights (K, n): one for each class, or one for all where that is much less work."""
        own, kernel = self._problems.kernels[s]
        weights = weights[:, own]
        mean = weights.mean(axis=0, keepdims=True)
        heavy, heavy_for_all = (w * kernel.diagonal() > _LIGHT for w in (weights, mean))
        if (heavy.sum(axis=1) ** 3).sum() > _DEAR * heavy_for_all.sum() ** 3:
            weights, heavy = mean, heavy_for_all
        systems = []
        for weight, chosen in zip(weights, heavy, strict=True):
            places = np.flatnonzero(chosen)
            root = np.sqrt(weight[places]).astype(self._dtype)
            system = kernel.take(places, axis=0).take(places, axis=1) * root
            system *= root[:, None]
            system[np.diag_indices_from(system)] += 1
            systems.append((own[places], root, factored(system) if len(places) else system))
        return systems

    def times(self, gradient: np.ndarray, which: np.ndarray) -> np.ndarray:
        """The inverse Hessians of the problems `which` times their gradients (A, P); (A, P) float64."""
        W, b = self._problems.split(gradient)
        stretch, exact = self._problems.stretch[which][:, None], self._problems.rows.exact
        stretched = (W * stretch).astype(self._dtype).reshape(-1, W.shape[2])
        at_rows = rowwise(stretched, self._Z.T, exact=exact).reshape(*b.shape, -1)
        back = np.zeros_like(at_rows)
        for a, s in enumerate(which):
            systems = self._systems[s]
            share = len(at_rows[a]) // len(systems)
            for number, (rows, root, factor) in enumerate(systems):
                if len(rows):
                    classes = slice(number * share, (number + 1) * share)
                    solved = lapack.solve_factored(factor, (at_rows[a, classes][:, rows] * root).T)
                    back[a, classes, rows] = solved * root[:, None]
        seen = rowwise(back.reshape(len(stretched), -1), self._Z, exact=exact)
        return self._problems.join(W - seen.reshape(W.shape) * stretch, b * self._intercept[which])
