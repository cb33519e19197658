"""From one vector a sample to one vector a unit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..base import ProbeError, no_such


def fuse(
    X: np.ndarray, unit: np.ndarray, units: int, *, how: str = "mean", modality: np.ndarray | None = None
) -> np.ndarray:
    """Fuses the samples of each unit.

    Args:
        X: (N, D) float32, one row a sample. The rows of a unit are added in the order given, on which the last bit
            of a float sum depends: give them in an order that follows from the samples, such as that of their ids.
        unit: (N,) int64, the unit of each row, 0 to `units` - 1.
        units: U, the number of units.
        how: `mean`; `max` (per column); `concat` (by modality in the order of their names, mean inside each).
        modality: (N,) names, for `concat`.

    Returns:
        (U, D) float32, or (U, M * D) for `concat` of M modalities. A unit without samples (for `concat`, without one
        of some modality) is a row of NaN: see `covered`.

    Raises:
        ProbeError: there is no such way, or `concat` without modalities.
    """
    if how not in FUSINGS:
        raise ProbeError(no_such("fusing", how, FUSINGS))
    return FUSINGS[how](X, unit, units, modality)


def covered(unit: np.ndarray, units: int, *, how: str = "mean", modality: np.ndarray | None = None) -> np.ndarray:
    """Which units have the samples that `fuse` needs: (U,) bool. `modality` holds at least one name for `concat`.

    Args:
        unit: (N,) the unit of each sample that there is.
        units: U.
        how: as for `fuse`.
        modality: (N,) of the samples that there are.
    """
    if how != "concat" or modality is None:
        return np.bincount(unit, minlength=units) > 0
    codes, names = _modalities(modality)
    there = np.bincount(unit * len(names) + codes, minlength=units * len(names)).reshape(units, -1) > 0
    return np.logical_and.reduce(there, axis=1)


def _mean(X: np.ndarray, unit: np.ndarray, units: int, modality: np.ndarray | None) -> np.ndarray:
    del modality
    return _reduced(X, unit, units, np.add, per_count=True)


def _max(X: np.ndarray, unit: np.ndarray, units: int, modality: np.ndarray | None) -> np.ndarray:
    del modality
    return _reduced(X, unit, units, np.maximum, per_count=False)


def _concat(X: np.ndarray, unit: np.ndarray, units: int, modality: np.ndarray | None) -> np.ndarray:
    if modality is None:
        raise ProbeError("fusing by concat needs the column `modality` in the manifest; add it, or fuse by mean.")
    codes, names = _modalities(modality)
    parts = [_mean(X[codes == m], unit[codes == m], units, None) for m in range(len(names))]
    return np.concatenate(parts, axis=1)


def _modalities(modality: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    names, codes = np.unique(modality.astype(str), return_inverse=True)
    return codes, names


def _reduced(X: np.ndarray, unit: np.ndarray, units: int, reduce: np.ufunc, *, per_count: bool) -> np.ndarray:
    counts = np.bincount(unit, minlength=units)
    if len(unit) == units and (counts == 1).all():
        out = np.empty((units, X.shape[1]), np.float32)
        out[unit] = X
        return out
    order = np.argsort(unit, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(unit[order]) != 0]) if len(order) else np.empty(0, np.int64)
    out = np.full((units, X.shape[1]), np.nan, np.float32)
    if len(order):
        sums = reduce.reduceat(X[order].astype(np.float64), starts, axis=0)
        present = unit[order][starts]
        out[present] = sums / counts[present, None] if per_count else sums
    return out


FUSINGS: dict[str, Callable[[np.ndarray, np.ndarray, int, np.ndarray | None], np.ndarray]] = {
    "mean": _mean,
    "max": _max,
    "concat": _concat,
}
"""Ways of fusing vectors. A further one is one function and one line here."""

PREDICTIONS = "predictions"
"""Fusing after the probe instead: it is fitted on samples, and a unit's probability is the mean of its samples'."""


def require_fusing(how: str) -> None:
    """Makes sure that samples can be fused so.

    Raises:
        ProbeError: there is no such way.
    """
    known = (*FUSINGS, PREDICTIONS)
    if how not in known:
        raise ProbeError(no_such("fusing", how, known))
