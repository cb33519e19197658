"""A whole run: the same bits however it is run, the same units for every system, and faults found before the work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from medprobe.base import CacheError, ManifestError, MedprobeError, ProbeError
from medprobe.evaluate import Run
from medprobe.evaluate.metrics.registry import metrics_for
from medprobe.manifests import DatasetCard, Manifest
from medprobe.probe import PROBES, Probe, ProbeSettings, ProbeTask, retrieve, run_probes
from medprobe.probe.engines.parallel import Workers
from medprobe.probe.estimators._neighbors import _CELLS

ALL = ("logreg", "knn", "gbm")


def _bytes(run: Run, folder: Path) -> tuple[bytes, bytes, bytes]:
    run.save(folder)
    return tuple((folder / name).read_bytes() for name in ("scores.parquet", "predictions.parquet", "run.json"))


@pytest.mark.parametrize(
    ("task", "protocol"),
    [("binary", "official"), ("multiclass", "holdout"), ("multilabel", "kfold"), ("ordinal", "external")],
)
def test_scores_and_predictions_are_the_same_bytes_however_a_run_is_made(
    task: str, protocol: str, tmp_path: Path, study_of
) -> None:
    study = study_of(tmp_path / "ours", task=task, units=90, images=2, signal=(0.8,), split=protocol == "official")
    queries: dict[str, Any] = {"probes": list(PROBES), "protocol": protocol, "seeds": range(4)}
    manifests = [study.manifest]
    if protocol == "external":
        theirs = study_of(tmp_path / "theirs", task=task, units=40, images=2, signal=(0.8,), seed=1, name="theirs")
        manifests.append(theirs.manifest)
    if protocol == "kfold":
        queries |= {"folds": 2, "seeds": range(2)}

    def bytes_of(folder: str, *, shuffle: bool = False, n_jobs: int = 1) -> tuple[bytes, ...]:
        ours, *others = (Manifest(m.table.sample(frac=1, random_state=3), m.card) if shuffle else m for m in manifests)
        external = (others[0], theirs.caches) if others else None
        run = study.probe(**queries, manifest=ours, external=external, n_jobs=n_jobs)
        assert set(run.scores["protocol"]) == {protocol}
        return _bytes(run, tmp_path / folder)

    one = bytes_of("one")
    assert bytes_of("three processes, other rows", n_jobs=3, shuffle=True) == one


def test_processes_that_share_the_features_give_the_same_bits(tmp_path: Path, study_of) -> None:
    study = study_of(tmp_path, units=400, dims=800, signal=(0.1,))
    one, two = (study.probe(probes=("gbm", "centroid"), n_jobs=n) for n in (1, 2))  # in processes
    pd.testing.assert_frame_equal(one.predictions, two.predictions)


def test_a_search_of_several_blocks_of_rows_gives_the_same_bits(tmp_path: Path, study_of) -> None:
    study = study_of(tmp_path, units=3000, dims=24, signal=(0.3,))
    step = _CELLS // 3000
    assert step < 3000 / 2  # three blocks, so that threads do share the work
    one, two, four = (study.probe(probes=("knn",), n_jobs=n).predictions for n in (1, 2, 4))
    pd.testing.assert_frame_equal(one, two)
    pd.testing.assert_frame_equal(one, four)
    rows = Manifest(study.manifest.table.sample(frac=1, random_state=1), study.manifest.card)
    pd.testing.assert_frame_equal(one, study.probe(probes=("knn",), n_jobs=2, manifest=rows).predictions)


def test_every_system_is_tested_on_the_same_units_with_the_same_truth(study) -> None:
    run = study.probe(probes=ALL)
    systems = run.predictions.groupby(["backbone", "probe", "seed", "split"])
    by_seed: dict[tuple, set] = {}
    for (_, _, seed, split), rows in systems:
        by_seed.setdefault((seed, split), set()).add(tuple(zip(rows["unit"], rows["group"], rows["y"], strict=True)))
    assert len(systems) == 2 * 3 * 2 * 2
    assert all(len(seen) == 1 for seen in by_seed.values())
    sizes = run.scores.groupby("seed")[["n_train", "n_val", "n_test"]].nunique()
    assert (sizes == 1).all(axis=None)


def test_a_run_has_every_metric_of_every_system_seed_and_part_once(study) -> None:
    run = study.probe(probes=ALL)
    keys = ["dataset", "backbone", "fingerprint", "pooling", "probe", "budget", "seed", "fold", "split", "metric"]
    assert not run.scores.duplicated(keys).any()
    assert len(run.scores) == 2 * 3 * 2 * 2 * len(metrics_for("multiclass"))
    assert len(run.timings) == 2 * 3 * 2
    assert (run.timings[["fit_s", "predict_s"]] > 0).all(axis=None)
    assert set(run.scores["protocol"]) == {"holdout"}


def test_the_scores_are_those_of_the_stored_predictions(study) -> None:
    from sklearn.metrics import accuracy_score, roc_auc_score

    run = study.probe(probes=ALL)
    message = run.scores.set_index(["backbone", "probe", "seed", "split", "metric"])["value"]
    for key, rows in run.predictions.groupby(["backbone", "probe", "seed", "split"]):
        y, proba = rows["y"].to_numpy(), np.stack(rows["proba"]).astype(np.float32).astype(np.float64)
        assert message[*key, "accuracy"] == accuracy_score(y, proba.argmax(axis=1))
        ovr = np.mean([roc_auc_score(y == c, proba[:, c]) for c in range(3)])
        assert message[*key, "roc_auc"] == pytest.approx(ovr, abs=1e-12)


def test_a_stronger_backbone_scores_higher(study) -> None:
    run = study.probe(probes=ALL, seeds=range(4))
    mean = run.scores.query("split == 'test' and metric == 'accuracy'").groupby(["probe", "backbone"])["value"].mean()
    for probe in ALL:
        assert mean[probe, "net-0"] > mean[probe, "net-1"] > 0.4


def test_a_seed_gives_the_same_rows_whatever_other_seeds_and_probes_run_beside_it(study) -> None:
    alone = study.probe(probes=["knn"], seeds=[7], caches=study.caches[1:])
    together = study.probe(probes=ALL, seeds=[3, 7])
    chosen = together.predictions.query("seed == 7 and probe == 'knn' and backbone == 'net-1'").reset_index(drop=True)
    pd.testing.assert_frame_equal(alone.predictions, chosen)


def test_several_poolings_are_several_systems(tmp_path: Path, study, cache_of) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((len(study.manifest), 6))
    vectors = {"cls": X, "mean": X[:, :3]}
    cache = cache_of(tmp_path, "cohort", study.manifest.sample_ids, vectors, backbone="vit")
    run = study.probe(caches=[cache])
    assert run.scores[["backbone", "pooling"]].drop_duplicates().to_numpy().tolist() == [
        ["vit", "cls"],
        ["vit", "mean"],
    ]
    assert set(study.probe(caches=[cache], poolings=["mean"]).scores["pooling"]) == {"mean"}


def test_quarantined_samples_are_skipped_for_every_backbone_with_a_warning(tmp_path: Path, study, cache_of) -> None:
    X = np.random.default_rng(0).standard_normal((len(study.manifest), 6))
    ids = study.manifest.sample_ids
    holed = cache_of(tmp_path, "cohort", ids, {"cls": X}, backbone="holed", quarantine=ids[:6])
    run = study.probe(caches=[*study.caches, holed])
    assert run.warnings[0] == "6 of 120 samples could not be embedded and are skipped (quarantined)"
    assert run.info["dataset"]["samples_left_out"] == run.info["dataset"]["units_left_out"] == 6
    whole = study.probe(caches=study.caches)
    lost = set(whole.predictions["unit"]) - set(run.predictions["unit"])
    assert lost <= set(range(6))
    per_system = run.predictions.groupby(["backbone", "seed"])["unit"].agg(tuple)
    assert all(len(set(per_system[:, seed])) == 1 for seed in (0, 1))


def test_constant_features_are_reported_and_change_no_probe(tmp_path: Path, study, cache_of) -> None:
    ids, X = study.manifest.sample_ids, np.random.default_rng(0).standard_normal((120, 6))
    X[:, [1, 4]] = 0.0, 7.0
    dead = cache_of(tmp_path, "cohort", ids, {"cls": X}, backbone="dead")
    alive = cache_of(tmp_path, "cohort", ids, {"cls": X[:, [0, 2, 3, 5]]}, backbone="alive")
    run = study.probe(caches=[dead, alive], probes=list(PROBES), shots=[3, 5])
    message = [warning for warning in run.warnings if "constant" in warning]
    assert message == ["dead, cls: constant features: 2 of 6"]
    scores = run.scores.query("metric == 'accuracy'").groupby(["probe", "backbone"])["value"].agg(list)
    for probe in PROBES:
        assert np.isfinite(scores[probe, "dead"]).all()
    assert scores["logreg", "dead"] == scores["logreg", "alive"]


def test_official_tests_on_the_manifests_own_test(official) -> None:
    run = official.probe(seeds=range(3))
    units = official.manifest.units()
    assert set(run.scores["protocol"]) == {"official"}
    for _, rows in run.predictions.query("split == 'test'").groupby(["backbone", "seed"]):
        assert rows["unit"].tolist() == np.flatnonzero(units.split == "test").tolist()


def test_the_probabilities_of_a_row_stand_in_the_order_of_the_cards_classes(tmp_path: Path, cache_of) -> None:
    """The card's order is not the alphabet's."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 150)
    names = ["severe", "mild", "moderate"]
    table = pd.DataFrame({"sample_id": [f"s{i}" for i in range(150)], "path": "x", "label": np.array(names)[y]})
    manifest = Manifest(table, DatasetCard(name="order", task="multiclass", classes=names))
    cache = cache_of(tmp_path, "order", manifest.sample_ids, {"cls": 5 * np.eye(3)[y] + rng.standard_normal((150, 3))})
    run = run_probes(manifest, [cache], probes=ALL, seeds=[0], n_jobs=1, progress=False)
    proba, units = np.stack(run.predictions["proba"]), manifest.units()
    assert (proba.argmax(axis=1) == run.predictions["y"]).mean() > 0.95
    assert (units.y[run.predictions["unit"]] == run.predictions["y"]).all()


