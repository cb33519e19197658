"""What is wrong with images one by one: where they are, whether they can be read, what they show."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...base import counted
from ..finding import Finding, finding, leaves_root, rows_in_words
from ..structure import MOST
from ..tables import column_of, is_blank
from .evidence import Evidence

EXTREME = 4
"""Sides in a proportion above this leave next to nothing of an image in a square input."""
_SIDES_FROM = 16
"""Pixels: a signal stored as an image of a few rows is no photograph cut wrong."""


def paths_outside_root(evidence: Evidence) -> Iterator[Finding]:
    """An absolute path, or one that climbs out of the card's root."""
    paths = column_of(evidence.manifest.table, "path").fillna("").str.replace("\\", "/")
    absolute = paths.str.match(r"^(?:/|[A-Za-z]:/|~)").to_numpy(bool)
    # Only the few paths with ".." in them are walked one by one.
    dotted = np.flatnonzero(paths.str.contains("..", regex=False).to_numpy(bool))
    rows = np.union1d(np.flatnonzero(absolute), [row for row in dotted if leaves_root(paths.iloc[row])]).astype(int)
    if len(rows):
        where = rows_in_words(rows, evidence.ids)
        message = f'{where}: column "path" leads outside the card\'s root; set `root` higher and write paths from there'
        yield finding("path-outside-root", message, evidence.ids.iloc[rows], count=len(rows))


def missing_files(evidence: Evidence) -> Iterator[Finding]:
    """An image that is not where the manifest says."""
    rows = np.flatnonzero(evidence.survey.missing)
    for row in rows[:MOST]:
        yield _of_one("missing-file", int(row), "the file is not there", evidence)
    yield from _rest("missing-file", rows, "other file that is missing", "other files that are missing", evidence)


def unreadable_images(evidence: Evidence) -> Iterator[Finding]:
    """A file that is there but is no image that can be read."""
    blank = is_blank(column_of(evidence.manifest.table, "path"))
    rows = np.flatnonzero((evidence.survey.reason != "") & ~evidence.survey.missing & ~blank)
    for row in rows[:MOST]:
        yield _of_one("unreadable-image", int(row), str(evidence.survey.reason[row]), evidence)
    what = ("other image that cannot be read", "other images that cannot be read")
    yield from _rest("unreadable-image", rows, *what, evidence)


def constant_images(evidence: Evidence) -> Iterator[Finding]:
    """Images all of whose pixels are the same."""
    rows = np.flatnonzero(evidence.survey.constant)
    yield from _of_many("constant-image", rows, evidence, "all pixels are the same")


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
    yield finding(code, message, evidence.ids.iloc[rows], count=len(rows))


def _of_one(code: str, row: int, what: str, evidence: Evidence) -> Finding:
    message = f"{rows_in_words([row], evidence.ids)}: {what}"
    path = str(column_of(evidence.manifest.table, "path").fillna("").iloc[row])
    return finding(code, message, evidence.ids.iloc[[row]], files=[path])


def _rest(code: str, rows: np.ndarray, one: str, several: str, evidence: Evidence) -> Iterator[Finding]:
    """Counts the rows that were not told one by one."""
    rest = rows[MOST:]
    if len(rest):
        yield finding(code, counted(len(rest), one, several), evidence.ids.iloc[rest], count=len(rest))
