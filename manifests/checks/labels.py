"""Problems of labels and attributes, each of which is valid by itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...base import counted, one_of
from ..schema.groups import codes_of, first_rows, inconsistent_units
from ..schema.labels import has_class
from ..schema.table_io import column_of
from ..summary.counts import counted_things
from ..validation.diagnostics import Diagnostic, diagnostic
from ..validation.structure import SPLITS
from .context import CheckContext

RARE = 10
"""A class with fewer units than this cannot be divided into train, val and test with something to measure in each."""
MANY_CLASSES = 10
"""Fewer distinct labels are classes, however few the units."""


def units_with_two_attributes(context: CheckContext) -> Iterator[Diagnostic]:
    """A unit whose samples disagree in an attribute, so that it belongs to no subgroup."""
    manifest = context.manifest
    if "unit_id" not in manifest.table:
        return
    codes, units = codes_of(manifest.unit_ids)
    for name in manifest.card.attributes:
        differ = inconsistent_units(column_of(manifest.table, name), codes, len(units))
        if differ.any():
            message = (
                f'samples differ in "{name}" in {counted(int(differ.sum()), "unit")} ({one_of(units[differ], most=3)}),'
                " so their value is missing in subgroup scores"
            )
            yield diagnostic(
                "unit-two-attributes", message, context.ids, np.flatnonzero(differ[codes]), things=int(differ.sum())
            )


def rare_classes(context: CheckContext) -> Iterator[Diagnostic]:
    """A class with too few units to divide."""
    codes, units = codes_of(context.manifest.unit_ids)
    manifest, first = context.manifest, first_rows(codes, len(units))
    unit = counted_things(manifest)
    for number, name in enumerate(manifest.card.classes):
        has = has_class(context.labels, number)
        count = int(has[first].sum())
        if count < RARE:
            message = f'class "{name}" has {counted(count, unit)}; under {RARE} there is little to train and test on'
            yield diagnostic("rare-class", message, context.ids, np.flatnonzero(has))


def absent_classes(context: CheckContext) -> Iterator[Diagnostic]:
    """A class that one part of the split lacks."""
    if context.split is None:
        return
    parts = [name for name in SPLITS if (context.split == name).any()]
    for number, name in enumerate(context.manifest.card.classes):
        has = has_class(context.labels, number)
        having = set(context.split[has])
        lacking = [part for part in parts if part not in having]
        if having and lacking:
            message = f'class "{name}" has no image in {" and ".join(lacking)}'
            yield diagnostic("absent-class", message, context.ids, np.flatnonzero(has))


def labels_like_ids(context: CheckContext) -> Iterator[Diagnostic]:
    """A label column that names each unit rather than what it shows."""
    manifest, labels = context.manifest, context.labels
    if labels.ndim == 2:
        return
    column = f'column "{manifest.card.label_column}"'
    units = codes_of(manifest.unit_ids)[1]
    distinct = len(np.unique(labels[labels >= 0]))
    if distinct >= MANY_CLASSES and 2 * distinct >= len(units):
        message = f"{column} has {distinct:,} distinct labels for {counted(len(units), 'unit')}: it looks like an id"
        yield diagnostic("label-like-id", message)
