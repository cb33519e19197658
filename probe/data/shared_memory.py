"""Large arrays in memory that other processes map, so that they are sent without a copy."""

from __future__ import annotations

import mmap
import os
import weakref
from math import prod

import numpy as np
from numpy.typing import DTypeLike

_HANDLES: dict[int, int] = {}
"""The descriptor of the memory of each living array, by its address."""


def shared_zeros(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """As `np.zeros`, in memory that `handle_of` finds; it is freed with the last view of the array."""
    size = prod(shape) * np.dtype(dtype).itemsize
    if not size:
        return np.zeros(shape, dtype)
    handle = os.memfd_create("medprobe")
    os.truncate(handle, size)
    memory = mmap.mmap(handle, size)
    array = np.frombuffer(memory, dtype).reshape(shape)
    _HANDLES[array.ctypes.data] = handle
    weakref.finalize(memory, _forget, array.ctypes.data, handle)
    return array


def handle_of(part: memoryview) -> int | None:
    """The descriptor of the memory that this is the whole of, if `shared_zeros` made it."""
    handle = _HANDLES.get(np.frombuffer(part, np.uint8).ctypes.data) if part.nbytes else None
    return handle if handle is not None and os.fstat(handle).st_size == part.nbytes else None


def _forget(address: int, handle: int) -> None:
    if _HANDLES.get(address) == handle:  # another array may be there by now
        del _HANDLES[address]
    os.close(handle)
