"""k nearest neighbours on frozen embeddings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import PositiveInt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from .block import Block, Outcome, Workers
from .choosing import Chooser
from .kind import AsGrid, ProbeKind, ProbeSettings
from .labels import MultilabelMixin, encode_labels
from .neighbours import METRICS, NeighbourLists, comparable, list_neighbours, search
from .resampling import Resample

GRID = (1, 3, 5, 11, 21, 51, 101, 201)
"""Values of k; those beyond the training rows are left out."""
WEIGHTS = ("distance", "uniform")
_NEAREST = 1e-5
"""Share of a row's farthest distance below which distances count as equal: about what float32 can tell apart."""


class KNNProbe(MultilabelMixin, ClassifierMixin, BaseEstimator):
    """k nearest neighbours with exact search and probabilities that sum to one; multilabel too.

    Parameters
    ----------
    n_neighbors : int, default=5
        k; where there are fewer training rows, all of them vote.
    metric : {"cosine", "euclidean"}, default="cosine"
        Distance; cosine is one minus the cosine similarity, and 1 for a row of zeros.
    weights : {"distance", "uniform"}, default="distance"
        Weight of a neighbour's vote: the inverse of its distance, or the same for all.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), or of shape (n_labels,) for multilabel
    X_ : ndarray of shape (n_samples, n_features)
        Training rows, of unit length for cosine.
    y_ : ndarray of shape (n_samples,), int64, or of shape (n_samples, n_labels), int8
        Positions in `classes_`, or 0 and 1.
    """  # noqa: D416  (numpydoc, as scikit-learn has it)

    def __init__(self, n_neighbors: int = 5, *, metric: str = "cosine", weights: str = "distance") -> None:
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.weights = weights

    def fit(self, X: Any, y: Any) -> KNNProbe:
        """Keeps `X` of shape (n_samples, n_features) and `y` of shape (n_samples,) or (n_samples, n_labels)."""
        if self.metric not in METRICS or self.weights not in WEIGHTS:
            raise ValueError(f"metric must be one of {METRICS} and weights one of {WEIGHTS}")
        if self.n_neighbors < 1:
            raise ValueError(f"n_neighbors must be at least 1, got {self.n_neighbors}")
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32), multi_output=True)
        self.y_, self.classes_, self.multilabel_ = encode_labels(self, y)
        self.X_ = comparable(X, self.metric)
        return self

    def kneighbors(self, X: Any, n_neighbors: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The nearest training rows: distances and positions, each (n_queries, k), nearest first.

        Of equal distances the earlier row is the nearer one.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        k = min(n_neighbors or self.n_neighbors, len(self.X_))
        return search(comparable(X, self.metric), self.X_, k, self.metric)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of shape (n_samples, n_classes), each row summing to one; for multilabel per label."""
        found, positions = self.kneighbors(X)
        return vote(found, self.y_[positions], len(self.classes_), weights=self.weights)


def vote(found: np.ndarray, labels: np.ndarray, classes: int, *, weights: str = "distance") -> np.ndarray:
    """Probabilities from the labels of neighbours.

    Args:
        found: (n, k) distances, ascending.
        labels: (n, k) codes, or (n, k, L) of 0 and 1 for multilabel.
        classes: how many, C; for multilabel L.
        weights: `distance` or `uniform`.

    Returns:
        (n, C) float64, each row summing to one; for multilabel the weighted share of neighbours that have the label.
    """
    if weights == "uniform":
        votes = np.ones(found.shape)
    else:
        found = found.astype(np.float64)
        floor = np.maximum(_NEAREST * found[:, -1:], np.finfo(np.float64).tiny)
        votes = floor / np.maximum(found, floor)
    if labels.ndim == 3:
        return np.clip(np.einsum("nk,nkl->nl", votes / votes.sum(axis=1, keepdims=True), labels), 0, 1)
    cells = np.arange(len(found))[:, None] * classes + labels
    proba = np.bincount(cells.ravel(), votes.ravel(), minlength=len(found) * classes).reshape(-1, classes)
    return proba / proba.sum(axis=1, keepdims=True)


class KNNSettings(ProbeSettings):
    """How the probe `knn` is fitted."""

    k: Annotated[tuple[PositiveInt, ...], AsGrid] = GRID
    """Grid, chosen from on val; values beyond the training rows are left out."""
    metric: Literal["cosine", "euclidean"] = "cosine"
    """Distance between embeddings."""
    weights: Literal["distance", "uniform"] = "distance"
    """Weight of a neighbour's vote."""


@dataclass(frozen=True, eq=False)
class _Shared:
    """What every seed's work needs."""

    block: Block
    settings: KNNSettings
    lists: NeighbourLists
    search_s: float
    """Seconds of finding the lists, by seed."""


def solve(block: Block, workers: Workers, settings: KNNSettings) -> Iterator[Outcome]:
    """One search for all seeds; each seed's choice of k on val and its test are masks over the lists."""
    start = time.perf_counter()
    share = min(len(resample.train) for resample in block.resamples) / len(block.X)
    lists = list_neighbours(block.X, max(settings.k), share, workers, metric=settings.metric)
    search_s = (time.perf_counter() - start) / len(block.resamples)
    return workers.map(_solve_one, _Shared(block, settings, lists, search_s), block.resamples)


def _solve_one(shared: _Shared, resample: Resample) -> Outcome:
    start = time.perf_counter()
    block, lists, settings = shared.block, shared.lists, shared.settings
    targets = block.y if block.wide else block.y.astype(np.int64)
    grid = [k for k in settings.k if k <= len(resample.train)] or [len(resample.train)]
    found, rows = lists.among(resample.val, resample.train, max(grid))
    chooser = Chooser(block, resample)
    for k in reversed(grid):  # many neighbours make the simpler model
        chooser.consider(
            {"k": k}, vote(found[:, :k], targets[rows[:, :k]], len(block.classes), weights=settings.weights)
        )
    fitted = time.perf_counter()
    found, rows = lists.among(resample.test, block.fitted_on(resample), chooser.params["k"])
    return Outcome(
        seed=resample.seed,
        fold=resample.fold,
        val_proba=chooser.proba,
        test_proba=vote(found, targets[rows], len(block.classes), weights=settings.weights),
        params=chooser.params,
        notes=chooser.notes(len(grid), limit={"k": 1}),
        fit_s=fitted - start + shared.search_s,
        predict_s=time.perf_counter() - fitted,
    )


KNN = ProbeKind("knn", "k nearest neighbours", KNNSettings(), solve)
