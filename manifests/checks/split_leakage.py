"""What stands on both sides of a split, or would: groups and identical pixels."""

from __future__ import annotations

from collections.abc import Iterator

from ...base import one_of
from ..schema.grouping import codes_of, disagreeing, row_groups
from ..validation.finding import MOST, Finding, finding, rows_in_words, untold
from .context import Evidence

_OTHERS = ("other set of identical images", "other sets of identical images")


def groups_across_splits(evidence: Evidence) -> Iterator[Finding]:
    """A group, that is a patient, on both sides of a split."""
    if evidence.split is None:
        return
    codes, groups = codes_of(evidence.manifest.group_ids)
    torn = disagreeing(codes, len(groups), codes_of(evidence.split)[0])
    # A row without a group is reported as such.
    torn &= groups != ""
    for group, rows in row_groups(codes, torn, most=MOST):
        sides = one_of(sorted(evidence.split.iloc[rows].unique()))
        message = f'group "{groups[group]}" is on several sides of the split ({sides}): {rows_in_words(rows)}'
        yield finding("group-across-splits", message, evidence.ids, rows)
    what = ("other group on several sides of the split", "other groups on several sides of the split")
    yield from untold("group-across-splits", what, torn, evidence.ids, codes)


def pixels_across_splits(evidence: Evidence) -> Iterator[Finding]:
    """Identical images on both sides of a split."""
    if evidence.split is None:
        return
    rows, codes, shared = evidence.same_pixels
    torn = disagreeing(codes, len(shared), codes_of(evidence.split.iloc[rows])[0])
    for _, part in row_groups(codes, torn, most=MOST):
        same = evidence.in_split_order(rows[part])
        yield finding("pixels-across-splits", evidence.named(same, with_split=True), evidence.ids, same)
    yield from untold("pixels-across-splits", _OTHERS, torn, evidence.ids, codes, rows)


def pixels_with_two_labels(evidence: Evidence) -> Iterator[Finding]:
    """Identical images that are labelled differently."""
    rows, codes, shared = evidence.same_pixels
    torn = disagreeing(codes, len(shared), evidence.labels[rows])
    for _, part in row_groups(codes, torn, most=MOST):
        named = " = ".join(f"{evidence.ids.iloc[row]}{_label_of(evidence, row)}" for row in rows[part][:6])
        more = f" and {len(part) - 6:,} more" if len(part) > 6 else ""
        yield finding("pixels-two-labels", named + more, evidence.ids, rows[part])
    yield from untold("pixels-two-labels", _OTHERS, torn, evidence.ids, codes, rows)


def pixels_repeated(evidence: Evidence) -> Iterator[Finding]:
    """Identical images under different ids, within one split (or where there is none) and in different units."""
    rows, codes, shared = evidence.same_pixels
    units = codes_of(evidence.manifest.unit_ids.iloc[rows])[0]
    # Samples of one unit are fused: equal slices of one volume are no repetition.
    repeated = shared & disagreeing(codes, len(shared), units)
    if evidence.split is not None:
        repeated &= ~disagreeing(codes, len(shared), codes_of(evidence.split.iloc[rows])[0])
    for _, part in row_groups(codes, repeated, most=MOST):
        yield finding("pixels-repeated", evidence.named(rows[part]), evidence.ids, rows[part])
    yield from untold("pixels-repeated", _OTHERS, repeated, evidence.ids, codes, rows)


def _label_of(evidence: Evidence, row: int) -> str:
    card = evidence.manifest.card
    return "" if card.task == "multilabel" else f" ({evidence.manifest.table[card.label_column].iloc[row]})"
