"""What is written: the same bytes for the same run, all of it or nothing, and nothing that is not the report's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import pytest
from medprobe.base import OutputError, ReportError
from medprobe.evaluate import Run
from medprobe.report import make_report
from PIL import Image


def contents(folder: Path) -> dict[str, bytes]:
    """The report's files by their paths in the run's folder."""
    found = [folder / "report.html", *(folder / "figures").rglob("*"), *(folder / "tables").rglob("*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if path.is_file()}


def assert_same(found: dict[str, bytes], expected: dict[str, bytes]) -> None:
    """Fails with the names of the files that differ, not with their bytes."""
    assert sorted(found) == sorted(expected)
    assert [name for name, data in found.items() if data != expected[name]] == []


def test_a_report_has_a_page_figures_and_tables(reported: dict[str, Path]) -> None:
    names = set(contents(reported["binary"]))
    for figure in ("scores", "differences", "confusion", "calibration", "roc"):
        assert {f"figures/{figure}.png", f"figures/{figure}.svg"} <= names
    for table in ("summary", "comparisons", "all_metrics", "classes"):
        assert {f"tables/{table}.{kind}" for kind in ("csv", "md", "tex")} <= names
    assert "report.html" in names


def test_the_same_run_gives_the_same_bytes_whatever_matplotlib_is_set_to(
    own_run: Path, reported: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    monkeypatch.chdir(own_run)
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red"}):
        before = dict(mpl.rcParams)
        make_report(".").save(".")
        assert dict(mpl.rcParams) == before
    assert_same(contents(own_run), contents(reported["binary"]))


def test_another_process_writes_the_same_bytes_without_pyplot_or_torch(
    own_run: Path, reported: dict[str, Path]
) -> None:
    environment = os.environ | {"PYTHONHASHSEED": "7", "LC_ALL": "C", "TZ": "Asia/Tokyo"}
    code = f"""
import sys
from medprobe.report import make_report
assert "matplotlib" not in sys.modules and "jinja2" not in sys.modules
make_report({str(own_run)!r}).save({str(own_run)!r})
assert "matplotlib.pyplot" not in sys.modules and "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert_same(contents(own_run), contents(reported["binary"]))


def test_a_second_report_replaces_the_first_and_leaves_what_is_not_its_own(
    own_report: Path, runs: dict[str, Path], reported: dict[str, Path]
) -> None:
    (own_report / "figures" / "mine.png").write_bytes(b"mine")
    (own_report / "tables" / "notes.txt").write_bytes(b"notes")
    assert (own_report / "figures" / "roc.svg").exists()
    shutil.copytree(runs["multilabel"], own_report, dirs_exist_ok=True)
    make_report(own_report).save(own_report)
    assert not (own_report / "figures" / "roc.svg").exists()
    assert not (own_report / "figures" / "confusion.png").exists()
    after = contents(own_report)
    assert (after.pop("figures/mine.png"), after.pop("tables/notes.txt")) == (b"mine", b"notes")
    assert after == contents(reported["multilabel"])


def test_a_report_that_cannot_be_written_leaves_the_old_one_whole(own_report: Path) -> None:
    before = contents(own_report)
    shutil.rmtree(own_report / "tables")
    (own_report / "tables").write_text("in the way")
    with pytest.raises(OutputError, match="a file is where a folder is needed"):
        make_report(own_report, metric="log_loss").save(own_report)
    after = contents(own_report)
    assert after == {name: data for name, data in before.items() if not name.startswith("tables/")}


def test_a_disk_that_fills_up_leaves_the_old_report_whole(own_report: Path) -> None:
    before = contents(own_report)
    # Larger than every figure and table, smaller than the page: it fails last of all.
    code = f"""
import resource
from medprobe.base import OutputError
from medprobe.report import make_report
made = make_report({str(own_report)!r}, metric="log_loss")
resource.setrlimit(resource.RLIMIT_FSIZE, (len(made.files["report.html"]) - 1,) * 2)
try:
    made.save({str(own_report)!r})
except OutputError as error:
    assert "larger than" in str(error), error
else:
    raise SystemExit("it was written")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert contents(own_report) == before


def test_the_page_appears_when_everything_else_is_there(own_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    placed: list[str] = []
    replace = Path.replace

    def record(self: Path, target: Path) -> Path:
        placed.append(str(target.relative_to(own_run)))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", record)
    make_report(own_run).save(own_run)
    assert placed[-1] == "report.html"
    assert sorted(placed) == sorted(contents(own_run))


def test_a_new_run_in_the_folder_may_replace_run_and_report(own_run: Path, runs: dict[str, Path]) -> None:
    for name in ("report.html", "figures/roc.svg", "tables/summary.csv"):
        (own_run / name).parent.mkdir(exist_ok=True)
        (own_run / name).write_bytes(b"of the old run")
    Run.load(runs["ordinal"]).save(own_run, overwrite=True)
    assert not (own_run / "report.html").exists()


def test_every_figure_opens(reported: dict[str, Path]) -> None:
    for folder in reported.values():
        for path in (folder / "figures").glob("*.png"):
            with Image.open(path) as image:
                image.load()
                assert image.width > 600
                assert image.convert("L").getextrema() != (255, 255)
        for path in (folder / "figures").glob("*.svg"):
            root = ET.parse(path).getroot()
            assert root.tag.endswith("svg")
            assert len(list(root.iter())) > 50


def _damaged_scores(run: Path) -> None:
    data = (run / "scores.parquet").read_bytes()
    (run / "scores.parquet").write_bytes(data[: len(data) // 2])


def _without_facts(run: Path) -> None:
    info = json.loads((run / "run.json").read_text())
    del info["caches"], info["dataset"]["digest"]
    (run / "run.json").write_text(json.dumps(info))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (shutil.rmtree, "does not exist"),
        (lambda run: (run / "run.json").unlink(), "has no run.json"),
        (_damaged_scores, "scores.parquet"),
        (lambda run: (run / "predictions.parquet").unlink(), "predictions.parquet"),
        (lambda run: shutil.copy(run.parent / "other.parquet", run / "predictions.parquet"), "predictions"),
        (_without_facts, "run.json: is not as"),
    ],
)
def test_a_run_that_is_not_whole_is_refused_in_one_line(
    own_run: Path, runs: dict[str, Path], harm: Callable[[Path], object], words: str
) -> None:
    shutil.copy(runs["ordinal"] / "predictions.parquet", own_run.parent / "other.parquet")
    harm(own_run)
    with pytest.raises(ReportError) as caught:
        make_report(own_run).save(own_run)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (own_run / "report.html").exists()


@pytest.mark.slow
def test_after_a_kill_at_any_step_the_next_report_is_whole_and_nothing_else_is_left(
    runs: dict[str, Path], reported: dict[str, Path], tmp_path: Path, killed_at_each_step
) -> None:
    folder = tmp_path / "run"
    older, report = make_report(runs["binary"], metric="accuracy"), make_report(runs["binary"])

    def prepare() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(runs["binary"], folder)
        older.save(folder)

    for _ in killed_at_each_step(folder, prepare, lambda: report.save(folder)):
        report.save(folder)
        assert_same(contents(folder), contents(reported["binary"]))
        assert {path.name for path in folder.iterdir()} == {path.name for path in reported["binary"].iterdir()}
