"""Embeddings that are arrays in memory, in the place of a published cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import DTypeLike

from .embedding_cache import EmbeddingCache
from .index import Index


@dataclass(frozen=True)
class ArrayCache(EmbeddingCache):
    """What reads like an `EmbeddingCache` and has no file."""

    matrices: Mapping[str, np.ndarray] = field(compare=False)
    """(N, D) float32 by pooling."""
    index: Index = field(compare=False)
    """The ids and content digests of the N rows."""

    @cached_property
    def _index(self) -> Index:
        return self.index

    def load(
        self,
        pooling: str,
        dtype: DTypeLike = np.float32,
        *,
        rows: np.ndarray | None = None,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """The matrix of a pooling; arguments and errors are those of `EmbeddingCache.load`."""
        self.dim(pooling)
        matrix = self.matrices[pooling]
        if out is None:
            return matrix.astype(dtype) if rows is None else matrix[rows].astype(dtype, copy=False)
        np.take(matrix, np.arange(len(matrix)) if rows is None else rows, axis=0, out=out)
        return out
