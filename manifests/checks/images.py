"""What is wrong with images one by one: where they are, whether they can be read, what they show."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..schema.columns import column_of, is_blank
from ..validation.finding import MOST, Finding, finding, outside_root, rows_in_words, untold
from .context import Evidence

EXTREME = 4
"""Sides in a proportion above this leave next to nothing of an image in a square input."""
_SIDES_FROM = 16
"""Pixels: a signal stored as an image of a few rows is no photograph cut wrong."""


def paths_outside_root(evidence: Evidence) -> Iterator[Finding]:
    """An absolute path, or one that climbs out of the card's root."""
    rows = np.flatnonzero(outside_root(column_of(evidence.manifest.table, "path")))
    if len(rows):
        where = rows_in_words(rows, evidence.ids)
        message = f'{where}: column "path" leads outside the card\'s root; set `root` higher and write paths from there'
        yield finding("path-outside-root", message, evidence.ids, rows)


def missing_files(evidence: Evidence) -> Iterator[Finding]:
    """An image that is not where the manifest says."""
    rows = np.flatnonzero(evidence.survey.missing)
    for row in rows[:MOST]:
        yield _of_one("missing-file", int(row), "the file is not there", evidence)
    yield from _others("missing-file", ("other file that is missing", "other files that are missing"), rows, evidence)


def unreadable_images(evidence: Evidence) -> Iterator[Finding]:
    """A file that is there but is no image that can be read."""
    blank = is_blank(column_of(evidence.manifest.table, "path"))
    rows = np.flatnonzero((evidence.survey.reason != "") & ~evidence.survey.missing & ~blank)
    for row in rows[:MOST]:
        yield _of_one("unreadable-image", int(row), str(evidence.survey.reason[row]), evidence)
    what = ("other image that cannot be read", "other images that cannot be read")
    yield from _others("unreadable-image", what, rows, evidence)


def constant_images(evidence: Evidence) -> Iterator[Finding]:
    """Images all of whose pixels are the same."""
    rows = np.flatnonzero(evidence.survey.constant)
    what = "all pixels are the same"
    if evidence.manifest.card.reading.in_spec:
        what += "; the card's `reading` may leave nothing of them (another --window shows more)"
    yield from _of_many("constant-image", rows, evidence, what)


def extreme_aspects(evidence: Evidence) -> Iterator[Finding]:
    """Images far from square."""
    height, width = evidence.survey.height.astype(np.float64), evidence.survey.width.astype(np.float64)
    shorter, longer = np.minimum(height, width), np.maximum(height, width)
    rows = np.flatnonzero((longer > EXTREME * shorter) & (longer >= _SIDES_FROM))
    if len(rows):
        worst = rows[np.argmax(longer[rows] / shorter[rows])]
        size = f"{evidence.survey.width[worst]:,} x {evidence.survey.height[worst]:,}"
        what = f"one side is over {EXTREME} times the other ({size} at the most extreme)"
        yield from _of_many("extreme-aspect", rows, evidence, what)


def images_with_text(evidence: Evidence) -> Iterator[Finding]:
    """Images in which something looks like burned-in text."""
    rows = np.flatnonzero(evidence.survey.letters)
    # The surest first, because somebody will have to look.
    rows = rows[np.argsort(-evidence.survey.letters[rows].astype(np.int64), kind="stable")]
    yield from _of_many("burned-in-text", rows, evidence, "near the edge stands what looks like a row of letters")


def _of_many(code: str, rows: np.ndarray, evidence: Evidence, what: str) -> Iterator[Finding]:
    """One finding for all rows, since such images come by the thousand or not at all."""
    if len(rows) == 0:
        return
    named = ", ".join(evidence.ids.iloc[rows[:3]])
    message = f"{rows_in_words(rows)}: {named}{', ...' if len(rows) > 3 else ''}: {what}"
    yield finding(code, message, evidence.ids, rows)


def _of_one(code: str, row: int, what: str, evidence: Evidence) -> Finding:
    message = f"{rows_in_words([row], evidence.ids)}: {what}"
    path = str(column_of(evidence.manifest.table, "path").fillna("").iloc[row])
    return finding(code, message, evidence.ids, [row], files=[path])


def _others(code: str, what: tuple[str, str], rows: np.ndarray, evidence: Evidence) -> Iterator[Finding]:
    return untold(code, what, np.ones(len(rows), bool), evidence.ids, np.arange(len(rows)), rows)
