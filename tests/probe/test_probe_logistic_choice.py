"""The probe `logreg` on its way along C: where it ends, what it tells of that, and how it weighs classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from medprobe.evaluate import Resample, find_metric
from medprobe.probe import PROBES, ProbeTask
from medprobe.probe.engines.model_selection import ModelSelector
from medprobe.probe.engines.parallel import Workers
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)


def _misleading() -> ProbeTask:
    """What train teaches is wrong on val: the less is learnt, the better. Two seeds."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    X = rng.standard_normal((200, 5)).astype(np.float32)
    X[:100, 0] += 3 * y[:100]
    X[100:, 0] -= 3 * y[100:]
    parts = np.arange(100), np.arange(100, 150), np.arange(150, 200)
    resamples = (Resample(0, *parts), Resample(1, parts[0][:90], *parts[1:]))
    return ProbeTask(X, y, resamples, "binary", ("a", "b"), find_metric("log_loss"), refit=True)


@pytest.fixture
def visited(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[float]]:
    """The values of C that were considered, in order, by selector."""
    seen: dict[int, list[float]] = {}
    alive: list[ModelSelector] = []  # so that no other one gets the id of one that has ended
    real = ModelSelector.consider

    def consider(self: ModelSelector, params: dict[str, Any], proba: np.ndarray) -> bool:
        alive.append(self)
        seen.setdefault(id(self), []).append(params["C"])
        return real(self, params, proba)

    monkeypatch.setattr(ModelSelector, "consider", consider)
    return seen


def test_a_path_ends_after_three_values_that_are_worse_on_val_and_says_where(visited: dict[int, list[float]]) -> None:
    results = list(PROBES["logreg"].configured(C=GRID).solve(_misleading(), Workers(1)))
    assert list(visited.values()) == [list(GRID[:4])] * 2
    for result in results:
        assert result.params == {"C": GRID[0]}
        assert "path ended at C=0.1" in result.notes


def test_a_full_path_visits_every_value_and_ends_nowhere(visited: dict[int, list[float]]) -> None:
    kind = PROBES["logreg"].configured(C=GRID, stop_path=False)
    results = list(kind.solve(_misleading(), Workers(1)))
    assert list(visited.values()) == [list(GRID)] * 2
    for result in results:
        assert result.params == {"C": GRID[0]}
        assert not any("path ended" in note for note in result.notes)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
@pytest.mark.parametrize("refit", [True, False])
def test_balanced_classes_weigh_what_they_weigh_in_scikit_learn(task: str, refit: bool) -> None:
    rng = np.random.default_rng(1)
    classes = {"binary": 2, "multiclass": 3, "multilabel": 3}[task]
    if task == "multilabel":
        y = (rng.random((300, classes)) < [0.1, 0.3, 0.6]).astype(np.int8)
        truth = y @ rng.standard_normal((classes, 8))
    else:
        y = rng.choice(classes, 300, p=[0.9, 0.1] if classes == 2 else [0.7, 0.2, 0.1])
        truth = rng.standard_normal((classes, 8))[y]
    X = (0.7 * truth + rng.standard_normal((300, 8))).astype(np.float32)
    order = rng.permutation(300)
    train, val, test = (np.sort(part) for part in np.split(order, [150, 220]))
    block = ProbeTask(
        X, y, (Resample(0, train, val, test),), task, tuple("abc"[:classes]), find_metric("log_loss"), refit
    )
    fitted = np.sort(np.r_[train, val]) if refit else train

    def plain(weight: str | None) -> np.ndarray:
        fit = LogisticRegression(C=0.5, class_weight=weight, tol=1e-8, max_iter=10_000)
        fit = OneVsRestClassifier(fit) if task == "multilabel" else fit
        return make_pipeline(StandardScaler(), fit).fit(X[fitted], y[fitted]).predict_proba(X[test])

    for weight in ("balanced", None):
        (result,) = PROBES["logreg"].configured(C=0.5, class_weight=weight).solve(block, Workers(1))
        np.testing.assert_allclose(result.test_proba, plain(weight), atol=3e-3)
    assert np.abs(plain("balanced") - plain(None)).max() > 0.1
