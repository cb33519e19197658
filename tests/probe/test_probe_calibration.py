"""Intervals, calibration, temperature and subgroups: against scipy, statsmodels' field and sums done by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from medprobe.base import ProbeError, ReportError
from medprobe.evaluate import (
    METRICS,
    Run,
    calibration_table,
    predictions_by_system,
    reliability_table,
    subgroup_scores,
    summarise,
    temperature_table,
    weighted_scores,
)
from medprobe.evaluate.metrics.calibration import brier_parts
from medprobe.evaluate.metrics.functions import LabeledPredictions
from medprobe.evaluate.results.predictions import ResamplePredictions
from medprobe.evaluate.statistics.bootstrap import GroupDraws
from medprobe.evaluate.statistics.intervals import check_interval, percentiles
from medprobe.evaluate.statistics.temperature import apply_temperature, fit_temperature
from medprobe.manifests import Manifest
from medprobe.probe.data.subgroup_labels import subgroup_column

# --- groups left out, and drawn again


def test_patients_not_exams_are_left_out_in_every_seed_that_tests_them() -> None:
    rng = np.random.default_rng(3)
    seeds = []
    for seed in range(3):
        group = np.sort(rng.choice(20, 30))
        y = rng.integers(0, 2, 30)
        chance = rng.random(30)
        seeds.append(
            ResamplePredictions(
                seed, np.arange(30), group, LabeledPredictions(y, np.c_[1 - chance, chance], "binary", ("a", "b"))
            )
        )
    found = GroupDraws(seeds, 100).leaving_out(METRICS["accuracy"], seeds)
    for g, code in enumerate(np.unique(np.concatenate([p.group for p in seeds]))):
        for s, p in enumerate(seeds):
            kept = p.group != code
            right = (p.scored.predicted == p.scored.y)[kept]
            assert found[s, g] == pytest.approx(right.mean())


def test_percentiles_are_numpys_and_there_are_none_of_mostly_undefined_draws() -> None:
    drawn = np.linspace(0.5, 0.9, 400)
    assert percentiles(drawn, 0.9)[:2] == pytest.approx(tuple(np.quantile(drawn, [0.05, 0.95])))
    nothing = percentiles(np.where(np.arange(400) < 150, drawn, np.nan), 0.9)
    assert np.isnan(nothing[:2]).all()
    assert nothing.note == "no interval: not defined in most draws"
    with pytest.raises(ProbeError, match=r'unknown interval "percentil".*Did you mean "percentile"'):
        check_interval("percentil", 0.95, 1000)


def test_percentiles_are_another_interval_of_the_same_mean_for_systems_and_for_differences(run: Run) -> None:
    from medprobe.evaluate import compare

    plain, other = (summarise(run, interval=kind) for kind in ("wilson", "percentile"))
    assert plain["mean"].tolist() == other["mean"].tolist()
    assert (plain[["low", "high"]] != other[["low", "high"]]).any(axis=None)
    assert (other["low"] < other["mean"]).all()
    (a,), (b,) = (compare(run, interval=kind).to_dict("records") for kind in ("wilson", "percentile"))
    assert (a["p"], a["difference"]) == (b["p"], b["difference"])
    assert b["low"] < b["difference"] < b["high"]


# --- the Brier score taken apart


def _scored(rng: np.random.Generator, task: str, units: int = 200, values: int | None = None) -> LabeledPredictions:
    if task == "multilabel":
        proba = rng.random((units, 3))
        return LabeledPredictions((rng.random((units, 3)) < proba).astype(np.int64), proba, task, "abc")
    classes = 2 if task == "binary" else 3
    proba = rng.dirichlet(np.ones(classes), units)
    if values:
        proba = np.eye(classes)[rng.integers(0, classes, units)] * 0.4 + 0.6 / classes
    y = np.array([rng.choice(classes, p=row) for row in proba])
    return LabeledPredictions(y, proba, task, "abc"[:classes])


def test_murphys_partition_is_exact_for_chances_of_few_values_by_hand() -> None:
    """Ten forecasts of 0.2, of which three come true, and ten of 0.7, of which six do."""
    chance = np.repeat([0.2, 0.7], 10)
    y = np.r_[[1] * 3 + [0] * 7, [1] * 6 + [0] * 4]
    parts = brier_parts(LabeledPredictions(y, np.c_[1 - chance, chance], "binary", ("a", "b")), most=2)
    assert parts.reliability == pytest.approx((0.1**2 + 0.1**2) / 2)
    assert parts.resolution == pytest.approx((0.15**2 + 0.15**2) / 2)
    assert parts.uncertainty == pytest.approx(0.45 * 0.55)
    assert parts.within == pytest.approx(0, abs=1e-15)
    assert parts.score == pytest.approx(0.01 - 0.0225 + 0.2475)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_the_parts_add_up_to_the_reported_score(task: str) -> None:
    for seed in range(5):
        scored = _scored(np.random.default_rng(seed), task)
        parts = brier_parts(scored)
        assert parts.score == pytest.approx(weighted_scores(METRICS["brier"], scored)[0][0])
        total = parts.reliability - parts.resolution + parts.uncertainty + parts.within
        assert total == pytest.approx(parts.score)
        assert min(parts.reliability, parts.resolution, parts.uncertainty) >= 0
        assert abs(parts.within) < 0.05


# --- temperature


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_temperature_that_was_put_in_is_found_again(task: str, temperature: float) -> None:
    """Labels are drawn from the chances, which are then made surer or less sure than they are."""
    honest = _scored(np.random.default_rng(0), task, units=6000)
    assert fit_temperature(apply_temperature(honest, 1 / temperature)) == pytest.approx(temperature, rel=0.1)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_no_other_temperature_has_a_lower_loss_and_nothing_else_is_called(task: str) -> None:
    scored = apply_temperature(_scored(np.random.default_rng(1), task), 0.3)
    best = fit_temperature(scored)
    loss = {
        t: weighted_scores(METRICS["log_loss"], apply_temperature(scored, t))[0][0]
        for t in (best, best * 0.97, best * 1.03)
    }
    assert min(loss, key=loss.__getitem__) == best
    np.testing.assert_array_equal(apply_temperature(scored, best).predicted, scored.predicted)
    np.testing.assert_allclose(apply_temperature(scored, 1.0).proba, scored.proba, atol=1e-6)


def test_a_val_without_an_error_gives_the_coldest_temperature_and_says_so(run: Run) -> None:
    table = run.predictions.copy()
    right = pd.Series([[0.6 if c == y else 0.2 for c in range(3)] for y in table["y"]])
    table["proba"] = right.astype(table["proba"].dtype)
    rows = temperature_table(replace(run, predictions=table)).to_dict("records")
    assert all(row["temperature"] == pytest.approx(0.05, rel=0.01) for row in rows)
    assert all(row["note"] == "3 of 3 temperatures are at an end of the range" for row in rows)


def test_the_temperature_of_a_run_comes_from_val_and_is_applied_to_test(run: Run) -> None:
    table = temperature_table(run).set_index("backbone")
    for system, test in predictions_by_system(run).items():
        row = table.loc[system.backbone]
        fitted = [fit_temperature(p.scored) for p in predictions_by_system(run, "val")[system]]
        assert row["temperature"] == np.median(fitted)
        before, after = (
            np.mean([weighted_scores(METRICS["log_loss"], scored)[0][0] for scored in side])
            for side in (
                [p.scored for p in test],
                [apply_temperature(p.scored, t) for p, t in zip(test, fitted, strict=True)],
            )
        )
        assert (row["log_loss"], row["log_loss_after"]) == pytest.approx((before, after))


def test_calibration_repeats_the_scores_table_and_bins_hold_every_prediction(run: Run) -> None:
    reported = calibration_table(run).set_index("backbone")
    test = run.scores[run.scores["split"] == "test"].groupby(["backbone", "metric"])["value"].mean()
    for backbone in ("net-0", "net-1"):
        for metric in ("log_loss", "ece", "brier"):
            assert reported.loc[backbone, metric] == pytest.approx(test[backbone, metric])
    bins = reliability_table(run)
    units = run.predictions.query("split == 'test'").groupby("backbone").size()
    assert (bins.groupby("backbone")["count"].sum() == units).all()
    assert bins["bin"].max() <= 15
    assert bins["true"].between(0, 1).all()


# --- attributes


def _words(name: str, *values: object) -> list[str]:
    return list(subgroup_column(name, pd.Series(list(values)))[0])


def test_no_age_over_89_can_be_read_and_dicom_ages_are_years() -> None:
    assert _words("age", 0, 17.9, 18, 59, 74, 75, 89, 90, 104, None) == [
        *("0-17", "0-17", "18-39", "40-59", "60-74", "75-89", "75-89", "90+", "90+", "")
    ]
    assert _words("patient_age", "045Y", "093Y", "011M", "003W", "", "unknown") == [
        *("40-59", "90+", "0-17", "0-17", "", "unknown")
    ]
    assert _words("AgeAtScan", 91) == ["90+"]
    assert _words("Age", "60 to 64", "94 years", "over 95") == ["60 to 64", "90+", "90+"]
    assert _words("stage", 3, 91) == ["3", "91"]  # no age at all


@given(st.lists(st.integers(0, 130), min_size=1, max_size=40))
def test_an_age_is_in_the_bin_that_is_named_after_it(ages: list[int]) -> None:
    for age, word in zip(ages, _words("age", *ages), strict=True):
        low, high = (90, 999) if word == "90+" else map(int, word.split("-"))
        assert low <= age <= high


def test_words_and_few_numbers_stand_as_they_are_many_numbers_become_quarters_and_names_are_not_kept() -> None:
    assert _words("sex", "f", " m ", None) == ["f", "m", ""]
    assert _words("grade", 1, 2.5, np.nan) == ["1", "2.5", ""]
    quarters = _words("bmi", *np.arange(100.0))
    assert [quarters.count(word) for word in sorted(set(quarters))] == [25, 25, 25, 25]
    words, why = subgroup_column("visit", pd.Series([f"2020-01-{i}" for i in range(51)]))
    assert set(words) == {""}
    assert why.startswith('attribute "visit": 51 different values')


# --- subgroups


@pytest.fixture(scope="module")
def attributed(tmp_path_factory: pytest.TempPathFactory, study_of):
    """A study with attributes; site `b` is a third as large, site `rare` has four patients."""
    study = study_of(tmp_path_factory.mktemp("attributed"), units=200, signal=(0.8,))
    table = study.manifest.table.copy()
    patient = np.arange(200) // 2
    table["sex"] = np.where(patient % 2 == 0, "f", "m")
    table["age"] = 30 + patient % 70
    table["site"] = np.select([patient < 4, patient % 4 == 0], ["rare", "b"], "a")
    table["visit"] = [f"SECRET-{i}" for i in range(200)]
    card = study.manifest.card.model_copy(update={"attributes": ["sex", "age", "site", "visit"]})
    return replace(study, manifest=Manifest(table, card))


def test_a_subgroups_score_is_that_of_its_units_alone(attributed) -> None:
    run = attributed.probe(seeds=range(3))
    scores, _ = subgroup_scores(run, metric="accuracy", draws=200)
    of_unit = run.units.query("attribute == 'sex'").set_index("unit")["value"]
    for subgroup in ("f", "m"):
        (row,) = scores.query("attribute == 'sex' and subgroup == @subgroup").to_dict("records")
        (predicted,) = predictions_by_system(run).values()
        inside = [(of_unit[p.unit] == subgroup).to_numpy() for p in predicted]
        right = [(p.scored.predicted == p.scored.y)[chosen].mean() for p, chosen in zip(predicted, inside, strict=True)]
        assert row["mean"] == pytest.approx(np.mean(right))
        assert row["n_test"] == pytest.approx(np.mean([chosen.sum() for chosen in inside]))
        assert row["low"] <= row["mean"] <= row["high"]


def test_a_gap_is_the_best_less_the_worst_subgroup_in_the_metrics_direction(attributed) -> None:
    run = attributed.probe(seeds=range(3))
    for metric in ("accuracy", "log_loss"):
        for interval in ("wilson", "percentile"):
            scores, gaps = subgroup_scores(run, metric=metric, draws=200, interval=interval)
            for gap in gaps.to_dict("records"):
                means = scores[scores["attribute"] == gap["attribute"]].set_index("subgroup")["mean"].dropna()
                if len(means) < 2:
                    assert gap["reason"] == "fewer than two subgroups have a score"
                    continue
                assert gap["gap"] == pytest.approx(means.max() - means.min())
                better = means.idxmax() if metric == "accuracy" else means.idxmin()
                assert gap["best"] == better
                assert gap["low"] <= gap["gap"] <= gap["high"]


def test_a_subgroup_that_is_too_small_or_of_one_class_has_a_reason_and_no_number(attributed) -> None:
    run = attributed.probe(seeds=range(3))
    scores, _ = subgroup_scores(run, draws=200)
    (rare,) = scores.query("subgroup == 'rare'").to_dict("records")
    assert np.isnan([rare["mean"], rare["low"], rare["high"]]).all()
    assert rare["reason"].endswith("test groups: too few (fewer than 10)")
    table = attributed.manifest.table.copy()
    table.loc[table["label"] == "a", "site"] = "only a"
    alone = attributed.probe(manifest=Manifest(table, attributed.manifest.card), seeds=range(3))
    (one,) = subgroup_scores(alone, draws=200)[0].query("subgroup == 'only a'").to_dict("records")
    assert (one["reason"], np.isnan(one["mean"])) == ("only one class", True)


def test_the_run_folder_has_subgroups_and_neither_ages_nor_what_is_no_subgroup(attributed, tmp_path) -> None:
    run = Run.load(attributed.probe(seeds=[0]).save(tmp_path / "run"))
    assert set(run.units["attribute"]) == {"sex", "age", "site"}
    assert set(run.units.query("attribute == 'age'")["value"]) == {"18-39", "40-59", "60-74", "75-89", "90+"}
    assert any("visit" in reported for reported in run.warnings)
    assert "SECRET" not in run.units.to_csv()
    groups = run.units.drop_duplicates("unit").set_index("unit")["group"]
    assert (groups == groups.index // 2).all()


def test_a_unit_of_two_minds_is_in_no_subgroup(attributed, study_of, tmp_path) -> None:
    study = study_of(tmp_path, images=2, units=60)
    table = study.manifest.table.assign(sex=["f", "m"] + ["f", "f"] * 59)
    manifest = Manifest(table, study.manifest.card.model_copy(update={"attributes": ["sex"]}))
    run = study.probe(manifest=manifest, seeds=[0])
    assert set(run.units["unit"]) == set(range(1, 60))


def test_a_run_without_attributes_says_how_to_have_them(run: Run) -> None:
    with pytest.raises(ProbeError, match=r"no attributes of its units.*`attributes` in its card"):
        subgroup_scores(run)


# --- reading predictions back


def test_predictions_in_another_order_are_read_back_the_same(run: Run) -> None:
    mixed = run.predictions.sample(frac=1, random_state=0)
    systems = predictions_by_system(replace(run, predictions=mixed))
    for system, predicted in predictions_by_system(run).items():
        for one, other in zip(predicted, systems[system], strict=True):
            order = np.argsort(other.unit)
            np.testing.assert_array_equal(one.unit, other.unit[order])
            np.testing.assert_array_equal(one.scored.proba, other.scored.proba[order])


def test_val_is_read_apart_from_test_and_scores_as_the_table_says(run: Run) -> None:
    for split in ("val", "test"):
        table = run.scores[(run.scores["split"] == split) & (run.scores["metric"] == "log_loss")]
        reported = table.set_index(["backbone", "seed"])["value"]
        for system, predicted in predictions_by_system(run, split).items():
            for p in predicted:
                assert weighted_scores(METRICS["log_loss"], p.scored)[0][0] == reported[system.backbone, p.seed]
    no_val = replace(run, predictions=run.predictions.query("split == 'test'"))
    with pytest.raises(ReportError, match="no predictions for val"):
        temperature_table(no_val)


def test_of_many_attributes_that_mean_nothing_no_gap_excludes_zero(tmp_path, study_of) -> None:
    study = study_of(tmp_path, units=400, signal=(0.8,))
    names = [f"chance {number}" for number in range(15)]
    rng = np.random.default_rng(5)
    drawn = {name: np.repeat(rng.choice(list("wxyz"), 200), 2) for name in names}
    card = study.manifest.card.model_copy(update={"attributes": names})
    study = replace(study, manifest=Manifest(study.manifest.table.assign(**drawn), card))
    run = study.probe(seeds=range(2), protocol="kfold")
    for interval in ("wilson", "percentile"):
        _, gaps = subgroup_scores(run, metric="accuracy", draws=200, interval=interval)
        assert (gaps["differences"] == 15 * 6).all()
        assert (gaps["low"] <= 0).all()
        assert gaps["note"].str.contains("200 draws are too few for 90 differences").all() == (interval == "percentile")
    one = replace(run, units=run.units[run.units["attribute"] == gaps.loc[gaps["gap"].idxmax(), "attribute"]])
    alone = subgroup_scores(one, metric="accuracy", draws=200)[1].iloc[0]
    widest = gaps.loc[gaps["gap"].idxmax()]
    assert alone["differences"] == 6
    assert widest["high"] - widest["low"] > alone["high"] - alone["low"]
