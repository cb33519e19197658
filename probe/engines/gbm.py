"""Gradient boosting, resample by resample."""

from __future__ import annotations

import time
from typing import Any, Literal

from pydantic import PositiveInt

from ...evaluate.resampling.resample import Resample
from ...evaluate.results.fit_result import FitResult
from ..estimators.gbm import PRESETS, GBMProbe
from .settings import ProbeSettings
from .task import Fitted, ProbeTask


class GBMSettings(ProbeSettings):
    """How the probe `gbm` is fitted."""

    preset: Literal["dense", "lightgbm-defaults"] = "dense"
    """`dense` is made for embeddings; `lightgbm-defaults` takes the features as they are."""
    rounds: PositiveInt = 300
    """The most rounds of boosting."""
    early_stopping_rounds: PositiveInt = 10
    """Rounds without a lower log-loss on val after which it stops."""

    def facts(self) -> dict[str, Any]:
        """The settings, with those of the preset."""
        return {**super().facts(), **PRESETS[self.preset]}


def solve_gbm(task: ProbeTask, settings: GBMSettings, resample: Resample) -> FitResult:
    """The model of `fit_gbm`, tested."""
    start = time.perf_counter()
    fitted = fit_gbm(task, settings, resample)
    return task.tested(
        resample,
        fitted.estimator.predict_proba,
        start,
        val_proba=fitted.val_proba,
        params=fitted.params,
        notes=fitted.notes,
    )


def fit_gbm(task: ProbeTask, settings: GBMSettings, resample: Resample) -> Fitted:
    """Boosting until val's log-loss rises, then the same rounds on train and val."""
    most, patience = settings.rounds, settings.early_stopping_rounds
    probe = GBMProbe(settings.preset, n_estimators=most, early_stopping_rounds=patience)
    train, val = resample.train, resample.val
    probe.fit(task.X[train], task.y[train], eval_set=(task.X[val], task.y[val]))
    val_proba = probe.predict_proba(task.X[val])
    rounds = probe.rounds_
    if task.refit:
        rows = task.fitted_on(resample)
        probe.refit(task.X[rows], task.y[rows])
    notes = [f"boosting used all {most} rounds"] if max(rounds) >= most else []
    return Fitted(probe, {"rounds": rounds if task.wide else rounds[0]}, val_proba, notes)
