"""A run's folder: whole or not at all, read back as it was, refused when it is not what it says, and without names."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from medprobe.base import OutputError, ReportError
from medprobe.base.files import temporary_path
from medprobe.evaluate import Run
from medprobe.evaluate.results.run import SCHEMA, check_output_dir

FILES = {"run.json", "scores.parquet", "predictions.parquet", "timings.parquet", "units.parquet"}


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _edit(folder: Path, **changes: object) -> None:
    path = folder / "run.json"
    info = json.loads(path.read_text())
    path.write_text(json.dumps(info | changes))


@pytest.mark.parametrize("task", ["binary", "ordinal", "multilabel"])
def test_a_run_comes_back_as_it_was_saved(task: str, tmp_path: Path, study_of) -> None:
    run = study_of(tmp_path, task=task).probe(probes=("logreg", "knn"))
    read = Run.load(run.save(tmp_path / "runs" / "deep" / "one"))
    assert _names(tmp_path / "runs" / "deep" / "one") == FILES
    assert read.info == run.info
    assert (read.task, read.classes, read.primary_metric) == (run.task, run.classes, run.primary_metric)
    for name in ("scores", "timings"):
        pd.testing.assert_frame_equal(getattr(read, name), getattr(run, name), check_dtype=False)
    for column in run.predictions.columns:
        a, b = run.predictions[column], read.predictions[column]
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True)), column


def test_the_tables_have_the_types_that_the_docs_say(run: Run, tmp_path: Path) -> None:
    folder = run.save(tmp_path / "run")
    docs = (Path(__file__).resolve().parents[2] / "docs" / "results.md").read_text()
    for name in ("scores", "predictions", "timings", "units"):
        section = docs.split(f"## {name}.parquet")[1].split("\n## ")[0]
        told = {}
        for line in section.splitlines():
            if line.startswith("| `"):
                columns, kind = (cell.strip() for cell in line.split("|")[1:3])
                told |= {column.strip("` "): kind for column in columns.split(",")}
        kinds = {field.name: str(field.type) for field in pq.read_schema(folder / f"{name}.parquet")}
        found = {column: kind.replace("list<element: ", "list of ").replace(">", "") for column, kind in kinds.items()}
        assert told.keys() == found.keys()
        assert all(kind in told[column] for column, kind in found.items()), (told, found)


def test_a_score_that_is_not_defined_is_null_and_says_why(tmp_path: Path, study_of, cache_of) -> None:
    study = study_of(tmp_path, task="multilabel", groups=False)
    table = study.manifest.table.copy()
    table["split"] = ["train"] * 90 + ["test"] * 30
    table.loc[90:, study.manifest.card.classes] = 0  # the test has no label at all
    manifest = type(study.manifest)(table, study.manifest.card)
    run = study.probe(manifest=manifest, protocol="official")
    read = Run.load(run.save(tmp_path / "run"))
    auc = read.scores.query("split == 'test' and metric == 'roc_auc'")
    assert auc["value"].isna().all()
    assert auc["reason"].str.startswith("not defined").all()


def test_what_is_planted_in_paths_and_ids_is_in_no_file_of_a_run(study, tmp_path: Path) -> None:
    """The study's exams, patients and folders are called SECRET."""
    study.probe(probes=("logreg", "knn", "gbm")).save(tmp_path / "run")
    columns = study.manifest.table
    assert columns["group_id"].str.contains("SECRET").all()
    for path in (tmp_path / "run").iterdir():
        raw = path.read_bytes()
        # Parquet pages are compressed, so the table is looked through as well.
        text = raw.decode("latin-1")
        if path.suffix == ".parquet":
            text += pq.read_table(path).to_pandas().to_csv() + str(pq.read_schema(path).metadata)
        for planted in ("SECRET", "img-0", str(study.folder), str(tmp_path), os.fspath(Path.home()) + "/"):
            assert planted not in text, (path.name, planted)


def test_a_run_with_numbers_as_keys_comes_back(run: Run, tmp_path: Path) -> None:
    """JSON turns them into text, which is sorted in another order, so a seal must be of what will be read."""
    replace(run, info={**run.info, "class_weight": {2: 1.0, 10: 3.0}}).save(tmp_path / "run")
    assert Run.load(tmp_path / "run").info["class_weight"] == {"2": 1.0, "10": 3.0}


def test_a_run_is_not_written_over_another_unless_that_is_asked_for(run: Run, tmp_path: Path) -> None:
    folder = run.save(tmp_path / "run")
    before = _contents(folder)
    with pytest.raises(OutputError, match=r"a run is there already.*--overwrite"):
        run.save(folder)
    assert _contents(folder) == before
    (folder / "report.html").write_text("old report")
    run.save(folder, overwrite=True)
    assert _names(folder) == FILES
    assert _names(tmp_path) == {"run"}


