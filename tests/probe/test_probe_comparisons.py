"""Comparisons of whole runs: paired on the same patients, corrected together, the same verdict read either way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from medprobe.base import ReportError
from medprobe.evaluate import (
    METRICS,
    Run,
    SystemKey,
    compare,
    holm,
    merge_runs,
    predictions_by_system,
    summarise,
    weighted_scores,
)
from medprobe.evaluate.metrics.functions import mean_of_defined
from medprobe.evaluate.statistics.bootstrap import GroupDraws
from medprobe.evaluate.statistics.comparison import corrected_t_test, jackknife_test
from medprobe.evaluate.statistics.pairing import system_labels
from medprobe.evaluate.statistics.summary import metric_samples, summarise_metrics

ACCURACY = METRICS["accuracy"]


def _renamed(run: Run, names: dict[str, str]) -> Run:
    """The same run with its backbones called otherwise."""
    tables = {
        name: getattr(run, name).assign(backbone=getattr(run, name)["backbone"].map(names))
        for name in ("scores", "predictions", "timings")
    }
    return replace(run, **tables)


@pytest.mark.parametrize("kind", ["study", "official"])
@pytest.mark.parametrize("metric", ["balanced_accuracy", "log_loss"])
def test_a_comparison_read_the_other_way_round_says_the_same(kind: str, metric: str, request) -> None:
    run = request.getfixturevalue(kind).probe(seeds=range(4))
    turned = _renamed(run, {"net-0": "net-1", "net-1": "net-0"})
    (one,), (other,) = (compare(r, metric=metric).to_dict("records") for r in (run, turned))
    assert (one["a"], one["b"]) == (other["a"], other["b"]) == ("net-0", "net-1")
    assert one["difference"] == pytest.approx(-other["difference"])
    assert (one["low"], one["high"]) == pytest.approx((-other["high"], -other["low"]))
    assert one["p"] == pytest.approx(other["p"])
    assert (one["mean_a"], one["mean_b"]) == pytest.approx((other["mean_b"], other["mean_a"]))
    assert one["test"] == other["test"] == {"study": "corrected-t", "official": "jackknife"}[kind]
    assert one["difference"] == pytest.approx(one["mean_a"] - one["mean_b"])


@pytest.mark.parametrize("kind", ["study", "official"])
def test_a_backbone_is_not_told_apart_from_itself(kind: str, request) -> None:
    run = request.getfixturevalue(kind).probe(seeds=range(3))
    twins = {
        name: pd.concat(
            [part := getattr(run, name).query("backbone == 'net-0'"), part.assign(backbone="twin")], ignore_index=True
        )
        for name in ("scores", "predictions", "timings")
    }
    (row,) = compare(replace(run, **twins)).to_dict("records")
    assert (row["difference"], row["p"], row["p_adjusted"]) == (0, 1, 1)
    assert row["low"] <= 0 <= row["high"]
    assert not row["significant"]


def test_comparisons_are_paired_on_the_same_patients(run: Run) -> None:
    """Two that err on the same patients are compared more sharply than their intervals suggest."""
    summary = summarise(run, draws=2000)
    widths = (summary["high"] - summary["low"]).to_numpy()
    other = run.predictions.query("backbone == 'net-1'").copy()
    flipped = other["proba"].map(lambda p: [p[1], p[2], p[0]])  # wrong in other ways on a tenth of the units
    other["proba"] = np.where(other["unit"] % 10 == 0, flipped, other["proba"])
    near = pd.concat([run.predictions.query("backbone == 'net-1'"), other.assign(backbone="near")])
    scores = run.scores.query("backbone == 'net-1'")
    close = replace(run, predictions=near, scores=pd.concat([scores, scores.assign(backbone="near")]))
    (row,) = compare(close, draws=2000).to_dict("records")
    assert row["high"] - row["low"] < widths.max()


def test_every_two_backbones_are_compared_within_each_probe_and_corrected_together(tmp_path, study_of) -> None:
    study = study_of(tmp_path, signal=(1.2, 0.8, 0.2), units=200)
    run = study.probe(probes=("logreg", "knn"), seeds=range(4))
    table = compare(run)
    pairs = [("net-0", "net-1"), ("net-0", "net-2"), ("net-1", "net-2")]
    assert list(table[["probe", "a", "b"]].itertuples(index=False, name=None)) == [
        (probe, a, b) for probe in ("knn", "logreg") for a, b in pairs
    ]
    np.testing.assert_array_equal(table["p_adjusted"], holm(table["p"].to_numpy()))
    assert (table["significant"] == (table["p_adjusted"] < 0.05)).all()


def test_systems_are_compared_whatever_they_differ_in(run) -> None:
    table, summary = compare(run, "systems"), summarise(run)
    assert len(table) == len(summary) * (len(summary) - 1) // 2
    for between, names in (("backbones", "{side} with {within}"), ("probes", "{within} with {side}")):
        for row in compare(run, between).to_dict("records"):
            within = row["probe" if between == "backbones" else "backbone"]
            sides = [names.format(side=row[one], within=within) for one in ("a", "b")]
            [same] = table[table["a"].isin(sides) & table["b"].isin(sides)].to_dict("records")
            assert (abs(same["difference"]), same["p"]) == (abs(row["difference"]), row["p"])


def test_the_ratio_of_the_corrected_t_is_units_tested_over_units_fitted(study) -> None:
    for refit in (True, False):
        run = study.probe(seeds=range(5), refit=refit)
        test = run.scores.query("split == 'test' and metric == 'accuracy'").sort_values("seed")
        a, b = (test[test["backbone"] == name] for name in ("net-0", "net-1"))
        fitted = a["n_train"] + (a["n_val"] if refit else 0)
        ratio = (a["n_test"] / fitted).mean()
        wanted = corrected_t_test(a["value"].to_numpy() - b["value"].to_numpy(), ratio)
        assert compare(run, metric="accuracy")["p"].iloc[0] == pytest.approx(wanted)


def test_under_official_the_test_counts_the_patients_of_the_test(official) -> None:
    run = official.probe(seeds=range(3))
    (row,) = compare(run, metric="accuracy", draws=500).to_dict("records")
    a, b = predictions_by_system(run).values()
    draws = GroupDraws([*a, *b])
    left_out = mean_of_defined(draws.leaving_out(ACCURACY, a) - draws.leaving_out(ACCURACY, b))
    values = [np.array([float(weighted_scores(ACCURACY, p.scored)[0][0]) for p in side]) for side in (a, b)]
    patients = len(set(official.manifest.table.query("split == 'test'")["group_id"]))
    assert row["p"] == pytest.approx(jackknife_test(values[0] - values[1], left_out, groups=patients)[0])
    assert row["p"] != pytest.approx(jackknife_test(values[0] - values[1], left_out, groups=3 * patients)[0])


def test_one_seed_under_holdout_falls_back_on_the_jackknife_and_says_so(study) -> None:
    (row,) = compare(study.probe(seeds=[0])).to_dict("records")
    assert row["test"] == "jackknife"
    assert "one seed: no corrected t" in row["note"]
    assert 0 < row["p"] <= 1


@pytest.mark.parametrize("metric", ["roc_auc", "accuracy"])
def test_every_metric_has_the_mean_and_sd_of_its_own_summary(study, metric: str) -> None:
    """Three folds a seed, in one of which the metric has no value: a mean of seeds' means would be another."""
    run = study.probe(folds=3, seeds=range(3))
    scores = run.scores.copy()
    gone = (scores["seed"] == 1) & (scores["fold"] == 2) & (scores["metric"] == metric)
    scores.loc[gone, "value"] = np.nan
    means = summarise_metrics(replace(run, scores=scores)).query("metric == @metric").set_index("backbone")
    test = scores[(scores["split"] == "test") & (scores["metric"] == metric)]
    for backbone, rows in test.groupby("backbone"):
        assert means.loc[backbone, "mean"] == pytest.approx(rows["value"].mean())
        assert means.loc[backbone, "sd"] == pytest.approx(rows.groupby("seed")["value"].mean().std(ddof=1))
        assert abs(rows.groupby("seed")["value"].mean().mean() - rows["value"].mean()) > 1e-6
    whole = summarise_metrics(run).query("metric == @metric").set_index("backbone")
    summary = summarise(run, metric=metric, draws=100).set_index("backbone")
    for column in ("mean", "sd"):
        np.testing.assert_allclose(whole[column], summary.loc[whole.index, column], rtol=1e-12)


