"""From one vector per sample to one vector per unit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...base import ProbeError, no_such

_AT_ONCE = 4096
"""Number of vectors summed at a time, about: their float64 copies take memory."""


@dataclass(frozen=True)
class Aggregation:
    """A way of aggregating vectors: how those of one cell (a unit, or a modality of a unit) become one."""

    reduce: np.ufunc
    averaged: bool
    """Whether the result is divided by the number of vectors."""
    by_modality: bool = False
    """Whether the vectors of each modality are aggregated apart and then concatenated."""


AGGREGATIONS: dict[str, Aggregation] = {
    "mean": Aggregation(np.add, averaged=True),
    "max": Aggregation(np.maximum, averaged=False),
    "concat": Aggregation(np.add, averaged=True, by_modality=True),
}
"""Ways of aggregating vectors; a new one is one line here."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Which vectors are aggregated together: those of one cell; a unit has one cell, or one per modality."""

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
        if not AGGREGATIONS[how].by_modality:
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

    @property
    def order(self) -> np.ndarray:
        """(N,) the vectors cell by cell, those of a cell as they were."""
        return np.argsort(self.cell, kind="stable")

    def taken(self, order: np.ndarray) -> Cells:
        """For the vectors in another order."""
        return replace(self, cell=self.cell[order])


def aggregate(
    X: np.ndarray, unit: np.ndarray, units: int, *, how: str = "mean", modality: np.ndarray | None = None
) -> np.ndarray:
    """Aggregates the samples of each unit.

    Args:
        X: (N, D) float32, one row per sample. The rows of a unit are summed in the order given, on which the last
            bit of a float sum depends: sort them by something of the samples, such as their ids.
        unit: (N,) int64, the unit of each row, 0 to `units` - 1.
        units: U, the number of units.
        how: `mean`; `max` (per column); `concat` (by modality in the order of their names, mean inside each).
        modality: (N,) names, for `concat`.

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
    flat, way, counts = out.reshape(-1, X.shape[1]), AGGREGATIONS[how], cells.counts
    if cells.single:
        flat[cells.cell] = X
        return
    order = cells.order
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
            reduced = way.reduce.reduceat(X[rows].astype(np.float64), starts, axis=0)
            part[there] = reduced / number[there, None] if way.averaged else reduced


def covered(unit: np.ndarray, units: int, *, how: str = "mean", modality: np.ndarray | None = None) -> np.ndarray:
    """Which units have the samples that `aggregate` needs: (U,) bool. `modality` holds at least one name for `concat`.

    Args:
        unit: (N,) the unit of each sample that there is.
        units: U.
        how: as for `aggregate`; where predictions are averaged, one sample is enough.
        modality: (N,) of the samples that there are.
    """
    if how == PREDICTIONS:
        return np.bincount(unit, minlength=units) > 0
    there = Cells.of(unit, units, how=how, modality=modality).counts > 0
    return np.logical_and.reduce(there.reshape(units, -1), axis=1)


PREDICTIONS = "predictions"
"""Aggregation after the probe: it is fitted on samples, and a unit's probability is the mean of its samples'."""


def check_aggregation(how: str) -> None:
    """Checks the name of an aggregation.

    Raises:
        ProbeError: unknown aggregation.
    """
    known = (*AGGREGATIONS, PREDICTIONS)
    if how not in known:
        raise ProbeError(no_such("aggregation", how, known))
