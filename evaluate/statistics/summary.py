"""One line a system: its mean score, how much seeds differ, and how sure the mean is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd

from ...base import ProbeError, no_such
from ..metrics.functions import mean_of_defined
from ..metrics.registry import METRICS, Metric, find_metric, metrics_for
from ..resampling.train_size import FULL_TRAIN
from ..results.choices import chosen_in_words
from ..results.predictions import ResamplePredictions, predictions_by_system
from ..results.run import Run
from ..results.schemas import SYSTEM, SystemKey
from .bootstrap import N_BOOTSTRAP, GroupDraws
from .intervals import INTERVAL, Bounds, Estimate, check_interval, interval_of

FEW_GROUPS = 15
"""With fewer test groups an interval is rough (measured), and its note reports that."""


def summarise(
    run: Run,
    *,
    metric: str | None = None,
    confidence: float = 0.95,
    draws: int = N_BOOTSTRAP,
    interval: str = INTERVAL,
) -> pd.DataFrame:
    """Sums up every system of a run in one metric of its test.

    Args:
        run: the results.
        metric: its name; the run's own by default.
        confidence: of the interval, between 0 and 1.
        draws: of the bootstrap.
        interval: of `INTERVALS`: `wilson`, or `percentile`, of a bootstrap over groups.

    Returns:
        One row per system, sorted by probe, by budget (the smallest first), and by score, the best first. `dataset`,
        `backbone`, `fingerprint`, `pooling`, `probe`, `budget`, `metric`; `mean` over seeds, and under kfold over their
        folds; `sd` over seeds, of their means over folds (the spread of training, and under holdout of the test drawn;
        not the error of the mean); `low` and `high`, the interval of the mean, were other groups tested;
        `n_seeds` (in which the metric is defined); `n_groups` (in any test); `n_test` (mean units a seed); `note`, why
        something is missing, or that an interval is rough; `chosen`, what was chosen on val, as `chosen_in_words`.

    Raises:
        ProbeError: no such metric or interval, or a confidence or number of draws that makes no sense.
        ReportError: the run's predictions do not fit its facts.

    Examples:
        >>> from medprobe.evaluate import summarise
        >>> summarise(run, draws=200)[["backbone", "probe", "metric", "n_seeds"]]
                backbone     probe   metric  n_seeds
        0  timm:resnet50  centroid  roc_auc        2
        1  timm:resnet18  centroid  roc_auc        2
        2  timm:resnet50       knn  roc_auc        2
        3  timm:resnet18       knn  roc_auc        2
    """
    chosen = require_metric(run, metric)
    check_interval(interval, confidence, draws)
    table = pd.DataFrame([_row(samples, confidence, interval) for samples in metric_samples(run, chosen, draws)])
    choices = chosen_in_words(run)
    table["chosen"] = [choices[system] for system in SystemKey.of_rows(table)]
    place = {budget: place for place, budget in enumerate(budgets_in_order(run))}
    keyed = table.assign(_key=-chosen.sign * table["mean"], _budget=table["budget"].map(place))
    ordered = keyed.sort_values(["probe", "_budget", "_key", *SYSTEM], ignore_index=True)
    return ordered.drop(columns=["_key", "_budget"])


def budgets_in_order(run: Run) -> list[str]:
    """The budgets of a run by the units that they leave to train on, the smallest first."""
    sizes = run.scores.groupby("budget")["n_train"].mean()
    return sorted(map(str, sizes.index), key=lambda name: (sizes[name], name == FULL_TRAIN, name))


def systems_by_score(
    run: Run,
    *,
    backbone: str | None = None,
    pooling: str | None = None,
    probe: str | None = None,
    fingerprint: str | None = None,
) -> list[SystemKey]:
    """The systems of these names under the run's largest budget, by their means on test in its metric, the best first.

    Those whose network was fine-tuned on units of the test are last, as their scores are too high.

    Raises:
        ProbeError: there is none; says which there are.
    """
    scores = run.scores[(run.scores["split"] == "test") & (run.scores["metric"] == run.primary_metric)]
    scores = scores[scores["budget"] == budgets_in_order(run)[-1]]
    names = {"backbone": backbone, "fingerprint": fingerprint, "pooling": pooling, "probe": probe}
    for column, name in names.items():
        there = sorted(map(str, scores[column].unique()))
        if name is not None and name not in there:
            raise ProbeError(f"in the run: {no_such(column, name, there)}")
        scores = scores if name is None else scores[scores[column] == name]
    means = scores.groupby(list(SYSTEM))["value"].mean() * find_metric(run.primary_metric).sign
    if len(means) > 1 and not len(means := means.dropna()):
        raise ProbeError(f"{run.primary_metric} is not defined for any of these systems; choose one of them by name.")
    ranked = [SystemKey(*map(str, name)) for name in means.sort_values(ascending=False, kind="stable").index]
    return sorted(ranked, key=lambda system: system.backbone in run.fine_tuned_on_test)


def require_metric(run: Run, name: str | None) -> Metric:
    """The metric called `name`, or the run's own.

    Raises:
        ProbeError: there is none of that name, or not for the run's task.
    """
    metric = find_metric(name or run.primary_metric)
    if metric not in metrics_for(run.task) and metric.name not in set(run.scores["metric"]):
        raise ProbeError(f"{metric.name} is not defined for a {run.task} task.")
    return metric


@dataclass(frozen=True, eq=False)
class MetricSamples:
    """The values of one system in one metric; J resamples: a seed each, under kfold a seed and fold each."""

    system: SystemKey
    metric: Metric
    predicted: list[ResamplePredictions]
    bootstrap: GroupDraws
    """The same for every system, so that differences are paired."""

    @cached_property
    def values(self) -> np.ndarray:
        """(J,), NaN where not defined; the very figures of the scores table."""
        return np.array([self.metric.value(p.scored) for p in self.predicted])

    @cached_property
    def drawn(self) -> np.ndarray:
        """(J, draws): under draws of groups."""
        return self.bootstrap.values(self.metric, self.predicted)

    @cached_property
    def left_out(self) -> np.ndarray:
        """(J, B): without each block of groups in turn."""
        return self.bootstrap.leaving_out(self.metric, self.predicted)

    @property
    def seeds(self) -> list[int]:
        """(J,)."""
        return [p.seed for p in self.predicted]

    @cached_property
    def groups(self) -> int:
        """How many it is tested on, in any resample."""
        return len(_times_tested(self.predicted))

    def estimate(self, which: np.ndarray | None = None) -> Estimate:
        """The mean over the resamples at `which` (J,) bool, by default those in which it is defined, and what it would
        be with other groups.
        """
        chosen = np.isfinite(self.values) if which is None else which
        predicted = [p for p, is_chosen in zip(self.predicted, chosen, strict=True) if is_chosen] or self.predicted
        tested = _times_tested(predicted)
        return Estimate(
            value=float(mean_of_defined(self.values[chosen])),
            left_out=lambda: mean_of_defined(self.left_out[chosen]),
            drawn=lambda: mean_of_defined(self.drawn[chosen]),
            groups=len(tested),
            effective_groups=float(tested.sum() ** 2 / (tested**2).sum()),
            predictions_per_group=sum(map(self._predictions_of, predicted)) / int(tested.sum()),
            range=self.metric.range_for(predicted[0].scored.task),
            effects=(lambda: self._effects(chosen)) if tested.min() < len(predicted) else None,
        )

    def _predictions_of(self, p: ResamplePredictions) -> int:
        return len(p.unit) if self.metric is METRICS["subset_accuracy"] else p.scored.y.size

    def _effects(self, chosen: np.ndarray) -> np.ndarray:
        return np.where(chosen[:, None], np.nan_to_num(self.left_out - self.values[:, None]), 0) / chosen.sum()

    @property
    def mean_units(self) -> float:
        """How many each seed tests."""
        return sum(len(p.unit) for p in self.predicted) / len(set(self.seeds))


def _times_tested(predicted: Sequence[ResamplePredictions]) -> np.ndarray:
    """(G,) in how many resamples each group is tested that is tested in any."""
    return np.unique(np.concatenate([np.unique(p.group) for p in predicted]), return_counts=True)[1]


def seed_means(values: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
    """(S,) means over the folds of each seed that has a value at all, from (J,) values and the seed of each."""
    by_seed: dict[int, list[float]] = {}
    for seed, value in zip(seeds, values, strict=True):
        if np.isfinite(value):
            by_seed.setdefault(seed, []).append(value)
    return np.array([np.mean(found) for found in by_seed.values()])


def mean_and_sd(values: np.ndarray, seeds: Sequence[int]) -> tuple[float, float]:
    """Mean over the resamples (J,) that have a value, and standard deviation of the seeds' means; NaN of too few."""
    defined, of_seeds = values[np.isfinite(values)], seed_means(values, seeds)
    mean = float(defined.mean()) if len(defined) else np.nan
    return mean, float(of_seeds.std(ddof=1)) if len(of_seeds) > 1 else np.nan


