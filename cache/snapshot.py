"""What of one cache is on disk at one moment: the published file and the segments of its draft."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..base import CacheError, writing
from .embedding_cache import EmbeddingCache
from .hdf5 import hdf5_from
from .index import Index, MergedIndex, get_index
from .locking import again
from .segments import read_segment
from .spec import EmbeddingSpec, parts_folder, whole_files

Identity = tuple[int, int, int]
"""Inode, size and time of change: another for every publication."""


@dataclass(frozen=True)
class Snapshot:
    """The files of one cache, as they were read."""

    identity: Identity | None = None
    """Of the published file; None while nothing is published."""
    published: Index | None = None
    segments: Mapping[Path, Index] = field(default_factory=dict)
    """By path, oldest first."""

    @cached_property
    def index(self) -> MergedIndex:
        """All files together, oldest first."""
        return MergedIndex([*([self.published] if self.published else []), *self.segments.values()])


def read_snapshot(path: Path, dataset: str, spec: EmbeddingSpec, last: Snapshot) -> Snapshot:
    """Reads what is new since `last`, which is returned itself when nothing is. Damaged segments are set aside.

    Raises:
        CacheError: the published file is damaged, of another schema, or of another data set.
    """

    def read() -> Snapshot:
        # Segments before the published file: what a publisher moves between the two reads is then seen twice, not lost.
        segments: dict[Path, Index] = {}
        for segment in whole_files(parts_folder(path)):
            index = last.segments.get(segment) or read_segment(segment, spec)
            if index is not None:
                segments[segment] = index
        now, published = identity(path), last.published
        if now != last.identity:
            published = None if now is None else _read_published(path, dataset, spec)
        elif segments.keys() == last.segments.keys():
            return last
        return Snapshot(now, published, segments)

    return again(read, path)


def _read_published(path: Path, dataset: str, spec: EmbeddingSpec) -> Index:
    cache = EmbeddingCache.open(path)
    if cache.dataset != dataset:
        raise CacheError(
            f'{path}: is the cache of the data set "{cache.dataset}", not of "{dataset}". Move it to the folder of'
            " that data set, or delete it to have it computed again."
        )
    with hdf5_from(path) as file:
        return get_index(file, path, spec, segment=False)


def identity(path: Path) -> Identity | None:
    """Distinguishes one publication from the next; None while nothing is published."""
    with suppress(FileNotFoundError):
        status = path.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns
    return None


def check_can_exist(folder: Path) -> None:
    """OutputError, before hours of work and without creating anything, unless `folder` exists or can be created."""
    # The folder itself or the nearest one above it, each tried once: another process may create it at this moment.
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists() or path.is_symlink())
    with writing(folder):
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(nearest))
        if nearest != folder and not os.access(nearest, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(nearest))
