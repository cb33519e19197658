"""The units that a run probes, with one vector each: those of one manifest, or of two of which the second is tested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from ...base import CacheError, ProbeError, one_of
from ...cache import EmbeddingCache, ImportedSpec
from ...cache.index import DIGEST_BYTES, digest_keys
from ...manifests import Manifest, Units
from ...manifests.checks.near_duplicates import MOST_PAIRS, near_pairs
from ...manifests.readers import of_one_colour
from .features import PREDICTIONS, Cells, aggregate_into, check_values, covered, is_constant


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
            CacheError: a cache is of another data set, or samples, or their parts of files, were never extracted
                (says what to run).
            ProbeError: nothing is left, or the aggregation is unknown or impossible here.
        """
        _require_own(manifest, caches)
        units, ids = manifest.units(), manifest.sample_ids
        kept, parts = np.ones(len(ids), bool), manifest.parts()
        for cache in caches:
            embedded = ~pd.Index(ids).isin(list(cache.quarantine))
            cache.rows_of(ids[embedded], manifest.path, parts=parts[embedded])
            kept &= embedded
        rows = np.flatnonzero(kept)
        rows = rows[np.argsort(ids[rows], kind="stable")]
        modality = None if units.modality is None else units.modality[rows]
        lost = sorted(_names(units.modality) - _names(modality))
        if aggregation == "concat" and lost:
            raise ProbeError(
                f"{manifest.name}: no sample of the modality {one_of(lost)} could be embedded, so no unit is complete;"
                " see what is quarantined in `medprobe cache show`, or aggregate by mean."
            )
        usable = covered(units.sample_unit[rows], len(units), how=aggregation, modality=modality)
        if not usable.any():
            raise ProbeError(
                f"{manifest.name}: no unit has the samples it needs; see what is quarantined with"
                f" `medprobe cache show {caches[0].path}`."
            )
        messages = []
        if not kept.all():
            messages.append(
                f"{(~kept).sum():,} of {len(kept):,} samples could not be embedded and are skipped (quarantined)"
            )
        if not usable.all():
            why = " (a modality is missing)" if aggregation == "concat" else ""
            messages.append(
                f"{(~usable).sum():,} of {len(usable):,} units have no embedding{why} and are skipped, for"
                " every backbone"
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
            skipped=messages,
        )

    def tested_on(self, manifest: Manifest, caches: Sequence[EmbeddingCache]) -> ProbeData:
        """With a second manifest to test on, which has the same classes, and its caches, of the same specs.

        Raises:
            CacheError, ProbeError: as for `of`, or the two manifests do not go together.
        """
        external = ProbeData.of(
            align_classes(self.manifest, manifest), _matched(self, manifest, caches), self.aggregation
        )
        ours, theirs = _names(self.modality), _names(external.modality)
        if self.aggregation == "concat" and ours != theirs:
            raise ProbeError(
                f'"{self.manifest.name}" has the modalities {one_of(sorted(ours))}, "{manifest.name}" has'
                f" {one_of(sorted(theirs))}: their vectors by concat are not comparable. Aggregate by mean or"
                " predictions."
            )
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
        starts = np.cumsum([0, *(len(part.units) for part in self.parts[:-1])])
        places = [np.flatnonzero(part.usable)[part.unit] for part in self.parts]
        return np.concatenate([place + start for place, start in zip(places, starts, strict=True)])

    @property
    def all_digests(self) -> np.ndarray:
        """(M, 16) uint8: digest of the pixels of each usable sample."""
        # Of the first cache, since all hold the same images; of an imported one only where there is no other, since it
        # may have digests of vectors.
        caches = [min(part.caches, key=lambda cache: isinstance(cache.spec, ImportedSpec)) for part in self.parts]
        digests = [
            cache.content_digests[cache.rows_of(part.sample_ids)]
            for cache, part in zip(caches, self.parts, strict=True)
        ]
        return np.concatenate(digests)

    def distinct_digests(self, rows: np.ndarray) -> np.ndarray:
        """(n, 16) uint8, distinct: `all_digests` of some rows; a blank image is like any other blank one."""
        digests = self.all_digests[rows]
        keys = np.unique(digest_keys(digests[~of_one_colour(digests)]))
        return keys.view(np.uint8).reshape(-1, DIGEST_BYTES)

    def near_pairs(self, *, show_progress: bool) -> Iterator[np.ndarray]:
        """Pairs of usable samples of different groups that `medprobe manifest check` calls near-duplicates.

        By the first pooling of each cache in turn, since the probe stage reads no images; an image of one colour is in
        no pair.

        Yields:
            (P, 2) int64: positions among the usable samples of all.

        Raises:
            ProbeError: there are too many pairs: the vectors do not distinguish images.
        """
        group, constant = self.all_units.group[self.all_sample_units], of_one_colour(self.all_digests)
        for caches in zip(*(part.caches for part in self.parts), strict=True):
            pooling = caches[0].poolings[0]
            X = np.concatenate([
                cache.load(pooling, rows=cache.rows_of(part.sample_ids))
                for cache, part in zip(caches, self.parts, strict=True)
            ])  # fmt: skip
            X[constant] = np.nan
            name = f"{caches[0].spec.backbone}, {pooling}"
            found = near_pairs(group, embeddings={name: X}, show_progress=show_progress)
            if len(found) >= MOST_PAIRS:
                raise ProbeError(
                    f"{name}: over {len(found):,} pairs of images are near-duplicates by these embeddings, so they do"
                    " not tell images apart. Leave drop_near (--drop-near) out, or name other backbones."
                )
            yield found[["row", "other"]].to_numpy(np.int64)

    @property
    def row_units(self) -> np.ndarray:
        """(R,) position in `all_units` of the unit of each row of `features`."""
        return self.all_sample_units if self.aggregation == PREDICTIONS else np.flatnonzero(self.all_usable)

    @property
    def row_digests(self) -> np.ndarray:
        """(R, 16) uint8: digest of the pixels of each row of `features`, of its first sample."""
        if self.aggregation == PREDICTIONS:
            return self.all_digests
        return self.all_digests[np.unique(self.all_sample_units, return_index=True)[1]]

    @property
    def all_skipped(self) -> list[str]:
        """Messages about what is not used."""
        names = [""] if self.external is None else [f"{part.manifest.name}: " for part in self.parts]
        return [name + text for name, part in zip(names, self.parts, strict=True) for text in part.skipped]

    def features(self, cache: int, pooling: str, *, learnt: bool = True) -> np.ndarray:
        """One vector per usable unit of all, (R, D) float32; where predictions are averaged, one per usable sample.

        `cache` is a position in `caches`; `learnt` is of `load`. Raises as `load` does.
        """
        rows, columns = zip(*(part.shape(part.caches[cache], pooling) for part in self.parts), strict=True)
        X = np.empty((sum(rows), columns[0]), np.float32)
        for part, place in zip(self.parts, np.split(X, np.cumsum(rows)[:-1]), strict=True):
            part.load(part.caches[cache], pooling, out=place, learnt=learnt)
        return X

    def load(
        self, cache: EmbeddingCache, pooling: str, *, out: np.ndarray | None = None, learnt: bool = True
    ) -> np.ndarray:
        """The features of this manifest alone.

        Where a unit has one sample, its vector is read straight to its place, so that memory holds the matrix once.
        That is in `out`, where it is given: C-contiguous, of the shape that `shape` gives.

        Raises:
            CacheError: there is no such pooling, or the file is damaged.
            ProbeError: a value is not finite or too large (says which samples), or all vectors are the same, from
                which nothing can be learnt; with `learnt=False`, for predictions, they may be.
        """
        if out is None:
            out = np.empty(self.shape(cache, pooling), np.float32)
        cells = self._cells
        order = np.argsort(cells.cell, kind="stable")
        ids = self.sample_ids[order]
        in_place = out.reshape(-1, cache.dim(pooling)) if cells.single else None
        X = cache.load(pooling, rows=cache.rows_of(ids), out=in_place)
        where = f"{cache.path.name}, {pooling}"
        check_values(X, ids, where)
        if learnt and len(X) > 1 and is_constant(X).all():
            raise ProbeError(
                f"{where}: all {len(X):,} embeddings are the same vector, so there is nothing to learn from. Look at"
                " the images (are they all blank?) and extract again."
            )
        if in_place is None:
            aggregate_into(out, X, replace(cells, cell=cells.cell[order]), self.aggregation)
        return out

    def shape(self, cache: EmbeddingCache, pooling: str) -> tuple[int, int]:
        """Rows and columns of what `load` returns; a CacheError where there is no such pooling."""
        return self._cells.units, self._cells.apart * cache.dim(pooling)

    @cached_property
    def _cells(self) -> Cells:
        if self.aggregation == PREDICTIONS:
            return Cells(np.arange(len(self.sample_ids)), len(self.sample_ids), 1)
        return Cells.of(self.unit, int(self.usable.sum()), how=self.aggregation, modality=self.modality)


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
    ours, theirs = trained.card.classes, tested.card.classes
    tested.card.require_task("testing on it")
    if trained.card.task != tested.card.task:
        raise ProbeError(
            f"{names} are of different tasks, {trained.card.task} and {tested.card.task}: give one of the same."
        )
    if trained.digest == tested.digest:
        raise ProbeError(f"{names} have the same ids, labels and splits: give another data set to test on.")
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


