"""Tables on disk: CSV and Parquet in, CSV and Parquet out, with text kept as text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from ...base import ManifestError, counted, did_you_mean, one_of

SUFFIXES = (".parquet", ".csv")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
TEXT = pd.StringDtype("pyarrow")
"""The dtype of every text column: compact, the same in pandas 2 and 3, and never a number by accident."""


def read_table(path: Path, *, text: Collection[str], separator: str = ",") -> pd.DataFrame:
    """Reads a CSV or Parquet table, chosen by suffix.

    Args:
        path: the table; a CSV file may be packed (.csv.gz).
        text: columns that are text whatever they look like (`001` stays `001`, `NA` stays `NA`); the others get
            the type they look like. A column that the table does not have is passed over.
        separator: between the fields of a CSV file, unless its first line declares another.

    Returns:
        One column per column of the file; blank fields are missing.

    Raises:
        ManifestError: the table is not there, is damaged, or two of its columns have one name.
    """
    is_csv = path.name.lower().endswith((".csv", ".csv.gz"))
    if not is_csv and path.suffix.lower() not in SUFFIXES:
        raise ManifestError(
            f'{path}: a table is a .parquet or .csv file, not "{path.suffix or path.name}". Save it as CSV (UTF-8).'
        )
    if not path.is_file():
        near = did_you_mean(path.name, (file.name for file in path.parent.glob("*") if file.suffix.lower() in SUFFIXES))
        raise ManifestError(f"{path}: {'is not a file.' if path.exists() else f'does not exist.{near}'}")
    types = {pa.string(): TEXT, pa.large_string(): TEXT}
    try:
        table = _read_csv(path, text, separator) if is_csv else pq.read_table(path, page_checksum_verification=True)
        twice = [name for name, count in Counter(table.column_names).items() if count > 1]
        if twice:
            raise ManifestError(f"{path}: two columns are named {one_of(twice)}; rename one of them.")
        # The pandas notes in a Parquet file are ignored: a saved index is not a column of a manifest.
        frame = table.to_pandas(ignore_metadata=True, types_mapper=types.get, split_blocks=True)
        for column in set(text) & set(frame.columns):
            frame[column] = as_text(column_of(frame, column))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ManifestError(f"{path}: cannot be read: {_reason(error, path, separator)}.") from error
    return frame


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Writes `table` as CSV or Parquet, chosen by suffix; row labels are left out."""
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    if path.suffix.lower() == ".csv":
        pacsv.write_csv(arrow, path)
    else:
        pq.write_table(arrow, path, compression="zstd", write_page_checksum=True)


def csv_text(frame: pd.DataFrame) -> str:
    """A table as CSV in which no text is a formula: an apostrophe precedes what a spreadsheet would compute or run.

    The names of classes and backbones are other people's. Numbers are written as they are, in text as well.
    """
    inert = frame.apply(
        lambda cells: cells if pd.api.types.is_numeric_dtype(cells) else cells.astype(object).map(_inert)
    )
    return inert.rename(columns=_inert).to_csv(index=False, lineterminator="\n")


