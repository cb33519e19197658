"""What several files hold together: which entry counts for a sample, and where the vector of some pixels lies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..base import CacheError, one_of
from .layout import object_array
from .segments import DIGEST_BYTES, Index, no_digests, no_stamps, no_strings

NOWHERE = -1


class Ledger:
    """The entries and vectors of a published cache and of segments, oldest file first.

    Args:
        sources: the files' indexes. Where two entries of one sample are as good as each other, that of the later file
            counts; where two files hold a vector of the same pixels, that of the earlier one (they are equivalent, and
            so what is published never changes without need).
    """

    def __init__(self, sources: Sequence[Index]) -> None:
        self.sources = list(sources)
        self.sample_id = np.concatenate([no_strings(), *(source.sample_id for source in sources)])
        self.digest = np.concatenate([no_digests(), *(source.digest for source in sources)])
        self.stamp = np.concatenate([no_stamps(), *(source.stamp for source in sources)])
        self.source = _numbers([len(source.sample_id) for source in sources])
        self.bad_id = np.concatenate([no_strings(), *(source.bad_id for source in sources)])
        self.bad_stamp = np.concatenate([no_stamps(), *(source.bad_stamp for source in sources)])
        self.bad_reason = np.concatenate([no_strings(), *(source.bad_reason for source in sources)])
        self.bad_source = _numbers([len(source.bad_id) for source in sources])
        self._place_vectors()

    def _place_vectors(self) -> None:
        counts = [len(source.vector_digest) for source in self.sources]
        digests = np.concatenate([no_digests(), *(source.vector_digest for source in self.sources)])
        # Sorted 16-byte keys: a fifth of the memory of Python's bytes in a hash table, and as quick.
        self._vectors, first = np.unique(digest_keys(digests), return_index=True)
        self._vector_source = _numbers(counts)[first]
        self._vector_row = np.concatenate([np.empty(0, np.int64), *(np.arange(count) for count in counts)])[first]
        # An entry whose vector was in a damaged segment is no entry: its sample has to be embedded again.
        self.has_vector = self.has_content(self.digest)

    @property
    def dims(self) -> dict[str, int]:
        """Vector length by pooling; empty while there is no vector."""
        return next((source.dims for source in self.sources if source.dims), {})

    def has_content(self, digests: np.ndarray) -> np.ndarray:
        """Whether there is a vector of these pixels: bool (n,) for (n, 16) uint8."""
        return self._vector_places(digests)[1]

    def locate(self, digests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Number of the source and row in its matrices: two (n,) int64; every digest must have a vector."""
        place, _ = self._vector_places(digests)
        return self._vector_source[place], self._vector_row[place]

    def _vector_places(self, digests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Among the sorted keys, (n,) int64, and whether it is there, (n,) bool."""
        if not len(self._vectors):
            return np.zeros(len(digests), np.int64), np.zeros(len(digests), bool)
        keys = digest_keys(digests)
        place = np.minimum(np.searchsorted(self._vectors, keys), len(self._vectors) - 1)
        return place, self._vectors[place] == keys

    def find(self, sample_ids: np.ndarray, stamps: np.ndarray | None) -> np.ndarray:
        """The entry that counts for each sample: (n,) int64, `NOWHERE` without one.

        With `stamps` only entries of that very source count: whatever the clocks of several machines say, an entry
        made from an older version of the file is never taken. Without, the newest counts.
        """
        place = positions_in(unique_index(sample_ids), self.sample_id)
        counts = (place != NOWHERE) & self.has_vector
        if stamps is not None and len(stamps):
            counts &= self.stamp == stamps[place]
        entries = np.flatnonzero(counts)
        found = np.full(len(sample_ids), NOWHERE, dtype=np.int64)
        found[place[entries]] = entries  # ascending, so the newest is assigned last
        return found

    def find_bad(self, sample_ids: np.ndarray, stamps: np.ndarray | None, found: np.ndarray) -> np.ndarray:
        """The quarantine record of each sample that has no entry (or an older one): (n,) int64 or `NOWHERE`."""
        place = positions_in(unique_index(sample_ids), self.bad_id)
        counts = place != NOWHERE
        if stamps is not None and len(stamps):
            counts &= self.bad_stamp == stamps[place]
        records = np.flatnonzero(counts)
        bad = np.full(len(sample_ids), NOWHERE, dtype=np.int64)
        bad[place[records]] = records
        # With stamps an entry of this very source is proof that it can be embedded; without, the later word counts.
        both = np.flatnonzero((found != NOWHERE) & (bad != NOWHERE))
        entry_counts = (
            np.ones(len(both), bool) if stamps is not None else self.source[found[both]] >= self.bad_source[bad[both]]
        )
        bad[both[entry_counts]] = NOWHERE
        return bad

    def others(self, sample_ids: np.ndarray) -> np.ndarray:
        """Ids that are known (embedded or quarantined) but not among `sample_ids`, in order of first appearance."""
        known = pd.Index(np.concatenate([self.sample_id[self.has_vector], self.bad_id]), dtype=object).unique()
        return known[positions_in(unique_index(sample_ids), known) == NOWHERE].to_numpy()


def as_ids(sample_ids: Sequence[str] | np.ndarray) -> np.ndarray:
    """Sample ids as an object array of str."""
    return object_array([str(sample) for sample in sample_ids])


def as_stamps(stamps: Sequence[int] | np.ndarray) -> np.ndarray:
    """Source stamps as uint64."""
    return np.asarray(stamps, dtype=np.uint64)


def as_digests(digests: Sequence[str] | np.ndarray) -> np.ndarray:
    """Digests of 32 hexadecimal digits as (n, 16) uint8.

    Raises:
        ValueError: one of them is something else.
    """
    texts = [str(digest) for digest in digests]
    odd = next((text for text in texts if len(text) != 2 * DIGEST_BYTES), None)
    if odd is not None:
        raise ValueError(f"a content digest has {2 * DIGEST_BYTES} hexadecimal digits, got {odd!r}")
    return np.frombuffer(bytes.fromhex("".join(texts)), dtype=np.uint8).reshape(len(texts), DIGEST_BYTES)


def digest_keys(digests: np.ndarray) -> np.ndarray:
    """(n, 16) uint8 as (n,) fixed-length bytes to look up. numpy drops NULs at the end; that is still one to one."""
    return np.ascontiguousarray(digests).view(f"S{DIGEST_BYTES}").reshape(-1)


def first_of_each(digests: np.ndarray) -> np.ndarray:
    """Whether a digest stands there for the first time: bool (n,)."""
    first = np.zeros(len(digests), bool)
    first[np.unique(digest_keys(digests), return_index=True)[1]] = True
    return first


def positions_in(index: pd.Index, values: np.ndarray | pd.Index) -> np.ndarray:
    """Where each value stands in a unique index: (n,) int64, `NOWHERE` where it does not."""
    return index.get_indexer(pd.Index(values, dtype=object))


def unique_index(sample_ids: np.ndarray) -> pd.Index:
    """An index to look sample ids up in.

    Raises:
        CacheError: an id stands there twice.
    """
    index = pd.Index(sample_ids, dtype=object)
    if not index.is_unique:
        twice = index[index.duplicated()].unique()
        raise CacheError(f"sample ids must be unique; twice or more: {one_of(map(repr, twice), most=3)}.")
    return index


def _numbers(counts: Sequence[int]) -> np.ndarray:
    """`[2, 3]` -> `[0, 0, 1, 1, 1]`."""
    return np.repeat(np.arange(len(counts), dtype=np.int64), counts)
