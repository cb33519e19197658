"""Embeddings to results: resamples, probes, scores, tables, intervals and comparisons.

In: a manifest and its caches. Out: `Run` (Parquet tables and a page of facts) and the statistics computed from it.
Nothing here knows of images or torch; a probe gets a whole `Block` of resamples, so that a faster engine slips under.
"""

from .data.probe_data import beside
from .engines.probe import ProbeKind, ProbeSettings
from .engines.registry import PROBES, configure_all, find_probes
from .engines.task import Block
from .estimators.centroid import CentroidProbe
from .estimators.gbm import GBMProbe
from .estimators.knn import KNNProbe
from .estimators.logistic import LogisticPath, LogisticProbe
from .runner import run_probes

__all__ = [
    "PROBES",
    "Block",
    "CentroidProbe",
    "GBMProbe",
    "KNNProbe",
    "LogisticPath",
    "LogisticProbe",
    "ProbeKind",
    "ProbeSettings",
    "beside",
    "configure_all",
    "find_probes",
    "run_probes",
]
