"""Embeddings to results: resamples, probes, scores, tables, intervals and comparisons.

In: a manifest and its caches. Out: `Run` (Parquet tables and a page of facts) and the statistics computed from it.
Nothing here knows of images or torch; a probe gets a whole `Block` of resamples, so that a faster engine slips under.
"""

from .block import Block, Outcome
from .centroid import CentroidProbe
from .comparisons import Verdict, compare_backbones, corrected_t_test, holm, system_labels, verdicts
from .gbm import GBMProbe
from .kind import ProbeKind, ProbeSettings
from .knn import KNNProbe
from .listing import PROBES, find_probes
from .logistic import LogisticProbe
from .metrics import ALIASES, METRICS, Metric, evaluate, find_metric, metrics_for
from .remarks import remarks
from .replay import Predicted, System, replay
from .resampling import HOLDOUT, PROTOCOLS, Resample, draw_resamples, parse_seeds
from .results import Run, refuse_occupied
from .runner import run_probes
from .scores import Scored
from .summaries import summarise

__all__ = [
    "ALIASES",
    "HOLDOUT",
    "METRICS",
    "PROBES",
    "PROTOCOLS",
    "Block",
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
    "compare_backbones",
    "corrected_t_test",
    "draw_resamples",
    "evaluate",
    "find_metric",
    "find_probes",
    "holm",
    "metrics_for",
    "parse_seeds",
    "refuse_occupied",
    "remarks",
    "replay",
    "run_probes",
    "summarise",
    "system_labels",
    "verdicts",
]
