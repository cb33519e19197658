"""The batch engine: every sample through every backbone, each image decoded once, each result kept at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ..base import BackboneError, CacheError, QuarantineError
from ..base import progress as progress_bar
from ..cache import CacheDraft, EmbeddingCache
from ..manifests import Manifest
from .backbone import Backbone
from .catalogue import LIBRARIES
from .device import batch_sizes, describe
from .loader import Decoded, decode, default_workers, geometry, input_bytes
from .throughput import Batches, Meter, Pace, remember

Report = Callable[[int, Pace], None]
"""Called after each batch: how many images it had, and how fast the run is."""
Progress = Callable[[int], AbstractContextManager[Report]]
"""Given the number of images to embed, shows their progress while its block runs."""
Shard = tuple[int, int]
"""This shard's number, from 1, and how many there are."""

_ATTEMPTS = 3
"""To embed everything: what is lost because a segment was damaged is embedded again in the same run."""
_BATCH_BYTES = 64 * 2**20
"""What a batch of inputs may take in memory, all geometries together."""
_LEAST_ROWS = 32
"""Of a batch, however few rows there are for each worker."""


def extract(
    manifest: Manifest,
    backbones: Sequence[Backbone],
    store: Path | str,
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    shard: Shard | None = None,
    show_progress: bool = True,
    progress: Progress | None = None,
    notice: Callable[[str], None] = lambda _: None,
) -> list[EmbeddingCache]:
    """Embeds every sample of `manifest` with every backbone, decoding each image once, and publishes the caches.

    Samples that are embedded already, in a published cache or in a segment that an earlier run left, are skipped; a
    killed run goes on where it was. Pixels that were embedded under another id, or in another data set of the store,
    are decoded and not embedded again. An image that cannot be embedded is quarantined with its reason.

    Args:
        manifest: what to embed.
        backbones: with what; all on their devices.
        store: the folder of all caches.
        batch_size: images per batch; by default it grows, per backbone, while that is faster. Halved when the device
            runs out of memory.
        workers: decoding processes; 0 decodes in this process. The default is all cores but one.
        shard: (i, n), i from 1: do only every n-th row. The shard that finds all others done publishes.
        show_progress: a bar, or a line a minute where the output is not a terminal.
        progress: shows the progress in another way.
        notice: called with how many vectors were taken from the caches of other data sets.

    Returns:
        The published caches, in the order of `backbones`; with shards, only those that are complete by now.

    Raises:
        BackboneError: a backbone was loaded with another intensity policy than the manifest's, or one image does not
            fit the device's memory.
        QuarantineError: at the end, when some images could not be embedded; everything else is published.
        CacheError: a published cache is damaged.
        OutputError: the disk is full or the store cannot be written; what is finished stays.
        WorkerError: a decoding process was killed; what is finished stays.

    Examples:
        >>> from medprobe.extract import extract, load_backbone
        >>> backbone = load_backbone("timm:test_vit@random", device="cpu", runtime="torch")
        >>> [cache] = extract(manifest, [backbone], folder / "extracted", workers=0, show_progress=False)
        >>> len(cache), cache.dims
        (60, {'cls': 64})
    """
    workers = default_workers() if workers is None else workers
    run = _Run(manifest, backbones, Path(store), batch_size, workers, shard)
    for _ in range(_ATTEMPTS):
        run.embed(progress or _bar(manifest, shard, enabled=show_progress))
        run.remember_batch_sizes()
        caches = run.publish()
        if not any(lacking.any() for lacking in run.lacking):
            break
    else:
        raise CacheError(
            f"{store}: parts of the cache were damaged after they had been written, {_ATTEMPTS} times in a row. Check "
            "the disk (or the network file system), then run the same command again; what is whole is kept."
        )
    run.report_taken(notice)
    run.require_no_quarantine()
    return caches


def _bar(manifest: Manifest, shard: Shard | None, *, enabled: bool) -> Progress:
    @contextmanager
    def show(total: int) -> Iterator[Report]:
        with progress_bar(title(manifest, total, shard), total, unit="images", enabled=enabled) as bar:
            yield lambda images, pace: bar.advance(images, note=str(pace))

    return show


