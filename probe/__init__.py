"""Embeddings to results: resamples, probes, scores, tables, intervals and comparisons.

In: a manifest and its caches. Out: `Run` (Parquet tables and a page of facts) and the statistics computed from it.
Nothing here knows of images or torch; a probe gets a whole `Block` of resamples, so that a faster engine slips under.
"""

from .block import Block, Outcome
from .budgets import Budget, budgets_of, cut_down, parse_fractions, parse_shots
from .centroid import CentroidProbe
from .cohort import beside
from .comparisons import Verdict, compare_backbones, corrected_t_test, holm, system_labels, verdicts
from .gbm import GBMProbe
from .kind import ProbeKind, ProbeSettings
from .knn import KNNProbe
from .listing import PROBES, find_probes
from .logistic import LogisticProbe
from .metrics import ALIASES, METRICS, Metric, evaluate, find_metric, metrics_for
from .protocols import FIXED_TEST, HOLDOUT, PROTOCOLS
from .remarks import remarks
from .replay import Predicted, System, replay
from .resampling import Resample, draw_resamples, parse_seeds
from .results import Run, refuse_occupied
from .runner import run_probes
from .scores import Scored
from .summaries import budgets_in_order, summarise
from .tables import WHOLE

__all__ = [
    "ALIASES",
    "FIXED_TEST",
    "HOLDOUT",
    "METRICS",
    "PROBES",
    "PROTOCOLS",
    "WHOLE",
    "Block",
    "Budget",
    "CentroidProbe",
    "GBMProbe",
    "KNNProbe",
    "LogisticProbe",
    "Metric",
    "Outcome",
    "Predicted",
    "ProbeKind",
    "ProbeSettings",
    "Resample",
    "Run",
    "Scored",
    "System",
    "Verdict",
    "beside",
    "budgets_in_order",
    "budgets_of",
    "compare_backbones",
    "corrected_t_test",
    "cut_down",
    "draw_resamples",
    "evaluate",
    "find_metric",
    "find_probes",
    "holm",
    "metrics_for",
    "parse_fractions",
    "parse_seeds",
    "parse_shots",
    "refuse_occupied",
    "remarks",
    "replay",
    "run_probes",
    "summarise",
    "system_labels",
    "verdicts",
]
