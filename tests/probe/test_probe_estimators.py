"""The probes as scikit-learn estimators: its own checks, and parity with what it computes."""

from __future__ import annotations

import pickle
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from medprobe.probe import CentroidProbe, GBMProbe, KNNProbe, LogisticPath, LogisticProbe
from medprobe.probe.gbm import PRESETS
from medprobe.probe.knn import vote
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

PROBES = [LogisticProbe(), KNNProbe(), GBMProbe(n_estimators=20), CentroidProbe()]


def _expected(estimator: Any) -> dict[str, str]:
    if not isinstance(estimator, KNNProbe):
        return {}
    why = "wants every chance strictly between 0 and 1; of k neighbours none, or all, may have a label"
    return {"check_classifiers_multilabel_output_format_predict_proba": why}


@parametrize_with_checks(
    [*PROBES, LogisticPath(), GBMProbe("lightgbm-defaults", n_estimators=20)], expected_failed_checks=_expected
)
def test_a_probe_is_a_scikit_learn_estimator(estimator: Any, check: Any) -> None:
    check(estimator)


def _data(classes: int = 3, n: int = 240, features: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return make_classification(
        n, features, n_informative=6, n_classes=classes, class_sep=0.8, scale=None, random_state=seed
    )


def _labels(n: int = 240, features: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, features))
    return X, (X[:, :3] + 0.5 * rng.standard_normal((n, 3)) > 0.3).astype(int)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: type(probe).__name__)
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_probabilities_sum_to_one_and_agree_with_predict(probe: Any, classes: int) -> None:
    X, y = _data(classes)
    y = np.array(["e", "d", "c", "b", "a"])[y]
    fitted = clone(probe).fit(X[:150], y[:150])
    proba = fitted.predict_proba(X[150:])
    assert proba.shape == (90, classes)
    assert proba.min() >= 0
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    assert fitted.classes_.tolist() == sorted(set(y))
    assert (fitted.classes_[proba.argmax(axis=1)] == fitted.predict(X[150:])).all()


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: type(probe).__name__)
def test_several_labels_a_row_are_learnt_and_one_that_never_changes_is_repeated(probe: Any) -> None:
    X, Y = _labels()
    Y = np.c_[Y, np.zeros(len(Y), int), np.ones(len(Y), int)]
    fitted = clone(probe).fit(X[:160], Y[:160])
    proba, called = fitted.predict_proba(X[160:]), fitted.predict(X[160:])
    assert proba.shape == called.shape == (80, 5)
    assert proba.min() >= 0
    assert proba.max() <= 1
    assert ((proba >= 0.5) == called).all()
    assert (called[:, :3] == Y[160:, :3]).mean() > 0.7
    np.testing.assert_allclose(proba[:, 3:], np.tile([0.0, 1.0], (80, 1)), atol=1e-12)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: type(probe).__name__)
def test_a_constant_column_changes_nothing(probe: Any) -> None:
    X, y = _data()
    const = np.c_[X, np.full(len(X), 1234.5), np.zeros(len(X))]
    if isinstance(probe, KNNProbe):  # a large constant does change an angle
        const = np.c_[X, np.zeros((len(X), 2))]
    with_it = clone(probe).fit(const[:150], y[:150]).predict_proba(const[150:])
    without = clone(probe).fit(X[:150], y[:150]).predict_proba(X[150:])
    assert np.isfinite(with_it).all()
    if isinstance(probe, GBMProbe):  # the columns that a tree may look at are drawn from others
        assert (with_it.argmax(1) == y[150:]).mean() > (without.argmax(1) == y[150:]).mean() - 0.1
    else:
        np.testing.assert_allclose(with_it, without, atol=2e-3)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: type(probe).__name__)
