"""Gradient boosting, resample by resample."""

from __future__ import annotations

import time
from typing import Any, Literal

from pydantic import PositiveInt

from ...evaluate.resampling.resample import Resample
from ...evaluate.results.fit_result import FitResult
from ..estimators.gbm import PRESETS, GBMProbe
from .params import ProbeSettings
from .probe import Probe
from .task import ProbeTask, per_resample


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


def solve_one(task: ProbeTask, settings: GBMSettings, resample: Resample) -> FitResult:
    """Boosting until val's log-loss rises, then the same rounds on train and val."""
    start = time.perf_counter()
    probe = GBMProbe(
        settings.preset, n_estimators=settings.rounds, early_stopping_rounds=settings.early_stopping_rounds
    )
    train, val = resample.train, resample.val
    probe.fit(task.X[train], task.y[train], eval_set=(task.X[val], task.y[val]))
    val_proba = probe.predict_proba(task.X[val])
    rounds = probe.rounds_ if task.wide else probe.rounds_[0]
    notes = [f"boosting used all {probe.n_estimators} rounds"] if max(probe.rounds_) >= probe.n_estimators else []
    if task.refit:
        rows = task.fitted_on(resample)
        probe.refit(task.X[rows], task.y[rows])
    fitted = time.perf_counter()
    return task.result(
        resample,
        val_proba=val_proba,
        test_proba=probe.predict_proba(task.X[resample.test]),
        params={"rounds": rounds},
        notes=notes,
        fit_s=fitted - start,
        predict_s=time.perf_counter() - fitted,
    )


GBM = Probe("gbm", "Gradient boosting", GBMSettings(), per_resample(solve_one))
