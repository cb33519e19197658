"""Predictions read back as arrays, system by system, for every statistic that needs more than the scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..base import ReportError
from .results import Run
from .scores import Scored
from .tables import RESAMPLE, SYSTEM, WHOLE


class System(NamedTuple):
    """What a row of results is about."""

    dataset: str
    backbone: str
    fingerprint: str
    pooling: str
    probe: str
    budget: str = WHOLE
    """How much of the training part it was given."""


@dataclass(frozen=True, eq=False)
class Predicted:
    """The test of one system under one resample; n units."""

    seed: int
    unit: np.ndarray
    """(n,) position in the manifest's units."""
    group: np.ndarray
    """(n,) code of the group."""
    scored: Scored
    """Truth and probabilities."""
    fold: int = 0
    """0 where the protocol has no folds."""


def replay(run: Run) -> dict[System, list[Predicted]]:
    """The test predictions of every system, by seed and fold, in the order of the names.

    Raises:
        ReportError: there are none, or a row's probabilities do not fit the classes.
    """
    table = run.predictions
    if table.empty:
        raise ReportError("the run holds no predictions; run `medprobe probe` again.")
    proba = _matrix(table["proba"], np.float64, len(run.classes), "proba")
    labels = run.task == "multilabel"
    y = _matrix(table["y"], np.int64, len(run.classes), "y") if labels else table["y"].to_numpy(np.int64)
    unit, group = table["unit"].to_numpy(np.int64), table["group"].to_numpy(np.int64)
    found: dict[System, list[Predicted]] = {}
    indices: dict[Any, np.ndarray] = table.groupby([*SYSTEM, *RESAMPLE], sort=False).indices  # pyright: ignore[reportAssignmentType]
    for (*names, seed, fold), rows in sorted(indices.items()):
        scored = Scored(y[rows], proba[rows], run.task, run.classes)
        found.setdefault(System(*names), []).append(Predicted(int(seed), unit[rows], group[rows], scored, int(fold)))
    return found


def _matrix(column: pd.Series, dtype: type, width: int, name: str) -> np.ndarray:
    lengths = {len(row) for row in column}
    if lengths != {width}:
        raise ReportError(
            f"predictions: {name} has rows of {sorted(lengths)} values, the data set has {width} classes."
        )
    return np.concatenate(column.to_numpy()).astype(dtype).reshape(-1, width)
