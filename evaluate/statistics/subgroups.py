"""Scores of subgroups: whether a system serves women and men, young and old, and all sites equally."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ...base import ProbeError
from ..metrics.registry import Metric, evaluate
from ..results.predictions import ResamplePredictions, predictions_by_system, seeds_of
from ..results.run import Run
from ..results.schemas import SystemKey
from .bootstrap import N_BOOTSTRAP, NO_BOUNDS, GroupDraws, Interval, find_interval, mean_over_seeds
from .summary import require_metric

FEWEST_GROUPS = 10
"""A subgroup of fewer test groups is not scored: a patient more or less would make another number of it."""


@dataclass(frozen=True, eq=False)
class _Part:
    """One subgroup under one system; S resamples."""

    attribute: str
    subgroup: str
    predicted: list[ResamplePredictions]
    values: np.ndarray
    """(S,), NaN where not defined."""
    drawn: np.ndarray
    """(draws,) mean over resamples under draws of groups; empty where there is a reason for no number."""
    left_out: np.ndarray
    """(G,) with one group left out; empty unless the interval needs it."""
    groups: int
    reason: str

    @property
    def mean(self) -> float:
        """Over the resamples in which it is defined."""
        return float(np.nanmean(self.values)) if not self.reason else np.nan


def subgroup_scores(
    run: Run,
    *,
    metric: str | None = None,
    confidence: float = 0.95,
    draws: int = N_BOOTSTRAP,
    interval: str = "percentile",
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
        negative), `low` and `high` of the difference between these two subgroups, `reason` and `note`.

    Raises:
        ProbeError: the run's units have no attributes, or no such metric.
        ReportError: the run's predictions do not fit its facts.

    Examples:
        >>> from medprobe.evaluate import subgroup_scores
        >>> scores, gaps = subgroup_scores(run, draws=200)
        >>> scores["subgroup"].unique().tolist(), len(gaps)
        (['female', 'male'], 4)
    """
    chosen, find = require_metric(run, metric), find_interval(interval)
    if run.units.empty:
        raise ProbeError(
            f"{run.info['dataset']['name']}: the run knows no attributes of its units. List columns of the manifest"
            " under `attributes` in its card (such as sex, age, site) and run `medprobe probe` again."
        )
    systems = predictions_by_system(run)
    bootstrap = GroupDraws([p for predicted in systems.values() for p in predicted], draws)
    scores, gaps = [], []
    for system, predicted in systems.items():
        for attribute, rows in run.units.groupby("attribute", sort=True):
            parts = list(_parts(predicted, str(attribute), rows, chosen, bootstrap, jackknife=interval == "bca"))
            about = {**system._asdict(), "attribute": str(attribute), "metric": chosen.name}
            scores += [about | _score(part, find, confidence) for part in parts]
            gaps.append(about | _gap(parts, chosen, find, confidence))
    return pd.DataFrame(scores, columns=_SCORES), pd.DataFrame(gaps, columns=_GAPS)


_SCORES = [
    *(*SystemKey._fields, "attribute", "subgroup", "metric", "mean", "low", "high"),
    *("n_seeds", "n_groups", "n_test", "reason", "note"),
]
_GAPS = [*SystemKey._fields, "attribute", "metric", "best", "worst", "gap", "low", "high", "reason", "note"]


def _parts(
    predicted: Sequence[ResamplePredictions],
    attribute: str,
    rows: pd.DataFrame,
    metric: Metric,
    bootstrap: GroupDraws,
    *,
    jackknife: bool,
) -> Iterator[_Part]:
    unit = rows["unit"].to_numpy(np.int64)
    for subgroup in sorted(rows["value"].unique()):
        members = unit[(rows["value"] == subgroup).to_numpy(bool)]
        inside = [_only(p, np.isin(p.unit, members)) for p in predicted]
        values = np.array([evaluate(metric, p.scored)[0][0] for p in inside])
        groups = len(np.unique(np.concatenate([p.group for p in inside])))
        reason = _why_not(inside, values, groups)
        drawn = np.empty(0) if reason else mean_over_seeds(bootstrap.values(metric, inside))
        needed = jackknife and not reason
        left_out = mean_over_seeds(bootstrap.leaving_out(metric, inside)) if needed else np.empty(0)
        yield _Part(attribute, str(subgroup), inside, values, drawn, left_out, groups, reason)


def _only(predicted: ResamplePredictions, chosen: np.ndarray) -> ResamplePredictions:
    scored = predicted.scored
    return replace(
        predicted,
        unit=predicted.unit[chosen],
        group=predicted.group[chosen],
        scored=replace(scored, y=scored.y[chosen], proba=scored.proba[chosen]),
    )


def _why_not(predicted: Sequence[ResamplePredictions], values: np.ndarray, groups: int) -> str:
    """Why a subgroup has no number; "" where it has one."""
    if groups == 0:
        return "none in any test"
    if groups < FEWEST_GROUPS:
        return f"{groups} test groups: too few (fewer than {FEWEST_GROUPS})"
    truth = np.concatenate([p.scored.truth for p in predicted])
    mixed = truth.any(axis=0) & ~truth.all(axis=0)
    if not mixed.any():
        return "only one class"
    return "" if np.isfinite(values).any() else "not defined in any seed (a class is absent)"


def _score(part: _Part, find: Interval, confidence: float) -> dict[str, object]:
    defined = [p for p, value in zip(part.predicted, part.values, strict=True) if np.isfinite(value)]
    bounds = NO_BOUNDS if part.reason else find(part.mean, part.drawn, part.left_out, confidence)
    return {
        "subgroup": part.subgroup,
        "mean": part.mean,
        "low": bounds.low,
        "high": bounds.high,
        "n_seeds": 0 if part.reason else len(seeds_of(defined)),
        "n_groups": part.groups,
        "n_test": sum(len(p.unit) for p in part.predicted) / len(seeds_of(part.predicted)),
        "reason": part.reason,
        "note": bounds.note,
    }


def _gap(parts: Sequence[_Part], metric: Metric, find: Interval, confidence: float) -> dict[str, object]:
    """Between the best and the worst subgroup as they are seen; its interval is of the difference of these two."""
    scored = [part for part in parts if not part.reason]
    if len(scored) < 2:
        reason = "fewer than two subgroups have a score"
        return {"best": "", "worst": "", "gap": np.nan, "low": np.nan, "high": np.nan, "reason": reason, "note": ""}
    ranked = sorted(scored, key=lambda part: part.mean, reverse=metric.greater_is_better)
    best, worst = ranked[0], ranked[-1]
    sign = 1.0 if metric.greater_is_better else -1.0
    gap = sign * (best.mean - worst.mean)
    left_out = sign * (best.left_out - worst.left_out)
    bounds = find(gap, sign * (best.drawn - worst.drawn), left_out, confidence)
    return {"best": best.subgroup, "worst": worst.subgroup, "gap": gap, "reason": "", **bounds._asdict()}
