"""The choice of hyper-parameters on val."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...evaluate.metrics.registry import METRICS, weighted_scores
from ...evaluate.resampling.resample import Resample
from .settings import are_numbers
from .task import ProbeTask

PATIENCE = 3
"""Candidates in a row that are no better and less likely than the best, after which a path may end early."""
SPAN = 10 ** (14 / 11)
"""Factor from the first of these to the last that they must cover: that of three neighbours in the default grid of C.
On a finer grid three neighbours are nearly the same model, and noise alone may put them in a falling row."""
_ROUNDING = 1 - 1e-4
"""Values of a grid are written with six digits."""


class ModelSelector:
    """Takes candidates from the simplest to the most complex and keeps the best on val.

    Of equals the likelier one (by log-loss) is taken: on a small val many are equal, and a ranking can be perfect under
    probabilities that are all near a half. Of those that are equal in both the simpler stays. Where the metric is not
    defined on val (an AUC with one class), the log-loss alone chooses and a note says so.

    Attributes:
        best: whatever was kept with the best candidate; None before the first.
        params: of the best.
        proba: (n_val, C), of the best.
    """

    def __init__(self, task: ProbeTask, resample: Resample) -> None:
        self.task, self.val = task, resample.val
        self.metric = task.metric
        self.best: Any = None
        self.params: dict[str, Any] = {}
        self.proba = np.empty(0)
        self._value = self._loss = np.nan
        self._lowest_loss = np.inf
        self._worse: list[Any] = []
        self._undefined = False

    def consider(self, params: dict[str, Any], proba: np.ndarray) -> bool:
        """Whether this candidate is the best so far; then set `best` to what is needed of it."""
        scored = self.task.scored(self.val, proba)
        value = float(weighted_scores(self.metric, scored)[0][0])
        loss = float(weighted_scores(METRICS["log_loss"], scored)[0][0])
        self._undefined |= bool(np.isnan(value))
        by_loss = np.isnan(value) or np.isnan(self._value) or value == self._value
        won = not len(self.proba) or (loss < self._loss if by_loss else self.metric.better(value, self._value))
        if won:
            self._value, self._loss, self.params, self.proba = value, loss, params, proba
        # A plateau on which the likelihood still rises (one class predicted for all, say) does not end the path.
        self._worse = [*self._worse, params] if not won and loss > self._lowest_loss else []
        self._lowest_loss = min(self._lowest_loss, loss)
        return won

    @property
    def exhausted(self) -> bool:
        """Whether the last candidates were each no better by the metric and worse by the log-loss.

        There must be `PATIENCE` of them, of which the last is `SPAN` times as large as the first.
        """
        if len(self._worse) < PATIENCE:
            return False
        first, last = self._worse[0], self._worse[-1]
        covered = max(abs(math.log(last[name] / first[name])) for name in last)
        return covered >= math.log(SPAN * _ROUNDING)

    def notes(self, grid: Mapping[str, Sequence[Any]], *, limit: Any = None) -> list[str]:
        """Notes on the choice from the values of `grid`, by parameter; nothing can lie beyond the value `limit`.

        Where val is predicted perfectly, an edge of the grid is no reason for a wider one.
        """
        best = self.metric.range[1] if self.metric.greater_is_better else self.metric.range[0]
        notes = [f"{self.metric.name} is not defined on val; chosen by log-loss"] if self._undefined else []
        for name, values in grid.items() if self._value != best else ():
            value = self.params[name]
            if len(values) > 1 and are_numbers(values) and value in (min(values), max(values)) and value != limit:
                notes.append(f"{name}={value:g} is at the grid's edge")
        return notes
