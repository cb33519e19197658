"""Vectorised questions about rows that share a key; shared by the checks and by `Units`."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from .table_io import as_arrow


def codes_of(keys: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Codes (N,) int64 into the sorted distinct texts of `keys`, and those texts as an object array.

    Both follow from the texts alone: sorted by code point, and a missing key counts as "".
    """
    # Arrow sorts text several times faster than pandas sorts objects, which tells at ten million rows.
    encoded = as_arrow(keys).dictionary_encode()
    order = pc.call_function("sort_indices", [encoded.dictionary]).to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[encoded.indices.to_numpy()], encoded.dictionary.to_numpy(zero_copy_only=False)[order]


def first_rows(codes: np.ndarray, count: int) -> np.ndarray:
    """The first row of each code: (count,) int64."""
    first = np.empty(count, np.int64)
    # Written last to first, so that the first row is the one that stays.
    first[codes[::-1]] = np.arange(len(codes), dtype=np.int64)[::-1]
    return first


def disagreeing(codes: np.ndarray, count: int, values: np.ndarray) -> np.ndarray:
    """Which codes have rows with different `values` (N,) or (N, C): bool (count,)."""
    differs = values != values[first_rows(codes, count)[codes]]
    if differs.ndim == 2:
        differs = differs.any(axis=1)
    found = np.zeros(count, bool)
    found[codes[differs]] = True
    return found


def row_groups(codes: np.ndarray, *, most: int) -> list[np.ndarray]:
    """The positions of each code, in code order; after the first `most` codes, those of all others together."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order])) + 1
    return np.split(order, starts[:most]) if len(order) else []