def _matched(trained: ProbeData, manifest: Manifest, tested: Sequence[EmbeddingCache]) -> list[EmbeddingCache]:
    """Of the caches `tested` the one of the same spec for each of `trained`, in their order.

    Raises:
        CacheError: some have none; says which, and which specs of that backbone there are.
    """
    by_fingerprint, lacking = {cache.spec.fingerprint: cache for cache in tested}, []
    imported = False
    for spec in (cache.spec for cache in trained.caches):
        if spec.fingerprint not in by_fingerprint:
            same = [other.spec.fingerprint for other in tested if other.spec.backbone == spec.backbone]
            lacking.append(
                f"{spec.backbone} (spec {spec.fingerprint}; it has {one_of(same) or 'none of this backbone'})"
            )
            imported |= isinstance(spec, ImportedSpec)
    if lacking:
        path = manifest.path or "EXTERNAL"
        remedy = (
            "Imported ones need the same name, the same poolings and vectors of the same length: run `medprobe cache"
            f" import FILE --manifest {path} --name NAME`"
            if imported
            else "Both need the same weights, transform, pooling and precision: run `medprobe extract"
            f" {path}` with the settings of the first"
        )
        raise CacheError(
            f"the external manifest has no embeddings with the same spec from {one_of(lacking)}. {remedy}, or name"
            " other backbones with --backbone."
        )
    return [by_fingerprint[cache.spec.fingerprint] for cache in trained.caches]
