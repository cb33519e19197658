"""What run.json says of a run: what was probed, how, and with which versions."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from ..cache import EmbeddingCache
from ..evaluate.resampling.train_size import Budget
from ..manifests import Units
from ..manifests.validation.diagnostics import Diagnostic
from .data.features import backbone_labels
from .data.probe_data import ProbeData
from .engines.probe import Probe

_LIBRARIES = ("medprobe", "numpy", "scipy", "scikit-learn", "lightgbm", "pandas", "pyarrow")


def run_info(
    data: ProbeData,
    *,
    probes: Sequence[Probe[Any]],
    metric: str,
    protocol: str,
    settings: Mapping[str, Any],
    seeds: Sequence[int],
    budgets: Sequence[Budget],
    refit: bool,
    warnings: Sequence[Diagnostic],
) -> dict[str, Any]:
    """Everything that a reader needs to judge or repeat the run, as JSON; no path and no id of a patient or a group."""
    labels = backbone_labels(data.caches)
    info = {
        "dataset": _about_data(data),
        "external": _about_data(data.external) if data.external else None,
        "metric": metric,
        "protocol": protocol,
        "protocol_settings": settings,
        "seeds": [int(seed) for seed in seeds],
        "budgets": {budget.name: _about_budget(budget, refit=refit) for budget in budgets},
        "fusing": data.aggregation,
        "refit": refit and all(budget.whole for budget in budgets),
        "probes": {probe.name: {"label": probe.label, **probe.settings.facts()} for probe in probes},
        "caches": [_about_cache(*pair) for pair in zip(labels, data.caches, strict=True)],
        "warnings": [warning.message for warning in warnings],
        "warning_codes": [warning.code for warning in warnings],
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
    }
    return json.loads(json.dumps(info))


def _about_budget(budget: Budget, *, refit: bool) -> dict[str, Any]:
    if budget.whole:
        return {"tested_model_fitted_on": "train and val" if refit else "train"}
    size = {"shots": budget.shots} if budget.shots is not None else {"train_fraction": budget.share}
    return {**size, "tested_model_fitted_on": "the train that is left, never val"}


def _about_data(data: ProbeData) -> dict[str, Any]:
    manifest, units, card = data.manifest, data.units, data.manifest.card
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
        "units_left_out": int((~data.usable).sum()),
        "samples_left_out": len(manifest) - len(data.sample_ids),
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
