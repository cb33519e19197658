"""What a check says: a stable code, how bad it is, where, and which samples it is about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...base import counted
from .codes import CODES, IMAGES, Severity

_ABSOLUTE = r"/|[A-Za-z]:/|~"
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
    count = len(at) if CODES[code].thing == IMAGES and len(at) else things
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
