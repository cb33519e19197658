"""Tests of paired differences that need no more than arrays: signs of groups, ranks of seeds, and a p-value of many."""

from __future__ import annotations

import numpy as np
from scipy import stats

_MOST_STEPS = 5 * 10**8
"""Additions beyond which the exact distribution of signs is not worth its seconds."""


def mcnemar_test(differences: np.ndarray) -> tuple[float, bool]:
    """McNemar's exact test (1947, doi 10.1007/BF02295996), by the signs of whole groups.

    If two systems are equally good, either could have made the other's calls on a group: the sign of the group's
    difference is a coin toss. The p-value is the chance of tosses with so large a sum. Where each group has one unit
    and there is one model, that is McNemar's exact test on the discordant pairs.

    Args:
        differences: (G,) whole numbers: right calls of one system less those of the other, a group each.

    Returns:
        The two-sided p-value, and whether it is exact; beyond some size it is from the normal approximation
        (Yang et al. 2010, doi 10.1002/bimj.201000035).
    """
    signed = differences[differences != 0].astype(np.int64)
    if len(signed) == 0 or signed.sum() == 0:
        return 1.0, True
    signed = signed // np.gcd.reduce(np.abs(signed))
    sizes, counts = np.unique(np.abs(signed), return_counts=True)
    total, found = int(np.abs(signed).sum()), abs(int(signed.sum()))
    if len(sizes) == 1:
        return float(stats.binomtest((total + found) // 2, total).pvalue), True
    if total * len(signed) > _MOST_STEPS:
        return float(2 * stats.norm.sf(found / np.sqrt((signed**2.0).sum()))), False
    proba = np.zeros(total + 1)  # of each sum of the sizes whose toss is positive
    proba[0] = 1.0
    reached = 0
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        added = np.zeros_like(proba)
        for times, chance in enumerate(stats.binom.pmf(np.arange(count + 1), count, 0.5)):
            start = times * size
            added[start : start + reached + 1] += chance * proba[: reached + 1]
        proba, reached = added, reached + size * count
    # The signed sum is twice the positive part less the total.
    return float(min(1.0, 2 * proba[(total + found) // 2 :].sum())), True


def wilcoxon_test(differences: np.ndarray) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test (1945, doi 10.2307/3001968), by SciPy; zeros are left out."""
    if len(differences) == 0:
        return np.nan
    if not differences.any():
        return 1.0
    # Differences of equal scores must share a rank though they were rounded apart.
    found = stats.wilcoxon(np.round(differences, 12))
    return float(found.pvalue)  # pyright: ignore[reportAttributeAccessIssue]


def twice_the_median(p: np.ndarray) -> float:
    """One p-value of several on overlapping data, however they depend on each other.

    Twice the median, at most 1 (Meinshausen et al. 2009, arXiv 0811.2177); NaN are left out.
    """
    known = p[np.isfinite(p)]
    if len(known) == 0:
        return np.nan
    return float(known[0]) if len(known) == 1 else float(min(1.0, 2 * np.median(known)))
