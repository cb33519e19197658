"""Reads every byte of a cache and says what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py

from ..base import CacheError
from ..base.text import first_line
from .embedding_cache import EmbeddingCache
from .hdf5 import Matrix, hdf5_from
from .index import get_index, get_trained_on, unique_index
from .segments import read_whole


def verify_cache(path: Path | str) -> list[str]:
    """The problems of a published file, one line each; empty when every checksum, seal, id and name is right.

    Examples:
        >>> from medprobe.cache import verify_cache
        >>> verify_cache(caches[0].path)
        []
    """
    path = Path(path)
    try:
        cache = EmbeddingCache.open(path)
        with hdf5_from(path) as file:
            return [f"{path.name}: {problem}" for problem in _problems(file, cache)]
    except CacheError as error:
        return [str(error)]


def verify_segment(path: Path) -> list[str]:
    """The problems of a part of an unfinished cache, one line each."""
    try:
        read_whole(path)
    except CacheError as error:
        return [str(error)]
    return []


def _problems(file: h5py.File, cache: EmbeddingCache) -> Iterator[str]:
    index = get_index(file, cache.path, cache.spec, segment=False)
    if cache.info["trained_on"]:
        get_trained_on(file)
    try:
        unique_index(index.sample_id)
    except CacheError as error:
        yield str(error)
    for pooling in cache.spec.poolings:
        try:
            Matrix(file, pooling).check()
        except (OSError, ValueError) as error:
            yield f"embedding/{pooling}: the file is damaged or was altered ({first_line(error)})."
