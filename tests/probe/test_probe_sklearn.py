"""Any scikit-learn classifier as a probe, against plain scikit-learn loops."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Medprobe, assert_refused
from medprobe.base import ProbeError
from medprobe.evaluate import METRICS, Resample, Run, find_metric, weighted_scores
from medprobe.evaluate.results.choices import chosen_in_words
from medprobe.probe import Probe, ProbeTask, resolve_probes
from medprobe.probe.engines.parallel import Workers
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

WORKERS = Workers(1)
TASKS = {"binary": "roc_auc", "multiclass": "accuracy", "multilabel": "brier"}


def _task(kind: str = "multiclass", n: int = 120) -> ProbeTask:
    rng = np.random.default_rng(3)
    classes = 2 if kind == "binary" else 3
    y = rng.integers(0, classes, n)
    truth = rng.standard_normal((classes, 8))[y]
    if kind == "multilabel":
        y = (rng.random((n, classes)) < 0.4).astype(np.int8)
        truth = y @ rng.standard_normal((classes, 8))
    X = (0.7 * truth + rng.standard_normal((n, 8))).astype(np.float32)
    parts = np.split(rng.permutation(n), [n // 2, 3 * n // 4])
    resample = Resample(4, *(np.sort(part) for part in parts))
    return ProbeTask(X, y, (resample,), kind, tuple("abc"[:classes]), find_metric(TASKS[kind]), refit=True)


def _solve(probe: Probe[Any], task: ProbeTask) -> Any:
    (result,) = probe.solve(task, WORKERS)
    return result


def test_convergence_is_noted_of_the_seeds_that_lack_it_alone_and_other_warnings_pass() -> None:
    resamples = tuple(replace(_task("multiclass").resamples[0], seed=seed) for seed in range(60))
    task = replace(_task("multiclass"), resamples=resamples)
    with pytest.warns(UserWarning, match="of seed") as seen:
        results = list(Probe.from_estimator(_EvenSeedsWarn()).solve(task, Workers(2)))
    assert [result.converged for result in results] == [False, True] * 30
    assert not [one for one in seen if issubclass(one.category, ConvergenceWarning)]


class _EvenSeedsWarn(DecisionTreeClassifier):
    def fit(self, X: Any, y: Any, *args: Any, **options: Any) -> _EvenSeedsWarn:
        warnings.warn(f"of seed {self.random_state}", UserWarning, stacklevel=2)
        with warnings.catch_warnings():  # filters of the whole process, so that those of two threads mix
            warnings.simplefilter("ignore")
            time.sleep(0.002)
        if self.random_state % 2 == 0:
            warnings.warn("too few steps", ConvergenceWarning, stacklevel=2)
        super().fit(X, y, *args, **options)
        return self


ESTIMATORS = {
    "svc": (SVC(kernel="linear"), {"C": [0.1, 1, 10]}, {}),
    "forest": (RandomForestClassifier(20), {"max_depth": [2, 5]}, {"random_state": 4}),
    "pipeline": (make_pipeline(PCA(4), LinearSVC()), {"linearsvc__C": [0.1, 1]}, None),
    "linear svc": (LinearSVC(), {"C": [0.01, 1]}, {"random_state": 4}),
    "ridge": (RidgeClassifier(), {"alpha": [10, 0.1]}, {"random_state": 4}),
    "mlp": (MLPClassifier((8,), max_iter=30), {"alpha": [1, 0.01]}, {"random_state": 4}),
    "neighbours": (KNeighborsClassifier(), {"n_neighbors": [9, 3]}, {}),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_classifier_gives_what_a_plain_scikit_learn_loop_gives(name: str, kind: str) -> None:
    estimator, grid, seeded = ESTIMATORS[name]
    task = _task(kind)
    resample = task.resamples[0]
    seeded = {"pca__random_state": 4, "linearsvc__random_state": 4} if seeded is None else seeded
    native = name in ("forest", "ridge", "mlp", "neighbours")

    def fitted(params: dict[str, Any], rows: np.ndarray) -> Pipeline:
        model = clone(estimator).set_params(**params, **seeded)
        model = OneVsRestClassifier(model) if kind == "multilabel" and not native else model
        return make_pipeline(StandardScaler(), model).fit(task.X[rows], task.y[rows])

    def proba(model: Pipeline, rows: np.ndarray) -> np.ndarray:
        if hasattr(model, "predict_proba"):
            found = model.predict_proba(task.X[rows])
            return np.stack([one[:, 1] for one in found], axis=1) if isinstance(found, list) else found
        scores = model.decision_function(task.X[rows])
        if kind == "multilabel":
            return expit(scores)
        return softmax(scores, axis=1) if scores.ndim == 2 else np.stack([expit(-scores), expit(scores)], axis=1)

    ((key, values),) = grid.items()
    best = None
    for value in values:
        scored = task.scored(resample.val, proba(fitted({key: value}, resample.train), resample.val))
        score, loss = (float(weighted_scores(metric, scored)[0][0]) for metric in (task.metric, METRICS["log_loss"]))
        rank = (score if task.metric.greater_is_better else -score, -loss)
        best = (rank, value) if best is None or rank > best[0] else best
    assert best is not None
    result = _solve(Probe.from_estimator(estimator, grid), task)
    assert result.params == {key: best[1]}
    model = fitted({key: best[1]}, task.fitted_on(resample))
    np.testing.assert_allclose(result.test_proba, proba(model, resample.test), atol=1e-5)
    without_proba = not hasattr(model, "predict_proba")
    assert any("decision_function" in note for note in result.notes) == without_proba


def test_features_are_standardised_unless_the_estimator_contains_a_scaler() -> None:
    task = _task()
    task.X[:] *= np.logspace(0, 3, 8, dtype=np.float32)
    own = make_pipeline(StandardScaler(), KNeighborsClassifier())
    bare = KNeighborsClassifier()
    expected = _solve(Probe.from_estimator(own), task).test_proba
    np.testing.assert_array_equal(_solve(Probe.from_estimator(bare), task).test_proba, expected)
    assert not np.array_equal(_solve(Probe.from_estimator(bare, scale=False), task).test_proba, expected)


def test_classes_and_labels_that_train_lacks_keep_their_columns() -> None:
    task = _task()
    task.y[np.r_[task.resamples[0].train, task.resamples[0].val]] %= 2
    assert (_solve(Probe.from_estimator(RandomForestClassifier(5)), task).test_proba[:, 2] == 0).all()
    labels = _task("multilabel")
    labels.y[np.r_[labels.resamples[0].train, labels.resamples[0].val], 1] = 1
    for estimator in (SVC(), RandomForestClassifier(5)):
        assert (_solve(Probe.from_estimator(estimator), labels).test_proba[:, 1] == 1).all()


def test_estimators_stand_beside_named_probes_and_results_are_reproducible(study) -> None:
    estimators = [RandomForestClassifier(5), make_pipeline(PCA(4), SVC()), "sklearn:sklearn.svm.SVC:C=[0.1,1,10]"]
    first, again = (study.probe(probes=["centroid", *estimators], n_jobs=jobs) for jobs in (1, 2))
    assert set(first.scores["probe"]) == {
        "centroid",
        "sklearn.ensemble.RandomForestClassifier:n_estimators=5",
        "sklearn.pipeline.Pipeline:steps=PCA+SVC",
        "sklearn.svm.SVC:C=0.1..10x3",
    }
    np.testing.assert_array_equal(first.scores["value"], again.scores["value"])
    assert first.info["probes"]["sklearn.svm.SVC:C=0.1..10x3"]["settings"]["C"] == [0.1, 1, 10]
    assert first.info["probes"]["sklearn.svm.SVC:C=0.1..10x3"]["label"] == "SVC (C=0.1..10x3)"


class _Broken(ClassifierMixin, BaseEstimator):
    def __init__(self, how: str = "raises") -> None:
        self.how = how

    def fit(self, X: np.ndarray, y: np.ndarray) -> _Broken:
        self.classes_ = np.unique(y)
        if self.how == "raises":
            raise RuntimeError("out of\nluck")
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return np.full((len(X), 3), np.nan)


@pytest.mark.parametrize(("how", "words"), [("raises", "out of luck"), ("nan", "NaN")])
def test_an_estimator_that_fails_is_one_message_that_names_probe_and_seed(how: str, words: str) -> None:
    with pytest.raises(ProbeError, match=f"my probe, seed 4: .*{words}"):
        _solve(Probe.from_estimator(_Broken(how), name="my probe"), _task())


def test_what_cannot_be_a_probe_is_refused() -> None:
    fitted = make_pipeline(StandardScaler(), SVC()).fit(_task().X, _task().y)
    for wrong, words in [
        (Ridge(), "not a scikit-learn classifier"),
        (SVC, r"SVC\(\)"),
        (3, "not a scikit-learn classifier"),
        (fitted, "standardscaler.*already fitted.*unfitted clone"),
        ("sklearn:sklearn.svm.SVX", "sklearn.svm.SVC"),
        ("sklearn:SVC", "sklearn.svm.SVC"),
        ("sklearn:sklearn.svm.SVC:kernl=rbf", 'Did you mean "kernel"'),
        ("sklearn:sklearn.svm.SVC:gama=[1,2]", 'Did you mean "gamma"'),
        ("sklearn:sklearn.svm.SVC:C=[]", "grid has 0 combinations .of C none"),
        ("sklearn:sklearn.linear_model.Ridge", "not a scikit-learn classifier"),
        (SVC(decision_function_shape="ovo"), "decision_function_shape=ovr"),
        (make_pipeline(PCA(), SVC(decision_function_shape="ovo")), "svc__decision_function_shape=ovr"),
        ("sklearn:sklearn.svm.SVC:decision_function_shape=[ovr,ovo]", "decision_function_shape=ovr"),
    ]:
        with pytest.raises(ProbeError, match=words):
            resolve_probes([wrong])
    with pytest.raises(ProbeError, match='Did you mean "svc__C"'):
        Probe.from_estimator(make_pipeline(PCA(), SVC()), {"svc_C": [1, 2]})


def test_command_line_values_are_numbers_words_none_and_tuples() -> None:
    (probe,) = resolve_probes(
        "sklearn:sklearn.neural_network.MLPClassifier:alpha=1e-3,hidden_layer_sizes=[[8,4],16],random_state=none"
    )
    assert probe.settings.estimator.alpha == 1e-3
    assert probe.settings.grid == {"hidden_layer_sizes": ((8, 4), 16)}
    assert probe.settings.estimator.random_state is None


def test_the_command_line_takes_any_classifier(copied: Path, tmp_path: Path, medprobe: Medprobe) -> None:
    words = ("probe", copied, "--seeds", 2, "--jobs", 1)
    status, out, err = medprobe(*words, "--probe", "sklearn:sklearn.svm.LinearSVC:C=[0.1,1]", "--out", tmp_path / "run")
    assert status == 0, out + err
    refused = medprobe(
        *words, "--probe", "sklearn:sklearn.svm.SVC:decision_function_shape=ovoo", "--out", tmp_path / "x"
    )
    assert_refused(*refused, tmp_path / "x", "sklearn.svm.SVC", "seed 0")


def test_a_list_that_was_chosen_for_a_parameter_is_one_value(run: Run) -> None:
    [(system, words)] = {key: one for key, one in chosen_in_words(run).items() if key.backbone == "net-0"}.items()
    assert words.startswith("k=")
    scores = run.scores.assign(params='{"hidden_layer_sizes": [50, 20]}')
    assert chosen_in_words(replace(run, scores=scores))[system] == "hidden_layer_sizes=20 (20 to 50)"
    probes = {system.probe: {**run.info["probes"][system.probe], "settings": {"estimator": "MLPClassifier"}}}
    of_sklearn = replace(run, scores=scores, info={**run.info, "probes": probes})
    assert chosen_in_words(of_sklearn)[system] == "hidden_layer_sizes=[50, 20]"
