"""What is wrong with the data for a comparison, as far as manifest and caches can tell, though it can be run."""

from __future__ import annotations

import numpy as np

from ...base import counted
from ...evaluate.resampling.protocols import FIXED_TEST
from .probe_data import ProbeData, SplitSource

_SEE = "`medprobe manifest check` lists them"


def data_warnings(cohort: ProbeData, protocol: str) -> list[str]:
    """Warnings that belong beside every score of a run under `protocol`."""
    named = [told for side in cohort.sides for told in _no_groups(side, alone=len(cohort.sides) == 1)]
    return [*named, *_shared_groups(cohort), *_shared_pixels(cohort, protocol)]


def _names_groups(side: SplitSource) -> bool:
    return side.manifest.names_patients or "unit_id" in side.manifest.table


def _no_groups(side: SplitSource, *, alone: bool) -> list[str]:
    if _names_groups(side):
        return []
    which = "the manifest" if alone else f"the manifest of {side.manifest.name}"
    why = "if patients have several, scores are too good and intervals too narrow"
    return [f"{which} names no patients, so each image counts as one: {why}"]


def _shared_groups(cohort: ProbeData) -> list[str]:
    """Group ids that both manifests have. Those of manifests that name no groups are names of files."""
    if len(cohort.sides) == 1 or not all(_names_groups(side) for side in cohort.sides):
        return []
    trained, tested = (set(side.units.group_id.tolist()) for side in cohort.sides)
    shared = len(trained & tested)
    told = (
        f"{counted(shared, 'group id')} (patients) of {len(tested):,} in the external manifest stand in the other one"
        " too: if they are the same people, scores on the test are too good; if only their numbers agree, nothing is"
        " wrong"
    )
    return [told] if shared else []


def _shared_pixels(cohort: ProbeData, protocol: str) -> list[str]:
    digests = np.concatenate([_digests(side) for side in cohort.sides])
    _, content = np.unique(digests, axis=0, return_inverse=True)
    units, unit = cohort.units, np.flatnonzero(cohort.usable)[cohort.row_unit]
    if protocol in FIXED_TEST and units.split is not None:
        shared = _in_several(content.ravel(), (units.split[unit] == "test").astype(np.int64))
        where = "on both sides of the split" if protocol == "official" else "in both manifests"
        told = f"stand with the same pixels {where}, so scores on the test are too good"
    else:
        shared = _in_several(content.ravel(), units.group[unit])
        told = "have the very pixels of another case, so that a seed may learn from one and be tested on the other"
    see = "" if protocol == "external" else f"; {_SEE}"
    return [f"{counted(shared, 'image')} {told}{see}"] if shared else []


def _digests(side: SplitSource) -> np.ndarray:
    """(M, B) uint8, of the pixels of each covered sample; any of the caches tells, for all hold the same ones."""
    cache = side.caches[0]
    return cache.content_digests[cache.rows_of(side.coverage.sample_ids)]


def _in_several(content: np.ndarray, part: np.ndarray) -> int:
    """How many samples have pixels that occur in more than one part; both (M,) int64 codes."""
    pairs = np.unique(np.stack([content, part], axis=1), axis=0)[:, 0]
    return int((np.bincount(pairs, minlength=content.max() + 1) > 1)[content].sum())
