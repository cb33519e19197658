"""The search for similar images: what is found, how it is scored, and that its run is a run like any other."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Medprobe, assert_refused
from hypothesis import given
from hypothesis import strategies as st
from medprobe.base import ProbeError, ReportError
from medprobe.cache import EmbeddingCache, write_record
from medprobe.evaluate import (
    Run,
    compare,
    compute_statistics,
    find_metric,
    merge_runs,
    predictions_by_system,
    subgroup_scores,
    summarise,
)
from medprobe.evaluate.metrics.retrieval import majority
from medprobe.manifests import Manifest
from medprobe.probe import retrieve, run_probes
from medprobe.report import make_report
from sklearn.neighbors import NearestNeighbors


@pytest.fixture(scope="module")
def shared(study_of, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A study whose patients have one exam in train and one in test, but for some that have both in train."""
    study = study_of(tmp_path_factory.mktemp("shared"), units=80)
    exam = np.arange(80)
    split = np.where((exam % 2 == 1) & (exam < 60), "test", "train")
    table = study.manifest.table.assign(split=split)
    return type(study)(study.folder, Manifest(table, study.manifest.card).save(study.table), study.caches)


@pytest.fixture(scope="module")
def searched(official: Any) -> Run:
    """Both backbones of `official`, whose patients are in one part each; to be read only."""
    return retrieve(official.manifest, official.caches, progress=False)


