"""Whole runs with folds, budgets, an external test and fused predictions: what is fitted, scored, compared and said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from medprobe.base import CacheError, MedprobeError, ProbeError
from medprobe.evaluate import (
    METRICS,
    Budget,
    Resample,
    Run,
    compare,
    draw_resamples,
    predictions_by_system,
    subsample_train,
    summarise,
)
from medprobe.evaluate.statistics.bootstrap import GroupDraws
from medprobe.evaluate.statistics.comparison import corrected_t_test
from medprobe.evaluate.statistics.summary import budgets_in_order
from medprobe.manifests import Manifest
from medprobe.probe import CentroidProbe, ProbeTask, run_probes
from medprobe.probe.engines.model_selection import ModelSelector

ALL = ("logreg", "knn", "gbm", "centroid")


def _bytes(run: Run, folder: Path) -> list[bytes]:
    run.save(folder)
    return [(folder / name).read_bytes() for name in ("scores.parquet", "predictions.parquet", "run.json")]


def _test_scores(run: Run, metric: str = "balanced_accuracy") -> pd.DataFrame:
    return run.scores[(run.scores["split"] == "test") & (run.scores["metric"] == metric)]


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_a_curve_over_folds_is_the_same_bytes_however_it_is_made(task: str, tmp_path: Path, study_of) -> None:
    study = study_of(tmp_path, task=task, units=90, images=2, signal=(0.8,))
    shuffled = Manifest(study.manifest.table.sample(frac=1, random_state=3), study.manifest.card)
    curve = {"folds": 3, "shots": [2], "train_fraction": [1]}
    asked: dict[str, Any] = {"probes": ALL, **curve, "aggregation": "predictions"}
    one = _bytes(study.probe(**asked), tmp_path / "one")
    assert _bytes(study.probe(**asked, n_jobs=2, manifest=shuffled), tmp_path / "two processes, other rows") == one


# --- folds


@pytest.fixture(scope="module")
def folded(study) -> Run:
    return study.probe(folds=4, seeds=range(3), probes=["knn"])


def test_under_kfold_every_unit_is_predicted_once_a_seed(folded: Run, study) -> None:
    for _, rows in folded.predictions.query("split == 'test'").groupby(["backbone", "seed"]):
        assert sorted(rows["unit"]) == list(range(120))
        assert set(rows["fold"]) == {0, 1, 2, 3}
        assert (rows.groupby("group")["fold"].nunique() == 1).all()
    assert folded.info["protocol_settings"]["folds"] == 4
    assert {len(predicted) for predicted in predictions_by_system(folded).values()} == {12}


def test_a_seeds_score_is_the_mean_over_its_folds_and_sd_is_over_seeds(folded: Run) -> None:
    summary = summarise(folded).set_index("backbone")
    for backbone, rows in _test_scores(folded).groupby("backbone"):
        of_seeds = rows.groupby("seed")["value"].mean()
        assert summary.loc[backbone, "mean"] == pytest.approx(of_seeds.mean())
        assert summary.loc[backbone, "sd"] == pytest.approx(of_seeds.std())
        assert summary.loc[backbone, "n_seeds"] == 3
        assert summary.loc[backbone, "n_test"] == 120


def test_folds_are_compared_by_the_corrected_t_over_all_of_them(folded: Run) -> None:
    """Bouckaert and Frank 2004: r times k differences, and 1/(k - 1) for the sizes."""
    wide = _test_scores(folded).pivot_table(index=["seed", "fold"], columns="backbone", values="value")
    (row,) = compare(folded).to_dict("records")
    assert row["test"] == "corrected-t"
    known = corrected_t_test((wide["net-0"] - wide["net-1"]).to_numpy(), 1 / 3)
    assert row["p"] == pytest.approx(known, rel=0.05)  # folds are equal to a patient or two
    assert row["difference"] == pytest.approx((wide["net-0"] - wide["net-1"]).mean())


def test_a_patients_weight_in_a_draw_is_the_same_in_every_seed_that_tests_them(folded: Run) -> None:
    (predicted, _) = predictions_by_system(folded).values()
    draws = GroupDraws(predicted, 50)
    assert len(draws.groups) == 60
    values = draws.values(METRICS["accuracy"], predicted)
    for p, found in zip(predicted, values, strict=True):
        times = draws._times[:, np.searchsorted(draws.groups, p.group)].astype(float)
        right = p.scored.predicted == p.scored.y
        np.testing.assert_allclose(found, (times @ right) / times.sum(axis=1))


# --- budgets


@pytest.fixture(scope="module")
def curve(study) -> Run:
    return study.probe(seeds=range(2), probes=["centroid", "knn"], shots=[8, 2], train_fraction=[1])


def test_a_budget_is_a_system_of_its_own_and_compared_within_itself(curve: Run) -> None:
    assert budgets_in_order(curve) == ["2 shots", "8 shots", "100%"]
    summary, comparisons = summarise(curve), compare(curve)
    assert (
        summary.groupby("probe")["budget"].agg(list).tolist()
        == [["2 shots", "2 shots", "8 shots", "8 shots", "100%", "100%"]] * 2
    )
    assert len(comparisons) == 2 * 3
    assert set(zip(comparisons["probe"], comparisons["budget"], strict=True)) == {
        (probe, budget) for probe in ("centroid", "knn") for budget in budgets_in_order(curve)
    }
    assert comparisons["p"].notna().all()


def test_under_a_budget_the_tested_model_is_fitted_on_what_is_left_of_train_alone(curve: Run, study) -> None:
    units = study.manifest.units()
    X = study.caches[0].load("cls")[study.caches[0].rows_of(study.manifest.sample_ids)]
    drawn = draw_resamples(units, [0], classes=study.manifest.card.classes)
    for budget in (Budget(shots=2), Budget(share=1.0)):
        (cut,) = subsample_train(units, drawn, budget, classes=study.manifest.card.classes)
        tested = curve.predictions.query("split == 'test'")
        rows = tested.query(f"backbone == 'net-0' and probe == 'centroid' and seed == 0 and budget == '{budget.name}'")
        told = curve.scores.query(
            f"backbone == 'net-0' and probe == 'centroid' and seed == 0 and budget == '{budget.name}'"
        )
        assert (told["n_train"] == len(cut.train)).all()
        assert (told["n_val"] == len(drawn[0].val)).all()
        probe = CentroidProbe().fit(X[cut.train], units.y[cut.train])
        called = np.stack(rows["proba"]).argmax(axis=1)
        assert rows["unit"].tolist() == drawn[0].test.tolist()
        assert called.tolist() == probe.predict_proba(X[drawn[0].test]).argmax(axis=1).tolist()


def test_the_facts_say_that_no_model_saw_val_under_a_budget(curve: Run, study) -> None:
    assert curve.info["budgets"] == {
        "2 shots": {"shots": 2},
        "8 shots": {"shots": 8},
        "100%": {"train_fraction": 1.0},
    }
    assert {about["refit"] for about in curve.info["probes"].values()} == {False}
    assert study.probe().info["budgets"] == {"all": {}}


def test_every_probe_can_be_fitted_on_one_unit_of_each_class(tmp_path: Path, study_of) -> None:
    for task in ("binary", "multiclass", "multilabel"):
        study = study_of(tmp_path / task, task=task, groups=False, units=80)
        run = study.probe(probes=ALL, shots=[1], seeds=range(3))
        assert np.isfinite(np.stack(run.predictions["proba"])).all()
        assert set(run.scores["budget"]) == {"1 shot"}


def test_the_correction_for_shared_data_does_not_grow_with_smaller_budgets(study) -> None:
    """Two seeds share no more cases for training on fewer: what they share is the share that each tests."""
    run = study.probe(seeds=range(4), shots=[3])
    wide = _test_scores(run).pivot_table(index="seed", columns="backbone", values="value")
    (row,) = compare(run).to_dict("records")
    assert row["p"] == pytest.approx(corrected_t_test((wide["net-0"] - wide["net-1"]).to_numpy(), 0.2 / 0.8))


# --- an external test


@pytest.fixture(scope="module")
def abroad(tmp_path_factory: pytest.TempPathFactory, study_of):
    """Another cohort of the same classes, with other cases under the same numbers."""
    return study_of(tmp_path_factory.mktemp("abroad"), units=50, name="abroad", seed=0)


def test_an_external_manifest_is_tested_whole_and_never_fitted(study, abroad) -> None:
    run = study.probe(external=(abroad.manifest, abroad.caches), seeds=range(3))
    assert run.info["protocol"] == "external"
    assert run.info["external"]["name"] == "abroad"
    assert run.info["external"]["units"] == 50
    units = abroad.manifest.units()
    for _, rows in run.predictions.query("split == 'test'").groupby(["backbone", "seed"]):
        # The external units, and groups, are numbered on after those of the manifest that is trained on.
        assert (rows["unit"] - 120).tolist() == list(range(50))
        assert rows["y"].tolist() == units.y.tolist()
        assert (rows["group"] - 60).tolist() == units.group.tolist()
    assert (run.scores["n_test"] == 50).all()
    drawn = run.scores["n_train"] + run.scores["n_val"]
    assert ((drawn - 0.9 * 120).abs() <= 4).all()  # whole patients of two exams
    assert set(compare(run)["test"]) == {"jackknife"}


def test_what_both_manifests_share_is_told(study, abroad) -> None:
    told = study.probe(external=(abroad.manifest, abroad.caches)).warnings
    assert any(warning.startswith("25 group ids (patients) of 25 in the external manifest") for warning in told)


def test_classes_in_another_order_are_the_same_classes(study, abroad) -> None:
    card = abroad.manifest.card.model_copy(update={"classes": ["c", "a", "b"]})
    turned = Manifest(abroad.manifest.table, card)
    one, other = (study.probe(external=(manifest, abroad.caches)) for manifest in (abroad.manifest, turned))
    pd.testing.assert_frame_equal(one.predictions, other.predictions)


def test_an_external_manifest_that_does_not_fit_is_refused(tmp_path: Path, study, abroad, study_of, cache_of) -> None:
    def refused(manifest: Manifest, caches: Any, *words: str, **options: Any) -> None:
        with pytest.raises(MedprobeError) as fault:
            study.probe(external=(manifest, caches), **options)
        assert all(word in str(fault.value) for word in words), fault.value

    card = abroad.manifest.card
    other = Manifest(
        abroad.manifest.table.assign(label=abroad.manifest.table["label"].replace({"c": "d"})),
        card.model_copy(update={"classes": ["a", "b", "d"]}),
    )
    refused(other, abroad.caches, 'c in "cohort" alone and d in "abroad" alone')
    binary = study_of(tmp_path / "binary", task="binary", name="two")
    refused(binary.manifest, binary.caches, "different tasks, multiclass and binary")
    refused(study.manifest, study.caches, "give another data set to test on")
    refused(abroad.manifest, [], "net-0", "net-1", "medprobe extract")
    X = np.zeros((50, 8))
    coarse = cache_of(tmp_path, "abroad", abroad.manifest.sample_ids, {"cls": X}, backbone="net-1", precision="bf16")
    lacks = (study.caches[1].spec.fingerprint, coarse.spec.fingerprint, "net-1")
    refused(abroad.manifest, [abroad.caches[0], coarse], *lacks)
    refused(abroad.manifest, abroad.caches, "cannot be holdout", protocol="holdout")
    refused(abroad.manifest, abroad.caches, "has no folds", folds=3)
    with pytest.raises(CacheError, match="the data set"):
        study.probe(external=(abroad.manifest, study.caches))
    with pytest.raises(ProbeError, match="needs a second manifest"):
        study.probe(protocol="external")


def test_the_order_of_an_ordinal_scale_must_agree(tmp_path: Path, study_of) -> None:
    one, other = (study_of(tmp_path / name, task="ordinal", name=name, seed=k) for k, name in enumerate("ab"))
    card = other.manifest.card.model_copy(update={"classes": other.manifest.card.classes[::-1]})
    with pytest.raises(ProbeError, match="another scale"):
        one.probe(external=(Manifest(other.manifest.table, card), other.caches))


def test_vectors_by_modality_are_not_held_against_those_of_other_modalities(tmp_path: Path, study_of) -> None:
    sides = [study_of(tmp_path / name, images=2, units=60, name=name, seed=k) for k, name in enumerate("ab")]
    named = [
        Manifest(side.manifest.table.assign(modality=names * 60), side.manifest.card)
        for side, names in zip(sides, (["t1", "t2"], ["flair", "t1"]), strict=True)
    ]
    with pytest.raises(ProbeError, match='"a" has the modalities t1, t2, "b" has flair, t1'):
        sides[0].probe(manifest=named[0], external=(named[1], sides[1].caches), aggregation="concat")
    alike = Manifest(sides[1].manifest.table.assign(modality=["t1", "t2"] * 60), sides[1].manifest.card)
    run = sides[0].probe(manifest=named[0], external=(alike, sides[1].caches), aggregation="concat")
    assert set(run.scores["n_test"]) == {60}


# --- fused predictions


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory, study_of):
    """80 exams of three images each."""
    return study_of(tmp_path_factory.mktemp("views"), units=80, images=3)


def test_a_units_probability_is_the_mean_over_its_images_of_a_probe_fitted_on_images(views) -> None:
    run = views.probe(aggregation="predictions", seeds=[0], probes=["centroid"], refit=False)
    units = views.manifest.units()
    cache = views.caches[0]
    X = cache.load("cls")[cache.rows_of(views.manifest.sample_ids)]
    (resample,) = draw_resamples(units, [0], classes=views.manifest.card.classes)
    rows = run.predictions.query("backbone == 'net-0' and split == 'test'")
    train = np.isin(units.sample_unit, resample.train)
    chosen = run.scores.query("backbone == 'net-0'")["params"].iloc[0]
    probe = CentroidProbe(temperature=float(chosen.split(":")[1].rstrip("}")))
    proba = probe.fit(X[train], units.y[units.sample_unit[train]]).predict_proba(X)
    for unit, found in zip(rows["unit"], rows["proba"], strict=True):
        np.testing.assert_allclose(found, proba[units.sample_unit == unit].mean(axis=0), atol=1e-5)
    assert rows["unit"].tolist() == resample.test.tolist()
    assert rows["y"].tolist() == units.y[resample.test].tolist()


def test_sizes_and_scores_of_fused_predictions_are_of_units(views) -> None:
    fused, early = (views.probe(aggregation=how, probes=ALL) for how in ("predictions", "mean"))
    sizes = ["seed", "probe", "n_train", "n_val", "n_test"]
    pd.testing.assert_frame_equal(fused.scores[sizes], early.scores[sizes])
    keys = ["backbone", "probe", "seed", "unit", "group", "y"]
    pd.testing.assert_frame_equal(fused.predictions[keys], early.predictions[keys])
    assert not np.array_equal(np.stack(fused.predictions["proba"]), np.stack(early.predictions["proba"]))
    assert {about["aggregation"] for about in fused.info["probes"].values()} == {"predictions"}


def test_fusing_predictions_of_single_images_changes_nothing(study) -> None:
    one, other = (study.probe(aggregation=how, probes=ALL) for how in ("mean", "predictions"))
    pd.testing.assert_frame_equal(one.predictions, other.predictions)
    pd.testing.assert_frame_equal(one.scores, other.scores)


def test_a_choice_on_val_is_made_by_fused_predictions() -> None:
    """One candidate calls 6 of 8 images right and 3 of 4 exams, the other 4 images and every exam."""
    y, unit, rows = np.repeat([0, 1, 0, 1], 2), np.repeat(np.arange(4), 2), np.arange(8)
    resample = Resample(0, rows, rows, rows)
    block = ProbeTask(
        np.zeros((8, 1), np.float32), y, (resample,), "binary", ("a", "b"), METRICS["accuracy"], True, unit
    )
    right = {1: np.array([0.6] * 6 + [0.4] * 2), 2: np.tile([0.9, 0.45], 4)}
    chooser = ModelSelector(block, resample)
    for k, chance in right.items():
        positive = np.where(y == 1, chance, 1 - chance)
        chooser.consider({"k": k}, np.c_[1 - positive, positive])
    assert chooser.params == {"k": 2}


def test_an_image_that_could_not_be_embedded_leaves_its_unit_to_the_others(tmp_path: Path, views, cache_of) -> None:
    ids = views.manifest.sample_ids
    X = np.random.default_rng(0).standard_normal((240, 4))
    holed = cache_of(tmp_path, "cohort", ids, {"cls": X}, quarantine=ids[:4])  # all of one exam, one of the next
    run = run_probes(
        views.manifest, [holed], probes=["knn"], seeds=range(12), aggregation="predictions", n_jobs=1, progress=False
    )
    assert 0 not in set(run.predictions["unit"])
    assert 1 in set(run.predictions["unit"])
    assert run.info["dataset"]["units_left_out"] == 1


def test_fused_chances_of_labels_are_means_of_chances(tmp_path: Path, study_of) -> None:
    study = study_of(tmp_path, task="multilabel", images=2, units=60)
    fused, early = (study.probe(aggregation=how, probes=ALL) for how in ("predictions", "mean"))
    assert fused.predictions["unit"].tolist() == early.predictions["unit"].tolist()
    assert np.stack(fused.predictions["y"]).tolist() == np.stack(early.predictions["y"]).tolist()
    proba = np.stack(fused.predictions["proba"])
    assert ((proba >= 0) & (proba <= 1)).all()
    assert (np.abs(proba.sum(axis=1) - 1) > 0.01).any()  # of labels, which need not sum to one
