"""How a table is written: CSV to compute with, Markdown and LaTeX to cite."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pandas as pd

from ...base.text import MINUS, NONE
from ...manifests.schema.table_io import csv_text
from .table import Table


def as_csv(table: Table) -> str:
    """The table at full precision, with the names of the columns as the code has them."""
    return csv_text(table.raw)


def as_markdown(table: Table) -> str:
    """A pipe table; the caption above it."""
    head = [_markdown_text(column) for column in table.columns]
    body = [[_markdown_text(cell) for cell in row] for row in table.rows]
    body = [[f"**{c}**" for c in row] if place in table.strong else row for place, row in enumerate(body)]
    widths = [max(3, *(len(row[k]) for row in [head, *body])) for k in range(len(head))]
    rule = ["-" * width if table.is_name(k) else "-" * (width - 1) + ":" for k, width in enumerate(widths)]
    lines = [_markdown_row(row, widths, table) for row in [head, rule, *body]]
    return f"{_markdown_text(table.caption)}\n\n" + "\n".join(lines) + "\n"


def _markdown_row(cells: Sequence[str], widths: Sequence[int], table: Table) -> str:
    padded = [
        cell.ljust(width) if table.is_name(k) else cell.rjust(width)
        for k, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"


def _markdown_text(text: str) -> str:
    """`text` with the signs that Markdown would take for its own made harmless."""
    for sign in "\\|*_`<>[]~$&":
        text = text.replace(sign, "\\" + sign)
    return " ".join(text.split())


_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "_": r"\_",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    MINUS: "$-$",
    NONE: "--",
    "↓": r"$\downarrow$",
    "|": r"\textbar{}",
    # At the start of a row the row break before it would take these for its own.
    "[": "{[}",
    "*": "{*}",
}


def latex_text(text: str) -> str:
    """`text` with every sign that LaTeX would take for its own escaped."""
    escaped = "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))
    # Of two hyphens LaTeX would make a dash. A dash for no value stands alone and is meant.
    return escaped if escaped == "--" else re.sub("-(?=-)", "-{}", escaped)


def as_latex(table: Table) -> str:
    """A floating table in booktabs style, to be set with the package of that name."""
    cells = [[latex_text(cell) for cell in row] for row in table.rows]
    style = pd.DataFrame(cells, columns=[latex_text(column) for column in table.columns]).style.hide(axis="index")
    strong = pd.IndexSlice[sorted(table.strong), :]
    return "% needs \\usepackage{booktabs}\n" + style.map(lambda _: "textbf: --rwrap", subset=strong).to_latex(
        column_format="".join("l" if table.is_name(k) else "r" for k in range(len(table.columns))),
        position_float="centering",
        hrules=True,
        caption=latex_text(table.caption),
        label=f"tab:{table.name.replace('_', '-')}",
    )


FORMATS: dict[str, Callable[[Table], str]] = {"csv": as_csv, "md": as_markdown, "tex": as_latex}
"""How a table is written, by suffix. A further format is one function and one line here."""
