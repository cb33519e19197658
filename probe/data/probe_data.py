"""What a run probes: the units of one manifest, or of two of which the first is trained on and the second tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ...base import CacheError, ProbeError, one_of
from ...cache import EmbeddingCache
from ...manifests import Manifest, Units
from .features import Coverage, features_shape, find_coverage, load_features


@dataclass(frozen=True, eq=False)
class SplitSource:
    """A manifest with its caches, and what they can speak for."""

    manifest: Manifest
    units: Units
    caches: Sequence[EmbeddingCache]
    coverage: Coverage

    @classmethod
    def of(cls, manifest: Manifest, caches: Sequence[EmbeddingCache], aggregation: str) -> SplitSource:
        """Finds out what the caches cover; raises what `find_coverage` does."""
        units = manifest.units()
        return cls(manifest, units, caches, find_coverage(manifest, units, caches, aggregation))


@dataclass(frozen=True, eq=False)
class ProbeData:
    """One manifest or two, their units beside each other."""

    sides: tuple[SplitSource, ...]
    """Of the manifest that is trained on; and of the one that is tested, where that is another."""
    units: Units
    """U units: those of the first manifest, then those of the second."""

    @cached_property
    def usable(self) -> np.ndarray:
        """(U,) bool: the units that every cache can speak for."""
        return np.concatenate([side.coverage.usable for side in self.sides])

    @cached_property
    def row_unit(self) -> np.ndarray:
        """(M,) position, among the usable units, of the unit of each covered sample."""
        before = np.cumsum([0, *(side.coverage.units for side in self.sides[:-1])])
        return np.concatenate([s.coverage.unit + start for s, start in zip(self.sides, before, strict=True)])

    @property
    def warnings(self) -> list[str]:
        """What was left out, in words."""
        if len(self.sides) == 1:
            return list(self.sides[0].coverage.warnings)
        return [f"{side.manifest.name}: {told}" for side in self.sides for told in side.coverage.warnings]

    def features(self, cache: int, pooling: str, aggregation: str) -> np.ndarray:
        """One vector per usable unit, (U', D) float32; where predictions are fused, one per covered sample, (M, D)."""
        caches = [side.caches[cache] for side in self.sides]
        shapes = [
            features_shape(c, pooling, side.coverage, aggregation) for c, side in zip(caches, self.sides, strict=True)
        ]
        X = np.empty((sum(rows for rows, _ in shapes), shapes[0][1]), np.float32)
        start = 0
        for its_cache, side, (rows, _) in zip(caches, self.sides, shapes, strict=True):
            load_features(its_cache, pooling, side.coverage, aggregation, out=X[start : start + rows])
            start += rows
        return X


def concat_units(trained: Units, tested: Units) -> Units:
    """The units of two manifests as one: those of the second follow, and so do its groups.

    A group id that stands in both is two groups: a number that two hospitals give is seldom the same patient.
    `split` is `train` for the first and `test` for the second, whatever their manifests say.
    """
    modality = None
    if trained.modality is not None and tested.modality is not None:
        modality = np.concatenate([trained.modality, tested.modality])
    return Units(
        unit_id=np.concatenate([trained.unit_id, tested.unit_id]),
        group=np.concatenate([trained.group, tested.group + len(trained.group_id)]),
        group_id=np.concatenate([trained.group_id, tested.group_id]),
        split=np.repeat(np.array(["train", "test"], "<U5"), [len(trained), len(tested)]),
        y=np.concatenate([trained.y, tested.y]),
        sample_unit=np.concatenate([trained.sample_unit, tested.sample_unit + len(trained)]),
        attributes=pd.concat([trained.attributes, tested.attributes], ignore_index=True),
        modality=modality,
    )


def align_classes(trained: Manifest, tested: Manifest) -> Manifest:
    """`tested` with its classes in the order of `trained`, so that a label has the same code in both.

    Raises:
        ProbeError: task or classes differ, and how; or they are one and the same data set.
    """
    names = f'"{trained.name}" and "{tested.name}"'
    if trained.card.task != tested.card.task:
        raise ProbeError(
            f"{names} are of different tasks, {trained.card.task} and {tested.card.task}; a probe fitted on one cannot"
            " be tested on the other."
        )
    if trained.digest == tested.digest:
        raise ProbeError(f"{names} have the same ids, labels and splits: give another cohort to test on.")
    ours, theirs = trained.card.classes, tested.card.classes
    if set(ours) != set(theirs):
        sides = [(trained.name, set(ours) - set(theirs)), (tested.name, set(theirs) - set(ours))]
        alone = [f'{one_of(sorted(only))} in "{name}" alone' for name, only in sides if only]
        raise ProbeError(
            f"{names} have different classes: {' and '.join(alone)}. Give both the same classes: rename them, or take"
            " those that one lacks out of the other's card and table."
        )
    if trained.card.task == "ordinal" and list(ours) != list(theirs):
        raise ProbeError(f"{names} have the same classes in another order, which for an ordinal task is another scale.")
    return Manifest(tested.table, tested.card.model_copy(update={"classes": list(ours)}), tested.path)


def require_same_modalities(trained: SplitSource, tested: SplitSource) -> None:
    """Makes sure that vectors put side by side by modality mean the same in both manifests.

    Raises:
        ProbeError: they do not have the same modalities.
    """
    ours, theirs = (set() if s.coverage.modality is None else set(s.coverage.modality) for s in (trained, tested))
    if ours != theirs:
        raise ProbeError(
            f'"{trained.manifest.name}" has the modalities {one_of(sorted(ours))}, "{tested.manifest.name}" has'
            f" {one_of(sorted(theirs))}: their vectors by concat are not the same thing. Fuse by mean or predictions."
        )


def matched(trained: Sequence[EmbeddingCache], tested: Sequence[EmbeddingCache]) -> list[EmbeddingCache]:
    """Of the caches `tested` the one of the same spec for each of `trained`, in their order.

    Raises:
        CacheError: some have none; says which, and which specs of that backbone there are.
    """
    by_fingerprint = {cache.spec.fingerprint: cache for cache in tested}
    lacking = [cache for cache in trained if cache.spec.fingerprint not in by_fingerprint]
    if lacking:
        told = [_lack(cache, tested) for cache in lacking]
        raise CacheError(
            f"the external manifest has no embeddings of the same making by {one_of(told)}. Both need the same weights,"
            " transform, pooling and precision: run `medprobe extract` on the external manifest with the settings of"
            " the first, or name other backbones with --backbone."
        )
    return [by_fingerprint[cache.spec.fingerprint] for cache in trained]


def _lack(cache: EmbeddingCache, others: Sequence[EmbeddingCache]) -> str:
    same = [other.spec.fingerprint for other in others if other.spec.backbone == cache.spec.backbone]
    there = f"there it is {one_of(same)}" if same else "there it is not at all"
    return f"{cache.spec.backbone} (spec {cache.spec.fingerprint}; {there})"
