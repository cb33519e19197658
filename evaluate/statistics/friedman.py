"""Ranks over data sets: which backbone is best in most of them, and whether that is more than chance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy

from .p_values import ALPHA

_DIGITS = 12
"""Scores that differ by rounding alone share a rank."""
_ORDERS = 9_999
"""Orders of the ranks that are tried: all where there are no more, else as many random ones."""


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
    p: float
    """Share of all orders in which the statistic is as large, each as likely in every data set; it decides, since the
    others need many data sets."""


def ranks_of(scores: np.ndarray) -> np.ndarray:
    """(N, k) ranks of (N, k) scores of which more is better: 1 is the best of its data set, equals share the mean."""
    return scipy.stats.rankdata(-np.round(scores, _DIGITS), axis=1)


def friedman_test(scores: np.ndarray) -> Friedman:
    """Friedman's test (1937) by SciPy, the F of Iman and Davenport (1980, doi 10.1080/03610928008827904), and SciPy's
    permutation test.

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
    beyond = sets * (treatments - 1) - chi_square
    f = (sets - 1) * chi_square / beyond if beyond > 1e-9 else np.nan
    p_f = float(scipy.stats.f.sf(f, treatments - 1, (treatments - 1) * (sets - 1)))
    return Friedman(chi_square, float(found.pvalue), f, p_f, _permuted_p(ranks))


def _permuted_p(ranks: np.ndarray) -> float:
    """The chance of rank sums that are as unequal as those of `ranks` (N, k) when each data set deals out its own."""

    def inequality(*columns: np.ndarray, axis: int) -> np.ndarray:
        return np.sum([column.sum(axis=axis) ** 2 for column in columns], axis=0)

    columns = tuple(np.rint(2 * ranks).astype(np.int64).T)  # whole numbers, halves of ties included
    settings = {"permutation_type": "samples", "alternative": "greater", "vectorized": True}
    settings |= {"n_resamples": _ORDERS, "random_state": np.random.default_rng(0)}
    return float(scipy.stats.permutation_test(columns, inequality, **settings).pvalue)


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
