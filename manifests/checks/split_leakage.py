"""Leaks between train and test: groups and identical pixels in several parts of a split."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...base import one_of
from ..schema.row_keys import codes_of, disagreeing
from ..validation.diagnostics import Diagnostic, one_by_one, rows_in_words
from .context import CheckContext

_OTHERS = ("other set of identical images", "other sets of identical images")


def groups_across_splits(context: CheckContext) -> Iterator[Diagnostic]:
    """A group, usually a patient, in several parts of the split."""
    split = context.split
    if split is None:
        return
    codes, groups = codes_of(context.manifest.group_ids)
    # Rows without a group are reported as such.
    shared = disagreeing(codes, len(groups), codes_of(split)[0]) & (groups != "")

    def message(group: int, rows: np.ndarray) -> str:
        parts = one_of(sorted(split.iloc[rows].unique()))
        return f'group "{groups[group]}" is in several parts of the split ({parts}): {rows_in_words(rows)}'

    others = ("other group in several parts of the split", "other groups in several parts of the split")
    yield from one_by_one("group-across-splits", shared, codes, context.ids, message, others)


def pixels_across_splits(context: CheckContext) -> Iterator[Diagnostic]:
    """Identical images in several parts of the split."""
    if context.split is None:
        return
    rows, codes, repeated = context.same_pixels
    shared = disagreeing(codes, len(repeated), codes_of(context.split.iloc[rows])[0])
    order = np.argsort(context.split_order[rows], kind="stable")
    yield from one_by_one(
        "pixels-across-splits",
        shared,
        codes[order],
        context.ids,
        lambda _, rows: context.named(rows, with_split=True),
        _OTHERS,
        rows=rows[order],
    )


def pixels_with_two_labels(context: CheckContext) -> Iterator[Diagnostic]:
    """Identical images with different labels."""
    rows, codes, repeated = context.same_pixels
    differ = disagreeing(codes, len(repeated), context.labels[rows])
    yield from one_by_one(
        "pixels-two-labels",
        differ,
        codes,
        context.ids,
        lambda _, rows: context.named(rows, with_label=True),
        _OTHERS,
        rows=rows,
    )


def pixels_repeated(context: CheckContext) -> Iterator[Diagnostic]:
    """Identical images under different ids, in one part of the split (or without a split) and in different units."""
    rows, codes, repeated = context.same_pixels
    units = codes_of(context.manifest.unit_ids.iloc[rows])[0]
    # Samples of one unit are fused: equal slices of one volume do not count as repeated.
    repeated = repeated & disagreeing(codes, len(repeated), units)
    if context.split is not None:
        repeated &= ~disagreeing(codes, len(repeated), codes_of(context.split.iloc[rows])[0])
    yield from one_by_one(
        "pixels-repeated", repeated, codes, context.ids, lambda _, rows: context.named(rows), _OTHERS, rows=rows
    )
