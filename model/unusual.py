"""How unusual an image is among those that a model was fitted on: the distance to its k-th nearest neighbour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..probe.estimators._neighbors import normalize_rows, search

K = 10
"""Neighbours; fewer where there are not so many training rows of other groups."""
MOST = 10_000
"""Training rows that are kept; of more, as many are drawn."""
_METRIC = "cosine"


@dataclass(frozen=True, eq=False)
class TrainingNeighbours:
    """The training embeddings, and how far each is from its own k-th neighbour (Sun et al. 2022, arXiv 2204.06507).

    Distances are one minus the cosine. Those of a training row leave out its own group: the other images of a patient
    are nearer than those of any new patient can be.
    """

    rows: np.ndarray
    """(m, D) float32, of unit length."""
    distances: np.ndarray
    """(m,) float32, ascending: of each row to its k-th neighbour of another group."""
    k: int

    @classmethod
    def of(cls, X: np.ndarray, group: np.ndarray) -> TrainingNeighbours:
        """From the embeddings (n, D) of what was fitted and the group of each (n,); at least two groups."""
        if len(X) > MOST:
            drawn = np.sort(np.random.default_rng(0).permutation(len(X))[:MOST])
            X, group = X[drawn], group[drawn]
        rows = normalize_rows(X, _METRIC)
        largest = int(np.unique(group, return_counts=True)[1].max())
        k = min(K, len(rows) - largest)
        found, _ = search(rows, rows, k, _METRIC, groups=(group, group))
        return cls(rows, np.sort(found[:, -1]), k)

    def percentiles(self, X: np.ndarray) -> np.ndarray:
        """(n,) float64 for embeddings (n, D): the percentage of training rows that are no further from their neighbour.

        100 is further than every training row.
        """
        found, _ = search(normalize_rows(X, _METRIC), self.rows, self.k, _METRIC)
        return 100 * np.searchsorted(self.distances, found[:, -1], side="right") / len(self.distances)
