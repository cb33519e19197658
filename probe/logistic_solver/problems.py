"""The objective of S logistic regressions on the same rows, its gradient and its probabilities.

scikit-learn's: ``C * sum(weight * log-loss) + ||W||^2 / 2`` with a free intercept. Two losses: the softmax over K >= 3
classes, K outputs a problem; the sigmoid for two classes or one label of several, one output a problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from .blas import dots, rowwise
from .rows import Kernel, Rows

_NEGLIGIBLE = -46.0
"""Logarithm of the least probability: products with numbers that float32 hardly holds are 100 times slower."""


@dataclass(frozen=True, eq=False)
class Problems:
    """S problems on n rows. A point is (S, K * d + K) float64: the weights output by output, then the intercepts.

    Weights belong to features that are standardised by the problem's own rows, so that the penalty is the one that a
    pipeline of a scaler and a regression would have; `Rows` holds other, common coordinates, and `stretch` leads from
    one to the other.
    """

    rows: Rows
    outputs: int
    """K; 1 for the sigmoid."""
    bounds: np.ndarray | None
    """(K + 1,) where each class begins among the rows, which are sorted by class (softmax)."""
    signs: np.ndarray | None
    """(S, n) 1 and -1 (sigmoid)."""
    weight: np.ndarray
    """(S, n) of each row in each problem; 0 for a row that is not of it."""
    stretch: np.ndarray
    """(S, d) float64: what a column of `rows` is multiplied by to be the problem's own feature."""
    C: np.ndarray
    """(S,) float64."""
    kernels: tuple[Kernel, ...] = ()
    """Of each problem, where rows are few. The weights of a point are then (S, K * n), the coefficients of the rows."""

    @classmethod
    def of(
        cls,
        rows: Rows,
        y: np.ndarray,
        classes: int,
        members: np.ndarray,
        *,
        class_weight: np.ndarray | str | None = None,
        standardize: bool = True,
    ) -> Problems:
        """The problems of learning `y` from each of several parts of the rows.

        Args:
            rows: n rows; sorted by class where `y` holds more than two.
            y: (n,) codes below `classes`, or (n, L) of 0 and 1: then there are L problems a part, side by side.
            classes: how many classes; 2 for labels.
            members: (M, n) bool, the parts; or float, how much of each row is of a part.
            class_weight: None, "balanced", or (classes,) weights.
            standardize: whether the penalty is on weights of standardised features, or of the features as they are.
        """
        labels = y.T if y.ndim == 2 else y[None] if classes == 2 else None
        stretch = 1 / rows.spread(members) if standardize else np.broadcast_to(rows.scale, (len(members), rows.width))
        targets = [y] if labels is None else list(labels)
        weight = [class_weights(target, part, classes, class_weight) for part in members for target in targets]
        kernels = [
            Kernel(rows, np.flatnonzero(part), own) for part, own in zip(members, stretch, strict=True) if rows.few
        ]
        return cls(
            rows=rows,
            outputs=classes if labels is None else 1,
            bounds=np.searchsorted(y, np.arange(classes + 1)) if labels is None else None,
            signs=None
            if labels is None
            else np.tile(np.where(labels > 0, 1, -1), (len(members), 1)).astype(rows.dtype),
            weight=np.stack(weight).astype(rows.dtype),
            stretch=np.repeat(stretch, len(targets), axis=0),
            C=np.ones(len(weight)),
            kernels=tuple(kernel for kernel in kernels for _ in targets),
        )

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def size(self) -> int:
        """Numbers in one problem's point."""
        return self.outputs * (self._width + 1)

    @property
    def _width(self) -> int:
        return len(self.rows) if self.kernels else self.rows.width

    def at(self, C: np.ndarray | float) -> Problems:
        """The same problems with other penalties, one for each or one for all."""
        return replace(self, C=np.broadcast_to(np.asarray(C, np.float64), (len(self),)))

    def among(self, which: np.ndarray) -> Problems:
        """Those of the problems that `which` (positions, ascending) names."""
        if len(which) == len(self):
            return self
        return replace(
            self,
            signs=None if self.signs is None else self.signs[which],
            weight=self.weight[which],
            stretch=self.stretch[which],
            C=self.C[which],
            kernels=tuple(self.kernels[s] for s in which) if self.kernels else (),
        )

    def in_float64(self) -> Problems:
        """The same problems with products in float64."""
        rows = self.rows.in_float64()
        signs = None if self.signs is None else self.signs.astype(rows.dtype)
        return replace(self, rows=rows, signs=signs, weight=self.weight.astype(rows.dtype))

    def split(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights (S, K, d), where rows are few (S, K, n), and intercepts (S, K) of points."""
        cut = self.outputs * self._width
        return points[:, :cut].reshape(len(points), self.outputs, -1), points[:, cut:]

    def join(self, W: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Points of weights (S, K, d or n) and intercepts (S, K)."""
        return np.concatenate([W.reshape(len(W), -1), b], axis=1)

    def evaluate(self, points: np.ndarray, logits: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Value (S,) and gradient (S, K * d + K) of each problem at its point, both float64.

        Products are in the rows' precision, sums over blocks of rows in float64. `logits` (K, S, n) is filled with
        those of every row, those of weight zero too.
        """
        W, _ = self.split(points)
        loss, outputs = np.zeros(len(self)), self.outputs * len(self)
        pieces = self.rows.cuts(outputs)
        by_weights = np.zeros((pieces[-1].stop, self.rows.width))
        by_intercepts = np.zeros((self.outputs, len(self)))
        for part, Z, residuals, with_padding in self._logits(points):
            if logits is not None:
                logits[:, :, part] = residuals
            loss += self._to_residuals(residuals, part)
            for piece in pieces:
                by_weights[piece] += self.rows.times(with_padding[piece], Z)
            by_intercepts += residuals.astype(np.float64).sum(axis=2)
        slope = by_weights[:outputs].reshape(self.outputs, len(self), -1).transpose(1, 0, 2) * self.stretch[:, None]
        C, flat = self.C[:, None, None], W.reshape(len(W), -1)
        value = self.C * loss + dots(flat, flat) / 2
        return value, self.join(C * slope + W, C[:, 0] * by_intercepts.T)

    def empty_logits(self) -> np.ndarray:
        """(K, S, n) to be filled."""
        return np.empty((self.outputs, len(self), len(self.rows)), self.rows.dtype)

    def coefficients(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights (S, K, d) of the columns of `rows`, and intercepts (S, K)."""
        if self.kernels:
            return self._coefficients_of_few(points, np.dtype(np.float64))
        W, b = self.split(points)
        return W * self.stretch[:, None], b

    def logits_of_few(self, points: np.ndarray) -> np.ndarray:
        """(K, S, n) of every row, where rows are few."""
        W, b = self._coefficients_of_few(points, self.rows.dtype)
        (_, Z), exact = next(self.rows.blocks()), self.rows.exact
        logits = rowwise(W.reshape(-1, Z.shape[1]), Z.T, exact=exact).reshape(*b.shape, -1)
        return (logits + b[:, :, None].astype(Z.dtype)).transpose(1, 0, 2)

    def _coefficients_of_few(self, points: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
        W, b = self.split(points)
        (_, Z), exact = next(self.rows.blocks()), self.rows.exact
        W = rowwise(W.reshape(-1, len(Z)).astype(dtype), Z.astype(dtype, copy=False), exact=exact)
        W = W.reshape(*b.shape, -1)
        W *= (self.stretch**2)[:, None].astype(dtype)
        return W, b

    def of_own_rows(self, s: int) -> tuple[Callable[[np.ndarray], float], np.ndarray]:
        """Of problem `s`, where rows are few: its loss and the weights (m,), both of its own rows.

        The loss turns logits (K, m) into its derivative by them, in place.
        """
        own = self.kernels[s].own
        weight = self.weight[s, own]
        if self.signs is not None:
            signs = self.signs[s : s + 1, own]
            return lambda logits: float(_sigmoid_residuals(logits, signs, weight[None])[0]), weight
        assert self.bounds is not None
        bounds = np.searchsorted(own, self.bounds)
        return lambda logits: float(_softmax_residuals(logits[:, None], bounds, weight[None])[0]), weight

    def _logits(self, points: np.ndarray):
        """By blocks of rows: which, the rows (m, d), and logits (K, S, m), contiguous in the rows.

        And (K * S or more, m) an array whose first lines these are, and whose others are zero.
        """
        W, b = self.coefficients(points)
        outputs = self.outputs * len(self)
        pieces = self.rows.cuts(outputs)
        columns = np.zeros((self.rows.width, pieces[-1].stop), self.rows.dtype)
        columns[:, :outputs] = W.transpose(2, 1, 0).reshape(self.rows.width, -1)
        of_pieces = [np.ascontiguousarray(columns[:, piece]) for piece in pieces]
        shift = b.T[:, :, None].astype(self.rows.dtype)
        for part, Z in self.rows.blocks(outputs):
            with_padding = np.empty((columns.shape[1], len(Z)), self.rows.dtype)
            for piece, of_piece in zip(pieces, of_pieces, strict=True):
                # This way round BLAS is up to twice as fast as for the transposed product, and the copy costs little.
                with_padding[piece] = (Z @ of_piece).T
            logits = with_padding[:outputs].reshape(self.outputs, len(self), -1)
            logits += shift
            yield part, Z, logits, with_padding

    def _to_residuals(self, logits: np.ndarray, part: slice) -> np.ndarray:
        """Turns logits into the loss's derivative by them, in place; (S,) float64 the loss."""
        weight = self.weight[:, part]
        if self.signs is not None:
            return _sigmoid_residuals(logits[0], self.signs[:, part], weight)
        assert self.bounds is not None
        return _softmax_residuals(logits, np.clip(self.bounds - part.start, 0, logits.shape[2]), weight)


def proba_of_logits(logits: np.ndarray) -> np.ndarray:
    """Probabilities (K, ...) of logits (K, ...): the softmax, or for K = 1 the sigmoid; done in place."""
    if len(logits) == 1:
        small = np.exp(-np.abs(logits))
        return np.where(logits >= 0, 1, small) / (1 + small)
    logits -= logits.max(axis=0)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=0)
    return logits


def _softmax_residuals(logits: np.ndarray, bounds: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Of logits (K, S, m) whose rows are sorted by class.

    The residual of a row's own class is minus the sum of the others', never one minus its probability: where a row is
    nearly certain, that difference has no digits left in float32. The same holds for the loss.
    """
    logits -= logits.max(axis=0)
    own = np.empty(logits.shape[1:], logits.dtype)
    parts = [slice(*ends) for ends in pairwise(bounds)]
    for k, rows in enumerate(parts):
        own[:, rows] = logits[k, :, rows]
    np.maximum(logits, _NEGLIGIBLE, out=logits)
    np.exp(logits, out=logits)
    for k, rows in enumerate(parts):
        logits[k, :, rows] = 0
    others = logits.sum(axis=0)
    total = others + np.exp(own)
    loss = np.where(own >= 0, np.log1p(others), np.log(total) - own)
    share = weight / total
    logits *= share
    others *= share
    for k, rows in enumerate(parts):
        logits[k, :, rows] = -others[:, rows]
    return dots(loss, weight)


def _sigmoid_residuals(logits: np.ndarray, signs: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Of logits (S, m), with the same care as `_softmax_residuals`."""
    margin = logits * signs
    small = np.exp(np.maximum(-np.abs(margin), _NEGLIGIBLE))
    loss = np.log1p(small) + np.maximum(-margin, 0)
    logits[...] = -signs * weight * np.where(margin >= 0, small, 1) / (1 + small)
    return dots(loss, weight)


def class_weights(codes: np.ndarray, members: np.ndarray, classes: int, how: np.ndarray | str | None) -> np.ndarray:
    """(n,) float64: the weight of each member by its class, and 0 for others.

    Where all members are of one class there is nothing to learn, and all weights are 0.

    Args:
        codes: (n,) class of each row.
        members: (n,) bool, or float: how much of a row is a member.
        classes: how many.
        how: None for ones; "balanced" for members / (classes * members of the class), scikit-learn's; or the weights.
    """
    counts = np.bincount(codes, members, minlength=classes)
    of_class = np.ones(classes)
    if isinstance(how, np.ndarray):
        of_class = how
    elif how == "balanced":
        of_class = counts.sum() / (classes * np.where(counts > 0, counts, 1))
    alone = np.count_nonzero(counts) < 2
    return members * of_class[codes] * (not alone)
