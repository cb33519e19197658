"""From caches to features: which units every cache covers, and one checked vector for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...base import CacheError, ProbeError, did_you_mean, one_of
from ...cache import EmbeddingCache
from ...manifests import Manifest, Units
from ..estimators._validation import LARGEST
from .fusion import PREDICTIONS, Cells, aggregate_into, check_aggregation, covered


@dataclass(frozen=True, eq=False)
class Coverage:
    """The samples and units that all caches can speak for, so that every backbone is judged on the same ones."""

    rows: np.ndarray
    """(M,) rows of the manifest, in the order of their sample ids."""
    sample_ids: np.ndarray
    """(M,) their ids."""
    unit: np.ndarray
    """(M,) position of each one's unit among the usable units."""
    usable: np.ndarray
    """(U,) bool."""
    modality: np.ndarray | None
    """(M,) or None."""
    warnings: list[str]
    """What was left out, in words."""

    @property
    def units(self) -> int:
        """Usable units."""
        return int(self.usable.sum())


def find_coverage(manifest: Manifest, units: Units, caches: Sequence[EmbeddingCache], aggregation: str) -> Coverage:
    """Finds what all caches hold. Quarantined samples are left out, with a warning; missing ones are a fault.

    Raises:
        CacheError: a cache is of another data set, or samples were never extracted (says what to run).
        ProbeError: nothing is left, or the aggregation is unknown or impossible here.
    """
    _require_own(manifest, caches)
    check_aggregation(aggregation)
    if aggregation == "concat" and units.modality is None:
        raise ProbeError(f"{manifest.name}: aggregation by concat needs the column `modality`; add it, or use mean.")
    ids = manifest.sample_ids
    quarantined = {sample for cache in caches for sample in cache.quarantine}
    kept = np.fromiter((sample not in quarantined for sample in ids), bool, len(ids))
    for cache in caches:
        cache.rows_of(ids[[sample not in cache.quarantine for sample in ids]])
    rows = np.flatnonzero(kept)
    rows = rows[np.argsort(ids[rows], kind="stable")]
    modality = None if units.modality is None else units.modality[rows]
    if aggregation == "concat":
        _require_modalities(manifest, units, modality)
    usable = covered(units.sample_unit[rows], len(units), how=aggregation, modality=modality)
    if not usable.any():
        raise ProbeError(
            f"{manifest.name}: no unit has the samples it needs; see the quarantine in `medprobe cache show`."
        )
    inside = usable[units.sample_unit[rows]]
    rows = rows[inside]
    position = np.cumsum(usable) - 1
    return Coverage(
        rows=rows,
        sample_ids=ids[rows],
        unit=position[units.sample_unit[rows]],
        usable=usable,
        modality=None if modality is None else modality[inside],
        warnings=_left_out(int((~kept).sum()), len(ids), int((~usable).sum()), len(usable), aggregation),
    )


def _require_own(manifest: Manifest, caches: Sequence[EmbeddingCache]) -> None:
    """Sample ids such as `train/0001.png` occur in many data sets, so they do not tell one from another."""
    for cache in caches:
        if cache.dataset != manifest.name:
            raise CacheError(
                f'{cache.path.name}: holds embeddings of the data set "{cache.dataset}", the manifest is of'
                f' "{manifest.name}". Run `medprobe extract` on this manifest, or give the other one.'
            )
    named = [(cache.spec.backbone, cache.spec.fingerprint) for cache in caches]
    twice = sorted(
        {f"{backbone}@{fingerprint}" for backbone, fingerprint in named if named.count((backbone, fingerprint)) > 1}
    )
    if twice:
        raise ProbeError(f"the same embeddings are given twice: {one_of(twice)}; give each cache once.")


