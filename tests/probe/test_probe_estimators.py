"""The probes as scikit-learn estimators: its own checks, and what all probes have in common."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from made_up_rows import classified, labelled
from medprobe.probe import CentroidProbe, GBMProbe, KNNProbe, LogisticPath, LogisticProbe
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
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
    [*PROBES, LogisticProbe(standardize=True), LogisticPath(), GBMProbe("lightgbm-defaults", n_estimators=20)],
    expected_failed_checks=_expected,
)
def test_a_probe_is_a_scikit_learn_estimator(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: type(probe).__name__)
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_probabilities_sum_to_one_and_agree_with_predict(probe: Any, classes: int) -> None:
    X, y = classified(classes)
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
    X, Y = labelled()
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
    X, y = classified()
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
    X, y = classified()
    plain = clone(probe).fit(X, y)
    for labels in (y.astype(float), np.array(["a", "b", "c"])[y], np.array(["a", "b", "c"], dtype=object)[y]):
        fitted = clone(probe).fit(X, labels)
        np.testing.assert_array_equal(fitted.predict_proba(X), plain.predict_proba(X))
        np.testing.assert_array_equal(fitted.predict(X), np.unique(labels)[plain.predict(X)])
    with pytest.raises(ValueError, match="continuous"):
        clone(probe).fit(X, y + 0.5 * (X[:, 0] > 0))


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: type(probe).__name__)
def test_a_probe_that_was_pickled_predicts_the_same(probe: Any) -> None:
    X, y = classified()
    fitted = clone(probe).fit(X, y)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: type(probe).__name__)
def test_half_precision_is_the_same_numbers_in_full_precision(probe: Any) -> None:
    X, y = classified()
    half = X.astype(np.float16)
    a = clone(probe).fit(half[:150], y[:150]).predict_proba(half[150:])
    b = clone(probe).fit(half[:150].astype(np.float64), y[:150]).predict_proba(half[150:].astype(np.float64))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: type(probe).__name__)
def test_single_and_double_precision_agree(probe: Any) -> None:
    X, y = classified()
    single = clone(probe).fit(X[:150].astype(np.float32), y[:150]).predict_proba(X[150:].astype(np.float32))
    double = clone(probe).fit(X[:150], y[:150]).predict_proba(X[150:])
    if isinstance(probe, GBMProbe):  # one row that falls on the other side of a cut moves all later trees
        assert (single.argmax(axis=1) == double.argmax(axis=1)).mean() > 0.9
    else:
        np.testing.assert_allclose(single, double, atol=2e-3)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: type(probe).__name__)
def test_a_fit_is_the_same_again_and_leaves_its_input_alone(probe: Any) -> None:
    X, y = classified()
    kept = X.copy()
    one, two = (clone(probe).fit(X[:150], y[:150]).predict_proba(X[150:]) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(X, kept)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: type(probe).__name__)
def test_a_probe_works_in_scikit_learns_own_tools(probe: Any) -> None:
    X, y = classified()
    assert cross_val_score(make_pipeline(StandardScaler(), probe), X, y, cv=3).mean() > 0.5


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: type(probe).__name__)
def test_what_cannot_be_learnt_is_refused(probe: Any) -> None:
    X, y = classified()
    with pytest.raises(ValueError, match="one class"):
        clone(probe).fit(X, np.zeros(len(X), int))
    with pytest.raises(ValueError, match="NaN"):
        clone(probe).fit(np.where(X > 2, np.nan, X), y)
    with pytest.raises(ValueError, match=r"several columns|multiclass-multioutput"):
        clone(probe).fit(X, np.c_[y, y])
    with pytest.raises(NotFittedError):
        clone(probe).predict(X)


def test_a_grid_search_over_a_probe_finds_its_parameters() -> None:
    X, y = classified()
    search = GridSearchCV(KNNProbe(), {"n_neighbors": [1, 5, 15], "weights": ["uniform", "distance"]}, cv=3).fit(X, y)
    assert set(search.best_params_) == {"n_neighbors", "weights"}
