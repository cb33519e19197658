"""The arithmetic of the scores, vectorised over weightings, so that a bootstrap of a thousand draws is one call.

Every function takes n predictions and (B, n) weights and gives (B,) values. An integer weight does what repeating the
row would do. A class that no weighted row has is skipped in a mean over classes, never given a made-up value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .retrieval import Retrieved

SMALLEST = float(np.finfo(np.float32).eps)
"""Probabilities are kept as float32; a log-loss takes none for smaller than this, as scikit-learn does for float32."""


@dataclass(frozen=True, eq=False)
class LabeledPredictions:
    """Predictions and the truth: n units, C classes.

    Examples:
        >>> from medprobe.evaluate import predictions_by_system
        >>> resamples = next(iter(predictions_by_system(run).values()))
        >>> scored = resamples[0].scored
        >>> scored.y.shape, scored.proba.shape, scored.classes
        ((12,), (12, 2), ['benign', 'malignant'])
    """

    y: np.ndarray
    """(n,) int64 codes; for multilabel (n, C) of 0 and 1."""
    proba: np.ndarray
    """(n, C) float64, in the order of the classes; for multilabel the chance of each label."""
    task: str
    classes: Sequence[str]
    retrieved: Retrieved | None = None
    """What was found, where the predictions are votes of a search."""

    def __len__(self) -> int:
        return len(self.y)

    def at(self, rows: np.ndarray | slice) -> LabeledPredictions:
        """Those of some of the units."""
        retrieved = None if self.retrieved is None else self.retrieved.at(rows)
        return replace(self, y=self.y[rows], proba=self.proba[rows], retrieved=retrieved)

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


def accuracy(scored: LabeledPredictions, weights: np.ndarray) -> np.ndarray:
    """Share of right predictions; multilabel: mean over labels, not the share of units right in all of them."""
    right = (scored.predicted == scored.y).reshape(len(scored), -1).mean(axis=1)
    return _mean(weights, right)


def subset_accuracy(scored: LabeledPredictions, weights: np.ndarray) -> np.ndarray:
    """Multilabel: share of units that are right in every label."""
    return _mean(weights, (scored.predicted == scored.y).all(axis=1).astype(np.float64))


def balanced_accuracy(scored: LabeledPredictions, weights: np.ndarray) -> np.ndarray:
    """Mean recall of the classes; multilabel: mean over labels of the mean of sensitivity and specificity."""
    scores = one_against_rest(scored, weights)
    found = (scores["recall"] + scores["specificity"]) / 2 if scored.multilabel else scores["recall"]
    return mean_of_defined(found, axis=-1)


def macro_f1(scored: LabeledPredictions, weights: np.ndarray) -> np.ndarray:
    """Mean F1 of the classes that occur in the truth; multilabel: of the labels that do."""
    return mean_of_defined(one_against_rest(scored, weights)["f1"], axis=-1)


def weighted_f1(scored: LabeledPredictions, weights: np.ndarray) -> np.ndarray:
    """Mean F1 of the classes (or labels), weighted by how many units have each."""
    return _mean_by_support(scored, weights, "f1")


def weighted_precision(scored: LabeledPredictions, weights: np.ndarray) -> np.ndarray:
    """Mean precision of the classes (or labels), weighted by how many units have each; 0 for one never predicted."""
    return _mean_by_support(scored, weights, "precision")


def roc_auc(scored: LabeledPredictions, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve, ties counted half; mean over classes one-vs-rest, or over labels."""
    return _over_columns(scored, weights, one_auc)


