"""From one vector per sample to one vector per unit; which features are probed, and checks of their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...base import ProbeError, did_you_mean, no_such, one_of
from ...cache import EmbeddingCache
from ..estimators._prediction import LARGEST

_AT_ONCE = 4096
"""Number of vectors summed at a time, about: their float64 copies take memory."""


PREDICTIONS = "predictions"
"""Aggregation after the probe: it is fitted on samples, and a unit's probability is the mean of its samples'."""
AGGREGATIONS = ("mean", "max", "concat", PREDICTIONS)
"""Of the vectors of a unit: their mean, their maximum per column, or their means by modality side by side."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Which vectors are aggregated together: those of one cell. A unit has one; with `concat`, one per modality."""

    cell: np.ndarray
    """(N,) int64, of each vector."""
    units: int
    """U."""
    apart: int
    """Consecutive cells of a unit."""

    @classmethod
    def of(cls, unit: np.ndarray, units: int, *, how: str, modality: np.ndarray | None) -> Cells:
        """The arguments are those of `aggregate`, which says what is raised."""
        if how not in AGGREGATIONS:
            raise ProbeError(no_such("aggregation", how, AGGREGATIONS))
        if how != "concat":
            return cls(unit, units, 1)
        if modality is None:
            raise ProbeError("aggregation by concat needs the column `modality` in the manifest; add it, or use mean.")
        names, codes = np.unique(modality.astype(str), return_inverse=True)
        return cls(unit * len(names) + codes, units, len(names))

    @property
    def counts(self) -> np.ndarray:
        """(U * apart,) vectors of each cell."""
        return np.bincount(self.cell, minlength=self.units * self.apart)

    @property
    def single(self) -> bool:
        """Whether every cell has one vector, so that there is nothing to compute."""
        return bool((self.counts == 1).all())


def aggregate(
    X: np.ndarray, unit: np.ndarray, units: int, *, how: str = "mean", modality: np.ndarray | None = None
) -> np.ndarray:
    """Aggregates the samples of each unit: the rows of X (N, D), row i of the unit `unit[i]` out of `units`.

    The rows of a unit are summed in the order given, on which the last bit of a float sum depends: sort them by
    something of the samples, such as their ids. `concat` joins the means of modalities in the order of their names.

    Returns:
        (U, D) float32, or (U, M * D) for `concat` of M modalities. A unit without samples (for `concat`, without one
        of some modality) is a row of NaN: see `covered`.

    Raises:
        ProbeError: unknown aggregation, or `concat` without modalities.
    """
    cells = Cells.of(unit, units, how=how, modality=modality)
    out = np.empty((units, cells.apart * X.shape[1]), np.float32)
    aggregate_into(out, X, cells, how)
    return out


def aggregate_into(out: np.ndarray, X: np.ndarray, cells: Cells, how: str) -> None:
    """Fills `out`, (U, apart * D), with the aggregated rows of `X`, (N, D); a range of cells at a time."""
    flat, counts, reduce = out.reshape(-1, X.shape[1]), cells.counts, np.maximum if how == "max" else np.add
    if cells.single:
        flat[cells.cell] = X
        return
    order = np.argsort(cells.cell, kind="stable")
    ends = np.cumsum(counts)
    stretch = max(1, _AT_ONCE * len(counts) // max(1, len(order)))
    for first in range(0, len(counts), stretch):
        number = counts[first : first + stretch]
        begin, there = ends[first] - counts[first], number > 0
        rows = order[begin : begin + number.sum()]
        part = flat[first : first + stretch]
        part[~there] = np.nan
        if len(rows):
            starts = ends[first : first + stretch][there] - number[there] - begin
            reduced = reduce.reduceat(X[rows].astype(np.float64), starts, axis=0)
            part[there] = reduced if how == "max" else reduced / number[there, None]


def covered(unit: np.ndarray, units: int, *, how: str = "mean", modality: np.ndarray | None = None) -> np.ndarray:
    """Which units have the samples that `aggregate` needs: (U,) bool. `modality` holds at least one name for `concat`.

    `unit` and `modality` are those of the samples that there are; where predictions are averaged, one is enough.
    """
    there = Cells.of(unit, units, how=how, modality=modality).counts > 0
    return np.logical_and.reduce(there.reshape(units, -1), axis=1)


def check_values(X: np.ndarray, sample_ids: np.ndarray, where: str) -> None:
    """Makes sure that no embedding holds a number whose square float32 cannot add up; a cache holds finite ones alone.

    Raises:
        ProbeError: some do; says how many and which samples.
    """
    if X.min() >= -LARGEST and X.max() <= LARGEST:
        return
    bad = np.flatnonzero((np.abs(X) > LARGEST).any(axis=1))
    samples = one_of([f'"{sample}"' for sample in sample_ids[bad]], most=5)
    raise ProbeError(
        f"{where}: {len(bad):,} of {len(X):,} embeddings hold values beyond {LARGEST:g}, of the samples {samples}."
        " Remove this cache and extract again, in fp32 if it was bf16."
    )


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
    from ...evaluate.results.run import backbone_labels as labels_of  # here, since predictions need no statistics

    return labels_of([(cache.spec.backbone, cache.spec.fingerprint) for cache in caches])