def _inert(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    # A carriage return by itself ends a row, and the csv module does not quote it.
    text = re.sub(r"\r\n?", "\n", cell)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\n")) and not _NUMBER.fullmatch(text) else text


def column_of(table: pd.DataFrame, name: str) -> pd.Series:
    """One column; a name that two columns bear has been refused before."""
    column = table[name]
    assert isinstance(column, pd.Series)
    return column


def as_text(column: pd.Series) -> pd.Series:
    """`column` as text: whole numbers without a decimal point, missing values kept missing."""
    if column.dtype == TEXT:
        return column
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if pd.api.types.is_bool_dtype(column.dtype) or pd.api.types.is_object_dtype(column.dtype):
        # Cell by cell, because an object column may mix numbers and text; a whole table never comes this way.
        return column.map(lambda cell: cell if pd.isna(cell) else str(cell)).astype(TEXT)
    return column.astype(TEXT)


def as_numbers(column: pd.Series) -> np.ndarray:
    """`column` as (N,) float64, NaN where a cell is missing or no number."""
    return pd.Series(pd.to_numeric(column, errors="coerce")).to_numpy("float64", na_value=np.nan)


def as_arrow(column: pd.Series) -> pa.Array:
    """`column` as one contiguous Arrow array of text, "" where a cell is missing."""
    array = pa.array(as_text(column).fillna(""), type=pa.large_string(), from_pandas=True)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def as_words(column: pd.Series) -> np.ndarray:
    """`column` as an (N,) object array of str, "" where a cell is missing."""
    if column.dtype == TEXT:
        return column.fillna("").to_numpy(dtype=object)
    return column.astype(object).where(column.notna(), "").map(str).to_numpy(dtype=object)


def as_codes(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """`column` as codes (N,) int32 into its distinct texts, and those as an object array; "" where a cell is missing.

    For columns of few words, which would be ten million objects otherwise.
    """
    encoded = as_arrow(column).dictionary_encode()
    return encoded.indices.to_numpy(), encoded.dictionary.to_numpy(zero_copy_only=False)


def positions(column: pd.Series, names: Sequence[str]) -> np.ndarray:
    """The position in `names` of each cell of a column of few words, (N,) int64; -1 where it is none of them."""
    codes, words = as_codes(column)
    return pd.Index(list(names), dtype="object").get_indexer(pd.Index(words, dtype="object")).astype(np.int64)[codes]


def is_blank(column: pd.Series) -> np.ndarray:
    """Which cells are missing, empty or white space: (N,) bool."""
    missing = column.isna().to_numpy(bool)
    if isinstance(column.dtype, pd.StringDtype):
        return missing | (column.fillna("").str.strip() == "").to_numpy(bool)
    return missing


def other_separator(names: Sequence[str]) -> str:
    """What seems to separate fields instead of commas, in words, or nothing; `names` is the header read with commas."""
    for separator, words in ((";", 'semicolons (";")'), ("\t", "tabs"), ("|", 'bars ("|")')):
        if sum(name.count(separator) for name in names) >= max(1, len(names)):
            return words
    return ""


def _read_csv(path: Path, text: Collection[str], separator: str) -> pa.Table:
    declared = _declared_separator(path)
    return pacsv.read_csv(
        path,
        read_options=pacsv.ReadOptions(skip_rows=int(declared is not None)),
        parse_options=pacsv.ParseOptions(delimiter=declared or separator, newlines_in_values=True),
        convert_options=pacsv.ConvertOptions(
            column_types={name: pa.large_string() for name in text},
            # Only an empty field is missing: "NA" may be a class, a site or a patient.
            null_values=[""],
            strings_can_be_null=True,
        ),
    )


def _declared_separator(path: Path) -> str | None:
    """What a first line such as `sep=;` declares, which Excel reads and does not show; None without one."""
    with pa.input_stream(str(path)) as file:
        first = re.match(rb"(?:\xef\xbb\xbf)?\"?sep=([^\r\n])\"?,*\r?\n", file.read(64), re.IGNORECASE)
    return first and first[1].decode(errors="replace")


def _reason(error: BaseException, path: Path, separator: str) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    words = " ".join(str(error).split())
    if path.suffix.lower() == ".parquet" or "zlib" in words:
        return "it is damaged, cut off or of another format; fetch it or build it again"
    if "utf" in words.lower() or (path.suffix.lower() == ".csv" and not _is_utf8(path)):
        return "it is not UTF-8 text; save it as CSV (UTF-8)"
    return _ragged_rows(path, separator) if "columns, got" in words else words[:200].rstrip(".")


def _is_utf8(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            return all(file)
    except UnicodeDecodeError:
        return False


def _ragged_rows(path: Path, separator: str) -> str:
    """Which rows are longer or shorter than the header; only a single thread knows their numbers."""
    ragged: list[pacsv.InvalidRow] = []

    def skip(row: pacsv.InvalidRow) -> str:
        ragged.append(row)
        return "skip"

    declared = _declared_separator(path)
    parsing = pacsv.ParseOptions(delimiter=declared or separator, newlines_in_values=True, invalid_row_handler=skip)
    reading = pacsv.ReadOptions(skip_rows=int(declared is not None), use_threads=False)
    try:
        table = pacsv.read_csv(path, read_options=reading, parse_options=parsing)
    except pa.ArrowException:  # a message of its own would repeat the row, which may name a patient
        return "a row has another number of fields than the header; close every quote"
    if other := other_separator(table.column_names):
        return f"its fields seem to be separated by {other}; save it with commas"
    first, others = ragged[0], f" (and {counted(len(ragged) - 1, 'other row')})" if len(ragged) > 1 else ""
    row = first.number - 1 - reading.skip_rows
    fields = f"row {row} has {first.actual_columns} fields, the header {first.expected_columns}{others}"
    return f"{fields}; put a field that holds a comma in quotes"
