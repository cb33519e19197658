"""The commands of studies, on digits and a small network with random weights."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from medprobe.manifests import build_folder
from PIL import Image
from sklearn.datasets import load_digits

_STUDY = {
    "data": ["digits {b}.parquet"],
    "extract": {"backbones": ["timm:test_resnet@random"], "images": {"image_size": 32}, "runtime": "torch"},
    "probe": {"probes": ["knn:k=3", "centroid"], "protocols": ["holdout"], "seeds": 2},
}
_RUN = [sys.executable, "-m", "medprobe.cli", "run", "tiny.yaml", "--cores", "2"]


def _prepare(folder: Path, start: int = 0) -> None:
    """A study file, and a manifest of 36 images in three classes, whose name Snakemake would take for a pattern.

    The same images at all times; another `start`, other images of the same names.
    """
    digits = load_digits()
    for label in range(3):
        (folder / "digits" / str(label)).mkdir(parents=True)
        for number, pixels in enumerate(digits.images[digits.target == label][start : start + 12]):
            image = Image.fromarray((pixels * 15).astype(np.uint8)).resize((32, 32))
            image.save(folder / "digits" / str(label) / f"{number}.png")
            os.utime(folder / "digits" / str(label) / f"{number}.png", ns=(start, start))
    build_folder(folder / "digits").save(folder / "digits {b}.parquet")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(_STUDY))


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    _prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_plan_shows_jobs_and_what_they_take(medprobe: Callable[..., Any], tiny: Path) -> None:
    said = medprobe("run", "tiny.yaml", "--plan", "--set", "notes=[Only a test.]")
    rows = {line.split()[0]: line.split()[1:3] for line in said.out.splitlines() if line.strip()}
    assert rows["probe"] == ["2", "0"]
    assert rows["extract"] == ["1", "0"]
    assert "Note: Only a test." in said.out
    assert not (tiny / "studies").exists()


def test_a_graph_is_written_instead_of_a_run(medprobe: Callable[..., Any], tiny: Path) -> None:
    assert medprobe("run", "tiny.yaml", "--graph", "jobs.mmd").status == 0
    assert "merge-digits-b-holdout" in (tiny / "jobs.mmd").read_text()


def test_a_new_study_file_has_a_comment_for_each_key_and_can_be_run(medprobe: Callable[..., Any], tiny: Path) -> None:
    assert medprobe("study", "init", "digits {b}.parquet", "--out", "sub/new.yaml").status == 0
    text = (tiny / "sub" / "new.yaml").read_text()
    assert "# Number of resamples.\n  seeds: 20\n" in text
    assert yaml.safe_load(text)["data"] == [{"manifest": "../digits {b}.parquet"}]
    uncommented = "\n".join(line.replace("# ", "", 1) if ": " in line else line for line in text.splitlines())
    assert set(uncommented.split()) > {"finetune:", "cluster:", "resources:"}
    assert medprobe("run", "sub/new.yaml", "--plan").status == 0
    assert "exists" in medprobe("study", "init", "digits {b}.parquet", "--out", "sub/new.yaml").notes


def test_the_schema_has_the_docstrings(medprobe: Callable[..., Any]) -> None:
    schema = json.loads(medprobe("study", "schema").out)
    assert schema["$defs"]["Probing"]["properties"]["seeds"]["description"] == "Number of resamples."


def test_status_before_a_run_and_scripts_for_sbatch(medprobe: Callable[..., Any], tiny: Path) -> None:
    assert "which is not running" in medprobe("status", "tiny.yaml").out
    assert medprobe("study", "sbatch", "tiny.yaml", "--out", "jobs").status == 0
    assert sorted(path.name for path in (tiny / "jobs").iterdir())[-1] == "submit.sh"
    assert "{threads}" not in "".join(path.read_text() for path in (tiny / "jobs").iterdir())


def _tables(folder: Path) -> dict[str, bytes]:
    """What follows from the data alone: predictions, scores and tables, by the names of files."""
    out = folder / "studies" / "tiny"
    files = [file for kind in ("parts", "merged", "stats") for file in (out / kind).rglob("*.parquet")]
    files += [*(out / "stats").rglob("*.csv"), *(out / "reports").rglob("*.csv")]
    return {str(file.relative_to(out)): file.read_bytes() for file in files if file.stem != "timings"}


@pytest.fixture(scope="module")
def ran(once: Callable[..., Path]) -> Path:
    """A folder in which the study was run."""
    pytest.importorskip("torch")
    pytest.importorskip("snakemake")

    def make(folder: Path) -> None:
        folder.mkdir()
        _prepare(folder)
        subprocess.run(_RUN, cwd=folder, check=True, capture_output=True)

    return once("ran-study", make)


@pytest.mark.slow
def test_a_study_runs_to_its_reports_and_a_second_time_does_nothing(
    medprobe: Callable[..., Any], ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ran)
    assert (ran / "studies" / "tiny" / "results" / "reports" / "digits-b-holdout" / "report.html").exists()
    before = _tables(ran)
    assert len(before) > 10
    again = medprobe("run", "tiny.yaml", columns=200)
    assert again.out.startswith("Nothing to do: all 7 jobs are done.\n")
    assert "results/reports/digits-b-holdout/report.html" in again.out
    assert _tables(ran) == before
    assert medprobe("status", "tiny.yaml").out.count(" 0 ") >= 3


@pytest.mark.slow
def test_another_setting_of_a_probe_runs_that_probe_alone(
    medprobe: Callable[..., Any], ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ran)
    said = medprobe("run", "tiny.yaml", "--set", "probe.probes=[centroid, 'knn:k=5']", "--plan")
    rows = {line.split()[0]: line.split()[1:3] for line in said.out.splitlines() if line.strip()}
    assert rows["extract"] == ["1", "1"]
    assert rows["probe"] == ["2", "1"]
    assert rows["merge"] == ["1", "0"]


@pytest.mark.slow
def test_the_logs_of_what_did_not_change_stay(ran: Path, tmp_path: Path) -> None:
    place = tmp_path / "copy"
    shutil.copytree(ran, place, symlinks=True)
    logs = place / "studies" / "tiny" / "logs"
    before = {path.name: path.stat().st_mtime_ns for path in logs.iterdir()}
    subprocess.run([*_RUN, "--set", "probe.probes=[centroid, 'knn:k=5']"], cwd=place, check=True, capture_output=True)
    written = {path.name.split("-")[0] for path in logs.iterdir() if before.get(path.name) != path.stat().st_mtime_ns}
    assert written == {"probe", "merge", "stats", "report", "snakemake.log"}
    assert sum(path.name.startswith("probe") and path.name not in before for path in logs.iterdir()) == 1


@pytest.mark.slow
def test_a_study_killed_again_and_again_ends_with_the_same_bytes(ran: Path, tmp_path: Path) -> None:
    _prepare(tmp_path)
    for kind in ("extract", "probe", "stats"):
        with subprocess.Popen(_RUN, cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True) as run:
            while run.poll() is None and not list(tmp_path.glob(f"studies/tiny/logs/{kind}-*.log")):
                time.sleep(0.01)
            _kill_session(run.pid)
    subprocess.run(_RUN, cwd=tmp_path, check=True, capture_output=True)
    assert _tables(tmp_path) == _tables(ran)


@pytest.mark.slow
def test_studies_that_share_a_store_never_read_each_others_vectors(ran: Path, tmp_path: Path) -> None:
    """Three users with one name for their data: two of them have the same images, the third has others."""
    store = ("--set", f"store={tmp_path / 'store'}")
    only = "probe.probes=[centroid]"
    for user, start, setting in (("a", 0, only), ("same", 0, only), ("other", 20, "probe=null")):
        (tmp_path / user).mkdir()
        _prepare(tmp_path / user, start)
        words = [*_RUN, *store, "--set", setting]
        subprocess.run(words, cwd=tmp_path / user, check=True, capture_output=True)
    subprocess.run([*_RUN, *store], cwd=tmp_path / "a", check=True, capture_output=True)
    first, same = _tables(tmp_path / "a"), _tables(tmp_path / "same")
    assert _tables(ran).items() <= first.items()
    assert same.items() <= first.items()


def _kill_session(session: int) -> None:
    """Ends medprobe, Snakemake and all jobs at once: the groups of processes of a session that this test began."""
    found = [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _session_of(int(entry.name)) == session]
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def test_a_study_without_any_of_its_data_is_refused(medprobe: Callable[..., Any], tiny: Path) -> None:
    (tiny / "none.yaml").write_text(yaml.safe_dump(_STUDY | {"data": [{"build": "folder", "source": "nowhere"}]}))
    said = medprobe("run", "none.yaml")
    assert said.status == 1
    assert "is left out" in said.notes
    assert "none of its data is there" in said.notes
    planned = medprobe("run", "none.yaml", "--plan")
    assert planned.status == 1
    assert "No jobs" in planned.out
    assert planned.notes.count("is left out") == 1
    assert not (tiny / "studies").exists()
