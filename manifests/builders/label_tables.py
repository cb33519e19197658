"""Tables of labels: found in a folder, read as text, and checked row by row before any error is raised."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from ...base import ManifestError, counted, did_you_mean, one_of
from ..schema.table_io import TEXT, as_words, column_of, other_separator, read_table
from ..validation.diagnostics import by_value
from ..validation.faults import Faults
from .common import SPLIT_WORDS, Notice, fold_ids
from .files import require_readable


def read_columns(
    table: Path,
    wanted: Iterable[str],
    *,
    text: Collection[str],
    named_by: Mapping[str, str] = MappingProxyType({}),
    aliases: Mapping[str, Sequence[str]] = MappingProxyType({}),
    separator: str = ",",
) -> pd.DataFrame:
    """Reads a table that has the `wanted` columns, and perhaps others.

    Args:
        table: a CSV or Parquet file.
        wanted: names of columns.
        text: columns to read as text.
        named_by: the options that name columns, such as `--label-column`; other columns have their published names.
        aliases: other names that columns may have in the file.
        separator: between the fields of a CSV file.

    Raises:
        ManifestError: it cannot be read, wanted columns are not there (all are named, each with the near ones), or
            there are no rows.
    """
    others = {other: name for name, names in aliases.items() for other in names}
    is_json = table.suffix.lower() == ".json"
    given = _read_records(table) if is_json else read_table(table, text={*text, *others}, separator=separator)
    given = given.rename(columns={other: name for other, name in others.items() if name not in given})
    missing = [column for column in dict.fromkeys(wanted) if column not in given.columns]
    if missing:
        found = [str(column) for column in given.columns]
        separator = other_separator(found)
        in_toml = "" if named_by else ", or set `separator` under [[rows.files]] of your TOML file"
        hint = separator and f" Its fields seem to be separated by {separator}; save it with commas{in_toml}."
        options = {name: f"{named_by[name]}: " if name in named_by else "" for name in missing}
        near = "".join(
            f'\n  {option}no column "{name}".{"" if hint else did_you_mean(name, found)}'
            for name, option in options.items()
        )
        published = "" if set(missing) <= set(named_by) else " Columns must have their published names."
        lacks = counted(len(missing), "column")
        raise ManifestError(f"{table}: lacks {lacks}:{near}\nIt has {one_of(found)}.{hint or published}")
    if len(given) == 0:
        raise ManifestError(f"{table}: has a header but no rows.")
    return given


def read_split_words(words: pd.Series, column: str, faults: Faults, remedy: str) -> pd.Series | None:
    """A column of words (N,) as train, val and test, in whichever spelling of `SPLIT_WORDS`; None if some are no split.

    `faults` receives those, with their rows and the `remedy`.
    """
    known = words.str.lower().map(SPLIT_WORDS).astype(TEXT)
    wrong = known.isna().to_numpy(bool)
    if wrong.all():
        # What such a column holds may be a patient's, and is not repeated.
        faults.note(f'column "{column}" has train, val or test in no row; is it the column of splits? Or {remedy}')
    else:
        faults.blame_values(wrong, words.fillna(""), column, SPLIT_WORDS, f"write train, val or test, or {remedy}")
    return None if wrong.any() else known


class PublishedTable(Faults):
    """One table of a data set, its wanted columns as text without blanks around it, and what is wrong with its rows.

    The checks below collect errors; `refuse` raises all of them together. Rows are numbered from 1, without the
    header.
    """

    def __init__(
        self,
        file: Path,
        columns: Sequence[str],
        *,
        optional: Iterable[str] = (),
        **reading: Any,
    ) -> None:
        """Reads a CSV, Parquet or JSON file, or a list of names (.txt), which become the column `name`.

        Columns other than the wanted and the `optional` ones are ignored; `reading` is as `read_columns` takes it.

        Raises:
            ManifestError: a wanted column is not there (similar ones are suggested), or there are no rows.
        """
        if file.suffix.lower() == ".txt":
            given = _read_list(file)
        else:
            given = read_columns(file, columns, text={*columns, *optional}, **reading)
        kept = [*columns, *(name for name in optional if name in given)]
        self.file = file
        self.rows = pd.DataFrame({name: column_of(given, name).fillna("").str.strip() for name in kept})
        super().__init__(str(file))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, column: str) -> pd.Series:
        return column_of(self.rows, column)

    def fold_ids(self, columns: Iterable[str], notice: Notice) -> None:
        """Reads the ids in these columns, those that there are, as `fold_ids` has them."""
        for column in self.rows.columns.intersection(list(columns)):
            self.rows[column] = fold_ids(self[column], f'column "{column}" of {self.file.name}', notice)

    def need_filled(self, *columns: str) -> None:
        """Every row has something in these columns."""
        for column in columns:
            self.blame(self[column] == "", f'column "{column}" is blank; fill it or remove the row')

    def need_distinct(self, column: str) -> None:
        """No two rows have the same text in this column; blanks are another question."""
        words = self[column]
        repeated = words.duplicated(keep=False) & (words != "")
        # Not the value itself: such columns name patients and their images.
        what = f'the same value in column "{column}"; keep one of them'
        self.found += by_value("duplicate-id", repeated, words, words, lambda _: what)

    def blame_unknown(self, words: pd.Series, column: str, known: Iterable[str], remedy: str = "") -> None:
        """Every row of `words`, which are those of `column`, has one of the `known` texts, or nothing."""
        known = list(known)
        what = f"it must be one of {one_of(known)}{remedy and f'; {remedy}'}"
        self.blame_values(~words.isin([*known, ""]), words, column, known, what)

    def need_pattern(self, column: str, pattern: str, meaning: str) -> pd.DataFrame:
        """What the named parts of `pattern` are in each row: a column a part, blank where the text does not fit."""
        parts = self[column].str.extract(pattern).fillna("")
        self.blame((parts == "").all(axis=1) & (self[column] != ""), f'column "{column}": {meaning}')
        return parts

    def numbers(self, column: str, allowed: Sequence[int], *, blank: bool = False) -> np.ndarray:
        """The column as numbers, (N,) float64; `1`, `1.0` and `-1.0` are all understood.

        A cell that holds none of `allowed` is an error, and so is a blank one unless `blank`; both become NaN.
        """
        numbers = pd.Series(pd.to_numeric(self[column], errors="coerce")).to_numpy("float64", na_value=np.nan)
        empty = (self[column] == "").to_numpy(bool)
        if not blank:
            self.need_filled(column)
        wrong = ~np.isin(numbers, allowed) & ~empty
        self.blame_values(wrong, self[column], column, (), f"it must be one of {one_of(map(str, allowed))}")
        return np.where(wrong, np.nan, numbers)

    def row_of(self, column: str, keys: pd.Series) -> np.ndarray:
        """The row of this table that has each of `keys` in `column`: (K,) int64, -1 where none has it."""
        first = self[column].drop_duplicates()
        found = pd.Index(as_words(first)).get_indexer(pd.Index(as_words(keys)))
        return np.append(first.index.to_numpy(), -1)[found]

    def matched(self, column: str, rows: np.ndarray) -> pd.Series:
        """The column at `rows` as `row_of` gives them; missing where a row is -1 or blank."""
        words = pd.Series(np.append(as_words(self[column]), "")[rows], dtype=TEXT)
        return words.mask(words == "")


def open_tables(requested: Iterable[Callable[[], PublishedTable]]) -> list[PublishedTable]:
    """The tables that the functions give; what is wrong with any of them is raised as one error."""
    opened, faults = [], []
    for open_one in requested:
        try:
            opened.append(open_one())
        except ManifestError as error:
            faults.append(str(error))
    if faults:
        raise ManifestError("\n".join(faults))
    return opened


def whole_numbers(words: pd.Series) -> pd.Series:
    """`words` without `.0` behind whole numbers, as programs write codes where a cell of the column is blank."""
    return words.str.replace(r"^(-?\d+)\.0+$", r"\1", regex=True)


def find_tables(folder: Path, wanted: Sequence[Sequence[str]]) -> list[Path]:
    """The files of a data set, each under one of the names it is published by; capital letters make no difference.

    Missing ones are an error that names all.
    """
    found = [find_file(folder, *names) for names in wanted]
    if missing := [" or ".join(names) for names, file in zip(wanted, found, strict=True) if file is None]:
        raise ManifestError(
            f"{folder}: there is no {one_of(missing, most=20)}; give the folder that holds the data set."
        )
    return [file for file in found if file is not None]


def find_file(folder: Path, *names: str) -> Path | None:
    """The first of `names`, such as `train.csv` or `lists/train.txt`, that is a file below `folder`, in any case."""
    require_readable(folder)
    paths = [folder / name for name in names]
    for path in paths:
        if not path.is_file() and path.parent.is_dir():
            require_readable(path.parent)
            others = (file for file in sorted(path.parent.iterdir()) if file.is_file())
            path = next((file for file in others if file.name.casefold() == path.name.casefold()), path)
        if path.is_file():
            return path
    return None


def _read_records(file: Path) -> pd.DataFrame:
    """A JSON file that is a list of records, each cell as text."""
    try:
        records = TypeAdapter(list[dict[str, Any]]).validate_json(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ManifestError(f"{file}: cannot be read as JSON; it must be a list of records.") from error
    return pd.DataFrame(records).fillna("").map(str).astype(TEXT)


def _read_list(file: Path) -> pd.DataFrame:
    """The lines of a list of names, stripped; empty ones are skipped."""
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{file}: cannot be read as a list of names in UTF-8 text.") from error
    return pd.DataFrame({"name": [line for line in lines if line]}, dtype=TEXT)
