"""Problems of the data that spoil a comparison, as far as manifest and caches show them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ...base import counted
from ...evaluate.resampling.protocols import FIXED_TEST
from ...manifests.validation.diagnostics import Diagnostic, by_severity, diagnostic
from .probe_data import ProbeData

_SEE = "`medprobe manifest check` lists them"


def data_warnings(
    data: ProbeData, protocol: str, *, attributes: Iterable[str] = (), columns: Iterable[str] = ()
) -> list[Diagnostic]:
    """Warnings that belong to every score of a run under `protocol`, the most severe first.

    Args:
        data: the data of the run.
        protocol: how it is split.
        attributes: messages about attributes without subgroups.
        columns: messages about constant features.
    """
    messages = {
        "samples-skipped": data.all_skipped,
        "attribute-skipped": attributes,
        "no-patients": [text for part in data.parts for text in _no_groups(part, alone=len(data.parts) == 1)],
        "group-in-both-manifests": _shared_groups(data),
        "constant-features": dict.fromkeys(columns),
    }
    found = [diagnostic(code, text) for code, texts in messages.items() for text in texts]
    return by_severity([*found, *_shared_pixels(data, protocol)])


def _names_groups(part: ProbeData) -> bool:
    return part.manifest.names_patients or "unit_id" in part.manifest.table


def _no_groups(part: ProbeData, *, alone: bool) -> list[str]:
    if _names_groups(part):
        return []
    which = "the manifest" if alone else f"the manifest of {part.manifest.name}"
    why = "if patients have several, scores are too high and intervals too narrow"
    return [f"{which} names no patients, so each image counts as one: {why}"]


def _shared_groups(data: ProbeData) -> list[str]:
    """Group ids that both manifests have. Those of manifests that name no groups are names of files."""
    if len(data.parts) == 1 or not all(_names_groups(part) for part in data.parts):
        return []
    trained, tested = (set(part.units.group_id.tolist()) for part in data.parts)
    shared = len(trained & tested)
    message = (
        f"{counted(shared, 'group id')} (patients) of {len(tested):,} in the external manifest are in the other one"
        " too: if they are the same patients, test scores are too high; if only their numbers agree, nothing is wrong"
    )
    return [message] if shared else []


def _shared_pixels(data: ProbeData, protocol: str) -> list[Diagnostic]:
    digests = np.concatenate([_digests(part) for part in data.parts])
    _, content = np.unique(digests, axis=0, return_inverse=True)
    units, unit = data.all_units, data.all_sample_units
    if protocol in FIXED_TEST and units.split is not None:
        shared = _in_several(content.ravel(), (units.split[unit] == "test").astype(np.int64))
        where = "in both train and test" if protocol == "official" else "in both manifests"
        code, why = "pixels-across-splits", f"have identical pixels {where}, so test scores are too high"
    else:
        shared = _in_several(content.ravel(), units.group[unit])
        code, why = (
            "pixels-repeated",
            "have the pixels of another case, so train and test may share them",
        )
    see = "" if protocol == "external" else f"; {_SEE}"
    return [diagnostic(code, f"{counted(shared, 'image')} {why}{see}", things=shared)] if shared else []


def _digests(part: ProbeData) -> np.ndarray:
    """(M, B) uint8, of the pixels of each covered sample; from the first cache, since all hold the same ones."""
    cache = part.caches[0]
    return cache.content_digests[cache.rows_of(part.sample_ids)]


def _in_several(content: np.ndarray, part: np.ndarray) -> int:
    """How many samples have pixels that occur in more than one part; both (M,) int64 codes."""
    pairs = np.unique(np.stack([content, part], axis=1), axis=0)[:, 0]
    return int((np.bincount(pairs, minlength=content.max() + 1) > 1)[content].sum())
