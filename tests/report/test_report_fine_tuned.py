"""A report of frozen probes and fine-tuned networks: what unfreezing does, what it costs, and how networks learnt."""

from __future__ import annotations

import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from html_page import HtmlPage
from medprobe.evaluate import Run, SystemKey, compare, merge_runs, summarise
from medprobe.evaluate.results.commands import commands as commands_of
from medprobe.report import make_report
from medprobe.report.run.build import Report
from medprobe.report.run.citation import commands, sentence_to_cite
from medprobe.report.run.data import ReportData, load_report_data, report_data
from medprobe.report.run.methods import protocol

FROZEN = ["finetune:linear", "knn", "logreg"]
MODES = ["finetune:full", "finetune:partial:2:crop_scale=[0.8,1],lr=0.001,recipe=huix2024"]
"""`finetune:linear` trains nothing of the backbone."""


@pytest.fixture(scope="module")
def data(mixed: list[Path]) -> ReportData:
    return load_report_data(mixed)


@pytest.fixture(scope="module")
def report(mixed: list[Path]) -> Report:
    return make_report(mixed)


def test_a_report_of_both_has_figures_and_tables_that_one_of_probes_has_not(
    report: Report, reported: dict[str, Path]
) -> None:
    further = {f"figures/{name}.{kind}" for name in ("unfreezing", "epochs") for kind in ("svg", "png")}
    further |= {f"tables/{name}.{kind}" for name in ("unfreezing", "costs") for kind in ("csv", "md", "tex")}
    assert further <= set(report.files)
    assert not any((reported["binary"] / name).exists() for name in further)
    page = HtmlPage(report.files["report.html"].decode())
    assert page.faults == []
    for text in (
        "Which backbone for cohort?",
        "Frozen and fine-tuned",
        "What unfreezing does",
        "How the networks learnt",
    ):
        assert text in page.words
    of_probes = HtmlPage((reported["binary"] / "report.html").read_text()).words
    assert "Which frozen backbone for binary?" in of_probes
    assert "Frozen and fine-tuned" not in of_probes


def test_every_fine_tuned_system_is_compared_with_the_best_frozen_probe_of_its_backbone(data: ReportData) -> None:
    rows = data.against_frozen
    assert sorted(zip(rows["backbone"], rows["a"], strict=True)) == [
        (net, mode) for net in ("strong-net", "weak-net") for mode in MODES
    ]
    summary = summarise(data.run).set_index(["backbone", "probe"])["mean"]
    whole = compare(data.run, "probes")
    for row in rows.to_dict("records"):
        assert summary[row["backbone"], row["b"]] == max(summary[row["backbone"], name] for name in FROZEN)
        assert row["difference"] == pytest.approx(
            summary[row["backbone"], row["a"]] - summary[row["backbone"], row["b"]]
        )
        assert row["low"] < row["difference"] < row["high"]
        sides = whole[(whole["backbone"] == row["backbone"]) & whole["a"].isin([row["a"], row["b"]])]
        [same] = sides[sides["b"].isin([row["a"], row["b"]])].to_dict("records")
        assert row["p_adjusted"] == same["p_adjusted"]
        assert row["compared"] == len(whole) == 2 * 10


def test_costs_are_those_of_the_timings_and_of_what_was_trained(data: ReportData, report: Report) -> None:
    costs = data.costs.set_index(["backbone", "probe"])
    full = costs.loc[("strong-net", "finetune:full")]
    assert (full["fit_s"], full["peak_bytes"], full["epochs"], full["trained_parameters"]) == (300, 3e9, 10, 900_000)
    seconds = data.run.timings.query("backbone == 'weak-net' and probe == 'knn'")["fit_s"]
    assert costs.loc[("weak-net", "knn"), "fit_s"] == pytest.approx(seconds.mean())
    assert costs.loc[("weak-net", "knn"), ["peak_bytes", "epochs", "trained_parameters"]].isna().all()
    markdown = report.files["tables/costs.md"].decode()
    assert "5 min" in markdown
    assert "900,000" in markdown
    assert "3.0 GB" in markdown


