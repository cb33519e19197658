"""What is wrong with a table or a folder, noted question by question, so that all of it can be told at once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ...base import ManifestError, did_you_mean
from ..schema.grouping import codes_of, row_groups
from .finding import MOST, refusal, rows_in_words


class Faults:
    """The faults of one file or folder. Rows count from 1, the header left out.

    Args:
        where: what they are told of.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._told: dict[str, tuple[int, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._told)

    def __str__(self) -> str:
        # In the order of rows, and what is of no row first.
        told = sorted(self._told.items(), key=lambda item: item[1][0])
        return refusal(self.where, [message for message, _ in told], [count for _, (_, count) in told])

    def note(self, message: str, count: int = 1, *, row: int = -1) -> None:
        """Notes one message that tells of `count` faults; a message that was noted before is not told again.

        Args:
            message: what is wrong, and what to do.
            count: of faults.
            row: the first of the rows that it is about, from 0; -1 where it is about none.
        """
        self._told.setdefault(message, (row, count))

    def blame(self, wrong: pd.Series | np.ndarray, what: str) -> None:
        """Notes that the rows of `wrong` (N,) bool `what`, such as `have no split`, where there are any."""
        rows = np.flatnonzero(np.asarray(wrong, bool))
        if len(rows):
            self.note(f"{rows_in_words(rows)}: {what}", len(rows), row=int(rows[0]))

    def blame_values(
        self, wrong: pd.Series | np.ndarray, words: pd.Series, column: str, known: Iterable[str], what: str
    ) -> None:
        """Notes each distinct text that `words` hold in the rows of `wrong`, with its rows and the near ones.

        Only for columns of labels and the like: what may be a patient's is told by its rows alone, with `blame`.

        Args:
            wrong: (N,) bool.
            words: (N,) text.
            column: what the table calls them.
            known: what they may be.
            what: what they must be or what to do, for the message.
        """
        rows, known = np.flatnonzero(np.asarray(wrong, bool)), list(known)
        codes, values = codes_of(words.iloc[rows])
        for code, part in row_groups(codes, np.ones(len(values), bool), most=MOST):
            near = did_you_mean(values[code], known)
            said = f'"{values[code]}"' if values[code] else "nothing"
            self.note(
                f'{rows_in_words(rows[part])}: column "{column}" holds {said}; {what}.{near}',
                len(part),
                row=int(rows[part][0]),
            )
        if len(values) > MOST:
            left = int((codes >= MOST).sum())
            self.note(f'column "{column}" holds {len(values) - MOST:,} other such values', left, row=len(words))

    def blame_repeats(self, words: pd.Series, column: str) -> None:
        """Notes each text that `words` (N,) hold in several rows, by its rows; blank ones are another question."""
        rows = np.flatnonzero((words.duplicated(keep=False) & (words != "")).to_numpy(bool))
        codes, values = codes_of(words.iloc[rows])
        for _, part in row_groups(codes, np.ones(len(values), bool), most=MOST):
            # Not the value itself: such columns name patients and their images.
            said = f'{rows_in_words(rows[part])}: the same value in column "{column}"; keep one of them'
            self.note(said, row=int(rows[part][0]))
        if len(values) > MOST:
            others = len(values) - MOST
            self.note(f'{others:,} other values of "{column}" stand in several rows', others, row=len(words))


def refuse(*faults: Faults) -> None:
    """Goes on only if nothing was noted.

    Raises:
        ManifestError: tells the faults of all files and folders.
    """
    told = [str(one) for one in faults if one]
    if told:
        raise ManifestError("\n".join(told))
