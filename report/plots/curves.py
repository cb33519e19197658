"""The figures of probabilities: which class is called which, calibration, and ROC curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...base.text import shortened
from ..elements.theme import LIGHT, new_figure
from .curve_data import Confusion, Reliability, Roc
from .scores import WIDTH, Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COUNTED = 10
"""Classes up to which a cell of the confusion matrix tells share and count."""
MOST_LABELLED = 25
"""Classes up to which a cell tells the share, and the axes name the classes."""
MOST_DRAWN = 100
"""Classes up to which the matrix is drawn at all."""
_DEEPEST = 0.5
"""Opacity of a full cell that has words in it: ink can be read on it."""
_STEPS = 20
"""Shades of a cell: one path each, however many cells there are."""


@dataclass(frozen=True)
class Curve:
    """A line of a figure, and whose it is."""

    label: str
    note: str
    """After the name in the legend."""
    values: Reliability | Roc


def confusion_figure(matrix: Confusion, classes: Sequence[str]) -> Figure:
    """The confusion matrix, row-normalised: rows are the truth, columns what was called."""
    count = len(classes)
    side = min(max(0.62 * count, 1.6), 5.2) if count <= MOST_COUNTED else 5.2
    figure = new_figure(min(side + 1.6, WIDTH), side + 0.9)
    axes = figure.add_subplot()
    _shade_cells(axes, matrix.shares)
    if count <= MOST_LABELLED:
        _label_cells(axes, matrix)
    axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), aspect="equal")
    axes.spines[["top", "right"]].set_visible(True)
    axes.tick_params(length=0)
    _name_classes(axes, classes)
    axes.set_xlabel("Called")
    axes.set_ylabel("Truth")
    return figure


def _shade_cells(axes: Axes, shares: np.ndarray) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path
    from matplotlib.transforms import Affine2D

    deepest = _DEEPEST if len(shares) <= MOST_LABELLED else 1.0
    step = np.ceil(np.nan_to_num(shares) * _STEPS - 1e-9).astype(np.int64)
    for level in range(1, _STEPS + 1):
        cells = [
            Path.unit_rectangle().transformed(Affine2D().translate(column - 0.5, row - 0.5))
            for row, column in np.argwhere(step == level)
        ]
        if cells:
            shade = PathPatch(Path.make_compound_path(*cells), fc=LIGHT.accent(0), alpha=deepest * level / _STEPS, lw=0)
            axes.add_patch(shade)


def _label_cells(axes: Axes, matrix: Confusion) -> None:
    """Shares, and below them the units a seed; empty cells stay empty."""
    counted = len(matrix.shares) <= MOST_COUNTED
    for row, column in np.argwhere(matrix.counts > 0):
        share = matrix.shares[row, column]
        text = f"{share:.2f}" if counted else f"{share:.2f}".removeprefix("0")
        axes.text(
            column, row - (0.13 if counted else 0), text, ha="center", va="center", fontsize=8.5 if counted else 5.5
        )
        if counted:
            units = f"{matrix.counts[row, column]:.1f}".removesuffix(".0")
            axes.text(column, row + 0.2, units, ha="center", va="center", fontsize=6.5)


def _name_classes(axes: Axes, classes: Sequence[str]) -> None:
    count = len(classes)
    if count > MOST_LABELLED:
        places = [place for place in range(count) if place == 0 or (place + 1) % 10 == 0]
        axes.set_xticks(places, [str(place + 1) for place in places])
        axes.set_yticks(places, [str(place + 1) for place in places])
        return
    names = [shortened(name, 22) for name in classes]
    crowded = count > MOST_COUNTED or max(map(len, names)) > 9
    size = 7 if count > MOST_COUNTED else 8
    axes.set_xticks(range(count), names, rotation=45 if crowded else 0, ha="right" if crowded else "center",
                    rotation_mode="anchor", fontsize=size)  # fmt: skip
    axes.set_yticks(range(count), names, fontsize=size)
    if not crowded:
        axes.tick_params(axis="x", pad=8)


def calibration_figure(curves: Sequence[Curve], what: str, look: Look) -> Figure:
    """Reliability curves over a histogram of the predicted probabilities, whose axis is called `what`."""
    figure = new_figure(4.6, 5.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    upper.plot([0, 1], [0, 1], color=LIGHT.quiet, linewidth=0.8, dashes=(2, 2), zorder=1)
    for curve in curves:
        found = curve.values
        assert isinstance(found, Reliability)
        colour, dash = look.colour(curve.label), look.dash(curve.label)
        upper.plot(found.bins.stated, found.bins.true, "o", ls=dash, color=colour, markersize=3.5, linewidth=1.4,
                   label=_legend(curve))  # fmt: skip
        edges = np.linspace(0, 1, len(found.histogram) + 1)
        lower.stairs(found.histogram, edges, color=colour, linestyle=dash, linewidth=1.1)
    upper.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="Share that came true")
    lower.set(xlabel=what, ylabel="Predictions", ylim=(0, None))
    lower.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    for axes in (upper, lower):
        axes.grid(visible=True)
    _legend_below(figure, len(curves))
    return figure


def roc_figure(curves: Sequence[Curve], look: Look) -> Figure:
    """ROC curves, mean over seeds; of the first, the best, a band of one standard deviation over seeds."""
    figure = new_figure(4.6, 4.6)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=LIGHT.quiet, linewidth=0.8, dashes=(2, 2), zorder=1)
    for place, curve in enumerate(curves):
        found = curve.values
        assert isinstance(found, Roc)
        colour = look.colour(curve.label)
        if place == 0 and np.isfinite(found.sd).all():
            low, high = (np.clip(found.found + side * found.sd, 0, 1) for side in (-1, 1))
            axes.fill_between(found.false, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            found.false, found.found, ls=look.dash(curve.label), color=colour, linewidth=1.5, label=_legend(curve)
        )
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set(xlabel="False positive rate (1 − specificity)", ylabel="True positive rate (sensitivity)")
    axes.grid(visible=True)
    _legend_below(figure, len(curves))
    return figure


def _legend(curve: Curve) -> str:
    return f"{shortened(curve.label)}  ({curve.note})"


def _legend_below(figure: Figure, count: int) -> None:
    if count:
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + 0.2 * count)
        figure.legend(loc="outside lower left", ncols=1)
