"""What of one cache is on disk now: the published file and the segments of its draft."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from ..base import CacheError, writing
from .guard import again, sweep
from .layout import GoneError, hdf5_from
from .names import parts_folder
from .segments import Index, get_index, read_segment, segment_paths
from .spec import EmbeddingSpec
from .store import EmbeddingCache


class OnDisk:
    """The files of one cache; `read` looks again, and reads only what is new.

    Attributes:
        published: index of the published file, or None.
        base: `identity` of the published file.
        segments: index by path, oldest first.
    """

    def __init__(self, path: Path, dataset: str, spec: EmbeddingSpec) -> None:
        self.path, self.dataset, self.spec = path, dataset, spec
        self.parts = parts_folder(path)
        self.segments: dict[Path, Index] = {}
        self.published: Index | None = None
        self.base: tuple[int, int, int] | None = None
        check_can_exist(path.parent)
        sweep(self.parts)
        sweep(path.parent, path.stem)

    @property
    def sources(self) -> list[Index]:
        """All indexes, oldest file first."""
        return [*([self.published] if self.published else []), *self.segments.values()]

    def read(self) -> bool:
        """Reads what is new, sets damaged segments aside; True when anything has changed.

        Raises:
            CacheError: the published file is damaged, of another schema, or of another data set.
        """
        return again(self._read, self.path)

    def _read(self) -> bool:
        # Segments before the published file: what a finaliser moves between the two reads is then seen twice, not lost.
        segments: dict[Path, Index] = {}
        for path in segment_paths(self.parts):
            index = self.segments.get(path) or read_segment(path, self.spec)
            if index is not None:
                segments[path] = index
        base = identity(self.path)
        if base != self.base:
            self.published = None if base is None else self._read_published()
        changed = (base, segments.keys()) != (self.base, self.segments.keys())
        self.base, self.segments = base, segments
        return changed

    def _read_published(self) -> Index:
        try:
            cache = EmbeddingCache.open(self.path)
            if cache.dataset != self.dataset:
                raise CacheError(
                    f'{self.path}: is the cache of the data set "{cache.dataset}", not of "{self.dataset}". Move it to'
                    " that data set's folder, or delete it to have it made again."
                )
            with hdf5_from(self.path) as file:
                return get_index(file, self.path, self.spec, segment=False)
        except GoneError as error:
            raise FileNotFoundError(self.path) from error

    def remove_segments(self) -> None:
        """Removes the segments that were read (they are published now); others may have come since, and stay."""
        for path in [*self.segments, *self.parts.glob("*.damaged")]:
            path.unlink(missing_ok=True)


def identity(path: Path) -> tuple[int, int, int] | None:
    """Tells one publication from the next; None while nothing is published."""
    with suppress(FileNotFoundError):
        status = path.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns
    return None


def check_can_exist(folder: Path) -> None:
    """Finds out, before hours of work and without making anything, that `folder` is not there and cannot be made.

    Raises:
        OutputError: it cannot.
    """
    # The folder itself or the nearest one above it, each asked once: another process may make it at this moment.
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists() or path.is_symlink())
    with writing(folder):
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(nearest))
        if nearest != folder and not os.access(nearest, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(nearest))