def _vectors(study: Any, backbone: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The vectors of the units, which have one image each, their classes, their groups and their parts of the split."""
    units, cache = study.manifest.units(), study.caches[backbone]
    rows = cache.rows_of(study.manifest.sample_ids[np.argsort(units.sample_unit)])
    return cache.load("cls")[rows], units.y, units.group, units.split


def _scores_of_query(labels: list[int], label: int, relevant: int, k: int) -> dict[str, float]:
    """The four scores of one query, written as their definitions are."""
    hits, precisions = 0, []
    for rank, found in enumerate(labels[:k], start=1):
        if found == label:
            hits += 1
            precisions.append(hits / rank)
    votes = Counter(labels[:k])
    most = [one for one in votes if votes[one] == max(votes.values())]
    voted = next(one for one in labels if one in most)
    return {
        f"accuracy_at_{k}": float(hits > 0),
        f"vote_at_{k}": float(voted == label),
        f"map_at_{k}": sum(precisions) / hits if hits else 0.0,
        f"map_all_at_{k}": sum(precisions) / min(relevant, k) if relevant else 0.0,
    }


def _test_scores(run: Run, backbone: str) -> dict[str, float]:
    rows = run.scores[run.scores["backbone"] == backbone]
    return dict(zip(rows["metric"], rows["value"], strict=True))


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
def test_what_is_found_is_what_scikit_learn_finds(official: Any, similarity: str) -> None:
    run = retrieve(official.manifest, official.caches, k=[1, 3, 7], similarity=similarity, progress=False)
    assert run.retrieved is not None
    for backbone in (0, 1):
        X, y, _, split = _vectors(official, backbone)
        base, queries = np.flatnonzero(split == "train"), np.flatnonzero(split == "test")
        model = NearestNeighbors(n_neighbors=7, metric=similarity, algorithm="brute").fit(X[base].astype(np.float64))
        expected = base[model.kneighbors(X[queries].astype(np.float64), return_distance=False)]
        rows = run.retrieved[run.retrieved["backbone"] == f"net-{backbone}"]
        assert rows["unit"].tolist() == queries.tolist()
        assert [list(found) for found in rows["found"]] == expected.tolist()
        of_class = Counter(y[base].tolist())
        one_by_one = [
            {
                name: value
                for k in (1, 3, 7)
                for name, value in _scores_of_query(y[found].tolist(), y[query], of_class[y[query]], k).items()
            }
            for query, found in zip(queries, expected, strict=True)
        ]
        scores = _test_scores(run, f"net-{backbone}")
        assert len(scores) == 1 + 4 + 4  # at 1 all four are the same
        for name, value in scores.items():
            assert value == pytest.approx(np.mean([query[name] for query in one_by_one])), name


@pytest.mark.parametrize("same_group", [False, True])
def test_a_query_never_finds_its_own_patient_unless_requested(shared: Any, same_group: bool) -> None:
    run = retrieve(shared.manifest, shared.caches[:1], k=4, same_group=same_group, progress=False)
    assert run.retrieved is not None
    X, y, group, split = _vectors(shared, 0)
    X = X / np.linalg.norm(X, axis=1, keepdims=True)
    base, own, scores = np.flatnonzero(split == "train"), 0, []
    for _, row in run.retrieved.iterrows():
        query = row["unit"]
        members = base if same_group else base[group[base] != group[query]]
        nearest = members[np.argsort(-(X[members] @ X[query]), kind="stable")]
        assert list(row["found"]) == nearest[:4].tolist()
        assert row["relevant"] == (y[members] == y[query]).sum()
        own += int((group[nearest[:4]] == group[query]).any())
        scores.append(_scores_of_query(y[nearest].tolist(), y[query], row["relevant"], 4))
    assert bool(own) == same_group
    for name, value in _test_scores(run, "net-0").items():
        assert value == pytest.approx(np.mean([query[name] for query in scores])), name
    assert ("group-across-splits" in run.info["warning_codes"]) == same_group


def test_a_copy_of_the_query_under_another_patient_is_not_found(official: Any, cache_of, tmp_path: Path) -> None:
    ids, split = official.manifest.sample_ids, official.manifest.table["split"].to_numpy()
    X = np.random.default_rng(0).standard_normal((len(ids), 6))
    query, copy = np.flatnonzero(split == "test")[0], np.flatnonzero(split == "train")[0]
    X[copy], pixels = X[query], np.arange(1, len(ids) + 1)
    pixels[copy] = pixels[query]
    cache = cache_of(tmp_path, "cohort", ids, {"cls": X}, pixels=pixels)
    for same_group in (False, True):
        run = retrieve(official.manifest, cache, k=1, same_group=same_group, progress=False)
        assert run.retrieved is not None
        assert (run.retrieved["found"].iloc[0][0] == copy) == same_group
        assert ("copies-tied" in run.info["warning_codes"]) != same_group
        assert ("pixels-across-splits" in run.info["warning_codes"]) == same_group


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8))
def test_of_a_tied_vote_the_class_of_the_nearest_wins(labels: list[int]) -> None:
    expected = next(n for n in labels if labels.count(n) == max(map(labels.count, labels)))
    assert majority(np.array([labels])).tolist() == [expected]


def test_results_do_not_depend_on_the_order_of_rows_or_caches(official: Any, searched: Run) -> None:
    shuffled = official.manifest.table.sample(frac=1, random_state=1)
    again = retrieve(Manifest(shuffled, official.manifest.card), official.caches[::-1], progress=False)
    assert again.scores.equals(searched.scores)
    assert again.predictions.equals(searched.predictions)


def test_the_votes_are_the_predictions_and_statistics_repeat_the_scores(searched: Run) -> None:
    for system, [predicted] in predictions_by_system(searched).items():
        scores = _test_scores(searched, system.backbone)
        for name, value in scores.items():
            assert find_metric(name).value(predicted.scored) == value
        assert find_metric("accuracy").value(predicted.scored) == pytest.approx(scores["vote_at_5"])
        np.testing.assert_allclose(predicted.scored.proba.sum(axis=1), 1, rtol=1e-6)
    summary = summarise(searched, draws=200)
    assert set(summary["metric"]) == {"map_at_5"}
    assert (summary["low"] < summary["mean"]).all()
    assert (summary["mean"] < summary["high"]).all()
    assert not any("one seed" in note for note in summary["note"])


def test_an_interval_is_that_of_the_mean_over_queries_by_group(searched: Run) -> None:
    """A jackknife over patients of the mean over queries, computed from the scores of the queries themselves."""
    metric = find_metric("map_at_5")
    predicted = predictions_by_system(searched)
    for system, [p] in predicted.items():
        each = np.array([metric.value(p.scored.at(np.array([row]))) for row in range(len(p.unit))])
        groups = np.unique(p.group)
        left_out = np.array([each[p.group != group].mean() for group in groups])
        error = np.sqrt((len(groups) - 1) * left_out.var())
        row = summarise(searched, draws=100).set_index("backbone").loc[system.backbone]
        assert each.mean() == pytest.approx(row["mean"])
        assert 0.5 < (row["high"] - row["low"]) / (2 * 2.145 * error) < 1.5  # Student's t of 15 groups


def test_statistics_and_a_report_are_made_of_it(searched: Run, tmp_path: Path) -> None:
    [compared] = compare(searched, draws=200).to_dict("records")
    assert (compared["a"], compared["test"], compared["note"]) == ("net-0", "jackknife", "")
    tables = compute_statistics([searched], metric="vote_at_3").tables
    assert set(tables["summary"]["metric"]) == {"vote_at_3"}
    with pytest.raises(ReportError, match="a search has no val"):
        compute_statistics([searched], calibration=True)
    report = make_report(searched.save(tmp_path / "run"))
    page = report.files["report.html"].decode()
    assert "Each of the 30 units of the data set&#39;s test part is a query" in page
    assert 'id="probabilities"' not in page
    assert "Hyper-parameters" not in page
    assert "figures/calibration.svg" not in report.files
    assert "over 30 queries." in report.verdict.score


def test_subgroups_of_queries_are_scored(official: Any) -> None:
    unit = official.manifest.table["unit_id"].str[-4:].astype(int)
    table = official.manifest.table.assign(site=np.where(unit // 8 % 2 == 0, "north", "south"))
    card = official.manifest.card.model_copy(update={"attributes": ["site"]})
    scores, _ = subgroup_scores(retrieve(Manifest(table, card), official.caches, progress=False), draws=100)
    assert set(scores["metric"]) == {"map_at_5"}
    assert set(scores["subgroup"]) == {"north", "south"}


def test_merged_searches_are_the_search_of_all(official: Any, searched: Run, tmp_path: Path) -> None:
    parts = [retrieve(official.manifest, cache, progress=False) for cache in official.caches]
    merge_runs(parts[::-1]).save(tmp_path / "merged")
    searched.save(tmp_path / "all")
    for name in ("scores", "predictions", "retrieved"):
        merged, alone = ((tmp_path / run / f"{name}.parquet").read_bytes() for run in ("merged", "all"))
        assert merged == alone, name
    assert Run.load(tmp_path / "merged").info == Run.load(tmp_path / "all").info


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 91}, r"k = 91, but train has 90 units to search, without those of a query's own patient"),
        ({"k": []}, "whole number from 1"),
        ({"k": [0, 5]}, "whole number from 1"),
        ({"k": [1.5]}, "whole number from 1"),
        ({"similarity": "cosin"}, "cosine"),
        ({"poolings": "mean"}, "no cache has the pooling mean"),
    ],
)
def test_options_that_make_no_sense_are_refused(official: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        retrieve(official.manifest, official.caches, progress=False, **options)


def test_as_many_as_there_are_of_other_patients_can_be_found(shared: Any) -> None:
    base = int((shared.manifest.table["split"] == "train").sum())
    retrieve(shared.manifest, shared.caches, k=base - 1, progress=False)
    retrieve(shared.manifest, shared.caches, k=base, same_group=True, progress=False)
    with pytest.raises(ProbeError, match=f"train has {base - 1} units to search, without"):
        retrieve(shared.manifest, shared.caches, k=base, progress=False)


def test_queries_with_nothing_to_find_are_left_out_with_a_warning(official: Any, searched: Run) -> None:
    table, card = official.manifest.table, official.manifest.card
    without = table[(table["label"] != "b") | (table["split"] == "test")]
    run = retrieve(Manifest(without, card), official.caches, progress=False)
    queries = table[table["split"] == "test"]
    left = (queries["label"] != "b").sum()
    assert set(run.scores["n_test"]) == {left}
    at = run.info["warning_codes"].index("queries-left-out")
    assert run.info["warnings"][at].startswith(f"{len(queries) - left} queries are left out")
    assert run.retrieved is not None
    assert (run.retrieved["relevant"] > 0).all()
    assert "queries-left-out" not in searched.info["warning_codes"]


def test_data_that_cannot_be_searched_are_refused(official: Any, study: Any, study_of, tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="no caches are given"):
        retrieve(official.manifest, [], progress=False)
    with pytest.raises(ProbeError, match="no unit is in train, test"):
        retrieve(study.manifest, study.caches, progress=False)
    table = official.manifest.table
    foreign = table.assign(split=np.where(table["label"] == "b", "test", "train"))
    with pytest.raises(ProbeError, match="no unit of the class of any query"):
        retrieve(Manifest(foreign, official.manifest.card), official.caches, progress=False)
    labels = study_of(tmp_path, task="multilabel", split=True)
    with pytest.raises(ProbeError, match="is multilabel"):
        retrieve(labels.manifest, labels.caches, progress=False)


def test_scores_of_a_search_are_unknown_to_other_runs(official: Any, searched: Run) -> None:
    with pytest.raises(ProbeError, match="map_at_7 is not defined"):
        summarise(searched, metric="map_at_7")
    with pytest.raises(ProbeError, match="map_at_5 is not defined for a multiclass task"):
        run_probes(official.manifest, official.caches, metric="map_at_5", progress=False)


@pytest.fixture(scope="module")
def recorded(study_of, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest with a split and two caches, one of which has a record, `net-0.json`; gives the manifest's table."""
    study = study_of(tmp_path_factory.mktemp("recorded"), split=True)
    write_record(study.caches[0], study.manifest, study.folder / "net-0.json")
    return study.table


def test_the_command_prints_every_score_of_the_largest_k_and_saves_a_run(
    recorded: Path, tmp_path: Path, medprobe: Medprobe
) -> None:
    status, printed, message = medprobe("retrieve", recorded, "--k", "1,2,4", "--out", tmp_path / "run")
    assert status == 0, message
    head = next(line for line in printed.splitlines() if "Vote@4" in line)
    assert "  ".join(head.split()) == "backbone  Accuracy@1  Accuracy@2  Accuracy@4  Vote@4  mAP@4  mAP@4  of  all"
    assert len(head) <= 80
    run = Run.load(tmp_path / "run")
    row = next(line.split() for line in printed.splitlines() if line.split()[:1] == ["net-1"])
    assert row[-2] == f"{_test_scores(run, 'net-1')['map_at_4']:.3f}"
    again = make_report(tmp_path / "run").files["report.html"].decode()
    fingerprint = EmbeddingCache.open(next((recorded.parent / "embeddings" / "cohort").glob("net-0*"))).spec.fingerprint
    assert f"medprobe retrieve cohort.parquet --backbone net-0@{fingerprint}" in again
    assert "--k 1,2,4 --similarity cosine --out" in again


def test_the_command_reads_recorded_caches_alone(recorded: Path, tmp_path: Path, medprobe: Medprobe) -> None:
    words = ("--record", recorded.with_name("net-0.json"), "--similarity", "euclidean", "--same-group")
    status, _, message = medprobe("retrieve", recorded, *words, "--out", tmp_path / "run")
    assert status == 0, message
    run = Run.load(tmp_path / "run")
    assert set(run.scores["backbone"]) == {"net-0"}
    assert list(run.info["probes"]) == ["retrieve:similarity=euclidean,same_group=True"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--k", "five"), '--k "five": give whole numbers such as 1,3,5.'),
        (("--k", "1000"), "k = 1000, but train has 90 units"),
        (("--backbone", "net-9"), "no embeddings by net-9"),
        (("--record", "net.json", "--pooling", "cls"), "leave out --backbone and --pooling"),
    ],
)
def test_the_command_refuses_in_one_line(
    recorded: Path, tmp_path: Path, medprobe: Medprobe, words: tuple[str, ...], message: str
) -> None:
    assert_refused(*medprobe("retrieve", recorded, *words, "--out", tmp_path / "r"), tmp_path / "r", message)
