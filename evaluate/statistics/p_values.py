"""p-values: of paired differences that need no more than arrays, and adjusted for how many there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import scipy

from ...base import look_up

ALPHA = 0.05
"""Below which an adjusted p-value is called significant."""
_MOST_STEPS = 5 * 10**8
"""Additions beyond which the exact distribution of signs is not worth its seconds."""


def holm(p: np.ndarray) -> np.ndarray:
    """p-values adjusted for their number (Holm 1979, jstor 4615733); NaN stays NaN and is not counted.

    Examples:
        >>> import numpy as np
        >>> from medprobe.evaluate import holm
        >>> holm(np.array([0.01, 0.02, 0.04])).round(3).tolist()
        [0.03, 0.04, 0.04]
    """
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """p-values adjusted for the false discovery rate (Benjamini and Hochberg 1995), by SciPy; NaN is not counted.

    Examples:
        >>> import numpy as np
        >>> from medprobe.evaluate import benjamini_hochberg
        >>> benjamini_hochberg(np.array([0.01, 0.02, 0.04])).round(3).tolist()
        [0.03, 0.03, 0.04]
    """
    adjusted = np.full(len(p), np.nan)
    known = np.isfinite(p)
    if known.any():
        adjusted[known] = scipy.stats.false_discovery_control(p[known], method="bh")
    return adjusted


CORRECTIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {"holm": holm, "bh": benjamini_hochberg}
"""Ways of adjusting. A further one is one function and one entry here."""


def with_correction(table: pd.DataFrame, correction: str) -> pd.DataFrame:
    """A table with `p`, and `p_adjusted`, `correction` and `significant` filled in for the number of its rows.

    Raises:
        ProbeError: there is no such correction.
    """
    adjusted = look_up("correction", correction, CORRECTIONS)(table["p"].to_numpy(np.float64))
    return table.assign(p_adjusted=adjusted, correction=correction, significant=adjusted < ALPHA)


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
        return 2 * float(scipy.special.bdtrc((total + found) // 2 - 1, total, 0.5)), True
    if total * len(signed) > _MOST_STEPS:
        return float(2 * scipy.stats.norm.sf(found / np.sqrt((signed**2.0).sum()))), False
    proba = np.zeros(total + 1)  # of each sum of the sizes whose toss is positive
    proba[0] = 1.0
    reached = 0
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        added = np.zeros_like(proba)
        for times, chance in enumerate(scipy.stats.binom.pmf(np.arange(count + 1), count, 0.5)):
            start = times * size
            added[start : start + reached + 1] += chance * proba[: reached + 1]
        proba, reached = added, reached + size * count
    # The signed sum is twice the positive part less the total.
    return float(min(1.0, 2 * proba[(total + found) // 2 :].sum())), True


def wilcoxon_test(differences: np.ndarray) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test (1945, doi 10.2307/3001968), by SciPy; zeros are left out."""
    if len(differences) == 0:
        return np.nan
    # Differences of equal scores must share a rank though they were rounded apart.
    rounded = np.round(differences, 12)
    if not rounded.any():
        return 1.0
    found = scipy.stats.wilcoxon(rounded)
    return float(found.pvalue)  # pyright: ignore[reportAttributeAccessIssue]


def twice_the_median(p: np.ndarray) -> float:
    """One p-value of several on overlapping data, however they depend on each other.

    Twice the median, at most 1 (Meinshausen et al. 2009, arXiv 0811.2177); NaN are left out.
    """
    known = p[np.isfinite(p)]
    if len(known) == 0:
        return np.nan
    return float(known[0]) if len(known) == 1 else float(min(1.0, 2 * np.median(known)))
