"""Where the pixels of a sample are, and why they cannot be read."""

from __future__ import annotations

import errno
import lzma
import os
import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import overload

import numpy as np
import pandas as pd

from ...base import ImageError
from ..schema.columns import as_arrow, as_numbers
from ..schema.intensity_policy import DEFAULT_READING, IntensityPolicy

_CONTAINER = re.compile(r"^(?P<file>.*\.(?:npz|h5|hdf5|zarr|nii|nii\.gz))#(?P<member>.+)$", re.IGNORECASE | re.DOTALL)
_STORE_MARKS = ("zarr.json", ".zarray", ".zgroup")
"""One of these is in every zarr store."""


@dataclass(frozen=True, slots=True)
class Source:
    """One image: a file, or one frame of a file. Small and picklable, so that worker processes can be handed it."""

    path: Path
    """The file; absolute when it comes from a manifest."""
    frame: int | None = None
    """Index into a file or array of several images, from 0; None where there is only one."""
    member: str | None = None
    """What follows `#` in the manifest: an array inside a container, or the axis along which a volume is cut."""
    reading: IntensityPolicy = DEFAULT_READING
    """How stored values become 8-bit pixels."""

    @classmethod
    def parse(
        cls, root: Path, text: str, frame: int | None = None, reading: IntensityPolicy = DEFAULT_READING
    ) -> Source:
        """The source that the manifest's `path` column calls `text`; `file.npz#name` is an array of a container."""
        match = _CONTAINER.match(text)
        if match:
            return cls(root / match["file"], frame, match["member"], reading)
        return cls(root / text, frame, None, reading)


class Sources(Sequence[Source]):
    """The sources of a manifest's rows, each made on access: ten million take no more memory than their texts."""

    def __init__(
        self, root: Path, paths: pd.Series, frames: pd.Series | None, reading: IntensityPolicy = DEFAULT_READING
    ) -> None:
        self._root, self._reading = root, reading
        # One contiguous Arrow array: compact, quick to index, and pickled as two buffers.
        self._paths = as_arrow(paths)
        self._frames = None if frames is None else np.nan_to_num(as_numbers(frames), nan=-1).astype(np.int64)

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> Source: ...
    @overload
    def __getitem__(self, index: slice) -> list[Source]: ...
    def __getitem__(self, index: int | slice) -> Source | list[Source]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        frame = -1 if self._frames is None else int(self._frames[index])
        return Source.parse(self._root, self._paths[int(index)].as_py(), None if frame < 0 else frame, self._reading)

    def __iter__(self) -> Iterator[Source]:
        return (self[row] for row in range(len(self)))

    def stamps(self) -> tuple[np.ndarray, np.ndarray]:
        """The stamp of each row's file, (N,) uint64, and why it has none, (N,) object, empty text where it has one.

        The file system is queried once per file, however many rows name it.
        """
        coded = self._paths.dictionary_encode()
        by_path: dict[Path, tuple[int, str]] = {}
        stamps = np.zeros(len(coded.dictionary), np.uint64)
        reasons = np.full(len(coded.dictionary), "", object)
        for number, text in enumerate(coded.dictionary):
            path = Source.parse(self._root, text.as_py()).path
            if path not in by_path:
                by_path[path] = _stamp_or_reason(path)
            stamps[number], reasons[number] = by_path[path]
        rows = coded.indices.to_numpy(zero_copy_only=False)
        return stamps[rows], reasons[rows]


def source_stamp(path: Path) -> int:
    """A number (uint64) that changes when the file may have changed; read from its size and time, not its content.

    Of a zarr store, which is a folder: from those of every file below it.

    Raises:
        ImageError: the file is missing or cannot be read.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ImageError(reason_of(error)) from error
    except ValueError as error:  # a NUL in the name
        raise ImageError("not a valid file name") from error
    text = f"{status.st_size} {status.st_mtime_ns}"
    if is_store(path):
        text += "".join(f"\n{name} {size} {time}" for name, size, time in _files_below(path))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def is_store(folder: Path) -> bool:
    """Whether a path is a folder that holds a zarr store, of format 2 or 3."""
    return any((folder / mark).is_file() for mark in _STORE_MARKS)


def _files_below(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of every file below a folder, by name; a link to a folder is not followed."""
    found = []
    for parent, _, names in os.walk(folder):
        for name in names:
            file = Path(parent, name)
            status = file.lstat()
            found.append((file.relative_to(folder).as_posix(), status.st_size, status.st_mtime_ns))
    return sorted(found)


def _stamp_or_reason(path: Path) -> tuple[int, str]:
    try:
        return source_stamp(path), ""
    except ImageError as error:
        return 0, str(error)


DAMAGE = (
    OSError, EOFError, MemoryError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, AssertionError,
    RuntimeError, SystemError, SyntaxError, struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile,
    tokenize.TokenError,
)  # fmt: skip
"""What the decoding libraries raise on damaged files, found with benchmarks/fuzz_readers.py."""


_NOT_DAMAGE = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EREMOTEIO}


@contextmanager
def damage_as_image_error(otherwise: str, *more: type[Exception]) -> Iterator[None]:
    """Turns what a library raises on a damaged file into an `ImageError` that names no folder.

    Args:
        otherwise: the reason, unless it is the operating system, the memory or an early end of the file.
        more: exceptions besides `DAMAGE`.
    """
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError("needs more memory than there is") from error
    except EOFError as error:
        raise ImageError("the file is cut off") from error
    except (*DAMAGE, *more) as error:
        raise ImageError(reason_of(error) if is_unreadable(error) else otherwise) from error


def is_unreadable(error: BaseException) -> bool:
    """Whether the operating system, not the content of the file, is why it cannot be read."""
    # Not any errno: a damaged header can make a library seek or map where it cannot.
    return isinstance(error, FileNotFoundError | PermissionError) or getattr(error, "errno", None) in _NOT_DAMAGE


def reason_of(error: BaseException) -> str:
    """Why the operating system cannot open or read a file, without its folder."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "the file is missing"
    if isinstance(error, IsADirectoryError):
        return "a folder, not a file"
    if isinstance(error, PermissionError):
        return "no permission to read the file"
    return f"the file cannot be read: {getattr(error, 'strerror', None) or type(error).__name__}"
