"""Logistic regression as an estimator: parity with scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from made_up_rows import classified, labelled
from medprobe.probe import LogisticPath, LogisticProbe
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("classes", [2, 4])
def test_logreg_is_scikit_learns_pipeline(classes: int, C: float) -> None:
    X, y = classified(classes)
    plain = make_pipeline(StandardScaler(), LogisticRegression(C=C, tol=1e-6, max_iter=5000)).fit(X[:150], y[:150])
    probe = LogisticProbe(C, standardize=True, tol=1e-6, max_iter=5000).fit(X[:150], y[:150])
    np.testing.assert_allclose(probe.predict_proba(X[150:]), plain.predict_proba(X[150:]), atol=1e-4)
    assert probe.converged_


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logreg_as_it_comes_is_plain_logistic_regression_whatever_the_scale_of_columns(
    classes: int, dtype: type
) -> None:
    X, y = classified(classes)
    X = (X * np.geomspace(0.002, 1, X.shape[1]) + np.linspace(-30, 30, X.shape[1])).astype(dtype)
    # Without the columns' means, which the free intercept takes in, scikit-learn's solver gets to the same optimum.
    centred = X.astype(np.float64) - X.mean(axis=0, dtype=np.float64)
    plain = LogisticRegression(C=1.0, tol=1e-8, max_iter=10000).fit(centred, y)
    probe, path = LogisticProbe(C=1.0).fit(X, y), LogisticPath([0.01, 1.0]).fit(X, y)
    wanted = plain.predict_proba(centred)
    np.testing.assert_allclose(probe.predict_proba(X), wanted, atol=5e-4)
    np.testing.assert_allclose(path.predict_proba(X), wanted, atol=5e-4)
    assert probe.converged_
    scaled = LogisticProbe(C=1.0, standardize=True).fit(X, y).predict_proba(X)
    assert np.abs(scaled - wanted).max() > 0.01


def test_logreg_of_several_labels_is_one_against_the_rest() -> None:
    X, Y = labelled()
    rest = OneVsRestClassifier(LogisticRegression(tol=1e-6, max_iter=5000))
    plain = make_pipeline(StandardScaler(), rest).fit(X, Y)
    probe = LogisticProbe(standardize=True, tol=1e-6, max_iter=5000).fit(X, Y)
    np.testing.assert_allclose(probe.predict_proba(X), plain.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize("weight", ["balanced", {"a": 5.0, "b": 1.0}])
def test_logreg_weighs_classes_as_scikit_learn_does(weight: Any) -> None:
    X, y = classified(3)
    y = np.array(["a", "b", "c"])[y]
    plain = make_pipeline(StandardScaler(), LogisticRegression(class_weight=weight, tol=1e-6, max_iter=5000)).fit(X, y)
    probe = LogisticProbe(class_weight=weight, standardize=True, tol=1e-6, max_iter=5000).fit(X, y)
    np.testing.assert_allclose(probe.predict_proba(X), plain.predict_proba(X), atol=1e-4)


def test_logreg_says_when_it_did_not_converge() -> None:
    X, y = classified()
    with pytest.warns(ConvergenceWarning):
        probe = LogisticProbe(C=1e4, max_iter=2).fit(X, y)
    assert not probe.converged_


def test_a_path_has_at_each_C_what_a_fit_at_that_C_has() -> None:
    X, y = classified()
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
    X, y = classified()
    X = X * np.linspace(0.1, 30, X.shape[1]) + np.linspace(-50, 50, X.shape[1])
    for probe in (LogisticProbe(standardize=True).fit(X, y), LogisticProbe(C=1e-2).fit(X, y)):
        logits = X @ probe.coef_.T + probe.intercept_
        proba = np.exp(logits - logits.max(axis=1, keepdims=True))
        np.testing.assert_allclose(proba / proba.sum(axis=1, keepdims=True), probe.predict_proba(X), atol=1e-8)


def test_logreg_fits_its_scaling_on_the_training_rows_alone() -> None:
    X, y = classified()
    probe = LogisticProbe(standardize=True).fit(X[:100], y[:100])
    np.testing.assert_allclose(probe.mean_, X[:100].mean(axis=0))
    np.testing.assert_allclose(probe.scale_, X[:100].std(axis=0))


def test_a_column_that_is_constant_but_for_rounding_is_not_blown_up() -> None:
    X, y = classified()
    noisy = np.full(len(X), 1000.0, np.float32)
    noisy[::2] = np.nextafter(np.float32(1000), np.float32(2000))
    probe = LogisticProbe(standardize=True).fit(np.c_[X.astype(np.float32), noisy], y)
    assert probe.scale_[-1] == 1
