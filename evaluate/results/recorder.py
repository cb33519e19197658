"""From fit results to the rows of the result tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ...base import canonical_json
from ...manifests import DatasetCard, Units
from ..metrics.functions import LabeledPredictions
from ..metrics.registry import Metric, metrics_for, weighted_scores
from ..metrics.retrieval import Retrieved
from .fit_result import FitResult
from .schemas import (
    CURVE,
    EPOCHS,
    RESAMPLE,
    RETRIEVED,
    SCORES,
    SYSTEM,
    TIMINGS,
    SystemKey,
    as_frame,
    predictions_schema,
)

_PART = (*SYSTEM, *RESAMPLE, "split")
"""The columns that say what a block of predictions is of."""


class Recorder:
    """Collects the results of a run, in whatever order they come, and gives them back as tables in one order.

    They are scored in `metrics`, by default those of the card's task.
    """

    def __init__(
        self,
        card: DatasetCard,
        protocol: str,
        units: Units,
        *,
        keep_predictions: bool = True,
        metrics: Sequence[Metric] | None = None,
    ) -> None:
        self.card, self.protocol, self.units, self.keep_predictions = card, protocol, units, keep_predictions
        self.task = card.require_task("scoring")
        self._metrics = metrics_for(self.task) if metrics is None else metrics
        self._scores: list[tuple[Any, ...]] = []
        self._timings: list[tuple[Any, ...]] = []
        self._epochs: list[tuple[Any, ...]] = []
        self._predictions: list[tuple[tuple[Any, ...], np.ndarray, np.ndarray]] = []
        """Values of `_PART`; (n,) int64 units, rising; (n, C) float32 probabilities."""
        self._retrieved: list[tuple[tuple[Any, ...], np.ndarray, Retrieved]] = []
        """System, seed and fold; (n,) int64 units, rising; what was found for each."""

    def add(self, system: SystemKey, result: FitResult) -> None:
        """Scores a result on val and test and keeps its predictions, unless the recorder keeps none.

        A search has no val, as it chooses nothing.
        """
        resample = result.resample
        where = (*system, self.protocol, resample.seed, resample.fold)
        about = (
            canonical_json(dict(result.params)),
            *(len(part) for part in (resample.train, resample.val, resample.test)),
            result.converged,
            result.gradient,
            "; ".join(result.notes),
        )
        parts = {"val": (resample.val, result.val_proba), "test": (resample.test, result.test_proba)}
        if result.retrieved is not None:
            del parts["val"]
            self._retrieved.append(((*system, resample.seed, resample.fold), resample.test, result.retrieved))
        for split, (unit, proba) in parts.items():
            scored = LabeledPredictions(
                self.units.y[unit],
                proba.astype(np.float64),
                self.task,
                tuple(self.card.classes),
                result.retrieved,
            )
            for metric in self._metrics:
                values, remark = weighted_scores(metric, scored)
                self._scores.append((*where, split, metric.name, float(values[0]), remark, *about))
            if self.keep_predictions:
                self._predictions.append(((*system, resample.seed, resample.fold, split), unit, proba))
        cell = (*system, resample.seed, resample.fold)
        self._timings.append((*cell, result.fit_s, result.predict_s, result.peak_bytes))
        self._epochs += [(*cell, *(epoch[name] for name in CURVE)) for epoch in result.curves]

    def scores(self) -> pd.DataFrame:
        """One metric of one system, seed, fold and part per row."""
        table = pd.DataFrame(self._scores, columns=SCORES.names)
        rank = {metric.name: place for place, metric in enumerate(self._metrics)}
        table = table.assign(_rank=table["metric"].map(rank))
        # The order in which work ended is not seen.
        return table.sort_values([*_PART, "_rank"], kind="stable", ignore_index=True).drop(columns="_rank")

    def predictions(self) -> pd.DataFrame:
        """One val or test unit of one system, seed and fold per row."""
        schema = predictions_schema(self.task)
        keys, units, proba = zip(*sorted(self._predictions, key=lambda part: part[0]), strict=True)
        unit = np.concatenate(units)
        y = self.units.y[unit]
        columns = {
            **_key_columns(_PART, keys, units),
            "unit": pa.array(unit),
            "group": pa.array(self.units.group[unit]),
            "y": _lists([y]) if y.ndim == 2 else pa.array(y),
            "proba": _lists(proba),
        }
        return as_frame(pa.table([columns[field.name].cast(field.type) for field in schema], schema=schema))

    def retrieved(self) -> pd.DataFrame | None:
        """What was found for one test unit of one system, seed and fold per row; None where nothing was searched."""
        if not self._retrieved:
            return None
        keys, units, found = zip(*sorted(self._retrieved, key=lambda part: part[0]), strict=True)
        columns = {
            **_key_columns((*SYSTEM, *RESAMPLE), keys, units),
            "unit": pa.array(np.concatenate(units)),
            "relevant": pa.array(np.concatenate([one.relevant for one in found])),
            "found": _lists([one.found for one in found]),
            "label": _lists([one.label for one in found]),
        }
        return as_frame(pa.table([columns[field.name].cast(field.type) for field in RETRIEVED], schema=RETRIEVED))

    def timings(self) -> pd.DataFrame:
        """Seconds and memory per system, seed and fold."""
        table = pd.DataFrame(self._timings, columns=TIMINGS.names).astype({"peak_bytes": np.float64})
        return table.sort_values([*SYSTEM, *RESAMPLE], kind="stable", ignore_index=True)

    def epochs(self) -> pd.DataFrame | None:
        """One epoch of one system, seed and fold per row; None where no system learnt in epochs."""
        table = pd.DataFrame(self._epochs, columns=EPOCHS.names)
        return table.sort_values([*SYSTEM, *RESAMPLE, "epoch"], ignore_index=True) if len(table) else None


def _key_columns(
    names: Sequence[str], keys: Sequence[tuple[Any, ...]], units: Sequence[np.ndarray]
) -> dict[str, pa.Array]:
    """The columns that say what a row is of, from the values of each block of rows; without an object a row."""
    block = pa.array(np.repeat(np.arange(len(units), dtype=np.int32), [len(part) for part in units]))
    return {name: pa.array(values).take(block) for name, values in zip(names, zip(*keys, strict=True), strict=True)}


def _lists(matrices: Sequence[np.ndarray]) -> pa.ChunkedArray:
    """The rows of matrices of one width as lists; a chunk a matrix, since one may not hold over two billion numbers."""
    return pa.chunked_array([
        pa.ListArray.from_arrays(
            np.arange(0, matrix.size + 1, matrix.shape[1], dtype=np.int32), pa.array(matrix.ravel())
        )
        for matrix in matrices
    ])  # fmt: skip
