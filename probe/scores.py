"""The arithmetic of the scores, vectorised over weightings, so that a bootstrap of a thousand draws is one call.

Every function takes n predictions and (B, n) weights and gives (B,) values. An integer weight does what repeating the
row would do. A class that no weighted row has is left out of a mean over classes, never given a made-up value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

ECE_BINS = 15
SMALLEST = float(np.finfo(np.float32).eps)
"""Probabilities are kept as float32; a log-loss takes none for smaller than this, as scikit-learn does for float32."""


@dataclass(frozen=True, eq=False)
class Scored:
    """Predictions and the truth: n units, C classes."""

    y: np.ndarray
    """(n,) int64 codes; for multilabel (n, C) of 0 and 1."""
    proba: np.ndarray
    """(n, C) float64, in the order of the classes; for multilabel the chance of each label."""
    task: str
    classes: Sequence[str]

    def __len__(self) -> int:
        return len(self.y)

    @property
    def multilabel(self) -> bool:
        """Whether a unit has any number of labels."""
        return self.y.ndim == 2

    @cached_property
    def predicted(self) -> np.ndarray:
        """(n,) the likeliest class, the first of equals; for multilabel (n, C), 1 from a chance of 0.5."""
        return (self.proba >= 0.5).astype(np.int64) if self.multilabel else self.proba.argmax(axis=1)

    @cached_property
    def truth(self) -> np.ndarray:
        """(n, C) bool: which classes each unit has."""
        return self.y.astype(bool) if self.multilabel else self.y[:, None] == np.arange(self.proba.shape[1])

    @cached_property
    def binary_columns(self) -> list[int]:
        """The columns that rank the units: for a binary task the positive class alone, else each class."""
        return [1] if self.task == "binary" else list(range(self.proba.shape[1]))


def accuracy(scored: Scored, weights: np.ndarray) -> np.ndarray:
    """Share of right predictions; multilabel: mean over labels, not the share of units right in all of them."""
    right = (scored.predicted == scored.y).reshape(len(scored), -1).mean(axis=1)
    return _mean(weights, right)


def balanced_accuracy(scored: Scored, weights: np.ndarray) -> np.ndarray:
    """Mean recall of the classes; multilabel: mean over labels of the mean of sensitivity and specificity."""
    if scored.multilabel:
        hits, false, misses, rest = _label_counts(scored, weights)
        return _over_classes((_ratio(hits, hits + misses) + _ratio(rest, rest + false)) / 2)
    confusion = _confusion(scored, weights)
    return _over_classes(_ratio(np.diagonal(confusion, axis1=1, axis2=2), confusion.sum(axis=2)))


def macro_f1(scored: Scored, weights: np.ndarray) -> np.ndarray:
    """Mean F1 of the classes that occur in the truth; multilabel: of the labels that do."""
    if scored.multilabel:
        hits, false, misses, _ = _label_counts(scored, weights)
    else:
        confusion = _confusion(scored, weights)
        hits = np.diagonal(confusion, axis1=1, axis2=2)
        false, misses = confusion.sum(axis=1) - hits, confusion.sum(axis=2) - hits
    f1 = _ratio(2 * hits, 2 * hits + false + misses)
    return _over_classes(np.where(hits + misses > 0, f1, np.nan))


def roc_auc(scored: Scored, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve, ties counted half; mean over classes one-vs-rest, or over labels."""
    return _over_columns(scored, weights, _one_auc)


def average_precision(scored: Scored, weights: np.ndarray) -> np.ndarray:
    """Sum over thresholds of precision times the gain in recall; mean over classes one-vs-rest, or over labels."""
    return _over_columns(scored, weights, _one_average_precision)


def quadratic_kappa(scored: Scored, weights: np.ndarray) -> np.ndarray:
    """Cohen's kappa with quadratic weights (Cohen 1968, doi 10.1037/h0026256)."""
    confusion = _confusion(scored, weights)
    distance = np.subtract.outer(np.arange(confusion.shape[1]), np.arange(confusion.shape[1])) ** 2.0
    rows, columns = confusion.sum(axis=2), confusion.sum(axis=1)
    expected = np.einsum("bi,bj,ij->b", rows, columns, distance)
    observed = np.einsum("bij,ij->b", confusion, distance) * weights.sum(axis=1)
    return 1 - _ratio(observed, expected)


def log_loss(scored: Scored, weights: np.ndarray) -> np.ndarray:
    """Mean negative logarithm of the probability of the truth; multilabel: mean over labels."""
    proba = np.clip(scored.proba, SMALLEST, 1 - SMALLEST)
    if scored.multilabel:
        return _mean(weights, -np.log(np.where(scored.truth, proba, 1 - proba)).mean(axis=1))
    return _mean(weights, -np.log(proba[np.arange(len(scored)), scored.y]))


def brier(scored: Scored, weights: np.ndarray) -> np.ndarray:
    """Mean squared error of the probabilities: of the positive class (binary), summed over classes, mean of labels."""
    squared = (scored.proba - scored.truth) ** 2
    if scored.multilabel:
        return _mean(weights, squared.mean(axis=1))
    return _mean(weights, squared[:, 1] if scored.task == "binary" else squared.sum(axis=1))


