"""Publishing: the segments and the older cache become one verified file under the published name.

`make_plan` decides what the file will hold, `write_published` writes it block by block in bounded memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..base import CacheError, one_of
from .embedding_cache import EmbeddingCache
from .hdf5 import SCHEMA, DamagedError, Matrix, check_seal, chunk_rows, hdf5_from, put_attributes, put_matrix, put_seal
from .index import (
    NOWHERE,
    STORED,
    Index,
    MergedIndex,
    get_index,
    get_trained_on,
    positions_in,
    put_index,
    put_trained_on,
    unique_index,
)
from .locking import new_file
from .segments import Snapshot, identity
from .spec import EmbeddingSpec, Spec

_BLOCK_BYTES = 2 * 2**20
"""Of float32 vectors: what a finaliser holds in memory at a time (and half of it again for float16)."""
_HALF_MAX = float(np.finfo(np.float16).max)
_HALF_SMALLEST = 2.0**-13
"""Twice the smallest normal float16."""


class OvertakenError(Exception):
    """Another process has published this cache meanwhile; what it wrote has to be included first."""


@dataclass(frozen=True)
class Plan:
    """What a published file will hold, decided before a byte of it is written."""

    index: Index
    """The rows and the quarantined samples, in order."""
    own: int
    """How many rows, the first ones, are samples of the manifest; the rest are other samples of the same name."""

    def is_published_as(self, published: Index | None) -> bool:
        """True when `published` holds the same samples, pixels and stamps, and the same quarantine.

        The order of rows counts too, unless the file has samples besides ours: then two manifests share it, and neither
        may make it be written again each time the other has been used.
        """
        if published is None:
            return False
        rows = positions_in(unique_index(published.sample_id), self.index.sample_id)
        if len(rows) != len(published.sample_id) or (rows == NOWHERE).any():
            return False
        if self.own == len(rows) and not np.array_equal(rows, np.arange(len(rows))):
            return False
        same = np.array_equal(published.digest[rows], self.index.digest)
        same = same and np.array_equal(published.stamp[rows], self.index.stamp)
        return same and published.quarantine() == self.index.quarantine()


def make_plan(known: MergedIndex, sample_ids: np.ndarray, stamps: np.ndarray | None) -> Plan:
    """Rows for the embedded of `sample_ids` in their order, then for all other known samples.

    Raises:
        CacheError: samples are neither embedded nor quarantined, an id occurs twice, or nothing is embedded at all.
    """
    left = sample_ids[known.uncovered(sample_ids, stamps)]
    if len(left):
        raise CacheError(
            f"{len(left):,} of {len(sample_ids):,} samples are not embedded (e.g. {one_of(map(repr, left), most=3)}). "
            "Run the same command again (every shard of it); it embeds only what is missing."
        )
    others = known.others(sample_ids)
    # The stamps are of the manifest's samples; of any other the newest entry counts.
    parts = [(ids, *known.find_both(ids, times)) for ids, times in ((sample_ids, stamps), (others, None))]
    ids, entry, bad = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    is_row, is_bad = (entry != NOWHERE) & (bad == NOWHERE), bad != NOWHERE
    if not is_row.any():
        reasons = [f"{ids[i]!r}: {known.rows.bad_reason[bad[i]]}" for i in np.flatnonzero(is_bad)[:3]]
        raise CacheError(
            f"none of the {len(ids):,} samples could be embedded ({'; '.join(reasons)}); nothing is published."
        )
    index = Index(
        sample_id=ids[is_row],
        digest=known.rows.digest[entry[is_row]],
        stamp=known.rows.stamp[entry[is_row]],
        vector_digest=known.rows.digest[entry[is_row]],
        bad_id=ids[is_bad],
        bad_stamp=known.rows.bad_stamp[bad[is_bad]],
        bad_reason=known.rows.bad_reason[bad[is_bad]],
        dims=known.dims,
    )
    return Plan(index, own=int(is_row[: len(sample_ids)].sum()))


@dataclass(frozen=True)
class Description:
    """What a cache says of itself besides its rows."""

    dataset: str
    spec: Spec
    device: str
    versions: Mapping[str, str]
    throughput: Mapping[str, Any]
    imported: Mapping[str, Any] = field(default_factory=dict)
    """Where imported vectors come from."""
    trained_on: np.ndarray | None = None
    """(T, 16) uint8: digests of the images that a fine-tuned network was trained on; None where that is not known."""

    def attributes(self, index: Index) -> dict[str, Any]:
        """The attributes of the file."""
        return {
            "schema": SCHEMA,
            "kind": "embeddings",
            "dataset": self.dataset,
            "spec": self.spec.to_json(),
            "fingerprint": self.spec.fingerprint,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "device": self.device,
            "versions": {
                "medprobe": version("medprobe"),
                "numpy": np.__version__,
                "h5py": h5py.__version__,
                "hdf5": h5py.version.hdf5_version,
                **self.versions,
            },
            "throughput": dict(self.throughput),
            "quarantined": len(index.bad_id),
            **({"imported": dict(self.imported)} if self.imported else {}),
        }


def write_published(path: Path, plan: Plan, snapshot: Snapshot, about: Description) -> Snapshot:
    """Writes the published file: block by block under another name, fsynced, read back, renamed.

    Returns what is on disk when the segments of `snapshot` are removed.

    Raises:
        OvertakenError: another file was published since `snapshot`.
        DamagedError: a source is damaged.
        OutputError: the file cannot be written.
    """
    dtypes = _first_dtypes(path, about.spec, plan.index.dims)
    while True:
        try:
            return _write(path, plan.index, snapshot, about, dtypes)
        except DoesNotFitError as error:
            dtypes[error.pooling] = np.dtype(np.float32)


def _write(
    path: Path, index: Index, snapshot: Snapshot, about: Description, dtypes: Mapping[str, np.dtype]
) -> Snapshot:
    written = Snapshot()

    def finish(temporary: Path) -> None:
        nonlocal written
        written = Snapshot(identity(temporary), replace(index, path=path))  # a rename changes none of it
        if identity(path) != snapshot.identity:
            raise OvertakenError

    with cache_file(path, index, about, before_rename=finish) as file:
        for pooling, dtype in dtypes.items():
            write_matrix(file, pooling, dtype, snapshot.index, index.digest)
    return written


@contextmanager
def cache_file(
    path: Path, index: Index, about: Description, *, before_rename: Callable[[Path], None] = lambda _: None
) -> Iterator[h5py.File]:
    """Writes a published file around the matrices that the block puts: sealed, read back (`check_written`), renamed."""

    def check(temporary: Path) -> None:
        check_written(temporary, about, index)
        before_rename(temporary)

    with new_file(path, before_rename=check) as file:
        put_attributes(file, about.attributes(index))
        put_index(file, index)
        if about.trained_on is not None:
            put_trained_on(file, index, about.trained_on)
        yield file
        put_seal(file)


def _first_dtypes(path: Path, spec: Spec, dims: Mapping[str, int]) -> dict[str, np.dtype]:
    """float16 for what was computed in bf16, unless the published matrix of it already needed float32."""
    is_bf16 = isinstance(spec, EmbeddingSpec) and spec.precision == "bf16"
    wanted = np.dtype(np.float16 if is_bf16 else np.float32)
    dtypes = dict.fromkeys(dims, wanted)
    if path.exists():
        needed = EmbeddingCache.open(path).info["dtypes"]
        dtypes.update({pooling: np.dtype(np.float32) for pooling, dtype in needed.items() if dtype == "float32"})
    return dtypes


class DoesNotFitError(Exception):
    """The values of this pooling do not fit float16; the file has to be written with float32."""

    def __init__(self, pooling: str) -> None:
        super().__init__(pooling)
        self.pooling = pooling


class HalfFit:
    """Whether values that were computed in bfloat16 lose nothing that counts when they are stored as float16.

    float16 has 11 significant bits to bfloat16's 8 but a narrower range. They fit when every value is at most 65504,
    and every column either reaches 2**-13 somewhere (then an error of the subnormal range is at most 2**-12 of the
    column's largest value, 16 times finer than bfloat16's own rounding of it) or is exactly representable.
    """

    def __init__(self, dim: int) -> None:
        self.peak = np.zeros(dim, np.float32)
        self.inexact = np.zeros(dim, bool)

    def add(self, block: np.ndarray, half: np.ndarray) -> bool:
        """Takes in a block and its float16 version; False when it cannot fit, whatever else comes."""
        np.maximum(self.peak, np.maximum(block.max(axis=0), -block.min(axis=0)), out=self.peak)
        small = np.flatnonzero((self.peak < _HALF_SMALLEST) & ~self.inexact)
        self.inexact[small] = (block[:, small] != half[:, small]).any(axis=0)
        return bool(self.peak.max(initial=0.0) <= _HALF_MAX)

    @property
    def fits(self) -> bool:
        """The verdict on all blocks."""
        return bool(((self.peak >= _HALF_SMALLEST) | ~self.inexact).all())


def write_matrix(file: h5py.File, pooling: str, dtype: Any, known: MergedIndex, digests: np.ndarray) -> None:
    """Writes the vectors of `digests` as `embedding/<pooling>`, sealed.

    Raises:
        DoesNotFitError: `dtype` is float16 and the values are too large or too small for it.
        CacheError: a source is damaged, or a value is not finite.
    """
    rows, dim, half = len(digests), known.dims[pooling], np.dtype(dtype) == np.float16
    step = chunk_rows(rows, dim * np.dtype(dtype).itemsize)
    step *= max(1, _BLOCK_BYTES // (4 * dim * step))  # whole chunks, so that each is written once
    source, row = known.locate(digests)

    def blocks() -> Iterator[np.ndarray]:
        fit = HalfFit(dim)
        for start in range(0, rows, step):
            block = np.empty((min(step, rows - start), dim), np.float32)
            part = slice(start, start + len(block))
            _gather(block, known, pooling, source[part], row[part])
            if not np.isfinite(block).all():
                raise CacheError(
                    f"embedding/{pooling}: a vector is not finite; please report this, with the backbone's name."
                )
            with np.errstate(over="ignore"):
                stored = block.astype(np.float16) if half else block
            if half and not fit.add(block, stored):
                raise DoesNotFitError(pooling)
            yield stored
        if half and not fit.fits:
            raise DoesNotFitError(pooling)

    put_matrix(file, pooling, (rows, dim), dtype, blocks())


def _gather(out: np.ndarray, known: MergedIndex, pooling: str, source: np.ndarray, row: np.ndarray) -> None:
    """Fills `out` with the vectors at `source`, `row`; opens each source once."""
    for number in np.unique(source):
        places = np.flatnonzero(source == number)
        with hdf5_from(known.sources[number].path) as file:
            Matrix(file, pooling).read(out, row[places], places)


def check_written(path: Path, about: Description, meant: Index) -> None:
    """DamagedError where a file that was just written, read back from the disk, is not what was meant."""
    try:
        with hdf5_from(path) as file:
            check_seal(file)
            index = get_index(file, path, about.spec, segment=False)
            if about.trained_on is not None:
                get_trained_on(file)
            same = all(np.array_equal(getattr(index, column), getattr(meant, column)) for column in STORED)
            for pooling in index.dims:
                Matrix(file, pooling).check()
    except DamagedError:
        same = False
    if not same:
        raise DamagedError(
            f"{path.parent.name}: the disk gave back other bytes than were written; nothing was published and nothing"
            " is lost. Check the disk (or the network file system), then run the same command again."
        )
