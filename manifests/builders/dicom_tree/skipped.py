"""Files of a DICOM tree that are not in the manifest, each with its reason: counted in messages, listed in a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from ....base import ManifestError, OutputError, atomic_path, counted, one_of
from ...schema.table_io import csv_text
from ...validation.diagnostics import refusal
from ..common import Notice
from .headers import Skipped


class SkippedFiles:
    """The files that are left out, and the table that lists them.

    Args:
        src: the folder that holds the tree.
        table: where the table is written; None for no table. No file is replaced.
        skip_faulty: skip files that cannot be used, instead of refusing the tree.

    Raises:
        OutputError: the table cannot be written there.
    """

    def __init__(self, src: Path, table: Path | None, *, skip_faulty: bool) -> None:
        self._src, self.table, self._skip_faulty = src, table, skip_faulty
        self._reasons: dict[str, str] = {}
        if table is not None:
            _require_place(table)

    def add(self, reasons: Mapping[str, str]) -> None:
        """Adds files by their path below the folder, each with its reason."""
        self._reasons |= reasons

    def add_faulty(self, faults: Mapping[str, str], notice: Notice) -> None:
        """Adds files that cannot be used.

        Raises:
            ManifestError: there are some, and they are not to be skipped; the table lists all of them.
        """
        if not faults:
            return
        self.add(faults)
        where = "" if self.table else "; --skipped FILE.csv lists them with their reasons"
        if self._skip_faulty:
            notice(f"Skipped {counted(len(faults), 'faulty file')}{where}.")
            return
        self.write()
        where = f"; {self.table} lists all of them" if self.table else where
        listed = refusal(str(self._src), [f"{path}: {reason}" for path, reason in faults.items()])
        raise ManifestError(f"{listed}\nFix the files, or add --skip-faulty to skip them{where}.")

    def write(self) -> None:
        """Writes the table, if there is to be one."""
        if self.table is None:
            return
        rows = pd.DataFrame(sorted(self._reasons.items()), columns=["path", "reason"], dtype=str)
        with atomic_path(self.table) as temporary:
            temporary.write_text(csv_text(rows), encoding="utf-8")


def kinds_in_words(kinds: Iterable[Skipped]) -> str:
    """How many there are of each."""
    return one_of(counted(count, *kind) for kind, count in Counter(kinds).most_common())


def _require_place(table: Path) -> None:
    if table.suffix.lower() != ".csv":
        raise OutputError(f"{table}: --skipped must end in .csv.")
    if not table.absolute().parent.is_dir():
        raise OutputError(f"{table}: the folder {table.parent} does not exist; create it, or give another --skipped.")
    if table.exists():
        raise OutputError(f"{table}: exists already; move it away, or give another --skipped.")
