"""Nearest class mean, resample by resample."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat

from ...evaluate.resampling.resample import Resample
from ..estimators.centroid import CentroidProbe
from .model_selection import ModelSelector
from .settings import AsGrid, ProbeSettings
from .task import Fitted, ProbeTask

GRID = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Temperatures, from sharp to flat probabilities; they change the confidence, rarely the predicted class."""


class CentroidSettings(ProbeSettings):
    """How the probe `centroid` is fitted."""

    temperature: Annotated[tuple[PositiveFloat, ...], AsGrid, Field(examples=["temperature=[0.03,0.1]"])] = GRID
    """Grid, chosen from on val."""
    center: bool = True
    """Whether the training mean is subtracted first."""
    normalize: bool = True
    """Whether rows get unit length."""


def fit_centroid(task: ProbeTask, settings: CentroidSettings, resample: Resample) -> Fitted:
    """The means of train, the temperature chosen on val, the means of train and val for the test."""
    probe = CentroidProbe(center=settings.center, normalize=settings.normalize)
    probe.fit(task.X[resample.train], task.y[resample.train])
    selector = ModelSelector(task, resample)
    for temperature in reversed(settings.temperature):  # the flattest is the simplest
        probe.set_params(temperature=temperature)
        selector.consider({"temperature": temperature}, probe.predict_proba(task.X[resample.val]))
    probe.set_params(**selector.params)
    if task.refit:
        rows = task.fitted_on(resample)
        probe.fit(task.X[rows], task.y[rows])
    return Fitted(probe, selector.params, selector.proba, selector.notes({"temperature": settings.temperature}))
