"""Everything a report shows: the statistics of a run in one metric, in the order of reading."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from ...base import ProbeError, ReportError
from ...base.text import lower_first
from ...evaluate import (
    Metric,
    Run,
    SystemKey,
    compare,
    find_metric,
    merge_runs,
    predictions_by_system,
    summarise,
)
from ...evaluate.metrics.registry import metrics_for
from ...evaluate.resampling.train_size import FULL_TRAIN
from ...evaluate.results.predictions import ResamplePredictions
from ...evaluate.results.schemas import RESAMPLE
from ...evaluate.results.trainings import TrainingProblem, training_problems
from ...evaluate.statistics.pairing import sides_of, system_labels
from ...evaluate.statistics.summary import budgets_in_order, summarise_metrics
from .comparisons import against_frozen, report_columns, without_frozen

_KEYS = list(SystemKey._fields)


@dataclass(frozen=True, eq=False)
class ReportData:
    """A run with its statistics, in one metric."""

    run: Run
    metric: Metric
    every_system: pd.DataFrame
    """As `summarise` gives it, the largest budget and in it the best system first; with `label` (backbone, and pooling
    where it has several), `probe_label`, and what is compared: `side`, in words `side_label`, among those with the same
    `within`."""
    every_comparison: pd.DataFrame
    """As `compare` gives it between what `between` says, the largest budget first, turned so that `a` is the better of
    the two; with the columns of `report_columns`."""
    between: str
    """What the systems of the run differ in, and so what is compared: `backbones` (under one probe), `probes` (on one
    backbone), or `systems`, where some backbones are fine-tuned and some differ in both."""

    @cached_property
    def budgets(self) -> list[str]:
        """The budgets of the run, the smallest first."""
        return budgets_in_order(self.run)

    @property
    def has_curve(self) -> bool:
        """Whether train was cut down, so that there is a low-data curve."""
        return self.budgets != [FULL_TRAIN]

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The systems of the largest budget, the best first: what the verdict and the figures are about."""
        return self._largest(self.every_system)

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """The comparisons within the largest budget."""
        return self._largest(self.every_comparison)

    def _largest(self, table: pd.DataFrame) -> pd.DataFrame:
        return table[table["budget"] == self.budgets[-1]].reset_index(drop=True)

    @property
    def has_values(self) -> bool:
        """Whether the metric is defined for any system of the largest budget."""
        return bool(self.summary["mean"].notna().any())

    @property
    def tested(self) -> int:
        """How many comparisons Holm's correction is for."""
        return int(self.every_comparison["p"].notna().sum())

    @cached_property
    def training_units(self) -> dict[str, float]:
        """Units that each budget leaves to train on, mean over the resamples."""
        return {str(name): float(mean) for name, mean in self.run.scores.groupby("budget")["n_train"].mean().items()}

    @property
    def draw(self) -> str:
        """What a single test is called: `seed`, or under kfold `fold`."""
        return "fold" if self.run.info["protocol"] == "kfold" else "seed"

    @property
    def name(self) -> str:
        """Of the data set."""
        return str(self.run.info["dataset"]["name"])

    @property
    def best(self) -> pd.Series:
        """The row of the summary with the best mean."""
        return self.summary.iloc[0]

    @property
    def best_system(self) -> SystemKey:
        """What the best row is about."""
        return SystemKey.of_rows(self.summary.head(1))[0]

    @cached_property
    def backbones(self) -> list[str]:
        """The labels that colours follow, in the order of the run's caches so that they stay when scores change."""
        order = {cache["backbone"]: place for place, cache in enumerate(self.run.info["caches"])}
        pairs = self.summary[["backbone", "label"]].drop_duplicates().itertuples(index=False)
        return [str(label) for backbone, label in sorted(pairs, key=lambda pair: (order.get(pair[0], 0), pair[1]))]

    @cached_property
    def probes(self) -> list[str]:
        """Names of the probes, in the order of the run."""
        return [name for name in self.run.info["probes"] if (self.summary["probe"] == name).any()]

    @cached_property
    def predicted(self) -> dict[SystemKey, list[ResamplePredictions]]:
        """The test predictions, by system and seed."""
        return predictions_by_system(self.run)

    @cached_property
    def contenders(self) -> pd.DataFrame:
        """The best row of each backbone among those with the winning probe: who the curves are drawn for."""
        rows = self.summary[self.summary["probe"] == self.best["probe"]]
        return rows.drop_duplicates("backbone", ignore_index=True)

    @property
    def withins(self) -> list[str]:
        """What systems that are compared have in common: each probe, of probes each backbone, of systems nothing."""
        return {"backbones": self.probes, "probes": self.backbones}.get(self.between, [""])

    @cached_property
    def runner_up(self) -> pd.Series | None:
        """The comparison of the best system with the best other one; of backbones, under the same probe."""
        others = self.summary[self.summary["within"] == self.best["within"]][1:]
        if self.between == "backbones":  # not another pooling of the same one
            others = others[others["backbone"] != self.best["backbone"]]
        return None if others.empty else self.compared(str(self.best["side"]), str(others["side"].iloc[0]))

    def compared(self, a: str, b: str, within: str = "") -> pd.Series | None:
        """The comparison of two sides within a probe or backbone (that of the best system by default), if any."""
        rows = self.comparisons[self.comparisons["within"] == (within or self.best["within"])]
        rows = rows[rows["a"].isin([a, b]) & rows["b"].isin([a, b])]
        return None if rows.empty else rows.iloc[0]

    @cached_property
    def against_best(self) -> pd.DataFrame:
        """Of the comparisons those of the best side with the others, for each of `withins` in their order."""
        leaders = self.summary.drop_duplicates("within").set_index("within")["side"]
        rows = self.comparisons[self.comparisons["a"] == self.comparisons["within"].map(leaders)]
        place = rows["within"].map(self.withins.index)
        return rows.assign(_place=place).sort_values(["_place", "advantage"], ignore_index=True).drop(columns="_place")

    def system_name(self, row: pd.Series) -> str:
        """A system in a sentence: `resnet50 with logistic regression`."""
        return f"{row['label']} with {lower_first(self.probe_label(str(row['probe'])))}"

    def probe_label(self, probe: str) -> str:
        """What a probe is called in a text."""
        return str(self.run.info["probes"].get(probe, {}).get("label", probe))

    @cached_property
    def seed_values(self) -> pd.DataFrame:
        """The metric on test by `label`, `probe` and `seed` (the mean over its folds), where it is defined."""
        scores = self.run.scores
        rows = scores[(scores["split"] == "test") & (scores["metric"] == self.metric.name) & scores["value"].notna()]
        named = rows.merge(self.summary[[*_KEYS, "label", "probe_label"]], on=_KEYS, validate="many_to_one")
        of_seed = ["label", "probe", "probe_label", "seed"]
        return named.groupby(of_seed, sort=False)["value"].mean().reset_index()

    @cached_property
    def all_metrics(self) -> pd.DataFrame:
        """One row per system, best first: `label`, `probe_label`, mean and sd in every metric that was scored."""
        wide = summarise_metrics(self.run).pivot(index=_KEYS, columns="metric", values=["mean", "sd"])
        wide.columns = [f"{metric}_{part}" for part, metric in wide.columns]
        names = [f"{m.name}_{part}" for m in self.scored for part in ("mean", "sd")]
        table = self.every_system[[*_KEYS, "label", "probe_label"]].merge(wide.reset_index(), on=_KEYS, how="left")
        return table.reindex(columns=[*_KEYS, "label", "probe_label", *names])

    @cached_property
    def fine_tuned(self) -> list[str]:
        """Names of the probes under which the backbone was trained too, at least in part."""
        return _fine_tuned(self.run, self.probes)

    @cached_property
    def against_frozen(self) -> pd.DataFrame:
        """The fine-tuned systems of the largest budget, each compared with the best frozen probe of its backbone."""
        return against_frozen(self.comparisons, self.summary, self.metric.sign, self.fine_tuned)

    @cached_property
    def without_frozen(self) -> list[str]:
        """Why some fine-tuned systems are not in `against_frozen`, and what to do, a sentence for each backbone."""
        return list(without_frozen(self.run, self.summary, self.fine_tuned))

    @cached_property
    def training_problems(self) -> dict[SystemKey, list[TrainingProblem]]:
        """What speaks against the trainings of networks."""
        return training_problems(self.run)

    @cached_property
    def costs(self) -> pd.DataFrame:
        """What each system of the largest budget cost, in the order of the summary, with its names and its mean.

        `fit_s` and `predict_s`, seconds per fit, mean over the resamples; `peak_bytes`, the most of any; `epochs` that
        the tested model's training took, mean; `trained_parameters`. NaN where a system has no such number.
        """
        run, fit = self.run, [*_KEYS, *RESAMPLE]
        fits = run.scores.drop_duplicates(fit)
        trained = [json.loads(params).get("trained_parameters", np.nan) for params in fits["params"]]
        table = run.timings.merge(fits[fit].assign(trained_parameters=trained), on=fit)
        epochs = pd.DataFrame(columns=[*fit, "epochs"])
        if run.epochs is not None:
            epochs = run.epochs.groupby(fit)["epoch"].max().rename("epochs").reset_index()
        table = table.merge(epochs, on=fit, how="left")
        numbers = ("fit_s", "predict_s", "peak_bytes", "epochs", "trained_parameters")
        how = {**dict.fromkeys(numbers, "mean"), "peak_bytes": "max"}
        costs = table.groupby(_KEYS).agg(how).reset_index()
        named = self.summary[[*_KEYS, "label", "probe_label", "mean"]]
        return named.merge(costs, on=_KEYS, how="left", validate="one_to_one")

    @cached_property
    def as_published(self) -> pd.DataFrame | None:
        """The systems in the order of `every_system`, with `published`, their mean when they are fitted with what leaks
        too, and `leak`, how much that changes; None where nothing was left out.
        """
        scores = self.run.scores_as_published
        if scores is None:
            return None
        means = scores[scores["metric"] == self.metric.name].groupby(_KEYS)["value"].mean().rename("published")
        table = self.every_system.merge(means.reset_index(), on=_KEYS, how="left", validate="one_to_one")
        return table.assign(leak=table["published"] - table["mean"])

    @property
    def left_out(self) -> int:
        """How many units leak, and were left out."""
        return sum(self.run.info["leaks"].get("units_left_out", {}).values())

    @property
    def searched(self) -> bool:
        """Whether it is a run of searches, in which nothing was fitted and predictions are votes."""
        return self.run.retrieved is not None

    @cached_property
    def scored(self) -> list[Metric]:
        """The metrics that the run was scored in."""
        scored = self.run.scores["metric"].unique().tolist()
        if self.searched:
            return [find_metric(name) for name in scored]
        return [metric for metric in metrics_for(self.run.task) if metric.name in scored]

    @property
    def metrics(self) -> list[Metric]:
        """Of these, the ones that tables of every metric show, and that of the report."""
        return [metric for metric in self.scored if metric.in_overview or metric is self.metric]


