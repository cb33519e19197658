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
from .cache import Memo, file_key
from .image_stack import Layout
from .source import Source, damage_as_image_error

_KEPT = 4
"""Arrays kept open or decoded per process: a run goes through one split after the other."""
_KEPT_BYTES = 2**30
"""Of decoded arrays."""
_WHOLE_BYTES = 512 * 2**20
"""Arrays up to this size are decoded once and kept; larger ones are read forward frame by frame."""


def recognises(head: bytes) -> bool:
    """Whether a file that starts with `head` is an npz file (a zip archive)."""
    return head.startswith(b"PK\x03\x04")


def read(source: Source) -> np.ndarray:
    """The pixels of one frame: uint8, (H, W) or (H, W, 3). Reading frames in order costs one pass through the file.

    Raises:
        ImageError: no array or frame is named, there is no such array or frame, the array is not a stack of 8-bit
            images, or the file is damaged.
    """
    if source.member is None:
        raise ImageError("an npz file holds several arrays; write `file.npz#array` in the column `path`")
    if source.frame is None:
        raise ImageError("an array holds several images; say which in the manifest's column `frame`, from 0")
    member = source.member
    with damage_as_image_error(f'array "{member}" cannot be read: the file is damaged or cut off'):
        stack = _STACKS.get((*file_key(source.path), member), lambda: _opened(source.path, member))
        stack.layout.index(source.frame, f'array "{member}"')
        return stack.frame(source.frame)


@dataclass(eq=False)
class _Stack:
    """An open array: decoded whole when it is small, else a stream that is read forward."""

    layout: Layout
    whole: np.ndarray | None
    """(frames, *image) where it is decoded."""
    stream: IO[bytes] | None = None
    start: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    """A stream has one position."""

    def frame(self, index: int) -> np.ndarray:
        if self.whole is not None:
            return self.whole[index].copy()
        assert self.stream is not None
        size = math.prod(self.layout.image)
        with self.lock:
            # Forward seeks decompress and drop; a backward one starts again.
            self.stream.seek(self.start + index * size)
            return np.frombuffer(self.stream.read(size), np.uint8).reshape(self.layout.image).copy()


_STACKS: Memo[_Stack] = Memo(_KEPT, _KEPT_BYTES)


def _opened(path: Path, member: str) -> tuple[_Stack, int]:
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if member not in names:
            raise ImageError(f'has no array "{member}", only {one_of(names)}.{did_you_mean(member, names)}')
        info = archive.getinfo(f"{member}.npy" if f"{member}.npy" in archive.namelist() else member)
        stream = archive.open(info)
    shape, fortran = _checked_header(stream, member, info.file_size)
    layout = Layout.of(shape, f'array "{member}"')
    start, size = stream.tell(), math.prod(shape)
    if not fortran and size > _WHOLE_BYTES:
        return _Stack(layout, None, stream, start), 0
    with stream:
        data = np.frombuffer(stream.read(size), np.uint8)
    whole = data.reshape(shape, order="F" if fortran else "C").reshape(layout.count, *layout.image)
    return _Stack(layout, whole), size


def _checked_header(stream: IO[bytes], member: str, file_size: int) -> tuple[tuple[int, ...], bool]:
    shape, fortran, dtype = read_header(stream)
    if dtype != np.uint8:
        raise ImageError(f'array "{member}" holds {dtype}, not uint8; scale it to 0 to 255 and save it again')
    if math.prod(shape) > file_size:
        raise ImageError(f'array "{member}" is cut off')
    return shape, fortran


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, Fortran order and dtype of the npy array at the start of `stream`.

    Raises:
        ValueError: it is not an npy array.
    """
    version = npy.read_magic(stream)
    return npy.read_array_header_1_0(stream) if version == (1, 0) else npy.read_array_header_2_0(stream)
