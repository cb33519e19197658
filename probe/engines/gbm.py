"""Gradient boosting, resample by resample."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import PositiveInt

from ...evaluate.resampling.resample import Resample
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


def fit_gbm(task: ProbeTask, settings: GBMSettings, resample: Resample) -> Fitted:
    """Boosting until val's log-loss rises, then from train and val."""
    most, patience = settings.rounds, settings.early_stopping_rounds
    probe = GBMProbe(settings.preset, n_estimators=most, early_stopping_rounds=patience)
    probe.fit(task.X, task.y, eval_set=resample.val, rows=resample.train, refit=task.refit)
    rounds = probe.rounds_
    notes = [f"boosting used all {most} rounds"] if max(rounds) >= most else []
    return Fitted(probe, {"rounds": rounds if task.wide else rounds[0]}, probe.eval_proba_, notes)