def roc_auc_ovo(scored: LabeledPredictions, weights: np.ndarray) -> np.ndarray:
    """Mean over pairs of classes of the area that tells the two apart.

    Of each pair it is the mean of two areas, by the probability of the one class and by that of the other, among the
    units of the two. Pairs count the same whatever the size of the classes (Hand and Till 2001, doi
    10.1023/A:1010920819831).
    """
    by_class = np.argsort(scored.y, kind="stable")
    codes, starts = np.unique(scored.y[by_class], return_index=True)
    weights = weights[:, by_class]
    mass, total = np.add.reduceat(weights, starts, axis=1), np.zeros(len(weights))
    for place, code in enumerate(codes):
        score = scored.proba[by_class, code]
        own = starts[place] + np.argsort(score[scored.y[by_class] == code], kind="stable")
        below = np.c_[np.zeros(len(weights)), np.cumsum(weights[:, own], axis=1)]
        first, last = (np.searchsorted(score[own], score, side) for side in ("left", "right"))
        beaten_by = mass[:, [place]] - (below[:, first] + below[:, last]) / 2
        area = ratio(np.add.reduceat(weights * beaten_by, starts, axis=1), mass * mass[:, [place]])
        area[:, place] = np.nan
        total += np.nansum(area, axis=1)
    present = (mass > 0).sum(axis=1)
    return ratio(total, present * (present - 1))


def average_precision(scored: LabeledPredictions, weights: np.ndarray) -> np.ndarray:
    """Sum over thresholds of precision times the gain in recall; mean over classes one-vs-rest, or over labels."""
    return _over_columns(scored, weights, one_average_precision)


def unweighted_kappa(scored: LabeledPredictions, weights: np.ndarray) -> np.ndarray:
    """Cohen's kappa (Cohen 1960, doi 10.1177/001316446002000104): every error counts the same."""
    return _kappa(scored, weights, power=0)


def quadratic_kappa(scored: LabeledPredictions, weights: np.ndarray) -> np.ndarray:
    """Cohen's kappa with quadratic weights (Cohen 1968, doi 10.1037/h0026256)."""
    return _kappa(scored, weights, power=2)


def log_loss(scored: LabeledPredictions, weights: np.ndarray) -> np.ndarray:
    """Mean negative logarithm of the probability of the truth; multilabel: mean over labels."""
    proba = np.clip(scored.proba, SMALLEST, 1 - SMALLEST)
    if scored.multilabel:
        return _mean(weights, -np.log(np.where(scored.truth, proba, 1 - proba)).mean(axis=1))
    return _mean(weights, -np.log(proba[np.arange(len(scored)), scored.y]))


def brier(scored: LabeledPredictions, weights: np.ndarray) -> np.ndarray:
    """Mean squared error of the probabilities: of the positive class (binary), summed over classes, mean of labels."""
    squared = (scored.proba - scored.truth) ** 2
    if scored.multilabel:
        return _mean(weights, squared.mean(axis=1))
    return _mean(weights, squared[:, 1] if scored.task == "binary" else squared.sum(axis=1))


def ece(scored: LabeledPredictions, weights: np.ndarray) -> np.ndarray:
    """Expected calibration error in 15 bins of equal mass (Nixon et al. 2019, arXiv 1904.01685).

    Confidence is that of the predicted class (Guo et al. 2017); for multilabel it is the chance of each label, and
    the mean over labels is taken. Units of equal confidence share a bin, so that the order of rows never matters.
    """
    if scored.multilabel:
        columns = [_one_ece(scored.proba[:, c], scored.truth[:, c], weights) for c in range(scored.proba.shape[1])]
        return np.mean(columns, axis=0)
    return _one_ece(scored.proba.max(axis=1), scored.predicted == scored.y, weights)


_OF_CLASSES = ("roc_auc", "roc_auc_ovo", "average_precision", "balanced_accuracy", "macro_f1")
"""Means over classes."""


def remark(metric: str, scored: LabeledPredictions, *, defined: bool) -> str:
    """Note for the reader: classes missing from a mean over classes, or that there is no value."""
    if not defined:
        return f"not defined: too few classes or labels among the {len(scored)} units"
    if metric not in _OF_CLASSES:
        return ""
    out: np.ndarray = ~np.logical_or.reduce(scored.truth, axis=0)
    if metric == "roc_auc" or (metric == "balanced_accuracy" and scored.multilabel):
        out |= np.logical_and.reduce(scored.truth, axis=0)
    chosen = scored.binary_columns if metric in ("roc_auc", "average_precision") else range(len(out))
    names = [scored.classes[c] for c in chosen if out[c]]
    return f"left out, absent here: {', '.join(names)}" if names else ""


