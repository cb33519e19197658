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
from medprobe.report.run.tables import comparisons_table
from medprobe.report.run.verdict import conclude

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
        "Which backbone for cohort, frozen or fine-tuned?",
        "Differences between systems",
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
    whole = compare(data.run, "systems")
    for row in rows.to_dict("records"):
        assert summary[row["backbone"], row["b"]] == max(summary[row["backbone"], name] for name in FROZEN)
        assert row["difference"] == pytest.approx(
            summary[row["backbone"], row["a"]] - summary[row["backbone"], row["b"]]
        )
        assert row["low"] < row["difference"] < row["high"]
        names = [f"{row['backbone']} with {row[side]}" for side in ("a", "b")]
        [same] = whole[whole["a"].isin(names) & whole["b"].isin(names)].to_dict("records")
        assert row["p_adjusted"] == same["p_adjusted"]
    assert data.tested == len(whole) == 10 * 9 // 2


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
    assert sentence_to_cite(data).startswith("Of 10 systems (2 backbones, frozen and fine-tuned) on cohort")
    assert sentence_to_cite(load_report_data(mixed[0])).startswith("Of 2 frozen backbones on cohort")
    run = Run.load(mixed[1])
    tables = {name: getattr(run, name).query("probe == 'finetune:full'") for name in ("scores", "predictions")}
    assert sentence_to_cite(report_data(replace(run, **tables))).startswith("Of 2 fine-tuned backbones on cohort")
    probes, head, tuned = protocol(data)[-3:]
    assert probes.startswith("Under k nearest neighbours and logistic regression the backbones are frozen")
    assert head.startswith("Under fine-tuning (linear) the backbones are frozen")
    assert tuned.startswith("Under fine-tuning (full) and fine-tuning (partial:2:crop")
    assert "better than the best frozen probe, fine-tuning (linear)" in report.verdict.caveats


def test_the_verdict_and_the_citation_are_of_what_systems_differ_in(mixed: list[Path]) -> None:
    whole = merge_runs([Run.load(folder) for folder in mixed])
    tables = ("scores", "predictions", "timings", "epochs")

    def only(query: str) -> ReportData:
        return report_data(replace(whole, **{name: getattr(whole, name).query(query) for name in tables}))

    for query, between, axis in (
        ("probe in ['logreg', 'knn']", "backbones", "probe"),
        ("backbone == 'weak-net'", "probes", "backbone"),
        ("backbone == 'weak-net' and probe in ['logreg', 'knn']", "probes", "backbone"),
        ("probe == 'finetune:full'", "backbones", "probe"),
        ("probe in ['logreg', 'finetune:full']", "systems", None),
        ("(backbone == 'weak-net') == (probe == 'finetune:full')", "systems", None),
    ):
        data = only(query)
        rival, verdict = data.runner_up, conclude(data)
        assert (data.between, verdict.certainty) == (between, "open")
        assert rival is not None
        assert (rival["label_a"], rival["probe_a"]) == (data.best["label"], data.best["probe"])
        assert rival["b_label"] in sentence_to_cite(data) or rival["b_label"].lower() in sentence_to_cite(data).lower()
        assert ("not significant" in sentence_to_cite(data)) == (not rival["significant"])
        expected = compare(data.run, between)
        assert len(data.every_comparison) == data.tested == len(expected)
        assert (axis is None) == ({"probe", "backbone"} & set(expected) == set())
        assert set(comparisons_table(data).raw) == set(expected)
        if between != "backbones":
            others = data.summary[data.summary["within"] == data.best["within"]]
            assert (rival["label_b"], rival["probe_b"]) == tuple(others.iloc[1][["label", "probe"]])


def test_networks_on_other_vectors_than_the_probes_come_with_the_command_for_these(
    mixed: list[Path], data: ReportData
) -> None:
    assert data.without_frozen == []
    frozen, tuned = (Run.load(folder) for folder in mixed)
    caches = [
        {
            **one,
            "fingerprint": one["fingerprint"][::-1],
            "spec": {**one["spec"], "transform": {**one["spec"]["transform"], "size": [64, 64]}},
        }
        for one in tuned.info["caches"]
    ]
    moved = {
        name: getattr(tuned, name).assign(fingerprint=getattr(tuned, name)["fingerprint"].str[::-1])
        for name in ("scores", "predictions", "timings", "epochs")
    }
    chosen = {name: table.query("probe != 'finetune:linear'") for name, table in moved.items()}
    probes = {name: about for name, about in tuned.info["probes"].items() if name != "finetune:linear"}
    other = replace(tuned, **chosen, info={**tuned.info, "caches": caches, "probes": probes})
    apart = report_data(merge_runs([frozen, other]))
    assert apart.against_frozen.empty
    found = [shlex.split(sentence.split("`")[1]) for sentence in apart.without_frozen]
    assert {command[command.index("--backbone") + 1] for command in found} == {
        f"{cache['spec']['backbone']}@{cache['fingerprint']}" for cache in caches
    }
    assert all(command[:2] == ["medprobe", "probe"] for command in found)
    assert all("32 × 32" in sentence and "64 × 64" in sentence for sentence in apart.without_frozen)


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
