"""The page: everything that a run tells, in one HTML file that loads nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...evaluate import run_warnings
from ...manifests import class_words
from ..elements.figure import RenderedFigure
from ..elements.html import figure_on_page, render
from ..elements.table import Table
from . import citation, methods
from .data import ReportData
from .tables import classes_table, comparisons_table
from .verdict import Conclusion

_MOST_REMARKS = 5
"""Remarks that stand beside the verdict; a section further down has all if there are more."""


def render_page(
    findings: ReportData, verdict: Conclusion, figures: Mapping[str, RenderedFigure], tables: Mapping[str, Table]
) -> str:
    """The HTML of a report."""
    return render("page.html.j2", _content(findings, verdict, figures, tables))


def _content(
    findings: ReportData, verdict: Conclusion, figures: Mapping[str, RenderedFigure], tables: Mapping[str, Table]
) -> dict[str, Any]:
    """What the template's names stand for."""
    return {
        "figures": {name: figure_on_page(drawn) for name, drawn in figures.items()},
        "tables": tables,
        "name": findings.name,
        "task": findings.run.task,
        "metric": findings.metric,
        "verdict": verdict,
        "sections": _sections(findings, figures),
        **_extra_tables(findings),
        **_words(findings),
    }


def _sections(findings: ReportData, figures: Mapping[str, RenderedFigure]) -> list[tuple[str, str]]:
    """The anchors and titles of the contents."""
    classes = class_words(findings.run.task)[1].capitalize()
    sections = {
        "scores": "Scores", "differences": "Differences", "seeds": "Seeds", "learning": "Low-data curve",
        "metrics": "Every metric", "classes": classes, "probabilities": "Probabilities", "data": "Data",
        "embeddings": "Embeddings", "methods": "How it was done", "cite": "Repeat and cite",
    }  # fmt: skip
    absent = {"differences", "seeds"} - set(figures) | (set() if findings.has_curve else {"learning"})
    return [(anchor, title) for anchor, title in sections.items() if anchor not in absent]


def _extra_tables(findings: ReportData) -> dict[str, Any]:
    """Tables that the page alone has, or has shorter than their files."""
    shown, all_pairs = len(findings.against_best), len(findings.every_comparison)
    return {
        "against_best": comparisons_table(findings, findings.against_best),
        "more_comparisons": all_pairs if all_pairs > shown else 0,
        "classes": classes_table(findings, methods.MOST_CLASSES),
        "class_counts": methods.class_counts(findings),
        "embeddings": methods.embeddings(findings),
    }


def _words(findings: ReportData) -> dict[str, Any]:
    return {
        "meanings": [(metric.label, metric.meaning) for metric in findings.metrics],
        "data": methods.about_data(findings),
        "protocol": methods.protocol(findings),
        "probe_settings": methods.settings(findings),
        "statistics": methods.statistics(findings),
        "versions": methods.versions(findings),
        "remarks": list(map(str, run_warnings(findings.run, findings.summary))),
        "most_remarks": _MOST_REMARKS,
        "commands": citation.commands(findings),
        "unsaid": citation.unsaid(findings),
        "sentence": citation.sentence_to_cite(findings),
        "references": citation.references(findings),
        "medprobe_version": findings.run.info["versions"].get("medprobe", ""),
    }
