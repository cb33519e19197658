"""Published caches: opening, reading and finding them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .spec import EmbeddingSpec


@dataclass(frozen=True)
class EmbeddingCache:
    """One published file of embeddings; holds no file open, so it pickles and readers need no locks."""

    path: Path
    spec: EmbeddingSpec
    dataset: str
    dims: dict[str, int]
    """Vector length by pooling, in the spec's order."""
    info: dict[str, Any]
    """rows, created, device, versions, throughput, quarantined (count), dtypes, schema."""

    @classmethod
    def open(cls, path: Path | str) -> EmbeddingCache:
        """Opens a published cache. Raises CacheError when it is damaged or not what its name says."""
        raise NotImplementedError

    @property
    def sample_ids(self) -> np.ndarray:
        """(N,) object array of str."""
        raise NotImplementedError

    @property
    def content_digests(self) -> np.ndarray:
        """(N, 16) uint8."""
        raise NotImplementedError

    @property
    def poolings(self) -> tuple[str, ...]:
        """Names of the matrices."""
        return self.spec.poolings

    @property
    def quarantine(self) -> dict[str, str]:
        """Reason by sample id."""
        raise NotImplementedError

    def __len__(self) -> int:
        return int(self.info["rows"])

    def load(self, pooling: str, dtype: DTypeLike = np.float32) -> np.ndarray:
        """The whole (N, D) matrix of `pooling`."""
        raise NotImplementedError

    def rows_of(self, sample_ids: Sequence[str] | np.ndarray) -> np.ndarray:
        """Row of each sample: (len(sample_ids),) int64. Raises CacheError when some are not there."""
        raise NotImplementedError


def default_store(manifest_path: Path | str) -> Path:
    """The folder `embeddings` beside the manifest file."""
    return Path(manifest_path).parent / "embeddings"


def find_caches(store: Path, dataset: str, backbones: Sequence[str] | None = None) -> list[EmbeddingCache]:
    """The published caches of a data set, of all backbones or of those named; several specs of one are all returned."""
    raise NotImplementedError
