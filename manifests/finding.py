"""What a check says: a stable code, how bad it is, where, and which samples it is about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

Severity = Literal["error", "warning"]


class Code(NamedTuple):
    """What a code stands for."""

    severity: Severity
    """An error makes results wrong or the work impossible; a warning may be meant."""
    meaning: str
    """In a few words."""


CODES: dict[str, Code] = {
    "empty-manifest": Code("error", "there are no rows"),
    "blank-id": Code("error", "a sample, unit or group has no id"),
    "duplicate-id": Code("error", "several rows have one sample_id"),
    "blank-path": Code("error", "a row names no image"),
    "blank-label": Code("error", "a row has no label"),
    "unknown-label": Code("error", "a label is not in the card"),
    "unknown-split": Code("error", "not train, val or test"),
    "bad-frame": Code("error", "a frame is no whole number"),
    "unit-two-labels": Code("error", "a unit's samples differ in label"),
    "unit-two-groups": Code("error", "a unit's samples differ in group"),
    "unit-two-splits": Code("error", "a unit's samples differ in split"),
    "missing-file": Code("error", "the file is not there"),
    "unreadable-image": Code("error", "the file is no readable image"),
    "path-outside-root": Code("error", "a path leaves the card's root"),
    "constant-image": Code("warning", "all pixels are the same"),
    "extreme-aspect": Code("warning", "an image far from square"),
    "burned-in-text": Code("warning", "what looks like text in pixels"),
    "group-across-splits": Code("error", "a group is on both sides of a split"),
    "pixels-across-splits": Code("error", "one image on both sides of a split"),
    "pixels-two-labels": Code("warning", "one image, different labels"),
    "pixels-repeated": Code("warning", "one image under several ids"),
    "near-duplicate": Code("warning", "nearly one image in two splits or groups"),
    "near-embedding": Code("warning", "alike to a network, in two splits or groups"),
    "no-groups": Code("warning", "names look like several images a patient"),
    "unit-two-attributes": Code("warning", "a unit's samples differ in attribute"),
    "rare-class": Code("warning", "a class has under 10 units"),
    "label-like-id": Code("warning", "labels look like ids"),
    "format-tells-class": Code("warning", "a class is told by size or format alone"),
}
"""Every code a finding may bear. They are stable, so scripts may rely on them; docs/checks.md has a section on each."""


@dataclass(frozen=True)
class Finding:
    """One fault or doubt about a manifest."""

    code: str
    """One of `CODES`."""
    severity: Severity
    """As `CODES` has it."""
    message: str
    """What is wrong, where (row, sample, column), and what to do where it is not plain."""
    samples: tuple[str, ...] = ()
    """The sample ids concerned, all of them."""


def finding(code: str, message: str, samples: Iterable[str] = ()) -> Finding:
    """A finding of the severity that its code has."""
    return Finding(code, CODES[code].severity, message, tuple(samples))


def refusal(where: str, messages: Sequence[str], *, most: int = 10) -> str:
    """The text that refuses `where` for all its faults at once; after `most`, the rest are counted."""
    if len(messages) == 1:
        return f"{where}, {messages[0]}{'' if messages[0].endswith(('.', '?')) else '.'}"
    told = "".join(f"\n  {message}" for message in messages[:most])
    rest = f"\n  and {len(messages) - most:,} more" if len(messages) > most else ""
    return f"{where}: {len(messages):,} faults:{told}{rest}"


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