def _kappa(scored: LabeledPredictions, weights: np.ndarray, power: int) -> np.ndarray:
    """1 minus the observed over the expected cost, where classes i and j cost |i - j| ** power, and 0 where i = j."""
    called = confusion(scored, weights)
    apart = np.abs(np.subtract.outer(np.arange(called.shape[1]), np.arange(called.shape[1])))
    distance = (apart > 0) * apart.astype(np.float64) ** power
    rows, columns = called.sum(axis=2), called.sum(axis=1)
    expected = np.einsum("bi,bj,ij->b", rows, columns, distance)
    observed = np.einsum("bij,ij->b", called, distance) * weights.sum(axis=1)
    return 1 - ratio(observed, expected)


def _mean_by_support(scored: LabeledPredictions, weights: np.ndarray, score: str) -> np.ndarray:
    support = weights @ scored.truth.astype(np.float64)
    of_class = np.nan_to_num(one_against_rest(scored, weights)[score])
    return ratio((support * of_class).sum(axis=1), support.sum(axis=1))


def _mean(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    return ratio(weights @ values, weights.sum(axis=1))


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """NaN where `below` is zero."""
    return np.divide(above, below, out=np.full(np.broadcast(above, below).shape, np.nan), where=below > 0)


def mean_of_defined(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Mean over an axis of what is not NaN, such as the seeds in which a score is defined; NaN where nothing is."""
    defined = np.isfinite(values)
    return ratio(np.where(defined, values, 0).sum(axis=axis), defined.sum(axis=axis))


def confusion(scored: LabeledPredictions, weights: np.ndarray) -> np.ndarray:
    """(B, C, C) weight of truth i called j; not for multilabel."""
    classes = scored.proba.shape[1]
    cells, cell = np.unique(scored.y * classes + scored.predicted, return_inverse=True)
    members = (cell[:, None] == np.arange(len(cells))).astype(np.float64)
    called = np.zeros((len(weights), classes * classes))
    called[:, cells] = weights @ members
    return called.reshape(-1, classes, classes)


def one_against_rest(scored: LabeledPredictions, weights: np.ndarray) -> dict[str, np.ndarray]:
    """`recall`, `specificity`, `precision` and `f1` of each class (or label): (B, C), NaN where not defined.

    A class that is absent has no F1, though it be called.
    """
    if scored.multilabel:
        truth, predicted = scored.truth, scored.predicted.astype(bool)
        pairs = (truth & predicted, ~truth & predicted, truth & ~predicted, ~truth & ~predicted)
        hits, false, misses, rest = (weights @ pair.astype(np.float64) for pair in pairs)
    else:
        called = confusion(scored, weights)
        hits = np.diagonal(called, axis1=1, axis2=2)
        false, misses = called.sum(axis=1) - hits, called.sum(axis=2) - hits
        rest = called.sum(axis=(1, 2))[:, None] - hits - false - misses
    return {
        "recall": ratio(hits, hits + misses),
        "specificity": ratio(rest, rest + false),
        "precision": ratio(hits, hits + false),
        "f1": np.where(hits + misses > 0, ratio(2 * hits, 2 * hits + false + misses), np.nan),
    }


def _over_columns(
    scored: LabeledPredictions, weights: np.ndarray, one: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    columns = [one(scored.proba[:, c], scored.truth[:, c], weights) for c in scored.binary_columns]
    return mean_of_defined(np.stack(columns, axis=1), axis=-1)


def steps(score: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B, T) weight of positives and of negatives at each of T distinct scores, highest score first."""
    order = np.argsort(-score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) != 0])
    sorted_weights, positive = weights[:, order], truth[order].astype(np.float64)
    every = sorted_weights if len(starts) == len(order) else np.add.reduceat(sorted_weights, starts, axis=1)
    positives = sorted_weights * positive
    if len(starts) < len(order):
        positives = np.add.reduceat(positives, starts, axis=1)
    return positives, every - positives


