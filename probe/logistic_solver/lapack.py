"""Four routines of LAPACK and BLAS for threads that work side by side.

SciPy's own wrappers keep the interpreter's lock while they compute, so that threads wait for each other; and for one
right-hand side they take three times as long as the routine. Here its compiled routines (`scipy.linalg.cython_lapack`,
made for calls from other languages) are called through ctypes, which gives the lock back.

All matrices are square, in Fortran's order, and real; float32 or float64.
"""

from __future__ import annotations

import ctypes
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np


def factor(matrix: np.ndarray) -> bool:
    """Puts the lower Cholesky factor into the lower triangle; False, and rubbish there, where there is none."""
    return _call("lapack", "potrf", b"L", len(matrix), matrix, len(matrix)) == 0


def invert_factored(matrix: np.ndarray) -> bool:
    """From a lower Cholesky factor to the lower triangle of the inverse of the matrix; False where there is none."""
    return _call("lapack", "potri", b"L", len(matrix), matrix, len(matrix)) == 0


def solve_factored(lower: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The solution for the matrix whose lower Cholesky factor is given (T, T), and right-hand sides (T,) or (T, A)."""
    out, n = x.copy(order="F"), len(lower)
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
