"""What is the same for a frozen probe and a fine-tuned network: resamples, metrics, results, statistics.

In: units of a manifest; predictions for each resample. Out: `Run` and every statistic computed from it.
"""

from .metrics.binning import BINS
from .metrics.calibration import bin_chances, brier_parts, stated_and_true
from .metrics.functions import Scored
from .metrics.per_class import CLASS_SCORES, class_scores, confusion_of
from .metrics.registry import ALIASES, METRICS, Metric, evaluate, find_metric, metrics_for
from .resampling.protocols import FIXED_TEST, HOLDOUT, PROTOCOLS
from .resampling.resample import Resample, draw_resamples, parse_seeds
from .resampling.train_size import WHOLE, Budget, budgets_of, cut_down, parse_fractions, parse_shots
from .results.fit_result import FitResult
from .results.predictions import Predicted, System, replay
from .results.run import Run, refuse_occupied
from .statistics.bootstrap import DRAWS, INTERVALS
from .statistics.calibration_tables import calibration_table, reliability_table, temperature_table
from .statistics.comparison import VERDICT_TESTS, Verdict, compare, compare_backbones, corrected_t_test, verdicts
from .statistics.compute import Statistics, gather_statistics
from .statistics.multiple_testing import CORRECTIONS, benjamini_hochberg, find_correction, holm
from .statistics.pairing import WITHIN, system_labels
from .statistics.ranking import Ranking, rank_over_datasets, rank_pairs_table, rankings_table
from .statistics.run_warnings import remarks
from .statistics.significance import FURTHER, further_tests
from .statistics.subgroups import subgroup_scores
from .statistics.summary import budgets_in_order, summarise, summarise_metrics
from .statistics.temperature import at_temperature, fit_temperature

__all__ = [
    "ALIASES",
    "BINS",
    "CLASS_SCORES",
    "CORRECTIONS",
    "DRAWS",
    "FIXED_TEST",
    "FURTHER",
    "HOLDOUT",
    "INTERVALS",
    "METRICS",
    "PROTOCOLS",
    "VERDICT_TESTS",
    "WHOLE",
    "WITHIN",
    "Budget",
    "FitResult",
    "Metric",
    "Predicted",
    "Ranking",
    "Resample",
    "Run",
    "Scored",
    "Statistics",
    "System",
    "Verdict",
    "at_temperature",
    "benjamini_hochberg",
    "bin_chances",
    "brier_parts",
    "budgets_in_order",
    "budgets_of",
    "calibration_table",
    "class_scores",
    "compare",
    "compare_backbones",
    "confusion_of",
    "corrected_t_test",
    "cut_down",
    "draw_resamples",
    "evaluate",
    "find_correction",
    "find_metric",
    "fit_temperature",
    "further_tests",
    "gather_statistics",
    "holm",
    "metrics_for",
    "parse_fractions",
    "parse_seeds",
    "parse_shots",
    "rank_over_datasets",
    "rank_pairs_table",
    "rankings_table",
    "refuse_occupied",
    "reliability_table",
    "remarks",
    "replay",
    "stated_and_true",
    "subgroup_scores",
    "summarise",
    "summarise_metrics",
    "system_labels",
    "temperature_table",
    "verdicts",
]