def test_another_engine_slips_under_without_a_change_elsewhere(study, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batched engine gets the whole block at once; here one that knows no more than the share of each class."""
    seen: list[tuple[int, int]] = []

    class Rule(ProbeSettings):
        rule: str = "share of classes"

    def solve(block: ProbeTask, workers: Workers, settings: Rule):
        del workers, settings
        seen.append((len(block.resamples), block.X.shape[1]))
        for r in block.resamples:
            share = np.bincount(block.y[block.fitted_on(r)], minlength=len(block.classes)) / len(block.fitted_on(r))
            val, test = (np.tile(share, (len(rows), 1)) for rows in (r.val, r.test))
            params = {"share": share.round(3).tolist()}
            yield block.result(r, val_proba=val, test_proba=test, params=params, notes=["guesses"])

    guess = Probe("guess", "Class shares", Rule(), solve)
    monkeypatch.setattr("medprobe.probe.engines.registry.PROBES", {**PROBES, "guess": guess})
    run = study.probe(probes=["guess", "knn"], seeds=range(3))
    assert seen == [(3, 8), (3, 8)]
    auc = run.scores.query("probe == 'guess' and metric == 'roc_auc'")["value"]
    np.testing.assert_allclose(auc, 0.5)
    about = run.info["probes"]["guess"]
    assert (about["label"], about["settings"]) == ("Class shares", {"rule": "share of classes"})


def test_one_of_what_may_be_several_may_stand_by_itself(study) -> None:
    several = study.probe(
        caches=study.caches[:1], probes=["knn"], seeds=[0, 1, 2], poolings=["cls"], shots=[2], train_fraction=[0.5]
    )
    alone = study.probe(caches=study.caches[0], probes="knn", seeds=3, poolings="cls", shots=2, train_fraction=0.5)
    pd.testing.assert_frame_equal(alone.scores, several.scores)
    configured = study.probe(caches=study.caches[0], probes=PROBES["knn"], seeds=np.int64(3), shots=2)
    assert set(configured.scores["probe"]) == {"knn"}
    assert configured.info["seeds"] == [0, 1, 2]


def test_choosing_by_another_metric_is_recorded(study) -> None:
    run = study.probe(metric="log_loss", probes=["logreg"])
    assert run.info["metric"] == run.primary_metric == "log_loss"
    assert study.probe(metric="macro_recall").primary_metric == "balanced_accuracy"


def test_a_metric_that_the_card_misspells_is_refused_whichever_metric_chooses(study) -> None:
    card = study.manifest.card.model_copy(update={"primary_metric": "acuracy"})
    manifest = Manifest(study.manifest.table, card)
    for begin in (lambda: study.probe(manifest=manifest, metric="log_loss"), lambda: retrieve(manifest, study.caches)):
        with pytest.raises(ManifestError, match='Did you mean "accuracy"'):
            begin()


def test_a_run_says_what_it_was_made_of(study) -> None:
    info = study.probe(seeds=[2, 5], fractions=(0.5, 0.25, 0.25), refit=False).info
    assert info["seeds"] == [2, 5]
    assert info["protocol_settings"] == {"train": 0.5, "val": 0.25, "test": 0.25}
    assert {about["refit"] for about in info["probes"].values()} == {False}
    assert info["dataset"]["units"] == 120
    assert info["dataset"]["groups"] == 60
    assert sum(info["dataset"]["units_per_class"].values()) == 120
    assert [cache["backbone"] for cache in info["caches"]] == ["net-0", "net-1"]
    assert info["caches"][0]["spec"]["weights_digest"] == "0" * 64
    assert {"medprobe", "numpy", "scikit-learn", "lightgbm"} <= set(info["versions"])
    json.dumps(info)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"probes": ["knnn"]}, 'Did you mean "knn"'),
        ({"probes": []}, "no probe is named"),
        ({"poolings": ["clss"]}, 'Did you mean "cls"'),
        ({"metric": "roc_acu"}, "unknown metric"),
        ({"metric": "quadratic_kappa"}, "not defined for a multiclass task"),
        ({"protocol": "holdot"}, 'Did you mean "holdout"'),
        ({"protocol": "official"}, "needs the manifest's own split"),
        ({"aggregation": "men"}, 'Did you mean "mean"'),
        ({"aggregation": "concat"}, "needs the column `modality`"),
        ({"probes": "logre"}, 'unknown probe logre; there are logreg, .* Did you mean "logreg"'),
        ({"seeds": []}, "0 seeds"),
        ({"seeds": 0}, "0 seeds"),
        ({"seeds": 2.5}, r"seeds 2.5: give a number of seeds such as 20, or a list such as \[3, 5, 7\]"),
        ({"seeds": "5"}, "seeds '5': give a number"),
        ({"n_jobs": 0}, "0 jobs"),
        ({"n_jobs": -7}, "-7 jobs: give a number of threads, or -1"),
        ({"caches": []}, "medprobe extract"),
        ({"fractions": (0.9, 0.2, 0.1)}, "sum to one"),
    ],
    ids=lambda word: str(word)[:30],
)
def test_what_cannot_be_done_is_refused_before_any_work(
    study, wrong: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medprobe.probe.data.probe_data.ProbeData.load", lambda *_, **__: pytest.fail("work has begun"))
    with pytest.raises(MedprobeError, match=message.replace("(", r"\(")):
        study.probe(**wrong)


def test_a_class_with_too_few_patients_is_named_before_any_work(tmp_path: Path, study, cache_of) -> None:
    table = study.manifest.table.copy()
    table.loc[table["label"] == "c", "label"] = "a"
    table.loc[:1, "label"] = "c"  # two exams of one patient
    manifest = Manifest(table, study.manifest.card)
    with pytest.raises(ProbeError, match=r'too few groups .* of "c" \(1\)'):
        study.probe(manifest=manifest)


def test_a_class_whose_training_cases_are_all_quarantined_is_named(tmp_path: Path, cache_of) -> None:
    label = ["a"] * 20 + ["b"] * 20 + ["rare"] * 3
    table = pd.DataFrame({"sample_id": [f"s{i:02d}" for i in range(43)], "path": "x", "label": label})
    manifest = Manifest(table, DatasetCard(name="few", task="multiclass", classes=["a", "b", "rare"]))
    X = np.random.default_rng(0).standard_normal((43, 3))
    cache = cache_of(tmp_path, "few", manifest.sample_ids, {"cls": X}, quarantine=["s40", "s41", "s42"])
    with pytest.raises(ProbeError, match='no training unit of "rare" is left'):
        run_probes(manifest, [cache], probes=["knn"], seeds=[0], n_jobs=1, progress=False)


@pytest.mark.parametrize("protocol", ["holdout", "kfold", "official"])
def test_many_classes_of_one_case_each_are_taken_for_ids(tmp_path: Path, cache_of, protocol: str) -> None:
    names = [f"patient {i}" for i in range(240)]
    table = pd.DataFrame({"sample_id": names, "path": "x", "label": names})
    table["split"] = np.where(np.arange(240) % 4 == 0, "test", "train")
    manifest = Manifest(table, DatasetCard(name="ids", task="multiclass", classes=names))
    cache = cache_of(tmp_path, "ids", names, {"cls": np.eye(240, 2)})
    with pytest.raises(ProbeError, match=r"of 240 classes .*is the label column one of ids"):
        run_probes(manifest, [cache], protocol=protocol, n_jobs=1, progress=False)


def test_a_label_column_of_ids_is_refused(tmp_path: Path, cache_of) -> None:
    names = [f"patient {i}" for i in range(1001)]
    table = pd.DataFrame({"sample_id": names, "path": "x", "label": names})
    manifest = Manifest(table, DatasetCard(name="ids", task="multiclass", classes=names))
    cache = cache_of(tmp_path, "ids", names, {"cls": np.eye(1001, 2)})
    with pytest.raises(ProbeError, match="Is the label column one of ids"):
        run_probes(manifest, [cache], n_jobs=1, progress=False)


def test_a_cache_of_another_manifest_is_refused(tmp_path: Path, study, cache_of) -> None:
    other = cache_of(tmp_path, "cohort", [f"other {i}" for i in range(120)], {"cls": np.zeros((120, 2))})
    with pytest.raises(CacheError, match="120 of 120 samples are not in this cache"):
        study.probe(caches=[other])


def test_a_run_says_when_the_manifest_names_no_patients(tmp_path: Path, study_of) -> None:
    study = study_of(tmp_path)
    assert study.probe(seeds=range(1)).warnings == []
    anonymous = Manifest(study.manifest.table.drop(columns=["unit_id", "group_id"]), study.manifest.card)
    [warning] = study.probe(manifest=anonymous, seeds=range(1)).warnings
    assert "names no patients" in warning


@pytest.mark.parametrize("split", [False, True])
def test_a_run_says_when_two_patients_share_their_pixels(tmp_path: Path, study_of, cache_of, split: bool) -> None:
    study = study_of(tmp_path, split=split)
    table = study.manifest.table
    pixels = np.arange(len(table))
    test = np.flatnonzero(table["split"] == "test") if split else np.arange(2)
    train = np.flatnonzero(table["split"] == "train") if split else np.arange(100, 110)
    pixels[train[0]] = pixels[test[0]]  # of two patients, and on both sides of the split
    if split:
        pixels[train[2]] = pixels[train[-1]]  # of two patients that both train
    X = {"cls": study.caches[0].load("cls")}
    cache = cache_of(tmp_path / "other", "cohort", table["sample_id"], X, pixels=pixels)
    kept = study.probe(caches=[cache], seeds=range(1), keep_leaks=True)
    [warning] = kept.warnings
    assert warning.startswith("2 images ")
    assert kept.info["warning_codes"] == ["pixels-across-splits" if split else "pixels-repeated"]
    run = study.probe(caches=[cache], seeds=range(1))
    assert run.info["warning_codes"] == (["leaks-left-out", "copies-tied"] if split else ["copies-tied"])
