"""`medprobe probe`: one clear line for whatever is wrong, as a user meets it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import Medprobe, assert_refused
from medprobe.evaluate import Run
from medprobe.manifests import Manifest


def _caches(table: Path) -> list[Path]:
    return sorted((table.parent / "embeddings").rglob("*.h5"))


def test_no_seeds_are_one_line_and_status_1(copied: Path, tmp_path: Path, medprobe: Medprobe) -> None:
    out = tmp_path / "run"
    assert_refused(*medprobe("probe", copied, "--seeds", 0, "--out", out), out, "at least one seed")


def test_a_truncated_cache_is_one_line_and_status_1(copied: Path, tmp_path: Path, medprobe: Medprobe) -> None:
    victim = _caches(copied)[1]
    whole = victim.read_bytes()
    out = tmp_path / "run"
    words = ("probe", copied, "--seeds", 2, "--probe", "knn", "--jobs", 1, "--out", out)
    for size in (0, 100, len(whole) // 2, len(whole) - 50):
        victim.write_bytes(whole[:size])
        assert_refused(*medprobe(*words), out, victim.name)


def test_a_class_with_too_few_patients_is_one_line_that_names_it(
    copied: Path, tmp_path: Path, medprobe: Medprobe
) -> None:
    manifest = Manifest.load(copied)
    table = manifest.table.copy()
    table.loc[table["label"] == "c", "label"] = "b"
    table.loc[:1, "label"] = "c"
    Manifest(table, manifest.card, copied).save(copied)
    out = tmp_path / "run"
    assert_refused(*medprobe("probe", copied, "--seeds", 2, "--out", out), out, '"c" (1)', "Merge the class")


def test_a_cache_under_another_manifest_is_one_line(copied: Path, tmp_path: Path, medprobe: Medprobe) -> None:
    manifest = Manifest.load(copied)
    other = manifest.table.assign(sample_id=[f"other-{i}" for i in range(len(manifest))])
    Manifest(other, manifest.card).save(copied.parent / "other.parquet")
    out = tmp_path / "run"
    refused = medprobe("probe", copied.parent / "other.parquet", "--seeds", 2, "--out", out)
    assert_refused(*refused, out, "120 of 120 samples are not in this cache", "medprobe extract")


def test_a_cache_moved_to_another_data_sets_folder_is_one_line(
    copied: Path, tmp_path: Path, medprobe: Medprobe
) -> None:
    """Its sample ids are the same ones, so that nothing else would tell."""
    manifest = Manifest.load(copied)
    renamed = manifest.card.model_copy(update={"name": "other"})
    Manifest(manifest.table, renamed).save(copied.parent / "other.parquet")
    shutil.copytree(copied.parent / "embeddings" / "cohort", copied.parent / "embeddings" / "other")
    out = tmp_path / "run"
    refused = medprobe("probe", copied.parent / "other.parquet", "--seeds", 2, "--out", out)
    assert_refused(*refused, out, 'the data set "cohort"')


@pytest.mark.parametrize("place", ["file/run", "/proc/runs/run", "/dev/null/run"])
def test_a_place_that_cannot_be_written_is_one_line_before_any_work(
    copied: Path, tmp_path: Path, medprobe: Medprobe, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    out = tmp_path / place
    monkeypatch.setattr("medprobe.probe.run_probes", lambda *_, **__: pytest.fail("work has begun"))
    assert_refused(*medprobe("probe", copied, "--seeds", 2, "--out", out), out, "cannot be written")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_run_that_is_there_is_kept_unless_asked(copied: Path, tmp_path: Path, medprobe: Medprobe) -> None:
    out = tmp_path / "run"
    words = ("probe", copied, "--seeds", 2, "--probe", "knn", "--jobs", 1, "--out", out)
    assert medprobe(*words)[0] == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    status, printed, message = medprobe(*words)
    assert (status, printed) == (1, "")
    assert "add --overwrite" in message
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert medprobe(*words, "--overwrite")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--probe", "knnn"), 'Did you mean "knn"'),
        (("--backbone", "net-7"), 'Did you mean "net-'),
        (("--pooling", "clss"), 'Did you mean "cls"'),
        (("--metric", "roc_acu"), 'Did you mean "roc_auc"'),
        (("--metric", "quadratic_kappa"), "not defined for a multiclass task"),
        (("--protocol", "official"), "or use the protocol holdout"),
        (("--seeds", "many"), "give a number of seeds"),
        (("--seeds", "1,1"), "given twice"),
        (("--seeds", "0:3,2:5"), "given twice: 2"),
        (("--seeds", "40:20"), "20:40 are the seeds 20 to 39"),
        (("--seeds", "-5"), "at least one seed"),
        (("--folds", "1"), "whole number from 2"),
        (("--folds", "61"), "61 folds, but there are 60 groups"),
        (("--folds", "3", "--protocol", "holdout"), "holdout has no folds"),
        (("--shots", "1000"), "1000 shots"),
        (("--shots", "few"), "give whole numbers such as"),
        (("--train-fraction", "1.5"), "above 0 and at most at 1"),
        (("--external", "nowhere.parquet"), "does not exist"),
        (("--protocol", "external"), "give it with --external"),
        (("--external-cache", "embeddings"), "--external."),
        (("--jobs", "0"), "0 jobs"),
        (("--cache", "/nowhere"), "medprobe extract"),
    ],
    ids=lambda word: " ".join(word) if isinstance(word, tuple) else "",
)
def test_a_word_that_means_nothing_is_one_line(
    copied: Path, tmp_path: Path, medprobe: Medprobe, words: tuple[str, str], message: str
) -> None:
    out = tmp_path / "run"
    assert_refused(*medprobe("probe", copied, "--out", out, *words), out, message)


def test_a_manifest_that_is_not_there_is_one_line(tmp_path: Path, medprobe: Medprobe) -> None:
    out = tmp_path / "run"
    assert_refused(*medprobe("probe", tmp_path / "nothing.parquet", "--out", out), out, "does not exist")


def test_embeddings_that_were_altered_are_one_line(copied: Path, tmp_path: Path, medprobe: Medprobe) -> None:
    import h5py

    with h5py.File(_caches(copied)[0], "r+") as file:
        file["embedding/cls"][5, 0] = np.nan
    out = tmp_path / "run"
    refused = medprobe("probe", copied, "--seeds", 2, "--out", out)
    assert_refused(*refused, out, "embedding/cls: the vectors from row 0 on are not those", "Move it away")


def test_no_scores_are_printed_that_are_not_saved(
    copied: Path, tmp_path: Path, medprobe: Medprobe, monkeypatch
) -> None:
    """A disk that fills up during the work: one line, no table."""
    import errno

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("medprobe.evaluate.results.schemas.write", full)
    out = tmp_path / "run"
    refused = medprobe("probe", copied, "--seeds", 2, "--probe", "knn", "--jobs", 1, "--out", out)
    assert_refused(*refused, out, "the disk is full")


def test_a_csv_manifest_does_as_well(copied: Path, tmp_path: Path, medprobe: Medprobe) -> None:
    manifest = Manifest.load(copied)
    manifest.save(copied.with_suffix(".csv"))
    outs = [tmp_path / "parquet", tmp_path / "csv"]
    for table, out in zip((copied, copied.with_suffix(".csv")), outs, strict=True):
        assert medprobe("probe", table, "--seeds", 2, "--probe", "knn", "--jobs", 1, "--out", out)[0] == 0
    one, two = (Run.load(out) for out in outs)
    pd.testing.assert_frame_equal(one.scores, two.scores)
    assert one.info == two.info
