"""k nearest neighbours on frozen embeddings."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils.validation import check_is_fitted, validate_data

from .block import Block, Outcome, ProbeKind, seed_by_seed
from .choosing import Chooser
from .labels import MultilabelMixin, encode_labels
from .resampling import Resample

GRID = (1, 3, 5, 11, 21, 51, 101, 201)
"""Values of k; those beyond the training rows are left out."""
METRICS = ("cosine", "euclidean")
WEIGHTS = ("distance", "uniform")
_BLOCK = 2**25
"""Distances held at a time: 128 MiB of float32."""
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
    y_ : ndarray of shape (n_samples, n_classes), float64
        One column a class, 0 or 1.
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
        y, self.classes_, self.multilabel_ = encode_labels(self, y)
        self.y_ = (y if self.multilabel_ else y[:, None] == np.arange(len(self.classes_))).astype(np.float64)
        self.X_ = _unit_length(X) if self.metric == "cosine" else X
        return self

    def kneighbors(self, X: Any, n_neighbors: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The nearest training rows: distances and positions, each (n_queries, k), nearest first.

        Of equal distances the earlier row is the nearer one.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        k = min(n_neighbors or self.n_neighbors, len(self.X_))
        step = max(1, _BLOCK // len(self.X_))
        found = [_nearest(self._distances(X[start : start + step]), k) for start in range(0, len(X), step)]
        return np.concatenate([d for d, _ in found]), np.concatenate([i for _, i in found])

    def _distances(self, X: np.ndarray) -> np.ndarray:
        if self.metric == "euclidean":
            return euclidean_distances(X, self.X_)
        return np.clip(1 - _unit_length(X) @ self.X_.T, 0, 2)

    def proba_of(self, distances: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Votes of neighbours as probabilities: (n_queries, n_classes) from two (n_queries, k).

        A list of more neighbours answers for every smaller k: give its first k columns.
        """
        if self.weights == "uniform":
            votes = np.ones(distances.shape)
        else:
            distances = distances.astype(np.float64)
            floor = np.maximum(_NEAREST * distances[:, -1:], np.finfo(np.float64).tiny)
            votes = floor / np.maximum(distances, floor)
        votes /= votes.sum(axis=1, keepdims=True)
        proba = np.stack([np.einsum("qk,qk->q", votes, self.y_[:, c][positions]) for c in range(self.y_.shape[1])], 1)
        return np.clip(proba, 0, 1) if self.multilabel_ else proba / proba.sum(axis=1, keepdims=True)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of shape (n_samples, n_classes), each row summing to one; for multilabel per label."""
        return self.proba_of(*self.kneighbors(X))


def _unit_length(X: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(X, axis=1, keepdims=True)
    return X / np.where(length == 0, 1, length)


def _nearest(distances: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k smallest of each row, in order, and where they stand; equal ones by position."""
    if k == distances.shape[1]:
        chosen = np.broadcast_to(np.arange(k), distances.shape)
    else:
        chosen = np.sort(np.argpartition(distances, k - 1, axis=1)[:, :k], axis=1)
        # A tie across the k-th place is cut by argpartition as it likes; those rows are sorted in full.
        last = np.take_along_axis(distances, chosen, axis=1).max(axis=1, keepdims=True)
        torn = np.flatnonzero((distances <= last).sum(axis=1) > k)
        chosen[torn] = np.sort(np.argsort(distances[torn], axis=1, kind="stable")[:, :k], axis=1)
    values = np.take_along_axis(distances, chosen, axis=1)
    order = np.argsort(values, axis=1, kind="stable")
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(chosen, order, axis=1)


def solve_one(block: Block, resample: Resample) -> Outcome:
    """One search a seed answers for every k; the choice on val, then the neighbours of test in train and val."""
    start = time.perf_counter()
    grid = [k for k in GRID if k <= len(resample.train)]
    probe = KNNProbe(max(grid)).fit(block.X[resample.train], block.y[resample.train])
    neighbours = probe.kneighbors(block.X[resample.val])
    chooser = Chooser(block, resample)
    for k in reversed(grid):  # many neighbours make the simpler model
        chooser.consider({"k": k}, probe.proba_of(*(found[:, :k] for found in neighbours)))
    probe.set_params(n_neighbors=chooser.params["k"])
    if block.refit:
        rows = block.fitted_on(resample)
        probe.fit(block.X[rows], block.y[rows])
    fitted = time.perf_counter()
    return Outcome(
        seed=resample.seed,
        val_proba=chooser.proba,
        test_proba=probe.predict_proba(block.X[resample.test]),
        params=chooser.params,
        notes=chooser.notes(len(grid), limit={"k": 1}),
        fit_s=fitted - start,
        predict_s=time.perf_counter() - fitted,
    )


KNN = ProbeKind(
    name="knn",
    label="k nearest neighbours",
    solve=seed_by_seed(solve_one),
    settings={"k": list(GRID), "metric": "cosine", "weights": "distance"},
)
