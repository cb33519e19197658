"""Vectors of the same spec that other data sets of a store have, found by the digest of the pixels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ..base import CacheError, MedprobeWarning
from .embedding_cache import EmbeddingCache
from .index import digest_keys, places


@dataclass(frozen=True)
class OtherSet:
    """The published cache of another data set, and where in it the vector of some pixels is: 24 bytes a row."""

    cache: EmbeddingCache
    keys: np.ndarray
    """(N,) fixed-length bytes, sorted: the digests of its rows."""
    rows: np.ndarray
    """(N,) int64: the row of each."""

    @classmethod
    def open(cls, path: Path) -> OtherSet:
        """Raises CacheError where the file is damaged, or is no cache of this version."""
        cache = EmbeddingCache.open(path)
        keys = digest_keys(replace(cache).content_digests)  # of a copy, which does not stay in memory with its ids
        order = np.argsort(keys, kind="stable")
        return cls(cache, keys[order], order)

    def has(self, digests: np.ndarray) -> np.ndarray:
        """Which pixels, (n, 16) uint8, have a vector here: bool (n,)."""
        return places(self.keys, digest_keys(digests))[1]

    def vectors(self, digests: np.ndarray) -> dict[str, np.ndarray]:
        """Their vectors, (n, D) float32 per pooling; all must have one. CacheError where the file has changed."""
        rows = self.rows[places(self.keys, digest_keys(digests))[0]]
        return {pooling: self.cache.load(pooling, rows=rows) for pooling in self.cache.poolings}


class OtherSets:
    """The caches of one spec that a store has under other data sets; read when they are first needed.

    Only published ones: segments may vanish at any moment, and what they hold is published in the end.
    """

    def __init__(self, own: Path) -> None:
        """`own` is the published file of the data set itself, there or not."""
        self._own = own

    @cached_property
    def _opened(self) -> list[OtherSet]:
        own, fingerprint = self._own.parent, self._own.stem.rpartition("--")[2]
        found, opened = sorted(own.parent.glob(f"*/[!.]*--{fingerprint}.h5")), []
        for path in (path for path in found if path.parent != own):
            try:
                opened.append(OtherSet.open(path))
            except CacheError as error:
                _warn(path, error)
        return opened

    def __iter__(self) -> Iterator[OtherSet]:
        return iter(list(self._opened))

    def leave_out(self, other: OtherSet, error: CacheError) -> None:
        """Uses this one no more, with a warning that says why."""
        self._opened.remove(other)
        _warn(other.cache.path, error)


def _warn(path: Path, error: CacheError) -> None:
    warnings.warn(
        f"the vectors of {path.parent.name}/{path.name} are not used for equal pixels, which are embedded instead:"
        f" {error}",
        MedprobeWarning,
        stacklevel=4,
    )
