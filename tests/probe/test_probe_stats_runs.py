"""`medprobe stats`: further tests and ranks of whole runs, and what a user reads of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from delong_of_scores import delong
from medprobe.base import ProbeError
from medprobe.evaluate import (
    Run,
    benjamini_hochberg,
    compare,
    compute_statistics,
    holm,
    predictions_by_system,
    rank_over_datasets,
    significance_tests,
)
from medprobe.evaluate.statistics.p_values import mcnemar_test
from medprobe.evaluate.statistics.ranking import rankings_table
from medprobe.manifests import Manifest
from medprobe.report import draw_ranking

Medprobe = Callable[..., tuple[int, str, str]]


def test_probes_are_compared_on_each_backbone_as_backbones_are_under_each_probe(study) -> None:
    run = study.probe(probes=("knn", "centroid"), seeds=range(3))
    table = compare(run, "probes")
    assert table[["backbone", "a", "b"]].to_numpy().tolist() == [
        ["net-0", "centroid", "knn"],
        ["net-1", "centroid", "knn"],
    ]
    np.testing.assert_array_equal(table["p_adjusted"], holm(table["p"].to_numpy()))
    # What is called a backbone does not matter to the arithmetic: turned round, it is the other comparison.
    turned = {"backbone": "probe", "probe": "backbone"}
    about = dict.fromkeys(("net-0", "net-1"), run.info["probes"]["knn"])
    tables = {name: getattr(run, name).rename(columns=turned) for name in ("scores", "predictions")}
    swapped = replace(run, **tables, info={**run.info, "probes": about})
    pd.testing.assert_series_equal(compare(swapped)["p"], table["p"])


def test_under_one_shared_test_delong_and_mcnemar_are_over_all_seeds_at_once(tmp_path, study_of) -> None:
    run = study_of(tmp_path, task="binary", split=True).probe(seeds=range(3))
    table = significance_tests(run).set_index("test")
    a, b = predictions_by_system(run).values()
    chances = [np.stack([p.scored.proba[:, 1] for p in side]) for side in (a, b)]
    wanted = delong(a[0].scored.y == 1, chances[0], chances[1], a[0].group)
    assert table.loc["delong", "p"] == pytest.approx(wanted.p)
    assert table.loc["delong", "difference"] == pytest.approx(wanted.auc_a - wanted.auc_b)
    assert table.loc["delong", "class"] == "ill"
    right = [sum((p.scored.predicted == p.scored.y).astype(int) for p in side) for side in (a, b)]
    by_patient = pd.Series(right[0] - right[1]).groupby(a[0].group).sum().to_numpy()
    assert table.loc["mcnemar", "p"] == pytest.approx(mcnemar_test(by_patient)[0])


def test_where_each_seed_has_its_own_test_the_p_is_twice_the_median(study) -> None:
    run = study.probe(seeds=range(3))
    whole = significance_tests(run, tests=["mcnemar"]).iloc[0]
    scores = run.scores.drop_duplicates("metric")
    single = []
    for seed in range(3):
        one = replace(run, scores=scores, predictions=run.predictions[run.predictions["seed"] == seed])
        single.append(significance_tests(one, tests=["mcnemar"])["p"].iloc[0])
    assert whole["p"] == pytest.approx(min(1, 2 * np.median(single)))
    assert whole["note"] == "twice the median p of 3 tests"


def test_each_class_has_a_delong_row_and_each_test_is_corrected_on_its_own(study) -> None:
    table = significance_tests(study.probe(seeds=range(2)), correction="bh")
    assert table.query("test == 'delong'")["class"].tolist() == ["a", "b", "c"]
    assert table["test"].unique().tolist() == ["wilcoxon", "delong", "mcnemar"]
    alone = table.query("test == 'mcnemar'")
    assert alone["p_adjusted"].tolist() == alone["p"].tolist()
    assert (table["significant"] == (table["p_adjusted"] < 0.05)).all()


def test_what_is_significant_follows_the_correction_that_was_asked_for(tmp_path, study_of) -> None:
    study = study_of(tmp_path, signal=(1.2, 0.8, 0.6, 0.5), units=120)
    run = study.probe(probes=("knn", "centroid"), seeds=range(4))
    seen = []
    for correction, adjust in (("holm", holm), ("bh", benjamini_hochberg)):
        tables = compute_statistics([run], correction=correction).tables
        for name, groups in (
            ("comparisons", [slice(None)]),
            ("tests", tables["tests"].groupby("test").groups.values()),
        ):
            table = tables[name]
            assert "p_holm" not in table
            assert set(table["correction"]) == {correction}
            for rows in groups:
                p = table["p"].to_numpy()[rows]
                np.testing.assert_allclose(table["p_adjusted"].to_numpy()[rows], adjust(p))
            assert (table["significant"] == (table["p_adjusted"] < 0.05)).all()
        seen.append(tables["comparisons"]["significant"].sum())
    assert seen[0] < seen[1]  # so that one could not stand for the other
    with pytest.raises(ProbeError, match='Did you mean "holm"'):
        compare(run, correction="holmes")


def test_no_table_has_a_gap_without_a_reason_beside_it(tmp_path, study_of) -> None:
    """One seed, one class absent from some tests, areas that differ without an error: all that is missing is told."""
    study = study_of(tmp_path, units=60, groups=False, signal=(0.9, 0.4), seed=2)
    table = study.manifest.table.assign(sex=np.where(np.arange(60) < 55, "f", "m"))
    card = study.manifest.card.model_copy(update={"attributes": ["sex"]})
    run = study.probe(manifest=Manifest(table, card), probes=["knn", "centroid"], seeds=[0])
    predictions = run.predictions.copy()
    # One backbone ranks every unit right and the other every unit wrong, so that no draw changes either.
    right = np.eye(3)[predictions["y"]]
    turned = np.where((predictions["backbone"] == "net-0").to_numpy()[:, None], right, (1 - right) / 2)
    predictions["proba"] = pd.Series(list(turned)).astype(predictions["proba"].dtype)
    for told in (run, replace(run, predictions=predictions)):
        for interval in ("wilson", "percentile"):
            found = compute_statistics([told], interval=interval, subgroups=True, calibration=True).tables
            assert set(found) >= {"summary", "comparisons", "tests", "subgroups", "gaps", "temperature"}
            for name, rows in found.items():
                gaps = rows.isna().any(axis=1)
                reasons = [rows[column] for column in ("note", "reason") if column in rows]
                said = sum(reasons, start=pd.Series("", index=rows.index))
                assert (said[gaps] != "").all(), (name, rows[gaps & (said == "")].to_dict("records"))
    why = significance_tests(told, tests=["delong"])["note"]
    assert why.str.startswith("no p:").all()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"tests": ["delon"]}, 'Did you mean "delong"'),
        ({"tests": []}, "none is named"),
        ({"between": "probe"}, 'Did you mean "probes"'),
        ({"correction": "none"}, "holm, bh"),
    ],
)
def test_what_cannot_be_compared_is_refused(run: Run, wrong: dict, told: str) -> None:
    with pytest.raises(ProbeError, match=told):
        significance_tests(run, **wrong)


# --- ranks


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, study_of) -> list[Run]:
    """Three data sets of two tasks, on which net-0 is the best and net-2 the worst backbone."""
    home = tmp_path_factory.mktemp("several")
    tasks = ("binary", "multiclass", "multiclass")
    return [
        study_of(home / str(i), task=task, signal=(1.0, 0.5, 0.15), seed=i, name=f"set-{i}").probe(
            probes=("knn", "centroid")
        )
        for i, task in enumerate(tasks)
    ]


def test_ranks_are_of_each_data_sets_own_metric_and_means_of_the_scores(several: list[Run]) -> None:
    found = {ranking.within: ranking for ranking in rank_over_datasets(several)}
    assert set(found) == {"knn", "centroid"}
    ranking = found["knn"]
    assert ranking.metrics == ("roc_auc", "balanced_accuracy", "balanced_accuracy")
    assert ranking.names[0] == "net-0"
    assert ranking.names[-1] == "net-2"
    wide = pd.DataFrame(ranking.scores, columns=list(ranking.names))
    np.testing.assert_allclose(ranking.mean_ranks, wide.rank(axis=1, ascending=False).mean())
    first = several[0].scores.query("split == 'test' and metric == 'roc_auc' and probe == 'knn'")
    assert wide.loc[0, "net-0"] == pytest.approx(first.query("backbone == 'net-0'")["value"].mean())
    assert "3 data sets: too few to find much" in ranking.notes


def test_two_data_sets_that_agree_are_no_proof(several: list[Run]) -> None:
    """They agree on three backbones once in six; F would be infinite and its p 0."""
    ranking = next(ranking for ranking in rank_over_datasets(several[1:]) if ranking.mean_ranks.tolist() == [1, 2, 3])
    assert ranking.friedman is not None
    assert ranking.friedman.p == pytest.approx(1 / 6)
    assert not ranking.significant.any()
    table = rankings_table([ranking])
    assert table["f"].isna().all()
    assert table["p"].tolist() == pytest.approx([1 / 6] * 3)


def test_where_less_is_better_the_lowest_ranks_first(several: list[Run]) -> None:
    for ranking in rank_over_datasets(several, metric="log_loss"):
        assert (ranking.scores > 0).all()
        assert ranking.scores[:, 0].mean() < ranking.scores[:, -1].mean()


def test_two_are_told_apart_by_wilcoxon_and_one_that_is_not_everywhere_is_left_out(several: list[Run]) -> None:
    lacking = replace(several[0], scores=several[0].scores.query("backbone != 'net-1'"))
    (ranking, _) = rank_over_datasets([lacking, *several[1:]])
    assert ranking.names == ("net-0", "net-2")
    assert (ranking.test, ranking.friedman) == ("wilcoxon", None)
    assert np.isnan(ranking.critical_difference)
    assert "skipped, without a score in some data set: net-1" in ranking.notes
    table = rankings_table([ranking])
    assert table["not_apart"].tolist() == ["net-2", "net-0"]  # three data sets cannot tell
    assert table["critical_difference"].isna().all()
    assert table["note"].str.startswith("of two: Wilcoxon's signed ranks, no Friedman").all()


@pytest.mark.parametrize("between", ["backbones", "probes", "systems"])
def test_backbones_whose_specs_follow_the_data_set_are_ranked_by_name(several: list[Run], between: str) -> None:
    def of_own_specs(run: Run) -> Run:
        own = run.scores["fingerprint"] + run.info["dataset"]["name"]
        labels = run.scores["backbone"] + "@" + own
        return replace(run, scores=run.scores.assign(backbone=labels, fingerprint=own))

    plain, apart = ([*runs] for runs in (several, map(of_own_specs, several)))
    expected, found = (rankings_table(rank_over_datasets(runs, between=between)) for runs in (plain, apart))
    pd.testing.assert_frame_equal(found.drop(columns="note"), expected.drop(columns="note"))
    assert found["note"].str.contains("embedded under several specs").all() == (between == "backbones")


def test_runs_that_cannot_be_ranked_are_refused(several: list[Run]) -> None:
    with pytest.raises(ProbeError, match="at least two data sets, here is set-0"):
        rank_over_datasets(several[:1])
    with pytest.raises(ProbeError, match="several of set-0"):
        rank_over_datasets([several[0], several[0]])
    knn, centroid = (
        replace(run, scores=run.scores.query("probe == @probe"))
        for run, probe in zip(several, ("knn", "centroid"), strict=False)
    )
    with pytest.raises(ProbeError, match="no two backbones have a score under the same probe"):
        rank_over_datasets([knn, centroid])


def test_the_diagram_is_the_same_bytes_again_and_joins_what_is_not_told_apart(several: list[Run]) -> None:
    ranking = rank_over_datasets(several)[0]
    drawn, again = draw_ranking(ranking), draw_ranking(ranking)
    assert (drawn.svg, drawn.png) == (again.svg, again.png)
    shown = " ".join(text.get_text() for text in ranking.plot().axes[0].texts)
    assert all(name in shown for name in ranking.names)
    assert drawn.svg.startswith(b"<?xml")
    assert drawn.png.startswith(b"\x89PNG")
    apart = replace(ranking, p=np.where(np.eye(3, dtype=bool), 1.0, 0.0), friedman=ranking.friedman._replace(p=0.0))
    assert ranking.cliques
    assert apart.cliques == []
    assert draw_ranking(apart).svg != drawn.svg


# --- the command


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, several: list[Run]) -> list[Path]:
    home = tmp_path_factory.mktemp("folders")
    return [run.save(home / str(i)) for i, run in enumerate(several)]


def test_the_tables_fit_eighty_columns_and_say_what_the_functions_say(folders: list[Path], medprobe: Medprobe) -> None:
    status, printed, told = medprobe("stats", folders[1], "--calibration")
    assert status == 0, told
    assert max(map(len, printed.splitlines())) <= 80
    run = Run.load(folders[1])
    (knn,) = significance_tests(run, tests=["mcnemar"]).query("probe == 'knn' and a == 'net-0' and b == 'net-2'")["p"]
    rows = [line.split() for line in printed.split("McNemar")[1].splitlines() if " net-2 " in line]
    shown = next(row for row in rows if row[:4] == ["knn", "net-0", "-", "net-2"])
    assert (shown[5] == "<") == (knn < 0.001)
    assert "<" in shown[5] or float(shown[5]) == pytest.approx(knn, abs=5e-4)
    for word in ("DeLong", "Wilcoxon", "Temperature scaling", "Brier = reliability"):
        assert word in printed


def test_subgroups_and_long_names_fit_too_and_what_has_no_score_is_named(
    tmp_path: Path, study_of, cache_of, medprobe: Medprobe
) -> None:
    study = study_of(tmp_path, units=160, signal=(0.9,))
    ids, X = study.manifest.sample_ids, np.random.default_rng(0).standard_normal((160, 4))
    name = "hf:facebook/dinov2-with-registers-giant-imagenet1k-1-layer"
    caches = [*study.caches, cache_of(tmp_path / "long", "cohort", ids, {"cls": X}, backbone=name)]
    table = study.manifest.table.assign(
        site=np.select([np.arange(160) < 8, np.arange(160) % 4 < 2], ["rare", "a"], "b"),
        scanner=np.where(np.arange(160) < 8, "rare", "a"),
    )
    card = study.manifest.card.model_copy(update={"attributes": ["site", "scanner"]})
    run = study.probe(manifest=Manifest(table, card), caches=caches, shots=[2], probes=["knn", "centroid"])
    folder = run.save(tmp_path / "run")
    for words in ((), ("--between", "probes", "--interval", "percentile")):
        status, printed, _ = medprobe("stats", folder, "--subgroups", "--calibration", *words)
        assert status == 0
        tables = [line for line in printed.splitlines() if not line.startswith("note")]
        assert max(map(len, tables)) <= 80
        assert "note: site: rare has no score: " in printed
        assert "note: scanner has no gap: " in printed
        assert " of 4 gaps exclude zero." in printed
        for title in ("Subgroups: ", "Gaps between ", "Differences: ", "McNemar's test: "):
            assert title in printed


def test_two_data_sets_that_agree_are_told_in_plain_numbers(folders: list[Path], medprobe: Medprobe) -> None:
    status, printed, _ = medprobe("stats", *folders[1:], "--ranks")
    assert status == 0
    agreed = "Friedman: chi2 = 4.00 (p = 0.135), by permutation p = 0.167: they are not shown to differ."
    assert agreed in printed
    status, printed, _ = medprobe("stats", *folders[1:], "--ranks", "--json")
    assert all(row["f"] is None for row in json.loads(printed)["ranks"] if row["p"] < 0.17)


def test_ranks_come_from_scores_alone(folders: list[Path], tmp_path: Path, medprobe: Medprobe) -> None:
    lighter = [shutil.copytree(folder, tmp_path / folder.name) for folder in folders]
    for folder in lighter:
        assert len(Run.load(folder, predictions=False).predictions) == 0
        (folder / "predictions.parquet").unlink()
    assert medprobe("stats", *lighter, "--ranks")[:2] == medprobe("stats", *folders, "--ranks")[:2]


def test_json_is_json_alone_and_has_the_tables(folders: list[Path], medprobe: Medprobe) -> None:
    status, printed, _ = medprobe("stats", *folders, "--test", "verdict", "--interval", "percentile", "--json")
    assert status == 0
    found = json.loads(printed)
    assert [run["dataset"] for run in found["runs"]] == ["set-0", "set-1", "set-2"]
    assert set(found) == {"runs", "summary", "comparisons", "ranks", "rank_pairs"}
    assert len(found["summary"]) == 3 * 2 * 3
    assert all(row["correction"] == "holm" for row in found["comparisons"])


def test_files_are_written_where_asked_and_nowhere_near_a_run(
    folders: list[Path], tmp_path: Path, medprobe: Medprobe
) -> None:
    out = tmp_path / "deep" / "stats"
    assert medprobe("stats", *folders, "--ranks", "--between", "probes", "--out", out)[0] == 0
    names = {path.name for path in out.iterdir()}
    assert names >= {"ranks.csv", "rank_pairs.csv", "ranks-net-0.svg", "ranks-net-0.png"}
    assert len(pd.read_csv(out / "ranks.csv")) == 3 * 2
    assert medprobe("stats", *folders, "--between", "systems", "--out", out)[0] == 0
    assert (out / "ranks-systems.svg").exists()
    assert len(pd.read_csv(out / "ranks.csv")) == 3 * 2
    assert len(pd.read_csv(out / "comparisons.csv")) == 3 * 15
    status, printed, told = medprobe("stats", folders[0], "--out", folders[1])
    assert (status, printed) == (1, "")
    assert "run folder" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--metric", "roc_acu"), 'Did you mean "roc_auc"'),
        (("--metric", "quadratic_kappa"), "not defined for a"),
        (("--test", "delon"), 'Did you mean "delong"'),
        (("--subgroups",), "no attributes"),
        (("--ranks",), "at least two data sets"),
        (("--out", __file__), "is not a folder"),
    ],
    ids=lambda word: " ".join(map(str, word[:1])) if isinstance(word, tuple) else "",
)
def test_what_makes_no_sense_is_one_line(
    folders: list[Path], medprobe: Medprobe, words: tuple[str, ...], told: str
) -> None:
    status, printed, said = medprobe("stats", folders[1], *words)
    assert (status, printed) == (1, "")
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert told in said


def test_a_run_that_is_not_there_or_is_damaged_is_one_line(
    folders: list[Path], tmp_path: Path, medprobe: Medprobe
) -> None:
    import shutil

    assert "does not exist" in medprobe("stats", tmp_path / "nothing")[2]
    broken = Path(shutil.copytree(folders[0], tmp_path / "broken"))
    (broken / "units.parquet").write_bytes(b"PAR1")
    status, printed, told = medprobe("stats", broken)
    assert (status, printed) == (1, "")
    assert "units.parquet: is damaged" in told
