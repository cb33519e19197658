"""Segments: the small files of an unfinished cache, each whole or not there; and what is on disk at one moment.

A segment holds entries (this sample has these pixels) and vectors by content digest (these pixels have this vector), so
that a sample whose pixels are embedded already needs an entry alone.
"""

from __future__ import annotations

import errno
import os
import time
import uuid
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ..base import CacheError, MedprobeWarning, one_of, writing
from .embedding_cache import EmbeddingCache
from .hdf5 import (
    SCHEMA,
    DamagedError,
    GoneError,
    Matrix,
    check_seal,
    get_text,
    hdf5_from,
    put_array,
    put_attributes,
    put_matrix,
    put_seal,
    sealed_poolings,
)
from .index import STORED, Index, MergedIndex, get_columns, get_index, put_index
from .locking import again, new_file
from .spec import EmbeddingSpec, parts_folder, whole_files

_last_name = 0


class Pending:
    """Entries, vectors and quarantined samples of the segment in flight."""

    def __init__(self) -> None:
        self.samples = 0
        self._since = 0.0
        self._parts: list[Index] = []
        self._vectors: list[Mapping[str, np.ndarray]] = []

    @property
    def age_s(self) -> float:
        """Seconds since the oldest of it was added."""
        return time.monotonic() - self._since if self.samples else 0.0

    def add(self, part: Index, vectors: Mapping[str, np.ndarray] | None = None) -> None:
        """Adds entries and quarantined samples, and (m, D) float32 per pooling for its m `vector_digest`."""
        samples = len(part.sample_id) + len(part.bad_id)
        if not samples:
            return
        if not self.samples:
            self._since = time.monotonic()
        self.samples += samples
        self._parts.append(part)
        if vectors:
            self._vectors.append(vectors)

    def as_segment(self) -> tuple[Index, dict[str, np.ndarray]]:
        """All of it as the index and the matrices of one segment."""
        matrices = {
            pooling: np.concatenate([vectors[pooling] for vectors in self._vectors])
            for pooling in (self._vectors[0] if self._vectors else ())
        }
        return Index.concat(self._parts, (*STORED, "vector_digest")), matrices


def checked_vectors(
    vectors: Mapping[str, np.ndarray], spec: EmbeddingSpec, sample_ids: np.ndarray, dims: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """`vectors` as float32, in the spec's order of poolings.

    Raises:
        CacheError: poolings or lengths are not those of the cache, or a value is not finite (says of which samples).
        ValueError: a matrix has not one row per sample.
    """
    if set(vectors) != set(spec.poolings):
        raise CacheError(f"the cache takes the poolings {', '.join(spec.poolings)}; got {', '.join(vectors)}.")
    checked = {pooling: np.asarray(vectors[pooling], dtype=np.float32) for pooling in spec.poolings}
    for pooling, matrix in checked.items():
        if matrix.ndim != 2 or len(matrix) != len(sample_ids) or not matrix.shape[1]:
            raise ValueError(f"{pooling}: expected a matrix with {len(sample_ids)} rows, got shape {matrix.shape}")
        if dims.get(pooling, matrix.shape[1]) != matrix.shape[1]:
            raise CacheError(
                f"{spec.backbone}: pooling {pooling} has vectors of {matrix.shape[1]} values now and of"
                f" {dims[pooling]} in the cache; the spec must differ where the network does."
            )
        finite = np.isfinite(matrix).all(axis=1)
        if not finite.all():
            raise CacheError(
                f"{spec.backbone}: pooling {pooling} of {(~finite).sum()} samples is not finite, e.g. of"
                f" {one_of(map(repr, sample_ids[~finite]), most=3)}; quarantine these samples or use precision fp32."
            )
    return checked


def write_segment(folder: Path, spec: EmbeddingSpec, index: Index, vectors: dict[str, np.ndarray]) -> Path:
    """Writes one segment into `folder`, under a name that sorts after all earlier ones; `vectors` may be empty."""
    path = folder / _next_name()

    def write() -> Path:
        with new_file(path) as file:
            put_attributes(file, {"schema": SCHEMA, "kind": "segment", "fingerprint": spec.fingerprint})
            put_index(file, index)
            put_array(file, "vector_digest", index.vector_digest)
            for pooling, matrix in vectors.items():
                put_matrix(file, pooling, matrix.shape, matrix.dtype, [matrix])
            put_seal(file)
        return path

    return again(write, path)


def read_segment(path: Path, spec: EmbeddingSpec) -> Index | None:
    """Reads a segment's index; a damaged one is set aside, reported, and None. GoneError where it is gone."""
    try:
        with hdf5_from(path) as file:
            if get_text(file, "fingerprint") != spec.fingerprint:
                raise ValueError("it was written under another spec")
            check_seal(file)
            return get_index(file, path, spec, segment=True)
    except DamagedError as error:
        _set_aside(path, str(error.__cause__))
        return None


def read_whole(path: Path) -> None:
    """Reads every byte of a segment, which tests its seal and checksums; CacheError if it is damaged, or gone."""
    with hdf5_from(path) as file:
        check_seal(file)
        get_columns(file, segment=True)
        for pooling in sealed_poolings(file):
            Matrix(file, pooling).check()


def set_aside_damaged(segments: Iterable[Path]) -> None:
    """Sets aside the segments that are damaged, with a warning for each."""
    for path in segments:
        with suppress(GoneError):
            try:
                read_whole(path)
            except DamagedError as error:
                _set_aside(path, str(error.__cause__))


def _set_aside(path: Path, reason: str) -> None:
    """Renames a damaged segment to `*.damaged`, so that its samples are computed again, and warns."""
    aside = path.with_name(f"{path.name}.damaged")
    with suppress(FileNotFoundError):  # another process has set it aside already
        path.replace(aside)
    warnings.warn(
        f"{aside.parent.name}/{aside.name}: this part of an unfinished cache is damaged ({reason.splitlines()[0]});"
        " it was set aside and its samples will be embedded again.",
        MedprobeWarning,
        stacklevel=3,
    )


def _next_name() -> str:
    """Sorts by time between processes and strictly within one; unique everywhere."""
    global _last_name
    _last_name = max(_last_name + 1, time.time_ns())
    return f"{_last_name:020d}-{os.getpid()}-{uuid.uuid4().hex[:8]}.h5"


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
