"""The batch engine: every sample through every backbone, each image decoded once, each result kept at once."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from ..base import ImageError, QuarantineError, progress
from ..cache import CacheDraft, EmbeddingCache
from ..manifests import Manifest, source_stamp
from .backbone import Backbone
from .device import default_batch_size, describe, is_out_of_memory
from .loader import Decoded, decode, default_workers
from .meter import Meter

Shard = tuple[int, int]
"""This shard's number, from 1, and how many there are."""


def extract(
    manifest: Manifest,
    backbones: Sequence[Backbone],
    store: Path | str,
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    shard: Shard | None = None,
    show_progress: bool = True,
) -> list[EmbeddingCache]:
    """Embeds every sample of `manifest` with every backbone, decoding each image once, and publishes the caches.

    Samples that are embedded already, in a published cache or in a segment that an earlier run left, are skipped; a
    killed run goes on where it was. An image that cannot be embedded is quarantined with its reason.

    Args:
        manifest: what to embed.
        backbones: with what; all on their devices.
        store: the folder of all caches.
        batch_size: images a batch; the default suits the device. Halved when the device runs out of memory.
        workers: decoding processes; 0 decodes in this process. The default is all cores but one.
        shard: (i, n), i from 1: do only every n-th row. The shard that finds all others done publishes.
        show_progress: a bar, or a line a minute where the output is no terminal.

    Returns:
        The published caches, in the order of `backbones`; with shards, only those that are complete by now.

    Raises:
        QuarantineError: at the end, when some images could not be embedded; everything else is published.
        CacheError: a published cache is damaged.
        OutputError: the disk is full or the store cannot be written; what is finished stays.
    """
    run = _Run(manifest, backbones, Path(store), batch_size or default_batch_size(backbones[0].device))
    rows = run.rows_to_do(shard)
    try:
        with progress(f"Embedding {manifest.name}", len(rows), unit="images", enabled=show_progress) as bar:
            batches = decode(
                run.sources,
                rows,
                sorted({backbone.transform for backbone in backbones}, key=repr),
                batch_size=run.batch_size,
                workers=default_workers() if workers is None else workers,
            )
            for batch in run.meter.waiting(batches):
                run.take(batch)
                bar.advance(len(batch.rows) + len(batch.failures), note=run.meter.note())
    finally:
        run.flush()
    caches = run.publish()
    run.require_no_quarantine()
    return caches


