"""Nearest neighbours, found once for all resamples: which rows a seed trained on is a mask over one list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances

if TYPE_CHECKING:
    from .block import Workers

METRICS = ("cosine", "euclidean")
_CELLS = 2**22
"""Distances held at a time by one process: 16 MiB of float32."""
_LONGEST = 2048
"""Longer lists cost more to mask than a search among the few members of each seed."""
_SPARE = 4.0
"""Standard deviations by which a list is longer than needed on average."""


def comparable(X: np.ndarray, metric: str) -> np.ndarray:
    """`X` as `distances` wants it: rows of unit length for cosine (a row of zeros stays), else as it is."""
    if metric == "euclidean":
        return X
    length = np.linalg.norm(X, axis=1, keepdims=True)
    return X / np.where(length == 0, 1, length)


def distances(A: np.ndarray, B: np.ndarray, metric: str) -> np.ndarray:
    """(a, b) distances of comparable rows; cosine is one minus the similarity, and 1 for a row of zeros."""
    if metric == "euclidean":
        return euclidean_distances(A, B)
    found = A @ B.T
    np.subtract(1, found, out=found)
    return np.clip(found, 0, 2, out=found)


def nearest(found: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k smallest of each row, in order, and where they stand; of equals the earlier: two (n, k)."""
    every = np.broadcast_to(np.arange(found.shape[1]), found.shape)
    chosen = every if k == found.shape[1] else _smallest(found, k)
    return _in_order(np.take_along_axis(found, chosen, axis=1), chosen)


def _smallest(found: np.ndarray, k: int) -> np.ndarray:
    """Positions, ascending, of the k smallest of each row; a tie across the k-th place goes to the earlier ones."""
    # The k-th value and a comparison with it: numpy partitions values many times faster than positions.
    last = np.partition(found, k - 1, axis=1)[:, k - 1 : k]
    small = found <= last
    torn = np.flatnonzero(np.count_nonzero(small, axis=1) > k)
    if len(torn):
        spare = k - np.count_nonzero(found[torn] < last[torn], axis=1)
        equal = found[torn] == last[torn]
        small[torn] &= ~equal | (np.cumsum(equal, axis=1) <= spare[:, None])
    return np.nonzero(small)[1].reshape(-1, k)


def _in_order(values: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sorted by value, of equal values by position."""
    if values.dtype != np.float32:
        order = np.argsort(values, axis=1, kind="stable")
        return np.take_along_axis(values, order, axis=1), np.take_along_axis(chosen, order, axis=1)
    # The bits of floats that are not negative are in the order of the floats; with the position behind them one plain
    # sort, which numpy does quickly, does for both. (Adding zero turns a minus zero into zero.)
    keys = (values + np.float32(0)).view(np.uint32).astype(np.uint64) << np.uint64(32) | chosen.astype(np.uint64)
    keys.sort(axis=1)
    return (keys >> np.uint64(32)).astype(np.uint32).view(np.float32), (keys & np.uint64(2**32 - 1)).astype(np.int64)


def search(queries: np.ndarray, members: np.ndarray, k: int, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """The exact k nearest of the members (m, D) to each query (n, D), nearest first: distances and positions (n, k)."""
    step = max(1, _CELLS // len(members))
    found = [nearest(distances(queries[i : i + step], members, metric), k) for i in range(0, len(queries), step)]
    return np.concatenate([d for d, _ in found]), np.concatenate([place for _, place in found])


@dataclass(frozen=True, eq=False)
class NeighbourLists:
    """The nearest rows of every row, itself among them.

    Exact for every resample: the nearest members of a training part are the first ones of the list that are in it, and
    a row whose list holds too few is searched anew.
    """

    X: np.ndarray
    """(N, D), comparable."""
    metric: str
    found: np.ndarray
    """(N, M) distances, ascending."""
    row: np.ndarray
    """(N, M) int32 rows of `X`; of equal distances the earlier row first."""

    def among(self, rows: np.ndarray, members: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest of `members` (m,) to each of `rows` (n,): distances and rows of X, each (n, k)."""
        inside = np.zeros(len(self.X), bool)
        inside[members] = True
        listed = self.row[rows]
        member = inside[listed]
        counts = np.count_nonzero(member, axis=1)
        enough = counts >= k
        found, row = np.empty((len(rows), k), self.X.dtype), np.empty((len(rows), k), np.int64)
        # Where the members stand, line after line, and of each line the first k.
        places = np.flatnonzero(member)
        starts = np.cumsum(counts) - counts
        first = places[starts[enough, None] + np.arange(k)]
        row[enough] = listed.ravel()[first]
        found[enough] = np.take_along_axis(
            self.found[rows[enough]], first - np.flatnonzero(enough)[:, None] * member.shape[1], axis=1
        )
        if not enough.all():
            found[~enough], positions = search(self.X[rows[~enough]], self.X[members], k, self.metric)
            row[~enough] = members[positions]
        return found, row


def list_neighbours(X: np.ndarray, k: int, share: float, workers: Workers, *, metric: str = "cosine") -> NeighbourLists:
    """Finds lists that answer nearly every question for k neighbours among a `share` of the rows.

    Every row is compared with every other, whichever some seed will ask for: what a seed sees must not depend, not
    even in the last bit, on the seeds beside it.

    Args:
        X: (N, D) features.
        k: most neighbours that will be asked for.
        share: smallest share of the rows that will be members.
        workers: where blocks of rows are searched side by side.
        metric: `cosine` or `euclidean`.
    """
    X = comparable(X, metric)
    length = _length(k, share, len(X))
    if not length:
        return NeighbourLists(X, metric, np.empty((len(X), 0), X.dtype), np.empty((len(X), 0), np.int32))
    step = max(1, _CELLS // len(X))
    parts = [slice(start, start + step) for start in range(0, len(X), step)]
    blocks = workers.map(_search_block, (X, length, metric), parts)
    found, row = (np.concatenate(block) for block in zip(*blocks, strict=True))
    return NeighbourLists(X, metric, found, row)


def _search_block(shared: tuple[np.ndarray, int, str], part: slice) -> tuple[np.ndarray, np.ndarray]:
    X, length, metric = shared
    found, row = search(X[part], X, length, metric)
    return found, row.astype(np.int32)


def _length(k: int, share: float, rows: int) -> int:
    """How long lists must be so that nearly all hold k members, each there with the chance `share`; 0 for no lists."""
    wanted = (k + _SPARE * np.sqrt(k * (1 - share))) / share + 1
    if wanted >= rows:
        return rows if rows <= _LONGEST else 0
    return int(wanted) if wanted <= _LONGEST else 0
