"""Embeddings to results: resamples, probes, scores, tables, intervals and comparisons.

In: a manifest and its caches, or arrays. Out: `Run` (Parquet tables and a page of facts) and its statistics.
Nothing here knows of images or torch; an engine gets all resamples of a `ProbeTask` at once, so it can share work.
"""

from .arrays import evaluate
from .data.probe_data import concat_units
from .embeddings import Embeddings, load_embeddings
from .engines.registry import PROBES, Probe, resolve_probes, set_params
from .engines.settings import ProbeSettings
from .engines.task import ProbeTask
from .estimators.centroid import CentroidProbe
from .estimators.gbm import GBMProbe
from .estimators.knn import KNNProbe
from .estimators.logistic import LogisticPath, LogisticProbe
from .retrieval import nearest_images, retrieve
from .runner import run_probes

__all__ = [
    "PROBES",
    "CentroidProbe",
    "Embeddings",
    "GBMProbe",
    "KNNProbe",
    "LogisticPath",
    "LogisticProbe",
    "Probe",
    "ProbeSettings",
    "ProbeTask",
    "concat_units",
    "evaluate",
    "load_embeddings",
    "nearest_images",
    "resolve_probes",
    "retrieve",
    "run_probes",
    "set_params",
]
