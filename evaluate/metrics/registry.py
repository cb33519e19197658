"""Scores: which there are, and how one is computed under many weightings at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import cast

import numpy as np

from ...base import ManifestError, ProbeError, look_up, one_of
from ...manifests import DatasetCard
from ...manifests.schema.card import TASKS, Task
from . import functions as f
from .functions import LabeledPredictions
from .retrieval import MEASURES, of_queries


@dataclass(frozen=True)
class Metric:
    """One score of one set of predictions.

    Examples:
        >>> from medprobe.evaluate import METRICS
        >>> metric = METRICS["log_loss"]
        >>> metric.label, metric.greater_is_better, metric.better(0.2, than=0.3)
        ('Log loss', False, True)
    """

    function: Callable[[LabeledPredictions, np.ndarray], np.ndarray]
    """(B,) values for (B, n) weights; NaN where it is not defined."""
    label: str
    """For tables and axes."""
    meaning: str
    """One line for a reader who does not know it."""
    greater_is_better: bool = True
    range: tuple[float, float] = (0, 1)
    """Smallest and largest possible value; infinity where there is no bound."""
    tasks: tuple[Task, ...] = TASKS
    """Tasks that it is defined for: their runs hold it."""
    in_overview: bool = True
    """Whether tables of every metric show it; else it is in the scores, and shown where it is named."""

    @property
    def name(self) -> str:
        """That of its function."""
        return self.function.__name__

    def range_for(self, task: str) -> tuple[float, float]:
        """Its range where `task` is known: a Brier score of more than one column of probabilities is summed."""
        return (0, 1) if self.function is f.brier and task in ("binary", "multilabel") else self.range

    def value(self, scored: LabeledPredictions) -> float:
        """Of all units, each counted once; NaN where it is not defined."""
        return float(weighted_scores(self, scored)[0][0])

    def better(self, value: float, than: float) -> bool:
        """Whether `value` is the better of two."""
        return value > than if self.greater_is_better else value < than

    @property
    def direction(self) -> str:
        """What a caption adds to the label: nothing, or that less is better."""
        return "" if self.greater_is_better else " (lower is better)"

    @property
    def sign(self) -> float:
        """1 where more is better, else -1."""
        return 1.0 if self.greater_is_better else -1.0


_SINGLE: tuple[Task, ...] = ("binary", "multiclass", "ordinal")
_SEVERAL: tuple[Task, ...] = ("multiclass", "ordinal")

_ALL = (
    Metric(f.accuracy, "Accuracy", "share of right predictions"),
    Metric(
        f.subset_accuracy,
        "Subset accuracy",
        "share of units that are right in every label",
        tasks=("multilabel",),
        in_overview=False,
    ),
    Metric(
        f.balanced_accuracy,
        "Balanced accuracy",
        "mean over classes of the share of its units that are found (macro recall)",
    ),
    Metric(f.macro_f1, "Macro F1", "mean over classes of the F1 score"),
    Metric(f.weighted_f1, "Weighted F1", "mean of the classes' F1 scores by their units", in_overview=False),
    Metric(
        f.weighted_precision,
        "Weighted precision",
        "mean of the classes' precisions by their units",
        in_overview=False,
    ),
    Metric(f.roc_auc, "ROC-AUC", "chance that a unit of the class ranks above one of another, mean over classes"),
    Metric(
        f.roc_auc_ovo,
        "ROC-AUC one-vs-one",
        "chance that a unit of one class ranks above one of another by that class, mean over pairs of classes",
        tasks=_SEVERAL,
        in_overview=False,
    ),
    Metric(f.average_precision, "Average precision", "area under the precision-recall steps, mean over classes"),
    Metric(
        f.unweighted_kappa,
        "Unweighted kappa",
        "agreement beyond chance, every error counted the same",
        range=(-1, 1),
        tasks=_SINGLE,
        in_overview=False,
    ),
    Metric(
        f.quadratic_kappa,
        "Quadratic kappa",
        "agreement beyond chance, errors weighted by squared distance",
        range=(-1, 1),
        tasks=("ordinal",),
    ),
    Metric(
        f.log_loss,
        "Log loss",
        "mean negative log-probability of the truth",
        greater_is_better=False,
        range=(0, np.inf),
    ),
    Metric(f.brier, "Brier score", "mean squared error of the probabilities", greater_is_better=False, range=(0, 2)),
    Metric(
        f.ece,
        "Calibration error",
        "mean gap between confidence and share right, over 15 bins of equal mass",
        greater_is_better=False,
    ),
)
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _ALL}
"""Every score by name. A further one is one function in functions.py and one entry here."""

METRIC_ALIASES = {
    **dict.fromkeys(("macro_recall", "mean_recall", "bacc", "balanced_acc"), "balanced_accuracy"),
    **dict.fromkeys(("acc",), "accuracy"),
    **dict.fromkeys(("f1", "f1_macro", "f1_score"), "macro_f1"),
    **dict.fromkeys(("f1_weighted",), "weighted_f1"),
    **dict.fromkeys(("precision_weighted",), "weighted_precision"),
    **dict.fromkeys(("exact_match", "exact_match_ratio"), "subset_accuracy"),
    **dict.fromkeys(("auc", "auroc", "rocauc", "roc"), "roc_auc"),
    **dict.fromkeys(("auc_ovo", "auroc_ovo"), "roc_auc_ovo"),
    **dict.fromkeys(("ap", "auprc", "pr_auc", "map", "mean_average_precision"), "average_precision"),
    **dict.fromkeys(("kappa", "qwk", "cohen_kappa"), "quadratic_kappa"),
    **dict.fromkeys(("nll", "cross_entropy", "logloss"), "log_loss"),
    **dict.fromkeys(("brier_score",), "brier"),
    **dict.fromkeys(("calibration_error", "expected_calibration_error"), "ece"),
}
"""Other names under which a metric is found; results have the one name."""


def find_metric(name: str, task: str | None = None) -> Metric:
    """The metric called `name`, or by another of its names.

    Raises:
        ProbeError: there is none (names the near ones), or it is not defined for `task` (names those that are).

    Examples:
        >>> from medprobe.evaluate import find_metric
        >>> find_metric("auc").name
        'roc_auc'
    """
    if measure := re.fullmatch(rf"({'|'.join(MEASURES)})_at_([1-9]\d{{0,8}})", name):
        found = _retrieval_metric(measure[1], int(measure[2]))
    else:
        name = METRIC_ALIASES.get(name.lower().replace("-", "_"), name)
        of_task = METRICS if task is None else {metric.name: metric for metric in metrics_for(task)}
        found = METRICS.get(name) or look_up("metric", name, of_task)
    if task is not None and found not in metrics_for(task):
        names = one_of((one.name for one in metrics_for(task)), most=20)
        raise ProbeError(f"{found.name} is not defined for a {task} task; there are {names}.")
    return found


def primary_metric(card: DatasetCard) -> Metric:
    """The metric that the card of a data set with labels names.

    Raises:
        ManifestError: there is none of that name, or it is not defined for the card's task, or the card has no task.
    """
    task = card.require_task("scoring")
    try:
        return find_metric(card.primary_metric, task)
    except ProbeError as error:
        raise ManifestError(f"{card.name}: the dataset card: primary_metric: {error}") from error


def retrieval_metrics(ks: Iterable[int]) -> list[Metric]:
    """The scores of a search that looks at the nearest `k`, for each of `ks`; one alone for 1, where all are the same.

    Examples:
        >>> from medprobe.evaluate.metrics.registry import retrieval_metrics
        >>> [metric.name for metric in retrieval_metrics([1, 5])]
        ['accuracy_at_1', 'accuracy_at_5', 'vote_at_5', 'map_at_5', 'map_all_at_5']
    """
    return [_retrieval_metric(measure, k) for k in ks for measure in (MEASURES if k > 1 else ["accuracy"])]


@cache
def _retrieval_metric(measure: str, k: int) -> Metric:
    def score(scored: LabeledPredictions, weights: np.ndarray) -> np.ndarray:
        assert scored.retrieved is not None  # as `require_metric` makes sure
        return f.ratio(weights @ of_queries(measure, scored.retrieved, scored.y, k), weights.sum(axis=1))

    score.__name__ = f"{measure}_at_{k}"
    about = MEASURES[measure]
    return Metric(score, about.label.format(k=k), about.meaning.format(k=k), tasks=_SINGLE)


def metrics_for(task: str) -> list[Metric]:
    """The metrics that a task is scored in, in the order of `METRICS`."""
    return [metric for metric in METRICS.values() if cast(Task, task) in metric.tasks]


def weighted_scores(
    metric: Metric, scored: LabeledPredictions, weights: np.ndarray | None = None
) -> tuple[np.ndarray, str]:
    """A metric under one or many weightings, and a note on it.

    Args:
        metric: which.
        scored: n predictions.
        weights: (B, n) non-negative multiplicities; one weighting of ones by default.

    Returns:
        (B,) float64, NaN where the metric is not defined under a weighting; and a remark, "" where there is nothing to
        say: which classes were left out because they are absent, or why there is no value.

    Examples:
        >>> from medprobe.evaluate import find_metric, predictions_by_system, weighted_scores
        >>> resamples = next(iter(predictions_by_system(run).values()))
        >>> values, note = weighted_scores(find_metric("accuracy"), resamples[0].scored)
        >>> values.shape, note
        ((1,), '')
    """
    if len(scored) == 0:
        return np.full(1 if weights is None else len(weights), np.nan), "no units to score"
    values = metric.function(scored, np.ones((1, len(scored))) if weights is None else weights)
    return values, f.remark(metric.name, scored, defined=bool(np.isfinite(values).any()))