def test_labels_may_be_whole_floats_or_words_and_nothing_in_between(probe: Any) -> None:
    X, y = _data()
    plain = clone(probe).fit(X, y)
    for labels in (y.astype(float), np.array(["a", "b", "c"])[y], np.array(["a", "b", "c"], dtype=object)[y]):
        fitted = clone(probe).fit(X, labels)
        np.testing.assert_array_equal(fitted.predict_proba(X), plain.predict_proba(X))
        np.testing.assert_array_equal(fitted.predict(X), np.unique(labels)[plain.predict(X)])
    with pytest.raises(ValueError, match="continuous"):
        clone(probe).fit(X, y + 0.5 * (X[:, 0] > 0))


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: type(probe).__name__)
def test_a_probe_that_was_pickled_predicts_the_same(probe: Any) -> None:
    X, y = _data()
    fitted = clone(probe).fit(X, y)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: type(probe).__name__)
def test_half_precision_is_the_same_numbers_in_full_precision(probe: Any) -> None:
    X, y = _data()
    half = X.astype(np.float16)
    a = clone(probe).fit(half[:150], y[:150]).predict_proba(half[150:])
    b = clone(probe).fit(half[:150].astype(np.float64), y[:150]).predict_proba(half[150:].astype(np.float64))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: type(probe).__name__)
def test_single_and_double_precision_agree(probe: Any) -> None:
    X, y = _data()
    single = clone(probe).fit(X[:150].astype(np.float32), y[:150]).predict_proba(X[150:].astype(np.float32))
    double = clone(probe).fit(X[:150], y[:150]).predict_proba(X[150:])
    if isinstance(probe, GBMProbe):  # one row that falls on the other side of a cut moves all later trees
        assert (single.argmax(axis=1) == double.argmax(axis=1)).mean() > 0.9
    else:
        np.testing.assert_allclose(single, double, atol=2e-3)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: type(probe).__name__)
def test_a_fit_is_the_same_again_and_leaves_its_input_alone(probe: Any) -> None:
    X, y = _data()
    kept = X.copy()
    one, two = (clone(probe).fit(X[:150], y[:150]).predict_proba(X[150:]) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(X, kept)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: type(probe).__name__)
def test_a_probe_works_in_scikit_learns_own_tools(probe: Any) -> None:
    X, y = _data()
    assert cross_val_score(make_pipeline(StandardScaler(), probe), X, y, cv=3).mean() > 0.5


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: type(probe).__name__)
def test_what_cannot_be_learnt_is_refused(probe: Any) -> None:
    X, y = _data()
    with pytest.raises(ValueError, match="one class"):
        clone(probe).fit(X, np.zeros(len(X), int))
    with pytest.raises(ValueError, match="NaN"):
        clone(probe).fit(np.where(X > 2, np.nan, X), y)
    with pytest.raises(ValueError, match=r"several columns|multiclass-multioutput"):
        clone(probe).fit(X, np.c_[y, y])
    with pytest.raises(NotFittedError):
        clone(probe).predict(X)


# --- logistic regression


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("classes", [2, 4])
def test_logreg_is_scikit_learns_pipeline(classes: int, C: float) -> None:
    X, y = _data(classes)
    plain = make_pipeline(StandardScaler(), LogisticRegression(C=C, tol=1e-6, max_iter=5000)).fit(X[:150], y[:150])
    probe = LogisticProbe(C, tol=1e-6, max_iter=5000).fit(X[:150], y[:150])
    np.testing.assert_allclose(probe.predict_proba(X[150:]), plain.predict_proba(X[150:]), atol=1e-4)
    assert probe.converged_


def test_logreg_without_standardising_is_plain_logistic_regression() -> None:
    X, y = _data()
    plain = LogisticRegression(tol=1e-6, max_iter=5000).fit(X, y)
    probe = LogisticProbe(standardize=False, tol=1e-6, max_iter=5000).fit(X, y)
    np.testing.assert_allclose(probe.predict_proba(X), plain.predict_proba(X), atol=1e-5)