def test_one_backbone_alone_is_compared_with_nothing(study) -> None:
    run = study.probe(caches=study.caches[:1])
    comparisons = compare(run)
    assert len(comparisons) == 0
    assert "p_adjusted" in comparisons


def test_labels_name_the_pooling_only_where_a_backbone_has_several() -> None:
    systems = [
        SystemKey("d", "vit", "1", "cls", "knn"),
        SystemKey("d", "vit", "1", "mean", "knn"),
        SystemKey("d", "r50", "2", "pooled", "knn"),
    ]
    assert list(system_labels(systems).values()) == ["vit/cls", "vit/mean", "r50"]


def test_a_metric_that_is_defined_in_no_seed_has_no_interval_no_p_and_a_note(official) -> None:
    """All test units of one class: no ranking can be judged."""
    table = official.manifest.table.copy()
    table.loc[table["split"] == "test", "label"] = "a"
    run = official.probe(manifest=type(official.manifest)(table, official.manifest.card), metric="roc_auc")
    summary, comparison = summarise(run), compare(run)
    assert summary[["mean", "low", "high"]].isna().all(axis=None)
    assert summary["note"].str.contains("a class is absent from the test").all()
    assert comparison["p"].isna().all()
    assert (comparison["test"] == "none").all()
    assert not comparison["significant"].any()


