"""Sentences that fit the terminal."""

from __future__ import annotations

from .console import rich_console

_WIDEST = 80
"""Columns beyond which a line is tiring to read, however wide the terminal."""


def columns() -> int:
    """How many columns the terminal has; 80 where there is none."""
    return rich_console().width


def wrapped(text: str, *, first: str = "", rest: str = "") -> str:
    """`text` broken at its blanks into lines that fit the terminal, and 80 columns.

    A word that is longer than a line, such as a path, stays whole on a line of its own, so that it can be copied.
    `first` is put before the first line, `rest` before each further one.
    """
    from rich.cells import cell_len

    width = min(_WIDEST, columns())
    lines, line, begun = [], first, False
    for word in text.split(" "):
        if begun and cell_len(line) + 1 + cell_len(word) > width:
            lines.append(line)
            line, begun = rest, False
        line += f" {word}" if begun else word
        begun = True
    return "\n".join([*lines, line])
