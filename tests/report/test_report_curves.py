"""What a report makes of folds, budgets and an external test."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from medprobe.report import make_report
from medprobe.report.plots.learning_curve import Scale
from medprobe.report.run.data import ReportData, load_report_data
from medprobe.report.run.figures import draw_figures
from medprobe.report.run.tables import TABLES

BUDGETS = {"shots": [2, 8], "train_fraction": [1.0]}


@pytest.fixture(scope="module")
def curve(tmp_path_factory: pytest.TempPathFactory, make_run) -> Path:
    """A run of three budgets, reported on."""
    home = tmp_path_factory.mktemp("curve")
    folder = make_run(home, "binary", seeds=range(4), **BUDGETS).save(home / "run")
    make_report(folder).save(folder)
    return folder


@pytest.fixture(scope="module")
def findings(curve: Path) -> ReportData:
    return load_report_data(curve)


def test_a_low_data_curve_is_drawn_with_every_budget_and_what_it_shows_in_words(curve: Path) -> None:
    drawn = draw_figures(load_report_data(curve))["learning"]
    assert all(f" at {budget}" in drawn.description for budget in ("2 shots", "8 shots", "100%"))
    assert (curve / "figures" / "learning.png").read_bytes() == drawn.png
    page = (curve / "report.html").read_text()
    assert '<section id="learning"' in page
    assert 'href="#learning"' in page


def test_a_run_without_budgets_has_no_curve_and_no_column(reported: dict[str, Path]) -> None:
    folder = reported["binary"]
    assert not (folder / "figures" / "learning.png").exists()
    page = (folder / "report.html").read_text()
    assert "Low-data" not in page
    assert "Budget" not in page


def test_the_verdict_is_of_the_largest_budget_and_says_so(curve: Path, findings: ReportData) -> None:
    assert findings.best["budget"] == "100%"
    verdict = make_report(curve).verdict
    assert "trained on 100 % of the training units" in verdict.score
    assert set(findings.summary["budget"]) == set(findings.comparisons["budget"]) == {"100%"}
    assert "Holm's correction for 6 comparisons" in verdict.against  # of all budgets, not of the largest alone


def test_tables_tell_the_budget_of_every_row(curve: Path, findings: ReportData) -> None:
    for name in ("summary", "comparisons", "all_metrics"):
        table = TABLES[name](findings)
        assert table is not None
        place = table.columns.index("Budget")
        assert table.is_name(place)
        assert {row[place] for row in table.rows} == {"2 shots", "8 shots", "100%"}
        assert set(pd.read_csv(curve / "tables" / f"{name}.csv")["budget"]) == {"2 shots", "8 shots", "100%"}
    summary = TABLES["summary"](findings)
    assert summary is not None
    assert summary.rows[0][summary.columns.index("Budget")] == "100%"


@pytest.mark.parametrize(
    ("budgets", "label", "places"),
    [
        (["1 shot", "5 shots"], "Training units of each class", [1, 5]),
        (["10%", "100%"], "Share of the training units", [0.1, 1]),
        (["5 shots", "100%"], "Training units", [10, 300]),
    ],
)
def test_the_axis_is_in_the_terms_that_the_budgets_share(budgets: list[str], label: str, places: list[float]) -> None:
    scale = Scale.of(budgets, {"1 shot": 2, "5 shots": 10, "10%": 30, "100%": 300})
    assert scale.label == label
    assert list(scale.places.values()) == places


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        ({"folds": 3, "seeds": range(2)}, ["--protocol kfold", "--folds 3"]),
        ({**BUDGETS}, ["--shots 2,8", "--train-fraction 1 ", "--no-refit"]),
        ({"aggregation": "predictions"}, ["--aggregation predictions"]),
    ],
    ids=["kfold", "budgets", "fusing"],
)
def test_the_commands_on_the_page_repeat_what_was_asked(tmp_path: Path, make_run, asked, options: list[str]) -> None:
    folder = make_run(tmp_path, "binary", probes=("knn",), **asked).save(tmp_path / "run")
    page = make_report(folder).save(folder).read_text()
    told = re.search("<pre>(.*?)</pre>", page, re.DOTALL)
    assert told
    assert all(option in told[1] for option in options)


def test_under_kfold_the_page_speaks_of_folds(tmp_path: Path, make_run) -> None:
    folder = make_run(tmp_path, "multiclass", folds=3, seeds=range(2)).save(tmp_path / "run")
    page = make_report(folder).save(folder).read_text()
    assert "3 folds" in page
    assert "mean over folds" in page
    assert "Bouckaert" in page
    findings = load_report_data(folder)
    assert findings.seed_values.groupby(["label", "probe"])["seed"].nunique().eq(2).all()
    wide = findings.all_metrics.set_index(["label", "probe"])
    for row in findings.summary.itertuples():
        assert wide.loc[(row.label, row.probe), f"{row.metric}_mean"] == pytest.approx(row.mean)
        assert wide.loc[(row.label, row.probe), f"{row.metric}_sd"] == pytest.approx(row.sd)


def test_an_external_test_is_named_wherever_the_score_is_told(tmp_path: Path, make_abroad) -> None:
    folder = make_abroad(tmp_path).save(tmp_path / "run")
    page = make_report(folder).save(folder).read_text()
    assert "on elsewhere" in make_report(folder).verdict.score
    assert "--external elsewhere.parquet" in page
    assert "elsewhere (test)" in page
    assert "tested on elsewhere (" in page
