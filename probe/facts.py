"""The page of facts beside the tables: what was probed, how, and with which versions."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from ..cache import EmbeddingCache
from ..manifests import Manifest, Units
from .features import Coverage
from .kind import ProbeKind
from .resampling import DRAWN, VAL_SHARE

_LIBRARIES = ("medprobe", "numpy", "scipy", "scikit-learn", "lightgbm", "pandas", "pyarrow")


def gather_facts(
    manifest: Manifest,
    units: Units,
    coverage: Coverage,
    *,
    caches: Sequence[tuple[str, EmbeddingCache]],
    kinds: Sequence[ProbeKind[Any]],
    metric: str,
    protocol: str,
    fractions: tuple[float, float, float],
    seeds: Sequence[int],
    fusing: str,
    refit: bool,
    warnings: Sequence[str],
) -> dict[str, Any]:
    """Everything that a reader needs to judge or repeat the run, as JSON; no path and no id of a patient or a group."""
    shares = dict(zip(("train", "val", "test"), fractions, strict=True))
    official = {"drawn_share_of_training_groups": DRAWN, "val_share_without_official_val": VAL_SHARE}
    facts = {
        "dataset": _about_data(manifest, units, coverage),
        "metric": metric,
        "protocol": protocol,
        "protocol_settings": shares if protocol == "holdout" else official,
        "seeds": [int(seed) for seed in seeds],
        "fusing": fusing,
        "refit": refit,
        "probes": {kind.name: {"label": kind.label, **kind.settings.facts()} for kind in kinds},
        "caches": [_about_cache(label, cache) for label, cache in caches],
        "warnings": list(warnings),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
    }
    return json.loads(json.dumps(facts))


def _about_data(manifest: Manifest, units: Units, coverage: Coverage) -> dict[str, Any]:
    card = manifest.card
    return {
        "name": card.name,
        "task": card.task,
        "classes": list(card.classes),
        "primary_metric": card.primary_metric,
        "license": card.license,
        "citation": card.citation,
        "samples": len(manifest),
        "units": len(units),
        "groups": len(units.group_id),
        "units_left_out": int((~coverage.usable).sum()),
        "samples_left_out": len(manifest) - len(coverage.rows),
        "units_per_class": _per_class(units, np.ones(len(units), bool), card.classes),
        "units_per_class_and_split": _per_split(units, card.classes),
        "digest": manifest.digest,
    }


def _per_split(units: Units, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    if units.split is None:
        return {}
    present = [name for name in ("train", "val", "test") if (units.split == name).any()]
    return {name: _per_class(units, units.split == name, classes) for name in present}


def _per_class(units: Units, chosen: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    y = units.y[chosen]
    counts = y.sum(axis=0, dtype=np.int64) if y.ndim == 2 else np.bincount(y, minlength=len(classes))
    return dict(zip(classes, counts.tolist(), strict=True))


def _about_cache(label: str, cache: EmbeddingCache) -> dict[str, Any]:
    return {
        "backbone": label,
        "fingerprint": cache.spec.fingerprint,
        "spec": json.loads(cache.spec.to_json()),
        "dims": dict(cache.dims),
        "device": cache.info["device"],
        "versions": cache.info["versions"],
        "quarantined": cache.info["quarantined"],
    }
