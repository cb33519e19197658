"""The figure of a low-data curve: scores against what there was to train on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from ...base.text import shortened
from ...evaluate import Budget
from ..elements.theme import LIGHT, new_figure
from .scores import WIDTH, Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ACROSS = 2
"""Panels in a row."""
_SPREAD = 0.012
"""By which share of the axis the bars of two backbones stand apart."""


@dataclass(frozen=True)
class Scale:
    """Where each budget stands on the axis, and what the axis is called."""

    label: str
    places: dict[str, float]
    names: dict[str, str]
    """What stands below each place."""

    @classmethod
    def of(cls, budgets: Sequence[str], training_units: dict[str, float]) -> Scale:
        """Shots or shares where all budgets are of one kind, else the units that they leave."""
        known = {name: Budget.named(name) for name in budgets}
        if all(budget.shots is not None for budget in known.values()):
            places = {name: float(budget.shots or 0) for name, budget in known.items()}
            return cls("Training units of each class", places, {name: f"{x:g}" for name, x in places.items()})
        if all(budget.share is not None for budget in known.values()):
            places = {name: budget.share or 1.0 for name, budget in known.items()}
            return cls("Share of the training units", places, {name: name.replace("%", " %") for name in places})
        places = {name: training_units[name] for name in budgets}
        return cls("Training units", places, {name: f"{x:,.0f}" for name, x in places.items()})


def learning_figure(summary: pd.DataFrame, labels: Sequence[str], scale: Scale, look: Look) -> Figure:
    """A panel a probe, a line a backbone: mean over seeds with its interval, against the budget; for these `labels`."""
    probes = [probe for probe in look.probes if (summary["probe"] == probe).any()]
    across = min(_ACROSS, len(probes))
    down = math.ceil(len(probes) / across)
    figure = new_figure(WIDTH, 0.7 + 2.2 * down + 0.2 * len(labels))
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for place, (axes, probe) in enumerate(zip(panels, probes, strict=False)):
        part = summary[summary["probe"] == probe]
        for k, label in enumerate(labels):
            _line(axes, part[part["label"] == label], label, probe, scale, look, shift=k - (len(labels) - 1) / 2)
        axes.set_title(str(part["probe_label"].iloc[0]))
        axes.grid(visible=True)
        _scale_axis(axes, scale)
        if place + across >= len(probes):  # nothing stands below it
            axes.set_xlabel(scale.label)
            axes.tick_params(labelbottom=True)
    for axes in panels[len(probes) :]:
        axes.set_visible(False)
    figure.supylabel(look.metric.label + look.metric.direction, fontsize=8.5)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", ncols=1)
    return figure


def _line(axes: Axes, rows: pd.DataFrame, label: str, probe: str, scale: Scale, look: Look, *, shift: float) -> None:
    rows = rows.assign(x=rows["budget"].map(scale.places)).sort_values("x")
    places = list(scale.places.values())
    # On a logarithmic axis a factor is a distance.
    x = rows["x"].to_numpy() * (max(places) / min(places)) ** (_SPREAD * shift)
    colour = look.colour(label)
    axes.vlines(x, rows["low"], rows["high"], color=colour, linewidth=1.2, alpha=0.6, zorder=2)
    axes.plot(
        x, rows["mean"], look.marker(probe), ls=look.dash(label), color=colour, markersize=4.5, linewidth=1.4,
        mec=LIGHT.paper, mew=0.6, label=shortened(label), zorder=3,
    )  # fmt: skip


def _scale_axis(axes: Axes, scale: Scale) -> None:
    from matplotlib.ticker import NullFormatter, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    # The budgets whose names fit next to each other; the largest always.
    whole = math.log(max(scale.places.values()) / min(scale.places.values())) or 1.0
    shown: list[str] = []
    for name in sorted(scale.places, key=lambda name: -scale.places[name]):
        if not shown or math.log(scale.places[shown[-1]] / scale.places[name]) > 0.09 * whole:
            shown.append(name)
    axes.set_xticks([scale.places[name] for name in shown], [scale.names[name] for name in shown])
