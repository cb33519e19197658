"""The page: everything that a run tells, in one HTML file that loads nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Mapping

from ...evaluate.statistics.run_warnings import run_warnings, warnings_in_words
from ...manifests.schema.card import class_words
from ..elements.figure import ReportFigure
from ..elements.html import figure_on_page, render
from ..elements.table import Table
from . import citation, methods
from .data import ReportData
from .tables import classes_table, comparisons_table
from .verdict import Conclusion, question

_MOST_WARNINGS = 5
"""Warnings shown with the verdict; a section further down has all if there are more."""


def render_page(
    data: ReportData, verdict: Conclusion, figures: Mapping[str, ReportFigure], tables: Mapping[str, Table]
) -> str:
    """The HTML of a report."""
    info, pairs = data.run.info, len(data.every_comparison)
    content = {
        "figures": {name: figure_on_page(drawn) for name, drawn in figures.items()},
        "tables": tables,
        "name": data.name,
        "task": data.run.task,
        "metric": data.metric,
        "question": question(data),
        "between": data.between,
        "without_frozen": data.without_frozen,
        "verdict": verdict,
        "sections": _sections(data, figures),
        # Tables that the page alone has, or has shorter than their files.
        "against_best": comparisons_table(data, data.against_best),
        "more_comparisons": pairs if pairs > len(data.against_best) else 0,
        "classes": classes_table(data, methods.MOST_CLASSES),
        "class_counts": methods.class_counts(data),
        "embeddings": methods.embeddings(data),
        "meanings": [(metric.label, metric.meaning) for metric in data.metrics],
        "data": methods.about_data(data),
        "protocol": methods.protocol(data),
        "probe_settings": methods.settings(data),
        "statistics": methods.statistics(data),
        "versions": methods.versions(data),
        "warnings": warnings_in_words(run_warnings(data.run, data.summary)),
        "most_warnings": _MOST_WARNINGS,
        "commands": citation.commands(data),
        "not_repeated": citation.not_repeated(data),
        "sentence": citation.sentence_to_cite(data),
        "references": citation.references(data),
        "medprobe_version": info["versions"].get("medprobe", ""),
    }
    return render("page.html.j2", content)


def _sections(data: ReportData, figures: Mapping[str, ReportFigure]) -> list[tuple[str, str]]:
    """The anchors and titles of the contents."""
    classes = class_words(data.run.task)[1].capitalize()
    sections = {
        "scores": "Scores", "differences": "Differences",
        "unfreezing": "Frozen and fine-tuned" if "unfreezing" in figures else "Fine-tuning",
        "learning": "Low-data curve",
        "metrics": "Every metric", "classes": classes, "probabilities": "Probabilities", "data": "Data",
        "embeddings": "Embeddings", "methods": "Methods", "cite": "Reproduce and cite",
    }  # fmt: skip
    absent = {"differences"} - set(figures) | (set() if data.has_curve else {"learning"})
    absent |= set() if data.run.epochs is not None else {"unfreezing"}
    absent |= set() if "calibration" in figures else {"probabilities"}
    return [(anchor, title) for anchor, title in sections.items() if anchor not in absent]
