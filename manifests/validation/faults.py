"""Collects all that is wrong with a table or folder to build from, so that one message lists it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from ...base import ManifestError, did_you_mean
from ..schema.groups import codes_of, row_groups
from .diagnostics import MOST, refusal, rows_in_words


class Faults:
    """The errors of one file or folder, which messages call `where`. Rows count from 1 without the header."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._noted: dict[str, tuple[int, int]] = {}
        """The first row and the number of errors of each message."""

    def __bool__(self) -> bool:
        return bool(self._noted)

    def __str__(self) -> str:
        """In the order of rows; first those about no row."""
        noted = sorted(self._noted.items(), key=lambda item: item[1][0])
        return refusal(self.where, [message for message, _ in noted], [count for _, (_, count) in noted])

    def note(self, message: str, count: int = 1, *, row: int = -1) -> None:
        """Notes one message about `count` errors, the first in `row` (from 0); one noted before is ignored."""
        self._noted.setdefault(message, (row, count))

    def blame(self, wrong: pd.Series | np.ndarray, what: str) -> None:
        """Notes that the rows of `wrong` (N,) bool `what`, such as `have no split`, where there are any."""
        rows = np.flatnonzero(np.asarray(wrong, bool))
        if len(rows):
            self.note(f"{rows_in_words(rows)}: {what}", len(rows), row=int(rows[0]))

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

        self._blame_each(np.flatnonzero(np.asarray(wrong, bool)), words, message, f'other values in "{column}"')

    def _blame_each(
        self, rows: np.ndarray, words: pd.Series, message: Callable[[str], str], others: str, count: int | None = None
    ) -> None:
        """Notes a message for each distinct text in `rows`, which counts as `count` errors, by default one per row."""
        codes, values = codes_of(words.iloc[rows])
        for value, part in zip(values, row_groups(codes, most=MOST)[:MOST], strict=False):
            text = f"{rows_in_words(rows[part])}: {message(value)}"
            self.note(text, count or len(part), row=int(rows[part][0]))
        if len(values) > MOST:
            rest = len(values) - MOST
            self.note(f"{rest:,} {others}", rest if count else int((codes >= MOST).sum()), row=len(words))


def refuse(*faults: Faults) -> None:
    """Raises one error that lists what was noted about all files and folders, if anything was."""
    messages = [str(one) for one in faults if one]
    if messages:
        raise ManifestError("\n".join(messages))
