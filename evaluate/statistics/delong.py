"""The area under the ROC curve compared between two systems on the same units, by its components."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class DeLong:
    """What the test found."""

    auc_a: float
    auc_b: float
    error: float
    """Standard error of the difference."""
    p: float
    """Two-sided; NaN where a class is absent or in one group alone, or where areas differ without any error."""


def delong_test(truth: np.ndarray, a: np.ndarray, b: np.ndarray, group: np.ndarray) -> DeLong:
    """Tests the difference of two correlated areas (DeLong et al. 1988, doi 10.2307/2531595).

    The variance is Obuchowski's for clustered data (1997, doi 10.2307/2533958); where every group has one unit it is
    DeLong's own. Components come from midranks (Sun and Xu 2014, doi 10.1109/LSP.2014.2337313), so ties count half.
    Of several sets of scores for the same units the components are averaged: the area is then the mean of their areas,
    and the variance is exactly its own.

    Args:
        truth: (n,) bool, positive units.
        a: (S, n) scores of one system, a row a model.
        b: (S, n) scores of the other.
        group: (n,) codes; groups are independent of each other, units of one group need not be.
    """
    of_positives_a, of_negatives_a = _mean_components(truth, a)
    of_positives_b, of_negatives_b = _mean_components(truth, b)
    if not truth.any() or truth.all():
        return DeLong(np.nan, np.nan, np.nan, np.nan)
    auc_a, auc_b = float(of_positives_a.mean()), float(of_positives_b.mean())
    variance = _clustered_variance(
        of_positives_a - of_positives_b, of_negatives_a - of_negatives_b, group[truth], group[~truth]
    )
    error = float(np.sqrt(max(variance, 0.0)))
    return DeLong(auc_a, auc_b, error, _p(auc_a - auc_b, error))


def auc_components(truth: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much of the other class each unit is ranked right against.

    Args:
        truth: (n,) bool, positive units.
        score: (n,).

    Returns:
        Of the positives, the share of negatives below each; of the negatives, the share of positives above each; both
        in the order of the units, ties counted half. The mean of either is the area under the curve.
    """
    ranks = stats.rankdata(score)
    positives, negatives = truth.sum(), (~truth).sum()
    below = (ranks[truth] - stats.rankdata(score[truth])) / max(negatives, 1)
    above = 1 - (ranks[~truth] - stats.rankdata(score[~truth])) / max(positives, 1)
    return below, above


def _mean_components(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    parts = [auc_components(truth, score) for score in scores]
    return np.mean([below for below, _ in parts], axis=0), np.mean([above for _, above in parts], axis=0)


def _clustered_variance(
    of_positives: np.ndarray, of_negatives: np.ndarray, positive_group: np.ndarray, negative_group: np.ndarray
) -> float:
    """Of the mean of the components; NaN where one of the classes is in one group alone."""
    groups = np.union1d(positive_group, negative_group)
    mean, variance, sums = of_positives.mean(), 0.0, []
    for values, group in ((of_positives, positive_group), (of_negatives, negative_group)):
        count = len(np.unique(group))
        if count < 2:
            return np.nan
        total = np.bincount(np.searchsorted(groups, group), weights=values - mean, minlength=len(groups))
        variance += count / (count - 1) * (total**2).sum() / len(values) ** 2
        sums.append(total)
    between = len(groups) / (len(groups) - 1) * (sums[0] * sums[1]).sum() / (len(of_positives) * len(of_negatives))
    return float(variance + 2 * between)


def _p(difference: float, error: float) -> float:
    if np.isnan(error):
        return np.nan
    if error <= 1e-12:
        # Both rank every pair equally, or both are without error: nothing to measure by.
        return 1.0 if abs(difference) <= 1e-12 else np.nan
    return float(2 * stats.norm.sf(abs(difference) / error))
