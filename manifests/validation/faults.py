"""Collects all that is wrong with a table or folder to build from, so that one message lists it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ...base import ManifestError, did_you_mean
from .diagnostics import Diagnostic, all_at_once, by_value, diagnostic, refusal

_NO_IDS = pd.Series(dtype=object)


class Faults:
    """What is wrong with one file or folder, which messages call `where`. Rows count from 1 without the header."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.found: list[Diagnostic] = []

    def __bool__(self) -> bool:
        return bool(self.found)

    def __str__(self) -> str:
        """In the order of rows, first those about no row; each message once."""
        found = sorted(self.found, key=lambda one: int(one.rows[0]) if len(one.rows) else 0)
        counts: dict[str, int] = {}
        for one in found:
            counts.setdefault(one.message, one.count)
        return refusal(self.where, list(counts), list(counts.values()))

    def note(self, message: str, count: int = 1) -> None:
        """Notes one message about `count` errors of no row."""
        self.found.append(diagnostic("source-error", message, things=count))

    def blame(self, wrong: pd.Series | np.ndarray, what: str) -> None:
        """Notes that the rows of `wrong` (N,) bool `what`, such as `have no split`, where there are any."""
        rows = np.flatnonzero(np.asarray(wrong, bool))
        self.found += all_at_once("source-error", rows, _NO_IDS, what, show_ids=False)

    def blame_values(
        self, wrong: pd.Series | np.ndarray, words: pd.Series, column: str, known: Iterable[str], what: str
    ) -> None:
        """Notes each distinct text that `words` (N,) hold in the rows of `wrong` (N,) bool, with the near `known` ones.

        `what` is what it must be, or what to do. Only for columns of labels and the like: what may be a patient's is
        named by its rows alone, with `blame`.
        """
        known = list(known)

        def message(value: str) -> str:
            shown = f'"{value}"' if value else "nothing"
            return f'column "{column}" holds {shown}; {what}.{did_you_mean(value, known)}'

        self.found += by_value("source-error", wrong, words, _NO_IDS, message)


def refuse(*faults: Faults) -> None:
    """Raises one error that lists what was noted about all files and folders, if anything was."""
    messages = [str(one) for one in faults if one]
    if messages:
        raise ManifestError("\n".join(messages))
