"""A fitted model: what it learns from, that it is the model of a run, and how it is kept."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from medprobe.base import CacheError, OutputError, ProbeError, ReportError
from medprobe.base.errors import ModelError
from medprobe.cache import CacheDraft, ImportedSpec
from medprobe.evaluate import predictions_by_system
from medprobe.evaluate.statistics.summary import systems_by_score
from medprobe.manifests import Manifest
from medprobe.model import Model, fit_model, fit_run, load_model, save_model
from medprobe.model.predicting import _predicted
from medprobe.model.unusual import TrainingNeighbours
from medprobe.probe import resolve_probes, run_probes
from medprobe.probe.data.probe_data import ProbeData
from sklearn.neighbors import NearestNeighbors

_PROBES = ["logreg:C=[0.1,10]", "knn", "gbm:rounds=20", "centroid"]
_PARITY = [(task, "mean", 1) for task in ("binary", "multiclass", "multilabel")] + [("multiclass", "predictions", 2)]


@pytest.mark.parametrize(("task", "aggregation", "images"), _PARITY)
def test_a_saved_model_predicts_what_the_run_predicted(
    tmp_path: Path, cohort_of: Callable, task: str, aggregation: str, images: int
) -> None:
    cohort = cohort_of(tmp_path, task, images=images)
    how = {"aggregation": aggregation, "progress": False}
    run = run_probes(cohort.manifest, cohort.cache, probes=_PROBES, protocol="fixed", seeds=1, n_jobs=1, **how)
    data = ProbeData.of(cohort.manifest, [cohort.cache], aggregation)
    by_name = {probe.name: probe for probe in resolve_probes(_PROBES)}
    for system, [resample] in predictions_by_system(run).items():
        fitted = fit_model(cohort.manifest, cohort.cache, probe=by_name[system.probe], **how)
        model = load_model(save_model(fitted, tmp_path / system.probe.partition(":")[0]))
        proba, _ = _predicted(model, data)
        assert np.abs(proba[resample.unit] - resample.scored.proba).max() < 1e-6, system.probe
        assert json.loads(run.scores.query("probe == @system.probe")["params"].iloc[0]) == dict(model.facts.params)


def test_a_preset_on_plain_features_and_a_euclidean_knn_come_back_as_they_were(
    tmp_path: Path, cohort_of: Callable
) -> None:
    cohort = cohort_of(tmp_path)
    X = cohort.cache.load("cls")
    for number, probe in enumerate(
        ("gbm:preset=lightgbm-defaults,rounds=5", "knn:metric=euclidean", "centroid:center=false", "logreg:C=[1]")
    ):
        model = fit_model(cohort.manifest, cohort.cache, probe=probe, progress=False)
        again = load_model(save_model(model, tmp_path / str(number)))
        np.testing.assert_array_equal(again.probe.predict_proba(X), model.probe.predict_proba(X))
        np.testing.assert_array_equal(
            pickle.loads(pickle.dumps(again.probe)).predict_proba(X), again.probe.predict_proba(X)
        )


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e30])
def test_features_that_mean_nothing_to_a_model_are_refused(tmp_path: Path, cohort_of: Callable, value: float) -> None:
    cohort = cohort_of(tmp_path)
    model, X = fit_model(cohort.manifest, cohort.cache, progress=False), cohort.cache.load("cls").copy()
    with pytest.raises(ProbeError, match="another backbone"):
        model.probe.predict_proba(X[:, 1:])
    X[3, 2] = value
    with pytest.raises(ProbeError, match="NaN, infinite"):
        model.probe.predict_proba(X)


def test_val_is_the_manifests_own_or_a_fifth_of_the_groups(tmp_path: Path, cohort_of: Callable) -> None:
    cohort = cohort_of(tmp_path)
    table = cohort.manifest.table
    own = fit_model(cohort.manifest, cohort.cache, progress=False).facts.fitted_on
    assert (own["units"], own["val_units"]) == (120, 40)
    everything = fit_model(cohort.manifest, cohort.cache, on="all", progress=False).facts.fitted_on
    assert everything["units"] == 160
    assert 24 <= everything["val_units"] <= 40
    assert everything["val_units"] % 2 == 0, "a patient has two exams"
    no_split = Manifest(table.drop(columns="split"), cohort.manifest.card)
    assert fit_model(no_split, cohort.cache, progress=False).facts.fitted_on["units"] == 160


def test_patients_of_the_test_are_left_out(tmp_path: Path, cohort_of: Callable) -> None:
    cohort = cohort_of(tmp_path)
    table = cohort.manifest.table.copy()
    table.loc[table["unit_id"] == "EXAM-SECRET-001", "split"] = "train"  # whose patient's other exam is in the test
    leaking = Manifest(table, cohort.manifest.card)
    assert fit_model(leaking, cohort.cache, progress=False).facts.fitted_on["units"] == 120
    assert fit_model(leaking, cohort.cache, keep_leaks=True, progress=False).facts.fitted_on["units"] == 121


def test_the_best_system_of_a_run_is_fitted(tmp_path: Path, cohort_of: Callable) -> None:
    cohort = cohort_of(tmp_path, signal=0.5)
    run = run_probes(
        cohort.manifest, cohort.cache, probes=["knn:k=[1]", "logreg:C=[0.1,1]"], seeds=2, n_jobs=1, progress=False
    )
    means = run.scores.query("split == 'test' and metric == 'balanced_accuracy'").groupby("probe")["value"].mean()
    model = fit_run(run, cohort.manifest, cohort.store, progress=False)
    assert model.facts.family == means.idxmax().partition(":")[0]
    named = fit_run(run, cohort.manifest, cohort.store, probe="knn:k=1", progress=False)
    assert named.facts.params == {"k": 1}
    with pytest.raises(ProbeError, match="gbm"):
        fit_run(run, cohort.manifest, cohort.store, probe="gbm", progress=False)
    other = Manifest(cohort.manifest.table.iloc[2:], cohort.manifest.card)
    with pytest.raises(ReportError, match="another manifest"):
        fit_run(run, other, cohort.store, progress=False)


def test_a_network_that_has_learnt_from_the_test_is_the_last_choice(tmp_path: Path, cohort_of: Callable) -> None:
    cohort = cohort_of(tmp_path)
    run = run_probes(cohort.manifest, cohort.cache, probes="centroid", seeds=1, n_jobs=1, progress=False)
    worse = run.scores.assign(backbone="worse")
    worse["value"] -= np.where(worse["split"] == "test", 0.1, 0)
    for warned, first in (("", run.scores["backbone"].iloc[0]), (run.scores["backbone"].iloc[0], "worse")):
        found = {"warnings": [f"{warned}, fine-tuned on 2"], "warning_codes": ["fine-tuned-on-test"]}
        both = replace(run, scores=pd.concat([run.scores, worse]), info={**run.info, **found})
        systems = systems_by_score(both)
        assert (systems[0].backbone, len(systems)) == (first, 2)


def test_what_cannot_be_a_model_is_refused(tmp_path: Path, cohort_of: Callable) -> None:
    cohort = cohort_of(tmp_path)
    with pytest.raises(ProbeError, match="pickle"):
        fit_model(cohort.manifest, cohort.cache, probe="sklearn:sklearn.svm.SVC", progress=False)
    X, stamps = cohort.cache.load("cls"), np.arange(1, len(cohort.cache) + 1)
    with CacheDraft.open(
        tmp_path / "imported", "cohort", ImportedSpec(backbone="imported:uni", dims={"cls": 24})
    ) as draft:
        draft.append(cohort.manifest.sample_ids, [f"{n:032x}" for n in range(1, len(X) + 1)], stamps, {"cls": X})
        imported = draft.publish(cohort.manifest.sample_ids, stamps=stamps)
    with pytest.raises(CacheError, match="imported"):
        fit_model(cohort.manifest, imported, progress=False)


@pytest.fixture
def saved(tmp_path: Path, cohort_of: Callable) -> Path:
    """A model of gradient boosting, in its folder."""
    cohort = cohort_of(tmp_path)
    return save_model(
        fit_model(cohort.manifest, cohort.cache, probe="gbm:rounds=5", progress=False), tmp_path / "model"
    )


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("model.json", lambda text: text.replace('"schema": 2', '"schema": 3')),
        ("model.json", lambda text: text.replace('"resize": "squash"', '"resize": "short-side"')),
        ("model.json", lambda text: text.replace("medprobe model", "medprobe run")),
        ("model.json", lambda text: text[:100]),
        ("booster-0.txt", lambda text: text.replace("tree", "Tree")),
        ("model.safetensors", None),
    ],
)
def test_a_folder_of_another_version_or_an_altered_one_is_refused(
    saved: Path, file: str, change: Callable | None
) -> None:
    path = saved / file
    if change is None:
        path.unlink()
    else:
        path.write_text(change(path.read_text()))
    with pytest.raises(ModelError):
        load_model(saved)


def test_a_model_replaces_a_model_and_nothing_else(saved: Path, tmp_path: Path) -> None:
    model = load_model(saved)
    with pytest.raises(OutputError):
        save_model(model, saved)
    save_model(model, saved, overwrite=True)
    with pytest.raises(OutputError):
        save_model(model, tmp_path, overwrite=True)


def test_no_id_and_no_path_is_in_a_model(saved: Path, tmp_path: Path) -> None:
    held = b"".join(file.read_bytes() for file in saved.iterdir())
    assert b"SECRET" not in held
    assert str(tmp_path).encode() not in held


def test_unusualness_is_that_of_scikit_learns_neighbours() -> None:
    rng = np.random.default_rng(0)
    X, group, new = rng.standard_normal((80, 6)), np.arange(80) // 2, rng.standard_normal((30, 6))
    neighbours = TrainingNeighbours.of(X.astype(np.float32), group)
    own = []
    for row in range(80):
        others = X[group != group[row]]
        own.append(NearestNeighbors(n_neighbors=10, metric="cosine").fit(others).kneighbors(X[[row]])[0][0, -1])
    found = NearestNeighbors(n_neighbors=10, metric="cosine").fit(X).kneighbors(new)[0][:, -1]
    expected = 100 * (np.array(own) <= found[:, None]).mean(axis=1)
    np.testing.assert_allclose(neighbours.percentiles(new.astype(np.float32)), expected, atol=1e-9)


def test_a_temperature_changes_how_sure_a_model_is_and_no_class(tmp_path: Path, cohort_of: Callable) -> None:
    cohort = cohort_of(tmp_path)
    plain, scaled = (
        fit_model(cohort.manifest, cohort.cache, calibrate=calibrate, progress=False) for calibrate in (False, True)
    )
    proba = plain.probe.predict_proba(cohort.cache.load("cls"))
    assert isinstance(scaled, Model)
    assert (scaled.calibrated(proba).argmax(axis=1) == proba.argmax(axis=1)).all()
    expected = proba ** (1 / scaled.facts.temperature)
    np.testing.assert_allclose(scaled.calibrated(proba), expected / expected.sum(axis=1, keepdims=True), atol=1e-5)
