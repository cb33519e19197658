"""The frozen vectors of a backbone that is fine-tuned: the cache that the probes have, or a new one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ..base import CacheError, QuarantineError, progress
from ..base.errors import FinetuneError
from ..base.text import first_line
from ..cache import CacheDraft, EmbeddingCache, EmbeddingSpec, find_caches
from ..extract import Backbone, extract, load_backbone
from ..extract.adapters import ADAPTERS
from ..extract.engine import Report, title
from ..manifests import Manifest


def load_trainable(manifest: Manifest, loading: Mapping[str, Any], device: str) -> Backbone:
    """The backbone in torch and fp32, with one pooling: what is trained, whatever made its cache.

    Raises:
        FinetuneError: several poolings are requested.
        BackboneError, WeightsError: as `load_backbone`.
    """
    if len(loading.get("poolings") or ()) > 1:
        raise FinetuneError(f"{loading['name']}: a network is trained on one vector; name one pooling.")
    how = {"runtime": "torch", "precision": "fp32", "reading": manifest.card.reading}
    backbone = load_backbone(**{**loading, **how}, device=device)
    if backbone.own_input or not ADAPTERS[backbone.entry.source].trainable:
        raise FinetuneError(
            f"{backbone.name}: only networks of torch can be trained, not one in a file of its own nor an encoder; "
            "have python:MODULE:FUNCTION give the torch.nn.Module itself."
        )
    return backbone


def embeddings_of(
    manifest: Manifest,
    backbone: Backbone,
    loading: Mapping[str, Any],
    store: Path,
    *,
    device: str,
    workers: int | None,
    show_progress: bool,
    notice: Callable[[str], None],
    stop: Callable[[], None],
) -> EmbeddingCache:
    """The published cache with this backbone's vectors, completed or made where it has to be.

    Runtime and precision may be any: a cache that the probes have used counts first, so that the rows of both are of
    one backbone. An image that cannot be embedded is skipped, with a notice; `stop` is called after each batch.

    Raises:
        CacheError: the cache is damaged.
        BackboneError, OutputError, WorkerError: as `extract`.
    """
    found = _published(manifest, backbone.spec, store)
    if found is not None and _is_up_to_date(found, manifest, store):
        return found
    how: dict[str, Any] = {"reading": manifest.card.reading}
    if found is not None:
        spec = found.computed_with
        how |= {"poolings": spec.poolings, "runtime": spec.runtime, "precision": spec.precision}

    @contextmanager
    def show(total: int) -> Iterator[Report]:
        with progress(title(manifest, total, None), total, unit="images", enabled=show_progress) as bar:

            def report(images: int, pace: object) -> None:
                bar.advance(images, note=str(pace))
                stop()

            yield report

    frozen = load_backbone(**{**loading, **how}, device=device)
    try:
        [cache] = extract(manifest, [frozen], store, workers=workers, progress=show, notice=notice)
    except QuarantineError as error:
        notice(f"note: {first_line(error)}")
        cache = _published(manifest, frozen.spec, store)
        if cache is None:
            raise
    return cache


def _published(manifest: Manifest, spec: EmbeddingSpec, store: Path) -> EmbeddingCache | None:
    """The cache with the vectors of `spec`, by whatever runtime and in whatever precision."""
    try:
        caches = find_caches(store, manifest.name, [spec.backbone])
    except CacheError:
        return None
    same = [
        cache
        for cache in caches
        if isinstance(cache.spec, EmbeddingSpec)
        and set(spec.poolings) <= set(cache.poolings)
        and replace(cache.spec, poolings=spec.poolings, runtime=spec.runtime, precision=spec.precision) == spec
    ]
    return max(same, key=lambda cache: (_is_up_to_date(cache, manifest, store), cache.spec.fingerprint), default=None)


def _is_up_to_date(cache: EmbeddingCache, manifest: Manifest, store: Path) -> bool:
    """Whether it has every image, as its file is now."""
    ids = pd.Index(manifest.sample_ids)
    if not (ids.isin(cache.sample_ids) | ids.isin(list(cache.quarantine))).all():
        return False  # what segments of an unfinished extraction have does not count
    stamps, _ = manifest.stamps()
    return CacheDraft.open(store, manifest.name, cache.computed_with).is_complete(manifest.sample_ids, stamps)