def load_report_data(folders: Path | str | Sequence[Path | str], metric: str | None = None) -> ReportData:
    """Reads the folders of one or several runs; arguments and errors are those of `make_report`."""
    names = [str(folder) for folder in ([folders] if isinstance(folders, (str, Path)) else folders)]
    runs, where = [Run.load(name) for name in names], ", ".join(names)
    run = runs[0] if len(runs) == 1 else merge_runs(runs, names)
    try:
        data = report_data(run, metric)
    except ProbeError as error:
        raise ReportError(f"{where}: {error}") from error
    if not data.has_values:
        notes = "; ".join(sorted(set(data.summary["note"]))) or "no values"
        raise ReportError(
            f"{where}: {data.metric.name} has no value for any system ({notes}). Choose another --metric."
        )
    return data


def report_data(run: Run, metric: str | None = None) -> ReportData:
    """The statistics of a run in one metric, its own by default.

    Raises:
        ProbeError: no such metric.
    """
    chosen = find_metric(metric or run.primary_metric)
    probe_labels = {name: settings.get("label", name) for name, settings in run.info["probes"].items()}
    summary = summarise(run, metric=chosen.name)
    systems = SystemKey.of_rows(summary)
    between, labels = _differing(run, systems), system_labels(systems)
    sides = sides_of(systems, between)
    summary = summary.assign(
        label=[labels[system] for system in systems],
        probe_label=summary["probe"].map(probe_labels).fillna(summary["probe"]),
        within=[within for within, _ in sides],
        side=[side for _, side in sides],
    )
    names = {
        "backbones": summary["label"],
        "probes": summary["probe_label"],
        "systems": summary["label"] + " with " + summary["probe_label"].map(lower_first),
    }
    summary = summary.assign(side_label=names[between])
    summary = summary.sort_values("mean", ascending=not chosen.greater_is_better, kind="stable", na_position="last")
    summary = _largest_first(run, summary)
    comparisons = compare(run, between, metric=chosen.name)
    comparisons = report_columns(comparisons, summary, between, chosen.sign)
    return ReportData(run, chosen, summary, _largest_first(run, comparisons), between)


def _differing(run: Run, systems: Sequence[SystemKey]) -> str:
    """What systems differ in, as `ReportData.between`."""
    labels, probes = set(system_labels(list(systems)).values()), {system.probe for system in systems}
    if len(labels) == 1:
        return "probes" if len(probes) > 1 else "backbones"
    return "systems" if len(probes) > 1 and _fine_tuned(run, probes) else "backbones"


def _fine_tuned(run: Run, probes: Iterable[str]) -> list[str]:
    return [name for name in probes if not run.info["probes"][name]["frozen"]]


def _largest_first(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    place = budgets_in_order(run).index
    return table.sort_values("budget", key=lambda names: -names.map(place), kind="stable", ignore_index=True)
