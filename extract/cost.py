"""Time and disk space of a run before it starts, from what is cached and a few images tried."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..base import usable_cores
from ..cache import CacheDraft, EmbeddingCache
from ..cache.spec import Precision
from ..manifests import Manifest

if TYPE_CHECKING:  # torch, which is not needed where everything is embedded
    from .backbone import Backbone
    from .engine import Shard
    from .loader import Decoded, Input

_TRIED = 8
"""Images that are decoded and embedded to find out how long they take."""
_INDEX_BYTES = 64
"""Of a row besides its vectors: id (compressed), digest, stamp, checksums."""


@dataclass(frozen=True)
class BackboneCost:
    """What one backbone would have to do."""

    backbone: str
    rows: int
    """Of the manifest, or of the shard."""
    cached: int
    """Rows that are embedded."""
    bytes_published: int
    """Size of the cache, of all rows of the manifest."""
    to_do: int = 0
    """Rows whose file is there and not embedded yet, or in another version."""
    seconds_each: float | None = None
    """Mean computing time of an image; None where none had to be, or could be, tried."""
    bytes_segments: int = 0
    """What the segments take besides, until they are published."""


@dataclass(frozen=True)
class CostEstimate:
    """What a whole run would do."""

    backbones: list[BackboneCost]
    to_decode: int = 0
    """Images that any backbone lacks; each is decoded once."""
    unreadable: int = 0
    """Of the manifest's files, those that are not there or may not be read."""
    tried: int = 0
    """Images that were decoded, and embedded, to find out how long they take."""
    decode_seconds_each: float | None = None
    """Time of one process to decode an image and make its inputs; None where none had to be, or could be, tried."""
    seconds: float | None = 0.0
    """Of the whole run on this device; None where unknown."""


def estimate_cost(
    manifest: Manifest,
    backbones: Sequence[Backbone],
    store: Path | str,
    *,
    workers: int | None = None,
    shard: Shard | None = None,
) -> CostEstimate:
    """Says what `extract` would do with the same arguments; writes nothing.

    Times come from eight of the images (all, where fewer are to do), spread over what there is to do: decoded in this
    process, embedded twice, the second time counts. A run on a CPU decodes and computes on the same
    cores, so their times add up; with a GPU the slower of both counts. Images whose pixels have a vector already, under
    another id or in another data set of the store, are only decoded, so that a run may take less.

    Raises:
        CacheError: a published cache is damaged.
        OutputError: the store cannot be made.

    Examples:
        >>> from medprobe.extract import estimate_cost, load_backbone
        >>> backbone = load_backbone("timm:test_vit@random", device="cpu", runtime="torch")
        >>> estimate_cost(manifest, [backbone], folder / "planned", workers=0).to_decode
        60
    """
    from .engine import rows_of_shard

    drafts = [CacheDraft.open(store, manifest.name, backbone.spec) for backbone in backbones]
    stamps, unreadable = manifest.stamps()
    mine = rows_of_shard(len(manifest), shard)
    missing = [mine & draft.missing(manifest.sample_ids, stamps) for draft in drafts]
    lacking = [one & (unreadable == "") for one in missing]
    rows = np.flatnonzero(np.logical_or.reduce(lacking))
    transforms = [one.input for one, lack in zip(backbones, lacking, strict=True) if lack.any()]
    decoding, batch = _try_decoding(manifest, rows, transforms)
    costs = []
    for backbone, miss, lack in zip(backbones, missing, lacking, strict=True):
        to_do = int(lack.sum())
        costs.append(
            BackboneCost(
                backbone=backbone.name,
                rows=int(mine.sum()),
                cached=int((mine & ~miss).sum()),
                to_do=to_do,
                seconds_each=_try_embedding(backbone, batch) if to_do and batch else None,
                bytes_published=_bytes_published(len(manifest), backbone.dims, backbone.spec.precision),
                bytes_segments=to_do * (4 * sum(backbone.dims.values()) + _INDEX_BYTES),
            )
        )
    return CostEstimate(
        backbones=costs,
        to_decode=len(rows),
        unreadable=int((mine & (unreadable != "")).sum()),
        tried=len(batch.rows) if batch else 0,
        decode_seconds_each=decoding,
        seconds=_whole(costs, len(rows), decoding, backbones[0].device.type, workers),
    )


def cost_of_finished(caches: Sequence[EmbeddingCache], rows: int) -> CostEstimate:
    """What `estimate_cost` gives where these caches hold all `rows` of the manifest; no network is needed for it."""
    sizes = [_bytes_published(rows, cache.dims, cache.computed_with.precision) for cache in caches]
    costs = [BackboneCost(one.spec.backbone, rows, rows, size) for one, size in zip(caches, sizes, strict=True)]
    return CostEstimate(costs)


def _bytes_published(rows: int, dims: Mapping[str, int], precision: Precision) -> int:
    return rows * (sum(dims.values()) * (2 if precision == "bf16" else 4) + _INDEX_BYTES)


def _try_decoding(
    manifest: Manifest, rows: np.ndarray, transforms: Sequence[Input]
) -> tuple[float | None, Decoded | None]:
    """Seconds to decode an image in one process, and some that were decoded; None where there is none."""
    if not len(rows):
        return None, None
    tried = rows[np.unique(np.linspace(0, len(rows) - 1, _TRIED).astype(int))]
    from .loader import decode

    start = time.perf_counter()
    [batch] = decode(manifest.sources(), tried, transforms, batch_size=len(tried), workers=0)
    seconds = time.perf_counter() - start
    return (seconds / len(tried), batch) if batch.rows else (None, None)


def _try_embedding(backbone: Backbone, batch: Decoded) -> float:
    images = batch.keep(np.ones(len(batch.rows), bool), backbone.input)
    backbone.embed(images)  # pays for what a device does only once
    start = time.perf_counter()
    backbone.embed(images)
    return (time.perf_counter() - start) / len(images)


def _whole(
    costs: Sequence[BackboneCost], to_decode: int, decoding: float | None, device: str, workers: int | None
) -> float | None:
    if not to_decode:
        return 0.0
    if decoding is None:
        return None
    computing = sum(one.to_do * (one.seconds_each or 0.0) for one in costs)
    if workers == 0:
        return computing + to_decode * decoding
    if device == "cpu":
        return computing + to_decode * decoding / usable_cores()
    from .loader import default_workers

    return max(computing, to_decode * decoding / (workers or default_workers()))
