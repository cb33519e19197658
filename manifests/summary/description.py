"""The counts of a manifest as a headline and tables of text, for the terminal and the page."""

from __future__ import annotations

import pandas as pd

from ...base import counted
from ...base.text import NONE, listed
from ..manifest import Manifest
from ..schema.card import class_words
from .attributes import AttributeCounts
from .counts import group_counts


def headline(manifest: Manifest) -> str:
    """`24 images of 12 groups in 2 classes`; without labels `24 images of 12 groups`."""
    units, table = manifest.units(), manifest.table
    of = [counted(len(units), "unit")] if "unit_id" in table else []
    of += [counted(len(units.group_id), "group")] if "group_id" in table else []
    images = f"{counted(len(manifest), 'image')}{f' of {listed(of)}' if of else ''}"
    if manifest.card.task is None:
        return images
    kinds = class_words(manifest.card.task)
    classes, joint = counted(len(manifest.card.classes), *kinds), "with" if kinds[0] == "label" else "in"
    return f"{images} {joint} {classes}"


def group_rows(manifest: Manifest) -> pd.DataFrame:
    """Groups, units and images of each split, with the median and maximum per group: text, one row per split."""
    counts = group_counts(manifest)
    kinds = ["units", "images"] if "unit_id" in manifest.table else ["images"]
    totals = counts[["groups", *kinds]].map("{:,}".format)
    for kind in kinds:
        median, largest = counts[f"{kind}_median"].map(_number), counts[f"{kind}_largest"].map(_number)
        totals[f"{kind} per group"] = median + " (max " + largest + ")"
    return totals.rename_axis("split")


def attribute_rows(counts: AttributeCounts, thing: str) -> pd.DataFrame | None:
    """The values of an attribute, or the spread of its numbers, as text; None where the values may be names.

    `thing` is what has a value each: `unit` or `image`.
    """
    if counts.spread is not None:
        text = counts.spread.map(_number)
        return text.assign(units=counts.spread["units"].map("{:,}".format)).rename(columns={"units": f"{thing}s"})
    if counts.values is None:
        return None
    text = counts.values.map("{:,}".format)
    return text.set_axis([f"{thing}s", *text.columns[1:]], axis=1)


def _number(value: float) -> str:
    """A number to six digits, or the sign for none."""
    return NONE if pd.isna(value) else f"{value:,.6g}"
