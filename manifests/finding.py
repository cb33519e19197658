"""What a check says: a stable code, how bad it is, where, and which samples it is about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from ..base import counted

Severity = Literal["error", "warning"]


_IMAGES = ("image", "images")
_ABSOLUTE = r"/|[A-Za-z]:/|~"


class Code(NamedTuple):
    """What a code stands for."""

    severity: Severity
    """An error makes results wrong or the work impossible; a warning may be meant."""
    meaning: str
    """In a few words."""
    remedy: str
    """What to do about it, in a sentence or two."""
    thing: tuple[str, str] = _IMAGES
    """What each finding is of, one and several, such as a pair; an image is a row of the manifest."""


_CLASSES, _COPIES = ("class", "classes"), ("set of identical images", "sets of identical images")
_GROUPS, _PAIRS, _UNITS = ("group", "groups"), ("pair", "pairs"), ("unit", "units")

CODES: dict[str, Code] = {
    "empty-manifest": Code("error", "there are no rows", "Build the manifest again.", ("table", "tables")),
    "blank-id": Code("error", "a sample, unit or group has no id", "Fill the field, or leave the row out."),
    "duplicate-id": Code(
        "error", "several rows have one sample_id", "Give each row an id of its own, or remove those pasted twice.",
        ("id", "ids"),
    ),
    "blank-path": Code("error", "a row names no image", "Fill the field, or leave the row out."),
    "blank-label": Code("error", "a row has no label", "Fill the field, or leave the row out."),
    "unknown-label": Code("error", "a label is not in the card", "Mend the label, or add the class to the card."),
    "unknown-split": Code("error", "not train, val or test", "Write one of the three words."),
    "bad-frame": Code("error", "a frame is no whole number", "Write a number from 0 up, or nothing for one image."),
    "unit-two-labels": Code(
        "error", "a unit's samples differ in label", "Mend the label, or name smaller units in unit_id.", _UNITS
    ),
    "unit-two-groups": Code(
        "error", "a unit's samples differ in group", "Mend unit_id or group_id: a unit is of one patient.", _UNITS
    ),
    "unit-two-splits": Code("error", "a unit's samples differ in split", "Put the whole unit on one side.", _UNITS),
    "missing-file": Code(
        "error", "the file is not there",
        "Fetch the file, or mend the path; where all are missing, the card's root is wrong.",
    ),
    "unreadable-image": Code(
        "error", "the file is no readable image", "Fetch the file again, convert it, or leave the row out."
    ),
    "path-outside-root": Code(
        "error", "a path leaves the card's root", "Set the card's root to a folder above all images."
    ),
    "constant-image": Code("warning", "all pixels are the same", "Leave them out: they can teach and test nothing."),
    "extreme-aspect": Code(
        "warning", "an image far from square",
        "Look at them; most networks squash or crop an image to a square. Crop them, cut them into parts, or leave "
        "them out.",
    ),
    "burned-in-text": Code(
        "warning", "what looks like text in pixels",
        "Look at the images, the surest first; if it is text, mask it in all classes alike, since it may tell the "
        "hospital, the diagnosis or the patient.",
    ),
    "group-across-splits": Code(
        "error", "a group is on both sides of a split",
        "Put the whole group on one side, or leave out the column split: networks recognise patients, so test scores "
        "are too high.", _GROUPS,
    ),
    "pixels-across-splits": Code(
        "error", "one image on both sides of a split",
        "What is tested was trained on, so scores are too high. `--fix` writes a manifest without such sets: "
        "drop-duplicates keeps one of each, group-duplicates puts each on one side.", _COPIES,
    ),
    "pixels-two-labels": Code(
        "warning", "one image, different labels",
        "One of the labels is wrong, or the image shows both; ask whoever labelled it, or leave it out of test.",
        _COPIES,
    ),
    "pixels-repeated": Code(
        "warning", "one image under several ids",
        "They count several times; `--fix drop-duplicates` keeps one of each set. Where they are in different groups, "
        "a split drawn anew may put them on both sides; `--fix group-duplicates` keeps each set together.", _COPIES,
    ),
    "near-duplicate": Code(
        "warning", "nearly one image in two splits or groups",
        "Look at a few, the nearest first; if they show one scan or one patient, give the pair one group_id and draw "
        "the split anew. 1.000 is alike but for brightness, contrast and fine detail.", _PAIRS,
    ),
    "near-embedding": Code(
        "warning", "alike to a network, in two splits or groups",
        "Look at a few, the nearest first; if they show one scan or one patient, give the pair one group_id and draw "
        "the split anew.", _PAIRS,
    ),
    "no-groups": Code(
        "warning", "names look like several images a patient",
        "Name the patient of each image in a column group_id, for instance with `build csv --group-column`.",
    ),
    "unit-two-attributes": Code(
        "warning", "a unit's samples differ in attribute",
        "Mend the attribute; until then its value is unknown for the unit in subgroup scores.", _UNITS,
    ),
    "rare-class": Code(
        "warning", "a class has under 10 units", "Gather more, merge classes, or leave it out and say so.", _CLASSES
    ),
    "absent-class": Code(
        "warning", "a class is absent from a split",
        "Draw another split (`build --split grouped:80/20`), gather more, or leave the class out and say so: a class "
        "that train lacks cannot be learnt, one that test lacks cannot be scored.", _CLASSES,
    ),
    "alike-names": Code(
        "warning", "classes or groups that differ only in spelling",
        "If they are one, write them alike in the table and build again: else a class is cut in two, or a patient "
        "stands on both sides of a split.", ("set of names", "sets of names"),
    ),
    "label-like-id": Code(
        "warning", "labels look like ids", "Make sure that the card's label_column is the right one.",
        ("column", "columns"),
    ),
    "format-tells-class": Code(
        "warning", "a class is told by size or format alone",
        "A network may learn how files were stored instead of the disease. Bring all images to one size, mode and "
        "format; where file size alone tells, try a set from another source. AUC 0.5 is chance, 1 is certain.",
        _CLASSES,
    ),
}  # fmt: skip
"""Every code a finding may bear. They are stable, so scripts may rely on them; docs/checks.md has a section on each."""


MOST = 200
"""Things of one code that are told one by one before the rest are only counted."""


@dataclass(frozen=True, eq=False)
class Finding:
    """One fault or doubt about a manifest."""

    code: str
    """One of `CODES`."""
    severity: Severity
    """As `CODES` has it."""
    message: str
    """What is wrong, where (row, sample, column), and what to do where it is not plain."""
    rows: np.ndarray
    """(K,) int64: the rows of all images concerned, counted from 1, the header left out; none where it is the table as
    a whole."""
    ids: pd.Series
    """The sample ids of the whole table: a fault of ten million rows must not hold a text for each."""
    count: int
    """How many things it tells of (`Code.thing`): several where they are not told one by one."""
    files: tuple[str, ...] = ()
    """Paths below the card's root that must be seen to understand it. They may be called after patients, so they are
    told to whoever sits at the terminal, and go into no file."""

    @property
    def samples(self) -> tuple[str, ...]:
        """The sample ids of `rows`, blank where missing."""
        return tuple(self.ids.iloc[self.rows - 1].fillna(""))


def finding(
    code: str,
    message: str,
    ids: pd.Series | None = None,
    rows: np.ndarray | Sequence[int] = (),
    *,
    things: int = 1,
    files: Sequence[str] = (),
) -> Finding:
    """A finding of the severity that its code has.

    Args:
        code: one of `CODES`.
        message: what is wrong, where, and what to do where it is not plain.
        ids: the sample ids of the whole table.
        rows: positions in the table of the images concerned, from 0.
        things: how many things are told of; where a thing is an image, there are as many as rows.
        files: values of the column `path` that must be seen; of one that leaves the root the last part is kept.
    """
    ids = pd.Series(dtype=object) if ids is None else ids
    at = np.asarray(rows, np.int64) + 1
    count = len(at) if CODES[code].thing == _IMAGES and len(at) else things
    return Finding(code, CODES[code].severity, message, at, ids, count, tuple(map(_below_root, files)))


def untold(
    code: str,
    what: tuple[str, str],
    chosen: np.ndarray,
    ids: pd.Series,
    codes: np.ndarray,
    rows: np.ndarray | None = None,
) -> Iterator[Finding]:
    """The finding that counts what is left after `MOST` of the `chosen` things were told one by one, if any is.

    Args:
        code: of the finding.
        what: the things, one and several, with what is wrong with them.
        chosen: bool, one per thing.
        ids: the sample ids of the whole table.
        codes: (M,) int64: the thing that each row is of.
        rows: (M,) int64: positions of these rows in the table; all of them where left out.
    """
    rest = np.zeros(len(chosen), bool)
    rest[np.flatnonzero(chosen)[MOST:]] = True
    if rest.any():
        left = np.flatnonzero(rest[codes])
        things = int(rest.sum())
        yield finding(code, counted(things, *what), ids, left if rows is None else rows[left], things=things)


def leaves_root(path: str) -> bool:
    """Whether a path of a manifest is absolute or, read from left to right, ever stands above where it began."""
    path = path.replace("\\", "/")
    if re.match(_ABSOLUTE, path):
        return True
    depth = 0
    for part in path.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0:
            return True
    return False


def outside_root(paths: pd.Series) -> np.ndarray:
    """Which paths `leaves_root` is true of: (N,) bool."""
    paths = paths.fillna("").str.replace("\\", "/")
    outside = paths.str.match(_ABSOLUTE).to_numpy(bool)
    # Only the few with ".." in them are walked one by one.
    for row in np.flatnonzero(paths.str.contains("..", regex=False).to_numpy(bool)):
        outside[row] = leaves_root(paths.iloc[row])
    return outside


def _below_root(path: str) -> str:
    # What stands above the root tells how a disk is laid out, and often whose it is.
    name = path.replace("\\", "/").rpartition("/")[2]
    return f".../{name}" if leaves_root(path) else path


def refusal(where: str, messages: Sequence[str], counts: Sequence[int] = (), *, most: int = 10) -> str:
    """The text that refuses `where` for all its faults at once; after `most` messages, the rest are counted.

    Args:
        where: what is refused.
        messages: what is wrong.
        counts: how many faults each message tells of; one where nothing is said.
        most: how many messages are told.
    """
    if len(messages) == 1:
        return f"{where}, {messages[0]}{'' if messages[0].endswith(('.', '?')) else '.'}"
    counts = counts or [1] * len(messages)
    told = "".join(f"\n  {message}" for message in messages[:most])
    rest = f"\n  and {sum(counts[most:]):,} more" if len(messages) > most else ""
    return f"{where}: {sum(counts):,} faults:{told}{rest}"


def rows_in_words(rows: np.ndarray | Sequence[int], ids: pd.Series | None = None, *, most: int = 3) -> str:
    """Says which rows: `row 7 (sample_id "a")`, or `12 rows (7, 9, 30, ...)`; counted from 1, the header left out.

    Args:
        rows: positions in the table, from 0.
        ids: the table's sample ids, to name the only row by.
        most: how many rows are named.
    """
    rows = np.asarray(rows)
    if len(rows) == 1:
        name = "" if ids is None or pd.isna(ids.iloc[rows[0]]) else f' (sample_id "{ids.iloc[rows[0]]}")'
        return f"row {rows[0] + 1:,}{name}"
    named = ", ".join(f"{row + 1:,}" for row in rows[:most])
    return f"{len(rows):,} rows ({named}{', ...' if len(rows) > most else ''})"
