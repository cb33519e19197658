"""What is known to leak is not scored: copies and patients of the test leave training, copies are one group."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from medprobe.base import ProbeError, ReportError
from medprobe.evaluate import Run, draw_resamples
from medprobe.evaluate.resampling.leaks import find_leaks
from medprobe.manifests import DatasetCard, Manifest
from medprobe.manifests.readers import content_digest
from medprobe.probe import run_probes
from medprobe.report import make_report
from medprobe.report.run import methods
from medprobe.report.run.citation import commands
from medprobe.report.run.data import report_data
from medprobe.report.run.verdict import conclude
from random_cohorts import units_of

PARTS = np.array(["train", "val", "test"], "<U5")


def _digests(pixels: np.ndarray) -> np.ndarray:
    """(M, 16): equal where `pixels` are."""
    return np.stack([np.frombuffer(bytes.fromhex(f"{picture + 1:032x}"), np.uint8) for picture in pixels])


def _later(split: np.ndarray, tie: np.ndarray) -> np.ndarray:
    """As the rule says it: which units have another one of their `tie` in a later part."""
    rank = [PARTS.tolist().index(name) for name in split]
    return np.array([any(r > rank[i] and t == tie[i] for r, t in zip(rank, tie, strict=True)) for i in range(len(tie))])


def _closed(*labels: np.ndarray) -> np.ndarray:
    """What hangs together by any of the labels, by a plain search."""
    found = np.full(len(labels[0]), -1)
    for start in range(len(found)):
        todo = [start] if found[start] < 0 else []
        while todo:
            one = todo.pop()
            found[one] = start
            todo += [i for i in range(len(found)) if found[i] < 0 and any(label[i] == label[one] for label in labels)]
    return found


@given(st.integers(0, 10_000), st.integers(8, 40))
def test_no_patient_and_no_copy_of_a_later_part_is_left_in_an_earlier_one(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    group, pixels = rng.integers(0, n, n), rng.integers(0, 2 * n, n)
    split = PARTS[rng.choice(3, n, p=[0.6, 0.1, 0.3])]
    units = units_of(np.zeros(n, np.int64), group, split)
    tie = _closed(group, pixels)
    gone = _later(split, tie)
    if (split == "train").any() and gone[split == "train"].all():
        with pytest.raises(ProbeError, match="nothing is left to train on"):
            find_leaks(units, np.arange(n), _digests(pixels), fixed_test=True)
        return
    leaks = find_leaks(units, np.arange(n), _digests(pixels), fixed_test=True)
    assert np.array_equal(leaks.reason != "", gone)
    assert np.array_equal(leaks.reason == "patient", _later(split, group))
    left = leaks.clean.split != ""
    assert np.array_equal(left, ~gone)
    # The same partition, and no group in two parts.
    assert len(set(zip(leaks.clean.group, tie, strict=True))) == len(set(tie)) == len(set(leaks.clean.group))
    assert len(set(zip(leaks.clean.group[left], split[left], strict=True))) == len(set(leaks.clean.group[left]))
    # A tied group has the code of its first one, by name.
    assert all(leaks.clean.group[tie == t].tolist() == [units.group[tie == t].min()] * (tie == t).sum() for t in tie)
    assert leaks.published.split is split


@given(st.integers(0, 10_000), st.sampled_from(["holdout", "kfold"]))
def test_copies_are_one_group_and_data_without_copies_are_drawn_as_ever(seed: int, protocol: str) -> None:
    rng = np.random.default_rng(seed)
    n, pixels = 60, np.arange(60)
    pixels[rng.integers(0, n, 8)] = pixels[rng.integers(0, n, 8)]
    units = units_of(np.arange(n) % 2, rng.integers(0, 50, n))
    leaks = find_leaks(units, np.arange(n), _digests(pixels), fixed_test=False)
    assert not leaks.any_left_out
    tie = _closed(units.group, pixels)
    for resample in draw_resamples(leaks.clean, [seed], classes=["a", "b"], protocol=protocol):
        parts = [set(tie[part]) for part in (resample.train, resample.val, resample.test)]
        assert sum(map(len, parts)) == len(set().union(*parts)) == len(set(tie))
    alone = find_leaks(units, np.arange(n), _digests(np.arange(n)), fixed_test=False)
    assert alone.clean is alone.published is units


def test_an_image_of_one_colour_ties_nothing() -> None:
    units = units_of(np.arange(6) % 2, np.arange(6), PARTS[[0, 0, 0, 0, 2, 2]])
    blank = [content_digest(np.full((4, 4), level, np.uint8)) for level in (0, 0, 7)]
    digests = np.stack([np.frombuffer(bytes.fromhex(text), np.uint8) for text in [*blank, *blank]])
    assert not find_leaks(units, np.arange(6), digests, fixed_test=True).any_left_out
    assert content_digest(np.zeros((4, 4, 3), np.uint8)).startswith("f" * 16)
    almost = np.zeros((4, 4), np.uint8)
    almost[0, 1] = 1
    assert not content_digest(almost).startswith("f" * 16)


# --- runs


def _copied_study(
    folder: Path, cache_of, *, copies: int = 40, drop: str = "", noise: float = 4.0
) -> tuple[Manifest, list]:
    """120 images to train on and 60 to test, of three classes that one backbone tells a little; `copies` of the test
    are in train too, to the bit."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 180)
    means = rng.standard_normal((3, 16))
    X = means[y] + noise * rng.standard_normal((180, 16))
    pixels = np.arange(180)
    X[:copies], y[:copies], pixels[:copies] = X[120 : 120 + copies], y[120 : 120 + copies], pixels[120 : 120 + copies]
    table = pd.DataFrame({"sample_id": [f"s{i:03d}" for i in range(180)], "path": "x"})
    table["label"] = np.array(["a", "b", "c"])[y]
    table["split"] = np.where(np.arange(180) < 120, "train", "test")
    card = DatasetCard(name="copied", task="multiclass", classes=["a", "b", "c"], primary_metric="accuracy")
    manifest = Manifest(table.drop(columns=drop) if drop else table, card)
    return manifest, [cache_of(folder, "copied", manifest.sample_ids, {"cls": X}, pixels=pixels)]


