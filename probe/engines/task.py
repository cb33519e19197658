"""What an engine solves: all resamples of one feature matrix."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...evaluate.metrics.functions import LabeledPredictions
from ...evaluate.metrics.registry import Metric
from ...evaluate.resampling.resample import Resample
from ...evaluate.results.fit_result import FitResult
from ..data.features import aggregate


@dataclass(frozen=True, eq=False)
class Fitted:
    """The model of one resample, as it is tested, and how it was chosen."""

    estimator: Any
    """A fitted estimator of scikit-learn's kind; classes are codes."""
    params: dict[str, Any]
    """The chosen hyper-parameters, JSON-like."""
    val_proba: np.ndarray
    """(n_val, C) of the rows of val, by the chosen model fitted on train."""
    notes: list[str]
    converged: bool = True


@dataclass(frozen=True, eq=False)
class ProbeTask:
    """What one probe solves: one feature matrix with its labels and all resamples at once.

    A probe fits rows and predicts rows; `scored` averages the rows of a unit, so that probabilities are scored and
    compared per unit.

    Whole rather than seed by seed, so that an engine may share work between seeds and along its grid.

    Examples:
        >>> from medprobe.evaluate import draw_resamples, find_metric
        >>> from medprobe.probe import ProbeTask
        >>> units, classes = manifest.units(), manifest.card.classes
        >>> resamples = draw_resamples(units, 2, classes=classes)
        >>> X = caches[0].load("mean")
        >>> task = ProbeTask(X, units.y, tuple(resamples), "binary", tuple(classes), find_metric("roc_auc"), refit=True)
        >>> len(task.fitted_on(resamples[0]))
        48
    """

    X: np.ndarray
    """(R, D) float32, finite, C-contiguous; to be read only."""
    y: np.ndarray
    """(R,) int64 codes, or (R, C) int8 for multilabel."""
    resamples: tuple[Resample, ...]
    """In rows of X."""
    task: str
    classes: tuple[str, ...]
    metric: Metric
    """What hyper-parameters are chosen by, on val."""
    refit: bool
    """Whether the chosen model is fitted again on train and val before the test."""
    unit: np.ndarray | None = None
    """(R,) int64: the position of each row's unit among the manifest's units; None where rows are the units."""
    learnable: np.ndarray | None = None
    """(R,) bool: rows that some seed may train or choose on, whichever seeds there are; None for those of `resamples`.
    What an engine computes for all resamples follows from these rows, so that no result depends on the other seeds."""

    @cached_property
    def wide(self) -> bool:
        """Whether there is a column of y per class (multilabel)."""
        return self.y.ndim == 2

    @cached_property
    def pool(self) -> np.ndarray:
        """(R,) bool: `learnable`, or the rows that some resample trains or chooses on."""
        if self.learnable is not None:
            return self.learnable
        used = np.zeros(len(self.X), bool)
        for resample in self.resamples:
            used[resample.train] = used[resample.val] = True
        return used

    def fitted_on(self, resample: Resample) -> np.ndarray:
        """The rows that the tested model is fitted on, sorted."""
        return np.sort(np.r_[resample.train, resample.val]) if self.refit else resample.train

    def scored(self, rows: np.ndarray, proba: np.ndarray) -> LabeledPredictions:
        """Predictions for the units of `rows`, with their labels."""
        y = self.y[rows]
        if not self._rows_are_units:
            y = y[np.unique(self._unit[rows], return_index=True)[1]]
        return LabeledPredictions(y, self._unit_means(rows, proba).astype(np.float64), self.task, self.classes)

    def result(self, resample: Resample, *, val_proba: np.ndarray, test_proba: np.ndarray, **fit: Any) -> FitResult:
        """The result, in units, of one of the resamples, in rows.

        Args:
            resample: one of `resamples`.
            val_proba: (n, C) of the rows of val.
            test_proba: (n, C) of the rows of test.
            **fit: the other fields of `FitResult`: `params`, JSON-like, and those that have a default.
        """
        return FitResult(
            resample=resample.units(self._unit),
            val_proba=self._unit_means(resample.val, val_proba),
            test_proba=self._unit_means(resample.test, test_proba),
            **fit,
        )

    def tested(
        self, resample: Resample, predict_proba: Callable[[np.ndarray], np.ndarray], start: float, **fit: Any
    ) -> FitResult:
        """The result of a fitted model that began at `start` (`time.perf_counter`); `fit` is as for `result`."""
        fitted = time.perf_counter()
        test_proba = predict_proba(self.X[resample.test])
        seconds = {"fit_s": fitted - start, "predict_s": time.perf_counter() - fitted}
        return self.result(resample, test_proba=test_proba, **seconds, **fit)

    @cached_property
    def _unit(self) -> np.ndarray:
        return np.arange(len(self.X)) if self.unit is None else self.unit

    @cached_property
    def _rows_are_units(self) -> bool:
        return bool((np.diff(self._unit) > 0).all())

    def _unit_means(self, rows: np.ndarray, proba: np.ndarray) -> np.ndarray:
        """Probabilities of the units of `rows`, (n, C) float32: of each the mean over its rows."""
        if self._rows_are_units:
            return proba.astype(np.float32)
        units, unit = np.unique(self._unit[rows], return_inverse=True)
        return aggregate(proba, unit, len(units))
