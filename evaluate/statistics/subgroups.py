"""Scores of subgroups: whether a system serves women and men, young and old, and all sites equally."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import comb
from typing import NamedTuple

import numpy as np
import pandas as pd

from ...base import ProbeError
from ..results.run import Run
from ..results.schemas import SystemKey
from .bootstrap import N_BOOTSTRAP
from .intervals import FEWEST_GROUPS, INTERVAL, Bounds, check_interval, interval_of, interval_of_difference
from .summary import MetricSamples, metric_samples, require_metric, seed_means

_LEAST_BEYOND = 5
"""Draws that must be beyond a percentile."""


class _Part(NamedTuple):
    """One subgroup under one system."""

    subgroup: str
    samples: MetricSamples
    """Of its units alone."""
    reason: str
    """Why it has no score; "" where it has one."""
    mean: float
    """Over the resamples in which it is defined."""


def subgroup_scores(
    run: Run,
    *,
    metric: str | None = None,
    confidence: float = 0.95,
    draws: int = N_BOOTSTRAP,
    interval: str = INTERVAL,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores every system on the test units of each subgroup of each attribute.

    Args:
        run: the results.
        metric: its name; the run's own by default.
        confidence: of the intervals.
        draws: of the bootstrap over groups.
        interval: of `INTERVALS`.

    Returns:
        The scores: one row per system, attribute and subgroup, with `mean`, `low`, `high`, `n_seeds`, `n_groups` (in
        any test), `n_test` (mean units a seed), `reason` (why there is no number) and `note` (why there is no interval,
        or why it is of another kind). The gaps: one row per system and attribute, with `best`, `worst`, `gap` (never
        negative), `low` and `high` of the difference between these two subgroups, `differences` (of two subgroups, over
        all rows: the intervals hold for all of them at once, by Bonferroni's correction), `reason` and `note`.

    Raises:
        ProbeError: the run's units have no attributes, or no such metric.
        ReportError: the run's predictions do not fit its facts.

    Examples:
        >>> from medprobe.evaluate import subgroup_scores
        >>> scores, gaps = subgroup_scores(run, draws=200)
        >>> scores["subgroup"].unique().tolist(), len(gaps)
        (['female', 'male'], 4)
    """
    chosen = require_metric(run, metric)
    check_interval(interval, confidence, draws)
    if run.units.empty:
        raise ProbeError(
            f"{run.info['dataset']['name']}: the run knows no attributes of its units. List columns of the manifest"
            " under `attributes` in its card (such as sex, age, site) and run `medprobe probe` again."
        )
    divided = [
        (
            {**samples.system._asdict(), "attribute": str(attribute), "metric": chosen.name},
            [_part(samples, str(value), units) for value, units in rows.groupby("value", sort=True)["unit"]],
        )
        for samples in metric_samples(run, chosen, draws)
        for attribute, rows in run.units.groupby("attribute", sort=True)
    ]
    scores = [about | _score(part, interval, confidence) for about, parts in divided for part in parts]
    # A gap is the largest of all pairs' differences, and a reader looks for the largest gap.
    differences = sum(comb(sum(not part.reason for part in parts), 2) for _, parts in divided)
    simultaneous = 1 - (1 - confidence) / max(1, differences)
    too_few_draws = interval != INTERVAL and draws * (1 - simultaneous) / 2 < _LEAST_BEYOND
    kind = INTERVAL if too_few_draws else interval
    gaps = [
        about | _gap(parts, chosen.sign, kind, simultaneous) | {"differences": differences} for about, parts in divided
    ]
    if too_few_draws:
        for gap in gaps:
            gap["note"] = (
                gap["note"] or f"{INTERVAL} interval: {draws:,} draws are too few for {differences} differences"
            )
    return pd.DataFrame(scores, columns=_SCORES), pd.DataFrame(gaps, columns=_GAPS)


_SCORES = [
    *(*SystemKey._fields, "attribute", "subgroup", "metric", "mean", "low", "high"),
    *("n_seeds", "n_groups", "n_test", "reason", "note"),
]
_GAPS = [
    *SystemKey._fields,
    "attribute",
    "metric",
    "best",
    "worst",
    "gap",
    "low",
    "high",
    "differences",
    "reason",
    "note",
]


def _part(samples: MetricSamples, subgroup: str, units: pd.Series) -> _Part:
    predicted = []
    for p in samples.predicted:
        chosen = np.isin(p.unit, units)
        predicted.append(replace(p, unit=p.unit[chosen], group=p.group[chosen], scored=p.scored.at(chosen)))
    inside = replace(samples, predicted=predicted)
    reason = _why_not(inside)
    mean = np.nan if reason else float(np.nanmean(inside.values))
    return _Part(subgroup, inside, reason, mean)


def _why_not(samples: MetricSamples) -> str:
    """Why a subgroup has no number; "" where it has one."""
    if samples.groups == 0:
        return "none in any test"
    if samples.groups < FEWEST_GROUPS:  # a patient more or less would make another number of it
        return f"{samples.groups} test groups: too few (fewer than {FEWEST_GROUPS})"
    truth = np.concatenate([p.scored.truth for p in samples.predicted])
    if not (truth.any(axis=0) & ~truth.all(axis=0)).any():
        return "only one class"
    return "" if np.isfinite(samples.values).any() else "not defined in any seed (a class is absent)"


def _score(part: _Part, interval: str, confidence: float) -> dict[str, object]:
    samples = part.samples
    bounds = Bounds() if part.reason else interval_of(interval, samples.estimate(), confidence)
    return {
        "subgroup": part.subgroup,
        "mean": part.mean,
        "n_seeds": 0 if part.reason else len(seed_means(samples.values, samples.seeds)),
        "n_groups": samples.groups,
        "n_test": samples.mean_units,
        "reason": part.reason,
        **bounds._asdict(),
    }


def _gap(parts: Sequence[_Part], sign: float, interval: str, confidence: float) -> dict[str, object]:
    """Between the best and the worst subgroup as they are seen; its interval is of the difference of these two."""
    ranked = sorted((part for part in parts if not part.reason), key=lambda part: -sign * part.mean)
    if len(ranked) < 2:
        reason = "fewer than two subgroups have a score"
        return {"best": "", "worst": "", "gap": np.nan, "reason": reason, **Bounds()._asdict()}
    best, worst = ranked[0], ranked[-1]
    larger, smaller = (best, worst) if sign > 0 else (worst, best)
    bounds = interval_of_difference(interval, larger.samples.estimate(), smaller.samples.estimate(), confidence)
    gap = larger.mean - smaller.mean
    return {"best": best.subgroup, "worst": worst.subgroup, "gap": gap, "reason": "", **bounds._asdict()}
