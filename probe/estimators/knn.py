"""k nearest neighbours on frozen embeddings."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from ._neighbors import METRICS, normalize_rows, search
from ._prediction import TEMPERATURE, knn_proba
from ._validation import (
    MultilabelMixin,
    checked_pair,
    checked_rows,
    encode_labels,
    require_one_of,
    require_positive,
    require_whole,
)

GRID = (1, 3, 5, 11, 21, 51, 101, 201)
"""Values of k; those above the number of training rows are skipped."""
WEIGHTS = ("distance", "uniform", "softmax")


class KNNProbe(MultilabelMixin, ClassifierMixin, BaseEstimator):
    """k nearest neighbours with exact search and probabilities that sum to one; multilabel too.

    Parameters
    ----------
    n_neighbors : int, default=5
        k; where there are fewer training rows, all of them vote.
    metric : {"cosine", "euclidean"}, default="cosine"
        Distance; cosine is one minus the cosine similarity, and 1 for a row of zeros.
    weights : {"distance", "uniform", "softmax"}, default="distance"
        Weight of a neighbour's vote: the inverse of its distance, the same for all, or exp(similarity / temperature)
        as in DINO's kNN (Caron et al. 2021, arXiv 2104.14294); for euclidean the similarity is minus the distance.
    temperature : float, default=0.07
        Of `weights="softmax"`; the smaller, the more the nearest count.

    Attributes
    ----------
    n_neighbors_ : int
        How many vote: `n_neighbors`, or as many as there are training rows.
    classes_ : ndarray of shape (n_classes,), or of shape (n_labels,) for multilabel
    X_ : ndarray of shape (n_samples, n_features)
        Training rows, of unit length for cosine.
    y_ : ndarray of shape (n_samples,), int64, or of shape (n_samples, n_labels), int8
        Positions in `classes_`, or 0 and 1.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> from medprobe.probe import KNNProbe
    >>> X, y = make_classification(random_state=0)
    >>> KNNProbe(n_neighbors=5, weights="uniform").fit(X, y).score(X, y) > 0.8
    True
    """  # noqa: D416  (numpydoc, as scikit-learn has it)

    def __init__(
        self,
        n_neighbors: int = 5,
        *,
        metric: str = "cosine",
        weights: str = "distance",
        temperature: float = TEMPERATURE,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.weights = weights
        self.temperature = temperature

    def fit(self, X: Any, y: Any) -> KNNProbe:
        """Keeps `X` of shape (n_samples, n_features) and `y` of shape (n_samples,) or (n_samples, n_labels)."""
        require_one_of("metric", self.metric, METRICS)
        require_one_of("weights", self.weights, WEIGHTS)
        require_whole("n_neighbors", self.n_neighbors)
        require_positive("temperature", self.temperature)
        X, y = checked_pair(self, X, y)
        self.y_, self.classes_, self.multilabel_ = encode_labels(self, y)
        self.X_ = normalize_rows(X, self.metric)
        self.n_neighbors_ = min(self.n_neighbors, len(X))
        if self.n_neighbors_ < self.n_neighbors:
            warnings.warn(
                f"n_neighbors={self.n_neighbors}, but there are {len(X)} training rows; all of them vote", stacklevel=2
            )
        return self

    def kneighbors(self, X: Any, n_neighbors: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The nearest training rows: distances and positions, each (n_queries, k), nearest first.

        Of equal distances the earlier row is the nearer one.
        """
        check_is_fitted(self)
        if n_neighbors is not None:
            require_whole("n_neighbors", n_neighbors)
        X = checked_rows(self, X)
        k = min(n_neighbors or self.n_neighbors, len(self.X_))
        return search(normalize_rows(X, self.metric), self.X_, k, self.metric)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of shape (n_samples, n_classes), each row summing to one; for multilabel per label."""
        check_is_fitted(self)
        return knn_proba(
            checked_rows(self, X),
            members=self.X_,
            labels=self.y_,
            classes=len(self.classes_),
            k=self.n_neighbors_,
            metric=self.metric,
            weights=self.weights,
            temperature=self.temperature,
        )
