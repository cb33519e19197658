"""Printing: results to standard output, messages and errors to standard error, in lines that fit the terminal."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Container, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, TextIO

from ...base.text import MINUS, NONE, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_RULE = "\u2500"
_ASCII = str.maketrans({MINUS: "-", NONE: "-", "\u2192": "->", _RULE: "-", "\u2026": "..."})
"""For output that is not UTF-8."""


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
    places of rows that have an empty line above them.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.text import Text

    shown = [[_shown(str(cell), sys.stdout).expandtabs() for cell in row] for row in (columns, *rows)]
    head, *body = _lines(shown, [column in right for column in columns])
    width = cell_len(head[0])
    console = Console(highlight=False, emoji=False)
    bounded = console.is_terminal or "COLUMNS" in os.environ
    if title:
        # Not the table's own, which would be folded to the width of a narrow table.
        console.print(Text(_shown(title, sys.stdout)), soft_wrap=not bounded)
    if bounded and width > console.width:
        console.print(_folding(shown, columns, right, whole, sections))
        return
    # Without Rich's table, which takes ten times as long: stores have thousands of caches.
    blank = [" " * width]
    rule = _shown(f" {_RULE * (width - 2)} ", sys.stdout)
    rest = [line for place, row in enumerate(body) for line in (blank if place and place in sections else []) + row]
    for part, style in ((blank, ""), (head, "bold"), ([rule, *rest, *blank], "")):
        console.print(Text("\n".join(part)), style=style, soft_wrap=True)


def _lines(rows: Sequence[Sequence[str]], to_right: Sequence[bool]) -> list[list[str]]:
    """The lines of each row of a table, whose cells may have several, padded to the widths of the columns."""
    from rich.cells import cell_len

    def padded(text: str, width: int, to_right: bool) -> str:
        gap = " " * (width - cell_len(text))
        return gap + text if to_right else text + gap

    cells = [[cell.split("\n") for cell in row] for row in rows]
    widths = [max(cell_len(line) for cell in column for line in cell) for column in zip(*cells, strict=True)]
    return [
        [f" {'   '.join(map(padded, line, widths, to_right))} " for line in zip_longest(*row, fillvalue="")]
        for row in cells
    ]


def _folding(
    shown: Sequence[Sequence[str]],
    columns: Sequence[str],
    right: Sequence[str],
    whole: Sequence[str],
    sections: Container[int],
) -> Table:
    """A table whose cells are folded to the width of the terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))  # Narrower gaps before words are broken.
    for column, name in zip(columns, shown[0], strict=True):
        justify = "right" if column in right else "left"
        table.add_column(Text(name), justify=justify, overflow="fold", no_wrap=column in whole)
    for place, row in enumerate(shown[1:]):
        if place in sections:
            table.add_section()
        table.add_row(*map(Text, row))
    return table


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