def title(manifest: Manifest, to_do: int, shard: Shard | None) -> str:
    """The label of the progress bar; with how many rows an earlier run has done."""
    here = int(rows_of_shard(len(manifest), shard).sum()) - to_do
    return f"Embedding {manifest.name}" + (f" ({here:,} done before)" if here else "")


class _Run:
    """One run of the engine: the drafts it fills and what it knows of its samples."""

    def __init__(
        self,
        manifest: Manifest,
        backbones: Sequence[Backbone],
        store: Path,
        batch_size: int | None,
        workers: int,
        shard: Shard | None,
    ) -> None:
        self.manifest, self.backbones, self.requested, self.workers = manifest, list(backbones), batch_size, workers
        for backbone in backbones:
            if backbone.spec.reading != manifest.card.reading.in_spec:
                raise BackboneError(
                    f"{backbone.name}: was loaded with another intensity policy than that of the card of "
                    f"{manifest.name}; call load_backbone with reading=manifest.card.reading."
                )
        self.batches = [Batches(backbone, batch_size) for backbone in backbones]
        self.sources = manifest.sources()
        self.sample_ids = manifest.sample_ids
        self.drafts = [CacheDraft.open(store, manifest.name, backbone.spec) for backbone in backbones]
        self.meter = Meter()
        self.stamps, self.unreadable = manifest.stamps()
        self.mine = rows_of_shard(len(manifest), shard)
        self.lacking = [self.mine & draft.missing(self.sample_ids, self.stamps) for draft in self.drafts]
        """For each backbone, which rows this run has to embed."""

        self.new = [0] * len(self.drafts)
        """How many vectors each backbone's cache did not have."""

    def embed(self, progress: Progress) -> None:
        """Embeds what is lacking, and keeps it in segments, whatever ends the run."""
        rows = self.rows_to_do()
        inputs = [one.input for one, lacking in zip(self.backbones, self.lacking, strict=True) if lacking[rows].any()]
        try:
            with progress(len(rows)) as report:
                batches = decode(
                    self.sources,
                    rows,
                    inputs,
                    batch_size=self.rows_a_batch(len(rows)),
                    workers=self.workers,
                )
                for batch in self.meter.waiting(batches):
                    self.take(batch)
                    report(len(batch.rows) + len(batch.failures), self.meter.pace)
                with self.meter.computing(0):
                    for one in self.batches:
                        one.finish()
        finally:
            for draft in self.drafts:
                draft.flush()

    def rows_to_do(self) -> np.ndarray:
        """Rows that any backbone lacks; files that are not there are quarantined at once."""
        todo = np.logical_or.reduce(self.lacking)
        unreadable = self.unreadable != ""
        bad = np.flatnonzero(todo & unreadable)
        if len(bad):
            self._quarantine(self.drafts, bad.tolist(), self.unreadable[bad].tolist())
        return np.flatnonzero(todo & ~unreadable)

    def rows_a_batch(self, rows: int) -> int:
        """Rows that are decoded as one batch: what the devices may be given at once, as far as it fits the memory.

        Fewer where `rows` would else keep only some of the workers busy, as each decodes whole batches.
        """
        if self.requested:
            return self.requested
        geometries = {geometry(backbone.input) for backbone in self.backbones}
        bytes_each = sum(math.prod(input_bytes(one)) for one in geometries)
        most = max(batch_sizes(backbone.device)[1] for backbone in self.backbones)
        share = max(_LEAST_ROWS, -(-rows // max(self.workers, 1)))
        return max(1, min(most, share, _BATCH_BYTES // bytes_each))

    def take(self, batch: Decoded) -> None:
        """Embeds one batch with every backbone that lacks any of it."""
        if batch.failures:
            rows, reasons = zip(*batch.failures, strict=True)
            self._quarantine(self.drafts, list(rows), list(reasons))
        if not batch.rows:
            return
        with self.meter.computing(len(batch.rows)):
            for number, lacking in enumerate(self.lacking):
                self._embed(batch, lacking[batch.rows], number)

    def _embed(self, batch: Decoded, lacking: np.ndarray, number: int) -> None:
        backbone, draft = self.backbones[number], self.drafts[number]
        rows = np.array(batch.rows)
        digests = np.array(batch.digests)
        known = lacking & draft.has_content(batch.digests)
        if known.any():
            draft.append_known(self.sample_ids[rows[known]], digests[known], self.stamps[rows[known]])
        new = lacking & ~known
        self.new[number] += int(new.sum())
        new[new] = ~draft.append_from_others(self.sample_ids[rows[new]], digests[new], self.stamps[rows[new]])
        if not new.any():
            return
        keep = partial(self._keep, draft, rows[new], digests[new])
        self.batches[number].embed(batch.keep(new, backbone.input), keep)

    def _keep(
        self, draft: CacheDraft, rows: np.ndarray, digests: np.ndarray, vectors: Mapping[str, np.ndarray]
    ) -> None:
        finite = np.logical_and.reduce([np.isfinite(matrix).all(axis=1) for matrix in vectors.values()])
        good, bad = rows[finite], rows[~finite]
        if len(bad):
            self._quarantine([draft], bad.tolist(), ["the network gave NaN or infinity for it"] * len(bad))
        if len(good):
            kept = {pooling: matrix[finite] for pooling, matrix in vectors.items()}
            draft.append(self.sample_ids[good], digests[finite], self.stamps[good], kept)

    def _quarantine(self, drafts: Sequence[CacheDraft], rows: list[int], reasons: list[str]) -> None:
        for draft in drafts:
            draft.quarantine(self.sample_ids[rows], self.stamps[rows], reasons)

    def remember_batch_sizes(self) -> None:
        """Keeps the sizes that were found, unless the user chose one."""
        for backbone, batches in zip(self.backbones, self.batches, strict=True):
            if self.requested is None and batches.size.found:
                remember(describe(backbone.device), backbone.spec.fingerprint, batches.size.now)

    def publish(self) -> list[EmbeddingCache]:
        """Publishes the caches that are complete; with shards, another process may have more to do.

        `lacking` is then what was lost in damaged segments.
        """
        caches = []
        for number, draft in enumerate(self.drafts):
            left = draft.uncovered(self.sample_ids, self.stamps)
            self.lacking[number] = left & self.mine
            if left.any():
                continue
            try:
                caches.append(self._publish(number))
            except CacheError:
                # All shards are done, so that no other process embeds what was lost.
                self.lacking[number] = draft.uncovered(self.sample_ids, self.stamps)
                if not self.lacking[number].any():
                    raise
        return caches

    def _publish(self, number: int) -> EmbeddingCache:
        backbone, size = self.backbones[number], self.batches[number].size
        return self.drafts[number].publish(
            self.sample_ids,
            stamps=self.stamps,
            device=describe(backbone.device),
            versions=_versions(backbone),
            throughput={**self.meter.summary(), "batch_size": size.now, "workers": self.workers},
            trained_on=backbone.trained_on,
        )

    def report_taken(self, notice: Callable[[str], None]) -> None:
        """Reports how many vectors were taken from the caches of other data sets."""
        for backbone, draft, new in zip(self.backbones, self.drafts, self.new, strict=True):
            for name, count in (+draft.taken).items():
                notice(f"{backbone.name}: {count:,} of {new:,} vectors were taken from {name} (equal pixels)")

    def require_no_quarantine(self) -> None:
        """Raises QuarantineError with the images that were quarantined, if there are any."""
        reasons: dict[str, str] = {}
        for draft in self.drafts:
            reasons.update(draft.quarantined(self.sample_ids, self.stamps))
        if not reasons:
            return
        listed = "".join(f"\n  {sample}: {reason}" for sample, reason in list(reasons.items())[:10])
        rest = f"\n  and {len(reasons) - 10:,} more" if len(reasons) > 10 else ""
        raise QuarantineError(
            f"{len(reasons):,} of {len(self.sample_ids):,} images could not be embedded; all others are.{listed}{rest}"
            "\nFix or remove them and run the same command again; `medprobe cache show` of the cache lists them."
        )


def rows_of_shard(rows: int, shard: Shard | None) -> np.ndarray:
    """Which of `rows` are the shard's, every n-th from the i-th: bool (rows,)."""
    number, count = shard or (1, 1)
    return np.arange(rows) % count == number - 1


def _versions(backbone: Backbone) -> dict[str, str]:
    library = LIBRARIES[backbone.entry.source]
    run_by = {"torch": ("torch",), "openvino": ("torch", "openvino")}[backbone.spec.runtime]
    return {name: version(name) for name in (*run_by, library, "pillow", "simplejpeg")}
