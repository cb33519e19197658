"""Scores: those of scikit-learn, under any whole-number weights, with absent classes left out and named."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from medprobe.base import ManifestError, ProbeError
from medprobe.evaluate import METRICS, Metric, find_metric, weighted_scores
from medprobe.evaluate.metrics.functions import LabeledPredictions
from medprobe.evaluate.metrics.registry import METRIC_ALIASES, metrics_for, primary_metric
from medprobe.manifests import DatasetCard
from sklearn import metrics as sk

TASKS = ("binary", "multiclass", "ordinal", "multilabel")
BINS = 15


def _predictions(
    task: str, n: int = 200, seed: int = 0, classes: int = 4, decimals: int | None = 2
) -> LabeledPredictions:
    """Predictions of some skill; rounded, so that there are ties, and float32, as they are stored."""
    rng = np.random.default_rng(seed)
    classes = 2 if task == "binary" else classes
    if task == "multilabel":
        y = (rng.random((n, classes)) < 0.4).astype(np.int64)
        proba = np.clip(0.3 * y + 0.7 * rng.random((n, classes)), 0, 1)
        proba = proba if decimals is None else np.round(proba, decimals)
    else:
        y = rng.integers(0, classes, n)
        proba = rng.dirichlet(np.ones(classes), n) + 0.7 * np.eye(classes)[y] * rng.random((n, 1))
        proba /= proba.sum(axis=1, keepdims=True)
        if decimals is not None:
            proba = np.round(proba, decimals)
            proba[:, -1] = 1 - proba[:, :-1].sum(axis=1)
            proba = np.clip(proba, 0, 1)
    return LabeledPredictions(y, proba.astype(np.float32).astype(np.float64), task, [f"c{c}" for c in range(classes)])


def _subset(scored: LabeledPredictions, rows: np.ndarray) -> LabeledPredictions:
    return LabeledPredictions(scored.y[rows], scored.proba[rows], scored.task, scored.classes)


def _value(name: str, scored: LabeledPredictions, weights: np.ndarray | None = None) -> float:
    return float(weighted_scores(METRICS[name], scored, weights)[0][0])


def _truths(s: LabeledPredictions) -> np.ndarray:
    return s.y if s.multilabel else np.eye(s.proba.shape[1])[s.y]


def _columns(s: LabeledPredictions) -> list[int]:
    return [1] if s.task == "binary" else list(range(s.proba.shape[1]))


def _per_label(s: LabeledPredictions, of_label: Callable[[np.ndarray, np.ndarray], float]) -> float:
    return float(np.mean([of_label(s.y[:, c], (s.proba[:, c] >= 0.5).astype(int)) for c in range(s.y.shape[1])]))


def _sk_log_loss(s: LabeledPredictions) -> float:
    # scikit-learn clips by the dtype's eps: the stored float32, as ours does.
    if s.multilabel:
        pairs = [np.stack([1 - s.proba[:, c], s.proba[:, c]], 1).astype(np.float32) for c in range(s.y.shape[1])]
        return float(np.mean([sk.log_loss(s.y[:, c], pair, labels=[0, 1]) for c, pair in enumerate(pairs)]))
    return float(sk.log_loss(s.y, s.proba.astype(np.float32), labels=list(range(s.proba.shape[1]))))


def _sk_brier(s: LabeledPredictions) -> float:
    if s.task == "binary":
        return float(sk.brier_score_loss(s.y, s.proba[:, 1]))
    if s.multilabel:
        return float(np.mean([sk.brier_score_loss(s.y[:, c], s.proba[:, c]) for c in range(s.y.shape[1])]))
    return float(np.mean(np.sum((s.proba - _truths(s)) ** 2, axis=1)))


SKLEARN: dict[str, Callable[[LabeledPredictions], float]] = {
    "accuracy": lambda s: (
        _per_label(s, sk.accuracy_score) if s.multilabel else float(sk.accuracy_score(s.y, s.proba.argmax(1)))
    ),
    "balanced_accuracy": lambda s: (
        _per_label(s, sk.balanced_accuracy_score)
        if s.multilabel
        else float(sk.balanced_accuracy_score(s.y, s.proba.argmax(1)))
    ),
    "macro_f1": lambda s: float(
        sk.f1_score(s.y, (s.proba >= 0.5).astype(int) if s.multilabel else s.proba.argmax(1), average="macro")
    ),
    "roc_auc": lambda s: float(sk.roc_auc_score(_truths(s)[:, _columns(s)], s.proba[:, _columns(s)], average="macro")),
    "average_precision": lambda s: float(
        np.mean([sk.average_precision_score(_truths(s)[:, c], s.proba[:, c]) for c in _columns(s)])
    ),
    "weighted_f1": lambda s: float(sk.f1_score(s.y, s.predicted, average="weighted")),
    "weighted_precision": lambda s: float(sk.precision_score(s.y, s.predicted, average="weighted", zero_division=0)),
    "subset_accuracy": lambda s: float(sk.accuracy_score(s.y, s.predicted)),
    "unweighted_kappa": lambda s: float(sk.cohen_kappa_score(s.y, s.predicted)),
    "quadratic_kappa": lambda s: float(sk.cohen_kappa_score(s.y, s.proba.argmax(1), weights="quadratic")),
    "log_loss": _sk_log_loss,
    "brier": _sk_brier,
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("name", "task"),
    [(name, task) for name in SKLEARN for task in METRICS[name].tasks],
    ids=lambda word: str(word),
)
def test_a_score_is_scikit_learns(name: str, task: str, seed: int) -> None:
    scored = _predictions(task, seed=seed)
    assert _value(name, scored) == pytest.approx(SKLEARN[name](scored), abs=2e-6)


def test_a_multiclass_brier_and_auc_are_scikit_learns_own_multiclass_forms() -> None:
    pytest.importorskip("sklearn", minversion="1.7", reason="its Brier score had two classes alone")
    scored = _predictions("multiclass", decimals=None)
    proba = scored.proba / scored.proba.sum(axis=1, keepdims=True)
    exact = LabeledPredictions(scored.y, proba, scored.task, scored.classes)
    assert _value("roc_auc", exact) == pytest.approx(sk.roc_auc_score(scored.y, proba, multi_class="ovr"))
    assert _value("brier", exact) == pytest.approx(sk.brier_score_loss(scored.y, proba, scale_by_half=False))


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("task", ["multiclass", "ordinal"])
def test_a_one_vs_one_auc_is_scikit_learns_with_and_without_ties(task: str, decimals: int | None) -> None:
    scored = _predictions(task, classes=5, decimals=decimals)
    proba = scored.proba / scored.proba.sum(axis=1, keepdims=True)  # as scikit-learn wants them
    exact = LabeledPredictions(scored.y, proba, task, scored.classes)
    assert _value("roc_auc_ovo", exact) == pytest.approx(sk.roc_auc_score(scored.y, proba, multi_class="ovo"))


def _ece_by_loop(confidence: np.ndarray, right: np.ndarray) -> float:
    """Fifteen bins of equal mass, written as one would explain it; a run of equal confidences stays together."""
    order = sorted(range(len(confidence)), key=lambda i: confidence[i])
    bins: list[list[int]] = [[] for _ in range(BINS)]
    start = 0
    while start < len(order):
        stop = start
        while stop < len(order) and confidence[order[stop]] == confidence[order[start]]:
            stop += 1
        # In whole numbers: which fifteenth of all units the middle of the run falls into.
        bins[min(BINS * (start + stop) // (2 * len(order)), BINS - 1)] += order[start:stop]
        start = stop
    total = 0.0
    for members in bins:
        if members:
            said = sum(confidence[i] for i in members) / len(members)
            held = sum(bool(right[i]) for i in members) / len(members)
            total += len(members) / len(confidence) * abs(said - held)
    return total


@pytest.mark.parametrize("decimals", [None, 2, 1])
@pytest.mark.parametrize("n", [1, 7, 15, 150, 333])
@pytest.mark.parametrize("task", TASKS)
def test_the_calibration_error_is_that_of_a_plain_loop(task: str, n: int, decimals: int | None) -> None:
    s = _predictions(task, n=n, decimals=decimals)
    if s.multilabel:
        wanted = np.mean([_ece_by_loop(s.proba[:, c], s.y[:, c] == 1) for c in range(s.y.shape[1])])
    else:
        wanted = _ece_by_loop(s.proba.max(axis=1), s.proba.argmax(axis=1) == s.y)
    assert _value("ece", s) == pytest.approx(wanted, abs=1e-9)


def test_the_calibration_error_without_ties_is_that_of_equal_slices() -> None:
    s = _predictions("multiclass", n=300, decimals=None)
    confidence, right = s.proba.max(axis=1), s.proba.argmax(axis=1) == s.y
    slices = np.argsort(confidence).reshape(BINS, -1)
    wanted = np.mean([abs(confidence[rows].mean() - right[rows].mean()) for rows in slices])
    assert _value("ece", s) == pytest.approx(wanted)


def test_a_calibrated_classifier_has_a_small_calibration_error_and_a_boastful_one_a_large() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1, 20_000)
    y = (rng.random(20_000) < p).astype(int)
    honest = LabeledPredictions(y, np.stack([1 - p, p], 1), "binary", ["a", "b"])
    boastful = LabeledPredictions(y, np.stack([0 * p + 0.001, 0 * p + 0.999], 1), "binary", ["a", "b"])
    assert _value("ece", honest) < 0.015
    assert _value("ece", boastful) == pytest.approx(0.999 - y.mean(), abs=1e-6)


@given(st.sampled_from(TASKS), st.integers(0, 10_000), st.integers(1, 40), st.integers(2, 5))
def test_a_whole_number_weight_is_a_repeated_row(task: str, seed: int, n: int, classes: int) -> None:
    scored = _predictions(task, n=n, seed=seed, classes=classes, decimals=1)
    times = np.random.default_rng(seed).integers(0, 4, n)
    if not times.any():
        return
    repeated = _subset(scored, np.repeat(np.arange(n), times))
    for metric in metrics_for(task):
        weighted, once = _value(metric.name, scored, times[None, :].astype(float)), _value(metric.name, repeated)
        np.testing.assert_allclose(weighted, once, atol=1e-9, err_msg=metric.name)


@given(st.sampled_from(TASKS), st.integers(0, 10_000), st.integers(1, 40))
def test_the_order_of_rows_makes_no_difference_and_values_stay_in_their_range(task: str, seed: int, n: int) -> None:
    scored = _predictions(task, n=n, seed=seed, decimals=1)
    turned = _subset(scored, np.random.default_rng(seed).permutation(n))
    for metric in metrics_for(task):
        value = _value(metric.name, scored)
        np.testing.assert_allclose(value, _value(metric.name, turned), atol=1e-9)
        low, high = metric.range_for(task)
        assert np.isnan(value) or low - 1e-12 <= value <= high + 1e-12


@pytest.mark.parametrize("task", TASKS)
def test_many_weightings_at_once_are_each_of_them_alone(task: str) -> None:
    scored = _predictions(task)
    weights = np.random.default_rng(1).multinomial(len(scored), np.full(len(scored), 1 / len(scored)), size=30)
    for metric in metrics_for(task):
        together = weighted_scores(metric, scored, weights.astype(float))[0]
        alone = [_value(metric.name, scored, row[None, :].astype(float)) for row in weights]
        np.testing.assert_allclose(together, alone, atol=1e-12)


def _only(task: str, keep: list[int]) -> LabeledPredictions:
    scored = _predictions(task)
    return _subset(scored, np.flatnonzero(np.isin(scored.y, keep)))


@pytest.mark.parametrize("name", ["weighted_f1", "weighted_precision", "unweighted_kappa"])
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_a_score_under_weights_is_scikit_learns_under_sample_weights(name: str, task: str) -> None:
    scored = _predictions(task)
    weights = np.random.default_rng(0).integers(0, 4, len(scored)).astype(float)
    of_sklearn = {
        "weighted_f1": lambda **kw: sk.f1_score(scored.y, scored.predicted, average="weighted", **kw),
        "weighted_precision": lambda **kw: sk.precision_score(scored.y, scored.predicted, average="weighted", **kw),
        "unweighted_kappa": lambda **kw: sk.cohen_kappa_score(scored.y, scored.predicted, **kw),
    }
    assert _value(name, scored, weights[None, :]) == pytest.approx(of_sklearn[name](sample_weight=weights))


def test_a_class_that_is_never_predicted_has_a_weighted_precision_of_0_as_in_scikit_learn() -> None:
    scored = LabeledPredictions(np.array([0, 0, 1, 2]), np.eye(3)[[0, 0, 0, 2]], "multiclass", ["a", "b", "c"])
    wanted = sk.precision_score(scored.y, scored.predicted, average="weighted", zero_division=0)
    assert _value("weighted_precision", scored) == pytest.approx(wanted)


def test_an_absent_class_is_in_no_pair_of_a_one_vs_one_auc() -> None:
    scored = _only("multiclass", [0, 2, 3])
    value, remark = weighted_scores(METRICS["roc_auc_ovo"], scored)
    assert remark == "left out, absent here: c1"
    pairs = [(0, 2), (0, 3), (2, 3)]
    rows = [np.isin(scored.y, pair) for pair in pairs]
    areas = [
        sk.roc_auc_score(scored.y[these] == c, scored.proba[these, c])
        for pair, these in zip(pairs, rows, strict=True)
        for c in pair
    ]
    assert value[0] == pytest.approx(np.mean(areas))
    value, remark = weighted_scores(METRICS["roc_auc_ovo"], _only("multiclass", [1]))
    assert np.isnan(value[0])
    assert remark.startswith("not defined: too few classes")


def test_units_without_any_label_have_no_weighted_score() -> None:
    scored = LabeledPredictions(np.zeros((3, 2), np.int64), np.full((3, 2), 0.6), "multilabel", ["a", "b"])
    value, remark = weighted_scores(METRICS["weighted_f1"], scored)
    assert np.isnan(value[0])
    assert remark.startswith("not defined: too few classes or labels")


@pytest.mark.parametrize("name", ["balanced_accuracy", "macro_f1", "roc_auc", "average_precision"])
def test_an_absent_class_is_left_out_of_a_mean_over_classes_and_told(name: str) -> None:
    scored = _only("multiclass", [0, 2, 3])
    value, remark = weighted_scores(METRICS[name], scored)
    assert remark == "left out, absent here: c1"
    present = [0, 2, 3]
    if name == "roc_auc":
        wanted = np.mean([sk.roc_auc_score(scored.y == c, scored.proba[:, c]) for c in present])
    elif name == "average_precision":
        wanted = np.mean([sk.average_precision_score(scored.y == c, scored.proba[:, c]) for c in present])
    elif name == "macro_f1":
        wanted = sk.f1_score(scored.y, scored.proba.argmax(1), average="macro", labels=present)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn says that a class is predicted that is not in y
            wanted = sk.balanced_accuracy_score(scored.y, scored.proba.argmax(1))
    assert value[0] == pytest.approx(wanted)


def test_one_class_alone_leaves_an_auc_undefined_and_says_so() -> None:
    for task in ("binary", "multiclass"):
        value, remark = weighted_scores(METRICS["roc_auc"], _only(task, [0]))
        assert np.isnan(value[0])
        assert "too few classes" in remark


@pytest.mark.parametrize("name", ["quadratic_kappa", "unweighted_kappa"])
def test_a_kappa_of_one_class_seen_and_predicted_is_undefined_and_says_so(name: str) -> None:
    scored = LabeledPredictions(np.zeros(5, np.int64), np.tile([0.9, 0.1], (5, 1)), "ordinal", ["a", "b"])
    value, remark = weighted_scores(METRICS[name], scored)
    assert np.isnan(value[0])
    assert remark


def test_a_label_that_is_always_or_never_there_is_left_out_and_told() -> None:
    scored = _predictions("multilabel")
    y = scored.y.copy()
    y[:, 0], y[:, 2] = 0, 1
    fixed = LabeledPredictions(y, scored.proba, "multilabel", scored.classes)
    value, remark = weighted_scores(METRICS["roc_auc"], fixed)
    assert remark == "left out, absent here: c0, c2"
    assert value[0] == pytest.approx(np.mean([sk.roc_auc_score(y[:, c], scored.proba[:, c]) for c in (1, 3)]))
    assert weighted_scores(METRICS["macro_f1"], fixed)[1] == "left out, absent here: c0"


def test_no_units_are_no_score() -> None:
    empty = _subset(_predictions("binary"), np.arange(0))
    for metric in metrics_for("binary"):
        value, remark = weighted_scores(metric, empty)
        assert np.isnan(value[0])
        assert remark == "no units to score"


def test_a_certain_mistake_costs_a_finite_log_loss() -> None:
    scored = LabeledPredictions(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]), "binary", ["a", "b"])
    assert _value("log_loss", scored) == pytest.approx(-np.log(np.finfo(np.float32).eps) / 2, rel=1e-4)


def test_of_equal_probabilities_the_first_class_is_predicted() -> None:
    scored = LabeledPredictions(np.array([0, 1]), np.full((2, 2), 0.5), "binary", ["a", "b"])
    assert scored.predicted.tolist() == [0, 0]
    assert _value("roc_auc", scored) == 0.5


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_reported_in_its_metrics(task: str) -> None:
    names = [metric.name for metric in metrics_for(task)]
    assert ("quadratic_kappa" in names) == (task == "ordinal")
    assert ("subset_accuracy" in names) == (task == "multilabel")
    assert ("unweighted_kappa" in names) == (task != "multilabel")
    assert ("roc_auc_ovo" in names) == (task in ("multiclass", "ordinal"))
    optional = {"quadratic_kappa", "unweighted_kappa", "subset_accuracy", "roc_auc_ovo"}
    assert set(METRICS) - set(names) <= optional


def test_an_alias_is_the_same_metric_and_an_unknown_one_names_the_near_one() -> None:
    assert all(find_metric(alias) is METRICS[name] for alias, name in METRIC_ALIASES.items())
    with pytest.raises(ProbeError, match='Did you mean "roc_auc"'):
        find_metric("roc_acu")


@pytest.mark.parametrize("task", TASKS)
def test_a_card_may_name_every_metric_of_its_task_and_no_other(task: str) -> None:
    def chosen(name: str) -> Metric:
        return primary_metric(DatasetCard.of("card", name="t", task=task, classes=["a", "b"], primary_metric=name))

    known = metrics_for(task)
    assert [chosen(metric.name) for metric in known] == known
    assert chosen("AUROC") is METRICS["roc_auc"]
    for name in {*METRICS} - {metric.name for metric in known} | {"accuracy_at_5"}:
        with pytest.raises(ManifestError, match=f"{name} is not defined for a {task} task; there are accuracy"):
            chosen(name)
    with pytest.raises(ManifestError, match=r't: .*primary_metric: .*Did you mean "roc_auc"'):
        chosen("roc_acu")
