"""Ranks over data sets: which backbone is best in most of them, and whether that is more than chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

from .multiplicity import ALPHA

_DIGITS = 12
"""Scores that differ by rounding alone share a rank."""


class Friedman(NamedTuple):
    """Whether k treatments differ in their ranks over N data sets at all."""

    chi_square: float
    """Friedman's statistic with its correction for ties; k - 1 degrees of freedom."""
    p_chi_square: float
    f: float
    """Iman and Davenport's statistic, which is less conservative; k - 1 and (k - 1)(N - 1) degrees of freedom."""
    p_f: float


@dataclass(frozen=True, eq=False)
class Nemenyi:
    """Which treatments differ, if Friedman's test lets one ask."""

    critical_difference: float
    """Two mean ranks that are further apart than this are told apart."""
    p: np.ndarray
    """(k, k), adjusted for all pairs by itself."""


def ranks_of(scores: np.ndarray) -> np.ndarray:
    """(N, k) ranks of (N, k) scores of which more is better: 1 is the best of its data set, equals share the mean."""
    return stats.rankdata(-np.round(scores, _DIGITS), axis=1)


def friedman_test(scores: np.ndarray) -> Friedman:
    """Friedman's test (1937) by SciPy, and the F of Iman and Davenport (1980, doi 10.1080/03610928008827904).

    Args:
        scores: (N, k) of N data sets under k treatments, N >= 2 and k >= 3.

    Returns:
        Statistics and p-values. Where all scores of every data set are equal: 0, and p = 1.
    """
    sets, treatments = scores.shape
    if np.ptp(np.round(scores, _DIGITS), axis=1).max() == 0:
        return Friedman(0.0, 1.0, 0.0, 1.0)
    found = stats.friedmanchisquare(*np.round(scores, _DIGITS).T)
    chi_square = float(found.statistic)
    left = sets * (treatments - 1) - chi_square
    if left <= 1e-9 * chi_square:
        return Friedman(chi_square, float(found.pvalue), np.inf, 0.0)  # every data set gives the same order
    f = (sets - 1) * chi_square / left
    p_f = float(stats.f.sf(f, treatments - 1, (treatments - 1) * (sets - 1)))
    return Friedman(chi_square, float(found.pvalue), f, p_f)


def nemenyi_test(mean_ranks: np.ndarray, sets: int, alpha: float = ALPHA) -> Nemenyi:
    """Nemenyi's test of all pairs (1963), as Demsar has it (2006, jmlr.org/papers/v7/demsar06a.html).

    Args:
        mean_ranks: (k,) over the data sets.
        sets: their number.
        alpha: chance that any pair is told apart though none differs.
    """
    treatments = len(mean_ranks)
    error = np.sqrt(treatments * (treatments + 1) / (6 * sets))
    # The studentized range is of differences over the error of one mean, not of a difference.
    widths = np.abs(np.subtract.outer(mean_ranks, mean_ranks)) / error * np.sqrt(2)
    p = np.clip(stats.studentized_range.sf(widths, treatments, np.inf), 0, 1)
    critical = stats.studentized_range.ppf(1 - alpha, treatments, np.inf) / np.sqrt(2) * error
    return Nemenyi(float(critical), p)


def cliques(mean_ranks: np.ndarray, apart: np.ndarray) -> list[tuple[int, int]]:
    """The longest runs of neighbours in rank of which none is told apart from another.

    Args:
        mean_ranks: (k,), rising.
        apart: (k, k) bool, which pairs are told apart.

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
