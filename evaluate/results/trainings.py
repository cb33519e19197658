"""Trainings that say little of their networks: failed, ended at NaN, all of them warm-up, or best in the last epoch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from ...base import counted
from ..metrics.registry import find_metric
from .commands import NETWORK
from .fit_result import DIVERGED
from .run import Run
from .schemas import RESAMPLE, SYSTEM, SystemKey

_TEXTS = {
    "failed-training": "came to no good epoch in {}, which predicted the shares of the classes instead",
    "diverged-training": "ended at NaN in {}",
    "warm-up-only": "had no epoch after its warm-up in {}, so its score says little",
    "best-epoch-last": "had its best epoch last in {}, so longer training may be better",
}
_LEAST = {"best-epoch-last": 0.5}
"""Shares of a system's trainings from which there is a problem; chance makes the last of some epochs the best."""


class TrainingProblem(NamedTuple):
    """What is wrong with the trainings of one system."""

    code: str
    """Of `CODES`."""
    text: str
    """What follows the system's name in a sentence: `ended at NaN in 1 of 3 trainings`."""
    trainings: int
    """How many of them."""


def training_problems(run: Run) -> dict[SystemKey, list[TrainingProblem]]:
    """The problems of every network that has some, by its fits and its learning curves."""
    fits = run.scores[run.scores["probe"].str.startswith(NETWORK)].drop_duplicates([*SYSTEM, *RESAMPLE])
    curves = {} if run.epochs is None else dict(iter(run.epochs.groupby([*SYSTEM, *RESAMPLE], sort=False)))
    codes: dict[SystemKey, list[str]] = {}
    for system, fit in zip(SystemKey.of_rows(fits), fits.to_dict("records"), strict=True):
        curve = curves.get((*system, *(fit[name] for name in RESAMPLE)))
        codes.setdefault(system, []).append(_code(run, fit, curve))
    found = {
        system: [
            TrainingProblem(
                code, text.format(f"{some.count(code)} of {counted(len(some), 'training')}"), some.count(code)
            )
            for code, text in _TEXTS.items()
            if code in some and some.count(code) >= _LEAST.get(code, 0) * len(some)
        ]
        for system, some in codes.items()
    }
    return {system: problems for system, problems in found.items() if problems}


def _code(run: Run, fit: Mapping[Any, Any], curve: pd.DataFrame | None) -> str:
    """The problem of one training, or nothing."""
    if not fit["converged"]:
        return "failed-training"
    if DIVERGED in (fit["note"] or ""):
        return "diverged-training"
    if curve is None:
        return ""
    settings = {**run.info["probes"].get(fit["probe"], {}).get("settings", {}), **json.loads(fit["params"])}
    if _is_warm_up(settings, curve[curve["epoch"] > 0]):
        return "warm-up-only"
    metric = find_metric(run.primary_metric)
    best = curve[curve["chosen"]].iloc[0]
    # Where val is predicted perfectly, the loss alone chose between epochs that are all as good.
    perfect = best["val_metric"] == metric.range[metric.greater_is_better]
    return "best-epoch-last" if best["epoch"] == curve["epoch"].max() > 0 and not perfect else ""


def _is_warm_up(settings: Mapping[str, Any], curve: pd.DataFrame) -> bool:
    """Whether the learning rate rose in every epoch of a curve."""
    if settings.get("warmup_steps") is not None:  # how many steps an epoch has is not known here
        return len(curve) > 1 and bool((curve["lr"].diff().dropna() > 0).all())
    return 0 < len(curve) <= settings.get("warmup_epochs", 0)
