"""Calibration: reliability curves, and the parts of the Brier score; the calibration error is `functions.ece`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .functions import BINS, LabeledPredictions, Ranked


@dataclass(frozen=True, eq=False)
class Bins:
    """Predicted probabilities against observed frequencies, in b bins that are not empty."""

    stated: np.ndarray
    """(b,) mean chance, rising."""
    true: np.ndarray
    """(b,) share that came true."""
    count: np.ndarray
    """(b,) predictions."""


def calibration_curve(chance: np.ndarray, came_true: np.ndarray, most: int = BINS) -> Bins:
    """Reliability data.

    Args:
        chance: (n,) stated.
        came_true: (n,) bool.
        most: bins of equal mass.
    """
    ranked = Ranked.of(chance)
    bins = ranked.of_units(ranked.bins(ranked.sums(np.ones((1, len(chance)))), most)[0])
    count = np.bincount(bins, minlength=most)
    used = count > 0
    stated, true = (np.bincount(bins, weights=values, minlength=most)[used] for values in (chance, came_true))
    return Bins(stated / count[used], true / count[used], count[used])


def pooled(tests: Sequence[LabeledPredictions]) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities in all tests that a reader would act on, and which came true.

    Binary: the chance of the positive class. Multilabel: the chance of every label. Else: of the class that is called.
    """
    chance, came_true = (np.concatenate(side) for side in zip(*map(_of_one, tests), strict=True))
    return chance, came_true


def _of_one(scored: LabeledPredictions) -> tuple[np.ndarray, np.ndarray]:
    if scored.multilabel:
        return scored.proba.ravel(), scored.truth.ravel()
    if scored.task == "binary":
        return scored.proba[:, 1], scored.truth[:, 1]
    return scored.proba.max(axis=1), scored.predicted == scored.y


@dataclass(frozen=True)
class BrierParts:
    """The Brier score taken apart: score = reliability - resolution + uncertainty + within."""

    score: float
    reliability: float
    """How far the bins' probabilities are from what came true; 0 is best."""
    resolution: float
    """How far apart the bins are in what came true; more is better."""
    uncertainty: float
    """Of the labels themselves: what stating their shares for every unit would score."""
    within: float
    """What binning leaves out: differences between probabilities inside a bin. Zero where there are none."""


def brier_parts(scored: LabeledPredictions, most: int = BINS) -> BrierParts:
    """Murphy's partition (1973) over bins of equal mass.

    It is exact for few distinct probabilities. Others are binned, and the differences inside a bin are reported
    separately (`within`; Stephenson et al. 2008, doi 10.1175/2007WAF2006116.1). As the score itself: of the positive
    class for binary, summed over classes, the mean of labels.
    """
    if len(scored) == 0:
        return BrierParts(*[np.nan] * 5)
    columns = [_parts(scored.proba[:, c], scored.truth[:, c], most) for c in scored.binary_columns]
    combined = np.mean(columns, axis=0) if scored.multilabel else np.sum(columns, axis=0)
    score, reliability, resolution, uncertainty = map(float, combined)
    return BrierParts(
        score, reliability, resolution, uncertainty, within=score - (reliability - resolution + uncertainty)
    )


def _parts(chance: np.ndarray, truth: np.ndarray, most: int) -> tuple[float, float, float, float]:
    bins, base = calibration_curve(chance, truth, most), float(truth.mean())
    share = bins.count / len(chance)
    return (
        float(((chance - truth) ** 2).mean()),
        float((share * (bins.stated - bins.true) ** 2).sum()),
        float((share * (bins.true - base) ** 2).sum()),
        base * (1 - base),
    )
