"""Problems of single images: where they are, whether they can be read, what they show."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..schema.columns import column_of, is_blank
from ..validation.diagnostics import Diagnostic, diagnostic, one_by_one, outside_root, rows_in_words
from .context import CheckContext

EXTREME = 4
"""Aspect ratio above which little of an image is left in a square input."""
_SIDES_FROM = 16
"""Pixels of the longer side; smaller images, such as a signal of a few rows, are not checked."""


def paths_outside_root(context: CheckContext) -> Iterator[Diagnostic]:
    """An absolute path, or one that climbs out of the card's root."""
    rows = np.flatnonzero(outside_root(column_of(context.manifest.table, "path")))
    if len(rows):
        where = rows_in_words(rows, context.ids)
        message = f'{where}: column "path" leaves the card\'s root; set `root` higher and write paths from there'
        yield diagnostic("path-outside-root", message, context.ids, rows)


def missing_files(context: CheckContext) -> Iterator[Diagnostic]:
    """An image whose file does not exist."""
    rows = np.flatnonzero(context.stats.missing)
    what = ("other file that does not exist", "other files that do not exist")
    yield from _each("missing-file", rows, context, np.full(len(context.ids), "the file does not exist"), what)


def unreadable_images(context: CheckContext) -> Iterator[Diagnostic]:
    """A file that exists but cannot be read as an image."""
    blank = is_blank(column_of(context.manifest.table, "path"))
    rows = np.flatnonzero((context.stats.reason != "") & ~context.stats.missing & ~blank)
    what = ("other image that cannot be read", "other images that cannot be read")
    yield from _each("unreadable-image", rows, context, context.stats.reason, what)


def constant_images(context: CheckContext) -> Iterator[Diagnostic]:
    """Images all of whose pixels are the same."""
    what = "all pixels are the same"
    if context.manifest.card.reading.in_spec:
        what += "; the card's `reading` may map all values to one (another --window shows more)"
    yield from _all("constant-image", np.flatnonzero(context.stats.constant), context, what)


def extreme_aspects(context: CheckContext) -> Iterator[Diagnostic]:
    """Images far from square."""
    height, width = context.stats.height.astype(np.float64), context.stats.width.astype(np.float64)
    shorter, longer = np.minimum(height, width), np.maximum(height, width)
    rows = np.flatnonzero((longer > EXTREME * shorter) & (longer >= _SIDES_FROM))
    if len(rows):
        worst = rows[np.argmax(longer[rows] / shorter[rows])]
        size = f"{context.stats.width[worst]:,} x {context.stats.height[worst]:,}"
        what = f"one side is over {EXTREME} times the other ({size} at the most extreme)"
        yield from _all("extreme-aspect", rows, context, what)


def images_with_text(context: CheckContext) -> Iterator[Diagnostic]:
    """Images in which something looks like burned-in text."""
    rows = np.flatnonzero(context.stats.letters)
    # The most certain first, because somebody will have to look.
    rows = rows[np.argsort(-context.stats.letters[rows].astype(np.int64), kind="stable")]
    yield from _all("burned-in-text", rows, context, "what looks like a row of letters near the edge")


def _all(code: str, rows: np.ndarray, context: CheckContext, what: str) -> Iterator[Diagnostic]:
    """One diagnostic for all rows, since such images come by the thousand or not at all."""
    if len(rows):
        names = ", ".join(context.ids.iloc[rows[:3]])
        message = f"{rows_in_words(rows)}: {names}{', ...' if len(rows) > 3 else ''}: {what}"
        yield diagnostic(code, message, context.ids, rows)


def _each(
    code: str, rows: np.ndarray, context: CheckContext, reasons: np.ndarray, others: tuple[str, str]
) -> Iterator[Diagnostic]:
    """A diagnostic per row with its reason."""
    every, paths = np.ones(len(rows), bool), column_of(context.manifest.table, "path").fillna("")
    yield from one_by_one(
        code,
        every,
        np.arange(len(rows)),
        context.ids,
        lambda _, row: f"{rows_in_words(row, context.ids)}: {reasons[row[0]]}",
        others,
        rows=rows,
        files=paths,
    )
