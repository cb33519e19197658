"""The numbers as tables: rows for the page, and files to cite or compute with (CSV, Markdown, LaTeX)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ..base import atomic_path, counted
from .findings import Findings
from .words import MINUS, NONE, bare_p, interval, lower_first, number, signed


@dataclass(frozen=True)
class Table:
    """A table as it is read: words in cells, names before numbers."""

    name: str
    """Stem of its files."""
    caption: str
    """What it shows, and what each sign in it means."""
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int
    """How many of the first columns are names; the rest are numbers and stand to the right."""
    strong: frozenset[int] = frozenset()
    """Rows to be set off: the best system, significant comparisons."""
    raw: pd.DataFrame = field(default_factory=pd.DataFrame, compare=False)
    """The same at full precision, for CSV."""

    def is_name(self, column: int) -> bool:
        """Whether a column holds names."""
        return column < self.names


def summary_table(findings: Findings) -> Table:
    """Every system in the metric of the report, the best first."""
    metric, seeds = findings.metric, len(findings.run.info["seeds"])
    one_seed = seeds == 1
    rows = [
        (
            *(str(row[name]) for name in ("dataset", "backbone", "pooling", "probe_label")),
            number(row["mean"]),
            number(row["sd"]),
            interval(row["low"], row["high"]),
            str(row["n_seeds"]),
        )
        for _, row in findings.summary.iterrows()
    ]
    caption = (
        f"{metric.label} on the test units of {findings.name}{'' if metric.greater_is_better else ' (lower is better)'}:"
        f" mean over {counted(seeds, 'seed')}{'' if one_seed else ', standard deviation (SD) over seeds'}, and the 95 %"
        " percentile interval of the mean under a bootstrap over groups. The best system is in bold."
    )
    raw = findings.summary.drop(columns=["label"])
    columns = ("Data set", "Backbone", "Pooling", "Probe", "Mean", "SD", "95 % interval", "Seeds")
    return Table("summary", caption, columns, tuple(rows), 4, frozenset({0}), raw)


def comparisons_table(findings: Findings, rows: pd.DataFrame | None = None) -> Table:
    """Pairs of backbones within each probe, the better one first; all of them unless `rows` are given."""
    chosen = findings.comparisons if rows is None else rows
    body = [
        (
            str(row["probe_label"]),
            str(row["a"]),
            str(row["b"]),
            number(row["mean_a"]),
            number(row["mean_b"]),
            signed(row["difference"]),
            interval(row["low"], row["high"]),
            bare_p(row["p"]),
            bare_p(row["p_holm"]),
        )
        for _, row in chosen.iterrows()
    ]
    tests = {"corrected-t": "corrected resampled t-test", "bootstrap": "paired bootstrap over groups and seeds"}
    used = " or ".join(words for name, words in tests.items() if (chosen["test"] == name).any()) or "no test"
    caption = (
        f"Differences in {lower_first(findings.metric.label)} between backbones under the same probe, A minus B, A being"
        f" the better: mean over seeds, 95 % interval under a paired bootstrap over groups, p-value ({used}) and p-value"
        f" after Holm's correction for {counted(int(findings.comparisons['p'].notna().sum()), 'comparison')}."
        " Significant differences (Holm p < 0.05) are in bold."
    )
    columns = ("Probe", "A", "B", "A mean", "B mean", "Difference", "95 % interval", "p", "Holm p")
    strong = frozenset(place for place, told in enumerate(chosen["significant"]) if told)
    raw = chosen.drop(columns=["advantage", "advantage_low", "advantage_high"])
    return Table("comparisons", caption, columns, tuple(body), 3, strong, raw)


def all_metrics_table(findings: Findings) -> Table:
    """Every system in every metric: mean ± SD over seeds."""
    table, metrics = findings.all_metrics, findings.metrics
    rows = [
        (
            str(row["label"]),
            str(row["probe_label"]),
            *(_plus_minus(row[f"{metric.name}_mean"], row[f"{metric.name}_sd"]) for metric in metrics),
        )
        for _, row in table.iterrows()
    ]
    lower = [metric.label for metric in metrics if not metric.greater_is_better]
    caption = (
        f"Every metric on the test units of {findings.name}: mean ± standard deviation over seeds."
        f" Of {', '.join(lower)} less is better (↓)."
    )
    columns = tuple(metric.label + ("" if metric.greater_is_better else " ↓") for metric in metrics)
    raw = table.drop(columns=["label"])
    return Table("all_metrics", caption, ("Backbone", "Probe", *columns), tuple(rows), 2, frozenset({0}), raw)


def _plus_minus(mean: float, sd: float) -> str:
    if math.isnan(mean):
        return NONE
    return number(mean) if math.isnan(sd) else f"{number(mean)} ± {number(sd)}"


def as_csv(table: Table) -> str:
    """The table at full precision, with the names of the columns as the code has them."""
    return table.raw.to_csv(index=False, lineterminator="\n")


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
    for sign in "\\|*_`<":
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
}


def latex_text(text: str) -> str:
    """`text` with every sign that LaTeX would take for its own escaped."""
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))


def as_latex(table: Table) -> str:
    """A floating table in booktabs style, to be set with `\\usepackage{booktabs}`."""
    alignment = "".join("l" if table.is_name(k) else "r" for k in range(len(table.columns)))
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        f"  \\caption{{{latex_text(table.caption)}}}",
        f"  \\label{{tab:{table.name.replace('_', '-')}}}",
        f"  \\begin{{tabular}}{{{alignment}}}",
        r"    \toprule",
        _latex_row([latex_text(column) for column in table.columns]),
        r"    \midrule",
        *(_latex_row(_latex_cells(row, strong=place in table.strong)) for place, row in enumerate(table.rows)),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_cells(row: Sequence[str], *, strong: bool) -> list[str]:
    escaped = [latex_text(cell) for cell in row]
    return [rf"\textbf{{{cell}}}" for cell in escaped] if strong else escaped


def _latex_row(cells: Sequence[str]) -> str:
    return f"    {' & '.join(cells)} \\\\"


FORMATS: dict[str, Callable[[Table], str]] = {"csv": as_csv, "md": as_markdown, "tex": as_latex}
"""How a table is written, by suffix. A further format is one function and one line here."""


def write_table(table: Table, folder: Path) -> list[Path]:
    """Writes a table in every format, each file whole or not at all; returns the files.

    Raises:
        OutputError: a file cannot be written.
    """
    files = [folder / f"{table.name}.{suffix}" for suffix in FORMATS]
    for file, render in zip(files, FORMATS.values(), strict=True):
        with atomic_path(file) as temporary:
            temporary.write_text(render(table), encoding="utf-8")
    return files
