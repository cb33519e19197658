"""The numbers as tables: what the page shows and what one may cite."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict

import pandas as pd

from ...base import counted
from ...base.text import NONE, bare_p, interval, listed, lower_first, number, signed
from ...evaluate.statistics.comparison import VERDICT_TESTS
from ...manifests.schema.card import class_words
from ..elements.table import Table
from ..plots.curve_data import confusion, frequent_confusions, per_class
from ..plots.curves import MOST_COUNTED, MOST_LABELLED
from .data import ReportData


def summary_table(data: ReportData) -> Table:
    """Every system in the metric of the report, the best first."""
    metric, seeds = data.metric, len(data.run.info["seeds"])
    one_seed = seeds == 1
    rows = [
        (
            *(str(row[name]) for name in ("dataset", "backbone", "pooling", "probe_label")),
            *_budget(data, row),
            number(row["mean"]),
            number(row["sd"]),
            interval(row["low"], row["high"]),
            str(row["n_seeds"]),
        )
        for _, row in data.every_system.iterrows()
    ]
    direction = "" if metric.greater_is_better else " (lower is better)"
    spread = "" if one_seed else ", standard deviation (SD) over seeds"
    caption = (
        f"{metric.label} on the test units of {data.name}{direction}: mean over {counted(seeds, 'seed')}{spread},"
        " and the 95 % percentile interval of the mean under a bootstrap over groups. The best system"
        f"{' of the largest budget' if data.has_curve else ''} is in bold.{_budget_caption(data)}"
    )
    raw = data.every_system.drop(columns=["label"])
    names = ("Data set", "Backbone", "Pooling", "Probe", *_budget_heading(data))
    columns = (*names, "Mean", "SD", "95 % interval", "Seeds")
    return Table("summary", caption, columns, tuple(rows), len(names), frozenset({0}), raw)


def _budget(data: ReportData, row: pd.Series) -> list[str]:
    """The cell of a row's budget, where there are several."""
    return [str(row["budget"])] if data.has_curve else []


def _budget_heading(data: ReportData) -> list[str]:
    return ["Budget"] if data.has_curve else []


def _budget_caption(data: ReportData) -> str:
    if not data.has_curve:
        return ""
    return " Budget: training units used, per class (shots) or as a share; val is always whole and never fitted."


def comparisons_table(data: ReportData, rows: pd.DataFrame | None = None) -> Table:
    """Pairs of backbones within each probe, the better one first; all of them unless `rows` are given."""
    chosen = data.every_comparison if rows is None else rows
    body = [
        (
            str(row["probe_label"]),
            *_budget(data, row),
            str(row["a"]),
            str(row["b"]),
            number(row["mean_a"]),
            number(row["mean_b"]),
            signed(row["difference"]),
            interval(row["low"], row["high"]),
            bare_p(row["p"]),
            bare_p(row["p_adjusted"]),
        )
        for _, row in chosen.iterrows()
    ]
    used = " or ".join(VERDICT_TESTS[name] for name in VERDICT_TESTS if (chosen["test"] == name).any()) or "no test"
    caption = (
        f"Differences in {lower_first(data.metric.label)} between backbones under the same probe, A minus B, A"
        f" being the better: mean over seeds, 95 % interval under a paired bootstrap over groups, p-value ({used}) and"
        " p-value"
        f" after Holm's correction for {counted(data.tested, 'comparison')}."
        " Significant differences (Holm p < 0.05) are in bold."
    )
    names = ("Probe", *_budget_heading(data), "A", "B")
    columns = (*names, "A mean", "B mean", "Difference", "95 % interval", "p", "Holm p")
    strong = frozenset(place for place, flag in enumerate(chosen["significant"]) if flag)
    raw = chosen.drop(columns=["advantage", "advantage_low", "advantage_high"])
    return Table("comparisons", caption, columns, tuple(body), len(names), strong, raw)


def all_metrics_table(data: ReportData) -> Table:
    """Every system in every metric: mean ± SD over seeds."""
    table, metrics = data.all_metrics, data.metrics
    rows = [
        (
            str(row["label"]),
            str(row["probe_label"]),
            *_budget(data, row),
            *(_plus_minus(row[f"{metric.name}_mean"], row[f"{metric.name}_sd"]) for metric in metrics),
        )
        for _, row in table.iterrows()
    ]
    lower = [lower_first(metric.label) for metric in metrics if not metric.greater_is_better]
    caption = (
        f"Every metric on the test units of {data.name}: mean ± standard deviation over seeds."
        f" Of {listed(lower)} less is better (↓)."
    )
    columns = tuple(metric.label + ("" if metric.greater_is_better else " ↓") for metric in metrics)
    raw = table.drop(columns=["label"])
    names = ("Backbone", "Probe", *_budget_heading(data))
    return Table("all_metrics", caption, (*names, *columns), tuple(rows), len(names), frozenset({0}), raw)


