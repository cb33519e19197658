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
    description: str
    """What it shows, as alternative text."""
    svg: bytes
    png: bytes
