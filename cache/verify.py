"""Reads every byte of a cache and says what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from ..base import CacheError, one_of
from .embedding_cache import EmbeddingCache
from .hdf5 import dataset, get_int, get_json, get_text, hdf5_from, read_blocks
from .index import get_index, unique_index
from .spec import EmbeddingSpec


def verify_cache(path: Path | str) -> list[str]:
    """The problems of a published file, one line each; empty when every checksum, value, id and name is right.

    Examples:
        >>> from medprobe.cache import verify_cache
        >>> verify_cache(caches[0].path)
        []
    """
    path = Path(path)
    try:
        cache = EmbeddingCache.open(path)
        with hdf5_from(path) as file:
            return [f"{path.name}: {problem}" for problem in _problems(file, path, cache.spec)]
    except CacheError as error:
        return [str(error)]


def verify_segment(path: Path) -> list[str]:
    """The problems of a part of an unfinished cache, one line each."""
    try:
        with hdf5_from(path) as file:
            matrices = file.get("embedding")
            for pooling in matrices if isinstance(matrices, h5py.Group) else ():
                for _ in read_blocks(dataset(file, f"embedding/{pooling}")):
                    pass
    except CacheError as error:
        return [str(error)]
    return []


def _problems(file: h5py.File, path: Path, spec: EmbeddingSpec) -> Iterator[str]:
    index = get_index(file, path, spec, segment=False)
    try:
        unique_index(index.sample_id)
    except CacheError as error:
        yield str(error)
    both = np.intersect1d(index.sample_id, index.bad_id)
    if len(both):
        yield f"{len(both):,} samples are both embedded and quarantined, e.g. {one_of(map(repr, both), most=3)}."
    if get_int(file, "quarantined") != len(index.bad_id):
        yield f"states {get_int(file, 'quarantined')} quarantined samples but lists {len(index.bad_id)}."
    if get_text(file, "content") != index.content:
        yield "its rows are not those that it was published with."
    for name in ("versions", "throughput"):
        if not isinstance(get_json(file, name), dict):
            yield f"its attribute {name} cannot be read."
    for pooling in spec.poolings:
        yield from _matrix_problems(file, pooling, index.sample_id)


def _matrix_problems(file: h5py.File, pooling: str, sample_ids: np.ndarray) -> Iterator[str]:
    matrix = dataset(file, f"embedding/{pooling}")
    done = 0
    odd: list[str] = []
    try:
        for start, block in read_blocks(matrix):
            finite = np.isfinite(block).all(axis=1)
            odd.extend(sample_ids[start : start + len(block)][~finite])
            done = start + len(block)
    except OSError:
        yield f"embedding/{pooling}: a checksum is wrong, or bytes are gone, after row {done:,}; the file is damaged."
    if odd:
        yield f"embedding/{pooling}: {len(odd):,} vectors are not finite, e.g. of {one_of(map(repr, odd), most=3)}."
