"""A figure as a page, a file or a notebook shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from .theme import LIGHT, drawing, figure_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class ReportFigure:
    """A figure with its texts, drawn when it is first needed."""

    name: str
    """Stem of its files."""
    title: str
    caption: str
    """How it is to be read."""
    description: str
    """What it shows, as alternative text."""
    draw: Callable[[], Figure]

    def figure(self) -> Figure:
        """The figure on light paper, to be changed and saved; notebooks show it."""
        with drawing(LIGHT):
            figure = self.draw()
        # What matplotlib itself has notebooks show are figures of pyplot alone.
        cast(Any, figure)._repr_svg_ = lambda: figure_bytes(figure, "svg").decode()
        return figure

    @cached_property
    def _drawn(self) -> Figure:
        return self.figure()

    @cached_property
    def svg(self) -> bytes:
        """As an SVG file; equal figures, equal bytes."""
        with drawing(LIGHT):
            return figure_bytes(self._drawn, "svg")

    @cached_property
    def png(self) -> bytes:
        """As a PNG file, laid out as the SVG is."""
        assert self.svg  # whose layout is kept
        with drawing(LIGHT):
            self._drawn.set_layout_engine("none")
            return figure_bytes(self._drawn, "png")