def test_logreg_of_several_labels_is_one_against_the_rest() -> None:
    X, Y = _labels()
    rest = OneVsRestClassifier(LogisticRegression(tol=1e-6, max_iter=5000))
    plain = make_pipeline(StandardScaler(), rest).fit(X, Y)
    probe = LogisticProbe(tol=1e-6, max_iter=5000).fit(X, Y)
    np.testing.assert_allclose(probe.predict_proba(X), plain.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize("weight", ["balanced", {"a": 5.0, "b": 1.0}])
def test_logreg_weighs_classes_as_scikit_learn_does(weight: Any) -> None:
    X, y = _data(3)
    y = np.array(["a", "b", "c"])[y]
    plain = make_pipeline(StandardScaler(), LogisticRegression(class_weight=weight, tol=1e-6, max_iter=5000)).fit(X, y)
    probe = LogisticProbe(class_weight=weight, tol=1e-6, max_iter=5000).fit(X, y)
    np.testing.assert_allclose(probe.predict_proba(X), plain.predict_proba(X), atol=1e-4)


def test_logreg_says_when_it_did_not_converge() -> None:
    X, y = _data()
    with pytest.warns(ConvergenceWarning):
        probe = LogisticProbe(C=1e4, max_iter=2).fit(X, y)
    assert not probe.converged_


def test_a_path_has_at_each_C_what_a_fit_at_that_C_has() -> None:
    X, y = _data()
    path = LogisticPath([100, 0.01, 1], tol=1e-7).fit(X[:150], y[:150])
    assert path.Cs_.tolist() == [0.01, 1, 100]
    for C, proba, coef in zip(path.Cs_, path.path_proba(X[150:]), path.coef_, strict=True):
        alone = LogisticProbe(C, tol=1e-7).fit(X[:150], y[:150])
        np.testing.assert_allclose(proba, alone.predict_proba(X[150:]), atol=1e-5)
        np.testing.assert_allclose(coef, alone.coef_, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(path.predict_proba(X), path.path_proba(X)[-1])
    assert path.converged_.all()
    assert (path.gradient_ <= 1e-7).all()


def test_weights_and_intercepts_are_those_of_the_features_as_they_are_given() -> None:
    X, y = _data()
    X = X * np.linspace(0.1, 30, X.shape[1]) + np.linspace(-50, 50, X.shape[1])
    for probe in (LogisticProbe().fit(X, y), LogisticProbe(standardize=False, C=1e-2).fit(X, y)):
        logits = X @ probe.coef_.T + probe.intercept_
        proba = np.exp(logits - logits.max(axis=1, keepdims=True))
        np.testing.assert_allclose(proba / proba.sum(axis=1, keepdims=True), probe.predict_proba(X), atol=1e-8)


def test_logreg_fits_its_scaling_on_the_training_rows_alone() -> None:
    X, y = _data()
    probe = LogisticProbe().fit(X[:100], y[:100])
    np.testing.assert_allclose(probe.mean_, X[:100].mean(axis=0))
    np.testing.assert_allclose(probe.scale_, X[:100].std(axis=0))


def test_a_column_that_is_constant_but_for_rounding_is_not_blown_up() -> None:
    X, y = _data()
    noisy = np.full(len(X), 1000.0, np.float32)
    noisy[::2] = np.nextafter(np.float32(1000), np.float32(2000))
    probe = LogisticProbe().fit(np.c_[X.astype(np.float32), noisy], y)
    assert probe.scale_[-1] == 1


# --- nearest neighbours


@pytest.mark.parametrize("weights", ["distance", "uniform"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 5, 40])
def test_knn_is_scikit_learns_brute_force(metric: str, weights: str, k: int) -> None:
    X, y = _data()
    plain = KNeighborsClassifier(k, metric=metric, weights=weights, algorithm="brute").fit(X[:150], y[:150])
    probe = KNNProbe(k, metric=metric, weights=weights).fit(X[:150], y[:150])
    np.testing.assert_allclose(probe.predict_proba(X[150:]), plain.predict_proba(X[150:]), atol=1e-6)
    distances, positions = probe.kneighbors(X[150:])
    wanted, where = plain.kneighbors(X[150:])
    np.testing.assert_allclose(distances, wanted, atol=1e-6)
    np.testing.assert_array_equal(positions, where)


def test_knn_of_several_labels_is_scikit_learns() -> None:
    X, Y = _labels()
    plain = KNeighborsClassifier(7, metric="cosine", weights="distance", algorithm="brute").fit(X[:150], Y[:150])
    probe = KNNProbe(7).fit(X[:150], Y[:150])
    wanted = np.stack([proba[:, 1] for proba in plain.predict_proba(X[150:])], axis=1)
    np.testing.assert_allclose(probe.predict_proba(X[150:]), wanted, atol=1e-6)


def test_knn_with_more_neighbours_than_rows_asks_all_of_them() -> None:
    X, y = _data(n=20)
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
    X, y = _data()
    proba = KNNProbe(25).fit(X, y).predict_proba(X)
    assert (proba.argmax(axis=1) == y).all()
    assert proba[np.arange(len(y)), y].min() > 0.99


def test_knn_splits_the_vote_between_copies_that_disagree() -> None:
    X = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])  # the first two point the same way
    proba = KNNProbe(3).fit(X, [0, 1, 1]).predict_proba([[5.0, 0.0]])
    np.testing.assert_allclose(proba, [[0.5, 0.5]], atol=1e-4)


