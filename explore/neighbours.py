"""The training units that are nearest to a tested one: what a model may have gone by."""

from __future__ import annotations

import numpy as np

from ..base import ProbeError
from ..evaluate import Run
from ..evaluate.resampling.leaks import Leaks, find_leaks
from ..evaluate.resampling.protocols import FIXED_TEST, learnable
from ..probe.data.features import PREDICTIONS
from ..probe.data.probe_data import ProbeData
from ..probe.estimators._neighbors import normalize_rows, search


def nearest_training_units(
    run: Run, data: ProbeData, pooling: str, queries: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The units nearest to each query by cosine similarity, among those that some resample may train on or search.

    Never one of the query's own group (patient), nor of a group that shares an image with it. `data` are the units of
    the run with one cache, `queries` (n,) positions among these units. There are fewer than `k` where a query has fewer
    units of other groups.

    Returns:
        Positions in the run's units and cosine similarities, both (n, k), the nearest first.

    Raises:
        ProbeError: a query has no such unit.
        CacheError: there is no such pooling, or the file is damaged.
    """
    protocol, searched = run.info["protocol"], run.retrieved is not None
    if run.info["leaks"]["kept"]:
        leaks = Leaks.kept(data.all_units, apart=protocol == "fixed")
    else:
        images = data.all_sample_units, data.all_digests
        leaks = find_leaks(data.all_units, *images, fixed_test=protocol in FIXED_TEST and not searched)
    usable, group = data.all_usable, leaks.clean.group
    trainable = leaks.clean.split == "train" if searched else learnable(leaks.clean, protocol)
    base = np.flatnonzero(usable & trainable)
    own = np.bincount(group[base], minlength=len(leaks.clean.group_id))[group[queries]]
    k = min(k, len(base) - int(own.max(initial=0)))
    if k < 1:
        raise ProbeError("a tested unit has no training unit of another patient (group); use --neighbours 0.")
    X = normalize_rows(data.features(0, pooling), "cosine")
    row = np.cumsum(usable) - 1
    distance, place = search(X[row[queries]], X[row[base]], k, "cosine", groups=(group[queries], group[base]))
    return base[place], 1 - distance


def aggregation_of(run: Run, probe: str) -> str:
    """How the vectors of a unit become one, as far as a system of the run combines vectors; else their mean."""
    how = str(run.info["probes"][probe]["aggregation"])
    return "mean" if how == PREDICTIONS else how
