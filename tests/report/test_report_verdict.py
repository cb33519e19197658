"""What the verdict promises: never more than the data can bear."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from medprobe.base import ReportError
from medprobe.evaluate import Run
from medprobe.evaluate.resampling.resample import parse_seeds
from medprobe.report import Conclusion, make_report
from medprobe.report.run.citation import commands, sentence_to_cite
from medprobe.report.run.data import load_report_data, report_data
from medprobe.report.run.verdict import conclude


def verdict_of(folder: Path, metric: str | None = None) -> Conclusion:
    return conclude(load_report_data(folder, metric))


@pytest.fixture(scope="session")
def close_race(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Run]) -> Path:
    home = tmp_path_factory.mktemp("close")
    return make_run(home, "binary", backbones={"one": 0.5, "other": 0.45}, seeds=range(5)).save(home / "run")


@pytest.fixture(scope="session")
def clear_case(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Run]) -> Path:
    home = tmp_path_factory.mktemp("clear")
    run = make_run(home, "multiclass", backbones={"good": 1.5, "bad": 0.0}, seeds=range(8), units=240)
    return run.save(home / "run")


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Run]) -> Path:
    """One backbone, one probe, one seed."""
    home = tmp_path_factory.mktemp("alone")
    return make_run(home, "binary", backbones={"only": 1.0}, probes=("logreg",), seeds=[4]).save(home / "run")


def test_a_lead_that_is_not_significant_may_be_chance(close_race: Path) -> None:
    verdict = verdict_of(close_race)
    assert verdict.certainty == "open"
    assert "may be chance" in verdict.headline
    assert "not significant" in verdict.against
    assert "may be chance" in verdict.caveats


def test_a_significant_lead_is_called_clear(clear_case: Path) -> None:
    verdict = verdict_of(clear_case)
    assert verdict.certainty == "clear"
    assert verdict.headline.startswith("Use good with ")
    assert "chance" not in verdict.headline
    assert ": significant (p" in verdict.against


def test_a_significant_lead_in_a_small_test_is_not_called_clear(tmp_path: Path, make_run: Callable[..., Run]) -> None:
    run = make_run(tmp_path, "multiclass", backbones={"good": 3.0, "bad": 0.0}, seeds=range(8), units=60)
    verdict = conclude(report_data(run, None))
    assert (verdict.certainty, verdict.badge) == ("open", "Small test")
    assert re.search(r" leads on .*, in a test of only \d+ independent cases\.", verdict.headline)
    assert ": significant (p" in verdict.against


def test_a_network_that_has_learnt_from_the_test_is_not_recommended(clear_case: Path) -> None:
    run = Run.load(clear_case)
    for name, certainty in (("bad", "clear"), ("good", "open")):
        found = {"warnings": [f"{name}, fine-tuned on all"], "warning_codes": ["fine-tuned-on-test"]}
        data = report_data(replace(run, info={**run.info, **found}))
        verdict = conclude(data)
        assert verdict.certainty == certainty
        assert verdict.headline.startswith("Use ") == (certainty == "clear")
        assert f"Scores of {name} are too high" in verdict.caveats
        assert f"Scores of {name} are too high" in sentence_to_cite(data)


def test_one_backbone_alone_wins_against_nobody(alone: Path) -> None:
    made = make_report(alone)
    assert made.verdict.certainty == "alone"
    assert made.verdict.badge == "One system"
    assert "With 1 seed" in made.verdict.caveats
    assert {name for name in made.files if name.endswith(".png")} == {
        "figures/scores.png", "figures/confusion.png", "figures/calibration.png", "figures/roc.png"
    }  # fmt: skip
    page = made.files["report.html"].decode()
    assert 'id="differences"' not in page
    assert 'href="#differences"' not in page


def test_the_one_seed_of_a_run_is_repeated_as_that_seed(alone: Path) -> None:
    words = shlex.split(commands(load_report_data(alone))[0])
    assert parse_seeds(words[words.index("--seeds") + 1]) == [4]


def test_where_less_is_better_the_least_wins(clear_case: Path) -> None:
    verdict = verdict_of(clear_case, "brier")
    assert verdict.headline.startswith("Use good")
    assert "lower is better" in verdict.score
    assert re.search(r", bad, is 0\.\d{3} higher \(", verdict.against)
    leads = (
        load_report_data(clear_case, "brier").comparisons[["advantage_low", "advantage", "advantage_high"]].to_numpy()
    )
    assert (leads[:, 1] >= 0).all()
    assert (leads[:, 0] <= leads[:, 1]).all()
    assert (leads[:, 1] <= leads[:, 2]).all()


def test_the_best_of_many_is_said_to_be_picked_by_its_score(clear_case: Path) -> None:
    assert "the best of 4 systems" in verdict_of(clear_case).caveats


def test_few_patients_are_told(runs: dict[str, Path], tmp_path: Path, make_run: Callable[..., Run]) -> None:
    assert "independent cases in the test, so every interval is rough" in verdict_of(runs["binary"]).caveats
    fewer = make_run(tmp_path, units=45, seeds=[0], probes=["centroid"])
    assert "7 independent cases in the test, so there is no interval" in conclude(report_data(fewer)).caveats


@pytest.mark.parametrize(
    ("metric", "told"), [("roc_acu", 'Did you mean "roc_auc"'), ("quadratic_kappa", "not defined for a binary task")]
)
def test_a_metric_that_the_run_has_not_is_refused(runs: dict[str, Path], metric: str, told: str) -> None:
    with pytest.raises(ReportError, match=told):
        load_report_data(runs["binary"], metric)


def test_the_verdict_tells_why_an_interval_and_a_p_value_disagree(runs: dict[str, Path]) -> None:
    findings = load_report_data(runs["binary"])
    rival, verdict = findings.runner_up, conclude(findings)
    assert rival is not None
    disagree = rival["advantage_low"] > 0 and not rival["significant"]
    assert ("The interval covers the choice of test patients only" in verdict.against) == disagree
    for significant, low, why in (True, -0.01, "from those of both"), (False, 0.01, "also that of training"):
        vars(findings)["runner_up"] = pd.Series({**rival, "significant": significant, "advantage_low": low})
        assert why in conclude(findings).against
