"""The figures of results: scores with their intervals and seeds, and paired differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ...base.text import interval, lower_first, number, p_value, shortened, signed
from ...evaluate import Metric
from ..elements.theme import LIGHT, MARKERS, new_figure, place_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ROWS = 40
"""Rows beyond which a figure shows the best ones alone."""
_ROW = 0.235
"""Inches a row takes."""
WIDTH = 6.6
"""Inches across."""


@dataclass(frozen=True)
class Look:
    """What the figures of one report share, so that a colour or a shape means one thing throughout."""

    metric: Metric
    backbones: Sequence[str]
    """Labels, in the order of the colours."""
    probes: Sequence[str]
    """Names, in the order of the shapes."""

    def colour(self, backbone: str) -> str:
        """Of a backbone, in every figure."""
        return LIGHT.accent(self.backbones.index(backbone))

    def dash(self, backbone: str) -> object:
        """Line style of a backbone, in every figure."""
        return LIGHT.dash(self.backbones.index(backbone))

    def marker(self, probe: str) -> str:
        """Shape of a probe, in every figure."""
        return MARKERS[self.probes.index(probe) % len(MARKERS)]


def scores_figure(summary: pd.DataFrame, seeds: pd.DataFrame, look: Look) -> Figure:
    """Every system's mean with its interval over the dots of its seeds, grouped by backbone, the best first.

    `summary` and `seeds` are those of `ReportData`.
    """
    groups = [(str(label), rows) for label, rows in summary.head(MOST_ROWS).groupby("label", sort=False)]
    figure, axes, placed = figure_of_rows(groups, lambda row: str(row["probe_label"]), "mean  [95 % interval]")
    for y, row in placed:
        label, probe = str(row["label"]), str(row["probe"])
        values = seeds[(seeds["label"] == label) & (seeds["probe"] == probe)]["value"].to_numpy()
        axes.plot(values, np.full(len(values), y + 0.28), "o", color=LIGHT.quiet, markersize=2.6, alpha=0.55,
                  mew=0, zorder=1)  # fmt: skip
        mean, low, high = (float(row[name]) for name in ("mean", "low", "high"))
        axes.plot([low, high], [y, y], color=look.colour(label), linewidth=1.8, zorder=2)
        axes.plot(mean, y, look.marker(probe), color=look.colour(label), markersize=6, mec=LIGHT.paper, mew=0.8,
                  zorder=4)  # fmt: skip
        right_text(axes, y, f"{number(row['mean'])}  [{interval(row['low'], row['high'])}]")
    axes.set_xlabel(f"{look.metric.label} on test{look.metric.direction}")
    # No values that the metric cannot take, but a mark at the very end is seen whole.
    (low, high), (least, most) = axes.get_xlim(), look.metric.range
    margin = 0.015 * (high - low)
    axes.set_xlim(max(low, least - margin), min(high, most + margin))
    return figure


def differences_figure(comparisons: pd.DataFrame, look: Look) -> Figure:
    """A forest plot: by how much the best of what is compared leads the others; `comparisons` as in `ReportData`."""
    rows = comparisons.head(MOST_ROWS)
    groups = [(str(key), part) for key, part in rows.groupby(rows.apply(_heading, axis=1), sort=False)]

    def name(row: pd.Series) -> str:
        return shortened(str(row["b_label"]).removeprefix(f"{row['label_b']} with "), 36)

    figure, axes, placed = figure_of_rows(groups, name, "lead   Holm p", lines=2)
    axes.axvline(0, color=LIGHT.quiet, linewidth=0.9, zorder=1)
    for y, row in placed:
        lead, low, high = (float(row[name]) for name in ("advantage", "advantage_low", "advantage_high"))
        colour, marker = look.colour(str(row["label_a"])), look.marker(str(row["probe_a"]))
        axes.plot([low, high], [y, y], color=colour, linewidth=1.8, zorder=2)
        # Filled where significant, hollow where not: distinguishable without colour.
        face = colour if row["significant"] else LIGHT.paper
        axes.plot(lead, y, marker, color=colour, markersize=6, mfc=face, mec=colour, mew=1.3, zorder=4)
        star = "  *" if row["significant"] else ""
        right_text(axes, y, f"{signed(row['advantage'])}   {p_value(row['p_adjusted'])}{star}")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -0.04 * (high - low)), high)
    axes.set_xlabel(
        f"Lead in {lower_first(look.metric.label)} with 95 % interval\n(right of zero the heading's is better)"
    )
    return figure


def _heading(row: pd.Series) -> str:
    """What is compared with the rows below it; of two systems, with the backbone of the others."""
    if row["within_label"]:
        return f"{row['within_label']}: {shortened(str(row['a_label']), 36)} against"
    return f"The best system against those of {shortened(str(row['label_b']), 36)}"


def figure_of_rows(
    groups: Sequence[tuple[str, pd.DataFrame]], name: Callable[[pd.Series], str], beside: str, *, lines: int = 1
) -> tuple[Figure, Axes, list[tuple[float, pd.Series]]]:
    """A figure of rows under headings from the top down, each named on the left; `beside` heads what is on the right.

    `lines` are those of the label of the x axis. Returns the figure, its axes, and where each row is.
    """
    from matplotlib.transforms import blended_transform_factory

    placed, headings, y = [], [], 0.0
    for heading, rows in groups:
        y += 0.75
        headings.append((y, heading))
        for _, row in rows.iterrows():
            y += 1
            placed.append((y, row))
        y += 0.25
    figure = new_figure(WIDTH, 0.49 + 0.13 * lines + _ROW * (y + 0.95))
    axes = figure.add_subplot()
    axes.grid(axis="x")
    place_rows(axes, [y for y, _ in placed], [name(row) for _, row in placed], top=-0.7, bottom=y + 0.45)
    right_text(axes, -0.05, beside, LIGHT.quiet)
    # From the figure's edge and outside its layout: a long name must not squeeze the axes. In ink, not in the
    # backbone's colour: letters need more contrast than marks do.
    across = blended_transform_factory(figure.transSubfigure, axes.transData)
    for y, text in headings:
        axes.text(
            0.008, y, shortened(text, 66), transform=across, va="center", ha="left", weight="bold",
            bbox={"facecolor": LIGHT.paper, "edgecolor": "none", "pad": 1.0}, zorder=3, in_layout=False,
        )  # fmt: skip
    return figure, axes, placed


def right_text(axes: Axes, y: float, text: str, colour: str | None = None) -> None:
    """Writes beside a row, to the right of the axes."""
    axes.text(1.015, y, text, transform=axes.get_yaxis_transform(), va="center", ha="left", fontsize=8, color=colour)
