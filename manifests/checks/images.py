"""Problems of single images: where they are, whether they can be read, what they show."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..schema.table_io import column_of, is_blank
from ..validation.diagnostics import Diagnostic, all_at_once, one_by_one, rows_in_words
from .context import CheckContext

EXTREME = 4
"""Aspect ratio above which little of an image is left in a square input."""
_SIDES_FROM = 16
"""Pixels of the longer side; smaller images, such as a signal of a few rows, are not checked."""


def unreadable_images(context: CheckContext) -> Iterator[Diagnostic]:
    """An image whose file does not exist, or cannot be read as an image."""
    stats, paths = context.stats, column_of(context.manifest.table, "path")
    unreadable = (stats.reason != "") & ~stats.missing & ~is_blank(paths)
    reasons = np.where(stats.missing, "the file does not exist", stats.reason)
    for code, wrong in (("missing-file", stats.missing), ("unreadable-image", unreadable)):
        rows = np.flatnonzero(wrong)

        def message(at: np.ndarray) -> str:
            return f"{rows_in_words(at, context.ids)}: {reasons[at[0]]}"

        yield from one_by_one(code, rows, rows, context.ids, message, files=paths.fillna(""))


def constant_images(context: CheckContext) -> Iterator[Diagnostic]:
    """Images all of whose pixels are the same."""
    what = "all pixels are the same"
    if context.manifest.card.reading.in_spec:
        what += "; the card's `reading` may map all values to one (another --window shows more)"
    yield from all_at_once("constant-image", np.flatnonzero(context.stats.constant), context.ids, what)


def extreme_aspects(context: CheckContext) -> Iterator[Diagnostic]:
    """Images far from square."""
    height, width = context.stats.height.astype(np.float64), context.stats.width.astype(np.float64)
    shorter, longer = np.minimum(height, width), np.maximum(height, width)
    rows = np.flatnonzero((longer > EXTREME * shorter) & (longer >= _SIDES_FROM))
    if len(rows):
        worst = rows[np.argmax(longer[rows] / shorter[rows])]
        size = f"{context.stats.width[worst]:,} x {context.stats.height[worst]:,}"
        what = f"one side is over {EXTREME} times the other ({size} at the most extreme)"
        yield from all_at_once("extreme-aspect", rows, context.ids, what)


def images_with_text(context: CheckContext) -> Iterator[Diagnostic]:
    """Images in which something looks like burned-in text."""
    rows = np.flatnonzero(context.stats.letters)
    # The most certain first, because somebody will have to look.
    rows = rows[np.argsort(-context.stats.letters[rows].astype(np.int64), kind="stable")]
    yield from all_at_once("burned-in-text", rows, context.ids, "what looks like a row of letters near the edge")
