"""What the verb `report` promises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from medprobe.report.run.data import load_report_data
from medprobe.report.run.verdict import conclude

Run = Callable[..., tuple[int, str, str]]


def test_it_answers_and_says_where_the_report_is(medprobe: Run, own_run: Path) -> None:
    status, out, err = medprobe("report", own_run)
    assert (status, err) == (0, "")
    for line in conclude(load_report_data(own_run)).lines:
        assert line in out
    for path in (own_run / "report.html", own_run / "figures", own_run / "tables"):
        assert str(path) in out
        assert path.exists()


def test_it_judges_by_the_metric_asked_for(medprobe: Run, own_run: Path) -> None:
    status, out, _ = medprobe("report", own_run, "--metric", "macro_recall")
    assert status == 0
    assert "Its balanced accuracy is" in out


def test_help_has_an_example(medprobe: Run) -> None:
    status, out, _ = medprobe("report", "--help")
    assert status == 0
    assert "medprobe report runs/brain" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nowhere"], "does not exist"),
        (["run", "--metric", "roc_acu"], 'Did you mean "roc_auc"'),
        (["empty"], "is not a run folder"),
    ],
)
def test_a_fault_is_one_line_and_a_status(
    medprobe: Run, own_run: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    monkeypatch.chdir(own_run.parent)
    Path("empty").mkdir()
    status, out, err = medprobe("report", *words)
    assert (status, out) == (1, "")
    assert err.startswith("error: ")
    assert told in err
    assert err.count("\n") == 1
    assert not (own_run / "report.html").exists()


def test_a_folder_that_cannot_be_written_is_told(medprobe: Run, own_run: Path) -> None:
    (own_run / "figures").write_text("in the way")
    status, _, err = medprobe("report", own_run)
    assert status == 1
    assert "cannot be written: a file is where a folder is needed" in err
    assert not (own_run / "report.html").exists()
