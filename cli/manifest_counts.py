"""What is in a manifest, in numbers; told after it was built and when it is shown."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .console import say, show_table
from .words import NONE

if TYPE_CHECKING:
    import pandas as pd

    from ..manifests import AttributeCounts, Manifest

_MOST_CLASSES = 6
"""Classes up to which the values of an attribute are counted class by class."""


def tell_counts(manifest: Manifest) -> None:
    """Images of each class and split, and how far from balanced the classes are."""
    from ..base import counted
    from ..manifests import balance_in_words, class_counts

    units, table = manifest.units(), manifest.table
    said = [counted(len(manifest), "image")]
    said += [counted(len(units), "unit")] if "unit_id" in table else []
    said += [counted(len(units.group_id), "group")] if "group_id" in table else []
    said += [f"{len(manifest.card.classes)} {'labels' if manifest.card.task == 'multilabel' else 'classes'}"]
    say(f"{manifest.name} ({manifest.card.task}): {', '.join(said)}")
    counts = class_counts(manifest)
    columns = ["class", *counts.columns]
    rows = [[name, *(f"{count:,}" for count in row)] for name, row in zip(counts.index, counts.to_numpy(), strict=True)]
    if len(rows) > 1 and manifest.card.task != "multilabel":
        rows.append(["total", *(f"{count:,}" for count in counts.sum())])
    show_table(columns, rows, right=columns[1:])
    say("\n".join(balance_in_words(manifest)))


def tell_more_counts(manifest: Manifest) -> None:
    """Groups and their sizes, and the values of attributes."""
    from ..manifests import attribute_counts, group_counts

    if {"unit_id", "group_id"} & set(manifest.table):
        _tell_groups(group_counts(manifest), of_units="unit_id" in manifest.table)
    for counts in attribute_counts(manifest):
        _tell_attribute(counts)


def _tell_groups(counts: pd.DataFrame, *, of_units: bool) -> None:
    kinds = ["units", "images"] if of_units else ["images"]
    columns = ["split", "groups", *kinds, *(f"{kind} of a group" for kind in kinds)]
    rows = [
        [
            str(split),
            *(f"{int(row[kind]):,}" for kind in columns[1 : 2 + len(kinds)]),
            *(f"{_short(row[f'{kind}_median'])}, at most {_short(row[f'{kind}_largest'])}" for kind in kinds),
        ]
        for split, row in counts.iterrows()
    ]
    show_table(
        columns, rows, title="Groups (patients), with the median and the most that a group has", right=columns[1:]
    )


def _tell_attribute(counts: AttributeCounts) -> None:
    missing = f", {counts.missing:,} units without a value" if counts.missing else ""
    title = f"{counts.name}: {counts.distinct:,} different values{missing}"
    if counts.spread is not None:
        columns = ["units of", *counts.spread.columns]
        rows = [[name, f"{row.iloc[0]:,.0f}", *map(_short, row.iloc[1:])] for name, row in counts.spread.iterrows()]
        show_table(columns, rows, title=title, right=columns[1:])
    elif counts.values is None:
        say(f"{title}; nearly every unit has its own, so they are not listed.")
    else:
        shown = counts.values if counts.values.shape[1] <= _MOST_CLASSES + 1 else counts.values[["units"]]
        columns = ["value", *shown.columns]
        rows = [[str(name), *(f"{count:,}" for count in row)] for name, row in shown.iterrows()]
        show_table(columns, rows, title=title, right=columns[1:])


def _short(value: float) -> str:
    return NONE if math.isnan(value) else f"{value:,.6g}"
