"""Nearest neighbours, found once for all resamples: which rows a seed trained on is a mask over one list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances

METRICS = ("cosine", "euclidean")
_CELLS = 2**22
"""Distances held at a time by one process: 16 MiB of float32."""
_ROWS = 128
"""Fewer rows at a time would make products slow, whatever the distances take."""
_GROUPS = 4
"""Groups for each value that is selected; more make the bound tighter and its selection slower."""
_LONGEST = 2048
"""Longer lists cost more to mask than a search among the few members of each seed."""
_SPARE = 5.0
"""Standard deviations by which a list is longer than needed on average."""


def normalize_rows(X: np.ndarray, metric: str) -> np.ndarray:
    """`X` as `distances` needs it: rows of unit length for cosine (a row of zeros stays), else as it is."""
    if metric == "euclidean":
        return X
    length = np.linalg.norm(X, axis=1, keepdims=True)
    return X / np.where(length == 0, 1, length)


def distances(A: np.ndarray, B: np.ndarray, metric: str) -> np.ndarray:
    """(a, b) distances of normalised rows; cosine is one minus the similarity, and 1 for a row of zeros."""
    if metric == "euclidean":
        return euclidean_distances(A, B)
    found = A @ B.T
    np.subtract(1, found, out=found)
    return np.clip(found, 0, 2, out=found)


def nearest(found: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k smallest of each row, in order, and their positions; of equals the earlier: two (n, k)."""
    small = found <= _bound(found, k)
    counts = np.count_nonzero(small, axis=1)
    # Lines of those that are small enough, filled up with infinity behind the last column.
    filled = np.arange(counts.max()) < counts[:, None]
    values, places = np.full(filled.shape, np.inf, found.dtype), np.full(filled.shape, found.shape[1])
    flat = np.flatnonzero(small)  # flat, for which numpy is six times as fast as for rows and columns
    values[filled], places[filled] = found.take(flat), flat % found.shape[1]
    values, places = _in_order(values, places)
    return values[:, :k], places[:, :k]


