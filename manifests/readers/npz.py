"""Arrays of images in npz files, as MedMNIST publishes them: `file.npz#array` and a frame.

An array is uint8: (N, H, W) for grey, (N, H, W, 3) for RGB, or (N, D, H, W) for volumes, whose frame is
`volume * D + slice` (see `image_stack.py`).
"""

from __future__ import annotations

import math
import threading
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from ...base import ImageError, did_you_mean, one_of
from .image_stack import Layout, Stack, no_array
from .memo import remembered
from .read_errors import SelectionError
from .source import Source

_WHOLE_BYTES = 512 * 2**20
"""Arrays up to this size are decoded once and kept; larger ones are read forward frame by frame."""


def recognises(head: bytes) -> bool:
    """Whether a file that starts with `head` is an npz file (a zip archive)."""
    return head.startswith(b"PK\x03\x04")


def read(source: Source) -> np.ndarray:
    """The pixels of one frame: uint8, (H, W) or (H, W, 3). Reading frames in order costs one pass through the file."""
    return _opened(source.path, source.member or "").pixels(source)


def frames(source: Source) -> int:
    """How many images the array holds, read from its header."""
    member = source.member or ""
    with _member(source.path, member)[0] as file:
        return Layout.of(read_header(file)[0], f'array "{member}"').count


@dataclass(eq=False)
class _Stream:
    """An array of uint8 that is read forward: forward seeks decompress and drop, a backward one starts again."""

    file: IO[bytes]
    start: int
    shape: tuple[int, ...]
    lock: threading.Lock = field(default_factory=threading.Lock)
    dtype = np.dtype(np.uint8)

    def __getitem__(self, index: tuple[int, ...]) -> np.ndarray:
        image = self.shape[len(index) :]
        size, number = math.prod(image), int(np.ravel_multi_index(index, self.shape[: len(index)]))
        with self.lock:
            self.file.seek(self.start + number * size)
            return np.frombuffer(self.file.read(size), np.uint8).reshape(image)


def _member(path: Path, member: str) -> tuple[IO[bytes], int]:
    """The array called `member`, opened, and the bytes that it takes."""
    with zipfile.ZipFile(path) as archive:
        names = {name.removesuffix(".npy"): name for name in archive.namelist()}
        if member not in names:
            near = f"; there are {one_of(names)}.{did_you_mean(member, names)}"
            raise SelectionError(f"{no_array(member)}{near}")
        info = archive.getinfo(names[member])
        return archive.open(info), info.file_size


@remembered(2)
def _opened(path: Path, member: str) -> Stack:
    file, file_size = _member(path, member)
    shape, fortran, dtype = read_header(file)
    what, start, size = f'array "{member}"', file.tell(), math.prod(shape)
    if dtype != np.uint8:
        raise ImageError(f"{what} holds {dtype}, not uint8; scale it to 0 to 255 and save it again")
    if size > file_size:
        raise ImageError(f"{what} is cut off")
    stream = Stack.of(_Stream(file, start, shape), None, what)
    if not fortran and size > _WHOLE_BYTES:
        return stream
    with file:
        whole = np.frombuffer(file.read(size), np.uint8).reshape(shape, order="F" if fortran else "C")
    return Stack.of(np.ascontiguousarray(whole), None, what)


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, Fortran order and dtype of the npy array at the start of `stream`."""
    version = npy.read_magic(stream)
    return npy.read_array_header_1_0(stream) if version == (1, 0) else npy.read_array_header_2_0(stream)
