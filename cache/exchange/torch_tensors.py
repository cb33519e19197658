"""Tensors as `torch.save` writes them, read and written without torch.

Only the pickle of one plain tensor is understood, and only by names that are listed here: nothing in a file is
executed.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from .contents import reading

_TYPES = {
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}


def read_tensor(path: Path) -> np.ndarray:
    """The one tensor of a file; bfloat16 becomes float32, which holds its values. CacheError for anything else."""
    with reading(path, "a PyTorch tensor"), zipfile.ZipFile(path) as archive:
        [pickled] = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        loader = _Loader(archive, pickled.removesuffix("data.pkl"))
        tensor = loader.load()
        if not isinstance(tensor, np.ndarray):
            raise TypeError("it holds something else than one tensor")
        return tensor


def write_tensor(values: np.ndarray, path: Path) -> None:
    """Writes an array of float16, float32 or int64 as `torch.save` writes a tensor on the CPU."""
    kind = next(name for name, code in _TYPES.items() if np.dtype(code) == values.dtype)
    strides = tuple(math.prod(values.shape[axis + 1 :]) for axis in range(values.ndim))
    storage = b"(" + _word("storage") + b"ctorch\n" + kind.encode() + b"\n" + _word("0") + _word("cpu")
    pickled = (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("
        + (storage + _word(values.size) + b"tQ")
        + (_word(0) + _word(values.shape) + _word(strides))
        + b"\x89ccollections\nOrderedDict\n)RtR."
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        parts = {"data.pkl": pickled, "byteorder": b"little", "data/0": values.tobytes(), "version": b"3\n"}
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), data)


def _word(value: Any) -> bytes:
    """The opcodes that put a value on the stack."""
    return pickle.dumps(value, protocol=2)[2:-1]


class _Loader(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}data.pkl")))
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _TYPES:
            return name
        raise pickle.UnpicklingError(f"it holds more than a tensor ({module}.{name}), which is never executed")

    def persistent_load(self, pid: Any) -> np.ndarray:
        _, kind, key, *_ = pid
        values = np.frombuffer(self._archive.read(f"{self._root}data/{key}"), _TYPES[kind])
        if kind == "BFloat16Storage":
            return (values.astype("<u4") << 16).view("<f4")
        return values


def _rebuild(
    storage: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> np.ndarray:
    if math.prod(size) and any(
        step != math.prod(size[axis + 1 :]) for axis, step in enumerate(stride) if size[axis] > 1
    ):
        raise ValueError("the tensor is not contiguous in memory; save tensor.contiguous()")
    return storage[offset : offset + math.prod(size)].reshape(size)
