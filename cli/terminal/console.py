"""Printing: results to standard output, messages and errors to standard error, in lines that fit the terminal."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from ...base.text import MINUS, NONE, printable

if TYPE_CHECKING:
    from rich.console import Console

_ASCII = str.maketrans({MINUS: "-", NONE: "-", "\u2192": "->", "\u2026": "..."})
"""For output that is not UTF-8."""
_UNFOLDED = 10_000
"""Characters of a line into which a table fits as it is."""


def rich_console(*, stderr: bool = False) -> Console:
    """The console for results, or for remarks and faults; text that is not of the program goes through `say`."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, emoji=False, soft_wrap=True)


def say(text: str) -> None:
    """Prints `text` as it is (no markup) on standard output."""
    rich_console().print(_shown(text, sys.stdout), markup=False)


def _shown(text: str, stream: TextIO) -> str:
    """`text` without what would control a terminal, in characters that `stream` can encode."""
    encoding = stream.encoding or "utf-8"
    if not encoding.lower().startswith("utf"):
        text = text.translate(_ASCII)
    return printable(text).encode(encoding, "backslashreplace").decode(encoding)


def remark(text: str) -> None:
    """Prints `text` as it is (no markup) on standard error."""
    rich_console(stderr=True).print(_shown(text, sys.stderr), markup=False)


def command(*words: object) -> str:
    """A `medprobe` command as one may paste it into a shell."""
    return shlex.join(["medprobe", *map(str, words)])


def show_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    title: str = "",
    right: Sequence[str] = (),
    whole: Sequence[str] = (),
    sections: Container[int] = (),
) -> None:
    """Prints a table that fits the terminal by folding cells; in a file or a pipe nothing is folded.

    Columns in `right` are right-aligned, those in `whole` never folded, such as names that one copies; `sections` are
    places of rows that have a line above them.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        justify = "right" if column in right else "left"
        table.add_column(Text(_shown(column, sys.stdout)), justify=justify, overflow="fold", no_wrap=column in whole)
    for place, row in enumerate(rows):
        if place in sections:
            table.add_section()
        table.add_row(*(Text(_shown(str(cell), sys.stdout)) for cell in row))
    console = Console(highlight=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _UNFOLDED
    elif console.measure(table, options=console.options.update(width=_UNFOLDED)).maximum > console.width:
        table.padding = (0, 1, 0, 0)  # Narrower gaps before words are broken.
    if title:
        # Not the table's own, which would be folded to the width of a narrow table.
        console.print(Text(_shown(title, sys.stdout)))
    console.print(table)


_WIDEST = 80
"""Columns beyond which a line is tiring to read, however wide the terminal."""


def wrapped(text: str, *, first: str = "", rest: str = "") -> str:
    """`text` broken at its blanks into lines that fit the terminal, and 80 columns.

    A word that is longer than a line, such as a path, stays whole on a line of its own, so that it can be copied.
    `first` is put before the first line, `rest` before each further one.
    """
    from rich.cells import cell_len

    width = min(_WIDEST, rich_console().width)
    lines, line, begun = [], first, False
    for word in text.split(" "):
        if begun and cell_len(line) + 1 + cell_len(word) > width:
            lines.append(line)
            line, begun = rest, False
        line += f" {word}" if begun else word
        begun = True
    return "\n".join([*lines, line])