def test_an_empty_folder_is_filled(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    run.save(tmp_path / "run")
    assert _names(tmp_path / "run") == FILES


def test_the_working_folder_can_be_written_to_by_its_dot(run: Run, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run.save(Path())
    assert _names(tmp_path / "here") == FILES


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_something_else_in_it_is_left_alone(run: Run, tmp_path: Path, overwrite: bool) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        run.save(mine, overwrite=overwrite)
    assert _contents(mine) == {"thesis.tex": b"years of work"}
    folder = run.save(tmp_path / "run")
    (folder / "notes.txt").write_text("mine")
    before = _contents(folder)
    with pytest.raises(OutputError, match=r"notes\.txt"):
        run.save(folder, overwrite=overwrite)
    assert _contents(folder) == before
    assert _names(tmp_path) == {"mine", "run"}


def test_a_file_or_a_link_in_the_place_of_the_folder_is_left_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("file", "link"):
        with pytest.raises(OutputError, match="is not a folder"):
            run.save(tmp_path / name, overwrite=True)
    assert _names(tmp_path) == {"file", "elsewhere", "link"}


def test_a_place_that_cannot_be_written_is_refused_before_the_work_and_nothing_is_left(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file" / "run", Path("/proc/runs/run"), Path("/dev/null/run")):
        with pytest.raises(OutputError, match="cannot be written"):
            check_output_dir(out, overwrite=False)
        with pytest.raises(OutputError, match="cannot be written"):
            run.save(out)
    assert _names(tmp_path) == {"file"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="no permission"):
        run.save(tmp_path / "closed" / "run")


def test_asking_whether_a_place_is_free_leaves_no_trace(tmp_path: Path) -> None:
    check_output_dir(tmp_path / "a" / "b", overwrite=False)
    assert _names(tmp_path) == set()


@pytest.mark.parametrize("step", ["write", "swap"])
def test_a_fault_while_writing_leaves_the_older_run_and_nothing_else(
    run: Run, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    folder = run.save(tmp_path / "run")
    before = _contents(folder)
    rename = Path.rename

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def fails_for_drafts(path: Path, target: Path) -> Path:
        return full() if path.suffix == ".tmp" else rename(path, target)  # pyright: ignore[reportReturnType]

    if step == "write":
        monkeypatch.setattr("medprobe.evaluate.results.schemas.write", full)
    else:
        monkeypatch.setattr(Path, "rename", fails_for_drafts)
    with pytest.raises(OutputError, match="disk is full"):
        run.save(folder, overwrite=True)
    assert _contents(folder) == before
    assert _names(tmp_path) == {"run"}


def test_a_kill_at_any_step_leaves_a_whole_run_and_the_next_save_leaves_nothing_else(
    study: Any, run: Run, tmp_path: Path, killed_at_each_step
) -> None:
    folder, other = tmp_path / "runs" / "run", study.probe(seeds=(5, 6))
    expected = _contents(other.save(tmp_path / "expected"))

    def prepare() -> None:
        shutil.rmtree(folder.parent, ignore_errors=True)
        run.save(folder)
        (folder / "figures").mkdir()
        (folder / "figures" / "a.png").touch()

    for _ in killed_at_each_step(folder.parent, prepare, lambda: other.save(folder, overwrite=True)):
        assert Run.load(folder).info["seeds"] in (run.info["seeds"], other.info["seeds"])
        other.save(folder, overwrite=True)
        assert _contents(folder) == expected
        assert _names(folder.parent) == {"run"}


def test_without_an_exchange_of_folders_the_older_run_is_kept_until_there_is_a_new_one(
    run: Run, tmp_path: Path, killed_at_each_step, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS."""
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: None)
    folder = tmp_path / "run"

    def prepare() -> None:
        shutil.rmtree(tmp_path)
        run.save(folder)

    lost = 0
    for _ in killed_at_each_step(tmp_path, prepare, lambda: run.save(folder, overwrite=True)):
        lost += not folder.exists()
        Run.load(folder if folder.exists() else next(tmp_path.glob(".run.medprobe-*.old")))
        run.save(folder, overwrite=True)
        assert _names(tmp_path) == {"run"}
    assert lost == 1


def test_what_a_killed_report_left_does_not_block_the_run_and_what_a_living_one_writes_does(
    run: Run, tmp_path: Path
) -> None:
    folder = run.save(tmp_path / "run")
    with temporary_path(folder / "report.html") as living:
        left = shutil.copy(living, living.with_name(re.sub("[0-9a-f]{6}[.]tmp", "012abc.tmp", living.name)))
        with pytest.raises(OutputError, match=rf"not part of a run \({living.name}\)"):
            check_output_dir(folder, overwrite=True)
        assert not left.exists()
    check_output_dir(folder, overwrite=True)


# --- reading what is not right


@pytest.fixture
def saved(run: Run, tmp_path: Path) -> Path:
    return run.save(tmp_path / "run")


def test_a_folder_that_is_not_there_or_no_run_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"does not exist.*medprobe probe"):
        Run.load(tmp_path / "nothing")
    with pytest.raises(ReportError, match=r"not a run folder \(it has no run.json\)"):
        Run.load(tmp_path)


@pytest.mark.parametrize("schema", [SCHEMA + 1, 0, None, "1"])
def test_another_version_is_refused(saved: Path, schema: object) -> None:
    _edit(saved, schema=schema)
    with pytest.raises(ReportError, match=f"is of version {schema}, this medprobe reads {SCHEMA}"):
        Run.load(saved)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[]", '"run"', '{"kind": "something else"}', "\xff"])
def test_a_page_of_facts_that_is_damaged_is_refused(saved: Path, text: str) -> None:
    (saved / "run.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ReportError, match=r"run\.json"):
        Run.load(saved)


def _of_the_data(**changes: object) -> Callable[[dict[str, Any]], None]:
    return lambda info: info["dataset"].update(changes)


@pytest.mark.parametrize(
    "edit",
    [
        lambda info: info["dataset"]["classes"].reverse(),
        _of_the_data(classes=["a", "b"]),
        _of_the_data(units=7),
        _of_the_data(name="another"),
        lambda info: info["dataset"].pop("task"),
        lambda info: info["warnings"].append("none"),
        lambda info: info["digests"].update(scores="0" * 32),
        lambda info: info["seeds"].reverse(),
        lambda info: info.update(metric="accuracy"),
        lambda info: info.update(extra=1),
        lambda info: info.update(refit=float("nan")),
        lambda info: info.update(seal=None),
        lambda info: info.update(seal=[]),
        *(
            lambda info, name=name: info.pop(name)
            for name in ("seal", "rows", "digests", "caches", "leaks", "versions")
        ),
    ],
)
def test_a_page_of_facts_that_was_edited_is_refused(saved: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    info = json.loads((saved / "run.json").read_text())
    edit(info)
    (saved / "run.json").write_text(json.dumps(info))
    with pytest.raises(ReportError, match=r"run\.json: is (not as|damaged).* Make the run again"):
        Run.load(saved)


def test_a_flipped_bit_anywhere_in_the_page_of_facts_is_noticed_or_changes_nothing(saved: Path) -> None:
    path, rng = saved / "run.json", np.random.default_rng(0)
    whole, info = path.read_bytes(), Run.load(saved).info
    for at in rng.integers(0, len(whole), 60):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << int(rng.integers(8))]) + whole[at + 1 :])
        with suppress(ReportError):
            assert Run.load(saved).info == info  # blanks between fields may change


def test_a_page_of_facts_in_another_layout_of_json_is_the_same(saved: Path) -> None:
    info = json.loads((saved / "run.json").read_text())
    (saved / "run.json").write_text(json.dumps(dict(reversed(info.items())), ensure_ascii=False))
    Run.load(saved)


@pytest.mark.parametrize("name", ["scores", "predictions", "timings"])
def test_a_table_that_is_missing_or_cut_off_is_refused(saved: Path, name: str) -> None:
    path = saved / f"{name}.parquet"
    whole = path.read_bytes()
    for size in (0, 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ReportError, match=f"{name}.parquet: is damaged"):
            Run.load(saved)
    path.unlink()
    with pytest.raises(ReportError, match=f"{name}.parquet: is missing"):
        Run.load(saved)


def test_a_flipped_bit_anywhere_in_scores_or_predictions_is_noticed(saved: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("scores", "predictions"):
        path = saved / f"{name}.parquet"
        whole = path.read_bytes()
        for at in rng.integers(0, len(whole), 40):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
            with pytest.raises(ReportError, match=name):
                Run.load(saved)
        path.write_bytes(whole)
    Run.load(saved)


@pytest.mark.parametrize("name", ["scores", "predictions"])
def test_a_table_of_another_run_is_noticed_even_if_it_is_as_long(study, saved: Path, tmp_path: Path, name: str) -> None:
    other = study.probe(seeds=(5, 6, 8)).save(tmp_path / "other")
    assert pq.read_metadata(other / "scores.parquet").num_rows == pq.read_metadata(saved / "scores.parquet").num_rows
    shutil.copy(other / f"{name}.parquet", saved / f"{name}.parquet")
    with pytest.raises(ReportError, match=f"{name} and run.json are not of one run"):
        Run.load(saved)


def test_a_table_without_a_column_is_refused_and_names_it(saved: Path) -> None:
    table = pq.read_table(saved / "timings.parquet").drop_columns(["fit_s"])
    pq.write_table(table, saved / "timings.parquet")
    with pytest.raises(ReportError, match="lacks the columns fit_s"):
        Run.load(saved)


def test_columns_that_a_later_version_may_add_are_passed_over(saved: Path, run: Run) -> None:
    table = pq.read_table(saved / "timings.parquet")
    pq.write_table(table.append_column("extra", pa.array([1] * len(table))), saved / "timings.parquet")
    assert Run.load(saved).timings.columns.tolist() == run.timings.columns.tolist()
