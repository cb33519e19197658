"""What is the same for a frozen probe and a fine-tuned network: resamples, metrics, results, statistics.

In: units of a manifest; predictions for each resample. Out: `Run` and every statistic computed from it.
"""

from .metrics.binning import BINS
from .metrics.calibration import brier_parts, calibration_curve, confidence_and_correctness
from .metrics.functions import LabeledPredictions
from .metrics.per_class import CLASS_SCORES, class_scores, confusion_of
from .metrics.registry import METRICS, Metric, evaluate, find_metric, metrics_for
from .resampling.protocols import FIXED_TEST, HOLDOUT, PROTOCOLS
from .resampling.resample import Resample, draw_resamples, parse_seeds
from .resampling.train_size import FULL_TRAIN, Budget, budgets_of, parse_fractions, parse_shots, subsample_train
from .results.fit_result import FitResult
from .results.predictions import ResamplePredictions, predictions_by_system
from .results.run import Run, check_output_dir
from .results.schemas import SystemKey
from .statistics.bootstrap import INTERVALS, N_BOOTSTRAP
from .statistics.calibration_tables import calibration_table, reliability_table, temperature_table
from .statistics.comparison import VERDICT_TESTS, Verdict, compare, compare_backbones, corrected_t_test, verdicts
from .statistics.compute import Statistics, compute_statistics
from .statistics.multiple_testing import CORRECTIONS, benjamini_hochberg, find_correction, holm
from .statistics.pairing import COMPARISON_AXES, system_labels
from .statistics.ranking import Ranking, rank_over_datasets, rank_pairs_table, rankings_table
from .statistics.run_warnings import run_warnings
from .statistics.significance import SIGNIFICANCE_TESTS, significance_tests
from .statistics.subgroups import subgroup_scores
from .statistics.summary import budgets_in_order, summarise, summarise_metrics
from .statistics.temperature import apply_temperature, fit_temperature

__all__ = [
    "BINS",
    "CLASS_SCORES",
    "COMPARISON_AXES",
    "CORRECTIONS",
    "FIXED_TEST",
    "FULL_TRAIN",
    "HOLDOUT",
    "INTERVALS",
    "METRICS",
    "N_BOOTSTRAP",
    "PROTOCOLS",
    "SIGNIFICANCE_TESTS",
    "VERDICT_TESTS",
    "Budget",
    "FitResult",
    "LabeledPredictions",
    "Metric",
    "Ranking",
    "Resample",
    "ResamplePredictions",
    "Run",
    "Statistics",
    "SystemKey",
    "Verdict",
    "apply_temperature",
    "benjamini_hochberg",
    "brier_parts",
    "budgets_in_order",
    "budgets_of",
    "calibration_curve",
    "calibration_table",
    "check_output_dir",
    "class_scores",
    "compare",
    "compare_backbones",
    "compute_statistics",
    "confidence_and_correctness",
    "confusion_of",
    "corrected_t_test",
    "draw_resamples",
    "evaluate",
    "find_correction",
    "find_metric",
    "fit_temperature",
    "holm",
    "metrics_for",
    "parse_fractions",
    "parse_seeds",
    "parse_shots",
    "predictions_by_system",
    "rank_over_datasets",
    "rank_pairs_table",
    "rankings_table",
    "reliability_table",
    "run_warnings",
    "significance_tests",
    "subgroup_scores",
    "subsample_train",
    "summarise",
    "summarise_metrics",
    "system_labels",
    "temperature_table",
    "verdicts",
]
