"""The figures of a report: which there are for a run, what they say, and their bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...base import counted
from ...base.text import interval, lower_first, number, p_value, signed
from ...evaluate import Metric, SystemKey, evaluate, find_metric
from ..elements.figure import RenderedFigure
from ..elements.theme import LIGHT, svg_and_png
from ..plots import curves
from ..plots import scores as scores_plots
from ..plots.curve_data import Confusion, confusion, reliability, roc
from ..plots.learning_curve import Scale, learning_figure
from .data import ReportData

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CURVES = 6
"""Curves in one figure; more could not be distinguished."""


@dataclass(frozen=True)
class _Sketch:
    """A figure before it is drawn."""

    title: str
    caption: str
    description: str
    draw: Callable[[], Figure]


def draw_figures(data: ReportData) -> dict[str, RenderedFigure]:
    """Every figure that the run has something to show in, by name, in the order of the page."""
    drawn = {}
    for name, sketch_of in FIGURES.items():
        sketch = sketch_of(data)
        if sketch is not None:
            drawn[name] = _finish(name, sketch)
    return drawn


def _finish(name: str, sketch: _Sketch) -> RenderedFigure:
    svg, png = svg_and_png(sketch.draw)
    return RenderedFigure(name, sketch.title, sketch.caption, sketch.description, svg, png)


def look_of(data: ReportData) -> scores_plots.Look:
    """What all figures of a report share."""
    metric = data.metric
    return scores_plots.Look(LIGHT, metric.label, data.backbones, data.probes, metric.greater_is_better, metric.range)


def _scores(data: ReportData) -> _Sketch:
    summary, best = data.summary, data.best
    shown = min(len(summary), scores_plots.MOST_ROWS)
    cut = f" The best {shown} of {len(summary)} systems are drawn; the table has all." if shown < len(summary) else ""
    worst = summary[summary["mean"].notna()].iloc[-1]
    return _Sketch(
        f"{data.metric.label} of every system",
        "The mark is the mean over seeds, the bar its 95 % interval under a bootstrap over groups: how far other"
        " patients might move it. The small dots below it are the seeds: how far another draw of training (and, under"
        f" holdout, of the test) moves it. Shapes are probes, colours backbones.{cut}",
        f"{counted(len(summary), 'system')}; from {best['label']} with {lower_first(best['probe_label'])},"
        f" {number(best['mean'])} (95 % interval {interval(best['low'], best['high'])}), to {worst['label']} with"
        f" {lower_first(worst['probe_label'])}, {number(worst['mean'])}. The table has the numbers.",
        lambda: scores_plots.scores_figure(summary, data.seed_values, look_of(data)),
    )


def _differences(data: ReportData) -> _Sketch | None:
    rows = data.against_best
    if rows.empty:
        return None
    shown = min(len(rows), scores_plots.MOST_ROWS)
    cut = f" The first {shown} of {len(rows)} comparisons are drawn; the table has all." if shown < len(rows) else ""
    parts = [
        f"{row['probe_label']}: {row['a']} against {row['b']} {signed(row['advantage'])}, {p_value(row['p_adjusted'])}"
        for _, row in rows.head(shown).iterrows()
    ]
    return _Sketch(
        "The best backbone of each probe against the others",
        "How far the backbone named in the heading is ahead, with the 95 % interval of the difference, paired on the"
        " same test units. Filled marks and a star: significant after Holm's correction. Hollow marks: the lead may be"
        f" chance. An interval describes one pair; the p-value is corrected for all of them.{cut}",
        "; ".join(parts) + ".",
        lambda: scores_plots.differences_figure(rows, look_of(data)),
    )


def _seeds(data: ReportData) -> _Sketch | None:
    if data.seed_values["seed"].nunique() < 2:
        return None
    spread = data.summary.dropna(subset="sd").head(scores_plots.MOST_ROWS)
    parts = [
        f"{row['label']} with {lower_first(row['probe_label'])} {number(row['sd'])}" for _, row in spread.iterrows()
    ]
    return _Sketch(
        "How much seeds differ",
        "Each dot is a seed, the upright stroke their mean. A thin line joins what backbones scored on one resample:"
        " lines that run side by side mean that hard draws are hard for all, so that the paired comparison is sharper"
        " than the spread of the dots suggests.",
        f"Standard deviation over seeds: {', '.join(parts)}.",
        lambda: scores_plots.seeds_figure(data.seed_values, look_of(data)),
    )


def _learning(data: ReportData) -> _Sketch | None:
    if len(data.budgets) < 2:
        return None
    every, best = data.every_system, data.best
    labels = list(dict.fromkeys(data.summary["label"]))
    drawn = labels[:MOST_CURVES]
    cut = f" The best {len(drawn)} of {len(labels)} are drawn; the table has all." if drawn != labels else ""
    rows = every[(every["label"] == best["label"]) & (every["probe"] == best["probe"])].set_index("budget")["mean"]
    return _Sketch(
        f"{data.metric.label} by what there was to train on",
        "A panel a probe, a line a backbone. Marks are means over seeds, bars their 95 % intervals under a bootstrap"
        " over groups; bars of one budget are slightly offset. The units of a smaller budget are among"
        " those of a larger one of its kind. Validation is whole under every budget, so that the choice of"
        f" hyper-parameters knows more cases than the fit: with very few training units, scores flatter.{cut}",
        f"{best['label']} with {lower_first(best['probe_label'])}: "
        + ", ".join(f"{number(rows[name])} at {name}" for name in data.budgets)
        + ". The table of budgets has the best of each.",
        lambda: learning_figure(every, drawn, Scale.of(data.budgets, data.training_units), look_of(data)),
    )


def _confusion(data: ReportData) -> _Sketch | None:
    classes = data.run.classes
    if data.run.task == "multilabel" or len(classes) > curves.MOST_DRAWN:
        return None
    matrix = confusion(data.predicted[data.best_system])
    return _Sketch(
        f"Which class is called which: {data.best['label']} with {lower_first(data.best['probe_label'])}",
        _confusion_caption(len(classes), data.draw),
        _confusion_description(matrix, classes),
        lambda: curves.confusion_figure(matrix, classes, look_of(data)),
    )


def _confusion_caption(count: int, draw: str) -> str:
    read = "Rows are the truth, columns what the best system called; the shade is the share of the row, mean over"
    read += f" {draw}s"
    if count <= curves.MOST_COUNTED:
        return f"{read}, written in each cell above the units per {draw}. Empty cells never occurred."
    if count <= curves.MOST_LABELLED:
        return f"{read}, written in each cell in hundredths. Empty cells never occurred."
    return f"{read}. Classes are numbered as in the table of classes; {count} are too many for numbers in the cells."


def _confusion_description(matrix: Confusion, classes: list[str]) -> str:
    if len(classes) > curves.MOST_COUNTED:
        return f"{len(classes)} classes; the table of classes has their recall."
    found = [f"{name} {number(matrix.shares[place, place], 2)}" for place, name in enumerate(classes)]
    return f"Share of each class that is found: {', '.join(found)}."


def _calibration(data: ReportData) -> _Sketch:
    ece = find_metric("ece")
    lines = _contenders(data, ece, "error", reliability)
    task, classes = data.run.task, data.run.classes
    whose = {"binary": f"of {classes[-1]}", "multilabel": "of a label"}.get(task, "of the called class")
    return _Sketch(
        "Calibration of the probabilities",
        "Predicted probabilities against observed frequencies, in at most ten bins of equal"
        " size, all seeds together."
        " On the dashed line a predicted 0.8 is right in 80 of 100; below the line probabilities are too high. The"
        f" lower panel: how often each is predicted. In brackets the calibration error (0 is best): {ece.meaning}."
        + _which(data, "calibration"),
        "; ".join(f"{line.label}: {line.note}" for line in lines) + ".",
        lambda: curves.calibration_figure(lines, f"Chance {whose} as stated", look_of(data)),
    )


def _roc(data: ReportData) -> _Sketch | None:
    if data.run.task != "binary":
        return None
    lines = _contenders(data, find_metric("roc_auc"), "AUC", roc)
    if not lines:
        return None
    return _Sketch(
        f"ROC curves: {data.run.classes[1]} found against false alarms",
        f"Mean over {data.draw}s at each false positive rate; the band around the best system is one standard"
        f" deviation over {data.draw}s. On the dashed line are coin tosses. In brackets the area under the curve,"
        f" mean over {data.draw}s." + _which(data, "ROC"),
        "; ".join(f"{line.label}: {line.note}" for line in lines) + ".",
        lambda: curves.roc_figure(lines, look_of(data)),
    )


def _contenders(data: ReportData, metric: Metric, name: str, values: Callable) -> list[curves.Curve]:
    """A curve for the best system of each backbone under the winning probe, the best `MOST_CURVES`."""
    return list(_each_curve(data, metric, name, values))[:MOST_CURVES]


def _each_curve(data: ReportData, metric: Metric, name: str, values: Callable) -> Iterator[curves.Curve]:
    for _, row in data.contenders.head(MOST_CURVES).iterrows():
        predicted = data.predicted[SystemKey(*(str(row[field]) for field in SystemKey._fields))]
        found = values(predicted)
        if found is not None:
            seeds = [float(evaluate(metric, p.scored)[0][0]) for p in predicted]
            defined = [value for value in seeds if value == value]
            mean = sum(defined) / len(defined) if defined else float("nan")
            yield curves.Curve(str(row["label"]), curves.noted(name, mean), found)


def _which(data: ReportData, what: str) -> str:
    count = len(data.contenders)
    probe = lower_first(data.probe_label(str(data.best["probe"])))
    cut = f" The best {MOST_CURVES} of {count} backbones are drawn." if count > MOST_CURVES else ""
    return f" All curves are of {probe}, the winning probe.{cut}" if count > 1 else ""


FIGURES: dict[str, Callable[[ReportData], _Sketch | None]] = {
    "scores": _scores,
    "differences": _differences,
    "seeds": _seeds,
    "learning": _learning,
    "confusion": _confusion,
    "calibration": _calibration,
    "roc": _roc,
}
"""Every figure that a report may have, by the stem of its files. A further one is one function and one line here."""
