"""Predictions read back as arrays, system by system, for every statistic that needs more than the scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ...base import ReportError
from ..metrics.functions import LabeledPredictions
from ..metrics.retrieval import Retrieved
from .run import Run
from .schemas import RESAMPLE, SYSTEM, SystemKey


@dataclass(frozen=True, eq=False)
class ResamplePredictions:
    """The test, or the val, of one system under one resample; n units."""

    seed: int
    unit: np.ndarray
    """(n,) position in the manifest's units."""
    group: np.ndarray
    """(n,) code of the group."""
    scored: LabeledPredictions
    """Truth and probabilities."""
    fold: int = 0
    """0 where the protocol has no folds."""


def predictions_by_system(run: Run, split: str = "test") -> dict[SystemKey, list[ResamplePredictions]]:
    """The predictions of every system, by seed and fold, in the order of the names.

    Args:
        run: the results.
        split: `test`, by the model that is tested; or `val`, by the model that was fitted on train alone.

    Raises:
        ReportError: there are none, or a row's probabilities do not fit the classes.

    Examples:
        >>> from medprobe.evaluate import predictions_by_system
        >>> for system, resamples in predictions_by_system(run).items():
        ...     print(system.backbone, system.probe, [resample.seed for resample in resamples])
        timm:resnet18 centroid [0, 1]
        timm:resnet18 knn [0, 1]
        timm:resnet50 centroid [0, 1]
        timm:resnet50 knn [0, 1]
    """
    table = run.predictions[(run.predictions["split"] == split).to_numpy(bool)]
    if table.empty and run.retrieved is not None:
        raise ReportError(f"a search has no {split}: nothing is chosen in it, and its votes are not calibrated on it.")
    if table.empty:
        raise ReportError(f"the run holds no predictions for {split}; run `medprobe probe` again.")
    proba = _matrix(table["proba"], np.float64, len(run.classes), "proba")
    labels = run.task == "multilabel"
    y = _matrix(table["y"], np.int64, len(run.classes), "y") if labels else table["y"].to_numpy(np.int64)
    whole = LabeledPredictions(y, proba, run.task, run.classes, _retrieved(run, table) if split == "test" else None)
    unit, group = table["unit"].to_numpy(np.int64), table["group"].to_numpy(np.int64)
    found: dict[SystemKey, list[ResamplePredictions]] = {}
    blocks: dict[Any, Any] = dict(table.groupby([*SYSTEM, *RESAMPLE]).indices)
    for *names, seed, fold in sorted(blocks):
        rows = blocks[*names, seed, fold]
        if len(rows) == rows[-1] - rows[0] + 1:
            rows = slice(rows[0], rows[-1] + 1)  # as a run is saved: without copies
        found.setdefault(SystemKey(*names), []).append(
            ResamplePredictions(int(seed), unit[rows], group[rows], whole.at(rows), int(fold))
        )
    return found


def _retrieved(run: Run, tested: pd.DataFrame) -> Retrieved | None:
    """What was found for each row of the predictions on test; None where nothing was searched."""
    if run.retrieved is None:
        return None
    if not np.array_equal(run.retrieved["unit"], tested["unit"]):
        raise ReportError("retrieved.parquet and predictions.parquet have other units; run `medprobe retrieve` again.")
    width = pc.call_function("list_value_length", [pa.array(run.retrieved["found"])])[0].as_py()
    found, label = (_matrix(run.retrieved[name], np.int64, width, name) for name in ("found", "label"))
    return Retrieved(found, label, run.retrieved["relevant"].to_numpy(np.int64))


def _matrix(column: pd.Series, dtype: type, width: int, name: str) -> np.ndarray:
    """(N, width) from a column of lists, without an object a row."""
    lists = pa.array(column)
    lengths = pc.call_function("unique", [pc.call_function("list_value_length", [lists])]).to_pylist()
    if lengths != [width]:
        raise ReportError(
            f"predictions: {name} has rows of {sorted(lengths)} values, the data set has {width} classes."
        )
    return pc.call_function("list_flatten", [lists]).to_numpy().astype(dtype).reshape(-1, width)
