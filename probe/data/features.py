"""Checks of features, and which of the caches' features are probed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...base import ProbeError, did_you_mean, one_of
from ...cache import EmbeddingCache
from ..estimators._validation import LARGEST


def check_values(X: np.ndarray, sample_ids: np.ndarray, where: str) -> None:
    """Makes sure that no embedding holds NaN, an infinity, or a number whose square float32 cannot add up.

    Raises:
        ProbeError: some do; says how many and which samples.
    """
    low, high = X.min(), X.max()  # NaN if any value is
    if low >= -LARGEST and high <= LARGEST:
        return
    finite = np.isfinite(X).all(axis=1)
    bad = np.flatnonzero(~finite) if not finite.all() else np.flatnonzero((np.abs(X) > LARGEST).any(axis=1))
    what = f"values beyond {LARGEST:g}" if finite.all() else "NaN or infinite values"
    samples = one_of([f'"{sample}"' for sample in sample_ids[bad]], most=5)
    raise ProbeError(
        f"{where}: {len(bad):,} of {len(X):,} embeddings hold {what}, of the samples {samples}."
        " Remove this cache and extract again, in fp32 if it was bf16."
    )


def constant_features(name: str, X: np.ndarray) -> list[str]:
    """A message about constant columns of the features called `name`, if there are any."""
    count = int(is_constant(X).sum())
    return [f"{name}: constant features: {count:,} of {X.shape[1]:,}"] if count else []


def is_constant(X: np.ndarray) -> np.ndarray:
    """(D,) bool: the columns of X (N, D) with one value in all rows."""
    return X.min(axis=0) == X.max(axis=0)


def choose_poolings(caches: Sequence[EmbeddingCache], poolings: str | Sequence[str] | None) -> list[tuple[int, str]]:
    """The features to probe, as (position of the cache, pooling): all by default, else those named.

    Raises:
        ProbeError: no cache has one of the poolings named (all such are in the message).
    """
    if poolings is None:
        return [(i, pooling) for i, cache in enumerate(caches) for pooling in cache.poolings]
    poolings = [poolings] if isinstance(poolings, str) else poolings
    there = sorted({pooling for cache in caches for pooling in cache.poolings})
    unknown = [pooling for pooling in poolings if pooling not in there]
    if unknown:
        near = "".join(did_you_mean(pooling, there) for pooling in unknown)
        raise ProbeError(f"no cache has the pooling {one_of(unknown)}; there are {one_of(there)}.{near}")
    wanted = list(dict.fromkeys(poolings))
    chosen = [(i, pooling) for i, cache in enumerate(caches) for pooling in wanted if pooling in cache.poolings]
    used = {i for i, _ in chosen}
    without = [label for i, label in enumerate(backbone_labels(caches)) if i not in used]
    if without:
        raise ProbeError(
            f"{one_of(without)}: none of the poolings {one_of(wanted)} is in its cache; name one that is"
            f" (there are {one_of(there)}), or leave --pooling out to use all."
        )
    return chosen


def backbone_labels(caches: Sequence[EmbeddingCache]) -> list[str]:
    """The name of each cache's backbone in the results: its own, `name@fingerprint` where several share it."""
    names = [cache.spec.backbone for cache in caches]
    labels = zip(names, caches, strict=True)
    return [name if names.count(name) == 1 else f"{name}@{cache.spec.fingerprint}" for name, cache in labels]
