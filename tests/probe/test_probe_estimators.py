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
    [LogisticProbe(standardize=True), *PROBES[1:], LogisticPath()],
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


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (LogisticProbe(class_weight="balance"), "class_weight must be None, \"balanced\" or a dict .* got 'balance'"),
        (LogisticPath(class_weight="balance"), "class_weight must be"),
        (LogisticProbe(class_weight=["balanced"]), "class_weight must be"),
        (LogisticProbe(class_weight={0: 2.0, "c": 1.0}), r"class_weight has \['c'\], which are not among the classes"),
        (LogisticProbe(class_weight={0: np.nan}), r"class_weight\[0\] must be a finite number above 0, got nan"),
        (LogisticProbe(C=np.inf), "C must be a finite number above 0, got inf; for next to no penalty give a large"),
        (LogisticProbe(C=-1), "C must be a finite number above 0, got -1$"),
        (LogisticProbe(C="a"), "C must be a number above 0, got 'a'"),
        (LogisticProbe(C=True), "C must be a number above 0, got True"),
        (LogisticPath(Cs=[1, np.nan]), "C must be a finite number above 0, got nan"),
        (LogisticPath(Cs=[1, "a"]), "C must be a number above 0, got 'a'"),
        (LogisticPath(Cs=10), r"Cs must be a sequence of numbers, such as \[0.01, 1, 100\], got 10"),
        (LogisticPath(Cs="10"), "Cs must be a sequence of numbers"),
        (LogisticPath(Cs=[]), "Cs is empty"),
        (LogisticProbe(tol=-1), "tol must be a finite number above 0, got -1"),
        (LogisticPath(tol=np.inf), "tol must be a finite number above 0, got inf"),
        (LogisticProbe(max_iter=0), "max_iter must be a whole number, 1 or more, got 0"),
        (LogisticProbe(max_iter=1.5), "max_iter must be a whole number, 1 or more, got 1.5"),
        (LogisticProbe(standardize="x"), "standardize must be True or False, got 'x'"),
        (CentroidProbe(normalize="x"), "normalize must be True or False, got 'x'"),
        (CentroidProbe(center=None), "center must be True or False, got None"),
        (CentroidProbe(temperature=np.inf), "temperature must be a finite number above 0, got inf"),
        (KNNProbe(temperature=np.nan), "temperature must be a finite number above 0, got nan"),
        (KNNProbe(n_neighbors=2.5), "n_neighbors must be a whole number, 1 or more, got 2.5"),
        (KNNProbe(metric="manhattan"), r"metric must be one of \('cosine', 'euclidean'\), got 'manhattan'"),
        (KNNProbe(weights=["uniform"]), "weights must be one of"),
        (GBMProbe(preset=["dense"]), r"preset must be one of \('dense', 'lightgbm-defaults'\), got \['dense'\]"),
        (GBMProbe(n_estimators=0), "n_estimators must be a whole number, 1 or more, got 0"),
        (GBMProbe(early_stopping_rounds=-1), "early_stopping_rounds must be a whole number"),
        (GBMProbe(random_state=None), "random_state must be a whole number, 0 or more, got None"),
    ],
    ids=repr,
)
def test_a_parameter_that_means_nothing_is_named_in_one_line(probe: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message) as raised:
        probe.fit(*classified())
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: type(probe).__name__)
def test_numpys_numbers_are_numbers(probe: Any) -> None:
    X, y = classified()
    wrapped = {
        name: np.array(value)[()] for name, value in probe.get_params().items() if isinstance(value, (int, float))
    }
    again = clone(probe).set_params(**wrapped).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), clone(probe).fit(X, y).predict_proba(X))


def test_a_weight_for_a_class_that_a_fold_lacks_is_no_fault() -> None:
    X, y = classified(2)
    weighed = LogisticProbe(class_weight={0: 1.0, 1: 3.0, 2: 5.0}).fit(X, y)
    alone = LogisticProbe(class_weight={0: 1.0, 1: 3.0}).fit(X, y)
    np.testing.assert_array_equal(weighed.predict_proba(X), alone.predict_proba(X))


@pytest.mark.parametrize("probe", [*PROBES, LogisticPath()], ids=lambda probe: type(probe).__name__)
def test_values_whose_squares_overflow_are_refused_to_fit_and_to_predict(probe: Any) -> None:
    X, y = classified()
    for value in (1e200, -1.1e17, np.float32(2e17)):
        wild = X.copy()
        wild[3, 2] = value
        with pytest.raises(ValueError, match=r"X holds values beyond 1e\+17"):
            clone(probe).fit(wild, y)
        with pytest.raises(ValueError, match=r"X holds values beyond 1e\+17"):
            clone(probe).fit(X, y).predict_proba(wild)
    wild[3, 2] = 1e15
    assert np.isfinite(clone(probe).fit(wild, y).predict_proba(wild)).all()


def test_a_single_class_is_named_as_one_would_write_it() -> None:
    X, _ = classified()
    with pytest.raises(ValueError, match=r"got one class: 0$"):
        KNNProbe().fit(X, np.zeros(len(X), int))
    with pytest.raises(ValueError, match=r"got one class: 'a'$"):
        KNNProbe().fit(X, np.full(len(X), "a"))


def test_a_grid_search_over_a_probe_finds_its_parameters() -> None:
    X, y = classified()
    search = GridSearchCV(KNNProbe(), {"n_neighbors": [1, 5, 15], "weights": ["uniform", "distance"]}, cv=3).fit(X, y)
    assert set(search.best_params_) == {"n_neighbors", "weights"}