class _Run:
    """One run of the engine: the drafts it fills and what it knows of its samples."""

    def __init__(self, manifest: Manifest, backbones: Sequence[Backbone], store: Path, batch_size: int) -> None:
        self.manifest, self.backbones, self.batch_size = manifest, list(backbones), batch_size
        self.sources = manifest.sources()
        self.sample_ids = manifest.sample_ids
        self.drafts = [CacheDraft.open(store, manifest.name, backbone.spec) for backbone in backbones]
        self.meter = Meter()
        self.stamps, self.unreadable = _stamps(manifest)
        self.lacking = [draft.missing(self.sample_ids, self.stamps) for draft in self.drafts]

    def rows_to_do(self, shard: Shard | None) -> list[int]:
        """Rows of this shard that any backbone lacks; files that are not there are quarantined at once."""
        number, count = shard or (1, 1)
        mine = np.arange(len(self.manifest)) % count == number - 1
        todo = mine & np.logical_or.reduce(self.lacking)
        unreadable = self.unreadable != ""
        bad = np.flatnonzero(todo & unreadable)
        if len(bad):
            self._quarantine(self.drafts, bad.tolist(), self.unreadable[bad].tolist())
        return np.flatnonzero(todo & ~unreadable).tolist()

    def take(self, batch: Decoded) -> None:
        """Embeds one batch with every backbone that lacks any of it."""
        if batch.failures:
            rows, reasons = zip(*batch.failures, strict=True)
            self._quarantine(self.drafts, list(rows), list(reasons))
        if not batch.rows:
            return
        with self.meter.computing(len(batch.rows)):
            for backbone, draft, lacking in zip(self.backbones, self.drafts, self.lacking, strict=True):
                self._embed(batch, lacking[batch.rows], backbone, draft)

    def _embed(self, batch: Decoded, lacking: np.ndarray, backbone: Backbone, draft: CacheDraft) -> None:
        rows = np.array(batch.rows)
        digests = np.array(batch.digests)
        known = lacking & draft.has_content(batch.digests)
        if known.any():
            draft.append_known(self.sample_ids[rows[known]], digests[known], self.stamps[rows[known]])
        new = lacking & ~known
        if not new.any():
            return
        vectors = self._vectors(backbone, batch.keep(new, backbone.transform))
        finite = np.logical_and.reduce([np.isfinite(matrix).all(axis=1) for matrix in vectors.values()])
        good, bad = rows[new][finite], rows[new][~finite]
        if len(bad):
            self._quarantine([draft], bad.tolist(), ["the network gave NaN or infinity for it"] * len(bad))
        if len(good):
            kept = {pooling: matrix[finite] for pooling, matrix in vectors.items()}
            draft.append(self.sample_ids[good], digests[new][finite], self.stamps[good], kept)

    def _vectors(self, backbone: Backbone, images: torch.Tensor) -> dict[str, np.ndarray]:
        """Embeds a batch in parts that fit the device's memory, halving the parts as often as need be."""
        while True:
            try:
                parts = [backbone.embed(part) for part in images.split(self.batch_size)]
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self.batch_size == 1:
                    raise
            else:
                return {pooling: np.concatenate([part[pooling] for part in parts]) for pooling in backbone.dims}
            # Outside the except clause, where the failed batch is no longer held by the traceback.
            self.batch_size = max(1, self.batch_size // 2)
            if backbone.device.type == "cuda":
                torch.cuda.empty_cache()

    def _quarantine(self, drafts: Sequence[CacheDraft], rows: list[int], reasons: list[str]) -> None:
        for draft in drafts:
            draft.quarantine(self.sample_ids[rows], self.stamps[rows], reasons)

    def flush(self) -> None:
        """Writes what the drafts still hold in memory."""
        for draft in self.drafts:
            draft.flush()

    def publish(self) -> list[EmbeddingCache]:
        """Publishes the caches that are complete; with shards, another process may have more to do."""
        caches = []
        for backbone, draft in zip(self.backbones, self.drafts, strict=True):
            draft.refresh()
            if draft.is_complete(self.sample_ids, self.stamps):
                caches.append(
                    draft.publish(
                        self.sample_ids,
                        stamps=self.stamps,
                        device=describe(backbone.device),
                        versions=_versions(backbone.entry.source),
                        throughput=self.meter.summary(),
                    )
                )
        return caches

    def require_no_quarantine(self) -> None:
        """Speaks of the images that were set aside.

        Raises:
            QuarantineError: there are any.
        """
        reasons: dict[str, str] = {}
        for draft in self.drafts:
            reasons.update(draft.quarantined(self.sample_ids, self.stamps))
        if not reasons:
            return
        told = "".join(f"\n  {sample}: {reason}" for sample, reason in list(reasons.items())[:10])
        rest = f"\n  and {len(reasons) - 10:,} more" if len(reasons) > 10 else ""
        raise QuarantineError(
            f"{len(reasons):,} of {len(self.sample_ids):,} images could not be embedded (all others are):{told}{rest}\n"
            "Mend or remove them and run the same command again; `medprobe cache show` lists them."
        )


def _stamps(manifest: Manifest) -> tuple[np.ndarray, np.ndarray]:
    """The stamp of each row's file (N,) uint64, and why it has none (N,) object, empty text where it has one.

    Each file is asked once, however many frames of it the manifest names.
    """
    known: dict[Path, tuple[int, str]] = {}
    stamps = np.zeros(len(manifest), np.uint64)
    reasons = np.full(len(manifest), "", object)
    for row, source in enumerate(manifest.sources()):
        if source.path not in known:
            try:
                known[source.path] = source_stamp(source.path), ""
            except ImageError as error:
                known[source.path] = 0, str(error)
        stamps[row], reasons[row] = known[source.path]
    return stamps, reasons


def _versions(source: str) -> dict[str, str]:
    names = ("torch", {"timm": "timm", "hf": "transformers", "open_clip": "open_clip_torch"}[source], "pillow")
    return {name: version(name) for name in names}
