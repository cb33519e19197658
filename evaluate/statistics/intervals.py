"""Intervals of scores and of their differences: what other patients might have given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from ...base import ProbeError, look_up

FEWEST_GROUPS = 10
"""With fewer test groups no interval keeps its word (measured), and none is given."""
LEARNT = 0.2
"""What the jackknife lacks in the covariances of resamples that learn from each other's tests, as a share of them.

From 0, where models do not depend on single groups, to 1, where they learn nothing else; chosen so that simulated
intervals cover (docs/statistics.md).
"""


class Bounds(NamedTuple):
    """An interval; NaN twice where there is none."""

    low: float = np.nan
    high: float = np.nan
    note: str = ""
    """Why there is none, or why it is of another kind than requested."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """A mean over resamples, and what it would be with other groups in the test."""

    value: float
    """Of all groups; NaN where not defined."""
    left_out: Callable[[], np.ndarray]
    """Gives (B,), with one block of groups left out at a time; called only where the interval needs it."""
    drawn: Callable[[], np.ndarray]
    """Gives (draws,), under draws of groups; likewise."""
    groups: int
    """How many there are in any test."""
    effective_groups: float
    """As many as would count the same if each were tested equally often."""
    predictions_per_group: float
    """Mean number of units, times labels, that one test has of a group."""
    range: tuple[float, float] = (0, 1)
    """Of the metric."""
    effects: Callable[[], np.ndarray] | None = None
    """Gives (J, B), how much of each change of the mean each resample makes; None where all test the same groups."""


def interval_of(kind: str, estimate: Estimate, confidence: float) -> Bounds:
    """The interval of an estimate: every interval of a table comes from here, or from `interval_of_difference`."""
    if np.isnan(estimate.value):
        return Bounds()
    if estimate.groups < FEWEST_GROUPS:
        return Bounds(note=f"no interval: {estimate.groups} test groups, fewer than {FEWEST_GROUPS}")
    return INTERVALS[kind](estimate, confidence)


def interval_of_difference(kind: str, a: Estimate, b: Estimate, confidence: float) -> Bounds:
    """The interval of a - b, paired by the groups that both are tested on.

    Where `kind` is `wilson`, from the variance of the difference, as in `wilson`, and, where few groups distinguish the
    two, from the intervals of both (Zou and Donner 2008, doi 10.1002/sim.3095), which keep their width where a score is
    at the end of its range; else from the draws of the difference.
    """
    if kind != "wilson":
        difference = Estimate(
            value=a.value - b.value,
            left_out=lambda: a.left_out() - b.left_out(),
            drawn=lambda: a.drawn() - b.drawn(),
            groups=max(a.groups, b.groups),
            effective_groups=min(a.effective_groups, b.effective_groups),
            predictions_per_group=a.predictions_per_group,
        )
        return interval_of(kind, difference, confidence)
    of_a, of_b = (interval_of(kind, each, confidence) for each in (a, b))
    if np.isnan(of_a.low) or np.isnan(of_b.low):
        return Bounds(note=of_a.note or of_b.note)
    left_out = a.left_out() - b.left_out()
    variance = _variance(left_out, a.effects() - b.effects() if a.effects and b.effects else None)
    moved = left_out - left_out.mean()
    # Effective number of groups that distinguish the two: with none, the jackknife of the difference says nothing.
    telling = (moved**2).sum() ** 2 / max((moved**4).sum(), 1e-300)
    known = telling / (telling + 1)
    t = _quantile(min(a.effective_groups, b.effective_groups), confidence)
    together = _correlation(a.left_out(), b.left_out())

    def reach(from_a: float, from_b: float) -> float:
        of_both = max(from_a**2 + from_b**2 - 2 * together * from_a * from_b, 0)
        return float(np.sqrt(known * t**2 * variance + (1 - known) * of_both))

    gap = a.value - b.value
    return Bounds(
        gap - reach(a.value - of_a.low, of_b.high - b.value), gap + reach(of_a.high - a.value, b.value - of_b.low)
    )


def _quantile(effective_groups: float, confidence: float) -> float:
    return float(stdtrit(max(effective_groups - 1, 1), (1 + confidence) / 2))


def wilson(estimate: Estimate, confidence: float) -> Bounds:
    """Wilson's score interval (1927, doi 10.1080/01621459.1927.10502953) for as many units as the groups are worth.

    The variance is the jackknife's over groups, with a part that it cannot see (`_variance`), and the effective number
    of units is the one that gives a share of this size that variance (as in Korn and Graubard 1998). Where few of those
    are wrong, the variance is a guess, and the number is drawn towards that of the groups. Quantiles are of t with one
    less than the effective number of groups as degrees of freedom. A metric without an upper end gets an interval on
    its logarithm.
    """
    left_out = estimate.left_out()
    if not np.isfinite(left_out).all():
        return Bounds(note="no interval: not defined without one of the groups")
    variance = _variance(left_out, estimate.effects() if estimate.effects else None)
    lowest, highest = estimate.range
    t = _quantile(estimate.effective_groups, confidence)
    if not np.isfinite(highest):
        if np.sqrt(variance) <= 1e-9 * estimate.value:
            return Bounds(note="no interval: the same without any of the groups")
        reach = np.exp(t * np.sqrt(variance) / max(estimate.value, 1e-12))
        return Bounds(float(estimate.value / reach), float(estimate.value * reach))
    span = highest - lowest
    share = (estimate.value - lowest) / span
    count = _effective_count(share, variance / span**2, estimate)
    center = (share + t**2 / (2 * count)) / (1 + t**2 / count)
    half = t / (1 + t**2 / count) * np.sqrt(share * (1 - share) / count + t**2 / (4 * count**2))
    return Bounds(float(lowest + span * (center - half)), float(lowest + span * (center + half)))


def jackknife_variance(left_out: np.ndarray) -> float:
    """Of an estimate, from (B,) with one block of groups left out at a time (Efron and Stein 1981)."""
    return float((len(left_out) - 1) * left_out.var())


def _variance(left_out: np.ndarray, effects: np.ndarray | None) -> float:
    """The jackknife's, and what it cannot see where resamples learn from groups that others test.

    The error of a resample has effects of pairs, of a group that it tests and one that it learnt from (Efron and Stein
    1981). They tie resamples together in which the two groups have changed places (Bates et al. 2024, arXiv
    2104.00673), which under holdout is a share of the covariances of resamples, whatever their number. Folds of one
    repeat have no covariances, although such pairs tie them; adding a share of their variance covers no better.
    """
    variance = jackknife_variance(left_out)
    if effects is None:
        return variance
    return variance + LEARNT * max(variance - sum(map(jackknife_variance, effects)), 0)


def _effective_count(share: float, variance: float, estimate: Estimate) -> float:
    expected = estimate.effective_groups * np.sqrt(estimate.predictions_per_group)
    if variance <= 1e-14 or share * (1 - share) <= 1e-14:
        return expected
    count = share * (1 - share) / variance
    wrong = count * min(share, 1 - share)
    known = wrong / (wrong + 1)
    return count**known * expected ** (1 - known)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of what leaving groups out does to two estimates; 0 where it does nothing to one of them."""
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 1e-14 else 0.0


def percentiles(drawn: np.ndarray, confidence: float) -> Bounds:
    """The percentile interval of a bootstrap distribution; none where fewer than half of the draws are defined."""
    defined = drawn[np.isfinite(drawn)]
    if 2 * len(defined) < len(drawn) or len(defined) == 0:
        return Bounds(note="no interval: not defined in most draws")
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Bounds(float(low), float(high))


INTERVALS: Mapping[str, Callable[[Estimate, float], Bounds]] = {
    "wilson": wilson,
    "percentile": lambda estimate, confidence: percentiles(estimate.drawn(), confidence),
}
"""Kinds of intervals by name."""
INTERVAL = "wilson"
"""What a summary, a comparison and a report have unless another is requested."""


def check_interval(interval: str, confidence: float, draws: int) -> None:
    """Makes sure, before the work, that an interval can be had.

    Raises:
        ProbeError: no such interval, or a confidence or number of draws that makes no sense.
    """
    look_up("interval", interval, INTERVALS)
    if not 0 < confidence < 1:
        raise ProbeError(f"confidence must be between 0 and 1, e.g. 0.95; got {confidence}.")
    if draws < 100:
        raise ProbeError(f"a bootstrap needs at least 100 draws, better 1,000; got {draws}.")
