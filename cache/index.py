"""The index of a cache's files: which sample has which pixels, and where the vector of some pixels is stored.

`Index` is that of one file (a segment or a published cache), `MergedIndex` that of several together.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ..base import CacheError, one_of
from .hdf5 import (
    dataset,
    encode,
    get_array,
    get_strings,
    get_text,
    object_array,
    put_array,
    put_attributes,
    put_strings,
)
from .spec import Spec

if TYPE_CHECKING:
    import pandas as pd

DIGEST_BYTES = 16
NOWHERE = -1


_no_texts = partial(np.empty, 0, object)
_no_stamps = partial(np.empty, 0, np.uint64)
_no_digests = partial(np.empty, (0, DIGEST_BYTES), np.uint8)

STORED = {
    "sample_id": "sample_id",
    "digest": "content_digest",
    "stamp": "source_stamp",
    "bad_id": "quarantine/sample_id",
    "bad_stamp": "quarantine/source_stamp",
    "bad_reason": "quarantine/reason",
}
"""The columns of an `Index`, and their names in a file; a segment has a column `vector_digest` besides."""


@dataclass(frozen=True)
class Index:
    """What one file (a segment or a published cache) holds, without its vectors."""

    path: Path = Path()
    sample_id: np.ndarray = field(default_factory=_no_texts)
    """(n,) object array of str."""
    digest: np.ndarray = field(default_factory=_no_digests)
    """(n, 16) uint8."""
    stamp: np.ndarray = field(default_factory=_no_stamps)
    """(n,) uint64."""
    vector_digest: np.ndarray = field(default_factory=_no_digests)
    """(m, 16) uint8: whose vectors the rows of the matrices are."""
    bad_id: np.ndarray = field(default_factory=_no_texts)
    """(q,) object array of str: samples that could not be embedded."""
    bad_stamp: np.ndarray = field(default_factory=_no_stamps)
    bad_reason: np.ndarray = field(default_factory=_no_texts)
    dims: dict[str, int] = field(default_factory=dict)
    """Vector length by pooling; empty where there are no vectors."""

    @classmethod
    def concat(cls, parts: Sequence[Index], columns: Iterable[str]) -> Index:
        """These columns of all parts, one part after the other."""
        joined: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in (cls(), *parts)]) for name in columns
        }
        return cls(**joined)

    @property
    def content(self) -> str:
        """A digest of all columns, and of the order of rows: 32 hexadecimal digits."""
        total = blake2b(digest_size=16)
        for column in (*STORED, "vector_digest"):
            values = getattr(self, column)
            part = encode(values) if values.dtype == object else np.ascontiguousarray(values)
            # The fixed-length bytes, and their length, leave no two lists of texts with one digest.
            total.update(f"{column} {len(part)} {part.itemsize} ".encode())
            total.update(part.view(np.uint8).data)
        return total.hexdigest()

    def quarantine(self) -> dict[str, tuple[int, str]]:
        """Stamp and reason of each quarantined sample, by id."""
        return dict(zip(self.bad_id, zip(self.bad_stamp, self.bad_reason, strict=True), strict=True))


def put_index(file: h5py.File, index: Index) -> None:
    """Writes entries, quarantine and their digest, the part that segments and published files share."""
    for column, name in STORED.items():
        values = getattr(index, column)
        put = put_strings if values.dtype == object else put_array
        put(file, name, values)
    put_attributes(file, {"content": index.content})


def put_trained_on(file: h5py.File, index: Index, images: np.ndarray) -> None:
    """Writes which rows have pixels that the network was trained on; `images` are (T, 16) uint8, digests of these."""
    rows = np.isin(digest_keys(index.digest), digest_keys(images)).astype(np.uint8)
    put_array(file, "trained_on", rows)
    facts = {"images": len(images), "rows": int(rows.sum()), "crc": zlib.crc32(rows.data)}
    put_attributes(file, {"trained_on": facts})


def get_trained_on(file: h5py.File) -> np.ndarray:
    """Reads what `put_trained_on` wrote: bool (n,); ValueError or KeyError where it is not that."""
    rows = get_array(file, "trained_on", np.uint8, ())
    if zlib.crc32(rows.data) != json.loads(get_text(file, "trained_on"))["crc"]:
        raise ValueError("trained_on is not what was written")
    return rows.astype(bool)


def get_index(file: h5py.File, path: Path, spec: Spec, *, segment: bool) -> Index:
    """Reads entries, quarantine and the shapes of the matrices; raises as `get_columns` and `matrices`."""
    index = get_columns(file, segment=segment)
    found = matrices(file, spec, len(index.vector_digest))
    return replace(index, path=path, dims={pooling: int(matrix.shape[1]) for pooling, matrix in found.items()})


def get_columns(file: h5py.File, *, segment: bool) -> Index:
    """Reads entries and quarantine; ValueError or KeyError where they are not what was written."""
    names = {**STORED, "vector_digest": "vector_digest" if segment else "content_digest"}
    columns: dict[str, Any] = {}
    for column, name in names.items():
        like = getattr(Index(), column)
        is_text = like.dtype == object
        columns[column] = get_strings(file, name) if is_text else get_array(file, name, like.dtype, like.shape[1:])
    index = Index(**columns)
    if not len(index.sample_id) == len(index.digest) == len(index.stamp):
        raise ValueError("sample_id, content_digest and source_stamp differ in length")
    if not len(index.bad_id) == len(index.bad_stamp) == len(index.bad_reason):
        raise ValueError("the columns of quarantine differ in length")
    if index.content != get_text(file, "content"):
        raise ValueError("its rows are not those that it was written with")
    return index


def matrices(file: h5py.File, spec: Spec, rows: int) -> dict[str, h5py.Dataset]:
    """The matrix of each pooling, (rows, D), none for no rows; ValueError or KeyError where one does not fit."""
    found: dict[str, h5py.Dataset] = {}
    for pooling in spec.poolings if rows else ():
        matrix = dataset(file, f"embedding/{pooling}")
        fits = len(matrix.shape) == 2 and matrix.shape[0] == rows and matrix.shape[1] > 0
        if not fits or matrix.dtype not in (np.float16, np.float32):
            raise ValueError(f"embedding/{pooling} is {matrix.dtype} {matrix.shape}, which does not fit {rows:,} rows")
        found[pooling] = matrix
    return found


class MergedIndex:
    """The entries and vectors of a published cache and of segments, oldest file first.

    Args:
        sources: the files' indexes. Where two entries of one sample are as good as each other, that of the later file
            counts; where two files hold a vector of the same pixels, that of the earlier one (they are equivalent, and
            so what is published never changes without need).
    """

    def __init__(self, sources: Sequence[Index]) -> None:
        self.sources = list(sources)
        self.rows = Index.concat(self.sources, STORED)
        self.source = _numbers([len(source.sample_id) for source in sources])
        self.bad_source = _numbers([len(source.bad_id) for source in sources])
        counts = [len(source.vector_digest) for source in sources]
        digests = Index.concat(self.sources, ["vector_digest"]).vector_digest
        # Sorted 16-byte keys: a fifth of the memory of Python's bytes in a hash table, and as quick.
        self._vectors, first = np.unique(digest_keys(digests), return_index=True)
        self._vector_source = _numbers(counts)[first]
        self._vector_row = np.concatenate([np.empty(0, np.int64), *(np.arange(count) for count in counts)])[first]
        # An entry whose vector was in a damaged segment does not count: its sample has to be embedded again.
        self.has_vector = self.has_content(self.rows.digest)

    @property
    def dims(self) -> dict[str, int]:
        """Vector length by pooling; empty while there is no vector."""
        return next((source.dims for source in self.sources if source.dims), {})

    def has_content(self, digests: np.ndarray) -> np.ndarray:
        """Whether there is a vector of these pixels: bool (n,) for (n, 16) uint8."""
        return places(self._vectors, digest_keys(digests))[1]

    def locate(self, digests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Number of the source and row in its matrices: two (n,) int64; every digest must have a vector."""
        place, _ = places(self._vectors, digest_keys(digests))
        return self._vector_source[place], self._vector_row[place]

    def find(self, sample_ids: np.ndarray, stamps: np.ndarray | None) -> np.ndarray:
        """The entry that counts for each sample: (n,) int64, `NOWHERE` without one.

        With `stamps` only entries of that very source count: whatever the clocks of several machines say, an entry
        made from an older version of the file is never taken. Without, the newest counts.
        """
        return _last_rows(self.rows.sample_id, self.rows.stamp, sample_ids, stamps, usable=self.has_vector)

    def find_both(self, sample_ids: np.ndarray, stamps: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """`find`, and the quarantine record of each sample that has no entry (or an older one): two (n,) int64."""
        found = self.find(sample_ids, stamps)
        bad = _last_rows(self.rows.bad_id, self.rows.bad_stamp, sample_ids, stamps)
        both = np.flatnonzero((found != NOWHERE) & (bad != NOWHERE))
        # With stamps an entry of this very source is proof that it can be embedded; without, the later word counts.
        if stamps is None:
            both = both[self.source[found[both]] >= self.bad_source[bad[both]]]
        bad[both] = NOWHERE
        return found, bad

    def uncovered(self, sample_ids: np.ndarray, stamps: np.ndarray | None) -> np.ndarray:
        """Which samples are neither embedded nor quarantined: bool (N,)."""
        found, bad = self.find_both(sample_ids, stamps)
        return (found == NOWHERE) & (bad == NOWHERE)

    def others(self, sample_ids: np.ndarray) -> np.ndarray:
        """Ids that are known (embedded or quarantined) but not among `sample_ids`, in order of first appearance."""
        import pandas as pd

        known = pd.Index(
            np.concatenate([self.rows.sample_id[self.has_vector], self.rows.bad_id]), dtype=object
        ).unique()
        return known[positions_in(unique_index(sample_ids), known) == NOWHERE].to_numpy()


class SeenDigests:
    """A set of digest keys that grows a batch at a time and takes 16 bytes each, where a Python set takes a hundred.

    Sorted runs, the smaller merged into the larger as they grow: of n keys there are about log2(n) runs at a time.
    """

    def __init__(self) -> None:
        self._runs: list[np.ndarray] = []

    def add(self, keys: np.ndarray) -> None:
        """Takes in keys (n,), as `digest_keys` makes them."""
        self._runs.append(np.sort(keys))
        while len(self._runs) > 1 and len(self._runs[-2]) <= 2 * len(self._runs[-1]):
            self._runs[-2:] = [np.sort(np.concatenate(self._runs[-2:]), kind="stable")]

    def has(self, keys: np.ndarray) -> np.ndarray:
        """Which keys are in it: bool (n,)."""
        return np.logical_or.reduce([places(run, keys)[1] for run in self._runs] or [np.zeros(len(keys), bool)])


def as_ids(sample_ids: Sequence[str] | np.ndarray) -> np.ndarray:
    """Sample ids as an object array of str."""
    return object_array([str(sample) for sample in sample_ids])


def as_stamps(stamps: Sequence[int] | np.ndarray) -> np.ndarray:
    """Source stamps as uint64."""
    return np.asarray(stamps, dtype=np.uint64)


def as_digests(digests: Sequence[str] | np.ndarray) -> np.ndarray:
    """Digests of 32 hexadecimal digits as (n, 16) uint8; ValueError where one is something else."""
    texts = [str(digest) for digest in digests]
    odd = next((text for text in texts if len(text) != 2 * DIGEST_BYTES), None)
    if odd is not None:
        raise ValueError(f"a content digest has {2 * DIGEST_BYTES} hexadecimal digits, got {odd!r}")
    return np.frombuffer(bytes.fromhex("".join(texts)), dtype=np.uint8).reshape(len(texts), DIGEST_BYTES)


def digest_keys(digests: np.ndarray) -> np.ndarray:
    """(n, 16) uint8 as (n,) fixed-length bytes to look up. numpy drops NULs at the end; that is still one to one."""
    return np.ascontiguousarray(digests).view(f"S{DIGEST_BYTES}").reshape(-1)


def places(ordered: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where keys stand among ordered ones, (n,) int64, and whether they do, (n,) bool."""
    if not len(ordered):
        return np.zeros(len(keys), np.int64), np.zeros(len(keys), bool)
    place = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    return place, ordered[place] == keys


def _last_rows(
    ids: np.ndarray,
    id_stamps: np.ndarray,
    sample_ids: np.ndarray,
    stamps: np.ndarray | None,
    usable: np.ndarray | bool = True,
) -> np.ndarray:
    """The last usable row of each sample among `ids`, where `stamps` are given of that stamp: (n,) int64, `NOWHERE`."""
    place = positions_in(unique_index(sample_ids), ids)
    counts = (place != NOWHERE) & usable
    if stamps is not None and len(stamps):
        counts &= id_stamps == stamps[place]
    rows = np.flatnonzero(counts)
    found = np.full(len(sample_ids), NOWHERE, dtype=np.int64)
    found[place[rows]] = rows  # ascending, so the newest is assigned last
    return found


def positions_in(index: pd.Index, values: np.ndarray | pd.Index) -> np.ndarray:
    """Where each value stands in a unique index: (n,) int64, `NOWHERE` where it does not."""
    import pandas as pd

    return index.get_indexer(pd.Index(values, dtype=object))


def unique_index(sample_ids: np.ndarray) -> pd.Index:
    """An index to look sample ids up in; CacheError where an id occurs twice."""
    import pandas as pd

    index = pd.Index(sample_ids, dtype=object)
    if not index.is_unique:
        twice = index[index.duplicated()].unique()
        raise CacheError(f"sample ids must be unique; twice or more: {one_of(map(repr, twice), most=3)}.")
    return index


def _numbers(counts: Sequence[int]) -> np.ndarray:
    """`[2, 3]` -> `[0, 0, 1, 1, 1]`."""
    return np.repeat(np.arange(len(counts), dtype=np.int64), counts)
