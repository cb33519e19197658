"""The figure of what unfreezing does: on each backbone the best frozen probe, and each fine-tuned system."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from ...base.text import number, p_value, shortened, signed
from ..elements.theme import LIGHT
from .scores import MOST_ROWS, Look, figure_of_rows, right_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def unfreezing_figure(systems: pd.DataFrame, look: Look) -> Figure:
    """Means with their intervals, a group for each backbone; a dashed line goes up and down from its frozen probe.

    `systems` has a row for each system in the order of drawing: `label`, `probe`, `probe_label`, `mean`, `low`, `high`,
    `frozen`, and of the fine-tuned ones `advantage`, `p_adjusted` and `significant`.
    """
    groups = [(str(label), rows) for label, rows in systems.head(MOST_ROWS).groupby("label", sort=False)]

    def name(row: pd.Series) -> str:
        return f"{shortened(row['probe_label'])}{' (frozen)' if row['frozen'] else ''}"

    figure, axes, placed = figure_of_rows(groups, name, "mean   gain   Holm p")
    for label, rows in groups:
        frozen = rows[rows["frozen"]]["mean"]
        places = [y for y, row in placed if row["label"] == label]
        axes.vlines(frozen, min(places), max(places), color=LIGHT.quiet, linewidth=0.9, ls=(0, (3, 2)), zorder=1)
    for y, row in placed:
        colour, marker = look.colour(str(row["label"])), look.marker(str(row["probe"]))
        axes.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=1.8, zorder=2)
        # Hollow where the backbone is frozen: distinguishable without colour.
        face = LIGHT.paper if row["frozen"] else colour
        axes.plot(row["mean"], y, marker, color=colour, markersize=6, mfc=face, mec=colour, mew=1.3, zorder=4)
        star = "  *" if row["significant"] else ""
        gain = "" if row["frozen"] else f"   {signed(row['advantage'])}   {p_value(row['p_adjusted'])}{star}"
        right_text(axes, y, f"{number(row['mean'])}{gain}")
    axes.set_xlabel(f"{look.metric.label} on test{look.metric.direction}")
    return figure