def test_knn_cosine_ignores_length_and_takes_a_row_of_zeros_for_a_right_angle() -> None:
    X, y = _data()
    probe = KNNProbe(5).fit(X, y)
    np.testing.assert_allclose(probe.predict_proba(X[:9] * 1000), probe.predict_proba(X[:9]), atol=1e-6)
    np.testing.assert_allclose(probe.kneighbors(np.zeros((1, X.shape[1])))[0], 1)
    assert np.isfinite(KNNProbe(5).fit(X * 0, y).predict_proba(X)).all()


def test_knn_answers_the_same_in_blocks_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = _data(n=400)
    probe = KNNProbe(9).fit(X[:200], y[:200])
    whole = probe.kneighbors(X[200:])
    monkeypatch.setattr("medprobe.probe.neighbours._CELLS", 200 * 7)
    in_blocks = probe.kneighbors(X[200:])
    np.testing.assert_array_equal(whole[1], in_blocks[1])
    np.testing.assert_allclose(whole[0], in_blocks[0], atol=1e-12)


@pytest.mark.parametrize("weights", ["distance", "uniform", "softmax"])
@pytest.mark.parametrize("several", [False, True])
def test_knn_from_one_search_answers_for_every_smaller_k(several: bool, weights: str) -> None:
    X, y = _labels() if several else _data(3)
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
    X, y = _data(3)
    probe = KNNProbe(20, metric=metric, weights="softmax", temperature=temperature).fit(X[:150], y[:150])
    distances, positions = probe.kneighbors(X[150:])
    votes = np.exp(-distances / temperature + (distances.min() / temperature))
    wanted = np.stack([np.where(y[positions] == c, votes, 0).sum(axis=1) for c in range(3)], axis=1)
    wanted /= wanted.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probe.predict_proba(X[150:]), wanted, atol=1e-9)


@pytest.mark.parametrize("weights", ["distance", "uniform", "softmax"])
def test_knn_probabilities_sum_to_one_and_chances_of_labels_lie_between_none_and_one(weights: str) -> None:
    X, y = _data(4)
    probe = KNNProbe(30, weights=weights, temperature=1e-4).fit(X * 1e-3, y)
    np.testing.assert_allclose(probe.predict_proba(X).sum(axis=1), 1, rtol=1e-12)
    X, Y = _labels()
    chances = KNNProbe(30, weights=weights).fit(X, Y).predict_proba(X)
    assert chances.min() >= 0
    assert chances.max() <= 1


