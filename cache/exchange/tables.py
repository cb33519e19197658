"""Tables of embeddings, CSV and Parquet, and tables that name the rows of other files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from ...base import CacheError, atomic_path, counted, one_of
from ...manifests.schema.table_io import other_separator, write_table
from .contents import NAMES, NEVER_VECTORS, UNNAMED, Contents, Rows, as_names, name_of_rows, of_arrays, reading

_NUMBERED = re.compile(r"(?P<name>.*?)[_.\- ]?(?P<number>\d+)", re.DOTALL)


def read_csv(path: Path) -> Contents:
    """A column per value, `cls_0`, `cls_1` and so on, or `0`, `1`; and a column that names the rows."""
    with reading(path, "CSV"):
        header = _header(path)
        _require_unique(header, path)
        columns, named = _numbered(header), name_of_rows(header)
        wanted = [name for group in columns.values() for name in group]
        types = {**dict.fromkeys(wanted, pa.float32()), **({named: pa.string()} if named else {})}
        table = _columns(path, types, null_values=[""])
    return _contents(table, columns, named, path, [name for name in header if name not in types or name == named])


def read_parquet(path: Path) -> Contents:
    """A column of lists per pooling, or a column of floats per value as in CSV; and a column that names the rows."""
    with reading(path, "Parquet"):
        schema = pq.read_schema(path)
        _require_unique(schema.names, path)
        lists = [
            field.name for field in schema if _is_list_of_floats(field.type) and not NEVER_VECTORS.fullmatch(field.name)
        ]
        columns = _numbered(field.name for field in schema if pa.types.is_floating(field.type))
        named, single = name_of_rows(schema.names), [name for group in columns.values() for name in group]
        table = pq.read_table(path, columns=[*([named] if named else []), *lists, *single])
        matrices = {name: _matrix(table.column(name), name) for name in lists}
    vectors = {*lists, *single}
    others = [name for name in schema.names if name not in vectors]
    return _contents(table, columns, named, path, others, matrices)


def write_csv(rows: Rows, path: Path) -> None:
    """Writes `sample_id`, further columns, and a column per value: the shortest text that gives the float32 back."""
    flat = {
        f"{pooling}_{number}": column
        for pooling, matrix in rows.vectors.items()
        for number, column in enumerate(matrix.astype(np.float32).T)
    }
    with atomic_path(path) as temporary:
        pacsv.write_csv(pa.table({"sample_id": rows.sample_ids, **rows.columns, **flat}), temporary)


def write_parquet(rows: Rows, path: Path) -> None:
    """Writes `sample_id`, further columns, and a column of lists of fixed length per pooling."""
    lists = {
        pooling: pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])
        for pooling, matrix in rows.vectors.items()
    }
    with atomic_path(path) as temporary:
        table = pa.table({"sample_id": pa.array(rows.sample_ids), **rows.columns, **lists})
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def write_rows(rows: Rows, path: Path) -> None:
    """Writes a table that names rows: `sample_id` and further columns."""
    with atomic_path(path) as temporary:
        write_table(pd.DataFrame({"sample_id": rows.sample_ids, **rows.columns}), temporary)


def read_names(path: Path) -> np.ndarray:
    """The names of rows in a table (.csv, .parquet), or the lines of a text file: (N,) object array of str."""
    suffix = path.suffix.lower()
    if suffix == ".txt":
        with reading(path, "text"):
            return as_names(path.read_text(encoding="utf-8").splitlines())
    if suffix not in {".csv", ".parquet"}:
        raise CacheError(f"{path}: rows are named by a .csv or .parquet table, or by the lines of a .txt file.")
    with reading(path, "a table"):
        header = _header(path) if suffix == ".csv" else pq.read_schema(path).names
        named = name_of_rows(header)
        if named is None:
            raise CacheError(
                f"{path}: no column names the rows; one must be called {one_of(NAMES)}. There are {one_of(header)}."
            )
        is_csv = suffix == ".csv"
        table = _columns(path, {named: pa.string()}) if is_csv else pq.read_table(path, columns=[named])
        return as_names(table.column(named).to_pylist())


def _header(path: Path) -> list[str]:
    with pacsv.open_csv(path) as file:
        return file.schema.names


def _columns(path: Path, types: Mapping[str, pa.DataType], **options: Any) -> pa.Table:
    """The columns of a CSV file that have a type here; blanks are no missing text."""
    how = pacsv.ConvertOptions(include_columns=list(types), column_types=types, strings_can_be_null=False, **options)
    # In one thread pyarrow says in which row a value is no number.
    return pacsv.read_csv(path, read_options=pacsv.ReadOptions(use_threads=False), convert_options=how)


def _contents(
    table: pa.Table,
    columns: Mapping[str, list[str]],
    named: str | None,
    path: Path,
    others: list[str],
    matrices: Mapping[str, np.ndarray] | None = None,
) -> Contents:
    arrays = dict(matrices or {})
    for pooling, names in columns.items():
        values = [table.column(name).to_numpy() for name in names]
        arrays[pooling] = np.stack(values, axis=1) if len(table) else np.empty((0, len(names)), np.float32)
    if not arrays:
        separator = other_separator(others)
        raise CacheError(
            f"{path}: holds no vectors: columns numbered from 0 or 1 without gaps (cls_0, cls_1 ... or 0, 1 ...) of"
            f" floats, or in Parquet a column of lists, are needed. There are {one_of(others) or 'none'}."
            f"{f' Its fields seem to be separated by {separator}; save it with commas.' if separator else ''}"
        )
    names = {"sample_id": as_names(table.column(named).to_pylist())} if named else {}
    contents = of_arrays({**arrays, **names}, path)
    left_out = [f"column {name}" for name in others if name and name != named and not NEVER_VECTORS.fullmatch(name)]
    return Contents(contents.vectors, contents.names, tuple(left_out))


def _numbered(header: Iterable[str]) -> dict[str, list[str]]:
    """Columns that are the values of one vector, two or more, in their order, by the name of the vector."""
    found: dict[str, dict[int, str]] = {}
    for column in header:
        match = _NUMBERED.fullmatch(column)
        if match and not NEVER_VECTORS.fullmatch(match["name"]):
            found.setdefault(match["name"] or UNNAMED, {})[int(match["number"])] = column
    # One column alone is an index (`Unnamed: 0`) or a measurement (`age1`) rather than a vector.
    whole = {
        name: group
        for name, group in found.items()
        if min(group) <= 1 and max(group) - min(group) + 1 == len(group) > 1
    }
    return {name: [group[number] for number in sorted(group)] for name, group in whole.items()}


def _require_unique(header: Iterable[str], path: Path) -> None:
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise CacheError(f"{path}: {counted(len(twice), 'name')} of columns occur twice: {one_of(twice)}; rename them.")


def _is_list_of_floats(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return is_list and pa.types.is_floating(kind.value_type)


def _matrix(column: pa.ChunkedArray, name: str) -> np.ndarray:
    lists = column.combine_chunks()
    array = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    values, rows = array.flatten().to_numpy(zero_copy_only=False), len(array)
    if not rows:
        return np.empty((0, 0), np.float32)
    if array.null_count or len(pc.call_function("list_value_length", [array]).unique()) > 1:
        raise ValueError(f"the lists of column {name} are not all of one length")
    return values.reshape(rows, -1)
