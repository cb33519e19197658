"""Nearest neighbours, found once for all resamples: which rows a seed trained on is a mask over one list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

METRICS = ("cosine", "euclidean")
_CELLS = 2**22
"""Distances held at a time by one thread: 16 MiB of float32."""
_ROWS, _MEMBERS = 128, 2**15
"""Fewer rows at a time would make products slow, and members at a time to which their distances are held."""
_LENGTHS_AT_ONCE = 4096
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
    return X / _lengths(X)[:, None]


def _lengths(X: np.ndarray) -> np.ndarray:
    """(n,) of each row; 1 of a row of zeros."""
    blocks = [np.linalg.norm(X[i : i + _LENGTHS_AT_ONCE], axis=1) for i in range(0, len(X), _LENGTHS_AT_ONCE)]
    length = np.concatenate([np.empty(0, X.dtype), *blocks])
    length[length == 0] = 1
    return length


def distances(A: np.ndarray, B: np.ndarray, metric: str, *, lengths: np.ndarray | None = None) -> np.ndarray:
    """(a, b) distances of normalised rows; cosine is one minus the similarity, and 1 for a row of zeros.

    With `lengths` (b,), for cosine, those of the rows of B, which are not normalised then.
    """
    if metric == "euclidean":
        from sklearn.metrics.pairwise import euclidean_distances  # here, since predictions need no more of scikit-learn

        return euclidean_distances(A, B)
    found = A @ B.T
    if lengths is not None:
        found /= lengths
    np.subtract(1, found, out=found)
    return np.clip(found, 0, 2, out=found)


def nearest(blocks: Iterable[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k smallest of each row, in order, and their positions; of equals the earlier: two (n, k).

    A row has at least k values, which come in blocks of columns, (n, m) each.
    """
    start, values, places = 0, np.empty((0, 0)), np.empty((0, 0), np.int64)
    for found in blocks:
        bound = _bound(found, min(k, found.shape[1]))
        if start >= k:
            bound = np.minimum(bound, values[:, -1:])
        small = found <= bound
        counts = np.count_nonzero(small, axis=1)
        # Lines of those that are small enough, filled up with infinity behind the last column.
        filled = np.arange(counts.max()) < counts[:, None]
        new, where = np.full(filled.shape, np.inf, found.dtype), np.full(filled.shape, start + found.shape[1])
        flat = np.flatnonzero(small)  # flat, for which numpy is six times as fast as for rows and columns
        new[filled], where[filled] = found.take(flat), flat % found.shape[1] + start
        if start:
            new, where = np.concatenate([values, new], axis=1), np.concatenate([places, where], axis=1)
        values, places = (ordered[:, :k] for ordered in _in_order(new, where))
        start += found.shape[1]
        del found  # before the next one is made
    return values, places


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
    step = _step(len(members))

    def apart(some: slice, these: slice) -> np.ndarray:
        found = distances(queries[some], members[these], metric)
        if groups is not None:
            found[groups[0][some, None] == groups[1][these]] = np.inf
        return found

    stretches = _stretches(len(members))
    parts = [slice(i, i + step) for i in range(0, len(queries), step)]
    found = [nearest(map(partial(apart, some), stretches), k) for some in parts]
    return np.concatenate([d for d, _ in found]), np.concatenate([place for _, place in found])