PROBES = ["logreg", "knn:k=[1]"]


def _probe(manifest: Manifest, caches: list, **options) -> Run:
    return run_probes(manifest, caches, **{"probes": PROBES, "seeds": 3, "n_jobs": 1, "progress": False} | options)


def _accuracy(scores: pd.DataFrame) -> dict[str, float]:
    rows = scores[(scores["metric"] == "accuracy") & (scores["split"] == "test")]
    return rows.groupby(rows["probe"].str.partition(":")[0])["value"].mean().to_dict()


@pytest.fixture(scope="module")
def copied_run(tmp_path_factory: pytest.TempPathFactory, cache_of) -> Run:
    return _probe(*_copied_study(tmp_path_factory.mktemp("copied"), cache_of))


def test_a_probe_that_wins_by_the_copies_alone_does_not_win_without_them(copied_run: Run) -> None:
    clean, published = _accuracy(copied_run.scores), _accuracy(copied_run.scores_as_published)
    assert published["knn"] > published["logreg"] + 0.05  # 90 % of 40 copies among 60 tested
    assert clean["knn"] < clean["logreg"]
    verdict = conclude(report_data(copied_run))
    assert "logistic regression" in verdict.headline
    assert "The verdict rests on clean units, without the 40 training units" in verdict.caveats
    assert (
        f"As published, with them, timm:resnet18 with k nearest neighbours (k=1) would lead ({published['knn']:.3f})"
        in verdict.caveats
    )


def test_a_run_says_what_was_left_out(copied_run: Run) -> None:
    assert copied_run.info["leaks"] == {
        "kept": False,
        "near": False,
        "units_left_out": {"patient": 0, "pixels": 40, "near": 0},
        "units_left": {"train": 80, "val": 0, "test": 60},
        "groups_tied": 0,
    }
    assert "leaks-left-out" in copied_run.info["warning_codes"]
    assert set(copied_run.scores["n_test"]) == {60}
    assert set(copied_run.scores["n_train"] + copied_run.scores["n_val"]) == {72}
    assert set(copied_run.scores_as_published["n_train"] + copied_run.scores_as_published["n_val"]) == {108}
    assert set(copied_run.scores_as_published["split"]) == {"test"}
    assert copied_run.scores_as_published.columns.tolist() == copied_run.scores.columns.tolist()


def test_kept_leaks_are_the_scores_as_published(copied_run: Run, tmp_path: Path, cache_of) -> None:
    kept = _probe(*_copied_study(tmp_path, cache_of), keep_leaks=True)
    assert kept.scores_as_published is None
    assert kept.info["leaks"] == {"kept": True}
    assert kept.info["warning_codes"] == ["pixels-across-splits", "no-patients"]
    test = kept.scores[kept.scores["split"] == "test"].reset_index(drop=True)
    pd.testing.assert_frame_equal(test, copied_run.scores_as_published)