def ece(scored: Scored, weights: np.ndarray) -> np.ndarray:
    """Expected calibration error in 15 bins of equal mass (Nixon et al. 2019, arXiv 1904.01685).

    Confidence is that of the predicted class (Guo et al. 2017); for multilabel it is the chance of each label, and
    the mean over labels is taken. Units of equal confidence share a bin, so that the order of rows never matters.
    """
    if scored.multilabel:
        columns = [_one_ece(scored.proba[:, c], scored.truth[:, c], weights) for c in range(scored.proba.shape[1])]
        return np.mean(columns, axis=0)
    return _one_ece(scored.proba.max(axis=1), scored.predicted == scored.y, weights)


def remark(metric: str, scored: Scored) -> str:
    """What a reader must be told: classes left out of a mean over classes, or why there is no value."""
    present: np.ndarray = np.logical_or.reduce(scored.truth, axis=0)
    full: np.ndarray = np.logical_and.reduce(scored.truth, axis=0)
    if metric in ("roc_auc", "average_precision"):
        chosen = scored.binary_columns
        positives, rest = present[chosen], ~full[chosen]
        out = ~(positives & rest) if metric == "roc_auc" else ~positives
        names = [scored.classes[c] for c, left in zip(chosen, out, strict=True) if left]
        if out.all():
            return f"not defined: only one class among the {len(scored)} units"
    elif metric in ("balanced_accuracy", "macro_f1"):
        out = ~present | full if scored.multilabel and metric == "balanced_accuracy" else ~present
        names = [name for name, left in zip(scored.classes, out, strict=True) if left]
        if out.all():
            return "not defined: no label occurs both ways among the units"
    elif metric == "quadratic_kappa":
        alone = len(np.unique(np.r_[scored.y, scored.predicted])) == 1
        return "not defined: one class alone is seen and predicted" if alone else ""
    else:
        return ""
    return f"left out, absent here: {', '.join(names)}" if names else ""


def _mean(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    return _ratio(weights @ values, weights.sum(axis=1))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """NaN where `below` is zero."""
    return np.divide(above, below, out=np.full(np.broadcast(above, below).shape, np.nan), where=below > 0)


def _over_classes(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is defined; NaN where nothing is."""
    defined = np.isfinite(values)
    return _ratio(np.where(defined, values, 0).sum(axis=-1), defined.sum(axis=-1).astype(np.float64))


def _confusion(scored: Scored, weights: np.ndarray) -> np.ndarray:
    """(B, C, C) weight of truth i called j."""
    classes = scored.proba.shape[1]
    cells, cell = np.unique(scored.y * classes + scored.predicted, return_inverse=True)
    members = (cell[:, None] == np.arange(len(cells))).astype(np.float64)
    confusion = np.zeros((len(weights), classes * classes))
    confusion[:, cells] = weights @ members
    return confusion.reshape(-1, classes, classes)


def _label_counts(scored: Scored, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(B, C) weights of true positives, false positives, false negatives, true negatives of each label."""
    truth, predicted = scored.truth, scored.predicted.astype(bool)
    pairs = (truth & predicted, ~truth & predicted, truth & ~predicted, ~truth & ~predicted)
    hits, false, misses, rest = (weights @ pair.astype(np.float64) for pair in pairs)
    return hits, false, misses, rest


def _over_columns(
    scored: Scored, weights: np.ndarray, one: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    columns = [one(scored.proba[:, c], scored.truth[:, c], weights) for c in scored.binary_columns]
    return _over_classes(np.stack(columns, axis=1))


def _steps(score: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B, T) weight of positives and of negatives at each of T distinct scores, highest score first."""
    order = np.argsort(-score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) != 0])
    sorted_weights, positive = weights[:, order], truth[order].astype(np.float64)
    every = sorted_weights if len(starts) == len(order) else np.add.reduceat(sorted_weights, starts, axis=1)
    positives = sorted_weights * positive
    if len(starts) < len(order):
        positives = np.add.reduceat(positives, starts, axis=1)
    return positives, every - positives


def _one_auc(score: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    positives, negatives = _steps(score, truth, weights)
    above = np.cumsum(positives, axis=1) - positives / 2
    won = np.einsum("bt,bt->b", above, negatives)
    return _ratio(won, positives.sum(axis=1) * negatives.sum(axis=1))


def _one_average_precision(score: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    positives, negatives = _steps(score, truth, weights)
    found = np.cumsum(positives, axis=1)
    precision = np.nan_to_num(_ratio(found, found + np.cumsum(negatives, axis=1)))
    return _ratio(np.einsum("bt,bt->b", precision, positives), found[:, -1])


def _one_ece(confidence: np.ndarray, right: np.ndarray, weights: np.ndarray) -> np.ndarray:
    order = np.argsort(confidence, kind="stable")
    value = confidence[order]
    starts = np.flatnonzero(np.r_[True, np.diff(value) != 0])
    mass = np.add.reduceat(weights[:, order], starts, axis=1)
    gap = np.add.reduceat(weights[:, order] * (value - right[order]), starts, axis=1)
    total = mass.sum(axis=1, keepdims=True)
    middle = _ratio(np.cumsum(mass, axis=1) - mass / 2, np.broadcast_to(total, mass.shape))
    bins = np.minimum((np.nan_to_num(middle) * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    flat = (np.arange(len(weights))[:, None] * ECE_BINS + bins).ravel()
    sums = np.bincount(flat, weights=gap.ravel(), minlength=len(weights) * ECE_BINS).reshape(-1, ECE_BINS)
    return _ratio(np.abs(sums).sum(axis=1), total[:, 0])