def _step(members: int) -> int:
    """Number of rows that are compared with `members` at a time."""
    return max(_ROWS, _CELLS // members)


def _stretches(members: int) -> list[slice]:
    return [slice(start, min(start + _MEMBERS, members)) for start in range(0, members, _MEMBERS)]


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
    """The nearest rows of each of Q query rows, itself among them.

    Exact for the questions that the lists were made for: the nearest members of a training part are the first ones of
    the list that are in it, and every list is long enough.
    """

    X: np.ndarray
    """(N, D)."""
    metric: str
    line: np.ndarray
    """(N,) int32: which of the lists is that of a row."""
    found: np.ndarray
    """(Q, M) distances, ascending."""
    row: np.ndarray
    """(Q, M) int32 rows of `X`; of equal distances the earlier row first."""
    deeper: dict[int, tuple[np.ndarray, np.ndarray]]
    """Distances and rows for those rows whose list runs dry for some question."""

    def among(self, question: Question, k: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The `k` (by default `wanted`) nearest members to each row: distances and rows of X, each (n, k)."""
        rows, members, k = question.rows, question.members, k or question.wanted
        if not question.listed(len(self.X)):
            some, among = (normalize_rows(self.X[which], self.metric) for which in (rows, members))
            found, positions = search(some, among, k, self.metric)
            return found, members[positions]
        inside = np.zeros(len(self.X), bool)
        inside[members] = True
        lines = self.line[rows]
        listed = self.row[lines]
        member = inside.take(listed)
        counts = np.count_nonzero(member, axis=1)
        # Positions of the members, row by row, and of each row the first k.
        places = np.append(np.flatnonzero(member), np.zeros(k, np.intp))
        first = places[(np.cumsum(counts) - counts)[:, None] + np.arange(k)]
        found, row = self.found[lines].take(first), listed.take(first)
        for line in np.flatnonzero(counts < k):
            deep_found, deep_row = self.deeper[int(rows[line])]
            first = np.flatnonzero(inside[deep_row])[:k]
            found[line], row[line] = deep_found[first], deep_row[first]
        return found, row


def list_neighbours(
    X: np.ndarray, questions: Sequence[Question], map_blocks: Callable[..., Iterator[Any]], *, metric: str = "cosine"
) -> NeighbourLists:
    """Finds lists that answer every question.

    The result of a seed must not depend, not even in the last bit, on the other seeds; `_blocks` sees to that.

    Args:
        X: (N, D) features.
        questions: those that the lists must answer.
        map_blocks: `map_blocks(function, blocks)` calls `function(block)` for each block of rows, maybe side by side,
            and returns the results in order.
        metric: `cosine` or `euclidean`.
    """
    together = _Questions.of([question for question in questions if question.listed(len(X))], len(X))
    queried = np.logical_or.reduce(together.about)
    line = (np.cumsum(queried) - 1).astype(np.int32)
    shape = (np.count_nonzero(queried), together.length)
    lists = NeighbourLists(X, metric, line, np.empty(shape, X.dtype), np.empty(shape, np.int32), {})
    blocks = _blocks(queried)
    lengths = _lengths(X) if metric == "cosine" else None
    answers = map_blocks(partial(_search_block, X, lengths, together, metric), blocks)
    for (rows, wanted), (found, row, deep) in zip(blocks, answers, strict=True):
        lines = line[rows[wanted]]
        lists.found[lines], lists.row[lines] = found, row
        lists.deeper.update(deep)
    return lists


def _blocks(queried: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows that are compared with all others at a time, and the positions of the queried ones (N,) among them.

    BLAS may round a row by its place in a product, whatever the other rows are. So blocks have one size, and a row the
    place that it has where all rows are cut into such blocks; of each place the queried rows alone move up.
    """
    step = _step(len(queried))
    in_blocks = len(queried) // step * step
    by_place = queried[:in_blocks].reshape(-1, step)
    block, place = np.nonzero(by_place)
    rows = np.full((by_place.sum(axis=0).max(), step), -1)
    rows[np.cumsum(by_place, axis=0)[block, place] - 1, place] = block * step + place
    blocks = [(these, np.flatnonzero(these >= 0)) for these in rows]
    last = np.arange(in_blocks, len(queried))
    return [*blocks, (last, np.flatnonzero(queried[last]))] if queried[last].any() else blocks


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

    def dry(self, queried: np.ndarray, row: np.ndarray) -> np.ndarray:
        """Positions of those rows among `queried` (n,) whose lists (n, M) hold too few members for some question."""
        short = np.zeros(len(row), bool)
        for question, inside, about in zip(self.questions, self.inside, self.about[:, queried], strict=True):
            here = np.flatnonzero(about)
            held = np.count_nonzero(inside.take(row[here]), axis=1)
            short[here[held < question.wanted]] = True
        return np.flatnonzero(short)

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
    X: np.ndarray,
    lengths: np.ndarray | None,
    together: _Questions,
    metric: str,
    block: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray, dict[int, tuple[np.ndarray, np.ndarray]]]:
    """The lists of the queried rows of a block."""
    rows, wanted = normalize_rows(X[block[0]], metric), block[1]
    queried = block[0][wanted]

    def to(these: slice) -> np.ndarray:
        every = distances(rows, X[these], metric, lengths=None if lengths is None else lengths[these])
        if not together.members[these].all():
            every[:, ~together.members[these]] = np.inf
        return every if len(wanted) == len(rows) else every[wanted]

    # Held where they are few, since lists that run dry need them again.
    stretches = _stretches(len(X))
    blocks = list(map(to, stretches)) if len(X) <= _MEMBERS else None
    found, row = nearest(blocks or map(to, stretches), together.length)
    row = row.astype(np.int32)
    dry = together.dry(queried, row)
    of_dry = np.concatenate([every[dry] for every in blocks or map(to, stretches)], axis=1) if len(dry) else []
    deep = {i: together.deep(i, every) for i, every in zip(queried[dry].tolist(), of_dry, strict=True)}
    return found, row, deep


def _length(k: int, share: float, rows: int) -> int:
    """How long lists of `rows` rows must be so that nearly all hold k, each present with the probability `share`."""
    return min(rows, int((k + _SPARE * np.sqrt(k * (1 - share))) / share + 1))
