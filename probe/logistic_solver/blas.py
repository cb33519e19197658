"""Products whose bits depend on nothing that is computed beside them, and routines of LAPACK for threads.

A BLAS chooses its way by the shape of a product and by the place in it, and another way rounds otherwise: OpenBLAS for
processors with AVX2 computes the first six of twelve rows unlike the next six. So products are cut to a few widths,
filled up with zeros, of which this machine's BLAS is known to give the same bits in every place: it is tried once for
each shape, both for outputs that are rows and for the transposed product.

SciPy's own wrappers keep the interpreter's lock while they compute, so that threads wait for each other; and for one
right-hand side they take three times as long as the routine. So its compiled routines (`scipy.linalg.cython_lapack`,
made for calls from other languages) are called through ctypes, which gives the lock back. Their matrices are square, in
Fortran's order, and real; float32 or float64.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from typing import Any

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


def cholesky(matrix: np.ndarray) -> bool:
    """Puts the lower Cholesky factor into the lower triangle; False, and rubbish there, where there is none."""
    return _call("lapack", "potrf", b"L", len(matrix), matrix, len(matrix)) == 0


def cholesky_inverse(matrix: np.ndarray) -> bool:
    """From a lower Cholesky factor to the lower triangle of the inverse of the matrix; False where there is none."""
    return _call("lapack", "potri", b"L", len(matrix), matrix, len(matrix)) == 0


def cholesky_solve(lower: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The solution for the matrix whose lower Cholesky factor is given (T, T), and right-hand sides (T,) or (T, A)."""
    out, n = x.copy(order="F"), len(lower)
    if not x.size:
        return out
    if x.ndim == 2:
        _call("lapack", "potrs", b"L", n, x.shape[1], lower, n, out, n)
        return out
    for turned in (b"N", b"T"):
        _call("blas", "trsv", b"L", turned, b"N", n, lower, n, out, 1, info=False)
    return out


def _call(library: str, name: str, *values: Any, info: bool = True) -> int:
    (dtype,) = {value.dtype.char for value in values if isinstance(value, np.ndarray)}
    status = ctypes.c_int()
    given = [_passed(value) for value in values]
    _routine(library, {"f": "s", "d": "d"}[dtype] + name)(*given, *([ctypes.byref(status)] if info else []))
    return status.value


def _passed(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if not value.flags.f_contiguous:
            raise ValueError("the matrix must be in Fortran's order")
        return ctypes.c_void_p(value.ctypes.data)
    return ctypes.c_char_p(value) if isinstance(value, bytes) else ctypes.byref(ctypes.c_int(value))


@cache
def _routine(library: str, name: str) -> Any:
    module: Any = import_module(f"scipy.linalg.cython_{library}")
    capsule = module.__pyx_capi__[name]
    name_of, pointer_of = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    arguments = 8 if name.endswith(("trsv", "potrs")) else 5
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * arguments)(pointer_of(capsule, name_of(capsule)))
