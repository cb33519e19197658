"""Nearest neighbours as an estimator: parity with scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from made_up_rows import classified, labelled
from medprobe.probe import KNNProbe
from medprobe.probe.estimators._prediction import vote
from sklearn.neighbors import KNeighborsClassifier


@pytest.mark.parametrize("weights", ["distance", "uniform"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 5, 40])
def test_knn_is_scikit_learns_brute_force(metric: str, weights: str, k: int) -> None:
    X, y = classified()
    plain = KNeighborsClassifier(k, metric=metric, weights=weights, algorithm="brute").fit(X[:150], y[:150])
    probe = KNNProbe(k, metric=metric, weights=weights).fit(X[:150], y[:150])
    np.testing.assert_allclose(probe.predict_proba(X[150:]), plain.predict_proba(X[150:]), atol=1e-6)
    distances, positions = probe.kneighbors(X[150:])
    wanted, where = plain.kneighbors(X[150:])
    np.testing.assert_allclose(distances, wanted, atol=1e-6)
    np.testing.assert_array_equal(positions, where)


def test_knn_of_several_labels_is_scikit_learns() -> None:
    X, Y = labelled()
    plain = KNeighborsClassifier(7, metric="cosine", weights="distance", algorithm="brute").fit(X[:150], Y[:150])
    probe = KNNProbe(7).fit(X[:150], Y[:150])
    wanted = np.stack([proba[:, 1] for proba in plain.predict_proba(X[150:])], axis=1)
    np.testing.assert_allclose(probe.predict_proba(X[150:]), wanted, atol=1e-6)


def test_knn_with_more_neighbours_than_rows_asks_all_of_them() -> None:
    X, y = classified(n=20)
    with pytest.warns(UserWarning, match="there are 20 training rows; all of them vote"):
        probe = KNNProbe(1000, weights="uniform").fit(X, y)
    assert probe.n_neighbors_ == 20
    np.testing.assert_allclose(probe.predict_proba(X[:3]), np.tile(np.bincount(y) / 20, (3, 1)))


def test_knn_takes_the_earlier_of_equally_near_rows_whatever_the_number_of_neighbours() -> None:
    rng = np.random.default_rng(0)
    X = np.repeat(rng.standard_normal((15, 4)), 6, axis=0)  # every distance occurs six times
    y = rng.integers(0, 2, len(X))
    probe = KNNProbe(metric="euclidean").fit(X, y)
    queries = rng.standard_normal((40, 4))
    _, everyone = probe.kneighbors(queries, len(X))
    every_distance = np.linalg.norm(queries[:, None] - X[None], axis=2).round(9)
    wanted = np.stack([np.lexsort((np.arange(len(X)), row)) for row in every_distance])
    np.testing.assert_array_equal(everyone, wanted)
    for k in (1, 3, 6, 8, 50):
        np.testing.assert_array_equal(probe.kneighbors(queries, k)[1], wanted[:, :k])


def test_knn_gives_a_copy_of_a_training_row_its_own_label() -> None:
    X, y = classified()
    proba = KNNProbe(25).fit(X, y).predict_proba(X)
    assert (proba.argmax(axis=1) == y).all()
    assert proba[np.arange(len(y)), y].min() > 0.99


def test_knn_splits_the_vote_between_copies_that_disagree() -> None:
    X = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])  # the first two point the same way
    proba = KNNProbe(3).fit(X, [0, 1, 1]).predict_proba([[5.0, 0.0]])
    np.testing.assert_allclose(proba, [[0.5, 0.5]], atol=1e-4)


def test_knn_cosine_ignores_length_and_takes_a_row_of_zeros_for_a_right_angle() -> None:
    X, y = classified()
    probe = KNNProbe(5).fit(X, y)
    np.testing.assert_allclose(probe.predict_proba(X[:9] * 1000), probe.predict_proba(X[:9]), atol=1e-6)
    np.testing.assert_allclose(probe.kneighbors(np.zeros((1, X.shape[1])))[0], 1)
    assert np.isfinite(KNNProbe(5).fit(X * 0, y).predict_proba(X)).all()


def test_knn_answers_the_same_in_blocks_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = classified(n=400)
    probe = KNNProbe(9).fit(X[:200], y[:200])
    whole = probe.kneighbors(X[200:])
    monkeypatch.setattr("medprobe.probe.estimators._neighbors._CELLS", 200 * 7)
    in_blocks = probe.kneighbors(X[200:])
    np.testing.assert_array_equal(whole[1], in_blocks[1])
    np.testing.assert_allclose(whole[0], in_blocks[0], atol=1e-12)


@pytest.mark.parametrize("weights", ["distance", "uniform", "softmax"])
@pytest.mark.parametrize("several", [False, True])
def test_knn_from_one_search_answers_for_every_smaller_k(several: bool, weights: str) -> None:
    X, y = labelled() if several else classified(3)
    X[150:170] = X[:20]  # copies, whose distance is none
    X[20:30] = X[:10]
    wide = KNNProbe(50, weights=weights).fit(X[:150], y[:150])
    distances, positions = wide.kneighbors(X[150:])
    ks = [1, 4, 17, 50]
    every = vote(distances, wide.y_[positions], len(wide.classes_), ks, weights=weights)
    for k, proba in zip(ks, every, strict=True):
        narrow = KNNProbe(k, weights=weights).fit(X[:150], y[:150]).predict_proba(X[150:])
        np.testing.assert_allclose(proba, narrow, atol=1e-9)


@pytest.mark.parametrize(("metric", "temperature"), [("cosine", 0.07), ("cosine", 0.001), ("euclidean", 0.5)])
def test_knn_softmax_weighs_votes_by_the_exponential_of_the_similarity(metric: str, temperature: float) -> None:
    X, y = classified(3)
    probe = KNNProbe(20, metric=metric, weights="softmax", temperature=temperature).fit(X[:150], y[:150])
    distances, positions = probe.kneighbors(X[150:])
    votes = np.exp(-distances / temperature + (distances.min() / temperature))
    wanted = np.stack([np.where(y[positions] == c, votes, 0).sum(axis=1) for c in range(3)], axis=1)
    wanted /= wanted.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probe.predict_proba(X[150:]), wanted, atol=1e-9)


@pytest.mark.parametrize("weights", ["distance", "uniform", "softmax"])
def test_knn_probabilities_sum_to_one_and_chances_of_labels_lie_between_none_and_one(weights: str) -> None:
    X, y = classified(4)
    probe = KNNProbe(30, weights=weights, temperature=1e-4).fit(X * 1e-3, y)
    np.testing.assert_allclose(probe.predict_proba(X).sum(axis=1), 1, rtol=1e-12)
    X, Y = labelled()
    chances = KNNProbe(30, weights=weights).fit(X, Y).predict_proba(X)
    assert chances.min() >= 0
    assert chances.max() <= 1


@pytest.mark.parametrize("wrong", [{"n_neighbors": 0}, {"metric": "manhattan"}, {"weights": "exp"}, {"temperature": 0}])
def test_knn_refuses_what_it_does_not_know(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        KNNProbe(**wrong).fit(*classified())