def one_auc(score: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(B,) of (n,) scores of the units and whether each is positive; NaN where one class is absent."""
    positives, negatives = steps(score, truth, weights)
    above = np.cumsum(positives, axis=1) - positives / 2
    won = np.einsum("bt,bt->b", above, negatives)
    return ratio(won, positives.sum(axis=1) * negatives.sum(axis=1))


def one_average_precision(score: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(B,) as `one_auc`; NaN where no unit is positive."""
    positives, negatives = steps(score, truth, weights)
    found = np.cumsum(positives, axis=1)
    precision = np.nan_to_num(ratio(found, found + np.cumsum(negatives, axis=1)))
    return ratio(np.einsum("bt,bt->b", precision, positives), found[:, -1])


def class_scores(scored: LabeledPredictions) -> dict[str, np.ndarray]:
    """Each class (or label) against the rest, what the means over classes are means of: (C,) by name of the score.

    They are those of `one_against_rest`, `roc_auc` and `average_precision`; NaN where not defined.
    """
    once = np.ones((1, len(scored)))
    columns = list(zip(scored.proba.T, scored.truth.T, strict=True))
    return {
        **{name: values[0] for name, values in one_against_rest(scored, once).items()},
        "roc_auc": np.array([one_auc(*column, once)[0] for column in columns]),
        "average_precision": np.array([one_average_precision(*column, once)[0] for column in columns]),
    }


def _one_ece(confidence: np.ndarray, right: np.ndarray, weights: np.ndarray) -> np.ndarray:
    ranked = Ranked.of(confidence)
    mass, gap = ranked.sums(weights), ranked.sums(weights * (confidence - right))
    bins = ranked.bins(mass)
    flat = (np.arange(len(weights))[:, None] * BINS + bins).ravel()
    sums = np.bincount(flat, weights=gap.ravel(), minlength=len(weights) * BINS).reshape(-1, BINS)
    return ratio(np.abs(sums).sum(axis=1), mass.sum(axis=1))


BINS = 15
"""Of the calibration error, and so of all that explains it."""


@dataclass(frozen=True, eq=False)
class Ranked:
    """n probabilities in order, T of them distinct. Equal ones stay together, so the order of units never matters."""

    order: np.ndarray
    """(n,) the units by their chance."""
    starts: np.ndarray
    """(T,) where each distinct chance begins in that order."""

    @classmethod
    def of(cls, chance: np.ndarray) -> Ranked:
        """The probabilities are (n,), n >= 1."""
        order = np.argsort(chance, kind="stable")
        return cls(order, np.flatnonzero(np.r_[True, np.diff(chance[order]) != 0]))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """(B, T) sums over the units of each distinct chance, from (B, n)."""
        return np.add.reduceat(values[:, self.order], self.starts, axis=1)

    def bins(self, mass: np.ndarray, most: int = BINS) -> np.ndarray:
        """Which of at most `most` bins of equal mass each distinct chance is in.

        Args:
            mass: (B, T) of the distinct probabilities; where all is zero there is one bin.
            most: bins; some may be empty, for equal probabilities share one.

        Returns:
            (B, T) int64, rising.
        """
        total = mass.sum(axis=1, keepdims=True)
        middle = np.divide(np.cumsum(mass, axis=1) - mass / 2, total, out=np.zeros(mass.shape), where=total > 0)
        return np.minimum((middle * most).astype(np.int64), most - 1)

    def of_units(self, values: np.ndarray) -> np.ndarray:
        """(n,) in the order of the units, from a value a distinct chance (T,)."""
        out = np.empty(len(self.order), values.dtype)
        out[self.order] = np.repeat(values, np.diff(np.append(self.starts, len(self.order))))
        return out
