"""The units that a run probes, with one vector each: those of one manifest, or of two of which the second is tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ...base import CacheError, ProbeError, one_of
from ...cache import EmbeddingCache
from ...manifests import Manifest, Units
from .features import PREDICTIONS, Cells, aggregate_into, check_aggregation, check_values, covered, is_constant


@dataclass(frozen=True, eq=False)
class ProbeData:
    """The samples and units of a manifest that all its caches hold, so that every backbone is scored on the same ones.

    With `external`, probes are trained on this manifest and tested on that one; what begins with `all_` is of both.
    """

    manifest: Manifest
    caches: Sequence[EmbeddingCache]
    aggregation: str
    units: Units
    """U units, usable or not."""
    sample_ids: np.ndarray
    """(M,) ids of the usable samples, sorted."""
    unit: np.ndarray
    """(M,) position of the unit of each among the usable units."""
    usable: np.ndarray
    """(U,) bool."""
    modality: np.ndarray | None
    """(M,) or None."""
    skipped: list[str]
    """Messages about samples and units that are not used."""
    external: ProbeData | None = None

    @classmethod
    def of(cls, manifest: Manifest, caches: Sequence[EmbeddingCache], aggregation: str = "mean") -> ProbeData:
        """Finds what all caches hold. Quarantined samples are skipped, with a message; missing ones are an error.

        Raises:
            CacheError: a cache is of another data set, or samples were never extracted (says what to run).
            ProbeError: nothing is left, or the aggregation is unknown or impossible here.
        """
        _require_own(manifest, caches)
        check_aggregation(aggregation)
        units, ids = manifest.units(), manifest.sample_ids
        if aggregation == "concat" and units.modality is None:
            raise ProbeError(
                f"{manifest.name}: aggregation by concat needs the column `modality`; add it, or use mean."
            )
        quarantined = {sample for cache in caches for sample in cache.quarantine}
        kept = np.fromiter((sample not in quarantined for sample in ids), bool, len(ids))
        for cache in caches:
            cache.rows_of(ids[[sample not in cache.quarantine for sample in ids]])
        rows = np.flatnonzero(kept)
        rows = rows[np.argsort(ids[rows], kind="stable")]
        modality = None if units.modality is None else units.modality[rows]
        if aggregation == "concat":
            _require_modalities(manifest, units.modality, modality)
        usable = covered(units.sample_unit[rows], len(units), how=aggregation, modality=modality)
        if not usable.any():
            raise ProbeError(
                f"{manifest.name}: no unit has the samples it needs; see what is quarantined with"
                f" `medprobe cache show {caches[0].path}`."
            )
        inside = usable[units.sample_unit[rows]]
        return cls(
            manifest=manifest,
            caches=caches,
            aggregation=aggregation,
            units=units,
            sample_ids=ids[rows[inside]],
            unit=(np.cumsum(usable) - 1)[units.sample_unit[rows[inside]]],
            usable=usable,
            modality=None if modality is None else modality[inside],
            skipped=_skipped(kept, usable, aggregation),
        )

    def tested_on(self, manifest: Manifest, caches: Sequence[EmbeddingCache]) -> ProbeData:
        """With a second manifest to test on, which has the same classes, and its caches, of the same specs.

        Raises:
            CacheError, ProbeError: as for `of`, or the two manifests do not go together.
        """
        external = ProbeData.of(
            align_classes(self.manifest, manifest), _matched(self, manifest, caches), self.aggregation
        )
        if self.aggregation == "concat":
            _require_same_modalities(self, external)
        return replace(self, external=external)

    @property
    def parts(self) -> tuple[ProbeData, ...]:
        """This one; and the external one, where there is one."""
        return (self,) if self.external is None else (self, self.external)

    @property
    def all_units(self) -> Units:
        """The units of this manifest, then those of the external one."""
        return self.units if self.external is None else concat_units(self.units, self.external.units)

    @property
    def all_usable(self) -> np.ndarray:
        """(U,) bool, of `all_units`: those that every cache holds."""
        return np.concatenate([part.usable for part in self.parts])

    @property
    def all_sample_units(self) -> np.ndarray:
        """(M,) position in `all_units` of the unit of each usable sample."""
        starts = np.cumsum([0, *(part.usable.sum() for part in self.parts)])
        usable_unit = np.concatenate([part.unit + start for part, start in zip(self.parts, starts, strict=False)])
        return np.flatnonzero(self.all_usable)[usable_unit]

    @property
    def row_units(self) -> np.ndarray:
        """(R,) position in `all_units` of the unit of each row of `features`."""
        return self.all_sample_units if self.aggregation == PREDICTIONS else np.flatnonzero(self.all_usable)

    @property
    def all_skipped(self) -> list[str]:
        """Messages about what is not used."""
        names = [""] if self.external is None else [f"{part.manifest.name}: " for part in self.parts]
        return [name + text for name, part in zip(names, self.parts, strict=True) for text in part.skipped]

    def features(self, cache: int, pooling: str) -> np.ndarray:
        """One vector per usable unit of all, (R, D) float32; where predictions are averaged, one per usable sample.

        Args:
            cache: its position in `caches`.
            pooling: which of its matrices.

        Raises:
            CacheError, ProbeError: as for `load`.
        """
        shapes = [part.shape(part.caches[cache], pooling) for part in self.parts]
        X = np.empty((sum(rows for rows, _ in shapes), shapes[0][1]), np.float32)
        ends = np.cumsum([rows for rows, _ in shapes])
        for part, (rows, _), end in zip(self.parts, shapes, ends, strict=True):
            part.load(part.caches[cache], pooling, out=X[end - rows : end])
        return X

    def load(self, cache: EmbeddingCache, pooling: str, *, out: np.ndarray | None = None) -> np.ndarray:
        """The features of this manifest alone.

        Where a unit has one sample, its vector is read straight to its place, so that memory holds the matrix once.

        Args:
            cache: of embeddings.
            pooling: which of its matrices.
            out: C-contiguous, of the shape that `shape` gives, to be filled and returned.

        Raises:
            CacheError: there is no such pooling, or the file is damaged.
            ProbeError: a value is not finite or too large (says which samples), or all vectors are the same.
        """
        cells = self._cells
        if out is None:
            out = np.empty(self.shape(cache, pooling), np.float32)
        order = cells.order
        ids = self.sample_ids[order]
        in_place = out.reshape(-1, cache.dim(pooling)) if cells.single else None
        X = cache.load(pooling, rows=cache.rows_of(ids), out=in_place)
        where = f"{cache.path.name}, {pooling}"
        check_values(X, ids, where)
        if len(X) > 1 and is_constant(X).all():
            raise ProbeError(
                f"{where}: all {len(X):,} embeddings are the same vector, so there is nothing to learn from. Look at"
                " the images (are they all blank?) and extract again."
            )
        if in_place is None:
            aggregate_into(out, X, cells.taken(order), self.aggregation)
        return out

    def shape(self, cache: EmbeddingCache, pooling: str) -> tuple[int, int]:
        """Rows and columns of what `load` returns.

        Raises:
            CacheError: there is no such pooling.
        """
        cells = self._cells
        return cells.units, cells.apart * cache.dim(pooling)

    @property
    def _cells(self) -> Cells:
        if self.aggregation == PREDICTIONS:
            return Cells(np.arange(len(self.sample_ids)), len(self.sample_ids), 1)
        return Cells.of(self.unit, int(self.usable.sum()), how=self.aggregation, modality=self.modality)


def _skipped(kept: np.ndarray, usable: np.ndarray, aggregation: str) -> list[str]:
    messages = []
    if not kept.all():
        messages.append(
            f"{(~kept).sum():,} of {len(kept):,} samples could not be embedded and are skipped (quarantined)"
        )
    if not usable.all():
        why = " (a modality is missing)" if aggregation == "concat" else ""
        lost = f"{(~usable).sum():,} of {len(usable):,} units have no embedding{why}"
        messages.append(f"{lost} and are skipped, for every backbone")
    return messages


def _require_own(manifest: Manifest, caches: Sequence[EmbeddingCache]) -> None:
    """Sample ids such as `train/0001.png` occur in many data sets, so they do not tell one from another."""
    for cache in caches:
        if cache.dataset != manifest.name:
            raise CacheError(
                f'{cache.path.name}: holds embeddings of the data set "{cache.dataset}", the manifest is of'
                f' "{manifest.name}". Run `medprobe extract {manifest.path or "MANIFEST"}`, or give the other manifest.'
            )
    named = [f"{cache.spec.backbone}@{cache.spec.fingerprint}" for cache in caches]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise ProbeError(f"the same embeddings are given twice: {one_of(twice)}; give each cache once.")


def _require_modalities(manifest: Manifest, every: np.ndarray | None, embedded: np.ndarray | None) -> None:
    lost = sorted(_names(every) - _names(embedded))
    if lost:
        raise ProbeError(
            f"{manifest.name}: no sample of the modality {one_of(lost)} could be embedded, so no unit is complete;"
            " see what is quarantined in `medprobe cache show`, or aggregate by mean."
        )


def _names(modality: np.ndarray | None) -> set[str]:
    return set() if modality is None else set(modality)


def concat_units(trained: Units, tested: Units) -> Units:
    """The units of two manifests as one: those of the second follow, and so do its groups.

    A group id of both is two groups: the same number in two hospitals is seldom the same patient.
    `split` is `train` for the first and `test` for the second, whatever their manifests say.

    Examples:
        >>> from medprobe.probe import concat_units
        >>> both = concat_units(manifest.units(), manifest.units())
        >>> len(both), both.split[[0, -1]].tolist()
        (120, ['train', 'test'])
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
        raise ProbeError(f"{names} have the same ids, labels and splits: give another data set to test on.")
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


