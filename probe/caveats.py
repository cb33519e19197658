"""What is wrong with the data for a comparison, as far as manifest and caches can tell, though it can be run."""

from __future__ import annotations

import numpy as np

from ..base import counted
from ..cache import EmbeddingCache
from ..manifests import Manifest, Units
from .features import Coverage

_SEE = "`medprobe manifest check` lists them"


def caveats(manifest: Manifest, units: Units, coverage: Coverage, cache: EmbeddingCache, protocol: str) -> list[str]:
    """Warnings that belong beside every score of a run.

    Args:
        manifest: the data set.
        units: of the manifest.
        coverage: what is probed.
        cache: any of the caches; all hold digests of the same pixels.
        protocol: `official` or `holdout`.
    """
    return [*_no_groups(manifest), *_shared_pixels(units, coverage, cache, protocol)]


def _no_groups(manifest: Manifest) -> list[str]:
    if {"group_id", "unit_id"} & set(manifest.table.columns):
        return []
    why = "if patients have several, scores are too good and intervals too narrow"
    return [f"the manifest names no patients (it has no group_id), so each image counts as one: {why}"]


def _shared_pixels(units: Units, coverage: Coverage, cache: EmbeddingCache, protocol: str) -> list[str]:
    digests = cache.content_digests[cache.rows_of(coverage.sample_ids)]
    _, content = np.unique(digests, axis=0, return_inverse=True)
    unit = np.flatnonzero(coverage.usable)[coverage.unit]
    if protocol == "official" and units.split is not None:
        shared = _in_several(content.ravel(), (units.split[unit] == "test").astype(np.int64))
        told = "stand with the same pixels on both sides of the split, so scores on the test are too good"
    else:
        shared = _in_several(content.ravel(), units.group[unit])
        told = "have the very pixels of another case, so that a seed may learn from one and be tested on the other"
    return [f"{counted(shared, 'image')} {told}; {_SEE}"] if shared else []


def _in_several(content: np.ndarray, part: np.ndarray) -> int:
    """How many samples have pixels that occur in more than one part; both (M,) int64 codes."""
    pairs = np.unique(np.stack([content, part], axis=1), axis=0)[:, 0]
    return int((np.bincount(pairs, minlength=content.max() + 1) > 1)[content].sum())
