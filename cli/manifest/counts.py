"""Counts of a manifest, printed after it was built and by `show`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...base import counted
from ..terminal.console import say, show_table, wrapped

if TYPE_CHECKING:
    import pandas as pd

    from ...manifests import Manifest
    from ...manifests.summary.attributes import AttributeCounts

_MOST_CLASSES = 6
"""Classes up to which the values of an attribute are counted class by class."""


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
        few = rows.shape[1] <= _MOST_CLASSES + 1
        _show(rows if few else rows.iloc[:, :1], "value", title, whole=False)


def _show(rows: pd.DataFrame, first: str, title: str = "", *, whole: bool = True) -> None:
    """A table of text, with the index in the column `first`; columns of numbers are not folded if `whole`."""
    columns = list(map(str, rows.columns))
    cells = [[str(name), *row] for name, row in zip(rows.index, rows.to_numpy().tolist(), strict=True)]
    show_table([first, *columns], cells, title=wrapped(title), right=columns, whole=columns if whole else ())
