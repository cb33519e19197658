"""Where the pixels of a sample are, and whether their file may have changed."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import overload

import numpy as np
import pandas as pd

from ...base import ImageError
from ...base.files import file_state
from ..schema.intensity_policy import DEFAULT_READING, IntensityPolicy, parse_window
from ..schema.table_io import as_arrow, as_codes, as_numbers
from .read_errors import DamageAsImageError

_CONTAINER = re.compile(r"^(?P<file>.*\.(?:npz|h5|hdf5|zarr|nii|nii\.gz))#(?P<member>.+)$", re.IGNORECASE | re.DOTALL)
_STORE_MARKS = ("zarr.json", ".zarray", ".zgroup")
"""One of these is in every zarr store."""


@dataclass(frozen=True, slots=True)
class Source:
    """One image: a file, or one frame of a file. Small and picklable, so that worker processes can be handed it.

    Examples:
        >>> from medprobe.manifests import Source, read_image
        >>> read_image(Source(manifest.source(0).path)).dtype
        dtype('uint8')
    """

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
        self,
        root: Path,
        paths: pd.Series,
        frames: pd.Series | None,
        reading: IntensityPolicy,
        windows: pd.Series | None,
    ) -> None:
        self._root = root
        # Of the rows with a window of their own, few of which differ.
        codes, texts = (None, []) if windows is None else as_codes(windows)
        self._windows, self._window_texts = codes, texts
        own = [parse_window(text) for text in texts]
        self._readings = [reading if pair is None else reading.model_copy(update={"window": pair}) for pair in own]
        self._readings.append(reading)
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
        reading = self._readings[-1 if self._windows is None else self._windows[index]]
        return Source.parse(self._root, self._paths[int(index)].as_py(), None if frame < 0 else frame, reading)

    def stamps(self) -> tuple[np.ndarray, np.ndarray]:
        """The stamp of each row's file, (N,) uint64, and why it has none, (N,) object, empty text where it has one.

        Each file is looked up once, however many rows name it. One that is outside the root, also by a symbolic link,
        has none, and so have named pipes, devices and sockets: what has no stamp is not to be opened. A row with a
        part of its own has that in the lower half of its stamp, so that its pixels count as changed when it does.
        """
        coded = self._paths.dictionary_encode()
        root, real_folder = os.path.realpath(self._root), cache(lambda folder: os.path.realpath(folder))

        @cache
        def stamp_of(path: Path) -> tuple[int, str]:
            try:
                _require_inside(root, real_place(path, real_folder))
                return source_stamp(path), ""
            except ImageError as error:
                return 0, str(error)

        stamps = np.zeros(len(coded.dictionary), np.uint64)
        reasons = np.full(len(coded.dictionary), "", object)
        for number, text in enumerate(coded.dictionary):
            stamps[number], reasons[number] = stamp_of(Source.parse(self._root, text.as_py()).path)
        rows = coded.indices.to_numpy(zero_copy_only=False)
        parts, files = self.parts().astype(np.uint64), stamps[rows]
        found = np.where(parts > 0, files & ~np.uint64(0xFFFFFFFF) | parts, files)
        return np.where(reasons[rows] == "", found, np.uint64(0)), reasons[rows]

    def parts(self) -> np.ndarray:
        """A number for what each row takes of its file, (N,) uint32: its frame, its member and its window.

        0 for all of the file under the card's window.
        """
        coded = self._paths.dictionary_encode()
        members = [_CONTAINER.match(text) for text in coded.dictionary.to_pylist()]
        numbers = [_number(f"member {one['member']}".encode()) if one else 0 for one in members]
        marks = np.array(numbers, np.uint64)[coded.indices.to_numpy(zero_copy_only=False)]
        if self._frames is not None:
            frames, rows = np.unique(self._frames, return_inverse=True)
            marks ^= np.array([_number(b"frame %d" % one) if one >= 0 else 0 for one in frames], np.uint64)[rows]
        if self._windows is not None:
            windows = [_number(text.encode()) if parse_window(text) else 0 for text in self._window_texts]
            marks ^= np.array(windows, np.uint64)[self._windows]
        return marks.astype(np.uint32)


@DamageAsImageError()
def source_stamp(path: Path) -> int:
    """A number (uint64) that changes when the file may be another; read from its `file_state`, not its content.

    Of a zarr store, which is a folder: from those of every file below it. A copy has another stamp than the original,
    and so may a file on a network drive that numbers files newly at each mount: it is decoded again, and that is all.

    Raises:
        ImageError: the file is missing, cannot be read, or is neither a file nor a folder.
    """
    status = path.stat()
    refuse_special(status)
    state = file_state(status)
    text = repr((state, _files_below(path)) if stat.S_ISDIR(status.st_mode) and is_store(path) else state)
    return _number(text.encode())


def _number(content: bytes) -> int:
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little")


def refuse_special(status: os.stat_result) -> None:
    """Refuses named pipes, devices and sockets, which may be waited for without end."""
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise ImageError("a named pipe, a device or a socket, not a file")


def real_place(path: Path, real_folder: Callable[[Path], str]) -> str:
    """Where a file is when all symbolic links are followed; `real_folder` does so for a folder, once for all in it."""
    try:
        if path.name == ".." or path.is_symlink():
            return os.path.realpath(path)
        return os.path.join(real_folder(path.parent), path.name)  # noqa: PTH118  (quicker, for there may be millions)
    except (OSError, ValueError):  # no name of a file, or one that is too long
        return str(path)


def _require_inside(root: str, place: str) -> None:
    if place != root and not place.startswith(os.path.join(root, "")):  # noqa: PTH118
        raise ImageError(
            "its place is outside the card's root, where a symbolic link leads; set `root` to a folder above both, and "
            "write paths from there, as `medprobe manifest build` does"
        )


def is_store(folder: Path) -> bool:
    """Whether a path is a folder that holds a zarr store, of format 2 or 3."""
    return any((folder / mark).is_file() for mark in _STORE_MARKS)


def _files_below(folder: Path) -> list[tuple[str, tuple[int, int, int, int]]]:
    """Name and state of every file below a folder, by name.

    Raises:
        ImageError: there is a link, which may lead anywhere, or something that is neither a file nor a folder.
    """
    found = []
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            file = Path(parent, name)
            status = file.lstat()
            if stat.S_ISLNK(status.st_mode):
                raise ImageError("the store holds symbolic links; replace them by what they lead to")
            refuse_special(status)
            if stat.S_ISREG(status.st_mode):
                found.append((file.relative_to(folder).as_posix(), file_state(status)))
    return sorted(found)
