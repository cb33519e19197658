"""Counts of a manifest, printed after it was built and by `show`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..terminal.console import say, show_table
from ..terminal.wrapping import columns as terminal_columns
from ..terminal.wrapping import wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from ...manifests import Manifest
    from ...manifests.summary.attributes import AttributeCounts

_MOST_CLASSES = 6
"""Classes up to which the values of an attribute are counted class by class."""
_GAP = 3
"""Columns between two cells of a table."""
_LEAST_NAME = 16
"""Columns in which the names of rows are still readable when they are folded."""


def tell_counts(manifest: Manifest) -> None:
    """Images of each class and split, and how far from balanced the classes are."""
    from ...manifests.schema.card import class_words
    from ...manifests.summary.counts import balance_in_words, class_counts
    from ...manifests.summary.description import headline

    kind = class_words(manifest.card.task)
    say(wrapped(f"{manifest.name} ({manifest.card.task}): {headline(manifest)}"))
    counts = class_counts(manifest)
    columns = [kind[0], *counts.columns]
    rows = [[name, *(f"{count:,}" for count in row)] for name, row in zip(counts.index, counts.to_numpy(), strict=True)]
    if len(rows) > 1 and manifest.card.task != "multilabel":
        rows.append(["total", *(f"{count:,}" for count in counts.sum())])
    show_table(columns, rows, right=columns[1:], whole=columns[1:])
    for sentence in balance_in_words(manifest):
        say(wrapped(sentence))


def tell_more_counts(manifest: Manifest) -> None:
    """Groups and their sizes, and the values of attributes."""
    from ...manifests import attribute_counts
    from ...manifests.schema.card import class_words
    from ...manifests.summary.counts import counted_things, group_words
    from ...manifests.summary.description import group_rows

    if {"unit_id", "group_id"} & set(manifest.table):
        _tell_groups(group_rows(manifest), group_words(manifest))
    for counts in attribute_counts(manifest):
        _tell_attribute(counts, counted_things(manifest), class_words(manifest.card.task)[0])


def _tell_groups(counts: pd.DataFrame, what: str) -> None:
    title = f"Groups ({what}), with the median and maximum per group"
    columns = ["split", *counts.columns]
    show_table(columns, counts.reset_index().to_numpy().tolist(), title=wrapped(title), right=columns[1:])


def _tell_attribute(counts: AttributeCounts, thing: str, kind: str) -> None:
    """The values of an attribute; `thing` is what has one each, `kind` whether it is of a class or a label."""
    from ...base import counted

    missing = f", {counted(counts.missing, thing)} without a value" if counts.missing else ""
    title = f"{counts.name}: {counted(counts.distinct, 'different value')}{missing}"
    if counts.spread is not None:
        _tell_spread(counts.spread, f"{title}; lower and upper are the quartiles", thing, kind)
    elif counts.values is None:
        say(wrapped(f"{title}; nearly every {thing} has its own, so they are not listed."))
    else:
        _tell_values(counts.values, title, thing, kind)


def _tell_spread(spread: pd.DataFrame, title: str, thing: str, kind: str) -> None:
    from ...manifests.summary.description import number

    columns = [kind, f"{thing}s", "least", "lower", "median", "upper", "most"]
    rows = [[str(name), f"{row.iloc[0]:,.0f}", *map(number, row.iloc[1:])] for name, row in spread.iterrows()]
    show_table(columns, rows, title=wrapped(title), right=columns[1:], whole=columns[1:])


def _tell_values(values: pd.DataFrame, title: str, thing: str, kind: str) -> None:
    """A row a value and a column a class, or the other way round, whichever fits the terminal."""
    upright = values.rename(columns={"units": f"{thing}s"})
    layouts = [("value", upright), (kind, values.rename(columns={"units": "all"}).T), ("value", upright.iloc[:, :1])]
    few = values.shape[1] <= _MOST_CLASSES + 1
    first, shown = next((one for one in layouts if few and _fits(list(map(str, one[1].columns)))), layouts[-1])
    columns = [first, *map(str, shown.columns)]
    rows = [[str(name), *(f"{count:,}" for count in row)] for name, row in shown.iterrows()]
    show_table(columns, rows, title=wrapped(title), right=columns[1:], whole=columns[1:])


def _fits(headings: Sequence[str]) -> bool:
    """Whether columns under these headings leave space for the names of rows."""
    from rich.cells import cell_len

    return sum(max(cell_len(heading), 6) + _GAP for heading in headings) + _LEAST_NAME <= terminal_columns()
