"""Embeddings to results: resamples, probes, scores, tables, intervals and comparisons.

In: a manifest and its caches. Out: `Run` (Parquet tables and a page of facts) and the statistics computed from it.
Nothing here knows of images or torch; a probe gets a whole `Block` of resamples, so that a faster engine slips under.
"""

from .binning import BINS
from .block import Block, Outcome
from .bootstrap import DRAWS, INTERVALS
from .budgets import Budget, budgets_of, cut_down, parse_fractions, parse_shots
from .calibrating import calibration_table, reliability_table, temperature_table
from .calibration import bin_chances, brier_parts, stated_and_true
from .centroid import CentroidProbe
from .class_scores import CLASS_SCORES, class_scores, confusion_of
from .cohort import beside
from .comparisons import VERDICT_TESTS, Verdict, compare, compare_backbones, corrected_t_test, verdicts
from .further_tests import FURTHER, further_tests
from .gathering import Statistics, gather_statistics
from .gbm import GBMProbe
from .kind import ProbeKind, ProbeSettings
from .knn import KNNProbe
from .listing import PROBES, configure_all, find_probes
from .logistic import LogisticPath, LogisticProbe
from .metrics import ALIASES, METRICS, Metric, evaluate, find_metric, metrics_for
from .multiplicity import CORRECTIONS, benjamini_hochberg, find_correction, holm
from .pairs import WITHIN, system_labels
from .protocols import FIXED_TEST, HOLDOUT, PROTOCOLS
from .ranking import Ranking, rank_over_datasets, rank_pairs_table, rankings_table
from .remarks import remarks
from .replay import Predicted, System, replay
from .resampling import Resample, draw_resamples, parse_seeds
from .results import Run, refuse_occupied
from .runner import run_probes
from .scores import Scored
from .subgroups import subgroup_scores
from .summaries import budgets_in_order, summarise, summarise_metrics
from .tables import WHOLE
from .temperature import at_temperature, fit_temperature

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
    "PROBES",
    "PROTOCOLS",
    "VERDICT_TESTS",
    "WHOLE",
    "WITHIN",
    "Block",
    "Budget",
    "CentroidProbe",
    "GBMProbe",
    "KNNProbe",
    "LogisticPath",
    "LogisticProbe",
    "Metric",
    "Outcome",
    "Predicted",
    "ProbeKind",
    "ProbeSettings",
    "Ranking",
    "Resample",
    "Run",
    "Scored",
    "Statistics",
    "System",
    "Verdict",
    "at_temperature",
    "benjamini_hochberg",
    "beside",
    "bin_chances",
    "brier_parts",
    "budgets_in_order",
    "budgets_of",
    "calibration_table",
    "class_scores",
    "compare",
    "compare_backbones",
    "configure_all",
    "confusion_of",
    "corrected_t_test",
    "cut_down",
    "draw_resamples",
    "evaluate",
    "find_correction",
    "find_metric",
    "find_probes",
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
    "run_probes",
    "stated_and_true",
    "subgroup_scores",
    "summarise",
    "summarise_metrics",
    "system_labels",
    "temperature_table",
    "verdicts",
]