def _require_modalities(manifest: Manifest, units: Units, modality: np.ndarray | None) -> None:
    lost = sorted(
        set(units.modality if units.modality is not None else ()) - set(modality if modality is not None else ())
    )
    if lost:
        raise ProbeError(
            f"{manifest.name}: no sample of the modality {one_of(lost)} could be embedded, so no unit is complete;"
            " see the quarantine in `medprobe cache show`, or fuse by mean."
        )


def load_features(
    cache: EmbeddingCache, pooling: str, coverage: Coverage, aggregation: str, *, out: np.ndarray | None = None
) -> np.ndarray:
    """One vector per usable unit, (U', D) float32; where predictions are fused, one per covered sample, (M, D).

    Where a unit has one sample, its vector is read straight to its place, so that memory holds the matrix once.

    Args:
        cache: of embeddings.
        pooling: which of its matrices.
        coverage: of the manifest by all caches.
        aggregation: as was given to `find_coverage`.
        out: C-contiguous, of the shape said by `features_shape`, to be filled and returned.

    Raises:
        CacheError: there is no such pooling, or the file is damaged.
        ProbeError: a value is not finite or too large (says which samples), or all vectors are the same.
    """
    cells = _cells(coverage, aggregation)
    if out is None:
        out = np.empty(features_shape(cache, pooling, coverage, aggregation), np.float32)
    order = cells.order
    ids = coverage.sample_ids[order]
    in_place = out.reshape(-1, cache.dim(pooling)) if cells.single else None
    X = cache.load(pooling, rows=cache.rows_of(ids), out=in_place)
    where = f"{cache.path.name}, {pooling}"
    check_values(X, ids, where)
    if len(X) > 1 and _constant(X).all():
        raise ProbeError(
            f"{where}: all {len(X):,} embeddings are the same vector, so there is nothing to learn from. Look at the"
            " images (are they all blank?) and extract again."
        )
    if in_place is None:
        aggregate_into(out, X, cells.taken(order), aggregation)
    return out


def features_shape(cache: EmbeddingCache, pooling: str, coverage: Coverage, aggregation: str) -> tuple[int, int]:
    """Rows and columns of what `load_features` gives.

    Raises:
        CacheError: there is no such pooling.
    """
    cells = _cells(coverage, aggregation)
    return cells.units, cells.apart * cache.dim(pooling)


def _cells(coverage: Coverage, aggregation: str) -> Cells:
    if aggregation == PREDICTIONS:
        return Cells(np.arange(len(coverage.rows)), len(coverage.rows), 1)
    return Cells.of(coverage.unit, coverage.units, how=aggregation, modality=coverage.modality)


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


def on_columns(name: str, X: np.ndarray) -> list[str]:
    """What a reader must be told of the columns of the features called `name`."""
    count = int(_constant(X).sum())
    told = f"{name}: useless columns (one value for all units): {count:,} of {X.shape[1]:,}"
    return [told] if count else []


def _constant(X: np.ndarray) -> np.ndarray:
    return X.min(axis=0) == X.max(axis=0)


def choose_poolings(caches: Sequence[EmbeddingCache], poolings: str | Sequence[str] | None) -> list[tuple[int, str]]:
    """The features to probe, as (position of the cache, pooling): all by default, else those named.

    Raises:
        ProbeError: no cache has one of the poolings named (all such are told).
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
    """How each cache's backbone is called in the results: by its name, `name@fingerprint` where several share it."""
    names = [cache.spec.backbone for cache in caches]
    labels = zip(names, caches, strict=True)
    return [name if names.count(name) == 1 else f"{name}@{cache.spec.fingerprint}" for name, cache in labels]


def _left_out(samples: int, all_samples: int, units: int, all_units: int, aggregation: str) -> list[str]:
    told = []
    if samples:
        told.append(f"{samples:,} of {all_samples:,} samples could not be embedded and are left out (quarantined)")
    if units:
        why = " (a modality is missing)" if aggregation == "concat" else ""
        told.append(f"{units:,} of {all_units:,} units have no embedding{why} and are left out, for every backbone")
    return told
