"""A fit that says it has converged is at the optimum: random problems against scikit-learn's `newton-cholesky`."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from medprobe.probe import LogisticPath, LogisticProbe
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression


@dataclass(frozen=True, eq=False)
class _Problem:
    X: np.ndarray
    y: np.ndarray
    C: float
    standardize: bool
    class_weight: str | None

    @property
    def targets(self) -> list[np.ndarray]:
        """One column of labels per independent regression, those without two classes left out as None would be."""
        return list(self.y.T) if self.y.ndim == 2 else [self.y]


def _random_problem(seed: int) -> _Problem:
    """Binary, multiclass or multilabel; separable or not, collinear or not, more columns than rows or fewer."""
    rng = np.random.default_rng(seed)
    n, kind = int(np.exp(rng.uniform(np.log(8), np.log(400)))), rng.choice(["binary", "multiclass", "multilabel"])
    d = int(np.exp(rng.uniform(np.log(2), np.log(120 if kind == "multiclass" else 300))))
    outputs = 1 if kind == "binary" else int(rng.integers(3, 6))
    rank = max(1, int(d * rng.choice([1, 1, 0.3, 0.05])))
    X = rng.standard_normal((n, rank)) @ (rng.standard_normal((rank, d)) if rank < d else np.eye(d))
    X = X * np.exp(rng.normal(0, rng.choice([0, 0.5, 1.5]), d)) + rng.choice([0, 0, 1, 30]) * rng.standard_normal(d)
    if rng.random() < 0.2:
        X[:, d // 2 :] = X[:, : d - d // 2]
    X = X.astype(rng.choice(["float16", "float32", "float32", "float64"]))
    Z = (X - X.mean(axis=0, dtype=float)) / (X.std(axis=0, dtype=float) + 1e-12)
    W = rng.standard_normal((d, outputs)) * rng.choice([0, 0.3, 3, 100]) / np.sqrt(d)
    logits = Z @ W + rng.standard_normal(outputs) + rng.choice([0, 1]) * rng.logistic(size=(n, outputs))
    y = logits.argmax(axis=1) if kind == "multiclass" else (logits > 0).astype(int)
    C, weight = 10.0 ** rng.uniform(-6, 6), "balanced" if rng.random() < 0.2 else None
    return _Problem(X, y[:, 0] if kind == "binary" else y, float(C), bool(rng.random() < 0.6), weight)


def _objective(Z: np.ndarray, y: np.ndarray, weight: np.ndarray, C: float, W: np.ndarray, b: np.ndarray) -> float:
    logits = Z @ W.T + b
    if len(W) == 1:
        logits = np.c_[np.zeros(len(Z)), logits]
    loss = logsumexp(logits, axis=1) - logits[np.arange(len(y)), y]
    return float(C * (weight * loss).sum() + (W**2).sum() / 2)


def _excess(problem: _Problem, coef: np.ndarray, intercept: np.ndarray, scale: np.ndarray) -> float:
    """By how much the worst regression's objective is above the optimum in float64, as a share of it."""
    X = problem.X.astype(np.float64 if problem.X.dtype == np.float64 else np.float32).astype(np.float64)
    Z, worst = (X - X.mean(axis=0)) / scale, -np.inf
    for number, target in enumerate(problem.targets):
        present, y = np.unique(target, return_inverse=True)
        if len(present) < 2:
            continue
        mine = slice(number, number + 1) if problem.y.ndim == 2 else slice(None)
        weight = len(y) / (len(present) * np.bincount(y))[y] if problem.class_weight else np.ones(len(y))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exact = LogisticRegression(
                C=problem.C, class_weight=problem.class_weight, solver="newton-cholesky", tol=1e-11, max_iter=200
            ).fit(Z, y)
        wanted = _objective(Z, y, weight, problem.C, exact.coef_, exact.intercept_)
        W, b = coef[mine] * scale, intercept[mine] + coef[mine] @ X.mean(axis=0)
        worst = max(worst, _objective(Z, y, weight, problem.C, W, b) / wanted - 1)
    return worst


def _assert_at_the_optimum(seeds: range) -> None:
    for seed in seeds:
        problem = _random_problem(seed)
        if all(len(np.unique(target)) < 2 for target in problem.targets):
            continue
        settings = {"class_weight": problem.class_weight, "standardize": problem.standardize}
        cold = LogisticProbe(problem.C, **settings).fit(problem.X, problem.y)
        warm = LogisticPath([problem.C * 0.1**k for k in (6, 4, 2, 1, 0)], **settings).fit(problem.X, problem.y)
        scale = cold.scale_ if problem.standardize else np.ones(problem.X.shape[1])
        assert cold.converged_, seed
        assert warm.converged_.all(), seed
        assert _excess(problem, cold.coef_, cold.intercept_, scale) < 1e-6, seed
        assert _excess(problem, warm.coef_[-1], warm.intercept_[-1], scale) < 1e-6, seed


@pytest.mark.parametrize("start", range(0, 40, 20))
def test_a_fit_that_has_converged_is_at_the_optimum(start: int) -> None:
    _assert_at_the_optimum(range(start, start + 20))


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 2000, 100))
def test_all_of_two_thousand_fits_are_at_the_optimum(start: int) -> None:
    _assert_at_the_optimum(range(start, start + 100))
