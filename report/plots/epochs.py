"""The figure of learning curves: losses and the metric on val after each epoch, a thin line for each resample."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from ...base.text import lower_first, shortened
from ..elements.theme import LIGHT, new_figure
from .scores import WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS = 8
"""Systems in one figure."""
_MOST_CHARACTERS = 68
"""In a line of a title, which has the width of both panels."""


@dataclass(frozen=True)
class LearningCurves:
    """What one system learnt."""

    backbone: str
    probe: str
    colour: str
    epochs: pd.DataFrame
    """Rows of the table of epochs."""

    @property
    def title(self) -> str:
        """The names on one line, or on one each where they are long."""
        whole = f"{self.backbone}, {lower_first(self.probe)}"
        names = [whole] if len(whole) <= _MOST_CHARACTERS else [self.backbone, self.probe]
        return "\n".join(shortened(name, _MOST_CHARACTERS) for name in names)


def epochs_figure(systems: Sequence[LearningCurves], metric: str) -> Figure:
    """A row for each system: its losses on the left, the metric on val on the right, a dot at the chosen epoch."""
    lines = sum(system.title.count("\n") for system in systems)
    figure = new_figure(WIDTH, 0.75 + 1.75 * len(systems) + 0.15 * lines)
    rows = figure.subplots(len(systems), 2, squeeze=False)
    for system, (losses, scores) in zip(systems, rows, strict=True):
        for _, curve in system.epochs.groupby(["seed", "fold"]):
            _line(losses, curve, "train_loss", LIGHT.quiet, dashed=True)
            _line(losses, curve, "val_loss", system.colour)
            _line(scores, curve, "val_metric", system.colour)
        losses.set_title(system.title)
        losses.set_ylabel("Loss")
        scores.set_ylabel(textwrap.fill(f"{metric} on val", 16))
        for axes in (losses, scores):
            axes.grid(visible=True)
            axes.xaxis.get_major_locator().set_params(integer=True)
    for axes in rows[-1]:
        axes.set_xlabel("Epoch")
    _legend(figure)
    return figure


def _line(axes: Axes, curve: pd.DataFrame, column: str, colour: str, *, dashed: bool = False) -> None:
    style = (0, (3, 1.5)) if dashed else "-"
    axes.plot(curve["epoch"], curve[column], ls=style, color=colour, linewidth=0.8, alpha=0.75, zorder=2)
    if not dashed:
        chosen = curve[curve["chosen"]]
        axes.plot(chosen["epoch"], chosen[column], "o", color=colour, markersize=4, mec=LIGHT.paper, mew=0.6, zorder=3)


def _legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=LIGHT.quiet, linewidth=1, ls=(0, (3, 1.5)), label="train"),
        Line2D([], [], color=LIGHT.ink, linewidth=1, label="val"),
        Line2D([], [], color=LIGHT.ink, marker="o", markersize=4, ls="", label="the epoch that is tested"),
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=3)
