"""Segments: the small files of an unfinished cache, each whole or not there.

A segment holds entries (this sample has these pixels) and vectors by content digest (these pixels have this vector), so
that a sample whose pixels are embedded already needs an entry alone.
"""

from __future__ import annotations

import os
import time
import uuid
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .guard import again, new_file
from .layout import (
    SCHEMA,
    DamagedError,
    GoneError,
    dataset,
    get_array,
    get_strings,
    get_text,
    hdf5_from,
    put_array,
    put_attributes,
    put_strings,
)
from .spec import EmbeddingSpec

DIGEST_BYTES = 16
_last_name = 0


def no_strings() -> np.ndarray:
    """An empty array of texts."""
    return np.empty(0, dtype=object)


def no_stamps() -> np.ndarray:
    """An empty array of source stamps."""
    return np.empty(0, dtype=np.uint64)


def no_digests() -> np.ndarray:
    """An empty array of content digests."""
    return np.empty((0, DIGEST_BYTES), dtype=np.uint8)


@dataclass(frozen=True)
class Index:
    """What one file (a segment or a published cache) holds, without its vectors."""

    path: Path
    sample_id: np.ndarray = field(default_factory=no_strings)
    """(n,) object array of str."""
    digest: np.ndarray = field(default_factory=no_digests)
    """(n, 16) uint8."""
    stamp: np.ndarray = field(default_factory=no_stamps)
    """(n,) uint64."""
    vector_digest: np.ndarray = field(default_factory=no_digests)
    """(m, 16) uint8: whose vectors the rows of the matrices are."""
    bad_id: np.ndarray = field(default_factory=no_strings)
    """(q,) object array of str: samples that could not be embedded."""
    bad_stamp: np.ndarray = field(default_factory=no_stamps)
    bad_reason: np.ndarray = field(default_factory=no_strings)
    dims: dict[str, int] = field(default_factory=dict)
    """Vector length by pooling; empty where there are no vectors."""


def write_segment(folder: Path, spec: EmbeddingSpec, index: Index, vectors: dict[str, np.ndarray]) -> Path:
    """Writes one segment into `folder` under a name of its own, that sorts after all earlier ones.

    Args:
        folder: the draft's parts.
        spec: what the vectors are made with.
        index: entries, quarantined samples, and whose vectors there are (`path` and `dims` are not used).
        vectors: (m, D) float32 per pooling; empty when m is 0.

    Raises:
        OutputError: the segment cannot be written.
    """
    path = folder / _next_name()

    def write() -> Path:
        with new_file(path) as file:
            put_attributes(file, {"schema": SCHEMA, "kind": "segment", "fingerprint": spec.fingerprint})
            put_index(file, index)
            put_array(file, "vector_digest", index.vector_digest)
            for pooling, matrix in vectors.items():
                put_array(file, f"embedding/{pooling}", matrix)
        return path

    return again(write, path)


def put_index(file: h5py.File, index: Index) -> None:
    """Writes entries and quarantine, the part that segments and published files share."""
    put_strings(file, "sample_id", index.sample_id)
    put_array(file, "content_digest", index.digest)
    put_array(file, "source_stamp", index.stamp)
    put_strings(file, "quarantine/sample_id", index.bad_id)
    put_array(file, "quarantine/source_stamp", index.bad_stamp)
    put_strings(file, "quarantine/reason", index.bad_reason)


def get_index(file: h5py.File, path: Path, spec: EmbeddingSpec, *, segment: bool) -> Index:
    """Reads entries, quarantine and the shapes of the matrices.

    Raises:
        ValueError: they do not fit each other.
        KeyError: something is not there.
    """
    digest = get_array(file, "content_digest", np.uint8, DIGEST_BYTES)
    index = Index(
        path=path,
        sample_id=get_strings(file, "sample_id"),
        digest=digest,
        stamp=get_array(file, "source_stamp", np.uint64),
        vector_digest=get_array(file, "vector_digest", np.uint8, DIGEST_BYTES) if segment else digest,
        bad_id=get_strings(file, "quarantine/sample_id"),
        bad_stamp=get_array(file, "quarantine/source_stamp", np.uint64),
        bad_reason=get_strings(file, "quarantine/reason"),
        dims=matrix_dims(file, spec, len_of(file, "vector_digest" if segment else "content_digest")),
    )
    if not len(index.sample_id) == len(index.digest) == len(index.stamp):
        raise ValueError("sample_id, content_digest and source_stamp differ in length")
    if not len(index.bad_id) == len(index.bad_stamp) == len(index.bad_reason):
        raise ValueError("the columns of quarantine differ in length")
    return index


def len_of(file: h5py.File, name: str) -> int:
    """Rows of a dataset."""
    return int(dataset(file, name).shape[0])


def matrix_dims(file: h5py.File, spec: EmbeddingSpec, rows: int) -> dict[str, int]:
    """Vector length by pooling.

    Raises:
        ValueError: a matrix has another number of rows, or is neither float16 nor float32.
        KeyError: a pooling of the spec has no matrix.
    """
    dims: dict[str, int] = {}
    for pooling in spec.poolings if rows else ():
        matrix: Any = dataset(file, f"embedding/{pooling}")
        if matrix.ndim != 2 or matrix.shape[0] != rows or matrix.dtype not in (np.float16, np.float32):
            raise ValueError(f"embedding/{pooling} is {matrix.dtype} {matrix.shape}, which does not fit {rows:,} rows")
        dims[pooling] = int(matrix.shape[1])
    return dims


def read_segment(path: Path, spec: EmbeddingSpec) -> Index | None:
    """Reads a segment's index; a damaged one is set aside, reported, and None.

    Raises:
        FileNotFoundError: it is gone (another process has published it).
    """
    try:
        with hdf5_from(path) as file:
            if get_text(file, "fingerprint") != spec.fingerprint:
                raise ValueError("it was written under another spec")
            return get_index(file, path, spec, segment=True)
    except GoneError as error:
        raise FileNotFoundError(path) from error
    except DamagedError as error:
        set_aside(path, str(error.__cause__))
        return None


def set_aside(path: Path, reason: str) -> None:
    """Renames a damaged segment to `*.damaged`, so that its samples are computed again, and warns."""
    aside = path.with_name(f"{path.name}.damaged")
    with suppress(FileNotFoundError):  # another process has set it aside already
        path.replace(aside)
    warnings.warn(
        f"{aside.parent.name}/{aside.name}: this part of an unfinished cache is damaged ({reason.splitlines()[0]});"
        " it was set aside and its samples will be embedded again.",
        stacklevel=3,
    )


def segment_paths(folder: Path) -> list[Path]:
    """The finished segments of a draft, oldest first."""
    return sorted(path for path in folder.glob("*.h5") if not path.name.startswith("."))


def _next_name() -> str:
    """Sorts by time between processes and strictly within one; unique everywhere."""
    global _last_name
    _last_name = max(_last_name + 1, time.time_ns())
    return f"{_last_name:020d}-{os.getpid()}-{uuid.uuid4().hex[:8]}.h5"
