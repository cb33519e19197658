"""A table as a page, a file or a terminal shows it, and the cells that tables are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from ...base.text import bare_p, interval, number, signed

Cell = Callable[[dict[Any, Any]], str]
"""From a row of a data frame to what a table shows of it."""


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

    @classmethod
    def of(
        cls,
        name: str,
        caption: str,
        frame: pd.DataFrame,
        cells: Mapping[str, Cell],
        names: int,
        *,
        strong: Iterable[int] = (),
        raw: pd.DataFrame | None = None,
    ) -> Table:
        """A row for each of `frame`, in the columns of `cells`; `raw` is `frame` by default."""
        rows = tuple(tuple(cell(row) for cell in cells.values()) for row in frame.to_dict("records"))
        return cls(name, caption, tuple(cells), rows, names, frozenset(strong), frame if raw is None else raw)

    def without(self, column: str) -> Table:
        """The table without one of its columns of names, for where it would say the same in every row."""
        place = self.columns.index(column)
        columns = self.columns[:place] + self.columns[place + 1 :]
        rows = tuple(row[:place] + row[place + 1 :] for row in self.rows)
        return replace(self, columns=columns, rows=rows, names=self.names - 1)

    def is_name(self, column: int) -> bool:
        """Whether a column holds names."""
        return column < self.names


def words(column: str) -> Cell:
    """What a column holds, as it is."""
    return lambda row: str(row[column])


def decimal(column: str, digits: int = 3) -> Cell:
    """A number, rounded."""
    return lambda row: number(row[column], digits)


def difference(column: str) -> Cell:
    """A number with its sign."""
    return lambda row: signed(row[column])


def p_of(column: str) -> Cell:
    """A p-value."""
    return lambda row: bare_p(row[column])


def mean_and_sd(name: str) -> Cell:
    """`0.873 ± 0.012`, of the columns `NAME_mean` and `NAME_sd`."""

    def cell(row: dict[Any, Any]) -> str:
        mean, sd = row[f"{name}_mean"], row[f"{name}_sd"]
        return number(mean) if pd.isna(mean) or pd.isna(sd) else f"{number(mean)} ± {number(sd)}"

    return cell


def bounds(row: dict[Any, Any]) -> str:
    """The interval of `low` and `high`."""
    return interval(row["low"], row["high"])
