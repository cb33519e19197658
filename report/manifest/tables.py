"""What is in a manifest, as tables of the page."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from ...base import counted, percent
from ...manifests import ImageStats, Manifest
from ...manifests.schema.card import class_words
from ...manifests.summary.attributes import AttributeCounts
from ...manifests.summary.counts import class_counts, group_words, per_class
from ...manifests.summary.description import attribute_rows, group_rows
from ..elements.table import Table

MOST_CLASSES = 60
"""Classes up to which a table names each."""
_MOST_COLUMNS = 8
"""Classes up to which each has a column."""


def classes_table(manifest: Manifest) -> Table:
    """Images of each class and split, and its share of the units."""
    counts, units = class_counts(manifest), manifest.units()
    of_units = per_class(units.y, len(manifest.card.classes))
    apart = len(units) != len(manifest)
    kind, _ = class_words(manifest.card.task)
    rows = counts.map("{:,}".format)
    if apart:
        rows["units"] = [f"{count:,}" for count in of_units]
    rows["share"] = [percent(share) for share in of_units / len(units)]
    caption = f"Images of each {kind}" + (" by split" if len(counts.columns) > 1 else "")
    caption += f", and the share of {'units' if apart else 'images'} that have it."
    if len(counts) > MOST_CLASSES:
        caption += f" The first {MOST_CLASSES} of {len(counts)}."
    return _table("class_counts", caption, kind, rows.head(MOST_CLASSES))


def groups_table(manifest: Manifest) -> Table:
    """Groups of each split, and how many units and images a group has."""
    caption = f"Groups ({group_words(manifest)}), with the median and maximum per group."
    return _table("group_counts", caption, "split", group_rows(manifest))


def attribute_table(counts: AttributeCounts, place: int, thing: str) -> Table | None:
    """The values of an attribute, or the spread of its numbers; None where the values may be names.

    `place` is its number on the page; each `thing` (`unit` or `image`) has a value.
    """
    rows = attribute_rows(counts, thing)
    if rows is None:
        return None
    missing = f" {counted(counts.missing, thing)} without a value." if counts.missing else ""
    if counts.spread is not None:
        caption = f"{counts.name}, over {thing}s; lower and upper are the quartiles.{missing}"
        return _table(f"attribute-{place}", caption, f"{thing}s of", rows.head(MOST_CLASSES + 1))
    if rows.shape[1] > _MOST_COLUMNS + 1:
        rows = rows.iloc[:, :1]
    more = f" The commonest {len(rows)} of {counts.distinct:,} values." if counts.distinct > len(rows) else ""
    caption = f"{counts.name}: {thing}s by value{' and class' if rows.shape[1] > 1 else ''}.{more}{missing}"
    return _table(f"attribute-{place}", caption, "value", rows, set(rows.columns[1:]))


def sizes(stats: ImageStats) -> pd.DataFrame:
    """`width`, `height` and `images` of every size, the commonest first."""
    found = pd.DataFrame({"width": stats.width[stats.readable], "height": stats.height[stats.readable]})
    counts = found.groupby(["width", "height"]).size().reset_index(name="images")
    return counts.sort_values("images", ascending=False, kind="stable", ignore_index=True)


def _table(name: str, caption: str, first: str, rows: pd.DataFrame, names: Collection[str] = ()) -> Table:
    """A table of text with the index in the column `first`; headings other than `names` are capitalised."""
    columns = (str(column) if column in names else str(column).capitalize() for column in (first, *rows.columns))
    cells = ((str(name), *row) for name, row in zip(rows.index, rows.to_numpy().tolist(), strict=True))
    return Table(name, caption, tuple(columns), tuple(cells), 1)