def test_words_of_a_report_of_both_call_no_tuned_backbone_frozen(
    data: ReportData, report: Report, mixed: list[Path]
) -> None:
    assert sentence_to_cite(data).startswith("Of 2 backbones, frozen and fine-tuned, on cohort")
    assert sentence_to_cite(load_report_data(mixed[0])).startswith("Of 2 frozen backbones on cohort")
    run = Run.load(mixed[1])
    tables = {name: getattr(run, name).query("probe == 'finetune:full'") for name in ("scores", "predictions")}
    assert sentence_to_cite(report_data(replace(run, **tables))).startswith("Of 2 fine-tuned backbones on cohort")
    probes, head, tuned = protocol(data)[-3:]
    assert probes.startswith("Under k nearest neighbours and logistic regression the backbones are frozen")
    assert head.startswith("Under fine-tuning (linear) the backbones are frozen")
    assert tuned.startswith("Under fine-tuning (full) and fine-tuning (partial:2:crop")
    assert "better than the best frozen probe, fine-tuning (linear)" in report.verdict.caveats


def test_networks_without_probes_are_compared_with_their_own_linear_head(mixed: list[Path]) -> None:
    alone = load_report_data(mixed[1])
    assert len(alone.costs) == 6
    assert set(alone.against_frozen["b"]) == {"finetune:linear"}


def test_the_commands_are_one_for_all_probes_one_a_mode_and_a_merge(data: ReportData) -> None:
    words = [shlex.split(command) for command in commands(data)]
    assert [word[1] for word in words] == ["probe", *3 * ["finetune"], "merge", "report"]
    given = [[word for option, word in pairwise(one) if option == "--probe"] for one in words[:1]]
    assert given == [["knn", "logreg"]]
    shared = ["--protocol", "holdout", "--seeds", "3", "--metric", "roc_auc", "--out"]
    backbones = ["--backbone", "strong-net[cls]", "--backbone", "weak-net[cls]", "--image-size", "32"]
    recipe = ["--set", "crop_scale=[0.8,1.0]", "--set", "lr=0.001", "--recipe", "huix2024"]
    for word, own in zip(words[1:4], (["full"], ["linear"], ["partial:2", *recipe]), strict=True):
        assert word[2:-1] == ["cohort.parquet", *backbones, "--mode", *own, *shared]
    outs = [word[word.index("--out") + 1] for word in words[:4]]
    assert words[4][2:-2] == outs
    assert words[4][-1] == words[5][2]


def test_a_search_is_in_the_command_of_its_network(mixed: list[Path]) -> None:
    info = Run.load(mixed[1]).info
    name = "finetune:full:lr=0.001/1e-05,layer_decay=0.65/1"
    settings = {"mode": "full", "search": {"lr": [0.001, 1e-05], "layer_decay": [0.65, 1.0]}}
    system = SystemKey("cohort", "strong-net", info["caches"][0]["fingerprint"], "cls", name)
    searching = {**info, "probes": {name: {**info["probes"]["finetune:full"], "settings": settings}}}
    [command] = commands_of(searching, [system], seeds=[7], out="runs/a")
    words = shlex.split(command)
    assert words[words.index("--search") + 1] == "lr=0.001,1e-05 layer_decay=0.65,1.0"
    assert "--set" not in words


def test_curves_are_merged_with_their_runs(data: ReportData, mixed: list[Path]) -> None:
    runs = [Run.load(folder) for folder in mixed]
    epochs = runs[1].epochs
    assert epochs is not None
    for order in (runs, runs[::-1]):
        merged = merge_runs(order)
        assert merged.epochs is not None
        pd.testing.assert_frame_equal(merged.epochs, epochs)
        assert np.isfinite(merged.timings["peak_bytes"]).sum() == 2 * 3 * 3
        assert merged.info["versions"]["torch"] == "2.6.0"
