"""The figures of a report: which there are for a run, what they say, and their bytes."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from ...base import counted
from ...base.text import interval, lower_first, number, p_value, signed
from ...evaluate import METRICS, Metric, SystemKey
from ..elements.figure import ReportFigure
from ..plots import curves
from ..plots import scores as scores_plots
from ..plots.curve_data import confusion, reliability, roc
from ..plots.epochs import MOST_PANELS, LearningCurves, epochs_figure
from ..plots.learning_curve import Scale, learning_figure
from ..plots.scores import Look
from ..plots.unfreezing import unfreezing_figure
from .data import ReportData

MOST_CURVES = 6
"""Curves in one figure; more could not be distinguished."""


def draw_figures(data: ReportData) -> dict[str, ReportFigure]:
    """Every figure that the run has something to show in, by name, in the order of the page."""
    return {name: drawn for name, draw in FIGURES.items() if (drawn := draw(data)) is not None}


def look_of(data: ReportData) -> Look:
    """What all figures of a report share."""
    return Look(data.metric, data.backbones, data.probes)


def _scores(data: ReportData) -> ReportFigure:
    summary, best = data.summary, data.best
    cut = _cut("best", scores_plots.MOST_ROWS, len(summary), "systems")
    worst = summary[summary["mean"].notna()].iloc[-1]
    return ReportFigure(
        "scores",
        f"{data.metric.label} of every system",
        "The mark is the mean over seeds, the bar its 95 % interval: how far other"
        " patients might move it. The small dots below it are the seeds: how far another draw of training (and, under"
        f" holdout, of the test) moves it. Shapes are probes, colours backbones.{cut}",
        f"{counted(len(summary), 'system')}; from {data.system_name(best)}, {number(best['mean'])} (95 % interval"
        f" {interval(best['low'], best['high'])}), to {data.system_name(worst)}, {number(worst['mean'])}. The table has"
        " the numbers.",
        lambda: scores_plots.scores_figure(summary, data.seed_values, look_of(data)),
    )


def _cut(which: str, most: int, count: int, what: str) -> str:
    return f" The {which} {most} of {count} {what} are drawn; the table has all." if count > most else ""


def _differences(data: ReportData) -> ReportFigure | None:
    rows = data.against_best
    if rows.empty:
        return None
    cut = _cut("first", scores_plots.MOST_ROWS, len(rows), "comparisons")
    parts = [
        f"{row['within_label']}{': ' * bool(row['within_label'])}{row['a_label']} against {row['b_label']}"
        f" {signed(row['advantage'])}, {p_value(row['p_adjusted'])}"
        for _, row in rows.head(scores_plots.MOST_ROWS).iterrows()
    ]
    best, which = {
        "backbones": ("The best backbone of each probe", "the backbone named in the heading"),
        "probes": ("The best probe", "the probe named in the heading"),
        "systems": ("The best system", data.system_name(data.best)),
    }[data.between]
    return ReportFigure(
        "differences",
        f"{best} against the others",
        f"How far {which} is ahead, with the 95 % interval of the difference, paired on the"
        " same test units. Filled marks and a star: significant after Holm's correction. Hollow marks: the lead may be"
        f" chance. An interval describes one pair; the p-value is corrected for all of them.{cut}",
        "; ".join(parts) + ".",
        lambda: scores_plots.differences_figure(rows, look_of(data)),
    )


def _learning(data: ReportData) -> ReportFigure | None:
    if len(data.budgets) < 2:
        return None
    every, best = data.every_system, data.best
    labels = list(dict.fromkeys(data.summary["label"]))
    cut = _cut("best", MOST_CURVES, len(labels), "backbones")
    rows = every[(every["label"] == best["label"]) & (every["probe"] == best["probe"])].set_index("budget")["mean"]
    return ReportFigure(
        "learning",
        f"{data.metric.label} by what there was to train on",
        "A panel a probe, a line a backbone. Marks are means over seeds, bars their 95 % intervals, by a jackknife"
        " over groups; bars of one budget are slightly offset. The units of a smaller budget are among"
        " those of a larger one of its kind. Validation is whole under every budget, so that the choice of"
        f" hyper-parameters knows more cases than the fit: with very few training units, scores flatter.{cut}",
        f"{data.system_name(best)}: " + ", ".join(f"{number(rows[name])} at {name}" for name in data.budgets) + ".",
        lambda: learning_figure(
            every, labels[:MOST_CURVES], Scale.of(data.budgets, data.training_units), look_of(data)
        ),
    )


def _unfreezing(data: ReportData) -> ReportFigure | None:
    pairs = data.against_frozen
    if pairs.empty:
        return None
    keys = ["label", "probe"]
    gains = pairs.rename(columns={"backbone": "label", "a": "probe"})[[*keys, "advantage", "p_adjusted", "significant"]]
    frozen = pairs.rename(columns={"backbone": "label", "b": "probe"})[keys].drop_duplicates().assign(frozen=True)
    shown = (
        pd.concat([frozen, gains.assign(frozen=False)])
        .merge(data.summary, on=keys)
        .merge(data.costs[[*keys, "trained_parameters"]], on=keys)
    )
    order = [data.backbones.index(label) for label in shown["label"]]
    shown = shown.assign(order=order).sort_values(
        ["order", "frozen", "trained_parameters"], ascending=[True, False, True], kind="stable"
    )
    cut = _cut("first", scores_plots.MOST_ROWS, len(shown), "systems")
    parts = [
        f"{row['backbone']}: {lower_first(data.probe_label(row['a']))} {signed(row['advantage'])} against"
        f" {lower_first(data.probe_label(row['b']))}, {p_value(row['p_adjusted'])}"
        for _, row in pairs.iterrows()
    ]
    return ReportFigure(
        "unfreezing",
        "What unfreezing does",
        "On each backbone the best frozen probe (hollow, with a dashed line) and every fine-tuned system, by how many"
        " parameters it trains: mean over seeds, 95 % interval of the mean. Gain: over the frozen probe, paired on the"
        f" same test units; a star marks those that are significant after Holm's correction.{cut}",
        "; ".join(parts) + ".",
        lambda: unfreezing_figure(shown, look_of(data)),
    )


def _epochs(data: ReportData) -> ReportFigure | None:
    epochs = data.run.epochs
    if epochs is None:
        return None
    learnt = data.summary[data.summary["probe"].isin(epochs["probe"])]
    keys = list(SystemKey._fields)
    systems = [
        LearningCurves(
            str(row["label"]),
            data.probe_label(row["probe"]),
            look_of(data).colour(row["label"]),
            epochs.merge(row[keys].to_frame().T, on=keys),
        )
        for _, row in learnt.head(MOST_PANELS).iterrows()
    ]
    chosen = epochs[epochs["chosen"]]["epoch"]
    return ReportFigure(
        "epochs",
        "How the networks learnt",
        "Left: the loss on train (dashed) and val after each epoch. Right: the metric that chose on val. A thin line is"
        f" one {data.draw}; the dot is the epoch whose network is tested. A loss on val that rises while that on train"
        f" falls means overfitting.{_cut('best', MOST_PANELS, len(learnt), 'systems')}",
        f"{counted(len(systems), 'system')}; the chosen epochs are {chosen.min()} to {chosen.max()}, median"
        f" {chosen.median():g}.",
        lambda: epochs_figure(systems, METRICS[data.run.primary_metric].label),
    )


def _confusion(data: ReportData) -> ReportFigure | None:
    classes = data.run.classes
    if data.run.task == "multilabel" or len(classes) > curves.MOST_DRAWN:
        return None
    matrix = confusion(data.predicted[data.best_system])
    description = f"{len(classes)} classes; the table of classes has their recall."
    if len(classes) <= curves.MOST_COUNTED:
        found = [f"{name} {number(matrix.shares[place, place], 2)}" for place, name in enumerate(classes)]
        description = f"Share of each class that is found: {', '.join(found)}."
    return ReportFigure(
        "confusion",
        f"Which class is called which: {data.system_name(data.best)}",
        _confusion_caption(len(classes), data.draw),
        description,
        lambda: curves.confusion_figure(matrix, classes),
    )


def _confusion_caption(count: int, draw: str) -> str:
    read = "Rows are the truth, columns what the best system called; the shade is the share of the row, mean over"
    cells = {curves.MOST_COUNTED: f" above the units per {draw}", curves.MOST_LABELLED: " in hundredths"}
    for most, how in cells.items():
        if count <= most:
            return f"{read} {draw}s, written in each cell{how}. Empty cells never occurred."
    numbered = f"Classes are numbered as in the table of classes; {count} are too many for numbers in the cells."
    return f"{read} {draw}s. {numbered}"


def _calibration(data: ReportData) -> ReportFigure | None:
    if data.searched:
        return None
    ece = METRICS["ece"]
    lines = _contenders(data, ece, "error", reliability)
    task, classes = data.run.task, data.run.classes
    whose = {"binary": f"of {classes[-1]}", "multilabel": "of a label"}.get(task, "of the called class")
    return ReportFigure(
        "calibration",
        "Calibration of the probabilities",
        "Predicted probabilities against observed frequencies, in up to 15 bins of equal mass, all seeds together."
        " On the dashed line a predicted 0.8 is right in 80 of 100; below the line probabilities are too high. The"
        f" lower panel: how often each is predicted. In brackets the calibration error (0 is best): {ece.meaning}."
        + _which(data),
        "; ".join(f"{line.label}: {line.note}" for line in lines) + ".",
        lambda: curves.calibration_figure(lines, f"Chance {whose} as stated", look_of(data)),
    )


def _roc(data: ReportData) -> ReportFigure | None:
    lines = _contenders(data, METRICS["roc_auc"], "AUC", roc) if data.run.task == "binary" else []
    if not lines or data.searched:
        return None
    return ReportFigure(
        "roc",
        f"ROC curves: {data.run.classes[1]} found against false alarms",
        f"Mean over {data.draw}s at each false positive rate; the band around the best system is one standard"
        f" deviation over {data.draw}s. On the dashed line are coin tosses. In brackets the area under the curve,"
        f" mean over {data.draw}s." + _which(data),
        "; ".join(f"{line.label}: {line.note}" for line in lines) + ".",
        lambda: curves.roc_figure(lines, look_of(data)),
    )


def _contenders(data: ReportData, metric: Metric, name: str, values: Callable) -> list[curves.Curve]:
    """A curve for the best system of each backbone under the winning probe, the best `MOST_CURVES`."""
    lines = []
    for system, label in zip(SystemKey.of_rows(data.contenders), data.contenders["label"], strict=True):
        predicted = data.predicted[system]
        found = values(predicted)
        if found is not None:
            scores = pd.Series([metric.value(p.scored) for p in predicted])
            lines.append(curves.Curve(str(label), f"{name} {number(scores.mean())}", found))
    return lines[:MOST_CURVES]


def _which(data: ReportData) -> str:
    count = len(data.contenders)
    probe = lower_first(data.probe_label(str(data.best["probe"])))
    cut = f" The best {MOST_CURVES} of {count} backbones are drawn." if count > MOST_CURVES else ""
    return f" All curves are of {probe}, the winning probe.{cut}" if count > 1 else ""


FIGURES: dict[str, Callable[[ReportData], ReportFigure | None]] = {
    "scores": _scores,
    "differences": _differences,
    "unfreezing": _unfreezing,
    "epochs": _epochs,
    "learning": _learning,
    "confusion": _confusion,
    "calibration": _calibration,
    "roc": _roc,
}
"""Every figure that a report may have, by the stem of its files. A further one is one function and one line here."""
