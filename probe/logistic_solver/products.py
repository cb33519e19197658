"""Matrix products in which no output depends on how many others are computed beside it, to the last bit.

A BLAS chooses its way by the shape of a product and by the place in it, and another way rounds otherwise: OpenBLAS for
processors with AVX2 computes the first six of twelve rows unlike the next six. So products are cut to a few widths,
filled up with zeros, of which this machine's BLAS is known to give the same bits in every place: it is tried once for
each shape, both for outputs that are rows and for the transposed product.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np

WIDTHS = (8, 16, 24, 40, 80)
"""Outputs of one product; with AVX-512 all of them are as quick for what they compute as any between them."""
_TRIED = 256
"""Outputs that are looked at for each width: with a few numbers only, other bits may look the same by chance."""
ONE_BY_ONE = (1,)
"""Where no width agrees."""


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
    transposed, widths = _by_rows(right.shape, right.dtype.char, right.flags.c_contiguous)
    for cut in cuts(len(left), widths):
        rows = padded(left[cut], cut.stop - cut.start)
        out[cut] = _product(rows, right, transposed)[: len(left) - cut.start]
    return out


def columnwise(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(m, k) times (k, A); a column has the same bits whatever the others are, and how many."""
    out = np.empty((len(left), right.shape[1]), right.dtype)
    for cut in cuts(right.shape[1], _by_columns(left.shape, left.dtype.char)):
        columns = padded(right[:, cut].T, cut.stop - cut.start).T
        out[:, cut] = (left @ np.ascontiguousarray(columns))[:, : right.shape[1] - cut.start]
    return out


def padded(rows: np.ndarray, count: int) -> np.ndarray:
    """(count, k) the rows and as many zeros as are missing."""
    if len(rows) == count:
        return rows
    out = np.zeros((count, rows.shape[1]), rows.dtype)
    out[: len(rows)] = rows
    return out


def widths_for(rows: int, width: int, kind: str) -> tuple[int, ...]:
    """Widths that agree for products with a block Z (rows, width): Z times columns, and rows times Z (`rows_times`)."""
    of_rows = _by_rows((rows, width), kind, True)[1]
    return tuple(w for w in _by_columns((rows, width), kind) if w in of_rows) or ONE_BY_ONE


def rows_times(rows: np.ndarray, Z: np.ndarray) -> np.ndarray:
    """(w, k) times (k, n), as many rows as one of the `widths_for` a block like Z."""
    return _product(rows, Z, _by_rows(Z.shape, Z.dtype.char, True)[0])


def _product(left: np.ndarray, right: np.ndarray, transposed: bool) -> np.ndarray:
    return (right.T @ left.T).T if transposed else left @ right


@cache
def _by_rows(shape: tuple[int, int], kind: str, row_by_row: bool) -> tuple[bool, tuple[int, ...]]:
    """How to multiply rows with a matrix of this shape, which lies in memory row by row, or column by column.

    Whether to transpose the product, which is the second choice, and widths that agree.
    """
    right = _filled(shape, kind) if row_by_row else _filled((shape[1], shape[0]), kind).T
    ways = [(way, _agreeing(partial(_product, right=right, transposed=way), shape, kind)) for way in (False, True)]
    return max(ways, key=lambda way: way[1][-1])


@cache
def _by_columns(shape: tuple[int, int], kind: str) -> tuple[int, ...]:
    """Widths that agree for a matrix of this shape, which lies in memory row by row, times columns that do."""
    left = _filled(shape, kind)
    return _agreeing(lambda rows: (left @ np.ascontiguousarray(rows.T)).T, (shape[1], shape[0]), kind)


def _agreeing(product: Callable[[np.ndarray], np.ndarray], shape: tuple[int, int], kind: str) -> tuple[int, ...]:
    """Widths of which `product`, of (w, k) rows to (w, n), gives a row the same bits in every place; the most useful.

    Its `shape` is (k, n).
    """
    k, n = shape
    tried = _filled((max(2, _TRIED // max(n, 1)), k), kind)
    by_bits: dict[bytes, list[int]] = {}
    for width in WIDTHS:
        found = [product(np.repeat(row[None], width, axis=0)) for row in tried]
        if all((outputs == outputs[0]).all() for outputs in found):
            by_bits.setdefault(b"".join(outputs[0].tobytes() for outputs in found), []).append(width)
    return tuple(max(by_bits.values(), key=max, default=ONE_BY_ONE))


def _filled(shape: tuple[int, int], kind: str) -> np.ndarray:
    return np.resize(np.random.default_rng(0).standard_normal(9973).astype(kind), shape)


def dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(A,) float64 products of the rows of `a` (A, P) and `b` (A, P), each summed in the same order."""
    return np.multiply(a, b, dtype=np.float64).sum(axis=1)
