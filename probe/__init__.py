"""Embeddings to results: resamples, probes, scores, tables, intervals and comparisons.

In: a manifest and its caches, or arrays. Out: `Run` (Parquet tables and a page of facts) and its statistics.
Nothing here knows of images or torch; an engine gets all resamples of a `ProbeTask` at once, so it can share work.
Modules are imported when a name of theirs is first requested: to predict needs few of them, and not scikit-learn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base.lazy import lazy_names

if TYPE_CHECKING:
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

_MODULES = {
    "evaluate": "arrays",
    "concat_units": "data.probe_data",
    "Embeddings": "embeddings",
    "load_embeddings": "embeddings",
    "PROBES": "engines.registry",
    "Probe": "engines.registry",
    "resolve_probes": "engines.registry",
    "set_params": "engines.registry",
    "ProbeSettings": "engines.settings",
    "ProbeTask": "engines.task",
    "CentroidProbe": "estimators.centroid",
    "GBMProbe": "estimators.gbm",
    "KNNProbe": "estimators.knn",
    "LogisticPath": "estimators.logistic",
    "LogisticProbe": "estimators.logistic",
    "nearest_images": "retrieval",
    "retrieve": "retrieval",
    "run_probes": "runner",
}

__getattr__ = lazy_names(__name__, _MODULES)
