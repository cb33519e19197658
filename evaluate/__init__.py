"""What is the same for a frozen probe and a fine-tuned network: resamples, metrics, results, statistics.

In: units of a manifest; predictions for each resample. Out: `Run` and every statistic computed from it.
"""

from .metrics.registry import METRICS, Metric, find_metric, weighted_scores
from .resampling.resample import Resample, draw_resamples
from .resampling.train_size import Budget, subsample_train
from .results.fit_result import FitResult
from .results.merge import merge_runs
from .results.predictions import predictions_by_system
from .results.run import Run
from .results.schemas import SystemKey
from .statistics.calibration_tables import calibration_table, reliability_table, temperature_table
from .statistics.comparison import compare
from .statistics.compute import compute_statistics
from .statistics.p_values import benjamini_hochberg, holm
from .statistics.ranking import rank_over_datasets
from .statistics.significance import significance_tests
from .statistics.subgroups import subgroup_scores
from .statistics.summary import summarise

__all__ = [
    "METRICS",
    "Budget",
    "FitResult",
    "Metric",
    "Resample",
    "Run",
    "SystemKey",
    "benjamini_hochberg",
    "calibration_table",
    "compare",
    "compute_statistics",
    "draw_resamples",
    "find_metric",
    "holm",
    "merge_runs",
    "predictions_by_system",
    "rank_over_datasets",
    "reliability_table",
    "significance_tests",
    "subgroup_scores",
    "subsample_train",
    "summarise",
    "temperature_table",
    "weighted_scores",
]