def test_predictions_are_replayed_by_system_and_seed(run: Run) -> None:
    found = predictions_by_system(run)
    assert [system.backbone for system in found] == ["net-0", "net-1"]
    for predicted in found.values():
        assert [p.seed for p in predicted] == [0, 1, 2]
        assert all(p.scored.proba.shape == (len(p.unit), 3) for p in predicted)


def test_predictions_that_do_not_fit_the_classes_are_refused(run: Run) -> None:
    narrow = run.predictions.assign(proba=run.predictions["proba"].map(lambda p: p[:2]))
    with pytest.raises(ReportError, match=r"proba has rows of \[2\] values, the data set has 3 classes"):
        predictions_by_system(replace(run, predictions=narrow))
    with pytest.raises(ReportError, match="no predictions"):
        predictions_by_system(replace(run, predictions=run.predictions.iloc[:0]))


def test_of_a_refitted_and_another_side_the_smaller_training_set_counts(study) -> None:
    """Read either way round: a network is not fitted on val, the probe beside it is."""
    refitted, other = (
        study.probe(probes=["knn"], seeds=range(4)),
        study.probe(probes=["centroid"], seeds=range(4), refit=False),
    )
    run = merge_runs([refitted, other])
    sizes = run.scores.drop_duplicates("seed")
    ratio = float((sizes["n_test"] / sizes["n_train"]).mean())
    for row in compare(run, "probes").to_dict("records"):
        values = [
            samples.values
            for name in (row["a"], row["b"])
            for samples in metric_samples(run, METRICS[row["metric"]], 2000)
            if (samples.system.backbone, samples.system.probe) == (row["backbone"], name)
        ]
        assert row["test"] == "corrected-t"
        assert row["p"] == pytest.approx(corrected_t_test(values[0] - values[1], ratio))
    of_refitted = compare(refitted, "backbones")["p"].iloc[0]
    assert compare(run, "backbones").set_index("probe").loc["knn", "p"] == of_refitted
