"""The figures of a manifest: how many of each class, how large the images are, how bright."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ...base.text import shortened
from ..elements.theme import LIGHT, new_figure, place_rows
from ..plots.scores import WIDTH

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

MOST_BARS = 40
"""Classes up to which each has a bar."""
MOST_LINES = 6
"""Classes up to which each has a line; more could not be distinguished."""
MOST_SIZES = 3000
"""Marks in the figure of sizes; of more sizes the commonest are drawn."""

_LEAST_SHARE = 0.01
"""Per cent of pixels at which the axis of grey levels ends."""


def classes_figure(counts: pd.DataFrame) -> Figure:
    """Stacked bars, one per class: `counts` has a row per class and a column per split."""
    shown = counts.head(MOST_BARS)
    figure = new_figure(WIDTH, 0.8 + 0.27 * len(shown))
    axes = figure.add_subplot()
    start = np.zeros(len(shown))
    for place, split in enumerate(counts.columns):
        values = shown[split].to_numpy()
        axes.barh(np.arange(len(shown)), values, left=start, height=0.62, color=LIGHT.accent(place), label=str(split),
                  edgecolor=LIGHT.paper, linewidth=0.8)  # fmt: skip
        start += values
    for row, total in enumerate(start):
        axes.text(total, row, f"  {total:,.0f}", va="center", ha="left", fontsize=8)
    axes.set_xlim(0, 1.12 * max(start.max(), 1))
    names = [shortened(str(name), 36) for name in shown.index]
    place_rows(axes, range(len(shown)), names, top=-0.6, bottom=len(shown) - 0.4)
    axes.set_xlabel("Images")
    axes.grid(axis="x")
    _thousands(axes.xaxis)
    if len(counts.columns) > 1:
        figure.legend(loc="outside upper right", ncols=len(counts.columns))
    return figure


def sizes_figure(sizes: pd.DataFrame) -> Figure:
    """Each size (`width`, `height`, `images`; the commonest first) as a disc, its area by the number of images."""
    shown = sizes.head(MOST_SIZES)
    figure = new_figure(4.6, 3.8)
    axes = figure.add_subplot()
    images = shown["images"].to_numpy()
    area = np.clip(420 * images / images.max(), 7, None)
    axes.scatter(shown["width"], shown["height"], s=area, color=LIGHT.accent(0), alpha=0.45, linewidth=0)
    most = 1.06 * float(max(shown["width"].max(), shown["height"].max()))
    axes.plot([0, most], [0, most], color=LIGHT.quiet, linewidth=0.8, dashes=(2, 2), zorder=1)
    axes.set(xlim=(0, most), ylim=(0, most), aspect="equal", xlabel="Width (pixels)", ylabel="Height (pixels)")
    axes.grid()
    _thousands(axes.xaxis, axes.yaxis)
    return figure


def intensity_figure(histograms: Sequence[tuple[str, np.ndarray]]) -> Figure:
    """The share of pixels at each brightness, a line per class: its name, and shares in equal bins over 0 to 255."""
    figure = new_figure(WIDTH, 2.9)
    axes = figure.add_subplot()
    for place, (name, shares) in enumerate(histograms):
        axes.stairs(
            np.maximum(100 * shares, _LEAST_SHARE),
            np.linspace(0, 256, len(shares) + 1),
            baseline=None,
            color=LIGHT.accent(place),
            linestyle=LIGHT.dash(place),
            linewidth=1.4,
            label=shortened(name, 30),
        )
    # Black borders are half of many medical images; on a linear axis nothing else would be seen.
    axes.set(xlim=(0, 256), yscale="log", ylim=(_LEAST_SHARE, None))
    axes.set(xlabel="Grey level, 0 (black) to 255 (white)", ylabel="Share of pixels (log)")
    axes.yaxis.set_major_formatter("{x:.3g} %")
    axes.set_xticks([0, 64, 128, 192, 255])
    axes.grid(axis="y")
    if len(histograms) > 1:
        figure.legend(loc="outside upper center", ncols=len(histograms) if len(histograms) <= 4 else 3)
    return figure


def _thousands(*axes: Axis) -> None:
    from matplotlib.ticker import MaxNLocator

    for axis in axes:
        axis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axis.set_major_formatter("{x:,.0f}")