def _bound(found: np.ndarray, k: int) -> np.ndarray:
    """What at least k values of each row (n, m) do not exceed, and hardly more: (n, 1).

    The k-th smallest of the minima of small groups is such a value, since each of k groups has one; minima are quick to
    find and few to select from.
    """
    size = max(1, found.shape[1] // (_GROUPS * k))
    groups = found.shape[1] // size
    minima = found if size == 1 else found[:, : size * groups].reshape(-1, size, groups).min(axis=1)
    return np.partition(minima, k - 1, axis=1)[:, k - 1 : k]


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


def search(
    queries: np.ndarray,
    members: np.ndarray,
    k: int,
    metric: str,
    *,
    groups: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The exact k nearest of the members (m, D) to each query (n, D), nearest first: distances and positions (n, k).

    With `groups`, those of the queries (n,) and of the members (m,), none of a query's own group is found; each query
    must have at least k members of other groups.
    """
    step = max(_ROWS, _CELLS // len(members))

    def found_by(some: slice) -> tuple[np.ndarray, np.ndarray]:
        apart = distances(queries[some], members, metric)
        if groups is not None:
            apart[groups[0][some, None] == groups[1]] = np.inf
        return nearest(apart, k)

    found = [found_by(slice(i, i + step)) for i in range(0, len(queries), step)]
    return np.concatenate([d for d, _ in found]), np.concatenate([place for _, place in found])


@dataclass(frozen=True, eq=False)
class Question:
    """Which of its members are nearest to each of its rows: the query of one seed."""

    rows: np.ndarray
    """(n,) the query rows."""
    members: np.ndarray
    """(m,) training rows of the seed."""
    k: int
    """The largest number of neighbours needed."""

    @property
    def wanted(self) -> int:
        """As many as there are, where `k` is more."""
        return min(self.k, len(self.members))

    def listed(self, rows: int) -> bool:
        """Whether lists out of `rows` rows answer it, or a search of its own among its few members.

        This follows from the question alone, so that its answer is bit-identical whatever the other questions are.
        """
        return _length(self.wanted, len(self.members) / rows, rows) <= _LONGEST


@dataclass(frozen=True, eq=False)
class NeighbourLists:
    """The nearest rows of every query row, itself among them.

    Exact for the questions that the lists were made for: the nearest members of a training part are the first ones of
    the list that are in it, and every list is long enough.
    """

    X: np.ndarray
    """(N, D), normalised."""
    metric: str
    found: np.ndarray
    """(N, M) distances, ascending."""
    row: np.ndarray
    """(N, M) int32 rows of `X`; of equal distances the earlier row first."""
    deeper: dict[int, tuple[np.ndarray, np.ndarray]]
    """Distances and rows for those rows whose line in `found` and `row` runs dry for some question."""

    def among(self, question: Question, k: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The `k` (by default `wanted`) nearest members to each row: distances and rows of X, each (n, k)."""
        rows, members, k = question.rows, question.members, k or question.wanted
        if not question.listed(len(self.X)):
            found, positions = search(self.X[rows], self.X[members], k, self.metric)
            return found, members[positions]
        inside = np.zeros(len(self.X), bool)
        inside[members] = True
        listed = self.row[rows]
        member = inside.take(listed)
        counts = np.count_nonzero(member, axis=1)
        # Positions of the members, row by row, and of each row the first k.
        places = np.append(np.flatnonzero(member), np.zeros(k, np.intp))
        first = places[(np.cumsum(counts) - counts)[:, None] + np.arange(k)]
        found, row = self.found[rows].take(first), listed.take(first)
        for line in np.flatnonzero(counts < k):
            deep_found, deep_row = self.deeper[int(rows[line])]
            first = np.flatnonzero(inside[deep_row])[:k]
            found[line], row[line] = deep_found[first], deep_row[first]
        return found, row


def list_neighbours(
    X: np.ndarray, questions: Sequence[Question], map_blocks: Callable[..., Iterator[Any]], *, metric: str = "cosine"
) -> NeighbourLists:
    """Finds lists that answer every question.

    Distances are those of whole blocks of rows to all rows, whichever some question needs: the result of a seed must
    not depend, not even in the last bit, on the other seeds.

    Args:
        X: (N, D) features.
        questions: those that the lists must answer.
        map_blocks: `map_blocks(function, shared, blocks, threads=True)` calls `function(shared, block)` for each block
            of rows, maybe side by side, and returns the results in order.
        metric: `cosine` or `euclidean`.
    """
    X = normalize_rows(X, metric)
    together = _Questions.of([question for question in questions if question.listed(len(X))], len(X))
    shape = (len(X), together.length)
    lists = NeighbourLists(X, metric, np.empty(shape, X.dtype), np.empty(shape, np.int32), {})
    step = max(_ROWS, _CELLS // len(X))
    parts = [slice(start, min(start + step, len(X))) for start in range(0, len(X), step)]
    parts = [part for part in parts if together.about[:, part].any()]
    blocks = map_blocks(_search_block, (X, together, metric), parts, threads=True)
    for part, (found, row, deep) in zip(parts, blocks, strict=True):
        lists.found[part], lists.row[part] = found, row
        lists.deeper.update(deep)
    return lists


@dataclass(frozen=True, eq=False)
class _Questions:
    """All questions together."""

    questions: Sequence[Question]
    inside: np.ndarray
    """(Q, N) bool: the members of each question."""
    about: np.ndarray
    """(Q, N) bool: the rows of each question."""
    members: np.ndarray
    """(N,) bool: rows that are a member of some question."""
    length: int
    """Of the lists; 0 where there are no questions."""

    @classmethod
    def of(cls, questions: Sequence[Question], rows: int) -> _Questions:
        inside, about = np.zeros((2, len(questions), rows), bool)
        for n, question in enumerate(questions):
            inside[n, question.members] = True
            about[n, question.rows] = True
        members = np.logical_or.reduce(inside)
        count = int(np.count_nonzero(members))
        lengths = [_length(question.wanted, len(question.members) / count, count) for question in questions]
        return cls(questions, inside, about, members, max(lengths, default=0))

    def dry(self, part: slice, row: np.ndarray) -> np.ndarray:
        """The rows of `part` whose lists (n, M) hold too few members for some question."""
        short = np.zeros(len(row), bool)
        for question, inside, about in zip(self.questions, self.inside, self.about[:, part], strict=True):
            here = np.flatnonzero(about)
            held = np.count_nonzero(inside.take(row[here]), axis=1)
            short[here[held < question.wanted]] = True
        return np.flatnonzero(short) + part.start

    def deep(self, query: int, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A list for one row from its distances to all (N,): without those that no question about it can use.

        These are what makes a list run dry: the row's own group, say, which is never in its training part.
        """
        about = np.flatnonzero(self.about[:, query])
        inside = self.inside[about]
        useful = np.flatnonzero(inside.any(axis=0))
        row = useful[np.argsort(found[useful], kind="stable")]
        held = np.cumsum(inside[:, row], axis=1, dtype=np.int32)
        wanted = np.array([self.questions[int(n)].wanted for n in about])
        enough = int((held < wanted[:, None]).sum(axis=1).max()) + 1
        return found[row[:enough]], row[:enough].astype(np.int32)


def _search_block(
    shared: tuple[np.ndarray, _Questions, str], part: slice
) -> tuple[np.ndarray, np.ndarray, dict[int, tuple[np.ndarray, np.ndarray]]]:
    X, together, metric = shared
    every = distances(X[part], X, metric)
    if not together.members.all():
        every[:, ~together.members] = np.inf
    found, row = nearest(every, together.length)
    row = row.astype(np.int32)
    deeper = {int(i): together.deep(int(i), every[i - part.start]) for i in together.dry(part, row)}
    return found, row, deeper


def _length(k: int, share: float, rows: int) -> int:
    """How long lists of `rows` rows must be so that nearly all hold k, each present with the probability `share`."""
    return min(rows, int((k + _SPARE * np.sqrt(k * (1 - share))) / share + 1))
