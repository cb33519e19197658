"""What is wrong with images one by one: where they are, whether they can be read, what they show."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..schema.columns import column_of, is_blank
from ..validation.diagnostics import MOST, Diagnostic, diagnostic, outside_root, remaining, rows_in_words
from .context import CheckContext

EXTREME = 4
"""Sides in a proportion above this leave next to nothing of an image in a square input."""
_SIDES_FROM = 16
"""Pixels: a signal stored as an image of a few rows is no photograph cut wrong."""


def paths_outside_root(context: CheckContext) -> Iterator[Diagnostic]:
    """An absolute path, or one that climbs out of the card's root."""
    rows = np.flatnonzero(outside_root(column_of(context.manifest.table, "path")))
    if len(rows):
        where = rows_in_words(rows, context.ids)
        message = f'{where}: column "path" leads outside the card\'s root; set `root` higher and write paths from there'
        yield diagnostic("path-outside-root", message, context.ids, rows)


def missing_files(context: CheckContext) -> Iterator[Diagnostic]:
    """An image that is not where the manifest says."""
    rows = np.flatnonzero(context.survey.missing)
    for row in rows[:MOST]:
        yield _of_one("missing-file", int(row), "the file is not there", context)
    yield from _others("missing-file", ("other file that is missing", "other files that are missing"), rows, context)


def unreadable_images(context: CheckContext) -> Iterator[Diagnostic]:
    """A file that is there but is no image that can be read."""
    blank = is_blank(column_of(context.manifest.table, "path"))
    rows = np.flatnonzero((context.survey.reason != "") & ~context.survey.missing & ~blank)
    for row in rows[:MOST]:
        yield _of_one("unreadable-image", int(row), str(context.survey.reason[row]), context)
    what = ("other image that cannot be read", "other images that cannot be read")
    yield from _others("unreadable-image", what, rows, context)


def constant_images(context: CheckContext) -> Iterator[Diagnostic]:
    """Images all of whose pixels are the same."""
    rows = np.flatnonzero(context.survey.constant)
    what = "all pixels are the same"
    if context.manifest.card.reading.in_spec:
        what += "; the card's `reading` may leave nothing of them (another --window shows more)"
    yield from _of_many("constant-image", rows, context, what)


def extreme_aspects(context: CheckContext) -> Iterator[Diagnostic]:
    """Images far from square."""
    height, width = context.survey.height.astype(np.float64), context.survey.width.astype(np.float64)
    shorter, longer = np.minimum(height, width), np.maximum(height, width)
    rows = np.flatnonzero((longer > EXTREME * shorter) & (longer >= _SIDES_FROM))
    if len(rows):
        worst = rows[np.argmax(longer[rows] / shorter[rows])]
        size = f"{context.survey.width[worst]:,} x {context.survey.height[worst]:,}"
        what = f"one side is over {EXTREME} times the other ({size} at the most extreme)"
        yield from _of_many("extreme-aspect", rows, context, what)


def images_with_text(context: CheckContext) -> Iterator[Diagnostic]:
    """Images in which something looks like burned-in text."""
    rows = np.flatnonzero(context.survey.letters)
    # The surest first, because somebody will have to look.
    rows = rows[np.argsort(-context.survey.letters[rows].astype(np.int64), kind="stable")]
    yield from _of_many("burned-in-text", rows, context, "near the edge stands what looks like a row of letters")


def _of_many(code: str, rows: np.ndarray, context: CheckContext, what: str) -> Iterator[Diagnostic]:
    """One finding for all rows, since such images come by the thousand or not at all."""
    if len(rows) == 0:
        return
    named = ", ".join(context.ids.iloc[rows[:3]])
    message = f"{rows_in_words(rows)}: {named}{', ...' if len(rows) > 3 else ''}: {what}"
    yield diagnostic(code, message, context.ids, rows)


def _of_one(code: str, row: int, what: str, context: CheckContext) -> Diagnostic:
    message = f"{rows_in_words([row], context.ids)}: {what}"
    path = str(column_of(context.manifest.table, "path").fillna("").iloc[row])
    return diagnostic(code, message, context.ids, [row], files=[path])


def _others(code: str, what: tuple[str, str], rows: np.ndarray, context: CheckContext) -> Iterator[Diagnostic]:
    return remaining(code, what, np.ones(len(rows), bool), context.ids, np.arange(len(rows)), rows)
