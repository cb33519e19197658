"""The numbers as tables: what the page shows and what one may cite."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from ...base import counted
from ...base.text import NONE, duration, listed, lower_first, number, size
from ...evaluate import SystemKey
from ...evaluate.statistics.comparison import VERDICT_TESTS
from ...evaluate.statistics.pairing import COMPARISON_AXES
from ...manifests.schema.card import class_words
from ..elements.table import Cell, Table, bounds, decimal, difference, mean_and_sd, p_of, words
from ..plots.curve_data import per_class
from ..plots.curves import MOST_LABELLED
from .comparisons import ADDED
from .data import ReportData


def summary_table(data: ReportData) -> Table:
    """Every system in the metric of the report, the best first, with what was chosen on val."""
    metric, seeds, frame = data.metric, len(data.run.info["seeds"]), data.every_system
    spread = "" if seeds == 1 else ", standard deviation (SD) over seeds"
    caption = (
        f"{metric.label} on the test units of {data.name}{metric.direction}: mean over {counted(seeds, 'seed')}"
        f"{spread}, and the 95 % interval of the mean, were other groups tested. The best system"
        f"{' of the largest budget' if data.has_curve else ''} is in bold.{_budget_caption(data)}"
    )
    names = {"Data set": words("dataset"), "Backbone": words("backbone"), "Pooling": words("pooling")}
    names |= {"Probe": words("probe_label"), **_budget(data)}
    if frame["chosen"].any():
        caption += " Chosen on val: the median, and the range where resamples differ."
        names |= {"Chosen on val": words("chosen")}
    numbers = {"Mean": decimal("mean"), "SD": decimal("sd"), "95 % interval": bounds, "Seeds": words("n_seeds")}
    raw = frame.drop(columns=["label", "within", "side", "side_label"])
    return Table.of("summary", caption, frame, names | numbers, len(names), strong={0}, raw=raw)


def _budget(data: ReportData) -> dict[str, Cell]:
    """The column of budgets, where there are several."""
    return {"Budget": words("budget")} if data.has_curve else {}


def _budget_caption(data: ReportData) -> str:
    if not data.has_curve:
        return ""
    return " Budget: training units used, per class (shots) or as a share; val is always whole and never fitted."


def comparisons_table(data: ReportData, rows: pd.DataFrame | None = None) -> Table:
    """Pairs of what is compared, the better one first; all of them unless `rows` are given."""
    chosen = data.every_comparison if rows is None else rows
    sides = {"backbones": "backbones under the same probe", "probes": "probes on the same backbone"}
    caption = (
        f"Differences in {lower_first(data.metric.label)} between {sides.get(data.between, data.between)}, A minus B, A"
        f" being the better: mean over seeds, 95 % interval were other groups tested, p-value ({_tests(chosen)}) and"
        f" p-value after Holm's correction for {counted(data.tested, 'comparison')}."
        " Significant differences (Holm p < 0.05) are in bold."
    )
    within = {axis.capitalize(): words("within_label") for axis in COMPARISON_AXES[data.between]}
    names = {**within, **_budget(data), "A": words("a_label"), "B": words("b_label")}
    return _table_of_pairs("comparisons", caption, chosen, names, "A", "B")


def _tests(rows: pd.DataFrame) -> str:
    """What tests the comparisons had."""
    return " or ".join(test for name, test in VERDICT_TESTS.items() if (rows["test"] == name).any()) or "no test"


def _table_of_pairs(name: str, caption: str, rows: pd.DataFrame, names: dict[str, Cell], one: str, other: str) -> Table:
    """Comparisons of `one` with `other`, significant ones in bold."""
    numbers = {
        f"{one} mean": decimal("mean_a"),
        f"{other} mean": decimal("mean_b"),
        "Difference": difference("difference"),
        "95 % interval": bounds,
        "p": p_of("p"),
        "Holm p": p_of("p_adjusted"),
    }
    strong = [place for place, flag in enumerate(rows["significant"]) if flag]
    raw = rows.drop(columns=list(ADDED))
    return Table.of(name, caption, rows, names | numbers, len(names), strong=strong, raw=raw)


def leaks_table(data: ReportData) -> Table | None:
    """Every system with and without what leaks, where something was left out."""
    if data.as_published is None:
        return None
    caption = (
        f"{data.metric.label} on the test units of {data.name} without and with what leaks, mean over seeds. Clean:"
        f" without the {counted(data.left_out, 'training unit')} known to be in the test too; the"
        " verdict rests on this. As published: the same system fitted with them. Difference: as published"
        " minus clean."
    )
    names = {"Backbone": words("label"), "Probe": words("probe_label"), **_budget(data)}
    numbers = {"Clean": decimal("mean"), "As published": decimal("published"), "Difference": difference("leak")}
    raw = data.as_published[[*SystemKey._fields, "metric", "mean", "published", "leak"]]
    return Table.of("leaks", caption, data.as_published, names | numbers, len(names), strong={0}, raw=raw)


def unfreezing_table(data: ReportData) -> Table | None:
    """Each fine-tuned system against the best frozen probe of its backbone, where there are both."""
    rows = data.against_frozen
    if rows.empty:
        return None
    caption = (
        f"What unfreezing changes in {lower_first(data.metric.label)}: each fine-tuned system minus the best frozen"
        " probe on the same backbone, on the same test units: mean over seeds, 95 % interval were other groups tested,"
        f" p-value ({_tests(rows)}) and p-value after Holm's correction for {counted(data.tested, 'comparison')}"
        f" between {data.between}. Significant differences (Holm p < 0.05) are in bold. The frozen probe is the best of"
        " several on this test, which favours it; it may have been refitted on train and val, where a network learns"
        " from train alone."
    )
    names: dict[str, Cell] = {
        "Backbone": words("backbone"),
        "Fine-tuned": lambda row: data.probe_label(row["a"]),
        "Frozen": lambda row: data.probe_label(row["b"]),
    }
    return _table_of_pairs("unfreezing", caption, rows, names, "Fine-tuned", "Frozen")


def costs_table(data: ReportData) -> Table | None:
    """What each system cost to fit, where some are networks."""
    if data.run.epochs is None:
        return None

    def of(column: str, shown: Callable[[float], str]) -> Cell:
        return lambda row: NONE if pd.isna(row[column]) else shown(row[column])

    caption = (
        f"What each system cost, beside its {lower_first(data.metric.label)}: time to choose and fit and to predict the"
        " test, mean over resamples (of a probe without the embedding of the images, on one core; of a network on the"
        " machine that it was trained on); the most memory in use; the epochs that training took, mean; and the"
        " parameters that were trained."
    )
    cells = {
        "Backbone": words("label"),
        "Probe": words("probe_label"),
        "Mean": decimal("mean"),
        "Fit": of("fit_s", duration),
        "Predict": of("predict_s", duration),
        "Peak memory": of("peak_bytes", size),
        "Epochs": of("epochs", lambda count: number(count, 1)),
        "Trained parameters": of("trained_parameters", lambda count: f"{count:,.0f}"),
    }
    return Table.of("costs", caption, data.costs, cells, 2, strong={0}, raw=data.costs.drop(columns=["label"]))


def all_metrics_table(data: ReportData) -> Table:
    """Every system in every metric: mean ± SD over seeds."""
    lower = [lower_first(metric.label) for metric in data.metrics if not metric.greater_is_better]
    caption = (
        f"Every metric on the test units of {data.name}: mean ± standard deviation over seeds."
        f" Of {listed(lower)} less is better (↓)."
    )
    names = {"Backbone": words("label"), "Probe": words("probe_label"), **_budget(data)}
    numbers = {
        metric.label + ("" if metric.greater_is_better else " ↓"): mean_and_sd(metric.name) for metric in data.metrics
    }
    frame, raw = data.all_metrics, data.all_metrics.drop(columns=["label"])
    return Table.of("all_metrics", caption, frame, names | numbers, len(names), strong={0}, raw=raw)


def classes_table(data: ReportData, most: int | None = None) -> Table:
    """The best system class by class; beyond `most` classes those alone that it finds worst."""
    run = data.run
    raw = per_class(data.predicted[data.best_system], run.classes)
    shown = raw if most is None or len(raw) <= most else raw.sort_values("recall_mean", kind="stable").head(most)
    kind, _ = class_words(run.task)
    worst = f" The {most} of {len(raw)} with the lowest recall." if len(shown) < len(raw) else ""
    caption = (
        f"{data.system_name(data.best)} on {data.name}, each {kind} against the rest:"
        f" units with the {kind} in a test, and mean ± standard deviation over {data.draw}s.{worst}"
    )
    names = {kind.capitalize(): words("class")}
    if len(raw) > MOST_LABELLED:  # where the confusion matrix has numbers for names
        names = {"No.": words("number"), **names}
    measures = {
        "Recall": "recall", "Specificity": "specificity", "Precision": "precision", "F1": "f1", "ROC-AUC": "roc_auc",
        "Average precision": "average_precision",
    }  # fmt: skip
    numbers = {"Units": decimal("units", 1), **{title: mean_and_sd(name) for title, name in measures.items()}}
    frame = shown.assign(number=shown.index + 1)
    return Table.of("classes", caption, frame, names | numbers, len(names), raw=raw)


TABLES: dict[str, Callable[[ReportData], Table | None]] = {
    "summary": summary_table,
    "leaks": leaks_table,
    "comparisons": comparisons_table,
    "unfreezing": unfreezing_table,
    "costs": costs_table,
    "all_metrics": all_metrics_table,
    "classes": classes_table,
}
"""Every table that a report may write, by the stem of its files. A further one is one function and one line here."""