def summarise_metrics(run: Run) -> pd.DataFrame:
    """Every system in every metric of its test, without intervals, which take long.

    Returns:
        One row per system and metric: `dataset` to `budget`, `metric`, and `mean` and `sd` as in `summarise`.
    """
    scores = run.scores[run.scores["split"] == "test"]
    rows = [
        (*names, *mean_and_sd(rows["value"].to_numpy(np.float64), rows["seed"].tolist()))
        for names, rows in scores.groupby([*SYSTEM, "metric"], sort=False)
    ]
    return pd.DataFrame(rows, columns=[*SYSTEM, "metric", "mean", "sd"])


# Kept, because the summary and the comparisons of one page need the same values, which take most of their time.
@lru_cache(maxsize=2)
def metric_samples(run: Run, metric: Metric, draws: int) -> tuple[MetricSamples, ...]:
    """The samples of every system of a run, in the order of their names."""
    systems = predictions_by_system(run)
    bootstrap = GroupDraws([p for predicted in systems.values() for p in predicted], draws)
    return tuple(MetricSamples(system, metric, predicted, bootstrap) for system, predicted in systems.items())


def _row(samples: MetricSamples, confidence: float, interval: str) -> dict[str, object]:
    mean, sd = mean_and_sd(samples.values, samples.seeds)
    bounds, groups = interval_of(interval, samples.estimate(), confidence), samples.groups
    n_seeds = len(seed_means(samples.values, samples.seeds))
    return {
        **samples.system._asdict(),
        "metric": samples.metric.name,
        "mean": mean,
        "sd": sd,
        "low": bounds.low,
        "high": bounds.high,
        "n_seeds": n_seeds,
        "n_groups": groups,
        "n_test": samples.mean_units,
        "note": "; ".join(_notes(samples, n_seeds, bounds)),
    }


def _notes(samples: MetricSamples, n_seeds: int, bounds: Bounds) -> list[str]:
    notes, values, groups = [], samples.values, samples.groups
    undefined = int(np.isnan(values).sum())
    if undefined:
        what = "folds" if any(p.fold for p in samples.predicted) else "seeds"
        notes.append(f"not defined in {undefined} of {len(values)} {what} (a class is absent from the test)")
    if n_seeds == 1 and samples.predicted[0].scored.retrieved is None:  # a search draws nothing
        notes.append("one seed: no spread")
    if bounds.note:
        notes.append(bounds.note)
    if bounds.low == bounds.high:
        # Of a bootstrap. The rule of three (Hanley and Lippman-Hand 1983, doi 10.1001/jama.1983.03330370053031).
        notes.append(
            f"all draws agree, so the interval is too narrow: with {groups} groups the"
            f" error may be up to {100 * min(1, 3 / groups):.1f} %"
        )
    elif np.isfinite(bounds.low) and groups < FEW_GROUPS:
        notes.append(f"{groups} groups: the interval is rough")
    return notes
