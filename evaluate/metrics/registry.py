"""Scores: which there are, and how one is computed under many weightings at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np

from ...base import ProbeError, no_such
from ...manifests import TASKS
from ...manifests.schema.card import METRIC_ALIASES, Task
from . import functions
from .functions import LabeledPredictions


@dataclass(frozen=True)
class Metric:
    """One score of one set of predictions.

    Examples:
        >>> from medprobe.evaluate import METRICS
        >>> metric = METRICS["log_loss"]
        >>> metric.label, metric.greater_is_better, metric.better(0.2, than=0.3)
        ('Log loss', False, True)
    """

    name: str
    label: str
    """For tables and axes."""
    greater_is_better: bool
    range: tuple[float, float]
    """Smallest and largest possible value; infinity where there is no bound."""
    tasks: tuple[Task, ...]
    """Tasks that it is reported for."""
    meaning: str
    """One line for a reader who does not know it."""
    function: Callable[[LabeledPredictions, np.ndarray], np.ndarray]
    """(B,) values for (B, n) weights; NaN where it is not defined."""

    def better(self, value: float, than: float) -> bool:
        """Whether `value` is the better of two."""
        return value > than if self.greater_is_better else value < than


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "Accuracy", True, (0, 1), TASKS, "share of right predictions", functions.accuracy),
        Metric(
            "balanced_accuracy",
            "Balanced accuracy",
            True,
            (0, 1),
            TASKS,
            "mean over classes of the share of its units that are found (macro recall)",
            functions.balanced_accuracy,
        ),
        Metric("macro_f1", "Macro F1", True, (0, 1), TASKS, "mean over classes of the F1 score", functions.macro_f1),
        Metric(
            "roc_auc",
            "ROC-AUC",
            True,
            (0, 1),
            TASKS,
            "chance that a unit of the class ranks above one of another, mean over classes",
            functions.roc_auc,
        ),
        Metric(
            "average_precision",
            "Average precision",
            True,
            (0, 1),
            TASKS,
            "area under the precision-recall steps, mean over classes",
            functions.average_precision,
        ),
        Metric(
            "quadratic_kappa",
            "Quadratic kappa",
            True,
            (-1, 1),
            ("ordinal",),
            "agreement beyond chance, errors weighted by squared distance",
            functions.quadratic_kappa,
        ),
        Metric(
            "log_loss",
            "Log loss",
            False,
            (0, np.inf),
            TASKS,
            "mean negative log-probability of the truth",
            functions.log_loss,
        ),
        Metric(
            "brier", "Brier score", False, (0, 2), TASKS, "mean squared error of the probabilities", functions.brier
        ),
        Metric(
            "ece",
            "Calibration error",
            False,
            (0, 1),
            TASKS,
            "mean gap between confidence and share right, over 15 bins of equal mass",
            functions.ece,
        ),
    )
}
"""Every score by name. A further one is one function in functions.py and one entry here."""


def find_metric(name: str) -> Metric:
    """The metric called `name`, or by another of its names.

    Raises:
        ProbeError: there is none (names the near ones).

    Examples:
        >>> from medprobe.evaluate import find_metric
        >>> find_metric("auc").name
        'roc_auc'
    """
    found = METRICS.get(METRIC_ALIASES.get(name.lower().replace("-", "_"), name))
    if found is None:
        raise ProbeError(no_such("metric", name, METRICS))
    return found


def metrics_for(task: str, *, also: Iterable[str] = ()) -> list[Metric]:
    """The metrics that a task is reported in, in the order of `METRICS`; those named in `also` with them."""
    wanted = {find_metric(name).name for name in also}
    return [metric for metric in METRICS.values() if cast(Task, task) in metric.tasks or metric.name in wanted]


def evaluate(metric: Metric, scored: LabeledPredictions, weights: np.ndarray | None = None) -> tuple[np.ndarray, str]:
    """A metric under one or many weightings, and a note on it.

    Args:
        metric: which.
        scored: n predictions.
        weights: (B, n) non-negative multiplicities; one weighting of ones by default.

    Returns:
        (B,) float64, NaN where the metric is not defined under a weighting; and a remark, "" where there is nothing to
        say: which classes were left out because they are absent, or why there is no value.

    Examples:
        >>> from medprobe.evaluate import evaluate, find_metric, predictions_by_system
        >>> resamples = next(iter(predictions_by_system(run).values()))
        >>> values, note = evaluate(find_metric("accuracy"), resamples[0].scored)
        >>> values.shape, note
        ((1,), '')
    """
    if len(scored) == 0:
        return np.full(1 if weights is None else len(weights), np.nan), "no units to score"
    values = metric.function(scored, np.ones((1, len(scored))) if weights is None else weights)
    return values, functions.remark(metric.name, scored)
