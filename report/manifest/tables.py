"""What is in a manifest, as tables of the page."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ...base import counted, percent
from ...manifests import ImageStats, Manifest
from ...manifests.schema.card import class_words
from ...manifests.summary.attributes import AttributeCounts
from ...manifests.summary.counts import class_counts, group_words
from ...manifests.summary.description import group_rows, number
from ..elements.table import Table

MOST_CLASSES = 60
"""Classes up to which a table names each."""
_MOST_COLUMNS = 8
"""Classes up to which each has a column."""
_MOST_KINDS = 20
"""Kinds of files, and sizes, that are listed."""


def classes_table(manifest: Manifest) -> Table:
    """Images of each class and split, and its share of the units."""
    counts, units = class_counts(manifest), manifest.units()
    has = truth(manifest)
    shares, of_units = has.mean(axis=0), has.sum(axis=0)
    apart = len(units) != len(manifest)
    kind, _ = class_words(manifest.card.task)
    columns = (
        kind.capitalize(),
        *(str(name).capitalize() for name in counts.columns),
        *(["Units"] if apart else []),
        "Share",
    )
    rows = [
        (
            str(name),
            *(f"{count:,}" for count in counts.iloc[place]),
            *([f"{of_units[place]:,}"] if apart else []),
            percent(shares[place]),
        )
        for place, name in enumerate(counts.index[:MOST_CLASSES])
    ]
    caption = f"Images of each {kind}" + (" by split" if len(counts.columns) > 1 else "")
    caption += f", and the share of {'units' if apart else 'images'} that have it."
    if len(counts) > MOST_CLASSES:
        caption += f" The first {MOST_CLASSES} of {len(counts)}."
    return Table("class_counts", caption, columns, tuple(rows), 1)


def groups_table(manifest: Manifest) -> Table:
    """Groups of each split, and how many units and images a group has."""
    counts = group_rows(manifest)
    rows = counts.reset_index().to_numpy().tolist()
    caption = f"Groups ({group_words(manifest)}), with the median and maximum per group."
    columns = ("Split", *map(str.capitalize, counts.columns))
    return Table("group_counts", caption, columns, tuple(map(tuple, rows)), 1)


def attribute_table(counts: AttributeCounts, place: int, thing: str) -> Table | None:
    """The values of an attribute, or the spread of its numbers; None where the values may be names.

    Args:
        counts: of the attribute.
        place: its number on the page.
        thing: what has a value each: `unit` or `image`.
    """
    missing = f" {counted(counts.missing, thing)} without a value." if counts.missing else ""
    things = f"{thing.capitalize()}s"
    if counts.spread is not None:
        rows = [
            (str(name), f"{row.iloc[0]:,.0f}", *map(number, row.iloc[1:]))
            for name, row in list(counts.spread.iterrows())[: MOST_CLASSES + 1]
        ]
        columns = (f"{things} of", things, "Smallest", "Lower quartile", "Median", "Upper quartile", "Largest")
        return Table(f"attribute-{place}", f"{counts.name}, over {thing}s.{missing}", columns, tuple(rows), 1)
    if counts.values is None:
        return None
    shown = counts.values if counts.values.shape[1] <= _MOST_COLUMNS + 1 else counts.values[["units"]]
    rows = [(str(value), *(f"{count:,}" for count in row)) for value, row in shown.iterrows()]
    rest = counts.distinct - len(shown)
    more = f" The commonest {len(shown)} of {counts.distinct:,} values." if rest else ""
    by_class = " and class" if shown.shape[1] > 1 else ""
    caption = f"{counts.name}: {thing}s by value{by_class}.{more}{missing}"
    return Table(f"attribute-{place}", caption, ("Value", things, *map(str, shown.columns[1:])), tuple(rows), 1)


def files_table(manifest: Manifest, stats: ImageStats) -> Table:
    """Kinds of files with their sizes in pixels, class by class: a kind that only one class has predicts it."""
    has, names = sample_truth(manifest), manifest.card.classes
    by_class = len(names) <= _MOST_COLUMNS
    kinds = pd.Series(stats.stored[stats.readable]).value_counts()
    rows = []
    for kind, count in kinds.head(_MOST_KINDS).items():
        of_kind = stats.stored == kind
        classes = [f"{int(n):,}" for n in has[of_kind].sum(axis=0)] if by_class else []
        rows.append((str(kind), f"{count:,}", *map(_range, (stats.width[of_kind], stats.height[of_kind])), *classes))
    caption = "How images are stored: format and colours of the files, with the least and the most of their pixels"
    caption += ", and how many of each class." if by_class else "."
    if len(kinds) > _MOST_KINDS:
        caption += f" The commonest {_MOST_KINDS} of {len(kinds)} kinds."
    columns = ("Stored as", "Images", "Width", "Height", *(names if by_class else []))
    return Table("files", caption, columns, tuple(rows), 1)


def sizes(stats: ImageStats) -> pd.DataFrame:
    """`width`, `height` and `images` of every size, the commonest first."""
    found = pd.DataFrame({"width": stats.width[stats.readable], "height": stats.height[stats.readable]})
    counts = found.groupby(["width", "height"]).size().reset_index(name="images")
    return counts.sort_values("images", ascending=False, kind="stable", ignore_index=True)


def truth(manifest: Manifest) -> np.ndarray:
    """Which classes each unit has: (U, C) bool."""
    y = manifest.units().y
    return y == 1 if y.ndim == 2 else y[:, None] == np.arange(len(manifest.card.classes))


def sample_truth(manifest: Manifest) -> np.ndarray:
    """Which classes each sample has, in the order of rows: (N, C) bool."""
    return truth(manifest)[manifest.units().sample_unit]


def _range(numbers: np.ndarray) -> str:
    low, high = int(numbers.min()), int(numbers.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
