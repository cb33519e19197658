"""From a block of resamples to outcomes: the choice on val, the refit, and the remarks, against plain loops."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from medprobe.evaluate import METRICS, FitResult, Metric, Resample, find_metric, weighted_scores
from medprobe.evaluate.metrics.functions import LabeledPredictions
from medprobe.probe import PROBES, CentroidProbe, GBMProbe, KNNProbe, LogisticProbe, ProbeTask
from medprobe.probe.engines.centroid import GRID as TEMPERATURES
from medprobe.probe.engines.model_selection import PATIENCE, ModelSelector
from medprobe.probe.engines.parallel import Workers
from medprobe.probe.estimators.knn import GRID as K_GRID
from medprobe.probe.estimators.logistic import GRID as C_GRID

WORKERS = Workers(1)


def _task(task: str = "multiclass", n: int = 180, metric: str = "accuracy", *, refit: bool = True) -> ProbeTask:
    rng = np.random.default_rng(3)
    classes = {"binary": 2, "multilabel": 3}.get(task, 3)
    if task == "multilabel":
        y = (rng.random((n, classes)) < 0.4).astype(np.int8)
        truth = y @ rng.standard_normal((classes, 10))
    else:
        y = rng.integers(0, classes, n)
        truth = rng.standard_normal((classes, 10))[y]
    X = (0.7 * truth + rng.standard_normal((n, 10))).astype(np.float32)
    resamples = []
    for seed in (4, 9):
        order = np.random.default_rng(seed).permutation(n)
        cuts = np.split(order, [n // 2, 3 * n // 4])
        resamples.append(Resample(seed, *(np.sort(part) for part in cuts)))
    return ProbeTask(X, y, tuple(resamples), task, tuple("abc"[:classes]), find_metric(metric), refit)


def _solve(name: str, block: ProbeTask) -> list[FitResult]:
    return list(PROBES[name].solve(block, WORKERS))


def _plain_choice(
    block: ProbeTask, resample: Resample, candidates: list[tuple[dict[str, Any], Any]]
) -> tuple[Any, Any]:
    """Fits every candidate on train; the best on val, of equals the likelier, of these the earlier in the list."""
    best = None
    for params, probe in candidates:
        probe.fit(block.X[resample.train], block.y[resample.train])
        scored = block.scored(resample.val, probe.predict_proba(block.X[resample.val]))
        value, loss = (float(weighted_scores(m, scored)[0][0]) for m in (block.metric, METRICS["log_loss"]))
        key = (value if block.metric.greater_is_better else -value, -loss)
        if best is None or key > best[0]:
            best = (key, params, probe)
    assert best is not None
    return best[1], best[2]


@pytest.mark.parametrize("refit", [True, False])
@pytest.mark.parametrize(
    ("task", "metric"), [("binary", "roc_auc"), ("multiclass", "accuracy"), ("multilabel", "brier")]
)
def test_knn_chooses_and_predicts_as_a_plain_loop_over_k(task: str, metric: str, refit: bool) -> None:
    block = _task(task, metric=metric, refit=refit)
    for resample, result in zip(block.resamples, _solve("knn", block), strict=True):
        grid = [k for k in K_GRID if k <= len(resample.train)]
        params, probe = _plain_choice(block, resample, [({"k": k}, KNNProbe(k)) for k in reversed(grid)])
        rows = np.sort(np.r_[resample.train, resample.val]) if refit else resample.train
        probe.fit(block.X[rows], block.y[rows])
        assert result.params == params
        assert result.resample.seed == resample.seed
        np.testing.assert_allclose(result.test_proba, probe.predict_proba(block.X[resample.test]), atol=1e-6)


@pytest.mark.parametrize("weights", ["uniform", "softmax"])
@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_knn_votes_as_its_settings_say(task: str, weights: str) -> None:
    block = _task(task, metric="log_loss")
    kind = PROBES["knn"].configured(k=[3, 9, 30], weights=weights, temperature=0.2, metric="euclidean")
    for resample, result in zip(block.resamples, kind.solve(block, Workers(2)), strict=True):
        made = {"metric": "euclidean", "weights": weights, "temperature": 0.2}
        params, probe = _plain_choice(block, resample, [({"k": k}, KNNProbe(k, **made)) for k in (30, 9, 3)])
        rows = block.fitted_on(resample)
        probe.fit(block.X[rows], block.y[rows])
        assert result.params == params
        np.testing.assert_allclose(result.test_proba, probe.predict_proba(block.X[resample.test]), atol=1e-5)


def test_more_neighbours_than_training_units_are_skipped_with_a_note() -> None:
    block = _task(n=80)
    for k, note in (
        ([5, 40, 51, 101], "k from 51 skipped: train is smaller"),
        ([51], "train is smaller than k=51: all of it votes"),
    ):
        for result in PROBES["knn"].configured(k=k).solve(block, WORKERS):
            assert result.params["k"] <= 40
            assert note in result.notes


@pytest.mark.parametrize("refit", [True, False])
@pytest.mark.parametrize(
    ("task", "metric"), [("binary", "roc_auc"), ("multiclass", "accuracy"), ("multilabel", "brier")]
)
def test_centroids_are_chosen_and_predict_as_a_plain_loop_over_temperatures(
    task: str, metric: str, refit: bool
) -> None:
    block = _task(task, metric=metric, refit=refit)
    for resample, result in zip(block.resamples, _solve("centroid", block), strict=True):
        candidates = [({"temperature": t}, CentroidProbe(temperature=t)) for t in TEMPERATURES]
        params, probe = _plain_choice(block, resample, candidates)
        rows = np.sort(np.r_[resample.train, resample.val]) if refit else resample.train
        probe.fit(block.X[rows], block.y[rows])
        assert result.params == params
        np.testing.assert_allclose(result.test_proba, probe.predict_proba(block.X[resample.test]), atol=1e-6)


@pytest.mark.parametrize("refit", [True, False])
@pytest.mark.parametrize(
    ("task", "metric"), [("binary", "roc_auc"), ("multiclass", "log_loss"), ("multilabel", "brier")]
)
def test_logreg_chooses_and_predicts_as_a_plain_loop_over_C(task: str, metric: str, refit: bool) -> None:
    block = _task(task, metric=metric, refit=refit)
    for resample, result in zip(block.resamples, _solve("logreg", block), strict=True):
        params, probe = _plain_choice(block, resample, [({"C": C}, LogisticProbe(C, standardize=True)) for C in C_GRID])
        rows = np.sort(np.r_[resample.train, resample.val]) if refit else resample.train
        probe.fit(block.X[rows], block.y[rows])
        assert result.params == params
        assert result.converged
        # Begun elsewhere, the solver ends elsewhere within its tolerance.
        np.testing.assert_allclose(result.test_proba, probe.predict_proba(block.X[resample.test]), atol=5e-3)


@pytest.mark.parametrize("refit", [True, False])
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_gbm_stops_on_val_and_refits_with_the_same_rounds(task: str, refit: bool) -> None:
    block = _task(task, refit=refit)
    for resample, result in zip(block.resamples, _solve("gbm", block), strict=True):
        train, val = resample.train, resample.val
        probe = GBMProbe().fit(block.X[train], block.y[train], eval_set=(block.X[val], block.y[val]))
        assert result.params == {"rounds": probe.rounds_ if task == "multilabel" else probe.rounds_[0]}
        np.testing.assert_array_equal(result.val_proba, probe.predict_proba(block.X[val]).astype(np.float32))
        probe.fit(block.X, block.y, eval_set=val, rows=train, refit=refit)
        np.testing.assert_array_equal(result.test_proba, probe.predict_proba(block.X[resample.test]).astype(np.float32))


@pytest.mark.parametrize(("probe", "atol"), [("knn", 1e-5), ("gbm", 1e-3)])
def test_rows_that_are_read_in_blocks_give_the_same_result(
    probe: str, atol: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = _task("multiclass")
    wholes = list(_solve(probe, block))
    monkeypatch.setattr("medprobe.probe.estimators.gbm._BLOCK", 16)
    monkeypatch.setattr("medprobe.probe.estimators._neighbors._MEMBERS", 16)
    monkeypatch.setattr("medprobe.probe.engines.knn._AT_ONCE", 7)
    for whole, result in zip(wholes, _solve(probe, block), strict=True):
        assert result.params == whole.params
        np.testing.assert_allclose(result.val_proba, whole.val_proba, atol=atol)
        np.testing.assert_allclose(result.test_proba, whole.test_proba, atol=atol)


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_an_outcome_has_a_probability_for_every_unit_and_class(probe: str, task: str) -> None:
    block = _task(task)
    for resample, result in zip(block.resamples, _solve(probe, block), strict=True):
        assert result.val_proba.shape == (len(resample.val), len(block.classes))
        assert result.test_proba.shape == (len(resample.test), len(block.classes))
        assert result.fit_s > 0
        assert result.predict_s > 0
        json.dumps(dict(result.params))
        if task != "multilabel":
            np.testing.assert_allclose(result.test_proba.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("probe", PROBES)
def test_the_test_units_change_nothing_that_is_fitted_or_chosen(probe: str) -> None:
    block = _task()
    resample = block.resamples[0]
    X, y = block.X.copy(), block.y.copy()
    X[resample.test] *= 50
    y[resample.test] = (y[resample.test] + 1) % 3
    other = ProbeTask(X, y, block.resamples[:1], block.task, block.classes, block.metric, block.refit)
    alone = ProbeTask(block.X, block.y, block.resamples[:1], block.task, block.classes, block.metric, block.refit)
    (a,), (b,) = _solve(probe, alone), _solve(probe, other)
    assert a.params == b.params
    np.testing.assert_array_equal(a.val_proba, b.val_proba)


@pytest.mark.parametrize("probe", PROBES)
def test_without_refit_val_is_chosen_on_and_not_fitted_on(probe: str) -> None:
    """A plain model of the chosen settings, fitted on train alone, says the same of val and of test."""
    block = _task(refit=False)
    resample = block.resamples[0]
    assert np.array_equal(block.fitted_on(resample), resample.train)
    whole = _task(refit=True)
    assert len(whole.fitted_on(resample)) == len(resample.train) + len(resample.val)
    result = _solve(probe, block)[0]
    made = {
        "logreg": lambda C: LogisticProbe(C, standardize=True),
        "knn": lambda k: KNNProbe(k),
        "gbm": lambda rounds: GBMProbe(n_estimators=rounds),
        "centroid": lambda temperature: CentroidProbe(temperature=temperature),
    }
    plain = made[probe](**result.params)
    plain.fit(block.X[resample.train], block.y[resample.train])
    for rows, said in ((resample.val, result.val_proba), (resample.test, result.test_proba)):
        np.testing.assert_allclose(said, plain.predict_proba(block.X[rows]), atol=5e-3)


@pytest.mark.parametrize("probe", PROBES)
def test_an_engine_takes_its_features_as_a_read_only_memory_map(probe: str, tmp_path) -> None:
    block = _task()
    np.save(tmp_path / "X.npy", block.X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    other = ProbeTask(mapped, block.y, block.resamples, block.task, block.classes, block.metric, block.refit)
    for a, b in zip(_solve(probe, block), _solve(probe, other), strict=True):
        np.testing.assert_array_equal(a.test_proba, b.test_proba)


def test_a_choice_at_the_edge_of_the_grid_is_told() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    X = rng.standard_normal((200, 5)).astype(np.float32)
    X[:100, 0] += 3 * y[:100]
    X[100:, 0] -= 3 * y[100:]  # what train teaches is wrong on val: the less is learnt, the better
    noise = ProbeTask(
        X,
        y,
        (Resample(0, np.arange(100), np.arange(100, 150), np.arange(150, 200)),),
        "binary",
        ("a", "b"),
        METRICS["log_loss"],
        True,
    )
    (result,) = _solve("logreg", noise)
    assert result.params == {"C": C_GRID[0]}
    assert "C=0.0001 is at the grid's edge" in result.notes


def test_an_edge_beyond_which_there_is_nothing_is_not_told() -> None:
    """No k is smaller than one; the largest k of the grid is an edge all the same."""
    rng = np.random.default_rng(0)
    order = (Resample(0, np.arange(300), np.arange(300, 450), np.arange(450, 600)),)
    once, label = rng.standard_normal((300, 20)).astype(np.float32), rng.integers(0, 2, 300)
    X = np.r_[once, once]  # a copy of every unit of val is in train: with its own label, or with the other one
    for copied, k, notes in ((label, 1, []), (1 - label, 201, ["k=201 is at the grid's edge"])):
        y = np.r_[label, copied]
        (result,) = _solve("knn", ProbeTask(X, y, order, "binary", ("a", "b"), METRICS["log_loss"], True))
        assert result.params == {"k": k}
        assert result.notes == notes


def test_boosting_that_uses_all_rounds_says_so() -> None:
    block = _task()
    results = PROBES["gbm"].configured(rounds=3).solve(block, WORKERS)
    assert all("boosting used all 3 rounds" in result.notes for result in results)


def test_a_fit_that_did_not_converge_is_marked() -> None:
    block = _task(metric="log_loss")
    for result in PROBES["logreg"].configured(max_iter=1).solve(block, WORKERS):
        assert not result.converged
        assert result.gradient > 1e-3
        assert any("not converged after 1 steps" in note for note in result.notes)


def _chooser(metric: Metric, y: list[int] | None = None) -> ModelSelector:
    y = [0, 0, 1, 1] if y is None else y
    rows = np.arange(len(y))
    block = ProbeTask(np.zeros((len(y), 1), np.float32), np.array(y), (), "binary", ("a", "b"), metric, True)
    return ModelSelector(block, Resample(0, rows, rows, rows))


def _proba(*ill: float) -> np.ndarray:
    return np.stack([1 - np.array(ill), np.array(ill)], axis=1)


def test_the_better_candidate_wins_of_equals_the_likelier_of_these_the_simpler() -> None:
    chooser = _chooser(METRICS["accuracy"])
    assert chooser.consider({"C": 1}, _proba(0.4, 0.6, 0.6, 0.6))
    assert not chooser.consider({"C": 2}, _proba(0.6, 0.6, 0.6, 0.9))
    assert chooser.consider({"C": 3}, _proba(0.4, 0.4, 0.6, 0.6))
    assert chooser.consider({"C": 4}, _proba(0.1, 0.1, 0.9, 0.9))
    assert not chooser.consider({"C": 5}, _proba(0.1, 0.1, 0.9, 0.9))
    assert not chooser.consider({"C": 6}, _proba(0.4, 0.4, 0.6, 0.6))
    assert chooser.params == {"C": 4}
    assert chooser.notes({"C": range(1, 7)}) == []


def test_a_score_that_is_to_be_small_is_chosen_small() -> None:
    chooser = _chooser(METRICS["brier"])
    chooser.consider({"C": 1}, _proba(0.4, 0.4, 0.6, 0.6))
    chooser.consider({"C": 2}, _proba(0.1, 0.1, 0.9, 0.9))
    chooser.consider({"C": 3}, _proba(0.2, 0.2, 0.9, 0.9))
    assert chooser.params == {"C": 2}


def test_where_the_metric_is_not_defined_on_val_the_log_loss_chooses_and_a_note_says_so() -> None:
    chooser = _chooser(METRICS["roc_auc"], [1, 1, 1])
    for C, ill in ((1, 0.5), (2, 0.8), (3, 0.7)):
        chooser.consider({"C": C}, _proba(ill, ill, ill))
    assert chooser.params == {"C": 2}
    assert chooser.notes({"C": [1, 2, 3]}) == ["roc_auc is not defined on val; chosen by log-loss"]


def test_a_metric_that_is_defined_for_some_candidates_alone_does_not_stop_the_choice() -> None:
    """Kappa of one class, seen and predicted, is undefined; the next candidate predicts another class as well."""
    chooser = _chooser(METRICS["quadratic_kappa"], [1, 1, 1])
    chooser.consider({"C": 1}, _proba(0.6, 0.6, 0.6))
    chooser.consider({"C": 2}, _proba(0.4, 0.99, 0.99))
    assert chooser.params == {"C": 2}


def test_a_path_ends_after_candidates_in_a_row_that_are_worse_in_score_and_likelihood() -> None:
    for best in range(len(C_GRID) - PATIENCE):
        chooser = _chooser(METRICS["accuracy"])
        chooser.consider({"C": C_GRID[best]}, _proba(0.1, 0.1, 0.9, 0.9))
        for number in range(PATIENCE):
            assert not chooser.exhausted
            chooser.consider({"C": C_GRID[best + number + 1]}, _proba(0.6, 0.6, 0.4, 0.4 - number / 100))
        assert chooser.exhausted


@pytest.mark.parametrize("values", [13, 24, 100, 1000])
def test_a_path_over_a_finer_grid_ends_where_it_would_over_the_default_one_and_not_on_a_few_steps_of_noise(
    values: int,
) -> None:
    """Falling from the first value on: the default grid, of twelve, ends three steps of its own beyond the best."""
    grid = [float(f"{C:.6g}") for C in np.logspace(-4, 3, values)]
    chooser, seen = _chooser(METRICS["accuracy"]), 0
    while not chooser.exhausted:
        chooser.consider({"C": grid[seen]}, _proba(0.1, 0.1 + seen * 1e-4, 0.9, 0.9))
        seen += 1
    assert seen > PATIENCE + 1
    assert grid[seen - 1] / grid[1] >= C_GRID[3] / C_GRID[1] * 0.999 > grid[seen - 2] / grid[1]


def test_a_path_goes_on_while_the_likelihood_still_rises() -> None:
    chooser = _chooser(METRICS["accuracy"], [0, 1, 1, 1])
    for number in range(3 * PATIENCE):
        chooser.consider({"C": number}, _proba(*np.full(4, 0.51 + 0.01 * number)))
        assert not chooser.exhausted


def test_scores_are_those_of_the_probabilities_as_they_are_stored() -> None:
    block = _task()
    proba = np.random.default_rng(0).dirichlet(np.ones(3), 5)
    scored = block.scored(np.arange(5), proba)
    assert isinstance(scored, LabeledPredictions)
    np.testing.assert_array_equal(scored.proba, proba.astype(np.float32))
