"""Tests of pairs against worked examples and against implementations that were not written here."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from delong_of_scores import delong
from hypothesis import given
from hypothesis import strategies as st
from medprobe.base import ProbeError
from medprobe.evaluate.statistics.delong import auc_components
from medprobe.evaluate.statistics.p_values import (
    CORRECTIONS,
    benjamini_hochberg,
    holm,
    mcnemar_test,
    twice_the_median,
    wilcoxon_test,
    with_correction,
)
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

# --- many comparisons


@given(st.lists(st.floats(0, 1), min_size=1, max_size=15))
def test_holm_and_benjamini_hochberg_are_those_of_statsmodels(p_values: list[float]) -> None:
    p = np.array(p_values)
    with patch("gc.collect"):  # by which statsmodels takes a quarter of a second each time
        expected = [multipletests(p, method=method)[1] for method in ("holm", "fdr_bh")]
    np.testing.assert_allclose([holm(p), benjamini_hochberg(p)], expected, atol=1e-12)


def test_what_has_no_p_value_is_not_counted_by_a_correction() -> None:
    p = np.array([0.01, np.nan, 0.02])
    for name in ("holm", "bh"):
        adjusted = CORRECTIONS[name](p)
        np.testing.assert_allclose(adjusted[[0, 2]], CORRECTIONS[name](p[[0, 2]]))
        assert np.isnan(adjusted[1])
        assert np.isnan(CORRECTIONS[name](np.array([np.nan]))).all()
    with pytest.raises(ProbeError, match=r'unknown correction "hlm".*Did you mean "holm"'):
        with_correction(pd.DataFrame({"p": p}), "hlm")


# --- DeLong


def _by_pairs(truth: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The components as DeLong et al. define them: every positive against every negative."""
    won = (score[truth][:, None] > score[~truth]) + 0.5 * (score[truth][:, None] == score[~truth])
    return won.mean(axis=1), won.mean(axis=0)


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 6))
def test_the_components_are_those_of_all_pairs_whatever_is_tied(seed: int, units: int, values: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random(units) < 0.5
    truth[:2] = True, False
    score = rng.integers(0, values, units) / values
    for found, wanted in zip(auc_components(truth, score), _by_pairs(truth, score), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-12)
        assert found.mean() == pytest.approx(roc_auc_score(truth, score))


def test_units_of_their_own_give_the_p_value_of_delongs_covariance_matrix() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(120) < 0.4
    a, b = truth + rng.normal(0, 1, 120), truth * 0.5 + rng.normal(0, 1, 120)
    positive, negative = (np.stack(side) for side in zip(_by_pairs(truth, a), _by_pairs(truth, b), strict=True))
    covariance = np.cov(positive) / truth.sum() + np.cov(negative) / (~truth).sum()
    contrast = np.array([1, -1])
    z = contrast @ positive.mean(axis=1) / np.sqrt(contrast @ covariance @ contrast)
    found = delong(truth, a[None], b[None], np.arange(120))
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(z)))
    assert (found.auc_a, found.auc_b) == pytest.approx((roc_auc_score(truth, a), roc_auc_score(truth, b)))


def test_several_models_on_one_test_are_compared_by_their_mean_area() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random(80) < 0.5
    a, b = truth + rng.normal(0, 1, (5, 80)), truth * 0.8 + rng.normal(0, 1, (5, 80))
    found = delong(truth, a, b, np.arange(80))
    assert found.auc_a == pytest.approx(np.mean([roc_auc_score(truth, row) for row in a]))
    again = delong(truth, np.repeat(a, 4, axis=0), np.repeat(b, 4, axis=0), np.arange(80))
    assert again.p == pytest.approx(found.p)  # the same models told again are no more patients


def test_exams_of_one_patient_do_not_count_as_patients() -> None:
    """Every exam thrice: the clustered variance is that of the patients, but for its factor for few groups."""
    rng = np.random.default_rng(2)
    truth = rng.random(60) < 0.5
    a, b = truth + rng.normal(0, 1, (1, 60)), truth * 0.5 + rng.normal(0, 1, (1, 60))
    once = delong(truth, a, b, np.arange(60))
    thrice = delong(np.repeat(truth, 3), np.repeat(a, 3, 1), np.repeat(b, 3, 1), np.repeat(np.arange(60), 3))
    naive = delong(np.repeat(truth, 3), np.repeat(a, 3, 1), np.repeat(b, 3, 1), np.arange(180))
    assert thrice.error == pytest.approx(once.error)
    assert naive.error < 0.6 * once.error


