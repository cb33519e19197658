"""A run in Python: its tables and figures are those of its report, and a notebook shows what it found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from html_page import HtmlPage
from medprobe.base import ProbeError, ReportError
from medprobe.evaluate import Run
from medprobe.report.run.figures import FIGURES


@pytest.fixture(scope="module")
def run(runs: dict[str, Path]) -> Run:
    return Run.load(runs["binary"])


def test_tables_are_those_of_the_report(run: Run, reported: dict[str, Path]) -> None:
    for name in ("summary", "comparisons", "all_metrics"):
        written = pd.read_csv(reported["binary"] / "tables" / f"{name}.csv")
        table = pd.read_csv(BytesIO(run.table(name).to_csv(index=False).encode()))
        pd.testing.assert_frame_equal(table, written)
    assert run.table(metric="accuracy")["metric"].unique().tolist() == ["accuracy"]
    changed = run.table()
    changed["mean"] = 0.0
    assert run.table()["mean"].min() > 0


def test_figures_are_those_of_the_report(run: Run, reported: dict[str, Path]) -> None:
    assert dir(run.plot) == sorted(FIGURES)
    drawn: Any = run.plot.scores()
    written = (reported["binary"] / "figures" / "scores.svg").read_text()
    shown = drawn._repr_svg_()
    assert shown.count("<path") == written.count("<path") > 10
    drawn.axes[0].set_title("changed")
    assert drawn._repr_svg_() != shown


def test_what_a_run_has_not_is_refused(run: Run) -> None:
    with pytest.raises(ReportError, match="scores, differences, confusion, calibration, roc"):
        run.plot.learning()
    with pytest.raises(ReportError, match="summary, comparisons"):
        run.table("leaks")
    with pytest.raises(ProbeError, match='Did you mean "summary"'):
        run.table("sumary")
    with pytest.raises(ProbeError, match='Did you mean "roc_auc"'):
        run.plot.scores(metric="roc_acu")
    with pytest.raises(AttributeError, match="calibration"):
        run.plot.calibrations  # noqa: B018


def test_a_notebook_shows_systems_verdict_and_warnings(run: Run, make_run: Callable[..., Run], tmp_path: Path) -> None:
    page = HtmlPage(run._repr_html_() or "")
    assert not page.faults
    assert [tag for tag, _ in page.elements].count("tr") == 1 + len(run.table())
    assert "strong-net" in page.words
    assert "No clear winner." in page.words
    named = make_run(tmp_path, "binary", classes=["<b>", "&"], backbones={"<script>": 1.0}, name="a&b")
    shown = named._repr_html_() or ""
    assert "<script>" not in shown
    assert "a&amp;b" in shown
    assert repr(named) == "Run(a&b: 2 systems, 3 seeds, roc_auc)"


def test_what_cannot_be_summed_up_is_shown_in_words(run: Run, runs: dict[str, Path]) -> None:
    assert Run.load(runs["binary"], predictions=False)._repr_html_() is None
    one_class = run.predictions.assign(y=pd.Series(1, index=run.predictions.index, dtype=run.predictions["y"].dtype))
    undefined = replace(run, predictions=one_class)
    assert "strong-net" in (undefined._repr_html_() or "")
    with pytest.raises(ReportError, match="another metric"):
        undefined.table()
