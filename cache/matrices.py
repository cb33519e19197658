"""Moving vectors from segments and an older cache into one matrix, block by block, in bounded memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from ..base import CacheError
from .layout import chunk_rows, dataset, hdf5_from, new_dataset, window_rows
from .ledger import Ledger

_BLOCK_BYTES = 2 * 2**20
"""Of float32 vectors: what a finaliser holds in memory at a time (and half of it again for float16)."""
_WINDOW_BYTES = 2 * 2**20
"""What is read of one source at a time."""
_HALF_MAX = float(np.finfo(np.float16).max)
_HALF_SMALLEST = 2.0**-13
"""Twice the smallest normal float16."""


class DoesNotFitError(Exception):
    """The values of this pooling do not fit float16; the file has to be written with float32."""

    def __init__(self, pooling: str) -> None:
        super().__init__(pooling)
        self.pooling = pooling


class HalfFit:
    """Whether values that were computed in bfloat16 lose nothing that counts when they are stored as float16.

    float16 has 11 significant bits to bfloat16's 8 but a narrower range. They fit when every value is at most 65504,
    and every column either reaches 2**-13 somewhere (then an error of the subnormal range is at most 2**-12 of the
    column's largest value, 16 times finer than bfloat16's own rounding of it) or is exactly representable.
    """

    def __init__(self, dim: int) -> None:
        self.peak = np.zeros(dim, np.float32)
        self.inexact = np.zeros(dim, bool)

    def add(self, block: np.ndarray, half: np.ndarray) -> bool:
        """Takes in a block and its float16 version; False when it cannot fit, whatever else comes."""
        np.maximum(self.peak, np.maximum(block.max(axis=0), -block.min(axis=0)), out=self.peak)
        small = np.flatnonzero((self.peak < _HALF_SMALLEST) & ~self.inexact)
        self.inexact[small] = (block[:, small] != half[:, small]).any(axis=0)
        return bool(self.peak.max(initial=0.0) <= _HALF_MAX)

    @property
    def fits(self) -> bool:
        """The verdict on all blocks."""
        return bool(((self.peak >= _HALF_SMALLEST) | ~self.inexact).all())


def write_matrix(file: h5py.File, pooling: str, dtype: Any, ledger: Ledger, digests: np.ndarray) -> int:
    """Writes the vectors of `digests` as `embedding/<pooling>`; returns the CRC-32 of the bytes.

    Raises:
        DoesNotFitError: `dtype` is float16 and the values are too large or too small for it.
        CacheError: a source is damaged, or a value is not finite.
    """
    dim = ledger.dims[pooling]
    matrix = new_dataset(file, f"embedding/{pooling}", (len(digests), dim), dtype)
    fit = HalfFit(dim) if matrix.dtype == np.float16 else None
    crc = 0
    source, row = ledger.locate(digests)
    for start, stop in _blocks(len(digests), dim, chunk_rows(len(digests), dim * matrix.dtype.itemsize)):
        block = np.empty((stop - start, dim), np.float32)
        _gather(block, ledger, pooling, source[start:stop], row[start:stop])
        if not np.isfinite(block).all():
            raise CacheError(
                f"embedding/{pooling}: a vector is not finite; please report this, with the backbone's name."
            )
        if fit is not None:
            with np.errstate(over="ignore"):
                stored = block.astype(np.float16)
            if not fit.add(block, stored):
                raise DoesNotFitError(pooling)
        else:
            stored = block
        matrix[start:stop] = stored
        crc = zlib.crc32(stored.data, crc)
    if fit is not None and not fit.fits:
        raise DoesNotFitError(pooling)
    return crc


def read_blocks(matrix: h5py.Dataset) -> Iterator[tuple[int, np.ndarray]]:
    """A matrix from its first to its last row, with the number of each block's first row."""
    rows = window_rows(matrix.shape[1] * matrix.dtype.itemsize, _WINDOW_BYTES)
    for start in range(0, matrix.shape[0], rows):
        yield start, matrix[start : start + rows]


def _blocks(rows: int, dim: int, chunk: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows that begin at chunks, so that every chunk is written once."""
    step = max(1, _BLOCK_BYTES // (4 * dim * chunk)) * chunk
    for start in range(0, rows, step):
        yield start, min(start + step, rows)


def _gather(out: np.ndarray, ledger: Ledger, pooling: str, source: np.ndarray, row: np.ndarray) -> None:
    """Fills `out` with the vectors at `source`, `row`; reads each source forwards, a window at a time."""
    for number in np.unique(source):
        places = np.flatnonzero(source == number)
        places = places[np.argsort(row[places], kind="stable")]
        wanted = row[places]
        with hdf5_from(ledger.sources[number].path) as file:
            matrix = dataset(file, f"embedding/{pooling}")
            window = window_rows(matrix.shape[1] * matrix.dtype.itemsize, _WINDOW_BYTES)
            for first, last in _runs(wanted, window):
                low, high = wanted[first], wanted[last - 1] + 1
                to = places[first]
                if last - first == high - low == places[last - 1] + 1 - to and matrix.dtype == out.dtype:
                    matrix.read_direct(out, np.s_[low:high], np.s_[to : to + high - low])  # in order: no copy
                else:
                    out[places[first:last]] = matrix[low:high][wanted[first:last] - low]


def _runs(rows: np.ndarray, window: int) -> Iterator[tuple[int, int]]:
    """Cuts ascending `rows` where the number of the window that they lie in changes."""
    cuts = (np.flatnonzero(np.diff(rows // window)) + 1).tolist()
    yield from zip([0, *cuts], [*cuts, len(rows)], strict=True)
