"""The figure of a map: points coloured by what is known of them, with their names as titles in its SVG."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from ..base.text import shortened
from ..report.elements.theme import LIGHT, MARKERS, new_figure
from ..report.plots.scores import WIDTH
from .judged import NOT_TESTED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_VALUES = 20
"""Values that have a colour and a shape of their own; rarer ones share grey dots."""
OTHER, NOT_KNOWN = "other", "not known"
_GREY = (OTHER, NOT_KNOWN, NOT_TESTED)
_HEIGHT = 4.6
_GROUP = re.compile(r'<g id="points-(\d+)">.*?</g>\s*</g>', re.DOTALL)
_POINT = re.compile(r"<use\b([^>]*)/>")


def layers(values: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The points of each value of (n,) text, the commonest first, so that rarer ones are drawn above.

    What is grey comes first of all: values beyond `MOST_VALUES` together, points without a value, units that were not
    tested.
    """
    text = np.where(values == "", NOT_KNOWN, values).astype(str)
    names, counts = np.unique(text, return_counts=True)
    ordered = [str(name) for name in names[np.lexsort((names, -counts))] if name not in _GREY]
    text[np.isin(text, ordered[MOST_VALUES:])] = OTHER
    found = [(name, np.flatnonzero(text == name)) for name in (*_GREY, *ordered[:MOST_VALUES])]
    return [(name, rows) for name, rows in found if len(rows)]


def map_figure(xy: np.ndarray, axes_names: tuple[str, str], drawn: Sequence[tuple[str, np.ndarray]]) -> Figure:
    """Points at `xy` (n, 2), the layers `drawn` one above the other; no two differ by colour alone."""
    figure = new_figure(WIDTH, _HEIGHT)
    axes = figure.add_subplot()
    size = float(np.clip(6000 / max(1, len(xy)), 5, 22))
    coloured = 0
    for place, (name, rows) in enumerate(drawn):
        grey = name in _GREY
        axes.scatter(
            *xy[rows].T,
            s=size,
            color=LIGHT.quiet if grey else LIGHT.accent(coloured),
            marker="." if grey else MARKERS[coloured % len(MARKERS)],
            alpha=0.35 if grey else 0.8,
            linewidth=0,
            label=f"{shortened(name, 30)} ({len(rows):,})",
            gid=f"points-{place}",
        )
        coloured += not grey
    axes.set(xlabel=axes_names[0], ylabel=axes_names[1], xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    figure.legend(loc="outside right upper", markerscale=max(1.0, (22 / size) ** 0.5))
    return figure


def with_titles(svg: bytes, drawn: Sequence[tuple[str, np.ndarray]], titles: np.ndarray) -> bytes:
    """The SVG of `map_figure` with a title for each point, which browsers show under the pointer; (n,) text."""

    def titled(group: re.Match[str]) -> str:
        of_layer: Iterator[str] = iter(titles[drawn[int(group[1])][1]])
        return _POINT.sub(lambda point: f"<use{point[1]}><title>{escape(next(of_layer))}</title></use>", group[0])

    return _GROUP.sub(titled, svg.decode("utf-8")).encode("utf-8")
