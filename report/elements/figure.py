"""A figure as a page or a file shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .theme import svg_and_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class RenderedFigure:
    """A finished figure."""

    name: str
    """Stem of its files."""
    title: str
    caption: str
    """How it is to be read."""
    description: str
    """What it shows, as alternative text."""
    svg: bytes
    png: bytes

    @classmethod
    def of(cls, name: str, title: str, caption: str, description: str, draw: Callable[[], Figure]) -> RenderedFigure:
        """Draws it on light paper."""
        return cls(name, title, caption, description, *svg_and_png(draw))
