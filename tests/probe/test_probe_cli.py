"""`medprobe probe`: the table that a user reads, and what its options do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Medprobe, assert_refused
from medprobe.evaluate import Run
from medprobe.manifests import Manifest
from medprobe.probe import PROBES


def test_the_help_has_an_example_and_says_what_every_option_is(medprobe: Medprobe) -> None:
    status, out, _ = medprobe("probe", "--help")
    assert status == 0
    text = " ".join(out.replace("│", " ").split())
    assert "Example: medprobe probe brain.parquet --probe logreg --probe knn --seeds 20 --out runs/brain" in text
    for option in (
        "--out",
        "--backbone",
        "--pooling",
        "--probe",
        "--protocol",
        "--seeds",
        "--folds",
        "--shots",
        "--train-fraction",
        "--external",
        "--metric",
        "--refit",
        "--jobs",
        "--C",
        "--stop-path",
        "--full-path",
        "--aggregation",
        "--cache",
        "--external-cache",
        "--overwrite",
    ):
        assert option in text


def test_the_settings_of_every_probe_are_listed_without_a_manifest(medprobe: Medprobe) -> None:
    status, shown, message = medprobe("probe", "--settings")
    assert status == 0, message
    assert max(map(len, shown.splitlines())) <= 80
    lines = [line.split() for line in shown.splitlines()]
    for kind in PROBES.values():
        for setting in kind.described:
            assert [setting.name, *setting.default.split()] in [
                line[: 1 + len(setting.default.split())] for line in lines
            ]
    assert "Distance between embeddings. (cosine, euclidean)" in " ".join(shown.split())


def test_the_settings_of_a_path_are_those_that_its_flags_or_its_probe_give(
    copied: Path, tmp_path: Path, medprobe: Medprobe
) -> None:
    def settings(*words: object) -> dict[str, tuple[Any, bool]]:
        out = tmp_path / "run"
        status, _, message = medprobe("probe", copied, "--seeds", 1, "--jobs", 1, "--overwrite", "--out", out, *words)
        assert status == 0, message
        probes = Run.load(out).info["probes"]
        return {
            name: (own["C"], own["stop_path"])
            for name, about in probes.items()
            if "stop_path" in (own := about["settings"])
        }

    logreg = ("--probe", "logreg:C=[0.1,1]")
    assert settings(*logreg) == {"logreg:C=0.1..1x2": ([0.1, 1], True)}
    assert settings(*logreg, "--full-path") == {"logreg:C=0.1..1x2,stop_path=False": ([0.1, 1], False)}
    assert settings(*logreg, "--C", "1,0.1") == {"logreg:C=0.1..1x2": ([0.1, 1], True)}
    assert settings("--probe", "logreg:stop_path=false", "--C", "logspace:-1:1:3") == {
        "logreg:C=0.1..10x3,stop_path=False": ([0.1, 1, 10], False)
    }
    two = settings("--probe", "logreg", "--probe", "logreg:stop_path=false", "--probe", "knn", "--C", "0.01,1")
    assert list(two.values()) == [([0.01, 1], True), ([0.01, 1], False)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("logreg --C 1,,2", 'C must be a number, not ""; e.g. C=[0.01,1,100], or --C 0.01,1,100'),
        ("logreg --C inf", "C must be finite"),
        ("logreg --C logspace:a:b:n", 'C cannot be "logspace:a:b:n"; write logspace:a:b:n for n values'),
        ("knn:temperature=inf", "knn: temperature must be finite"),
        ("knn --jobs -7", "-7 jobs: give a number of threads, or -1 for one on every core."),
        ("logreg:stop_path=false --stop-path", "stop_path is set twice, to False"),
        ("logreg:stop_path=true --full-path", "stop_path is set twice, to True"),
        ("logreg:C=[0.1,1] --C 5,7", "C is set twice, to (0.1, 1.0) for the probe itself"),
        ("logreg --probe logreg:stop_path=false --full-path", "become the same, logreg:stop_path=False"),
        ("knn --C 5", "C: set for logreg, which is not among the probes"),
        ("logreg --C logspace:1:2", "write logspace:a:b:n"),
        ("logreg --C 0,1", "C must be above 0"),
    ],
)
def test_flags_that_their_probes_cannot_follow_are_one_line(
    copied: Path, tmp_path: Path, medprobe: Medprobe, words: str, message: str
) -> None:
    out = tmp_path / "run"
    assert_refused(*medprobe("probe", copied, "--out", out, "--probe", *words.split()), out, message)


def test_a_run_prints_its_table_and_verdicts_and_saves_the_folder(
    copied: Path, tmp_path: Path, medprobe: Medprobe
) -> None:
    out = tmp_path / "runs" / "one"
    words = ("probe", copied, "--seeds", 3, "--probe", "logreg", "--probe", "knn", "--jobs", 1, "--out", out)
    status, printed, message = medprobe(*words)
    assert status == 0, message
    lines = printed.splitlines()
    assert "cohort: Balanced accuracy on test, 3 seeds, protocol holdout" in lines
    rows = [line.split() for line in lines if "net-" in line and " to " in line and "best" not in line]
    assert [row[:2] for row in rows] == [["knn", "net-0"], ["knn", "net-1"], ["logreg", "net-0"], ["logreg", "net-1"]]
    assert any("net-0 with " in line for line in lines)
    assert f"Saved: {out}" in message
    assert f"Next:  medprobe report {out}" in lines
    run = Run.load(out)
    assert set(run.scores["probe"]) == {"logreg", "knn"}
    shown = {(row[0], row[1]): row[2] for row in rows}
    test = run.scores.query("split == 'test' and metric == 'balanced_accuracy'")
    for (probe, backbone), mean in test.groupby(["probe", "backbone"])["value"].mean().items():
        assert shown[probe, backbone] == f"{mean:.3f}"


def test_the_table_fits_eighty_columns_whatever_backbones_are_called(
    tmp_path: Path, study_of, cache_of, medprobe
) -> None:
    study = study_of(tmp_path)
    X = np.random.default_rng(0).standard_normal((len(study.manifest), 4))
    long = "hf:some-very-long-organisation/vit-giant-patch14-reg4-dinov2.lvd142m-finetuned-on-radiographs-448"
    for name in (long, long + "-v2"):
        store = tmp_path / "embeddings"
        cache_of(store, "cohort", study.manifest.sample_ids, {"cls": X, "patch-mean": X}, backbone=name)
    status, printed, message = medprobe(
        "probe", study.table, "--seeds", 2, "--probe", "knn", "--jobs", 1, "--out", tmp_path / "run"
    )
    assert status == 0, message
    head = next(i for i, line in enumerate(printed.splitlines()) if "95 % interval" in line)
    table = printed.splitlines()[head:]
    table = table[: next(i for i, line in enumerate(table) if not line.strip())]
    assert max(map(len, table)) <= 80
    start, stop = table[0].index("backbone"), table[0].index("pooling")
    folded = "".join(line[start:stop].strip() for line in table[2:])
    assert folded.count(long) == 4  # two poolings of two backbones, nothing cut off
    assert folded.count(long + "-v2") == 2
    assert all("0." in line or "1." in line for line in table[2:] if " to " in line)


def test_backbones_that_score_the_same_are_said_to_and_neither_leads(
    tmp_path: Path, study_of, medprobe: Medprobe
) -> None:
    study = study_of(tmp_path, signal=(9.0, 9.0))
    words = ("probe", study.table, "--seeds", 2, "--probe", "knn", "--jobs", 1, "--out", tmp_path / "run")
    _, printed, _ = medprobe(*words)
    assert "net-0 with k nearest neighbours and net-1 score the same" in printed


def test_what_a_reader_must_be_told_is_printed_once(tmp_path: Path, study_of, cache_of, medprobe: Medprobe) -> None:
    study = study_of(tmp_path, units=60)
    ids = study.manifest.sample_ids
    X = np.random.default_rng(0).standard_normal((60, 4))
    cache_of(tmp_path / "embeddings", "cohort", ids, {"cls": X}, backbone="holed", quarantine=ids[:2])
    status, printed, _ = medprobe(
        "probe", study.table, "--seeds", 2, "--probe", "knn", "--jobs", 1, "--out", tmp_path / "run"
    )
    unfolded = printed.replace("\n  ", " ")  # a warning goes on in indented lines
    notes = [line for line in unfolded.splitlines() if line.startswith(("note: ", "warning: "))]
    assert status == 0
    assert any("2 of 60 samples" in line and "[samples-skipped]" in line for line in notes)
    assert sum("groups: the interval is rough" in note for note in notes) == 1
    assert len(notes) == len(set(notes))


@pytest.mark.parametrize("backbones", [1, 2])
def test_a_score_that_no_system_has_is_said_to_be_undefined(
    tmp_path: Path, study_of, medprobe: Medprobe, backbones: int
) -> None:
    study = study_of(tmp_path, task="binary", split=True, signal=(0.9, 0.4)[:backbones])
    table = study.manifest.table
    table.loc[table["split"] == "test", "label"] = "ill"
    Manifest(table, study.manifest.card).save(study.table)
    words = ("--seeds", 2, "--probe", "knn", "--jobs", 1)
    status, printed, message = medprobe("probe", study.table, *words, "--out", tmp_path / "run")
    assert status == 0, message
    assert "ROC-AUC is not defined for any backbone, so nothing is compared." in printed
    assert "at -" not in printed


@pytest.mark.parametrize(("backbones", "gaps"), [(1, 1), (2, 3)])
def test_a_table_is_parted_where_something_is_compared(
    tmp_path: Path, study_of, medprobe: Medprobe, backbones: int, gaps: int
) -> None:
    """Two probes under two budgets: of one backbone two curves, of two backbones four comparisons."""
    study = study_of(tmp_path, signal=(0.9, 0.4)[:backbones])
    probes = ("--probe", "knn", "--probe", "centroid", "--shots", "2,5")
    status, printed, message = medprobe(
        "probe", study.table, "--seeds", 2, "--jobs", 1, "--out", tmp_path / "run", *probes
    )
    assert status == 0, message
    rows = printed[printed.index("──") :].split("\n")[1 : 1 + 4 * backbones + gaps]
    assert [bool(row.strip()) for row in rows].count(False) == gaps
    assert sum("net-" in row for row in rows) == 4 * backbones


def test_options_choose_backbones_poolings_metric_and_protocol(tmp_path: Path, study_of, medprobe: Medprobe) -> None:
    study = study_of(tmp_path, split=True)
    options = ("--backbone", "net-1", "--metric", "roc_auc", "--protocol", "holdout", "--no-refit", "--pooling", "cls")
    out = tmp_path / "run"
    status, _, message = medprobe(
        "probe", study.table, "--seeds", "3,8", "--probe", "knn", "--jobs", 1, "--out", out, *options
    )
    assert status == 0, message
    info = Run.load(out).info
    assert (info["seeds"], info["metric"], info["protocol"]) == ([3, 8], "roc_auc", "holdout")
    assert {about["refit"] for about in info["probes"].values()} == {False}
    assert [cache["backbone"] for cache in info["caches"]] == ["net-1"]


def test_budgets_are_a_column_of_the_table(copied: Path, tmp_path: Path, medprobe: Medprobe) -> None:
    words = ("probe", copied, "--seeds", 2, "--probe", "knn", "--jobs", 1, "--out", tmp_path / "run")
    status, printed, message = medprobe(*words, "--folds", 3, "--shots", "2,8", "--train-fraction", 1)
    assert status == 0, message
    assert "cohort: Balanced accuracy on test, 2 seeds, protocol kfold of 3" in printed
    head = next(line for line in printed.splitlines() if "95 % interval" in line)
    assert head.split()[:3] == ["probe", "budget", "backbone"]
    for budget in ("2 shots", "8 shots", "100%"):
        assert any("knn" in line and budget in line for line in printed.splitlines())


def test_an_external_manifest_is_tested_on(copied: Path, tmp_path: Path, study_of, medprobe: Medprobe) -> None:
    other = study_of(tmp_path / "abroad", units=40, name="abroad", seed=3)
    words = ("probe", copied, "--seeds", 2, "--probe", "knn", "--jobs", 1)
    status, printed, message = medprobe(*words, "--external", other.table, "--out", tmp_path / "run")
    assert status == 0, message
    assert "protocol external on abroad" in printed
    assert set(Run.load(tmp_path / "run").scores["n_test"]) == {40}
    moved = (tmp_path / "abroad" / "embeddings").rename(tmp_path / "elsewhere")
    out = tmp_path / "again"
    refused = medprobe(*words, "--external", other.table, "--out", out)
    assert_refused(*refused, out, 'holds no embeddings of the data set "abroad"')
    assert medprobe(*words, "--external", other.table, "--external-cache", moved, "--out", out)[0] == 0
