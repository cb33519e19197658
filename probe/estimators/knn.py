"""k nearest neighbours on frozen embeddings."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from ._labels import MultilabelMixin, encode_labels
from ._neighbors import METRICS, normalize_rows, search
from ._validation import checked_pair, checked_rows, require_one_of, require_positive, require_whole

GRID = (1, 3, 5, 11, 21, 51, 101, 201)
"""Values of k; those above the number of training rows are skipped."""
WEIGHTS = ("distance", "uniform", "softmax")
TEMPERATURE = 0.07
"""Of DINO's kNN (Caron et al. 2021, arXiv 2104.14294)."""
_NEAREST = 1e-5
"""Share of a row's farthest distance below which distances count as equal: about what float32 can tell apart."""
_SMALLEST = np.finfo(np.float32).tiny


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
        found, positions = self.kneighbors(X)
        labels, classes = self.y_[positions], len(self.classes_)
        k = [self.n_neighbors_]
        return vote(found, labels, classes, k, weights=self.weights, temperature=self.temperature)[0]


def vote(
    found: np.ndarray,
    labels: np.ndarray,
    classes: int,
    ks: Sequence[int],
    *,
    weights: str = "distance",
    temperature: float = TEMPERATURE,
) -> np.ndarray:
    """Probabilities from the labels of neighbours, for every k in one pass over them.

    Args:
        found: (n, m) distances, ascending; m is the largest k.
        labels: (n, m) codes, or (n, m, L) of 0 and 1 for multilabel.
        classes: how many, C; for multilabel L.
        ks: numbers of neighbours that vote, ascending.
        weights: one of `WEIGHTS`.
        temperature: of `softmax`.

    Returns:
        (len(ks), n, C) float64, each row summing to one; for multilabel the weighted share of neighbours that have the
        label.
    """
    if weights != "distance":
        votes = np.exp((found[:, :1] - found.astype(np.float64)) / temperature) if weights == "softmax" else None
        return _tally(votes, labels, classes, ks)
    proba = _tally(1 / np.maximum(found.astype(np.float64), _SMALLEST), labels, classes, ks)
    # What counts as no distance depends on the farthest neighbour, and so on k: copies of the row are voted on k by k.
    copies = np.flatnonzero(found[:, 0] <= _NEAREST * found[:, -1])
    for place, k in enumerate(ks if len(copies) else ()):
        near = found[copies, :k].astype(np.float64)
        floor = np.maximum(_NEAREST * near[:, -1:], _SMALLEST)
        proba[place, copies] = _tally(floor / np.maximum(near, floor), labels[copies, :k], classes, [k])[0]
    return proba


def _tally(votes: np.ndarray | None, labels: np.ndarray, classes: int, ks: Sequence[int]) -> np.ndarray:
    """Shares of the votes (n, m), or of as many equal ones, by k: (len(ks), n, C)."""
    # Each k adds a stretch of neighbours to the k before it: what is summed is each stretch, once.
    starts = np.array([0, *ks[:-1]])
    if labels.ndim == 3:
        weighted = labels * (1.0 if votes is None else votes[:, :, None])
        sums = np.cumsum(np.add.reduceat(weighted, starts, axis=1, dtype=np.float64), axis=1)
        given = np.ones(labels.shape[:2]) if votes is None else votes
        total = np.cumsum(np.add.reduceat(given, starts, axis=1), axis=1)[:, :, None]
        return np.minimum(sums / total, 1).transpose(1, 0, 2)
    stretch = np.searchsorted(ks, np.arange(labels.shape[1]), side="right")
    cells = labels + stretch * classes
    cells += np.arange(len(labels))[:, None] * (len(ks) * classes)
    weighing = None if votes is None else votes.ravel()
    sums = np.bincount(cells.ravel(), weighing, minlength=len(labels) * len(ks) * classes)
    sums = np.cumsum(sums.reshape(-1, len(ks), classes), axis=1, dtype=np.float64).transpose(1, 0, 2)
    return sums / sums.sum(axis=2, keepdims=True)