def test_a_saved_run_has_both_scores_and_one_without_leaks_has_one(copied_run: Run, tmp_path: Path, study_of) -> None:
    read = Run.load(copied_run.save(tmp_path / "copied"))
    pd.testing.assert_frame_equal(read.scores_as_published, copied_run.scores_as_published, check_dtype=False)
    (tmp_path / "copied" / "scores_as_published.parquet").write_bytes(b"")
    with pytest.raises(ReportError, match="scores_as_published"):
        Run.load(tmp_path / "copied")
    sound = study_of(tmp_path / "sound", split=True).probe()
    assert sound.scores_as_published is None
    assert not (sound.save(tmp_path / "one") / "scores_as_published.parquet").exists()
    assert Run.load(tmp_path / "one").scores_as_published is None


def test_two_patients_on_both_sides_of_an_official_split_leave_training(tmp_path: Path, study_of) -> None:
    study = study_of(tmp_path, split=True)
    table = study.manifest.table.copy()
    trained = np.flatnonzero(table["split"] == "train")[:4]  # two patients of two exams
    tested = np.flatnonzero(table["split"] == "test")[[0, 2]]
    table.loc[trained, "group_id"] = np.repeat(table["group_id"].to_numpy()[tested], 2)
    manifest = Manifest(table, study.manifest.card)
    with pytest.raises(ProbeError, match=r"2 of 58 groups are in several parts"):
        study.probe(manifest=manifest, keep_leaks=True)
    run = study.probe(manifest=manifest)
    assert run.info["leaks"]["units_left_out"] == {"patient": 4, "pixels": 0, "near": 0}
    seen = run.predictions[run.predictions["split"] == "val"]["unit"]
    assert not set(manifest.units().unit_id[seen]) & set(table["unit_id"].iloc[trained])
    assert len(run.scores_as_published)


def test_a_fixed_split_is_whole_under_every_seed_and_patients_on_both_sides_stay_if_leaks_are_kept(
    tmp_path: Path, study_of
) -> None:
    study = study_of(tmp_path, split=True)
    table = study.manifest.table.copy()
    trained, tested = (np.flatnonzero(table["split"] == part) for part in ("train", "test"))
    table.loc[trained[:2], "group_id"] = table["group_id"].to_numpy()[tested[0]]
    table.loc[trained[-6:], "split"] = "val"
    sizes = {f"n_{part}": int((table["split"] == part).sum()) for part in ("train", "val", "test")}
    options = {"seeds": 2, "protocol": "fixed", "progress": False, "probes": ["centroid"]}
    manifest = Manifest(table, study.manifest.card)
    kept = run_probes(manifest, study.caches, keep_leaks=True, **options)
    assert kept.scores[list(sizes)].drop_duplicates().to_dict("records") == [sizes]
    assert "group-across-splits" in kept.info["warning_codes"]
    assert "no group is in two parts" not in methods.protocol(report_data(kept))[0]
    clean = run_probes(manifest, study.caches, **options)
    assert set(clean.scores["n_train"]) == {sizes["n_train"] - 2}
    without_val = Manifest(table.replace({"split": {"val": "train"}}), study.manifest.card)
    with pytest.raises(ProbeError, match="fixed needs the manifest's own split, and no unit is in val"):
        run_probes(without_val, study.caches, **options)


def test_copies_of_an_external_test_leave_training_and_equal_group_ids_do_not(
    tmp_path: Path, study_of, cache_of
) -> None:
    ours, theirs = (
        study_of(tmp_path / name, name=name, units=60, signal=(0.8,), seed=s) for s, name in enumerate("ab")
    )
    pixels = {name: np.arange(60) + 1000 * s for s, name in enumerate("ab")}
    pixels["a"][:2] = pixels["b"][[0, 2]]  # two exams of one patient, of two patients there

    def cache(study, name: str):
        vectors = {"cls": study.caches[0].load("cls")}
        return cache_of(tmp_path / f"{name}2", name, study.manifest.sample_ids, vectors, pixels=pixels[name])

    given = {"caches": [cache(ours, "a")], "external": (theirs.manifest, [cache(theirs, "b")])}
    assert "pixels-across-splits" in ours.probe(**given, keep_leaks=True).info["warning_codes"]
    run = ours.probe(**given)
    assert run.info["leaks"]["units_left_out"] == {"patient": 0, "pixels": 2, "near": 0}
    assert "group-in-both-manifests" in run.info["warning_codes"]
    test = run.predictions[run.predictions["split"] == "test"]
    assert test["group"].nunique() == 29  # two of the 30 patients there share the image with one here, and so are one


