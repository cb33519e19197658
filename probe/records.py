"""From outcomes to the rows of the result tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ..base import canonical_json
from ..manifests import DatasetCard, Units
from .block import Block, Outcome
from .metrics import evaluate, metrics_for
from .resampling import Resample
from .tables import RESAMPLE, SCORES, SYSTEM, TIMINGS, in_order, predictions_schema

Names = tuple[str, str, str, str, str]
"""backbone, fingerprint, pooling, probe, budget."""


class Recorder:
    """Collects the outcomes of a run, in whatever order they come, and gives them back as tables in one order."""

    def __init__(self, card: DatasetCard, protocol: str, units: Units, resamples: list[Resample]) -> None:
        self.card, self.protocol, self.units = card, protocol, units
        self._resamples = {(resample.seed, resample.fold): resample for resample in resamples}
        self._metrics = metrics_for(card.task)
        self._scores: list[tuple[Any, ...]] = []
        self._timings: list[tuple[Any, ...]] = []
        self._predictions: list[pd.DataFrame] = []

    def add(self, names: Names, block: Block, outcome: Outcome) -> None:
        """Scores an outcome on val and test and keeps what it predicted for the test units."""
        system = (self.card.name, *names)
        resample = next(r for r in block.resamples if (r.seed, r.fold) == (outcome.seed, outcome.fold))
        sizes = tuple(len(block.units_of(rows)) for rows in (resample.train, resample.val, resample.test))
        about = (canonical_json(dict(outcome.params)), *sizes, outcome.converged, "; ".join(outcome.notes))
        for split, rows, proba in (
            ("val", resample.val, outcome.val_proba),
            ("test", resample.test, outcome.test_proba),
        ):
            scored = block.scored(rows, proba)
            for metric in self._metrics:
                values, remark = evaluate(metric, scored)
                where = (self.protocol, outcome.seed, outcome.fold, split, metric.name)
                self._scores.append((*system, *where, _number(values[0]), remark, *about))
        self._timings.append((*system, outcome.seed, outcome.fold, outcome.fit_s, outcome.predict_s))
        self._predictions.append(self._predicted(system, outcome, block.fused(resample.test, outcome.test_proba)))

    def _predicted(self, system: tuple[str, ...], outcome: Outcome, proba: np.ndarray) -> pd.DataFrame:
        unit = self._resamples[outcome.seed, outcome.fold].test
        columns: dict[str, Any] = dict(zip(SYSTEM, system, strict=True))
        y = self.units.y[unit]
        return pd.DataFrame(
            {
                **columns,
                "seed": np.full(len(unit), outcome.seed, np.int32),
                "fold": np.full(len(unit), outcome.fold, np.int16),
                "unit": unit.astype(np.int32),
                "group": self.units.group[unit].astype(np.int32),
                "y": list(y) if y.ndim == 2 else y.astype(np.int16),
                "proba": list(proba),
            }
        )

    def scores(self) -> pd.DataFrame:
        """One metric of one system, seed, fold and part per row."""
        table = pd.DataFrame(self._scores, columns=SCORES.names)
        rank = {metric.name: place for place, metric in enumerate(self._metrics)}
        table = table.assign(_rank=table["metric"].map(rank))
        return in_order(table, [*SYSTEM, *RESAMPLE, "split", "_rank"]).drop(columns="_rank")

    def predictions(self) -> pd.DataFrame:
        """One test unit of one system, seed and fold per row."""
        names = predictions_schema(self.card.task).names
        return in_order(pd.concat(self._predictions, ignore_index=True)[names], [*SYSTEM, *RESAMPLE, "unit"])

    def timings(self) -> pd.DataFrame:
        """Seconds per system, seed and fold."""
        return in_order(pd.DataFrame(self._timings, columns=TIMINGS.names), [*SYSTEM, *RESAMPLE])


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
