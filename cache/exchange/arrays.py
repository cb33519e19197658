"""Files of arrays: npz, npy with a table of rows, HDF5 and safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from ...base import atomic_path, canonical_json
from ..locking import new_file
from .contents import UNNAMED, Contents, Rows, of_arrays, reading
from .tables import read_names, write_rows

_ROWS = "rows"
"""The one entry of a safetensors file's metadata: JSON of `sample_id` and other columns, a list each."""
_TABLES = (".csv", ".parquet", ".txt")


def read_npz(path: Path) -> Contents:
    """Arrays by name: matrices of floats, and `sample_id` or another array that names the rows."""
    with reading(path, "npz"), np.load(path, allow_pickle=False) as arrays:
        return of_arrays({name: arrays[name] for name in arrays.files}, path)


def write_npz(rows: Rows, path: Path) -> None:
    """Writes an array per pooling, `sample_id`, and an array per further column."""
    arrays = {"sample_id": rows.sample_ids, **rows.columns}
    arrays = {name: values.astype(str) if values.dtype == object else values for name, values in arrays.items()}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays, **rows.vectors)


def read_npy(path: Path) -> Contents:
    """One matrix; the rows are named by a table of the same stem next to it (.csv, .parquet, or .txt by line)."""
    with reading(path, "npy"):
        contents = of_arrays({UNNAMED: np.load(path, mmap_mode="r", allow_pickle=False)}, path)
    table = next((file for suffix in _TABLES if (file := path.with_suffix(suffix)).is_file()), None)
    return contents if table is None else Contents(contents.vectors, read_names(table))


def write_npy(rows: Rows, path: Path) -> None:
    """Writes the matrix, and next to it a CSV table that names its rows."""
    write_rows(rows, path.with_suffix(".csv"))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, *rows.vectors.values(), allow_pickle=False)


def read_hdf5(path: Path) -> Contents:
    """All datasets by the last part of their names, also those in groups; not links, nor what lies in other files."""
    arrays: dict[str, np.ndarray] = {}

    def take(full: str, found: h5py.HLObject) -> None:
        name = full.rpartition("/")[2]
        if isinstance(found, h5py.Dataset) and not (found.is_virtual or found.external) and found.ndim in (1, 2):
            values: Any = found.asstr() if h5py.check_string_dtype(found.dtype) else found
            arrays[name if name not in arrays else full.replace("/", ".")] = values[:]

    with reading(path, "HDF5"), h5py.File(path, "r", locking=False) as file:
        file.visititems(take)
        return of_arrays(arrays, path)


def write_hdf5(rows: Rows, path: Path) -> None:
    """Writes `sample_id` and further columns, and `embedding/POOLING`, the names that a cache has."""
    with new_file(path) as file:
        for name, values in {"sample_id": rows.sample_ids, **rows.columns}.items():
            is_text = values.dtype == object
            file.create_dataset(name, data=values, dtype=h5py.string_dtype() if is_text else values.dtype)
        for pooling, matrix in rows.vectors.items():
            file.create_dataset(f"embedding/{pooling}", data=matrix)


def read_safetensors(path: Path) -> Contents:
    """Tensors by name; the rows are named by the metadata that `write_safetensors` writes, or by a table (`rows`)."""
    with reading(path, "safetensors"), safe_open(path, framework="numpy") as file:
        columns = json.loads((file.metadata() or {}).get(_ROWS, "{}"))
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    names = {name: np.array(columns[name], dtype=object) for name in ("sample_id",) if name in columns}
    return of_arrays({**arrays, **names}, path)


def write_safetensors(rows: Rows, path: Path) -> None:
    """Writes a tensor per pooling; sample ids and further columns are JSON in the metadata, as a tensor is no text."""
    columns = {"sample_id": rows.sample_ids, **rows.columns}
    metadata = {_ROWS: canonical_json({name: values.tolist() for name, values in columns.items()})}
    tensors = {name: np.ascontiguousarray(matrix) for name, matrix in rows.vectors.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)
