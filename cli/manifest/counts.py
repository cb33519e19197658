"""Counts of a manifest, printed after it was built and by `show`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...base import counted
from ..terminal.console import columns as terminal_columns
from ..terminal.console import say, show_table, wrapped

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
    import pandas as pd

    from ...manifests.schema.card import class_words
    from ...manifests.summary.counts import balance_in_words, class_counts, split_in_words
    from ...manifests.summary.description import headline

    say(wrapped(f"{manifest.name} ({manifest.card.task or 'unlabelled'}): {headline(manifest)}"))
    if manifest.card.task is None:
        if "split" in manifest.table:
            say(wrapped(f"Split: {split_in_words(manifest)}."))
        return
    counts = class_counts(manifest)
    if len(counts) > 1 and manifest.card.task != "multilabel":
        counts = pd.concat([counts, counts.sum().to_frame("total").T])
    _show(counts.map("{:,}".format), class_words(manifest.card.task)[0])
    if manifest.card.task == "binary":
        say(wrapped(f'Positive class: "{manifest.card.classes[1]}", the second one of the card.'))
    for sentence in balance_in_words(manifest):
        say(wrapped(sentence))


def tell_more_counts(manifest: Manifest) -> None:
    """Groups and their sizes, and the values of attributes."""
    from ...manifests import attribute_counts
    from ...manifests.schema.card import class_words
    from ...manifests.summary.counts import counted_things, group_words
    from ...manifests.summary.description import group_rows

    if {"unit_id", "group_id"} & set(manifest.table):
        title = f"Groups ({group_words(manifest)}), with the median and maximum per group"
        _show(group_rows(manifest), "split", title, whole=False)
    for counts in attribute_counts(manifest):
        _tell_attribute(counts, counted_things(manifest), class_words(manifest.card.task)[0])


def _tell_attribute(counts: AttributeCounts, thing: str, kind: str) -> None:
    """The values of an attribute; `thing` is what has one each, `kind` whether it is of a class or a label."""
    from ...manifests.summary.description import attribute_rows

    missing = f", {counted(counts.missing, thing)} without a value" if counts.missing else ""
    title = f"{counts.name}: {counted(counts.distinct, 'different value')}{missing}"
    rows = attribute_rows(counts, thing)
    if rows is None:
        say(wrapped(f"{title}; nearly every {thing} has its own, so they are not listed."))
    elif counts.spread is not None:
        _show(rows, kind, f"{title}; lower and upper are the quartiles")
    else:
        # A row a value and a column a class, or the other way round, whichever fits the terminal.
        by_class = rows.T.set_axis(["all", *rows.columns[1:]])
        few = rows.shape[1] <= _MOST_CLASSES + 1
        layouts = [(rows, "value"), (by_class, kind)] if few else []
        fitting = (layout for layout in layouts if _fits(list(map(str, layout[0].columns))))
        _show(*next(fitting, (rows.iloc[:, :1], "value")), title)


def _show(rows: pd.DataFrame, first: str, title: str = "", *, whole: bool = True) -> None:
    """A table of text, with the index in the column `first`; columns of numbers are not folded if `whole`."""
    columns = list(map(str, rows.columns))
    cells = [[str(name), *row] for name, row in zip(rows.index, rows.to_numpy().tolist(), strict=True)]
    show_table([first, *columns], cells, title=wrapped(title), right=columns, whole=columns if whole else ())


def _fits(headings: Sequence[str]) -> bool:
    """Whether columns under these headings leave space for the names of rows."""
    from rich.cells import cell_len

    return sum(max(cell_len(heading), 6) + _GAP for heading in headings) + _LEAST_NAME <= terminal_columns()