@pytest.mark.parametrize("protocol", ["holdout", "kfold"])
def test_a_run_draws_copies_as_one_group_and_says_so(tmp_path: Path, cache_of, protocol: str) -> None:
    run = _probe(*_copied_study(tmp_path, cache_of, drop="split"), protocol=protocol)
    assert run.info["leaks"]["groups_tied"] == 80
    assert run.info["leaks"]["units_left_out"] == {"patient": 0, "pixels": 0, "near": 0}
    assert "copies-tied" in run.info["warning_codes"]
    assert run.scores_as_published is None
    # The bootstrap counts the copies once: 120 to 159 are those of 0 to 39.
    unit, group = run.predictions["unit"], run.predictions["group"]
    assert (group == np.where((unit >= 120) & (unit < 160), unit - 120, unit)).all()


# --- what is shown


def test_a_page_shows_both_scores_and_the_command_that_repeats_the_run(
    copied_run: Run, tmp_path: Path, cache_of
) -> None:
    folder = copied_run.save(tmp_path / "run")
    words = make_report(folder).save(folder).read_text(encoding="utf-8")
    table = pd.read_csv(folder / "tables" / "leaks.csv")
    published = _accuracy(copied_run.scores_as_published)
    assert table["published"].tolist() == pytest.approx([published["logreg"], published["knn"]])
    assert (table["published"] - table["mean"]).tolist() == pytest.approx(table["leak"].tolist())
    for value in published.values():
        assert f"{value:.3f}" in words
    assert "40 training units left out (40 by pixels of their own or of their group)" in words
    for options, flag in ({"keep_leaks": True}, "--keep-leaks"), ({"drop_near": True}, "--drop-near"):
        run = _probe(*_copied_study(tmp_path / flag, cache_of), **options, probes=["centroid"])
        assert flag in commands(report_data(run))[0]


def test_an_official_val_that_is_a_copy_of_the_test_is_drawn_anew(tmp_path: Path, cache_of) -> None:
    manifest, [cache] = _copied_study(tmp_path, cache_of, copies=0)
    table, pixels = manifest.table.copy(), np.arange(180)
    table.loc[:59, "split"], pixels[:60] = "val", np.arange(120, 180)
    vectors = {"cls": cache.load("cls")}
    cache = cache_of(tmp_path / "val", "copied", manifest.sample_ids, vectors, pixels=pixels)
    run = _probe(Manifest(table, manifest.card), [cache], probes=["centroid"])
    assert run.info["leaks"]["units_left"] == {"train": 60, "val": 0, "test": 60}
    assert (run.scores["n_val"] > 0).all()
    assert "Of these, 20 % choose hyper-parameters" in methods.protocol(report_data(run))[0].replace("\u00a0", " ")


def test_the_options_of_the_command_line_go_to_the_run(official, tmp_path: Path, medprobe) -> None:
    words = ("probe", official.table, "--probe", "centroid", "--seeds", 1, "--out", tmp_path / "run")
    assert "choose one of the two" in medprobe(*words, "--keep-leaks", "--drop-near").notes
    assert medprobe(*words, "--keep-leaks").status == 0
    assert Run.load(tmp_path / "run").info["leaks"] == {"kept": True}
    assert medprobe(*words, "--drop-near", "--overwrite").status == 0
    assert Run.load(tmp_path / "run").info["leaks"]["near"] is True


# --- near-duplicates


def test_near_duplicates_leave_training_where_that_is_requested(tmp_path: Path, cache_of) -> None:
    manifest, [cache] = _copied_study(tmp_path, cache_of, copies=0)
    X = cache.load("cls")
    X[:10] = X[120:130] + 0.01 * np.random.default_rng(1).standard_normal((10, 16))
    near = cache_of(tmp_path / "near", "copied", manifest.sample_ids, {"cls": X})
    assert _probe(manifest, [near]).info["leaks"]["units_left_out"]["near"] == 0
    run = _probe(manifest, [near], drop_near=True)
    centred = X - X.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    tie = _closed_pairs(centred @ centred.T >= 0.95)
    gone = _later(manifest.units().split, tie).sum()
    assert run.info["leaks"]["units_left_out"] == {"patient": 0, "pixels": 0, "near": gone}
    assert gone >= 10
    with pytest.raises(ProbeError, match="choose one of the two"):
        _probe(manifest, [near], drop_near=True, keep_leaks=True)


