"""What a score hides: which classes are mistaken for which, and whether the probabilities can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...evaluate.metrics.calibration import Bins, calibration_curve, pooled
from ...evaluate.metrics.functions import class_scores, mean_of_defined, ratio, steps
from ...evaluate.metrics.functions import confusion as confusion_under
from ...evaluate.results.predictions import ResamplePredictions

_GRID = np.linspace(0, 1, 201)


@dataclass(frozen=True, eq=False)
class Confusion:
    """Which class is called which, mean over seeds."""

    shares: np.ndarray
    """(C, C) of the units of class i those called j; each row sums to one, or is NaN where no seed tests the class."""
    counts: np.ndarray
    """(C, C) units a seed."""


def confusion(predicted: Sequence[ResamplePredictions]) -> Confusion:
    """The confusion matrix of a system; not for multilabel, where no class excludes another."""
    counts = np.stack([confusion_under(p.scored, np.ones((1, len(p.scored))))[0] for p in predicted])
    totals = counts.sum(axis=2, keepdims=True)
    return Confusion(mean_of_defined(ratio(counts, totals)), counts.mean(axis=0))


def per_class(predicted: Sequence[ResamplePredictions], classes: Sequence[str]) -> pd.DataFrame:
    """How a system does on each class, one against the rest.

    Returns:
        One row per class in the order of the card: `class`, `units` (with the class, a seed), and the mean over seeds
        (`_mean`) and their standard deviation (`_sd`) of each of `class_scores`; NaN where no seed defines it.
    """
    seeds = [class_scores(p.scored) for p in predicted]
    columns: dict[str, object] = {
        "class": list(classes),
        "units": np.mean([p.scored.truth.sum(axis=0) for p in predicted], axis=0),
    }
    for name in seeds[0]:
        values = np.stack([seed[name] for seed in seeds])
        columns[f"{name}_mean"], columns[f"{name}_sd"] = mean_of_defined(values), _sd(values)
    return pd.DataFrame(columns)


@dataclass(frozen=True, eq=False)
class Reliability:
    """Predicted probabilities against observed frequencies, all seeds together."""

    bins: Bins
    """As `reliability_table` has them."""
    histogram: np.ndarray
    """(20,) share of all predictions in each twentieth of 0 to 1."""


def reliability(predicted: Sequence[ResamplePredictions]) -> Reliability:
    """How far a system's probabilities can be taken at their word."""
    chance, came_true = pooled([p.scored for p in predicted])
    return Reliability(
        calibration_curve(chance, came_true), np.histogram(chance, bins=20, range=(0, 1))[0] / len(chance)
    )


@dataclass(frozen=True, eq=False)
class Roc:
    """A receiver operating characteristic, averaged over seeds at each false positive rate (Fawcett 2006)."""

    false: np.ndarray
    """(g,) false positive rate."""
    found: np.ndarray
    """(g,) mean true positive rate."""
    sd: np.ndarray
    """(g,) its standard deviation over seeds; NaN of one seed."""


def roc(predicted: Sequence[ResamplePredictions]) -> Roc | None:
    """The curve of a binary system; None where every test has one class alone."""
    curves = []
    for p in predicted:
        positive = p.scored.truth[:, 1]
        if positive.any() and not positive.all():
            counts = steps(p.scored.proba[:, 1], positive, np.ones((1, len(positive))))
            found, false = (np.r_[0, count[0].cumsum() / count.sum()] for count in counts)
            curves.append(np.interp(_GRID, false, found))
    if not curves:
        return None
    values = np.stack(curves)
    # A curve starts where nothing is called positive, whatever its first step gains at no cost.
    return Roc(
        np.r_[0, _GRID], np.r_[0, mean_of_defined(values)], np.r_[np.nan if len(curves) == 1 else 0, _sd(values)]
    )


def _sd(values: np.ndarray) -> np.ndarray:
    """Over the first axis, of what is defined; NaN of fewer than two."""
    count = np.isfinite(values).sum(axis=0)
    squared = np.where(np.isfinite(values), (values - mean_of_defined(values)) ** 2, 0).sum(axis=0)
    return np.sqrt(ratio(squared, count - 1))
