"""What a check says: a stable code, how bad it is, where, and which samples it is about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

Severity = Literal["error", "warning"]

CODES: dict[str, Severity] = {
    "empty-manifest": "error",
    "blank-id": "error",
    "duplicate-id": "error",
    "blank-path": "error",
    "blank-label": "error",
    "unknown-label": "error",
    "unknown-split": "error",
    "bad-frame": "error",
    "unit-two-labels": "error",
    "unit-two-groups": "error",
    "unit-two-splits": "error",
    "group-across-splits": "error",
    "path-outside-root": "error",
    "missing-file": "error",
    "unreadable-image": "error",
    "pixels-across-splits": "error",
    "pixels-two-labels": "warning",
    "pixels-repeated": "warning",
    "unit-two-attributes": "warning",
    "rare-class": "warning",
}
"""Every code a finding may bear. They are stable: scripts may rely on them, and docs/checks.md has a section on each."""


@dataclass(frozen=True)
class Finding:
    """One fault or doubt about a manifest."""

    code: str
    """One of `CODES`."""
    severity: Severity
    """An error makes results wrong or the work impossible; a warning may be meant."""
    message: str
    """What is wrong, where (row, sample, column), and what to do where it is not plain."""
    samples: tuple[str, ...] = ()
    """The sample ids concerned, all of them."""


def finding(code: str, message: str, samples: Iterable[str] = ()) -> Finding:
    """A finding of the severity that its code has."""
    return Finding(code, CODES[code], message, tuple(samples))


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