def _closed_pairs(near: np.ndarray) -> np.ndarray:
    reached = near.copy()
    while not np.array_equal(reached, wider := reached @ reached):
        reached = wider
    return reached.argmax(axis=1)


# --- bad input


def _all_copies(folder: Path, cache_of, *, split: bool) -> tuple[Manifest, list]:
    """40 ids of one image."""
    table = pd.DataFrame({"sample_id": [f"s{i:02d}" for i in range(40)], "path": "x", "label": ["a", "b"] * 20})
    if split:
        table["split"] = ["train"] * 30 + ["test"] * 10
    manifest = Manifest(table, DatasetCard(name="copies", task="binary", classes=["a", "b"]))
    X = np.random.default_rng(0).standard_normal((40, 4))
    return manifest, [cache_of(folder, "copies", manifest.sample_ids, {"cls": X}, pixels=np.zeros(40, int))]


def test_a_manifest_of_copies_alone_is_refused_with_what_to_do(tmp_path: Path, cache_of) -> None:
    with pytest.raises(ProbeError, match=r"too few groups .* 40 groups .* count as 1\. .*--keep-leaks"):
        _probe(*_all_copies(tmp_path, cache_of, split=False))
    with pytest.raises(ProbeError, match=r"nothing is left to train on.* all 30 training units .*--keep-leaks"):
        _probe(*_all_copies(tmp_path / "split", cache_of, split=True))


def test_a_class_whose_training_images_are_all_in_the_test_is_named_with_the_reason(tmp_path: Path, cache_of) -> None:
    manifest, [cache] = _copied_study(tmp_path, cache_of, copies=0)
    table, pixels = manifest.table, np.arange(180)
    gone = np.flatnonzero((table["label"] == "b") & (table["split"] == "train"))
    pixels[gone] = 120 + np.arange(len(gone))
    copied = cache_of(tmp_path / "b", "copied", manifest.sample_ids, {"cls": cache.load("cls")}, pixels=pixels)
    with pytest.raises(ProbeError, match=rf'too few groups .* "b" \(0\).* Note: {len(gone)} training units left out'):
        _probe(manifest, [copied])


def test_more_shots_than_are_left_without_the_leaks_are_refused_with_the_reason(tmp_path: Path, cache_of) -> None:
    manifest, caches = _copied_study(tmp_path, cache_of, copies=55)
    left = Manifest(manifest.table.iloc[55:120], manifest.card).table["label"].value_counts().min()
    run = _probe(manifest, caches, probes=["knn:k=[1]"], shots=[2])
    assert set(run.scores["budget"]) == set(run.scores_as_published["budget"]) == {"2 shots"}
    assert set(run.scores_as_published["n_train"]) == {6}
    with pytest.raises(ProbeError, match=r"fewer units of .* Note: 55 training units left out"):
        _probe(manifest, caches, shots=[int(left)])  # which nine tenths of them less val do not have


# --- the 900 scans


@pytest.mark.realdata
def test_the_ten_leaks_of_the_brain_scans_leave_training(tmp_path: Path, realdata: Path, medprobe, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    medprobe("manifest", "build", "folder", realdata / "brain-mri", "--out", "brain.parquet")
    medprobe("extract", "brain.parquet", "-b", "timm:test_vit@random", "--image-size", 32, "--workers", 0)
    ended = medprobe("probe", "brain.parquet", "--probe", "knn:k=[1]", "--seeds", 2, "--jobs", 1, "--out", "run")
    run = Run.load(tmp_path / "run")
    assert run.info["leaks"]["units_left_out"] == {"patient": 0, "pixels": 10, "near": 0}
    assert run.info["leaks"]["units_left"] == {"train": 590, "val": 0, "test": 300}
    assert set(run.scores["n_test"]) == {300}
    assert set(run.scores["n_train"] + run.scores["n_val"]) == {530}
    assert set(run.scores_as_published["n_train"] + run.scores_as_published["n_val"]) == {540}
    # k = 1 finds the copies: the score falls by as many of the 300 as were right by them alone.
    assert _accuracy(run.scores)["knn"] < _accuracy(run.scores_as_published)["knn"]
    assert "The verdict rests on clean units, without the 10 training units" in " ".join(ended.out.split())
    assert "As published" in ended.out