@pytest.mark.parametrize("wrong", [{"n_neighbors": 0}, {"metric": "manhattan"}, {"weights": "exp"}, {"temperature": 0}])
def test_knn_refuses_what_it_does_not_know(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        KNNProbe(**wrong).fit(*_data())


# --- gradient boosting


def test_gbm_defaults_are_plain_lightgbm() -> None:
    X, y = _data(3)
    settings = {"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1, "seed": 0}
    settings |= {"deterministic": True, "force_col_wise": True}
    plain = lgb.train(settings, lgb.Dataset(X[:150], y[:150], params=settings), 30)
    probe = GBMProbe("lightgbm-defaults", n_estimators=30).fit(X[:150], y[:150])
    np.testing.assert_allclose(probe.predict_proba(X[150:]), np.asarray(plain.predict(X[150:])), atol=1e-12)


def test_gbm_stops_where_the_log_loss_of_the_eval_set_is_lowest() -> None:
    X, y = _data(3, n=400)
    probe = GBMProbe("lightgbm-defaults", n_estimators=200).fit(X[:250], y[:250], eval_set=(X[250:], y[250:]))
    (rounds,) = probe.rounds_
    assert 1 < rounds < 200
    losses = []
    for count in range(1, rounds + 11):
        proba = np.asarray(probe.boosters_[0].predict(X[250:], num_iteration=count))
        losses.append(-np.log(proba[np.arange(150), y[250:]]).mean())
    assert int(np.argmin(losses)) + 1 == rounds
    kept = np.asarray(probe.boosters_[0].predict(X[250:], num_iteration=rounds))
    np.testing.assert_array_equal(probe.predict_proba(X[250:]), kept)


def test_gbm_refits_with_the_rounds_that_it_found() -> None:
    X, y = _data(3, n=400)
    probe = GBMProbe(n_estimators=200).fit(X[:250], y[:250], eval_set=(X[250:], y[250:]))
    (rounds,) = probe.rounds_
    probe.refit(X, y)
    np.testing.assert_array_equal(probe.predict_proba(X), GBMProbe(n_estimators=rounds).fit(X, y).predict_proba(X))
    assert probe.rounds_ == [rounds]


def test_gbm_stops_each_label_on_its_own() -> None:
    X, Y = _labels(n=400)
    Y = np.c_[Y, np.zeros(400, int)]
    probe = GBMProbe(n_estimators=150).fit(X[:250], Y[:250], eval_set=(X[250:], Y[250:]))
    assert len(probe.rounds_) == 4
    for label in range(3):
        alone = GBMProbe(n_estimators=150).fit(X[:250], Y[:250, label], eval_set=(X[250:], Y[250:, label]))
        assert probe.rounds_[label] == alone.rounds_[0]
        np.testing.assert_array_equal(probe.predict_proba(X)[:, label], alone.predict_proba(X)[:, 1])


def test_gbm_cuts_the_rows_of_several_labels_into_bins_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = []
    construct = lgb.Dataset.construct

    def counted(data: lgb.Dataset) -> lgb.Dataset:
        cut.extend([] if data._handle is not None else [data])
        return construct(data)

    monkeypatch.setattr(lgb.Dataset, "construct", counted)
    X, Y = _labels(n=400)
    GBMProbe(n_estimators=20).fit(X[:250], Y[:250], eval_set=(X[250:], Y[250:]))
    assert len(cut) == 2, "the training rows and those that say when to stop"


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("shots", [1, 5])
def test_gbm_learns_from_a_few_rows_with_constant_columns_and_a_val_that_lacks_a_class(preset: str, shots: int) -> None:
    X, y = _data(4, n=400)
    X[:, 3] = 7
    few = np.concatenate([np.flatnonzero(y == c)[:shots] for c in range(4)])
    val = np.flatnonzero(y[300:] != 2) + 300
    probe = GBMProbe(preset).fit(X[few], y[few], eval_set=(X[val], y[val]))
    proba = probe.refit(X[np.r_[few, val]], y[np.r_[few, val]]).predict_proba(X)
    assert proba.shape == (400, 4)
    assert np.isfinite(proba).all()
    flat = GBMProbe(preset).fit(X * 0, y).predict_proba(X)
    np.testing.assert_allclose(flat, np.tile(np.bincount(y) / len(y), (len(X), 1)), atol=1e-3)


def test_gbm_takes_named_classes_in_its_eval_set_and_refuses_unknown_ones() -> None:
    X, y = _data(3, n=300)
    named = np.array(["a", "b", "c"])[y]
    a = GBMProbe(n_estimators=50).fit(X[:200], named[:200], eval_set=(X[200:], named[200:]))
    b = GBMProbe(n_estimators=50).fit(X[:200], y[:200], eval_set=(X[200:], y[200:]))
    assert a.rounds_ == b.rounds_
    for stranger in ("bb", "z"):
        other = named[200:].astype(object)
        other[3] = stranger
        with pytest.raises(ValueError, match="eval_set holds a class"):
            GBMProbe().fit(X[:200], named[:200], eval_set=(X[200:], other))


def test_gbm_fits_its_components_on_the_training_rows_alone() -> None:
    X, y = _data(3, n=300, features=40)
    probe = GBMProbe(n_estimators=5).fit(X[:200], y[:200], eval_set=(X[200:] * 100, y[200:]))
    assert probe.pca_ is not None
    np.testing.assert_allclose(probe.pca_.mean_, X[:200].mean(axis=0))


def test_gbm_keeps_fewer_components_than_rows() -> None:
    X, y = _data(2, n=30, features=400)
    probe = GBMProbe(n_estimators=5).fit(X, y)
    assert probe.pca_ is not None
    assert probe.pca_.n_components_ == 29
    assert PRESETS["dense"]["components"] == 192


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gbm_leaves_out_components_that_are_rounding_alone(dtype: type) -> None:
    rng = np.random.default_rng(0)
    base = rng.standard_normal((200, 6))
    X = np.c_[base, base @ rng.standard_normal((6, 30)), np.full((200, 4), 7.0)].astype(dtype)
    probe = GBMProbe(n_estimators=5).fit(X, (base[:, 0] > 0).astype(int))
    assert probe.pca_ is not None
    assert probe.pca_.n_components_ == 6


def test_gbm_refuses_an_unknown_preset() -> None:
    with pytest.raises(ValueError, match="preset must be one of"):
        GBMProbe("fast").fit(*_data())


@pytest.mark.parametrize("shape", [(700, 900), (700, 300), (100, 900)], ids=["randomized", "covariance", "full"])
def test_gbm_gives_the_same_bits_again_with_each_solver_of_its_components(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal(shape).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    one, two = (GBMProbe(n_estimators=10).fit(X, y).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_a_grid_search_over_a_probe_finds_its_parameters() -> None:
    X, y = _data()
    search = GridSearchCV(KNNProbe(), {"n_neighbors": [1, 5, 15], "weights": ["uniform", "distance"]}, cv=3).fit(X, y)
    assert set(search.best_params_) == {"n_neighbors", "weights"}


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_centroids_call_what_scikit_learns_nearest_centroid_calls(center: bool, normalize: bool) -> None:
    X, y = _data(classes=4)
    train, test = X[:160] - (X[:160].mean(0) if center else 0), X[160:] - (X[:160].mean(0) if center else 0)
    if normalize:
        train, test = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (train, test))
    theirs = NearestCentroid().fit(train, y[:160])
    ours = CentroidProbe(center=center, normalize=normalize).fit(X[:160], y[:160])
    np.testing.assert_allclose(ours.centroids_, theirs.centroids_, atol=1e-12)
    np.testing.assert_array_equal(ours.predict(X[160:]), theirs.predict(test))


def test_a_temperature_changes_how_sure_centroids_are_and_not_what_they_call() -> None:
    X, y = _data()
    cold, warm = (CentroidProbe(temperature=t).fit(X[:160], y[:160]).predict_proba(X[160:]) for t in (0.01, 1.0))
    np.testing.assert_array_equal(cold.argmax(1), warm.argmax(1))
    assert (cold.max(1) > warm.max(1)).all()


def test_centroids_of_a_label_that_is_always_the_same_are_certain_of_it() -> None:
    X, Y = _labels()
    Y[:, 0], Y[:, 1] = 1, 0
    proba = CentroidProbe().fit(X, Y).predict_proba(X)
    assert (proba[:, 0] == 1).all()
    assert (proba[:, 1] == 0).all()
    assert np.isfinite(proba).all()
