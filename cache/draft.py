"""A cache being written: small segment files that survive a kill, made into one published file at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..base import CacheError
from ..base.files import sweep
from .embedding_cache import EmbeddingCache
from .hdf5 import DamagedError, GoneError, encode
from .index import NOWHERE, Index, SeenDigests, as_digests, as_ids, as_stamps, digest_keys
from .locking import exclusive
from .other_sets import OtherSets
from .publish import Description, OvertakenError, make_plan, write_published
from .segments import (
    Pending,
    Snapshot,
    check_can_exist,
    checked_vectors,
    read_snapshot,
    set_aside_damaged,
    write_segment,
)
from .spec import EmbeddingSpec, parts_folder, published_path

_TRIES = 8

Texts = Sequence[str] | np.ndarray
Stamps = Sequence[int] | np.ndarray


class CacheDraft:
    """One cache in the making. Several processes, on one machine or many, may hold a draft of the same cache at once.

    Not safe for use from several threads. As a context manager it flushes at the end, also after an exception.

    Attributes:
        path: the published file, there or not.
        parts: the folder of segments, there or not.
        taken: how many samples got their vectors from the cache of another data set, by its name.

    Examples:
        >>> import numpy as np
        >>> from medprobe.cache import CacheDraft
        >>> spec, stamps = caches[0].spec, manifest.stamps()[0]
        >>> digests = [f"{number:032x}" for number in range(len(manifest))]
        >>> with CacheDraft.open(folder / "store", "lesions", spec) as draft:
        ...     draft.append(manifest.sample_ids, digests, stamps, {"mean": np.ones((len(manifest), 16), np.float32)})
        ...     cache = draft.publish(manifest.sample_ids, stamps=stamps, device="cpu")
        >>> len(cache)
        60
    """

    def __init__(
        self, path: Path, dataset: str, spec: EmbeddingSpec, *, segment_rows: int, segment_seconds: float
    ) -> None:
        self.path, self.dataset, self.spec = path, dataset, spec
        self.parts = parts_folder(path)
        self.segment_rows, self.segment_seconds = segment_rows, segment_seconds
        self._pending = Pending()
        self._new = SeenDigests()
        self._others = OtherSets(path)
        self.taken: Counter[str] = Counter()
        check_can_exist(path.parent)
        sweep(self.parts)
        sweep(path.parent)
        self._snapshot = read_snapshot(path, dataset, spec, Snapshot())
        self._dims = self._snapshot.index.dims

    @classmethod
    def open(
        cls,
        store: Path | str,
        dataset: str,
        spec: EmbeddingSpec,
        *,
        segment_rows: int = 4096,
        segment_seconds: float = 30.0,
    ) -> CacheDraft:
        """Opens the draft of `dataset` under `spec`, reading what is embedded already (published or in segments).

        Args:
            store: the folder of all caches; need not exist.
            dataset: the data set's name (`manifest.name`).
            spec: what the embeddings are made with.
            segment_rows: a segment is written after this many samples, or...
            segment_seconds: ...at the first `append` this many seconds after its first sample. A kill loses at most
                the segment in flight.

        Raises:
            CacheError: the published file is damaged or of another schema.
        """
        path = published_path(Path(store), dataset, spec)
        return cls(path, dataset, spec, segment_rows=segment_rows, segment_seconds=segment_seconds)

    def refresh(self) -> None:
        """Flushes, and reads from disk what other processes have written since.

        Raises:
            CacheError: the published file is damaged or of another schema.
            OutputError: as `flush`.
        """
        self.flush()
        self._take(read_snapshot(self.path, self.dataset, self.spec, self._snapshot))

    def _take(self, snapshot: Snapshot) -> None:
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            self._dims = {**self._dims, **snapshot.index.dims}
            self._new = SeenDigests()

    def known(self) -> np.ndarray:
        """The ids of all samples that are embedded, published or not: object array of str."""
        self.refresh()
        return np.unique(self._snapshot.index.rows.sample_id[self._snapshot.index.has_vector])

    def missing(self, sample_ids: Texts, stamps: Stamps) -> np.ndarray:
        """Which samples have to be decoded: bool (N,).

        False where an entry with that id *and* that source stamp exists. A file that was touched or copied to another
        disk has another stamp: it is decoded, its digest is known (`has_content`), and only its entry is renewed.

        Raises:
            CacheError: an id occurs twice.
        """
        self.refresh()
        return self._snapshot.index.find(as_ids(sample_ids), as_stamps(stamps)) == NOWHERE

    def has_content(self, digests: Texts) -> np.ndarray:
        """Which pixels have a vector already, under whatever id: bool (n,). Digests are 32 hexadecimal digits."""
        return self._has_content(as_digests(digests))

    def _has_content(self, digests: np.ndarray) -> np.ndarray:
        return self._new.has(digest_keys(digests)) | self._snapshot.index.has_content(digests)

    def append(
        self,
        sample_ids: Texts,
        digests: Texts,
        stamps: Stamps,
        vectors: Mapping[str, np.ndarray],
    ) -> None:
        """Adds B embedded samples.

        Args:
            sample_ids: their ids.
            digests: of their decoded pixels, 32 hexadecimal digits each.
            stamps: of their source files.
            vectors: (B, D) float32 per pooling of the spec. Of samples with equal pixels one vector is kept.

        Raises:
            CacheError: a value is not finite, or poolings or lengths are not the cache's.
            OutputError: a segment was due and cannot be written; what was appended is still held.
        """
        ids, keys, times = _columns(sample_ids, digests, stamps)
        checked = checked_vectors(vectors, self.spec, ids, self._dims)
        if not len(ids):
            return
        self._dims = {pooling: matrix.shape[1] for pooling, matrix in checked.items()}
        first = np.unique(digest_keys(keys), return_index=True)[1]
        fresh = np.sort(first[~self._has_content(keys[first])])
        new = {pooling: matrix[fresh] for pooling, matrix in checked.items()} if len(fresh) else None
        self._pending.add(Index(sample_id=ids, digest=keys, stamp=times, vector_digest=keys[fresh]), new)
        self._new.add(digest_keys(keys[fresh]))
        self._flush_if_due()

    def append_known(self, sample_ids: Texts, digests: Texts, stamps: Stamps) -> None:
        """Adds entries of samples whose pixels have a vector already.

        Raises:
            ValueError: one has none (`has_content` tells).
            OutputError: as `append`.
        """
        ids, keys, times = _columns(sample_ids, digests, stamps)
        known = self._has_content(keys)
        if not known.all():
            raise ValueError(f"{(~known).sum()} samples have no vector yet, e.g. {ids[np.argmin(known)]!r}")
        self._pending.add(Index(sample_id=ids, digest=keys, stamp=times))
        self._flush_if_due()

    def append_from_others(self, sample_ids: Texts, digests: Texts, stamps: Stamps) -> np.ndarray:
        """Adds those samples whose pixels have a vector in the cache of another data set of the store: bool (B,).

        Under whatever ids, of the same spec. The vectors are copied now, so that the other cache may be deleted later.
        One that is damaged, or goes away, is used no more, with a warning.

        Raises:
            OutputError: as `append`.
        """
        ids, keys, times = _columns(sample_ids, digests, stamps)
        texts, done = as_ids(digests), np.zeros(len(ids), bool)
        for other in self._others if len(ids) else ():
            rows = np.flatnonzero(~done)[other.has(keys[~done])]
            try:
                if len(rows):
                    self.append(ids[rows], texts[rows], times[rows], other.vectors(keys[rows]))
            except CacheError as error:
                self._others.leave_out(other, error)
                continue
            done[rows] = True
            self.taken[other.cache.dataset] += len(rows)
        return done

    def quarantine(self, sample_ids: Texts, stamps: Stamps, reasons: Sequence[str]) -> None:
        """Records samples that cannot be embedded, for every process to see; the next run tries them again.

        Raises:
            OutputError: as `append`.
        """
        ids, times = as_ids(sample_ids), as_stamps(stamps)
        encode(ids)
        # A reason comes out of a damaged file and may hold anything.
        clean = ["".join(letter if letter.isprintable() else "?" for letter in str(reason)) for reason in reasons]
        if not len(ids) == len(times) == len(clean):
            raise ValueError(f"got {len(ids)} ids, {len(times)} stamps and {len(clean)} reasons")
        self._pending.add(Index(bad_id=ids, bad_stamp=times, bad_reason=as_ids(clean)))
        self._flush_if_due()

    def _flush_if_due(self) -> None:
        if self._pending.samples >= self.segment_rows or self._pending.age_s >= self.segment_seconds:
            self.flush()

    def flush(self) -> None:
        """Writes what was appended as a segment, now. Once it returns, neither a kill nor a power cut takes it away.

        Raises:
            OutputError: it cannot be written; it is still held, so that a later `flush` may succeed.
        """
        if self._pending.samples:
            write_segment(self.parts, self.spec, *self._pending.as_segment())
            self._pending = Pending()

    def uncovered(self, sample_ids: Texts, stamps: Stamps | None = None) -> np.ndarray:
        """Which samples are neither embedded (with `stamps`, from that very source) nor quarantined: bool (N,)."""
        self.refresh()
        return self._snapshot.index.uncovered(as_ids(sample_ids), _optional(stamps))

    def is_complete(self, sample_ids: Texts, stamps: Stamps | None = None) -> bool:
        """Whether every sample is embedded (with `stamps`, from that very source) or quarantined, by any process.

        Of several shards, any that finds this true publishes; two that find it at once do no harm.
        """
        return not self.uncovered(sample_ids, stamps).any()

    def quarantined(self, sample_ids: Texts, stamps: Stamps | None = None) -> dict[str, str]:
        """The reason, by id, of each of `sample_ids` that could not be embedded, by any process.

        As of the last `refresh`, or of what reads the disk as it does (`known`, `is_complete`, `publish`).
        """
        ids, index = as_ids(sample_ids), self._snapshot.index
        _, bad = index.find_both(ids, _optional(stamps))
        return {str(ids[i]): str(index.rows.bad_reason[bad[i]]) for i in np.flatnonzero(bad != NOWHERE)}

    def finished(self, sample_ids: Texts, stamps: Stamps) -> EmbeddingCache | None:
        """The published cache where every sample is embedded and `publish` would leave it as it is, else None.

        Raises:
            CacheError: as `publish`.
        """
        if self.missing(sample_ids, stamps).any() or self.parts.is_dir():
            return None
        plan = make_plan(self._snapshot.index, as_ids(sample_ids), as_stamps(stamps))
        return EmbeddingCache.open(self.path) if plan.is_published_as(self._snapshot.published) else None

    def publish(
        self,
        sample_ids: Texts,
        *,
        stamps: Stamps | None = None,
        device: str = "",
        versions: Mapping[str, str] | None = None,
        throughput: Mapping[str, Any] | None = None,
        trained_on: np.ndarray | None = None,
    ) -> EmbeddingCache:
        """Makes the published file. When it holds the same already, it stays as it is.

        Args:
            sample_ids: the manifest's, in order; rows are in this order, without quarantined samples. Samples that are
                known but not among them (of a larger manifest of the same name) follow, so that nothing is lost.
            stamps: of the sources now; with them no embedding of an older version of a file is ever published.
            device: what the vectors were computed on.
            versions: of the libraries that computed them.
            throughput: of the run, JSON-like.
            trained_on: (T, 16) uint8, digests of the images that a fine-tuned network was trained on, where known.

        Raises:
            CacheError: samples are neither embedded nor quarantined (says how many; those of damaged segments, which
                are set aside, are so from then on), or the published file is damaged.
            OutputError: the file cannot be written; the older one and all segments are untouched.
        """
        self.refresh()
        ids, times = as_ids(sample_ids), _optional(stamps)
        how = {"device": device, "versions": versions or {}, "throughput": throughput or {}}
        about = Description(self.dataset, self.spec, **how, trained_on=trained_on)
        plan = make_plan(self._snapshot.index, ids, times)
        if self.parts.is_dir() or not plan.is_published_as(self._snapshot.published):
            # Otherwise no permission to write is needed. A killed process may have left the folder with a lock alone.
            with exclusive(self.parts / ".lock"):
                after = self._publish_latest(ids, times, about)
                for path in [*self._snapshot.segments, *self.parts.glob("*.damaged")]:
                    path.unlink(missing_ok=True)  # they are published now; others may have come since, and stay
                self._take(after)
        return EmbeddingCache.open(self.path)

    def _publish_latest(self, ids: np.ndarray, stamps: np.ndarray | None, about: Description) -> Snapshot:
        """Plans and writes until no other process has come in between; what is on disk without the segments."""
        for _ in range(_TRIES):
            self.refresh()
            plan = make_plan(self._snapshot.index, ids, stamps)
            if plan.is_published_as(self._snapshot.published):
                return replace(self._snapshot, segments={})
            try:
                return write_published(self.path, plan, self._snapshot, about)
            except (OvertakenError, GoneError, FileNotFoundError):
                continue
            except DamagedError as error:
                if error.path is None or error.path.parent != self.parts:
                    raise
                # All damaged ones now; the next plan shows what has to be embedded again.
                set_aside_damaged(self._snapshot.segments)
        raise CacheError(f"{self.path.name}: other processes keep publishing it; run the same command again.")

    def __enter__(self) -> CacheDraft:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()


def _optional(stamps: Stamps | None) -> np.ndarray | None:
    return None if stamps is None else as_stamps(stamps)


def _columns(sample_ids: Texts, digests: Texts, stamps: Stamps) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Entries as arrays; refused now if they could not be written later, so that one bad id never blocks a segment."""
    ids, keys, times = as_ids(sample_ids), as_digests(digests), as_stamps(stamps)
    if not len(ids) == len(keys) == len(times):
        raise ValueError(f"got {len(ids)} ids, {len(keys)} digests and {len(times)} stamps")
    encode(ids)
    return ids, keys, times
