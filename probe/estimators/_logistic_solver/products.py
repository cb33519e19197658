"""Matrix products in which no output depends on how many others are computed beside it, to the last bit.

A BLAS chooses its way by the shape of a product, and another way rounds otherwise. So products are cut to a few widths,
filled up with zeros, of which this machine's BLAS is known to give the same bits: it is tried once for each shape.
"""

from __future__ import annotations

from functools import cache

import numpy as np

WIDTHS = (8, 16, 24, 40, 80)
"""Outputs of one product; all of them are as quick for what they compute as any between them."""


def cuts(count: int, widths: tuple[int, ...]) -> list[slice]:
    """`count` outputs in pieces of these widths (ascending); the last may end beyond them."""
    starts = range(0, count, widths[-1])
    return [
        slice(start, start + next(width for width in widths if width >= min(count - start, widths[-1])))
        for start in starts
    ]


def rowwise(left: np.ndarray, right: np.ndarray, *, exact: bool) -> np.ndarray:
    """(A, k) times (k, n); where it is `exact`, a row has the same bits whatever the others are, and how many."""
    if not exact or not right.size:
        return left @ right
    out = np.empty((len(left), right.shape[1]), right.dtype)
    for cut in cuts(len(left), _widths_of_rows(right.shape, right.dtype.char, right.flags.c_contiguous)):
        out[cut] = (padded(left[cut], cut.stop - cut.start) @ right)[: len(left) - cut.start]
    return out


def columnwise(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(m, k) times (k, A); a column has the same bits whatever the others are, and how many."""
    out = np.empty((len(left), right.shape[1]), right.dtype)
    for cut in cuts(right.shape[1], WIDTHS[-1:]):
        columns = padded(right[:, cut].T, WIDTHS[-1]).T
        out[:, cut] = (left @ np.ascontiguousarray(columns))[:, : right.shape[1] - cut.start]
    return out


def padded(rows: np.ndarray, count: int) -> np.ndarray:
    """(count, k) the rows and as many zeros as are missing."""
    if len(rows) == count:
        return rows
    out = np.zeros((count, rows.shape[1]), rows.dtype)
    out[: len(rows)] = rows
    return out


@cache
def widths_for(rows: int, width: int, kind: str) -> tuple[int, ...]:
    """Widths that agree for products with a block Z (rows, width): Z times columns, and rows times Z."""
    Z, columns = _filled((rows, width), kind), _filled((width, WIDTHS[-1]), kind)
    whole = Z @ columns
    same = [w for w in WIDTHS if np.array_equal(Z @ np.ascontiguousarray(columns[:, -w:]), whole[:, -w:])]
    return tuple(w for w in same if w in _widths_of_rows((rows, width), kind, True))


@cache
def _widths_of_rows(shape: tuple[int, int], kind: str, by_rows: bool) -> tuple[int, ...]:
    """Widths that agree for rows times a matrix of this shape, which lies in memory row by row, or column by column."""
    right = _filled(shape, kind) if by_rows else _filled((shape[1], shape[0]), kind).T
    left = _filled((WIDTHS[-1], shape[0]), kind)
    whole = left @ right
    return tuple(w for w in WIDTHS if np.array_equal(left[-w:].copy() @ right, whole[-w:]))


def _filled(shape: tuple[int, int], kind: str) -> np.ndarray:
    return np.resize(np.random.default_rng(0).standard_normal(9973).astype(kind), shape)


def dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(A,) float64 products of the rows of `a` (A, P) and `b` (A, P), each summed in the same order."""
    return np.multiply(a, b, dtype=np.float64).sum(axis=1)
