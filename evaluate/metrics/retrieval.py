"""Scores of a search for similar images, query by query, from the classes of the nearest ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Retrieved:
    """What a search found: of n queries the K nearest each, the nearest first."""

    found: np.ndarray
    """(n, K) int64 positions in the manifest's units."""
    label: np.ndarray
    """(n, K) int64 classes of these."""
    relevant: np.ndarray
    """(n,) int64, how many units of the query's class could have been found."""

    def at(self, rows: np.ndarray | slice) -> Retrieved:
        """That of some of the queries."""
        return Retrieved(self.found[rows], self.label[rows], self.relevant[rows])


def majority(label: np.ndarray) -> np.ndarray:
    """(n,) the class that most of the nearest (n, k) have; of equals, that of the nearest one."""
    votes = np.zeros(label.shape, np.int64)
    for column in label.T:
        votes += label == column[:, None]
    return label[np.arange(len(label)), votes.argmax(axis=1)]


def _precision_at_hits(hits: np.ndarray) -> np.ndarray:
    """(n,) sum over the relevant ones of the precision down to each, from (n, k) whether each is relevant."""
    return (hits * np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)).sum(axis=1)


@dataclass(frozen=True)
class Measure:
    """One score of a query."""

    of_query: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    """(n,) from (n, k) hits, (n, k) classes and (n,) numbers of relevant units."""
    label: str
    meaning: str


MEASURES: Mapping[str, Measure] = {
    "accuracy": Measure(
        lambda hits, *_: np.any(hits, axis=1),
        "Accuracy@{k}",
        "share of queries with an image of their class among the nearest {k}",
    ),
    "vote": Measure(
        # A hit has the query's class, so the vote is right where its class is that of a hit.
        lambda hits, label, _: ((label == majority(label)[:, None]) & hits).any(axis=1),
        "Vote@{k}",
        "share of queries whose class most of the nearest {k} have; of a tie, that of the nearest",
    ),
    "map": Measure(
        lambda hits, *_: _precision_at_hits(hits) / np.maximum(hits.sum(axis=1), 1),
        "mAP@{k}",
        "mean over queries of the average precision of the nearest {k}, divided by how many of these are relevant",
    ),
    "map_all": Measure(
        lambda hits, _, relevant: _precision_at_hits(hits) / np.clip(relevant, 1, hits.shape[1]),
        "mAP@{k} of all",
        "mean over queries of the average precision of the nearest {k}, divided by how many could be relevant at best",
    ),
}
"""By the first part of a metric's name, as in `map_at_5`. At k = 1 all four are the same."""


def of_queries(measure: str, retrieved: Retrieved, y: np.ndarray, k: int) -> np.ndarray:
    """(n,) float64 score of each query of the class `y` (n,), from its nearest `k`."""
    label = retrieved.label[:, :k]
    return MEASURES[measure].of_query(label == y[:, None], label, retrieved.relevant).astype(np.float64)
