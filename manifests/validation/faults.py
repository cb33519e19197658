"""Collects all that is wrong with a table or folder to build from, so that one message lists it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ...base import ManifestError, did_you_mean
from ..schema.row_keys import codes_of, row_groups
from .diagnostics import MOST, Diagnostic, diagnostic, refusal, rows_in_words


class Faults:
    """The diagnostics of one file or folder. Rows count from 1 without the header.

    Args:
        where: the file or folder, for messages.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._noted: dict[str, tuple[int, Diagnostic]] = {}

    def __bool__(self) -> bool:
        return bool(self._noted)

    def __str__(self) -> str:
        found = self.diagnostics
        return refusal(self.where, [one.message for one in found], [one.count for one in found])

    @property
    def diagnostics(self) -> list[Diagnostic]:
        """In the order of rows; first those about no row."""
        return [one for _, one in sorted(self._noted.values(), key=lambda item: item[0])]

    def note(self, message: str, count: int = 1, *, row: int = -1, code: str = "source-error") -> None:
        """Notes one message about `count` problems; a message noted before is ignored.

        Args:
            message: what is wrong, and what to do.
            count: of problems.
            row: the first row that it is about, from 0; -1 if none.
            code: a key of `CODES`.
        """
        self._noted.setdefault(message, (row, diagnostic(code, message, things=count)))

    def blame(self, wrong: pd.Series | np.ndarray, what: str) -> None:
        """Notes that the rows of `wrong` (N,) bool `what`, such as `have no split`, where there are any."""
        rows = np.flatnonzero(np.asarray(wrong, bool))
        if len(rows):
            self.note(f"{rows_in_words(rows)}: {what}", len(rows), row=int(rows[0]))

    def blame_values(
        self, wrong: pd.Series | np.ndarray, words: pd.Series, column: str, known: Iterable[str], what: str
    ) -> None:
        """Notes each distinct text that `words` hold in the rows of `wrong`, with its rows and the near ones.

        Only for columns of labels and the like: what may be a patient's is named by its rows alone, with `blame`.

        Args:
            wrong: (N,) bool.
            words: (N,) text.
            column: what the table calls them.
            known: what they may be.
            what: what they must be or what to do, for the message.
        """
        rows, known = np.flatnonzero(np.asarray(wrong, bool)), list(known)
        codes, values = codes_of(words.iloc[rows])
        for value, part in zip(values, row_groups(codes, most=MOST)[:MOST], strict=False):
            near = did_you_mean(value, known)
            shown = f'"{value}"' if value else "nothing"
            self.note(
                f'{rows_in_words(rows[part])}: column "{column}" holds {shown}; {what}.{near}',
                len(part),
                row=int(rows[part][0]),
            )
        if len(values) > MOST:
            left = int((codes >= MOST).sum())
            self.note(f'column "{column}" holds {len(values) - MOST:,} other such values', left, row=len(words))

    def blame_repeats(self, words: pd.Series, column: str) -> None:
        """Notes each text that `words` (N,) hold in several rows, by its rows; blank ones are not looked at."""
        rows = np.flatnonzero((words.duplicated(keep=False) & (words != "")).to_numpy(bool))
        codes, values = codes_of(words.iloc[rows])
        for part in row_groups(codes, most=MOST)[:MOST]:
            # Not the value itself: such columns name patients and their images.
            message = f'{rows_in_words(rows[part])}: the same value in column "{column}"; keep one of them'
            self.note(message, row=int(rows[part][0]))
        if len(values) > MOST:
            others = len(values) - MOST
            self.note(f'{others:,} other values of "{column}" are in several rows', others, row=len(words))


def refuse(*faults: Faults) -> None:
    """Goes on only if nothing was noted.

    Raises:
        ManifestError: lists the diagnostics of all files and folders.
    """
    messages = [str(one) for one in faults if one]
    if messages:
        raise ManifestError("\n".join(messages))
