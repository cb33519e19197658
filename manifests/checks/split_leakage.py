"""Leaks between train and test: groups and identical pixels in several parts of a split."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from ...base import one_of
from ..schema.groups import codes_of, disagreeing
from ..validation.diagnostics import MOST_SETS, Diagnostic, one_by_one, rows_in_words
from .context import CheckContext, Note


def groups_across_splits(context: CheckContext) -> Iterator[Diagnostic]:
    """A group, usually a patient, in several parts of the split."""
    split = context.split
    if split is None:
        return
    codes, groups = codes_of(context.manifest.group_ids)
    # Rows without a group are reported as such.
    shared = disagreeing(codes, len(groups), codes_of(split)[0]) & (groups != "")
    rows = np.flatnonzero(shared[codes])

    def message(rows: np.ndarray) -> str:
        parts = one_of(sorted(split.iloc[rows].unique()))
        return f'group "{groups[codes[rows[0]]]}" is in several parts of the split ({parts}): {rows_in_words(rows)}'

    yield from one_by_one("group-across-splits", rows, codes[rows], context.ids, message)


def pixels_across_splits(context: CheckContext) -> Iterator[Diagnostic]:
    """Identical images in several parts of the split."""
    yield from _copies("pixels-across-splits", _across_splits(context), context, "split")


def pixels_with_two_labels(context: CheckContext) -> Iterator[Diagnostic]:
    """Identical images with different labels."""
    rows, codes, count = context.same_pixels
    yield from _copies("pixels-two-labels", disagreeing(codes, count, context.labels[rows]), context, "label")


def pixels_repeated(context: CheckContext) -> Iterator[Diagnostic]:
    """Identical images under different ids, in one part of the split (or without a split) and in different units."""
    rows, codes, count = context.same_pixels
    # Samples of one unit are fused: equal slices of one volume do not count as repeated.
    repeated = disagreeing(codes, count, codes_of(context.manifest.unit_ids.iloc[rows])[0])
    yield from _copies("pixels-repeated", repeated & ~_across_splits(context), context)


def _across_splits(context: CheckContext) -> np.ndarray:
    """Which contents are in several parts of the split: (count,) bool."""
    rows, codes, count = context.same_pixels
    if context.split is None:
        return np.zeros(count, bool)
    return disagreeing(codes, count, codes_of(context.split.iloc[rows])[0])


def _copies(code: str, chosen: np.ndarray, context: CheckContext, note: Note = None) -> Iterator[Diagnostic]:
    """A diagnostic for each of the chosen contents."""
    rows, codes, _ = context.same_pixels
    at = np.flatnonzero(chosen[codes])
    named = partial(context.named, note=note)
    yield from one_by_one(code, rows[at], codes[at], context.ids, named, most=MOST_SETS)
