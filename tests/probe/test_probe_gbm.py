"""Gradient boosting as an estimator: parity with LightGBM's own interface."""

from __future__ import annotations

import json

import lightgbm as lgb
import numpy as np
import pytest
from made_up_rows import classified, labelled
from medprobe.manifests import Manifest
from medprobe.probe import GBMProbe
from medprobe.probe.estimators.gbm import PRESETS
from sklearn.decomposition import PCA


def test_gbm_defaults_are_plain_lightgbm() -> None:
    X, y = classified(3)
    settings = {"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1, "seed": 0}
    settings |= {"deterministic": True, "force_col_wise": True}
    plain = lgb.train(settings, lgb.Dataset(X[:150], y[:150], params=settings), 30)
    probe = GBMProbe("lightgbm-defaults", n_estimators=30).fit(X[:150], y[:150])
    np.testing.assert_allclose(probe.predict_proba(X[150:]), np.asarray(plain.predict(X[150:])), atol=1e-12)


def test_gbm_stops_where_the_log_loss_of_the_eval_set_is_lowest() -> None:
    X, y = classified(3, n=400)
    probe = GBMProbe("lightgbm-defaults", n_estimators=200).fit(X[:250], y[:250], eval_set=(X[250:], y[250:]))
    (rounds,) = probe.rounds_
    assert 1 < rounds < 200
    losses = []
    for count in range(1, rounds + 11):
        proba = np.asarray(probe.boosters_[0].predict(X[250:], num_iteration=count))
        losses.append(-np.log(proba[np.arange(150), y[250:]]).mean())
    assert int(np.argmin(losses)) + 1 == rounds
    kept = np.asarray(probe.boosters_[0].predict(X[250:], num_iteration=rounds))
    np.testing.assert_array_equal(probe.predict_proba(X[250:]), kept)


def test_gbm_refits_with_the_rounds_that_it_found() -> None:
    X, y = classified(3, n=400)
    train, val = np.arange(250), np.arange(250, 400)
    alone = GBMProbe(n_estimators=200).fit(X[:250], y[:250], eval_set=(X[250:], y[250:]))
    (rounds,) = alone.rounds_
    probe = GBMProbe(n_estimators=200).fit(X, y, eval_set=val, rows=train, refit=True)
    np.testing.assert_array_equal(probe.eval_proba_, alone.predict_proba(X[250:]))
    np.testing.assert_array_equal(probe.predict_proba(X), GBMProbe(n_estimators=rounds).fit(X, y).predict_proba(X))
    assert probe.rounds_ == [rounds]


def test_gbm_continues_with_the_eval_set_where_the_training_rows_are_many() -> None:
    X, y = classified(3, n=2600)
    train, val = np.arange(2000), np.arange(2000, 2600)
    probe = GBMProbe().fit(X, y, eval_set=val, rows=train, refit=True)
    assert probe.pca_ is not None
    np.testing.assert_allclose(probe.pca_.mean_, X[:2000].mean(axis=0))
    (rounds,), (booster,) = probe.rounds_, probe.boosters_
    features = probe.pca_.transform(X)
    found = np.asarray(booster.predict(features[val], num_iteration=rounds))
    np.testing.assert_array_equal(probe.eval_proba_, found)
    assert booster.current_iteration() == rounds + round(0.6 * rounds)
    kept = lgb.Booster(model_str=booster.model_to_string())
    np.testing.assert_allclose(np.asarray(kept.predict(features)), probe.predict_proba(X), atol=1e-12)
    right = [proba[np.arange(600), y[val]] for proba in (found, probe.predict_proba(X[val]))]
    assert np.log(right[1]).mean() > np.log(right[0]).mean() + 0.05, "learnt from val"
    # Until the rounds are found, labels of the eval set decide about nothing else.
    other = np.r_[y[train], np.random.default_rng(0).permutation(y[val])]
    misled = GBMProbe().fit(X, other, eval_set=val, rows=train, refit=True)
    first = min(rounds, misled.rounds_[0])
    np.testing.assert_array_equal(
        misled.boosters_[0].predict(features, num_iteration=first), booster.predict(features, num_iteration=first)
    )


def test_gbm_continues_with_each_label_on_its_own() -> None:
    X, Y = labelled(n=2600)
    Y = np.c_[Y, np.ones(2600, int)]
    Y[2000:2010, 3] = 0
    train, val = np.arange(2000), np.arange(2000, 2600)
    probe = GBMProbe(n_estimators=40).fit(X, Y, eval_set=val, rows=train, refit=True)
    for label in range(3):
        alone = GBMProbe(n_estimators=40).fit(X, Y[:, label], eval_set=val, rows=train, refit=True)
        assert probe.rounds_[label] == alone.rounds_[0]
        np.testing.assert_array_equal(probe.predict_proba(X)[:, label], alone.predict_proba(X)[:, 1])
    assert (probe.eval_proba_[:, 3] == 1).all()
    np.testing.assert_allclose(probe.predict_proba(X)[:, 3], 2590 / 2600)


def test_gbm_refits_only_to_rows_of_X() -> None:
    X, y = classified()
    for eval_set in (None, (X[200:], y[200:])):
        with pytest.raises(ValueError, match="refit needs an eval_set"):
            GBMProbe().fit(X, y, eval_set=eval_set, refit=True)


def test_gbm_stops_each_label_on_its_own() -> None:
    X, Y = labelled(n=400)
    Y = np.c_[Y, np.zeros(400, int)]
    probe = GBMProbe(n_estimators=150).fit(X[:250], Y[:250], eval_set=(X[250:], Y[250:]))
    assert len(probe.rounds_) == 4
    for label in range(3):
        alone = GBMProbe(n_estimators=150).fit(X[:250], Y[:250, label], eval_set=(X[250:], Y[250:, label]))
        assert probe.rounds_[label] == alone.rounds_[0]
        np.testing.assert_array_equal(probe.predict_proba(X)[:, label], alone.predict_proba(X)[:, 1])


def test_gbm_counts_no_rounds_for_a_label_that_is_the_same_in_every_training_row() -> None:
    X, Y = labelled(n=400)
    Y = np.c_[Y, np.ones(400, int)]
    Y[300:310, 3] = 0  # met by the second fit alone
    probe = GBMProbe(n_estimators=150).fit(X[:250], Y[:250], eval_set=(X[250:], Y[250:]))
    assert probe.rounds_[3] == 0
    assert (probe.predict_proba(X)[:, 3] == 1).all()
    probe.fit(X, Y, eval_set=np.arange(250, 400), rows=np.arange(250), refit=True)
    assert (probe.eval_proba_[:, 3] == 1).all()
    assert probe.rounds_[3] == 0
    np.testing.assert_allclose(probe.predict_proba(X)[:, 3], 390 / 400)


def test_a_run_says_nothing_of_rounds_that_a_constant_label_never_had(study_of, tmp_path) -> None:
    study = study_of(tmp_path, task="multilabel", signal=(0.9,))
    table = study.manifest.table.assign(mass=1)
    card = study.manifest.card
    run = study.probe(manifest=Manifest(table, card), probes=["gbm"])
    assert not run.scores["note"].str.contains("boosting used all").any()
    rounds = [json.loads(params)["rounds"] for params in run.scores["params"].unique()]
    assert all(mass == 0 and min(edema, nodule) > 0 for edema, mass, nodule in rounds)


def test_gbm_cuts_the_rows_of_several_labels_into_bins_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = []
    construct = lgb.Dataset.construct

    def counted(data: lgb.Dataset) -> lgb.Dataset:
        cut.extend([] if data._handle is not None else [data])
        return construct(data)

    monkeypatch.setattr(lgb.Dataset, "construct", counted)
    X, Y = labelled(n=400)
    GBMProbe(n_estimators=20).fit(X[:250], Y[:250], eval_set=(X[250:], Y[250:]))
    assert len(cut) == 2, "the training rows and those that say when to stop"


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("shots", [1, 5])
def test_gbm_learns_from_a_few_rows_with_constant_columns_and_a_val_that_lacks_a_class(preset: str, shots: int) -> None:
    X, y = classified(4, n=400)
    X[:, 3] = 7
    few = np.concatenate([np.flatnonzero(y == c)[:shots] for c in range(4)])
    val = np.flatnonzero(y[300:] != 2) + 300
    proba = GBMProbe(preset).fit(X, y, eval_set=val, rows=few, refit=True).predict_proba(X)
    assert proba.shape == (400, 4)
    assert np.isfinite(proba).all()
    flat = GBMProbe(preset).fit(X * 0, y).predict_proba(X)
    np.testing.assert_allclose(flat, np.tile(np.bincount(y) / len(y), (len(X), 1)), atol=1e-3)


def test_gbm_takes_named_classes_in_its_eval_set_and_refuses_unknown_ones() -> None:
    X, y = classified(3, n=300)
    named = np.array(["a", "b", "c"])[y]
    a = GBMProbe(n_estimators=50).fit(X[:200], named[:200], eval_set=(X[200:], named[200:]))
    b = GBMProbe(n_estimators=50).fit(X[:200], y[:200], eval_set=(X[200:], y[200:]))
    assert a.rounds_ == b.rounds_
    for stranger in ("bb", "z"):
        other = named[200:].astype(object)
        other[3] = stranger
        with pytest.raises(ValueError, match="eval_set holds a class"):
            GBMProbe().fit(X[:200], named[:200], eval_set=(X[200:], other))


def test_gbm_fits_its_components_on_the_training_rows_alone() -> None:
    X, y = classified(3, n=300, features=40)
    probe = GBMProbe(n_estimators=5).fit(X[:200], y[:200], eval_set=(X[200:] * 100, y[200:]))
    assert probe.pca_ is not None
    np.testing.assert_allclose(probe.pca_.mean_, X[:200].mean(axis=0))


def test_gbm_keeps_fewer_components_than_rows() -> None:
    X, y = classified(2, n=30, features=400)
    probe = GBMProbe(n_estimators=5).fit(X, y)
    assert probe.pca_ is not None
    assert probe.pca_.n_components_ == 29
    assert PRESETS["dense"]["components"] == 192


@pytest.mark.parametrize("columns", [30, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gbm_leaves_out_components_that_are_rounding_alone(dtype: type, columns: int) -> None:
    rng = np.random.default_rng(0)
    base = rng.standard_normal((200, 6))
    X = np.c_[base, base @ rng.standard_normal((6, columns)), np.full((200, 4), 7.0)].astype(dtype)
    probe = GBMProbe(n_estimators=5).fit(X, (base[:, 0] > 0).astype(int))
    assert probe.pca_ is not None
    assert probe.pca_.n_components_ == 6


def test_gbm_refuses_an_unknown_preset() -> None:
    with pytest.raises(ValueError, match="preset must be one of"):
        GBMProbe("fast").fit(*classified())


@pytest.mark.parametrize("shape", [(1600, 1600), (700, 300), (100, 900)], ids=["randomized", "columns", "rows"])
def test_gbm_finds_the_components_of_scikit_learn_and_the_same_bits_again(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    X = (rng.standard_normal(shape) * np.geomspace(1, 1e-2, shape[1])).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    one, two = (GBMProbe(n_estimators=10).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))
    assert one.pca_ is not None
    plain = PCA(one.pca_.n_components_, whiten=True, svd_solver="full").fit(X)
    np.testing.assert_allclose(one.pca_.explained_variance_, plain.explained_variance_, rtol=0.03)
    np.testing.assert_allclose(one.pca_.transform(X)[:, :20], plain.transform(X)[:, :20], atol=0.02)