def test_delong_keeps_its_level_where_patients_have_ill_and_healthy_exams() -> None:
    """Obuchowski's covariance between the classes is needed here: units alone reject a true null too often."""
    rng = np.random.default_rng(3)
    clustered, naive = 0, 0
    for _ in range(400):
        patient = np.repeat(np.arange(50), 4)
        truth = rng.random(200) < 0.5
        shift_a, shift_b = rng.normal(0, 1.5, (2, 50))
        # Which exam is ranked too high is the patient's doing, and each system sees patients in its own way.
        a = (truth * (1 + shift_a[patient]) + rng.normal(0, 1, 200))[None]
        b = (truth * (1 + shift_b[patient]) + rng.normal(0, 1, 200))[None]
        clustered += delong(truth, a, b, patient).p < 0.05
        naive += delong(truth, a, b, np.arange(200)).p < 0.05
    assert 0.02 <= clustered / 400 <= 0.09
    assert naive / 400 > 0.12


def test_delong_has_no_opinion_where_there_is_nothing_to_compare() -> None:
    truth, score = np.array([True, True, False, False]), np.array([[0.9, 0.8, 0.2, 0.1]])
    assert delong(truth, score, score, np.arange(4)).p == 1
    assert np.isnan(delong(truth, score, score, np.array([0, 0, 1, 2])).p)  # one patient has all positives
    assert np.isnan(delong(np.ones(4, bool), score, score, np.arange(4)).auc_a)


# --- McNemar


@given(st.integers(0, 40), st.integers(0, 40))
def test_one_unit_a_group_is_mcnemars_exact_test(only_a: int, only_b: int) -> None:
    p, exact = mcnemar_test(np.repeat([1, -1, 0], [only_a, only_b, 7]))
    wanted = statsmodels_mcnemar([[3, only_a], [only_b, 4]], exact=True).pvalue
    assert exact
    assert p == pytest.approx(wanted)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=10))
def test_groups_of_several_units_are_tossed_as_a_whole(differences: list[int]) -> None:
    """Counted over every way of tossing the groups' signs."""
    sums = [sum(sign * d for sign, d in zip(signs, differences, strict=True))
            for signs in product((-1, 1), repeat=len(differences))]  # fmt: skip
    wanted = Fraction(sum(abs(total) >= abs(sum(differences)) for total in sums), len(sums))
    assert mcnemar_test(np.array(differences))[0] == pytest.approx(float(wanted))


def test_many_large_groups_are_tested_by_the_normal_approximation(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(0).integers(-9, 11, 400)
    exact, is_exact = mcnemar_test(differences)
    monkeypatch.setattr("medprobe.evaluate.statistics.p_values._MOST_STEPS", 10)
    near, is_near_exact = mcnemar_test(differences)
    assert (is_exact, is_near_exact) == (True, False)
    assert near == pytest.approx(exact, abs=0.01)


# --- Wilcoxon and p-values of several tests


def test_wilcoxon_takes_differences_that_were_rounded_apart_for_equal() -> None:
    exact = np.array([0.1, 0.1, -0.1, 0.2, 0.3, 0.1])
    rounded = exact + np.array([1, -1, 1, 0, 0, 2]) * 1e-16
    assert wilcoxon_test(rounded) == wilcoxon_test(exact)
    assert wilcoxon_test(np.zeros(4)) == 1
    assert wilcoxon_test(np.array([1e-17])) == 1
    assert np.isnan(wilcoxon_test(np.empty(0)))


def test_twice_the_median_keeps_its_level_however_p_values_depend() -> None:
    rng = np.random.default_rng(0)
    for shared in (0.0, 0.7, 1.0):
        z = np.sqrt(shared) * rng.normal(size=(4000, 1)) + np.sqrt(1 - shared) * rng.normal(size=(4000, 9))
        p = 2 * stats.norm.sf(np.abs(z))
        assert np.mean([twice_the_median(row) < 0.05 for row in p]) <= 0.055
    assert twice_the_median(np.array([0.03])) == 0.03
    assert twice_the_median(np.array([0.6, np.nan, 0.9])) == 1
    assert np.isnan(twice_the_median(np.array([np.nan])))