def _require_same_modalities(trained: ProbeData, tested: ProbeData) -> None:
    """Makes sure that the columns of concatenated vectors mean the same in both manifests.

    Raises:
        ProbeError: they do not have the same modalities.
    """
    ours, theirs = _names(trained.modality), _names(tested.modality)
    if ours != theirs:
        raise ProbeError(
            f'"{trained.manifest.name}" has the modalities {one_of(sorted(ours))}, "{tested.manifest.name}" has'
            f" {one_of(sorted(theirs))}: their vectors by concat are not comparable. Aggregate by mean or predictions."
        )


def _matched(trained: ProbeData, manifest: Manifest, tested: Sequence[EmbeddingCache]) -> list[EmbeddingCache]:
    """Of the caches `tested` the one of the same spec for each of `trained`, in their order.

    Raises:
        CacheError: some have none; says which, and which specs of that backbone there are.
    """
    by_fingerprint = {cache.spec.fingerprint: cache for cache in tested}
    lacking = []
    for backbone, fingerprint in ((cache.spec.backbone, cache.spec.fingerprint) for cache in trained.caches):
        if fingerprint not in by_fingerprint:
            same = [other.spec.fingerprint for other in tested if other.spec.backbone == backbone]
            there = f"it has {one_of(same)}" if same else "it has none of this backbone"
            lacking.append(f"{backbone} (spec {fingerprint}; {there})")
    if lacking:
        raise CacheError(
            f"the external manifest has no embeddings with the same spec from {one_of(lacking)}. Both need the same"
            f" weights, transform, pooling and precision: run `medprobe extract {manifest.path or 'EXTERNAL'}` with the"
            " settings of the first, or name other backbones with --backbone."
        )
    return [by_fingerprint[cache.spec.fingerprint] for cache in trained.caches]
