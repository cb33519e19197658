"""A table as a page or a file shows it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pandas as pd


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

    def without(self, column: str) -> Table:
        """The table without one of its columns of names, for where it would say the same in every row."""
        place = self.columns.index(column)
        columns = self.columns[:place] + self.columns[place + 1 :]
        rows = tuple(row[:place] + row[place + 1 :] for row in self.rows)
        return replace(self, columns=columns, rows=rows, names=self.names - 1)

    def is_name(self, column: int) -> bool:
        """Whether a column holds names."""
        return column < self.names
