"""A cache being written: small segment files that survive a kill, made into one published file at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .spec import EmbeddingSpec
from .store import EmbeddingCache


class CacheDraft:
    """One cache in the making; several processes may hold a draft of the same cache at once.

    Args:
        store: the folder of all caches.
        dataset: the data set's name (`manifest.name`).
        spec: what the embeddings are made with.
        segment_rows: a segment is written after this many samples...
        segment_seconds: ...or this long after its first; a kill loses at most the segment in flight.
    """

    path: Path
    """The published file, there or not."""

    @classmethod
    def open(
        cls,
        store: Path,
        dataset: str,
        spec: EmbeddingSpec,
        *,
        segment_rows: int = 4096,
        segment_seconds: float = 30.0,
    ) -> CacheDraft:
        """Opens the draft, reading what is embedded already (published or in segments)."""
        raise NotImplementedError

    def known(self) -> np.ndarray:
        """The sample ids that have an entry, published or not; object array of str."""
        raise NotImplementedError

    def missing(self, sample_ids: Sequence[str] | np.ndarray, stamps: Sequence[int] | np.ndarray) -> np.ndarray:
        """Which samples must be decoded: bool (N,). False where an entry with that id *and* that source stamp exists."""
        raise NotImplementedError

    def has_content(self, digests: Sequence[str]) -> np.ndarray:
        """Which pixels have a vector already, under whatever id: bool (N,). Digests are 32 hex digits."""
        raise NotImplementedError

    def append(
        self,
        sample_ids: Sequence[str],
        digests: Sequence[str],
        stamps: Sequence[int],
        vectors: Mapping[str, np.ndarray],
    ) -> None:
        """Adds B embedded samples; `vectors` holds (B, D) float32 per pooling of the spec, finite."""
        raise NotImplementedError

    def append_known(self, sample_ids: Sequence[str], digests: Sequence[str], stamps: Sequence[int]) -> None:
        """Adds entries for samples whose pixels have a vector already (`has_content`)."""
        raise NotImplementedError

    def quarantine(self, sample_ids: Sequence[str], stamps: Sequence[int], reasons: Sequence[str]) -> None:
        """Records samples that cannot be embedded (for all shards to see); the next run tries them again."""
        raise NotImplementedError

    def flush(self) -> None:
        """Writes what was appended as a segment, now."""
        raise NotImplementedError

    def is_complete(self, sample_ids: Sequence[str], stamps: Sequence[int] | None = None) -> bool:
        """True when every sample has an entry (with that stamp, where given) or is quarantined; rereads the disk."""
        raise NotImplementedError

    def publish(
        self,
        sample_ids: Sequence[str],
        *,
        stamps: Sequence[int] | None = None,
        device: str = "",
        versions: Mapping[str, str] | None = None,
        throughput: Mapping[str, Any] | None = None,
        prune: bool = False,
    ) -> EmbeddingCache:
        """Makes the published file: rows in the order of `sample_ids`, quarantined ones left out.

        Raises:
            CacheError: samples are neither embedded nor quarantined (says how many).
            OutputError: the file cannot be written.
        """
        raise NotImplementedError

    def quarantined(self, sample_ids: Iterable[str] | None = None) -> dict[str, str]:
        """Reason by sample id, of this draft (and of other shards, as far as they have flushed)."""
        raise NotImplementedError

    def __enter__(self) -> CacheDraft:
        return self

    def __exit__(self, *_: object) -> None:
        """Flushes, also after an exception: what is embedded is kept."""
        self.flush()
