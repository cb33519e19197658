"""Calibration of a run's systems as tables: its scores and their parts, the bins, and what a temperature would fix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from ..metrics.calibration import brier_parts, calibration_curve, pooled
from ..metrics.functions import LabeledPredictions
from ..metrics.registry import METRICS
from ..results.predictions import predictions_by_system
from ..results.run import Run
from ..results.schemas import SYSTEM
from .temperature import apply_temperature, at_edge, fit_temperature

_SCALED = ("log_loss", "ece", "brier")
"""Metrics that a temperature can change: what is called stays the same."""


def calibration_table(run: Run) -> pd.DataFrame:
    """How well calibrated every system is on test.

    Returns:
        One row per system, means over seeds: `log_loss`, `ece`, `brier`, and the parts of `brier`: `reliability` -
        `resolution` + `uncertainty` + `within` (`brier_parts` describes them); `n_seeds`.

    Raises:
        ReportError: the run's predictions do not fit its facts.

    Examples:
        >>> from medprobe.evaluate import calibration_table
        >>> calibration_table(run)[["backbone", "probe", "n_seeds"]]
                backbone     probe  n_seeds
        0  timm:resnet18  centroid        2
        1  timm:resnet18       knn        2
        2  timm:resnet50  centroid        2
        3  timm:resnet50       knn        2
    """
    rows = []
    for system, predicted in predictions_by_system(run).items():
        scored = [p.scored for p in predicted]
        parts = pd.DataFrame([asdict(brier_parts(one)) for one in scored]).drop(columns="score")
        rows.append({**system._asdict(), **_means(scored), **parts.mean(), "n_seeds": len({p.seed for p in predicted})})
    return pd.DataFrame(rows)


def reliability_table(run: Run) -> pd.DataFrame:
    """What every system stated against what came true, all seeds together, in 15 bins of equal mass.

    Returns:
        One row per system and bin: `bin` (from 1), `stated` (mean chance), `true` (share that came true), `count`
        (predictions). The chance is of the positive class (binary), of every label (multilabel), else of the class
        that is called. Equal probabilities share a bin, so a system may have fewer.

    Raises:
        ReportError: the run's predictions do not fit its facts.

    Examples:
        >>> from medprobe.evaluate import reliability_table
        >>> list(reliability_table(run).columns[-4:])
        ['bin', 'stated', 'true', 'count']
    """
    parts = []
    for system, predicted in predictions_by_system(run).items():
        bins = calibration_curve(*pooled([p.scored for p in predicted]))
        number = np.arange(1, len(bins.count) + 1)
        parts.append(pd.DataFrame({**system._asdict(), "bin": number, **vars(bins)}))
    return pd.concat(parts, ignore_index=True)


def temperature_table(run: Run) -> pd.DataFrame:
    """What one temperature a seed, fitted on val, would do to the probabilities on test.

    It is fitted on what the model that knows train alone says of val, and applied to what the tested model says of
    test. These are one model where a run was made without refitting; else the tested one has seen val too, and its
    best temperature may be a little another.

    Returns:
        One row per system: `temperature` (median over seeds; above 1 for overconfident probabilities), `lowest`,
        `highest`; means over seeds of `log_loss`, `ece` and `brier` and of the same `_after` scaling; `n_seeds`;
        `note`, if temperatures lie at an end of the search range.

    Raises:
        ReportError: the run's predictions do not fit its facts.

    Examples:
        >>> from medprobe.evaluate import temperature_table
        >>> temperature_table(run)[["backbone", "probe", "n_seeds"]]
                backbone     probe  n_seeds
        0  timm:resnet18  centroid        2
        1  timm:resnet18       knn        2
        2  timm:resnet50  centroid        2
        3  timm:resnet50       knn        2
    """
    val = predictions_by_system(run, "val")
    rows = [
        {**system._asdict(), **_effect([p.scored for p in val[system]], [p.scored for p in predicted])}
        | {"n_seeds": len({p.seed for p in predicted})}
        for system, predicted in predictions_by_system(run).items()
    ]
    return pd.DataFrame(rows, columns=_TEMPERATURE)


_TEMPERATURE = [
    *(*SYSTEM, "temperature", "lowest", "highest"),
    *(f"{name}{when}" for name in _SCALED for when in ("", "_after")),
    *("n_seeds", "note"),
]


def _effect(val: Sequence[LabeledPredictions], test: Sequence[LabeledPredictions]) -> dict[str, object]:
    temperatures = [fit_temperature(scored) for scored in val]
    after = _means([apply_temperature(scored, t) for scored, t in zip(test, temperatures, strict=True)])
    edges = sum(map(at_edge, temperatures))
    return {
        "temperature": float(np.median(temperatures)),
        "lowest": min(temperatures),
        "highest": max(temperatures),
        **_means(test),
        **{f"{name}_after": value for name, value in after.items()},
        "note": f"{edges} of {len(test)} temperatures are at an end of the range" if edges else "",
    }


def _means(scored: Sequence[LabeledPredictions]) -> dict[str, float]:
    return {name: float(np.mean([METRICS[name].value(one) for one in scored])) for name in _SCALED}