def budgets_table(data: ReportData) -> Table | None:
    """The best backbone of each probe under each budget, and whether its lead is significant."""
    if not data.has_curve:
        return None
    found = data.verdicts
    rows = [
        (
            data.probe_label(one.probe),
            one.budget,
            one.best,
            one.second or NONE,
            number(data.training_units[one.budget], 1),
            number(one.mean),
            number(one.difference),
            bare_p(one.p_adjusted),
        )
        for one in found
    ]
    caption = (
        f"The best backbone in {lower_first(data.metric.label)} of each probe under each budget, its lead over the"
        f" next, and the p-value of that lead after Holm's correction for {counted(data.tested, 'comparison')}."
        f" Significant leads (Holm p < 0.05) are in bold.{_budget_caption(data)}"
    )
    columns = ("Probe", "Budget", "Best", "Next", "Train units", "Mean", "Lead", "Holm p")
    strong = frozenset(place for place, one in enumerate(found) if one.significant)
    raw = pd.DataFrame([asdict(one) for one in found]).drop(columns=["beaten", "tied"])
    return Table("budgets", caption, columns, tuple(rows), 4, strong, raw)


def classes_table(data: ReportData, most: int | None = None) -> Table:
    """The best system class by class; beyond `most` classes those alone that it finds worst."""
    run, best = data.run, data.best
    raw = per_class(data.predicted[data.best_system], run.classes)
    shown = raw if most is None or len(raw) <= most else raw.sort_values("recall_mean", kind="stable").head(most)
    kind, _ = class_words(run.task)
    numbered = len(raw) > MOST_LABELLED  # where the confusion matrix has numbers for names
    measures = {
        "recall": "Recall", "specificity": "Specificity", "precision": "Precision", "f1": "F1", "roc_auc": "ROC-AUC",
        "average_precision": "Average precision",
    }  # fmt: skip
    rows = [
        (
            *([str(place + 1)] if numbered else []),
            str(row["class"]),
            number(row["units"], 1),
            *(_plus_minus(row[f"{name}_mean"], row[f"{name}_sd"]) for name in measures),
        )
        for place, row in zip(shown.index.tolist(), shown.to_dict("records"), strict=True)
    ]
    worst = f" The {most} of {len(raw)} with the lowest recall." if len(shown) < len(raw) else ""
    caption = (
        f"{best['label']} with {lower_first(best['probe_label'])} on {data.name}, each {kind} against the rest:"
        f" units with the {kind} in a test, and mean ± standard deviation over {data.draw}s.{worst}"
    )
    columns = (*(["No."] if numbered else []), kind.capitalize(), "Units", *measures.values())
    return Table("classes", caption, columns, tuple(rows), 1 + numbered, raw=raw)


def confusions_table(data: ReportData) -> Table | None:
    """The wrong calls that the best system makes most often, where the matrix has no room for counts."""
    run, best = data.run, data.best
    if run.task == "multilabel" or len(run.classes) <= MOST_COUNTED:
        return None
    raw = frequent_confusions(confusion(data.predicted[data.best_system]), run.classes)
    rows = [
        (str(r["truth"]), str(r["called"]), number(r["units"], 1), number(r["share"], 2))
        for r in raw.to_dict("records")
    ]
    caption = (
        f"The wrong calls that {best['label']} with {lower_first(best['probe_label'])} makes most often on"
        f" {data.name}: units a {data.draw}, and share of the true class, mean over {data.draw}s."
    )
    return Table("confusions", caption, ("Truth", "Called", "Units", "Share"), tuple(rows), 2, raw=raw)


def _plus_minus(mean: float, sd: float) -> str:
    if math.isnan(mean):
        return NONE
    return number(mean) if math.isnan(sd) else f"{number(mean)} ± {number(sd)}"


TABLES: dict[str, Callable[[ReportData], Table | None]] = {
    "summary": summary_table,
    "comparisons": comparisons_table,
    "budgets": budgets_table,
    "all_metrics": all_metrics_table,
    "classes": classes_table,
    "confusions": confusions_table,
}
"""Every table that a report may write, by the stem of its files. A further one is one function and one line here."""
