"""A path walked ahead of many resamples makes theirs shorter and changes no optimum."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from medprobe.evaluate import METRICS, Resample
from medprobe.probe import PROBES, ProbeTask
from medprobe.probe.engines import logreg as logistic_engine
from medprobe.probe.engines.parallel import Workers
from medprobe.probe.logistic_solver import blas
from medprobe.probe.logistic_solver.path import Guide
from medprobe.probe.logistic_solver.problems import Problems
from medprobe.probe.logistic_solver.rows import Rows
from medprobe.probe.logistic_solver.solver import solve
from sklearn.datasets import make_classification

GRID = (1e-3, 0.1, 1.0, 100.0)


def _task(task: str, seeds: int = 6) -> ProbeTask:
    X, y = map(np.asarray, make_classification(400, 12, n_informative=8, n_classes=3, class_sep=0.6, random_state=3))
    X = X.astype(np.float32)
    y, classes = {
        "binary": (np.minimum(y, 1), ("a", "b")),
        "multiclass": (y, ("a", "b", "c")),
        "multilabel": (np.stack([y == 0, y > 1, X[:, 0] > 0], axis=1).astype(np.int8), ("a", "b", "c")),
    }[task]
    resamples = []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(300)
        resamples.append(Resample(seed, np.sort(order[:240]), np.sort(order[240:]), np.arange(300, 400)))
    metric = METRICS["brier" if task == "multilabel" else "log_loss"]
    return ProbeTask(X, y, tuple(resamples), task, classes, metric, refit=False)


@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_probabilities_are_those_without_a_guide(monkeypatch, task: str, refit: bool) -> None:
    block = _task(task)
    block = ProbeTask(block.X, block.y, block.resamples, task, block.classes, block.metric, refit=refit)
    kind = PROBES["logreg"].configured(C=GRID, tol=1e-6, stop_path=False)
    with_guide = list(kind.solve(block, Workers(2)))
    monkeypatch.setattr(logistic_engine, "_MIN_SHARE", 2.0)
    alone = list(kind.solve(block, Workers(2)))
    for a, b in zip(with_guide, alone, strict=True):
        assert a.params == b.params
        np.testing.assert_allclose(a.test_proba, b.test_proba, atol=2e-4)
        np.testing.assert_allclose(a.val_proba, b.val_proba, atol=2e-4)


def test_resamples_that_share_few_rows_go_without_a_guide(monkeypatch) -> None:
    block = _task("multiclass")
    few = tuple(Resample(r.seed, r.train[:50], r.val, r.test) for r in block.resamples)
    made = []
    monkeypatch.setattr(logistic_engine, "Guide", lambda *given, **_: made.append(given))
    block = ProbeTask(block.X, block.y, few, "multiclass", block.classes, block.metric, refit=False)
    list(PROBES["logreg"].configured(C=GRID).solve(block, Workers(1)))
    assert not made


def _problems(members: np.ndarray) -> Problems:
    X, y = make_classification(200, 8, n_informative=5, n_classes=3, random_state=0)
    order = np.argsort(y, kind="stable")
    return Problems.of(Rows(X, order), y[order], 3, members[:, order])


def test_a_row_that_half_belongs_counts_half() -> None:
    rng = np.random.default_rng(0)
    share = rng.choice([0.0, 0.5, 1.0], size=(1, 200))
    parts = np.stack([share[0] > 0, share[0] == 1])
    points = 0.1 * rng.standard_normal((1, _problems(share).size))
    both = [_problems(part[None]).at(1.0) for part in parts]
    mean, stretch = _problems(share).at(1.0), np.ones((1, 8))
    losses = []
    for problems in (mean, *both):
        problems.stretch[:] = stretch
        value, _ = problems.evaluate(points)
        losses.append(value[0] - (problems.split(points)[0] ** 2).sum() / 2)
    assert losses[0] == pytest.approx(np.mean(losses[1:]))


def test_the_guide_goes_no_further_than_it_is_asked_to() -> None:
    problems = _problems(np.ones((1, 200), bool))
    for ahead in (False, True):
        with Guide(problems, GRID, tol=1e-4, max_iter=100, ahead=ahead) as guide:
            first = guide.at(0)
            assert len(guide._found) == 1 + ahead
            assert guide.at(0).points is first.points
            last = guide.at(3)
        alone = solve(problems.at(GRID[3]), np.zeros((1, problems.size)), tol=1e-6)
        np.testing.assert_allclose(last.points, alone.points, atol=1e-2)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("guide")]


def test_what_goes_wrong_in_the_guide_is_heard_of(monkeypatch) -> None:
    problems = _problems(np.ones((1, 200), bool))
    monkeypatch.setattr(problems.rows, "blocks", lambda *_: 1 / 0)
    with Guide(problems, GRID, tol=1e-4, max_iter=100, ahead=True) as guide, pytest.raises(ZeroDivisionError):
        guide.at(0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lapack_without_the_lock_is_numpys(dtype) -> None:
    A = np.random.default_rng(0).standard_normal((40, 60))
    matrix = (A @ A.T).astype(dtype)
    x = np.arange(40, dtype=dtype)
    lower = matrix.copy(order="F")
    assert blas.cholesky(lower)
    tolerance = 1e-3 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(np.tril(lower), np.linalg.cholesky(A @ A.T), atol=tolerance)
    np.testing.assert_allclose(blas.cholesky_solve(lower, x), np.linalg.solve(A @ A.T, x), atol=100 * tolerance)
    assert blas.cholesky_inverse(lower)
    np.testing.assert_allclose(np.tril(lower), np.tril(np.linalg.inv(A @ A.T)), atol=tolerance)
    assert not blas.cholesky(np.asfortranarray(-matrix))
    with pytest.raises(ValueError, match="Fortran"):
        blas.cholesky(np.ones((2, 3), dtype)[:, :2])
