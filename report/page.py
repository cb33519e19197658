"""The page: everything that a run tells, in one HTML file that loads nothing and runs nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ..probe import remarks
from . import citing, facts
from .drawn import Drawn
from .findings import Findings
from .svg import inline, palette
from .tables import Table, classes_table, comparisons_table
from .theme import DARK, LIGHT
from .verdict import Conclusion

if TYPE_CHECKING:
    from markupsafe import Markup

_MOST_REMARKS = 5
"""Remarks that stand beside the verdict; a section further down has all if there are more."""
# What HTML has no way to write; names may hold anything.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

_PERCENT = re.compile(r"(\d) %")
"""A number and its sign, which no line break shall part."""
# The point of a number joins nothing.
_PIECES = re.compile(r"\s+|(?:[^\s_/:@.-]|\.(?=\d)){1,24}(?:[_/:@-]|\.(?!\d))*\s*|(?:[_/:@-]|\.(?!\d))+\s*")
"""Parts of a text between which a line may break: what joins the parts of names ends one, and so do 24 letters."""


def render_page(
    findings: Findings, verdict: Conclusion, figures: Mapping[str, Drawn], tables: Mapping[str, Table]
) -> str:
    """The HTML of a report."""
    from jinja2 import Environment, StrictUndefined

    # Every name comes from data, so everything is escaped but what `_content` marks as ours.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["breakable"] = _breakable
    template = environment.from_string(_resource("page.html.j2"))
    page = template.render(_content(findings, verdict, figures, tables))
    page = _PERCENT.sub("\\1\u00a0%", page)
    return _CONTROLS.sub("\ufffd", page).lstrip() + "\n"


def _breakable(text: str) -> Markup:
    """Escapes a text and lets a line break inside long names."""
    from markupsafe import Markup, escape

    parts = [escape(part) if part[-1].isspace() else escape(part) + Markup("<wbr>") for part in _PIECES.findall(text)]
    return Markup("").join(parts).removesuffix("<wbr>")


def _resource(name: str) -> str:
    return files(__spec__.parent).joinpath(name).read_text(encoding="utf-8")


def _content(
    findings: Findings, verdict: Conclusion, figures: Mapping[str, Drawn], tables: Mapping[str, Table]
) -> dict[str, Any]:
    """What the template's names stand for."""
    from markupsafe import Markup

    # Safe: our own style sheet, our own colours, and drawings in which every letter is a path.
    ours = {"css": _resource("page.css"), "light": palette(LIGHT), "dark": palette(DARK)}
    return {
        **{name: Markup(text) for name, text in ours.items()},  # noqa: S704
        "figures": {name: _on_page(drawn) for name, drawn in figures.items()},
        "tables": tables,
        "name": findings.name,
        "task": findings.run.task,
        "metric": findings.metric,
        "verdict": verdict,
        "sections": _sections(findings, figures),
        **_extra_tables(findings),
        **_words(findings),
    }


def _on_page(drawn: Drawn) -> dict[str, Any]:
    from markupsafe import Markup

    drawing = Markup(inline(drawn.svg, drawn.name))  # noqa: S704
    return {"title": drawn.title, "caption": drawn.caption, "told": drawn.told, "inline": drawing}


def _sections(findings: Findings, figures: Mapping[str, Drawn]) -> list[tuple[str, str]]:
    """The anchors and titles of the contents."""
    classes = "Labels" if findings.run.task == "multilabel" else "Classes"
    sections = {
        "scores": "Scores", "differences": "Differences", "seeds": "Seeds", "learning": "Low-data curve",
        "metrics": "Every metric", "classes": classes, "probabilities": "Probabilities", "data": "Data",
        "embeddings": "Embeddings", "methods": "How it was done", "cite": "Repeat and cite",
    }  # fmt: skip
    absent = {"differences", "seeds"} - set(figures) | (set() if findings.has_curve else {"learning"})
    return [(anchor, title) for anchor, title in sections.items() if anchor not in absent]


def _extra_tables(findings: Findings) -> dict[str, Any]:
    """Tables that the page alone has, or has shorter than their files."""
    shown, all_pairs = len(findings.against_best), len(findings.every_comparison)
    return {
        "against_best": comparisons_table(findings, findings.against_best),
        "more_comparisons": all_pairs if all_pairs > shown else 0,
        "classes": classes_table(findings, facts.MOST_CLASSES),
        "class_counts": facts.class_counts(findings),
        "embeddings": facts.embeddings(findings),
    }


def _words(findings: Findings) -> dict[str, Any]:
    return {
        "meanings": [(metric.label, metric.meaning) for metric in findings.metrics],
        "data": facts.about_data(findings),
        "protocol": facts.protocol(findings),
        "probe_settings": facts.settings(findings),
        "statistics": facts.statistics(findings),
        "versions": facts.versions(findings),
        "remarks": remarks(findings.run, findings.summary),
        "most_remarks": _MOST_REMARKS,
        "commands": citing.commands(findings),
        "unsaid": citing.unsaid(findings),
        "sentence": citing.sentence_to_cite(findings),
        "references": citing.references(findings),
        "medprobe_version": findings.run.info["versions"].get("medprobe", ""),
    }
