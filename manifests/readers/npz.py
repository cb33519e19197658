"""Arrays of images in npz files, as MedMNIST publishes them: `file.npz#array` and a frame.

An array is (N, H, W) for grey or (N, H, W, 3) for RGB, uint8.
"""

from __future__ import annotations

import lzma
import math
import os
import struct
import threading
import tokenize
import zipfile
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from ...base import ImageError, did_you_mean, one_of
from ..source import Source

_KEPT = 4
"""Arrays kept open or decoded per process: a run goes through one split after the other."""
_WHOLE_BYTES = 512 * 2**20
"""Arrays up to this size are decoded once and kept; larger ones are read forward frame by frame."""
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    tokenize.TokenError,
    struct.error,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    OSError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
)
"""What zipfile and numpy raise on damaged files, found by feeding them damaged files."""


def recognises(head: bytes) -> bool:
    """Whether a file that starts with `head` is an npz file (a zip archive)."""
    return head.startswith(b"PK\x03\x04")


def read(source: Source) -> np.ndarray:
    """The pixels of one frame: uint8, (H, W) or (H, W, 3). Reading frames in order costs one pass through the file.

    Raises:
        ImageError: no array or frame is named, there is no such array or frame, the array is no stack of 8-bit
            images, or the file is damaged.
    """
    if source.member is None:
        raise ImageError("an npz file holds several arrays; write `file.npz#array` in the column `path`")
    if source.frame is None:
        raise ImageError("an array holds several images; say which in the manifest's column `frame`, from 0")
    try:
        with _LOCK:
            stack = _stack(source.path, source.member)
            if source.frame >= stack.count:
                raise ImageError(f'array "{source.member}" has no frame {source.frame}: it holds {stack.count}, from 0')
            return stack.frame(source.frame)
    except DAMAGE as error:
        if isinstance(error, FileNotFoundError):
            raise ImageError("the file is missing") from error
        raise ImageError(f'array "{source.member}" cannot be read: the file is damaged or cut off') from error


@dataclass
class _Stack:
    """An open array: decoded whole when it is small, else a stream that is read forward."""

    shape: tuple[int, ...]
    whole: np.ndarray | None
    stream: IO[bytes] | None
    start: int = 0

    @property
    def count(self) -> int:
        return self.shape[0]

    def frame(self, index: int) -> np.ndarray:
        if self.whole is not None:
            return self.whole[index].copy()
        assert self.stream is not None
        size = math.prod(self.shape[1:])
        # Forward seeks decompress and drop; a backward one starts again.
        self.stream.seek(self.start + index * size)
        return np.frombuffer(self.stream.read(size), np.uint8).reshape(self.shape[1:]).copy()


_LOCK = threading.Lock()
_MEMO: OrderedDict[tuple[int, str, int, int, str], _Stack] = OrderedDict()


def _stack(path: Path, member: str) -> _Stack:
    status = path.stat()
    # The process id is part of the key because a forked worker must not share its parent's position in a stream.
    key = (os.getpid(), str(path), status.st_mtime_ns, status.st_size, member)
    if key in _MEMO:
        _MEMO.move_to_end(key)
        return _MEMO[key]
    stack = _MEMO[key] = _opened(path, member)
    while len(_MEMO) > _KEPT:
        _, old = _MEMO.popitem(last=False)
        if old.stream is not None and key[0] == os.getpid():
            old.stream.close()
    return stack


def _opened(path: Path, member: str) -> _Stack:
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if member not in names:
            raise ImageError(f'has no array "{member}", only {one_of(names)}.{did_you_mean(member, names)}')
        info = archive.getinfo(f"{member}.npy" if f"{member}.npy" in archive.namelist() else member)
        stream = archive.open(info)
    shape, fortran = _checked_header(stream, member, info.file_size)
    start = stream.tell()
    if not fortran and math.prod(shape) > _WHOLE_BYTES:
        return _Stack(shape, None, stream, start)
    with stream:
        data = stream.read(math.prod(shape))
    return _Stack(shape, np.frombuffer(data, np.uint8).reshape(shape, order="F" if fortran else "C"), None)


def _checked_header(stream: IO[bytes], member: str, file_size: int) -> tuple[tuple[int, ...], bool]:
    shape, fortran, dtype = read_header(stream)
    if dtype != np.uint8:
        raise ImageError(f'array "{member}" holds {dtype}, not uint8; scale it to 0 to 255 and save it again')
    if len(shape) == 4 and shape[3] == 1:
        shape = shape[:3]
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] != 3):
        raise ImageError(f'array "{member}" has shape {shape}; images are (N, H, W) or (N, H, W, 3)')
    if math.prod(shape) > file_size:
        raise ImageError(f'array "{member}" is cut off')
    return shape, fortran


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, Fortran order and dtype of the npy array at the start of `stream`.

    Raises:
        ValueError: it is no npy array.
    """
    version = npy.read_magic(stream)
    return npy.read_array_header_1_0(stream) if version == (1, 0) else npy.read_array_header_2_0(stream)
