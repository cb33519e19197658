"""What stands on both sides of a split, or would: groups and identical pixels."""

from __future__ import annotations

from collections.abc import Iterator

from ...base import one_of
from ..schema.grouping import codes_of, disagreeing, row_groups
from ..validation.diagnostics import MOST, Diagnostic, diagnostic, remaining, rows_in_words
from .context import CheckContext

_OTHERS = ("other set of identical images", "other sets of identical images")


def groups_across_splits(context: CheckContext) -> Iterator[Diagnostic]:
    """A group, that is a patient, on both sides of a split."""
    if context.split is None:
        return
    codes, groups = codes_of(context.manifest.group_ids)
    torn = disagreeing(codes, len(groups), codes_of(context.split)[0])
    # A row without a group is reported as such.
    torn &= groups != ""
    for group, rows in row_groups(codes, torn, most=MOST):
        sides = one_of(sorted(context.split.iloc[rows].unique()))
        message = f'group "{groups[group]}" is on several sides of the split ({sides}): {rows_in_words(rows)}'
        yield diagnostic("group-across-splits", message, context.ids, rows)
    what = ("other group on several sides of the split", "other groups on several sides of the split")
    yield from remaining("group-across-splits", what, torn, context.ids, codes)


def pixels_across_splits(context: CheckContext) -> Iterator[Diagnostic]:
    """Identical images on both sides of a split."""
    if context.split is None:
        return
    rows, codes, shared = context.same_pixels
    torn = disagreeing(codes, len(shared), codes_of(context.split.iloc[rows])[0])
    for _, part in row_groups(codes, torn, most=MOST):
        same = context.in_split_order(rows[part])
        yield diagnostic("pixels-across-splits", context.named(same, with_split=True), context.ids, same)
    yield from remaining("pixels-across-splits", _OTHERS, torn, context.ids, codes, rows)


def pixels_with_two_labels(context: CheckContext) -> Iterator[Diagnostic]:
    """Identical images that are labelled differently."""
    rows, codes, shared = context.same_pixels
    torn = disagreeing(codes, len(shared), context.labels[rows])
    for _, part in row_groups(codes, torn, most=MOST):
        named = " = ".join(f"{context.ids.iloc[row]}{_label_of(context, row)}" for row in rows[part][:6])
        more = f" and {len(part) - 6:,} more" if len(part) > 6 else ""
        yield diagnostic("pixels-two-labels", named + more, context.ids, rows[part])
    yield from remaining("pixels-two-labels", _OTHERS, torn, context.ids, codes, rows)


def pixels_repeated(context: CheckContext) -> Iterator[Diagnostic]:
    """Identical images under different ids, within one split (or where there is none) and in different units."""
    rows, codes, shared = context.same_pixels
    units = codes_of(context.manifest.unit_ids.iloc[rows])[0]
    # Samples of one unit are fused: equal slices of one volume are no repetition.
    repeated = shared & disagreeing(codes, len(shared), units)
    if context.split is not None:
        repeated &= ~disagreeing(codes, len(shared), codes_of(context.split.iloc[rows])[0])
    for _, part in row_groups(codes, repeated, most=MOST):
        yield diagnostic("pixels-repeated", context.named(rows[part]), context.ids, rows[part])
    yield from remaining("pixels-repeated", _OTHERS, repeated, context.ids, codes, rows)


def _label_of(context: CheckContext, row: int) -> str:
    card = context.manifest.card
    return "" if card.task == "multilabel" else f" ({context.manifest.table[card.label_column].iloc[row]})"
