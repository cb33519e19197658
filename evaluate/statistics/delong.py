"""The area under the ROC curve compared between two systems on the same units, by its components."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DeLong:
    """What the test found."""

    auc_a: float
    auc_b: float
    error: float
    """Standard error of the difference."""
    p: float
    """Two-sided; NaN where a class is absent or in one group alone, or where areas differ without any error."""


@dataclass(frozen=True, eq=False)
class RankedGroups:
    """How one system ranks the units of a test, as sums over its G groups: all that the test needs of the system."""

    auc: float
    """NaN where a class is absent."""
    shares: np.ndarray
    """(2, G) float64: how much the positives, and the negatives, of each group raise the area above its mean."""
    present: np.ndarray
    """(2, G) bool: whether a group has positives, and negatives."""

    @classmethod
    def of(cls, truth: np.ndarray, score: np.ndarray, group: np.ndarray) -> RankedGroups:
        """Of units with `truth` (n,) bool, `score` (n,) and `group` (n,) codes."""
        _, code = np.unique(group, return_inverse=True)
        parts = auc_components(truth, score)
        auc = float(parts[0].mean()) if len(parts[0]) and len(parts[1]) else np.nan
        shares, present = np.zeros((2, code.max(initial=-1) + 1)), np.zeros((2, code.max(initial=-1) + 1), bool)
        for side, (values, chosen) in enumerate(zip(parts, (truth, ~truth), strict=True)):
            present[side, code[chosen]] = True
            shares[side] = np.bincount(code[chosen], values - auc, shares.shape[1]) / max(len(values), 1)
        return cls(auc, shares, present)


def delong_test(a: Sequence[RankedGroups], b: Sequence[RankedGroups]) -> DeLong:
    """Tests the difference of two correlated areas (DeLong et al. 1988, doi 10.2307/2531595).

    The variance is Obuchowski's for clustered data (1997, doi 10.2307/2533958); where every group has one unit it is
    DeLong's own. Groups are independent of each other, units of one group need not be. Of several models of a system
    for the same units the components are averaged: the area is then the mean of their areas, and the variance is
    exactly its own.

    Args:
        a: the models of one system.
        b: those of the other, on the same units.
    """
    auc_a, auc_b = (sum(one.auc for one in side) / len(side) for side in (a, b))
    if math.isnan(auc_a):
        return DeLong(np.nan, np.nan, np.nan, np.nan)
    of_a, of_b = (np.add.reduce([one.shares for one in side]) / len(side) for side in (a, b))
    error = math.sqrt(max(_clustered_variance(of_a - of_b, a[0].present.sum(axis=1)), 0.0))
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
    positives, negatives = score[truth], score[~truth]
    below = _below(np.sort(negatives), positives)
    return below, 1 - _below(np.sort(positives), negatives)


def _below(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The share of `ordered` that is below each value; what is equal counts half."""
    twice = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return twice / (2 * max(len(ordered), 1))


def _clustered_variance(shares: np.ndarray, groups: np.ndarray) -> float:
    """Of the sum of `shares` (2, G); NaN where one of the classes is in one of the groups alone."""
    if groups.min() < 2:
        return np.nan
    count, factors = shares.shape[1], groups / (groups - 1)
    of_each = factors @ (shares**2).sum(axis=1)
    return float(of_each + 2 * count / (count - 1) * (shares[0] @ shares[1]))


def _p(difference: float, error: float) -> float:
    if math.isnan(error):
        return np.nan
    if error <= 1e-12:
        # Both rank every pair equally, or both are without error: nothing to measure by.
        return 1.0 if abs(difference) <= 1e-12 else np.nan
    return math.erfc(abs(difference) / error / math.sqrt(2))
