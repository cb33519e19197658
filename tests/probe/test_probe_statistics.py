"""What is said of backbones: intervals that cover, and tests that do not cry wolf."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from medprobe.base import ProbeError
from medprobe.evaluate import METRICS, Run, holm, summarise, weighted_scores
from medprobe.evaluate.metrics.functions import LabeledPredictions, mean_of_defined
from medprobe.evaluate.results.predictions import ResamplePredictions
from medprobe.evaluate.results.schemas import SystemKey
from medprobe.evaluate.statistics.bootstrap import GroupDraws
from medprobe.evaluate.statistics.comparison import corrected_t_test, jackknife_test
from medprobe.evaluate.statistics.intervals import LEARNT, percentiles, wilson
from medprobe.evaluate.statistics.summary import MetricSamples
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

ACCURACY = METRICS["accuracy"]


# --- Holm


def test_holm_is_the_hand_example() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), max_size=12), st.floats(0.001, 0.999))
def test_holm_rejects_what_his_step_down_procedure_rejects(p_values: list[float], alpha: float) -> None:
    p = np.array(p_values)
    adjusted = holm(p)
    assert (np.isnan(adjusted) == np.isnan(p)).all()
    # As Holm wrote it: the smallest against alpha / m, the next against alpha / (m - 1), until one fails.
    known = sorted(i for i in range(len(p)) if not np.isnan(p[i]))
    known.sort(key=lambda i: p[i])
    rejected: set[int] = set()
    for step, i in enumerate(known):
        if Fraction(float(p[i])) * (len(known) - step) >= Fraction(alpha):
            break
        rejected.add(i)
    # A product may round to the other side of alpha.
    clear = [i for i in known if abs(adjusted[i] - alpha) > 1e-9]
    assert {i for i in clear if adjusted[i] < alpha} == rejected & set(clear)


# --- the corrected t


def test_the_corrected_t_is_nadeau_and_bengios_formula() -> None:
    differences = np.array([0.02, 0.05, -0.01, 0.03, 0.04])
    ratio = 20 / 80
    mean = differences.sum() / 5
    variance = ((differences - mean) ** 2).sum() / 4
    t = mean / np.sqrt((1 / 5 + ratio) * variance)
    assert corrected_t_test(differences, ratio) == pytest.approx(2 * (1 - stats.t.cdf(t, 4)), rel=1e-9)
    assert corrected_t_test(differences, 0) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert corrected_t_test(-differences, ratio) == corrected_t_test(differences, ratio)
    assert corrected_t_test(differences, 0.5) > corrected_t_test(differences, ratio)


def test_the_corrected_t_has_no_opinion_where_there_is_no_variance() -> None:
    assert corrected_t_test(np.zeros(5), 0.2) == 1
    assert np.isnan(corrected_t_test(np.full(5, 0.1), 0.2))
    assert np.isnan(corrected_t_test(np.array([0.1]), 0.2))
    assert np.isnan(corrected_t_test(np.empty(0), 0.2))


# --- the bootstrap


def _predicted(
    rng: np.random.Generator, groups: int, accuracy: float, *, per_group: int = 4, seed: int = 0
) -> ResamplePredictions:
    """Patients whose exams are all right or all wrong together."""
    right = rng.random(groups) < accuracy
    group = np.repeat(np.arange(groups), per_group)
    y = rng.integers(0, 2, len(group))
    called = np.where(right[group], y, 1 - y)
    proba = np.where(np.eye(2)[called] == 1, 0.9, 0.1)
    return ResamplePredictions(seed, np.arange(len(group)), group, LabeledPredictions(y, proba, "binary", ("a", "b")))


def test_a_draw_is_what_repeating_the_drawn_patients_would_give() -> None:
    rng = np.random.default_rng(0)
    group = rng.integers(0, 25, 120) * 3  # codes with holes, as a resample leaves them
    y, proba = rng.integers(0, 3, 120), rng.dirichlet(np.ones(3), 120)
    predicted = ResamplePredictions(0, np.arange(120), group, LabeledPredictions(y, proba, "multiclass", "abc"))
    draws = GroupDraws([predicted], 50)
    values = draws.values(METRICS["balanced_accuracy"], [predicted])[0]
    for times, value in zip(draws._times, values, strict=True):
        assert times.sum() == len(draws.groups)
        rows = np.repeat(np.arange(120), times[np.searchsorted(draws.groups, group)])
        known = balanced_accuracy_score(y[rows], proba[rows].argmax(1))
        assert value == pytest.approx(known)


def test_draws_come_out_the_same_in_small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    predicted = _predicted(np.random.default_rng(0), 40, 0.8)
    whole = GroupDraws([predicted], 200).values(ACCURACY, [predicted])
    monkeypatch.setattr("medprobe.evaluate.statistics.bootstrap._CELLS", 7 * 160)
    np.testing.assert_array_equal(GroupDraws([predicted], 200).values(ACCURACY, [predicted]), whole)


def test_the_interval_covers_the_truth_about_as_often_as_it_says_although_exams_of_a_patient_go_together() -> None:
    rng = np.random.default_rng(1)
    covered, narrow = 0, 0
    for _ in range(300):
        predicted = _predicted(rng, 80, 0.8)
        low, high, _ = percentiles(mean_of_defined(GroupDraws([predicted], 400).values(ACCURACY, [predicted])), 0.95)
        covered += low <= 0.8 <= high
        alone = ResamplePredictions(0, predicted.unit, predicted.unit, predicted.scored)  # as if exams were patients
        low, high, _ = percentiles(mean_of_defined(GroupDraws([alone], 400).values(ACCURACY, [alone])), 0.95)
        narrow += low <= 0.8 <= high
    assert 0.90 <= covered / 300 <= 0.98
    assert narrow / 300 < 0.75


def test_a_patient_whom_several_seeds_test_counts_in_all_of_them_or_in_none() -> None:
    """The same test seen by ten seeds tells no more than once: the interval must not shrink."""
    once = _predicted(np.random.default_rng(2), 60, 0.7)
    often = [replace(once, seed=seed) for seed in range(10)]
    width = []
    for predicted in ([once], often):
        low, high, _ = percentiles(mean_of_defined(GroupDraws(predicted, 500).values(ACCURACY, predicted)), 0.95)
        width.append(high - low)
    assert width[0] == pytest.approx(width[1])
    assert width[0] > 0.15


def test_the_jackknife_test_rejects_a_true_null_about_as_often_as_it_should_and_a_false_one_mostly() -> None:
    rng = np.random.default_rng(3)
    for better, least, most in ((0.8, 0.0, 0.085), (0.95, 0.8, 1.0)):
        rejected = 0
        for _ in range(200):
            a, b = _predicted(rng, 100, 0.8, per_group=2), _predicted(rng, 100, better, per_group=2)
            draws = GroupDraws([a, b])
            left_out = mean_of_defined(draws.leaving_out(ACCURACY, [a]) - draws.leaving_out(ACCURACY, [b]))
            difference = np.array([float(weighted_scores(ACCURACY, s.scored)[0][0]) for s in (a, b)])
            rejected += jackknife_test(difference[:1] - difference[1:], left_out, groups=100)[0] < 0.05
        assert least <= rejected / 200 <= most


def test_the_jackknife_test_says_what_it_lacks() -> None:
    left_out = np.random.default_rng(0).normal(0.1, 0.001, 50)
    p, note = jackknife_test(np.array([0.1]), left_out, groups=50)
    assert p < 0.001
    assert "error of training" in note
    assert np.isnan(jackknife_test(np.array([0.1, 0.2]), left_out, groups=9)[0])
    assert np.isnan(jackknife_test(np.array([0.1, 0.2]), np.r_[left_out, np.nan], groups=51)[0])
    assert jackknife_test(np.zeros(2), np.zeros(9), groups=9) == (1.0, "")
    assert jackknife_test(np.full(3, 0.5), np.full(12, 0.5), groups=12)[0] == pytest.approx(2 / 2**12)


def test_seeds_that_differ_widen_the_jackknife_test() -> None:
    left_out = np.random.default_rng(0).normal(0.1, 0.004, 50)
    steady, shaky = np.array([0.1, 0.100001, 0.1, 0.1, 0.1]), np.array([0.5, -0.3, 0.4, -0.2, 0.1])
    assert jackknife_test(shaky, left_out, groups=50)[0] > 2 * jackknife_test(steady, left_out, groups=50)[0]


@pytest.mark.parametrize("right", [180, 200])
def test_wilsons_interval_is_scipys_where_every_unit_is_a_group(right: int) -> None:
    y = np.r_[np.ones(right, int), np.zeros(200 - right, int)]
    scored = LabeledPredictions(np.ones(200, int), np.c_[1 - y, y].astype(float), "binary", ["no", "yes"])
    predicted = [ResamplePredictions(0, np.arange(200), np.arange(200), scored)]
    samples = MetricSamples(SystemKey("d", "b", "f", "p", "q", "all"), ACCURACY, predicted, GroupDraws(predicted))
    low, high, _ = wilson(samples.estimate(), 0.95)
    # SciPy's has normal quantiles and the binomial variance: wider ones of t, and n - 1 for n, are all that differ.
    level = 1 - 2 * stats.norm.sf(stats.t.ppf(0.975, 199))
    known = stats.binomtest(right, 200).proportion_ci(level, method="wilson")
    assert (low, high) == pytest.approx((known.low, known.high), abs=0.002)
    assert high <= 1


def test_what_resamples_have_in_common_counts_more_where_they_learn_from_the_groups_that_others_test() -> None:
    rng = np.random.default_rng(5)
    right = (rng.random(40) < 0.7) ^ (rng.random((3, 40)) < 0.1)
    rows = [np.flatnonzero(np.arange(40) % 4 != seed) for seed in range(3)]  # a group in two or three tests
    predicted = [
        ResamplePredictions(
            seed,
            test,
            test,
            LabeledPredictions(np.ones(30, int), np.c_[~right[seed, test], right[seed, test]] * 1.0, "binary", "ab"),
        )
        for seed, test in enumerate(rows)
    ]
    samples = MetricSamples(SystemKey(*6 * ("",)), ACCURACY, predicted, GroupDraws(predicted))
    # By hand: what leaving out a group does to each seed's share, a third of which is what it does to the mean.
    effect = np.zeros((3, 40))
    for seed, test in enumerate(rows):
        hits = right[seed, test]
        effect[seed, test] = ((hits.sum() - hits) / 29 - hits.mean()) / 3
    jackknife, alone = 39 * effect.sum(axis=0).var(), 39 * effect.var(axis=1).sum()
    wider = np.sqrt(1 + LEARNT * (jackknife - alone) / jackknife)
    found, left_out = samples.estimate(), effect.sum(axis=0)
    plain = replace(found, effects=None)
    stretched = replace(plain, left_out=lambda: wider * left_out)
    assert wider > 1.03
    assert wilson(found, 0.95)[:2] == pytest.approx(wilson(stretched, 0.95)[:2])
    assert wilson(found, 0.95).low < wilson(plain, 0.95).low
    same_test = MetricSamples(samples.system, ACCURACY, 3 * predicted[:1], GroupDraws(predicted[:1]))
    assert same_test.estimate().effects is None


def test_labels_of_a_unit_narrow_the_interval_of_a_perfect_score_as_images_of_a_group_do() -> None:
    y = np.arange(80).reshape(20, 4) % 3 == 0
    for groups, scored in (
        (np.arange(20), LabeledPredictions(y.astype(int), y * 1.0, "multilabel", "abcd")),
        (
            np.arange(80) // 4,
            LabeledPredictions(y.ravel().astype(int), np.c_[~y.ravel(), y.ravel()] * 1.0, "binary", "ab"),
        ),
    ):
        one = [ResamplePredictions(0, np.arange(len(groups)), groups, scored)]
        low, high, _ = wilson(MetricSamples(SystemKey(*6 * ("",)), ACCURACY, one, GroupDraws(one)).estimate(), 0.95)
        # Twenty groups of four predictions are worth 20 * sqrt(4) units.
        assert (low, high) == pytest.approx((40 / (40 + stats.t.ppf(0.975, 19) ** 2), 1))


def test_an_interval_needs_half_of_the_draws_and_gives_their_percentiles() -> None:
    values = np.arange(101.0)
    assert percentiles(values, 0.9)[:2] == pytest.approx((5, 95))
    assert percentiles(np.r_[values, np.full(100, np.nan)], 0.9)[:2] == pytest.approx((5, 95))
    assert np.isnan(percentiles(np.r_[values, np.full(102, np.nan)], 0.9)[:2]).all()


def test_the_mean_of_defined_takes_those_in_which_a_draw_is_defined() -> None:
    values = np.array([[1.0, np.nan, np.nan], [3.0, 4.0, np.nan]])
    np.testing.assert_array_equal(mean_of_defined(values), [2.0, 4.0, np.nan])


# --- whole runs


def test_the_summary_has_the_means_and_spreads_of_the_scores_table(run: Run) -> None:
    summary = summarise(run).set_index("backbone")
    test = run.scores.query("split == 'test' and metric == 'balanced_accuracy'").groupby("backbone")["value"]
    for name in ("net-0", "net-1"):
        assert summary.loc[name, "mean"] == pytest.approx(test.mean()[name])
        assert summary.loc[name, "sd"] == pytest.approx(test.std()[name])
        assert summary.loc[name, "low"] <= summary.loc[name, "mean"] <= summary.loc[name, "high"]
        assert summary.loc[name, "n_seeds"] == 3
    units = run.predictions.query("split == 'test'").groupby("backbone")
    assert (summary["n_groups"] == units["group"].nunique()).all()
    assert (summary["n_test"] == units.size() / 3).all()


def test_the_best_comes_first_in_a_metrics_own_direction(run: Run) -> None:
    for metric in ("accuracy", "log_loss"):
        table = summarise(run, metric=metric)
        assert table["backbone"].tolist() == ["net-0", "net-1"]
        assert set(table["metric"]) == {metric}


def test_a_wider_confidence_is_a_wider_interval_and_statistics_are_the_same_again(run: Run) -> None:
    narrow, wide = (summarise(run, confidence=c) for c in (0.5, 0.99))
    assert (wide["low"] < narrow["low"]).all()
    assert (wide["high"] >= narrow["high"]).all()
    pd.testing.assert_frame_equal(summarise(run), summarise(run))


@pytest.mark.parametrize("wrong", [{"metric": "quadratic_kappa"}, {"metric": "x"}, {"confidence": 95}, {"draws": 3}])
def test_a_summary_that_makes_no_sense_is_refused(run: Run, wrong: dict) -> None:
    with pytest.raises(ProbeError):
        summarise(run, **wrong)


def test_an_interval_of_no_width_is_said_to_be_too_narrow(tmp_path, study_of) -> None:
    run = study_of(tmp_path, signal=(9.0,), units=200).probe()
    (row,) = summarise(run, interval="percentile").to_dict("records")
    assert (row["mean"], row["low"], row["high"]) == (1, 1, 1)
    assert "the error may be up to" in row["note"]


def test_a_perfect_score_has_an_interval_that_shrinks_with_the_number_of_patients(tmp_path, study_of) -> None:
    lows = []
    for units in (100, 400):
        run = study_of(tmp_path / str(units), signal=(9.0,), units=units).probe()
        (row,) = summarise(run).to_dict("records")
        assert (row["mean"], row["high"]) == (1, pytest.approx(1))
        # The upper end of the rule of three, 3 in n, is nearly the same as Wilson's at no errors.
        assert 1 - row["low"] == pytest.approx(3.84 / (row["n_groups"] + 3.84), rel=0.25)
        lows.append(row["low"])
    assert lows[0] < lows[1] < 1


def test_a_log_loss_that_no_group_changes_has_no_interval() -> None:
    for probability in (1.0, 0.5):
        proba = np.where(np.arange(2) == np.arange(40)[:, None] % 2, probability, 1 - probability)
        scored = LabeledPredictions(np.arange(40) % 2, proba, "binary", ["a", "b"])
        one = [ResamplePredictions(0, np.arange(40), np.arange(40), scored)]
        samples = MetricSamples(SystemKey(*6 * ("",)), METRICS["log_loss"], one, GroupDraws(one))
        low, high, note = wilson(samples.estimate(), 0.95)
        assert np.isnan([low, high]).all()
        assert note.startswith("no interval")


def test_a_seed_in_which_a_metric_is_undefined_adds_no_groups_to_its_interval() -> None:
    rng = np.random.default_rng(0)

    def tested(seed: int, first: int, classes: int) -> ResamplePredictions:
        y, chance = np.arange(20) % classes, rng.random(20)
        scored = LabeledPredictions(y, np.c_[1 - chance, chance], "binary", ["a", "b"])
        return ResamplePredictions(seed, np.arange(first, first + 20), np.arange(first, first + 20), scored)

    both = [tested(0, 0, classes=2), tested(1, 20, classes=1)]
    samples = [
        MetricSamples(SystemKey(*6 * ("",)), METRICS["roc_auc"], predicted, GroupDraws(both))
        for predicted in (both, both[:1])
    ]
    found, alone = (each.estimate() for each in samples)
    assert np.isnan(samples[0].values).tolist() == [False, True]
    assert (found.groups, found.effective_groups, found.predictions_per_group) == (20, 20, 1)
    assert wilson(found, 0.95)[:2] == pytest.approx(wilson(alone, 0.95)[:2])


def test_few_patients_and_one_seed_are_told(study) -> None:
    one = study.probe(seeds=[0])
    notes = summarise(one)["note"]
    assert notes.str.contains("one seed: no spread").all()
    assert notes.str.contains("groups: the interval is rough").all()
    assert summarise(one)["sd"].isna().all()
