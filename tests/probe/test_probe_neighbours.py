"""Lists that are found once give every resample exactly the neighbours that a search of its own would."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from medprobe.probe.engines.parallel import Workers
from medprobe.probe.estimators import _neighbors
from medprobe.probe.estimators._neighbors import (
    NeighbourLists,
    Question,
    distances,
    list_neighbours,
    nearest,
    normalize_rows,
    search,
)

WORKERS = Workers(1)


def _features(rows: int, seed: int) -> np.ndarray:
    """Whole numbers in few columns, so that equal rows and equal distances abound."""
    return np.random.default_rng(seed).integers(-2, 3, (rows, 3)).astype(np.float32)


def _questions(rows: int, count: int, share: float, seed: int, k: int) -> list[Question]:
    rng = np.random.default_rng(seed)
    questions = []
    for _ in range(count):
        order = rng.permutation(rows)
        members = np.sort(order[: max(1, int(share * rows))])
        questions.append(Question(np.sort(order[len(members) :]), members, k))
    return [question for question in questions if len(question.rows)]


@given(
    st.integers(4, 70),
    st.sampled_from([0.1, 0.3, 0.6, 0.9]),
    st.integers(1, 8),
    st.sampled_from(["cosine", "euclidean"]),
    st.integers(0, 10_000),
)
def test_a_mask_over_the_lists_is_a_search_of_its_own(rows, share, k, metric, seed) -> None:
    X = _features(rows, seed)
    questions = _questions(rows, 4, share, seed, k)
    lists = list_neighbours(X, questions, WORKERS.map, metric=metric)
    for question in questions:
        queries, members, wanted = question.rows, question.members, question.wanted
        found, row = lists.among(question)
        own, _ = search(normalize_rows(X, metric)[queries], normalize_rows(X, metric)[members], wanted, metric)
        # Products of other shapes may differ in the last bit, so that rows at equal distances may change places.
        np.testing.assert_allclose(found, own, atol=2e-6)
        exact = np.linalg.norm(X[queries][:, None] - X[row], axis=2) if metric == "euclidean" else None
        if exact is not None:
            np.testing.assert_allclose(exact, own, atol=2e-3)
        assert np.isin(row, members).all()
        assert all(len(set(line)) == wanted for line in row.tolist())


def _asserted_exact(lists: NeighbourLists, questions: list[Question]) -> None:
    for question in questions:
        found, row = lists.among(question)
        X = normalize_rows(lists.X, lists.metric)
        own, place = search(X[question.rows], X[question.members], question.wanted, lists.metric)
        np.testing.assert_array_equal(row, question.members[place])
        np.testing.assert_allclose(found, own, atol=1e-6)


@pytest.mark.parametrize("longest", [0, 3, 40, 5000])
def test_lists_that_are_not_worth_it_change_nothing(longest, monkeypatch) -> None:
    monkeypatch.setattr("medprobe.probe.estimators._neighbors._LONGEST", longest)
    X = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    questions = _questions(300, 3, 0.2, 1, 10)
    _asserted_exact(list_neighbours(X, questions, WORKERS.map), questions)


@pytest.mark.parametrize("members", [2**15, 7])
def test_a_row_whose_list_would_run_dry_gets_a_longer_one(monkeypatch, members) -> None:
    monkeypatch.setattr("medprobe.probe.estimators._neighbors._SPARE", -2.0)
    monkeypatch.setattr("medprobe.probe.estimators._neighbors._MEMBERS", members)
    X = np.random.default_rng(0).standard_normal((400, 8)).astype(np.float32)
    questions = _questions(400, 2, 0.5, 1, 20)
    lists = list_neighbours(X, questions, WORKERS.map)
    assert len(lists.deeper) > 50, "lists are made too short on average here"
    _asserted_exact(lists, questions)


def test_rows_among_their_own_patients_images_find_those_of_others() -> None:
    # Sixty near copies a patient, all of them in one part: a plain list of a row holds none that it may learn from.
    rng = np.random.default_rng(0)
    X = np.repeat(rng.standard_normal((12, 8)), 60, axis=0) + 0.01 * rng.standard_normal((720, 8))
    patient = np.repeat(np.arange(12), 60)
    questions = []
    for _ in range(4):
        held_out = np.isin(patient, rng.permutation(12)[:4])
        questions.append(Question(np.flatnonzero(held_out), np.flatnonzero(~held_out), 5))
    lists = list_neighbours(X.astype(np.float32), questions, WORKERS.map)
    assert len(lists.deeper) > 400
    assert max(len(row) for _, row in lists.deeper.values()) < 200, "no longer than the questions need"
    _asserted_exact(lists, questions)


@pytest.mark.parametrize("members", [2**15, 128])
def test_what_a_question_sees_is_the_same_bits_alone_and_beside_others(monkeypatch, members) -> None:
    monkeypatch.setattr("medprobe.probe.estimators._neighbors._MEMBERS", members)
    X = np.random.default_rng(0).standard_normal((900, 24)).astype(np.float32)
    questions = _questions(900, 6, 0.7, 1, 15)
    together = list_neighbours(X, questions, WORKERS.map)
    for question in questions:
        alone = list_neighbours(X, [question], WORKERS.map)
        one, two = (lists.among(question) for lists in (together, alone))
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])


@pytest.mark.parametrize("members", [2**15, 64])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_rows_that_nobody_queries_are_not_compared_and_every_row_keeps_its_place(monkeypatch, metric, members) -> None:
    for name, size in {"_CELLS": 1, "_ROWS": 16, "_MEMBERS": members}.items():
        monkeypatch.setattr(f"{_neighbors.__name__}.{name}", size)
    X = np.random.default_rng(0).standard_normal((900, 24)).astype(np.float32)
    few, many = _questions(900, 2, 0.9, 1, 15), _questions(900, 40, 0.9, 2, 15)  # some in every 16 rows; all rows
    compared = []

    def uneven(A: np.ndarray, *others, **lengths) -> np.ndarray:
        """As a BLAS that rounds other places of a product otherwise."""
        compared.append(len(A))
        apart = distances(A, *others, **lengths)
        apart[1::2] = np.nextafter(apart[1::2], np.float32(9))
        return apart

    monkeypatch.setattr(_neighbors, "distances", uneven)
    alone, some = list_neighbours(X, few[:1], WORKERS.map, metric=metric), sum(compared)
    together, every = list_neighbours(X, [*few, *many], WORKERS.map, metric=metric), sum(compared) - some
    for one, two in zip(alone.among(few[0]), together.among(few[0]), strict=True):
        np.testing.assert_array_equal(one, two)
    assert some < every / 2


def test_few_members_beside_many_are_searched_among_and_cost_the_others_no_list(monkeypatch) -> None:
    monkeypatch.setattr("medprobe.probe.estimators._neighbors._LONGEST", 100)
    X = np.random.default_rng(0).standard_normal((900, 24)).astype(np.float32)
    few, many = (_questions(900, 2, share, 1, 15) for share in (0.03, 0.8))
    lists = list_neighbours(X, [*few, *many], WORKERS.map)
    assert 15 < lists.row.shape[1] < 50
    _asserted_exact(lists, [*few, *many])


def test_blocks_and_workers_find_the_same_lists(monkeypatch) -> None:
    X = np.random.default_rng(0).standard_normal((500, 8)).astype(np.float32)
    monkeypatch.setattr("medprobe.probe.estimators._neighbors._CELLS", 40_000)
    questions = _questions(500, 3, 0.7, 0, 15)
    one, two = (list_neighbours(X, questions, Workers(jobs).map) for jobs in (1, 2))
    np.testing.assert_array_equal(one.found, two.found)
    np.testing.assert_array_equal(one.row, two.row)


@given(
    st.integers(1, 30),
    st.integers(1, 300),
    st.sampled_from([np.float32, np.float64]),
    st.integers(1, 60),
    st.integers(0, 10_000),
)
def test_the_nearest_are_the_first_of_a_stable_sort(rows, columns, dtype, probes, seed) -> None:
    rng = np.random.default_rng(seed)
    found = (rng.integers(0, probes, (rows, columns)) / 7).astype(dtype)  # few values, so that ties abound
    k = int(rng.integers(1, columns + 1))
    barred = rng.permutation(columns)[: columns - k]
    found[:, barred[: len(barred) // 2]] = np.inf
    values, places = nearest(
        np.split(found, np.sort(rng.choice(columns, min(columns, 3), replace=False))[1:], axis=1), k
    )
    wanted = np.argsort(found, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(places, wanted)
    np.testing.assert_array_equal(values, np.take_along_axis(found, wanted, axis=1))
    assert values.dtype == dtype
