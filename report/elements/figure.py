"""A figure as a page or a file shows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RenderedFigure:
    """A finished figure."""

    name: str
    """Stem of its files."""
    title: str
    caption: str
    """How it is to be read."""
    told: str
    """What it shows, for those who do not see it."""
    svg: bytes
    png: bytes
