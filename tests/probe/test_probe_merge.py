"""Runs that were made in parts, put together, are the run of all; what does not fit together is refused."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Medprobe, assert_refused
from hypothesis import example, given
from hypothesis import strategies as st
from medprobe.base.errors import MergeError
from medprobe.evaluate import Run, merge_runs
from medprobe.evaluate.resampling.resample import parse_seeds
from medprobe.evaluate.results.commands import commands, seeds_option
from medprobe.evaluate.results.schemas import SystemKey
from medprobe.manifests import Manifest


def _bytes(run: Run, folder: Path) -> dict[str, bytes]:
    """Every file of the run but its timings."""
    run.save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "timings.parquet"}


def _parts(study: Any, probes: Sequence[str], blocks: Sequence[range], **options: Any) -> list[Run]:
    """Two runs for each block of seeds, divided by probe and by backbone in turn."""
    by_probe = [{"probes": [probe]} for probe in probes]
    by_backbone = [{"probes": probes, "caches": [cache]} for cache in study.caches]
    return [
        study.probe(seeds=seeds, **part, **options)
        for seeds, parts in zip(blocks, cycle([by_probe, by_backbone]), strict=False)
        for part in parts
    ]


def _assert_merges(whole: Run, parts: Sequence[Run], home: Path) -> None:
    """In some order, and where those of the first seeds were merged before."""
    shuffled = [parts[place] for place in np.random.default_rng(0).permutation(len(parts))]
    merged = [merge_runs(shuffled), merge_runs([*parts[:1:-1], merge_runs(parts[:2])])]
    expected = _bytes(whole, home / "whole")
    for place, run in enumerate(merged):
        assert _bytes(run, home / f"merged-{place}") == expected


def test_blocks_of_seeds_merged_in_any_order_are_the_bytes_of_one_run(study: Any, tmp_path: Path) -> None:
    blocks = [range(2), range(2, 3), range(3, 4), range(4, 6)]
    whole = study.probe(probes=["knn", "centroid"], seeds=range(6))
    _assert_merges(whole, _parts(study, ["knn", "centroid"], blocks), tmp_path)


@pytest.mark.parametrize("protocol", ["official", "kfold"])
def test_so_are_those_of_logistic_regression(official: Any, tmp_path: Path, protocol: str) -> None:
    options = {"protocol": protocol, "folds": 3 if protocol == "kfold" else None}
    whole = official.probe(probes=["logreg", "knn"], seeds=range(2), **options)
    _assert_merges(whole, _parts(official, ["logreg", "knn"], [range(1), range(1, 2)], **options), tmp_path)


@pytest.mark.parametrize(
    ("study_options", "options"),
    [
        ({"task": "multilabel", "images": 2}, {"protocol": "kfold", "folds": 3, "aggregation": "predictions"}),
        ({"split": True, "copies": True}, {"keep_leaks": False}),
        ({"split": True, "copies": True}, {"keep_leaks": True}),
        ({}, {"shots": [2], "train_fraction": [1.0]}),
    ],
    ids=["folds", "leaks", "leaks kept", "curve"],
)
def test_every_kind_of_run_can_be_made_in_parts(
    tmp_path: Path, study_of: Callable, cache_of: Callable, study_options: dict, options: dict
) -> None:
    copies = study_options.pop("copies", False)
    study = study_of(tmp_path / "study", **study_options)
    if copies:  # one image of train is in the test, too
        ids, pixels = study.manifest.sample_ids, list(range(120))
        pixels[2] = pixels[0]
        vectors = np.random.default_rng(1).standard_normal((2, len(ids), 4))
        caches = [
            cache_of(tmp_path / "own", "cohort", ids, {"cls": X}, backbone=f"net-{place}", pixels=pixels)
            for place, X in enumerate(vectors)
        ]
        study = replace(study, caches=caches)
    whole = study.probe(probes=["knn", "centroid"], seeds=range(2), **options)
    assert (whole.scores_as_published is not None) == (copies and not options["keep_leaks"])
    _assert_merges(whole, _parts(study, ["knn", "centroid"], [range(1), range(1, 2)], **options), tmp_path)


def test_a_curve_is_put_together_from_its_budgets(study: Any, tmp_path: Path) -> None:
    whole = study.probe(shots=[2, 5], train_fraction=[0.5])
    parts = [study.probe(shots=[5]), study.probe(train_fraction=[0.5]), study.probe(shots=[2])]
    assert _bytes(merge_runs(parts), tmp_path / "merged") == _bytes(whole, tmp_path / "whole")


def test_backbones_of_one_name_get_their_fingerprints_when_they_meet(
    study: Any, tmp_path: Path, cache_of: Callable
) -> None:
    ids, rng = study.manifest.sample_ids, np.random.default_rng(1)
    vectors = rng.standard_normal((len(ids), 4))
    vectors[:, 0] = 7  # of which a warning is given, by the name of the backbone
    half = np.arange(60)  # of which the network was trained on, another such warning
    caches = [
        cache_of(
            tmp_path / precision, "cohort", ids, {"cls": vectors}, backbone="net", precision=precision, trained_on=half
        )
        for precision in ("fp32", "bf16")
    ]
    whole = study.probe(caches=caches)
    fingerprints = sorted(cache.spec.fingerprint for cache in caches)
    tuned, constant = whole.warnings[:2], whole.warnings[2:]
    assert constant == [f"net@{name}, cls: constant features: 1 of 4" for name in fingerprints]
    for text, name in zip(tuned, fingerprints, strict=True):
        assert text.startswith(f"net@{name}, fine-tuned on 60 of the 120 units")
    parts = [study.probe(caches=[cache], seeds=[seed]) for cache in caches for seed in range(2)]
    assert parts[0].scores["backbone"].unique().tolist() == ["net"]
    expected = _bytes(whole, tmp_path / "whole")
    for place, order in enumerate((parts, parts[::-1])):
        assert _bytes(merge_runs(order), tmp_path / f"merged-{place}") == expected


def test_some_seeds_of_runs_are_the_bytes_of_a_run_of_these(study: Any, tmp_path: Path) -> None:
    parts = [study.probe(seeds=range(4)), study.probe(seeds=range(4, 6)), study.probe(seeds=[6])]
    expected = _bytes(study.probe(seeds=[2, 3, 4]), tmp_path / "whole")
    assert _bytes(merge_runs(parts, seeds=[2, 3, 4]), tmp_path / "merged") == expected
    with pytest.raises(MergeError, match="no run has 2 seeds of those that are wanted: 7, 8"):
        merge_runs(parts, seeds=[6, 7, 8])


def test_what_several_runs_have_is_there_once_with_the_smaller_timings(study: Any, tmp_path: Path) -> None:
    parts = [study.probe(seeds=range(3)), study.probe(seeds=range(1, 4))]
    parts[1] = replace(parts[1], timings=parts[1].timings.assign(fit_s=0.0, predict_s=100.0))
    merged = [merge_runs(order) for order in (parts, parts[::-1])]
    assert _bytes(merged[0], tmp_path / "merged") == _bytes(study.probe(seeds=range(4)), tmp_path / "whole")
    for run in merged:
        assert run.timings.query("seed > 0")["fit_s"].eq(0).all()
        assert run.timings.query("seed < 3")["predict_s"].lt(100).all()
        assert len(run.timings) == 2 * 4


@given(st.sets(st.integers(0, 60), min_size=1))
@example({7})
@example({0, 1})
@example({5, 6, 7})
def test_seeds_are_written_as_the_commands_read_them(seeds: set[int]) -> None:
    assert sorted(parse_seeds(seeds_option(list(seeds)))) == sorted(seeds)


# --- what is refused


def _stating(run: Run, **facts: Any) -> Run:
    return replace(run, info={**run.info, **facts})


@pytest.mark.parametrize(
    ("fact", "value", "named"),
    [
        ("dataset", {"digest": "other"}, "dataset.digest"),
        ("dataset", {"samples_left_out": 3}, "dataset.samples_left_out"),
        ("external", {"name": "abroad"}, "external"),
        ("protocol", "kfold", "protocol"),
        ("protocol_settings", {"test": 0.5}, "protocol_settings.test"),
        ("metric", "accuracy", "metric"),
        ("leaks", {"kept": True}, "leaks.kept"),
        ("versions", {"medprobe": "0.0.1"}, "versions.medprobe"),
        ("probes", {"knn": {"refit": False}}, "probes.knn.refit"),
    ],
)
def test_runs_that_differ_in_a_fact_are_refused_by_their_names(study: Any, fact: str, value: Any, named: str) -> None:
    one, other = study.probe(seeds=[0]), study.probe(seeds=[1])
    stated = other.info[fact]
    if fact == "probes":
        value = {"knn": {**stated["knn"], **value["knn"]}}
    changed = {**stated, **value} if isinstance(stated, dict) else value
    with pytest.raises(MergeError, match=f"runs/a and runs/b cannot be merged: {re.escape(named)} of run"):
        merge_runs([one, _stating(other, **{fact: changed})], ["runs/a", "runs/b"])


def test_a_cache_that_was_made_again_is_refused(study: Any) -> None:
    one, other = study.probe(seeds=[0]), study.probe(seeds=[1])
    stated = other.info["caches"][0]
    cache = {**stated, "versions": {**stated["versions"], "torch": "9"}}
    with pytest.raises(MergeError, match=r"caches\.\w{12}\.versions\.torch of run"):
        merge_runs([one, _stating(other, caches=[cache, *other.info["caches"][1:]])])


def test_other_units_under_one_seed_are_refused(study: Any) -> None:
    one, other = (study.probe(caches=[cache]) for cache in study.caches)
    predictions, scores = other.predictions, other.scores
    for changed in (
        replace(other, predictions=predictions.assign(unit=predictions["unit"] + (predictions["seed"] == 1))),
        replace(other, scores=scores.assign(n_train=scores["n_train"] - (scores["seed"] == 1))),
    ):
        with pytest.raises(MergeError, match=r"runs/a and runs/b .*: seed 1, budget all, has other units in the sec"):
            merge_runs([one, changed], ["runs/a", "runs/b"])


def test_caches_that_lack_other_images_are_refused_even_where_the_units_are_the_same(
    study_of: Callable, cache_of: Callable, tmp_path: Path
) -> None:
    pairs = study_of(tmp_path, images=2, signal=())
    ids = pairs.manifest.sample_ids
    vectors = np.random.default_rng(0).standard_normal((len(ids), 4))
    runs = [
        pairs.probe(caches=[cache_of(tmp_path, "cohort", ids, {"cls": vectors}, backbone=name, quarantine=[lacked])])
        for name, lacked in (("net-0", ids[0]), ("net-1", ids[2]))
    ]
    with pytest.raises(MergeError, match=r"drawn_from of run\.json"):
        merge_runs(runs)


def test_other_attributes_of_the_units_are_refused(study: Any, tmp_path: Path) -> None:
    table = study.manifest.table.assign(site=["a", "b"] * 60)
    card = study.manifest.card.model_copy(update={"attributes": ["site"]})
    one, other = study.probe(seeds=[0]), study.probe(seeds=[1], manifest=Manifest(table, card))
    with pytest.raises(MergeError, match=r"run 1 and run 2 .*units\.parquet"):
        merge_runs([one, other])


def test_two_results_of_one_fit_are_refused_with_the_fit_and_the_runs(study: Any) -> None:
    runs = [study.probe(seeds=range(2)), study.probe(seeds=range(1, 3))]
    scores = runs[1].scores
    hit = (scores["seed"] == 1) & (scores["backbone"] == "net-1")
    changed = replace(runs[1], scores=scores.assign(value=scores["value"].mask(hit, 0.25)))
    expected = r"runs/a and runs/b cannot be merged: both have knn on net-1/cls, budget all, seed 1, but with different"
    with pytest.raises(MergeError, match=f"{expected} scores"):
        merge_runs([runs[0], changed], ["runs/a", "runs/b"])
    predictions = runs[1].predictions.copy()
    proba = np.stack(predictions["proba"].to_numpy()).astype(np.float32)
    hit = ((predictions["seed"] == 1) & (predictions["backbone"] == "net-1")).to_numpy()
    proba[hit] = np.nextafter(proba[hit], np.float32(1))
    predictions["proba"] = type(predictions["proba"])(list(proba)).astype(predictions["proba"].dtype)
    with pytest.raises(MergeError, match=f"{expected} predictions"):
        merge_runs([runs[0], replace(runs[1], predictions=predictions)], ["runs/a", "runs/b"])


def test_a_system_that_lacks_a_seed_is_refused_with_the_command_that_makes_it(
    study: Any, tmp_path: Path, medprobe: Medprobe
) -> None:
    runs = [study.probe(seeds=range(4), probes=["knn", "centroid"]), study.probe(seeds=range(4, 7))]
    with pytest.raises(MergeError, match="centroid on net-0/cls, budget all, lacks seed 4, which another") as caught:
        merge_runs(runs)
    command = str(caught.value).splitlines()[-1]
    assert "--probe centroid" in command
    assert "--seeds 4:7" in command
    missing = study.probe(seeds=range(4, 7), probes=["centroid"])
    whole = study.probe(seeds=range(7), probes=["knn", "centroid"])
    assert _bytes(merge_runs([*runs, missing]), tmp_path / "merged") == _bytes(whole, tmp_path / "whole")


def test_scores_as_published_are_those_of_all_seeds_of_a_system_or_of_none(study: Any) -> None:
    def as_published(run: Run) -> Run:
        test = run.scores[run.scores["split"] == "test"].reset_index(drop=True)
        return replace(run, scores_as_published=test)

    one, other = study.probe(seeds=[0]), study.probe(seeds=[1])
    with pytest.raises(MergeError, match="b and a cannot be merged: the first has scores as published of knn on net-0"):
        merge_runs([one, as_published(other)], ["a", "b"])
    # A network that was trained once, beside probes that were fitted twice.
    centroid = study.probe(probes=["centroid"], seeds=[0])
    merged = merge_runs([as_published(one), centroid])
    assert merged.scores_as_published is not None
    assert merged.scores_as_published["probe"].unique().tolist() == ["knn"]


def test_no_runs_are_no_run() -> None:
    with pytest.raises(MergeError, match="no runs to merge"):
        merge_runs([])


# --- the commands


@pytest.fixture
def halves(study: Any, tmp_path: Path) -> list[Path]:
    runs = [study.probe(seeds=range(2)), study.probe(seeds=range(2, 4))]
    return [run.save(tmp_path / f"half-{place}") for place, run in enumerate(runs)]


def test_merge_writes_one_run_and_says_what_comes_next(
    study: Any, halves: list[Path], tmp_path: Path, medprobe: Medprobe
) -> None:
    out = tmp_path / "runs" / "all of it"
    status, printed, message = medprobe("merge", *reversed(halves), "--out", out)
    assert status == 0, message
    assert "cohort: 2 systems over 4 seeds, from 2 runs" in printed
    assert shlex.join(["medprobe", "report", str(out)]) in " ".join(printed.split())
    expected = _bytes(study.probe(seeds=range(4)), tmp_path / "whole")
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.name in expected} == expected


def test_merge_refuses_in_one_line_and_writes_nothing(
    study: Any, halves: list[Path], tmp_path: Path, medprobe: Medprobe
) -> None:
    other = _stating(study.probe(seeds=[7]), metric="accuracy").save(tmp_path / "other")
    refused = medprobe("merge", *halves, other, "--out", tmp_path / "out")
    assert_refused(*refused, tmp_path / "out", f"{halves[0]} and {other} cannot be merged: metric")
    status, _, message = medprobe("merge", *halves, "--out", halves[0])
    assert (status, "a run is there already" in message) == (1, True)


def test_stats_puts_runs_of_one_data_set_together_and_ranks_over_several(
    halves: list[Path], tmp_path: Path, study_of: Callable, study: Any, medprobe: Medprobe
) -> None:
    whole = study.probe(seeds=range(4)).save(tmp_path / "whole")
    assert medprobe("stats", *halves) == medprobe("stats", whole)
    elsewhere = study_of(tmp_path / "moles", name="moles").probe(seeds=range(4)).save(tmp_path / "moles-run")
    ranked = medprobe("stats", halves[1], elsewhere, halves[0])
    assert ranked == medprobe("stats", whole, elsewhere)
    assert "Ranks of backbones over 2 data sets" in ranked[1]


def test_report_puts_runs_together_in_a_folder_of_its_own(
    halves: list[Path], tmp_path: Path, medprobe: Medprobe
) -> None:
    status, printed, message = medprobe("report", *halves, "--out", tmp_path / "out")
    assert status == 0, message
    page = tmp_path / "out" / "report.html"
    assert str(page) in printed
    assert "4 seeds" in page.read_text()
    assert_refused(*medprobe("report", *halves), tmp_path / "nothing", "--out")
    assert_refused(*medprobe("report", *halves, "--out", halves[0]), tmp_path / "nothing", "is a run")


def test_the_commands_of_a_run_of_several_kinds_make_its_parts_and_merge_them(study: Any) -> None:
    """Probes of one kind on the same features are one command."""
    runs = [
        study.probe(probes=["knn", "centroid"]),
        study.probe(probes=["knn:k=3"], aggregation="predictions", refit=False),
        study.probe(probes=["centroid:temperature=1"], caches=study.caches[:1]),
    ]
    merged = merge_runs(runs)
    made = commands(merged.info, SystemKey.of_rows(merged.timings), seeds=[0, 1], out="runs/again")
    assert len(made) == 4
    words = [shlex.split(command) for command in made]
    backbones = [f"{cache.spec.backbone}@{cache.spec.fingerprint}" for cache in study.caches]
    assert [[w for w, o in zip(one[1:], one, strict=False) if o == "--probe"] for one in words[:3]] == [
        ["centroid", "knn"],
        ["centroid:temperature=1"],
        ["knn:k=3"],
    ]
    assert [sum(backbone in one for backbone in backbones) for one in words] == [2, 1, 2, 0]
    assert "--refit" in words[0]
    assert words[2][words[2].index("--aggregation") + 1 :][:2] == ["predictions", "--no-refit"]
    assert words[3] == ["medprobe", "merge", "runs/again-1", "runs/again-2", "runs/again-3", "--out", "runs/again"]
