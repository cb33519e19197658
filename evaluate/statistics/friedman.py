"""Ranks over data sets: which backbone is best in most of them, and whether that is more than chance."""

from __future__ import annotations

import math
from itertools import permutations
from typing import NamedTuple

import numpy as np
import scipy

from .p_values import ALPHA

_DIGITS = 12
"""Scores that differ by rounding alone share a rank."""
_MOST_TO_COUNT = 1_000_000
"""Sums of ranks that one more data set may lead to while the exact distribution is still counted: about a second."""


class Friedman(NamedTuple):
    """Whether k treatments differ in their ranks over N data sets at all."""

    chi_square: float
    """Friedman's statistic with its correction for ties; k - 1 degrees of freedom."""
    p_chi_square: float
    f: float
    """Iman and Davenport's statistic, which is less conservative; k - 1 and (k - 1)(N - 1) degrees of freedom.
    NaN where every data set gives the same order, which leaves nothing to divide by."""
    p_f: float
    """NaN where there is no F."""
    p_exact: float
    """Share of all orders in which the statistic is as large, each as likely in every data set; NaN where there are too
    many to count."""

    @property
    def p(self) -> float:
        """The one that decides: exact, or where that cannot be had, of F, which needs many data sets or treatments."""
        return self.p_f if math.isnan(self.p_exact) else self.p_exact


def ranks_of(scores: np.ndarray) -> np.ndarray:
    """(N, k) ranks of (N, k) scores of which more is better: 1 is the best of its data set, equals share the mean."""
    return scipy.stats.rankdata(-np.round(scores, _DIGITS), axis=1)


def friedman_test(scores: np.ndarray) -> Friedman:
    """Friedman's test (1937) by SciPy, the F of Iman and Davenport (1980, doi 10.1080/03610928008827904), and exactly.

    Args:
        scores: (N, k) of N data sets under k treatments, N >= 2 and k >= 3.

    Returns:
        Statistics and p-values. Where all scores of every data set are equal: 0, and p = 1.
    """
    sets, treatments = scores.shape
    if np.ptp(np.round(scores, _DIGITS), axis=1).max() == 0:
        return Friedman(0.0, 1.0, 0.0, 1.0, 1.0)
    found = scipy.stats.friedmanchisquare(*np.round(scores, _DIGITS).T)
    chi_square, ranks = float(found.statistic), ranks_of(scores)
    if (ranks == ranks[0]).all():
        # The chance that all data sets give the order of the first, whichever that is; ties may change places.
        _, ties = np.unique(ranks[0], return_counts=True)
        same = math.prod(math.factorial(int(count)) for count in ties) / math.factorial(treatments)
        return Friedman(chi_square, float(found.pvalue), np.nan, np.nan, same ** (sets - 1))
    f = (sets - 1) * chi_square / (sets * (treatments - 1) - chi_square)
    p_f = float(scipy.stats.f.sf(f, treatments - 1, (treatments - 1) * (sets - 1)))
    return Friedman(chi_square, float(found.pvalue), f, p_f, _exact_p(ranks))


def _exact_p(ranks: np.ndarray) -> float:
    """The chance of rank sums that are as unequal as those of `ranks` (N, k) when each data set deals out its own.

    The statistic rises with the sum of squares of the rank sums and does not ask whose they are. So the data sets are
    added one by one, and what is counted are the sorted sums. NaN where there are too many of them.
    """
    doubled = np.rint(2 * ranks).astype(np.int64)  # whole numbers, halves of ties included
    sums, proba = np.sort(doubled[:1], axis=1), np.ones(1)
    base = 2 * ranks.size + 1  # more than any sum, so that the sums of a line are the digits of one number
    if base ** ranks.shape[1] >= 2**63:
        return np.nan
    digits = base ** np.arange(ranks.shape[1])
    for dealt in doubled[1:]:
        ways = math.factorial(len(dealt))
        if len(sums) * ways > _MOST_TO_COUNT:
            return np.nan
        orders = np.array(list(permutations(dealt)))
        further = np.sort((sums[:, None] + orders).reshape(-1, len(dealt)), axis=1)
        _, first, which = np.unique(further @ digits, return_index=True, return_inverse=True)
        sums, proba = further[first], np.bincount(which.ravel(), np.repeat(proba / ways, ways))
    return float(proba[(sums**2).sum(axis=1) >= (doubled.sum(axis=0) ** 2).sum()].sum())


def nemenyi_test(mean_ranks: np.ndarray, sets: int, alpha: float = ALPHA) -> tuple[float, np.ndarray]:
    """Nemenyi's test of all pairs (1963), as Demsar has it (2006, jmlr.org/papers/v7/demsar06a.html).

    Args:
        mean_ranks: (k,) over the data sets.
        sets: their number.
        alpha: chance that any pair is significant though none differs.

    Returns:
        The critical difference, beyond which two mean ranks differ significantly; and (k, k) p-values, adjusted for all
        pairs by themselves.
    """
    treatments = len(mean_ranks)
    error = np.sqrt(treatments * (treatments + 1) / (6 * sets))
    # The studentized range is of differences over the error of one mean, not of a difference.
    widths = np.abs(np.subtract.outer(mean_ranks, mean_ranks)) / error * np.sqrt(2)
    p = np.clip(scipy.stats.studentized_range.sf(widths, treatments, np.inf), 0, 1)
    critical = scipy.stats.studentized_range.ppf(1 - alpha, treatments, np.inf) / np.sqrt(2) * error
    return float(critical), p


def cliques(mean_ranks: np.ndarray, apart: np.ndarray) -> list[tuple[int, int]]:
    """The longest runs of neighbours in rank of which none differs significantly from another.

    Args:
        mean_ranks: (k,), rising.
        apart: (k, k) bool, which pairs differ significantly.

    Returns:
        First and last place of each run of two or more; no run lies within another.
    """
    runs: list[tuple[int, int]] = []
    for first in range(len(mean_ranks)):
        last = first
        while last + 1 < len(mean_ranks) and not apart[first : last + 1, last + 1].any():
            last += 1
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    return runs
