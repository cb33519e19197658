"""Lists that are found once give every resample exactly the neighbours that a search of its own would."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medprobe.probe.neighbours import comparable, list_neighbours, search
from medprobe.probe.workers import JoblibWorkers

WORKERS = JoblibWorkers(1)


def _features(rows: int, seed: int) -> np.ndarray:
    """Whole numbers in few columns, so that equal rows and equal distances abound."""
    return np.random.default_rng(seed).integers(-2, 3, (rows, 3)).astype(np.float32)


def _tasks(rows: int, count: int, share: float, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    tasks = []
    for _ in range(count):
        order = rng.permutation(rows)
        members = np.sort(order[: max(1, int(share * rows))])
        tasks.append((np.sort(order[len(members) :]), members))
    return tasks


@settings(max_examples=150, deadline=None)
@given(
    st.integers(4, 70),
    st.sampled_from([0.1, 0.3, 0.6, 0.9]),
    st.integers(1, 8),
    st.sampled_from(["cosine", "euclidean"]),
    st.integers(0, 10_000),
)
def test_a_mask_over_the_lists_is_a_search_of_its_own(rows, share, k, metric, seed) -> None:
    X = _features(rows, seed)
    tasks = [task for task in _tasks(rows, 4, share, seed) if len(task[0])]
    lists = list_neighbours(X, k, share, WORKERS, metric=metric)
    for asked, members in tasks:
        wanted = min(k, len(members))
        found, row = lists.among(asked, members, wanted)
        own, place = search(comparable(X, metric)[asked], comparable(X, metric)[members], wanted, metric)
        # Products of other shapes may differ in the last bit, so that rows at equal distances may change places.
        np.testing.assert_allclose(found, own, atol=2e-6)
        exact = np.linalg.norm(X[asked][:, None] - X[row], axis=2) if metric == "euclidean" else None
        if exact is not None:
            np.testing.assert_allclose(exact, own, atol=2e-3)
        assert np.isin(row, members).all()
        assert all(len(set(line)) == wanted for line in row.tolist())
        assert place.shape == row.shape


@pytest.mark.parametrize("longest", [0, 3, 40])
def test_lists_that_run_dry_or_are_not_worth_it_change_nothing(longest, monkeypatch) -> None:
    monkeypatch.setattr("medprobe.probe.neighbours._LONGEST", longest)
    X = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    tasks = _tasks(300, 3, 0.2, 1)
    lists = list_neighbours(X, 10, 0.2, WORKERS)
    for asked, members in tasks:
        found, row = lists.among(asked, members, 10)
        own, place = search(lists.X[asked], lists.X[members], 10, "cosine")
        np.testing.assert_array_equal(row, members[place])
        np.testing.assert_allclose(found, own, atol=1e-6)


def test_a_row_whose_list_holds_too_few_is_searched_anew(monkeypatch) -> None:
    monkeypatch.setattr("medprobe.probe.neighbours._SPARE", -2.0)
    X = np.random.default_rng(0).standard_normal((400, 8)).astype(np.float32)
    tasks = _tasks(400, 2, 0.5, 1)
    lists = list_neighbours(X, 20, 0.5, WORKERS)
    assert lists.row.shape[1] < 40, "too short on average, so that many lists run dry"
    for asked, members in tasks:
        _, row = lists.among(asked, members, 20)
        _, place = search(lists.X[asked], lists.X[members], 20, "cosine")
        np.testing.assert_array_equal(row, members[place])


def test_blocks_and_workers_find_the_same_lists(monkeypatch) -> None:
    X = np.random.default_rng(0).standard_normal((500, 8)).astype(np.float32)
    monkeypatch.setattr("medprobe.probe.neighbours._CELLS", 40_000)
    one, two = (list_neighbours(X, 15, 0.7, JoblibWorkers(jobs)) for jobs in (1, 2))
    np.testing.assert_array_equal(one.found, two.found)
    np.testing.assert_array_equal(one.row, two.row)
