"""What run.json says of a run: what was probed, how, with which versions, and what of the data spoils a comparison."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from ..base import counted
from ..cache import EmbeddingCache
from ..evaluate.metrics.registry import primary_metric
from ..evaluate.resampling.leaks import Leaks
from ..evaluate.resampling.protocols import FIXED_TEST
from ..evaluate.resampling.train_size import Budget
from ..evaluate.results.run import in_order
from ..manifests.validation.diagnostics import Diagnostic, diagnostic
from .data.features import backbone_labels
from .data.probe_data import ProbeData
from .draws import Design, Draws

_LIBRARIES = ("medprobe", "numpy", "scipy", "scikit-learn", "lightgbm", "pandas", "pyarrow")


def run_info(
    data: ProbeData,
    design: Design,
    leaks: Leaks,
    *,
    systems: Mapping[str, Mapping[str, Any]],
    metric: str,
    warnings: Sequence[Diagnostic],
    libraries: Iterable[str] = (),
) -> dict[str, Any]:
    """Everything that a reader needs to judge or repeat the run, as JSON; no path and no id of a patient or a group.

    Args:
        data: what was fitted and tested on.
        design: of the resamples; its protocol is resolved.
        leaks: what was left out.
        systems: by the name that the tables have under `probe`: `label`, `frozen` (whether the backbone was),
            `aggregation`, `refit` (whether the tested models were fitted on val too) and `settings`.
        metric: what hyper-parameters were chosen by.
        warnings: in any order.
        libraries: whose versions matter besides those of every run.
    """
    labels = backbone_labels(data.caches)
    info = {
        "dataset": _about_data(data),
        "external": _about_data(data.external) if data.external else None,
        "metric": metric,
        "protocol": design.protocol,
        "protocol_settings": design.settings,
        "seeds": list(design.seeds),
        "budgets": {budget.name: _about_budget(budget) for budget in design.budgets},
        "leaks": leaks.facts(),
        "drawn_from": _digest_of_units(data, leaks),
        "probes": systems,
        "caches": [_about_cache(*pair) for pair in zip(labels, data.caches, strict=True)],
        "warnings": [warning.message for warning in warnings],
        "warning_codes": [warning.code for warning in warnings],
        "versions": versions_of(libraries),
    }
    return in_order(json.loads(json.dumps(info)))


def versions_of(libraries: Iterable[str] = ()) -> dict[str, str]:
    """The versions that a run states, of which `merge_runs` requires that they agree; with those of `libraries`."""
    return {"python": platform.python_version(), **{name: version(name) for name in (*_LIBRARIES, *libraries)}}


def _digest_of_units(data: ProbeData, leaks: Leaks) -> str:
    """Of everything besides the manifests that resamples follow from: which samples are used, and groups and parts of
    their units without leaks. The caches of a run decide it: by what they lack, and by the near-duplicates they show.
    """
    digest = blake2b(digest_size=16)
    for part in data.parts:
        digest.update("\n".join([*part.sample_ids, ""]).encode())
    digest.update(leaks.clean.group.astype("<i8").tobytes())
    if leaks.clean.split is not None:
        digest.update("\n".join(leaks.clean.split).encode())
    return digest.hexdigest()


def _about_budget(budget: Budget) -> dict[str, Any]:
    if budget.whole:
        return {}
    return {"shots": budget.shots} if budget.shots is not None else {"train_fraction": budget.share}


def _about_data(data: ProbeData) -> dict[str, Any]:
    manifest, units, card = data.manifest, data.units, data.manifest.card

    def per_class(chosen: np.ndarray) -> dict[str, int]:
        counts = units.classes_by_group(chosen, len(card.classes)).sum(axis=0)
        return dict(zip(card.classes, counts.tolist(), strict=True))

    by_split = {} if units.split is None else {name: units.split == name for name in ("train", "val", "test")}
    return {
        "name": card.name,
        "task": card.task,
        "classes": list(card.classes),
        "primary_metric": primary_metric(card).name,
        "license": card.license,
        "citation": card.citation,
        "samples": len(manifest),
        "units": len(units),
        "groups": len(units.group_id),
        "units_left_out": int((~data.usable).sum()),
        "samples_left_out": len(manifest) - len(data.sample_ids),
        "units_per_class": per_class(np.ones(len(units), bool)),
        "units_per_class_and_split": {name: per_class(chosen) for name, chosen in by_split.items() if chosen.any()},
        "digest": manifest.digest,
    }


def _about_cache(label: str, cache: EmbeddingCache) -> dict[str, Any]:
    return {
        "backbone": label,
        "fingerprint": cache.spec.fingerprint,
        "spec": json.loads(cache.spec.to_json()),
        "dims": dict(cache.dims),
        "device": cache.info["device"],
        "versions": cache.info["versions"],
        "quarantined": cache.info["quarantined"],
        **({"imported": cache.info["imported"]} if cache.info["imported"] else {}),
    }


def data_warnings(
    data: ProbeData,
    protocol: str,
    draws: Draws,
    *,
    attributes: Iterable[str] = (),
) -> list[Diagnostic]:
    """Warnings that belong to every score of a run under `protocol`.

    `attributes` are messages about attributes without subgroups.
    """
    names_groups = [part.manifest.names_patients or "unit_id" in part.manifest.table for part in data.parts]
    leaks = draws.leaks
    messages = {
        "fine-tuned-on-test": _fine_tuned_on_test(data, protocol, draws),
        "samples-skipped": data.all_skipped,
        "attribute-skipped": attributes,
        "no-patients": [
            f"the manifest{f' of {part.manifest.name}' if data.external else ''} names no patients, so each image"
            " counts as one: if patients have several, scores are too high and intervals too narrow"
            for part, named in zip(data.parts, names_groups, strict=True)
            if not named
        ],
        # Group ids of manifests that name no groups are names of files.
        "group-in-both-manifests": _shared_groups(*data.parts) if data.external and all(names_groups) else [],
    }
    found = [diagnostic(code, text) for code, texts in messages.items() for text in texts]
    if not leaks.is_kept:
        return [*found, *leaks.diagnostics()]
    return [*found, *_divided_groups(leaks), *_shared_pixels(data, protocol)]


def _fine_tuned_on_test(data: ProbeData, protocol: str, draws: Draws) -> Iterator[str]:
    """About networks that were fine-tuned on units that are tested, or on other images of their groups."""
    units, unit = draws.units, data.all_sample_units
    # Counted among all units that some seed may test: runs of other seeds give the same message, and merge to one.
    fixed = protocol in FIXED_TEST and units.split is not None
    pool = data.all_usable & (units.split == "test") if fixed else data.all_usable
    for place, label in enumerate(backbone_labels(data.caches)):
        pairs = [(part.caches[place], part.sample_ids) for part in data.parts]
        if not any(cache.trained_on.any() for cache, _ in pairs):
            continue
        images = np.concatenate([cache.trained_on[cache.rows_of(ids)] for cache, ids in pairs])
        learnt = np.isin(units.group, units.group[unit[images]])
        if any(learnt[resample.test].any() for _, resamples in draws.clean for resample in resamples):
            where = "test units" if fixed else "units that tests are drawn from"
            yield (
                f"{label}, fine-tuned on {(learnt & pool).sum():,} of the {pool.sum():,} {where}, or on other images of"
                " their groups: its scores are too high"
            )


def _shared_groups(trained: ProbeData, tested: ProbeData) -> list[str]:
    groups = set(tested.units.group_id)
    shared = len(groups.intersection(trained.units.group_id))
    message = (
        f"{counted(shared, 'group id')} (patients) of {len(groups):,} in the external manifest are in the other one"
        " too: if they are the same patients, test scores are too high; if only their numbers agree, nothing is wrong"
    )
    return [message] if shared else []


def _divided_groups(leaks: Leaks) -> list[Diagnostic]:
    """About groups that are in several parts of the split."""
    groups = counted(leaks.divided, "group (a patient, say) is", "groups (patients, say) are")
    message = (
        f"{groups} in several parts of the split, so test scores are too high; `medprobe manifest check` lists them"
    )
    return [diagnostic("group-across-splits", message, things=leaks.divided)] if leaks.divided else []


def _shared_pixels(data: ProbeData, protocol: str) -> list[Diagnostic]:
    """About images whose pixels are in several parts of the data: in train and test, or in several cases."""
    _, content = np.unique(data.all_digests, axis=0, return_inverse=True)
    units, unit = data.all_units, data.all_sample_units
    if protocol in FIXED_TEST and units.split is not None:
        part, code = units.split[unit] == "test", "pixels-across-splits"
        where = "in both manifests" if protocol == "external" else "in both train and test"
        why = f"have identical pixels {where}, so test scores are too high"
    else:
        part, code = units.group[unit], "pixels-repeated"
        why = "have the pixels of another case, so train and test may share them"
    shared = int((pd.Series(part).groupby(content.ravel()).transform("nunique") > 1).sum())
    see = "" if protocol == "external" else "; `medprobe manifest check` lists them"
    return [diagnostic(code, f"{counted(shared, 'image')} {why}{see}", things=shared)] if shared else []
