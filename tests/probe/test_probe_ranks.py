"""Ranks over data sets, against the worked example that the field cites and against scikit-posthocs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scikit_posthocs
from hypothesis import given
from hypothesis import strategies as st
from medprobe.evaluate.statistics.friedman import cliques, friedman_test, nemenyi_test, ranks_of
from scipy import stats

# Demsar 2006, table 6: AUC of C4.5 as it is, with m tuned, with cf tuned, with both, on 14 data sets.
# Of "voting" the last two are printed as equal and ranked 2 and 3; so the last is a little less here.
DEMSAR = np.array([
    [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
    [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
    [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
    [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
    [0.972, 0.981, 0.975, 0.9749], [0.957, 0.978, 0.946, 0.970],
])  # fmt: skip


def test_the_ranks_are_those_of_the_worked_example() -> None:
    np.testing.assert_allclose(ranks_of(DEMSAR).mean(axis=0), [3.143, 2.000, 2.893, 1.964], atol=5e-4)


def test_friedman_and_its_f_are_those_of_the_worked_example_but_for_ties() -> None:
    """The paper's chi-square, 9.28, is without the correction for ties; with it, it is larger."""
    ranks = ranks_of(DEMSAR)
    plain = 12 * 14 / (4 * 5) * ((ranks.mean(axis=0) ** 2).sum() - 4 * 25 / 4)
    assert plain == pytest.approx(9.28, abs=0.005)
    assert 13 * plain / (14 * 3 - plain) == pytest.approx(3.69, abs=0.005)
    ties = sum((counts**3 - counts).sum() for counts in (np.unique(row, return_counts=True)[1] for row in ranks))
    found = friedman_test(DEMSAR)
    assert found.chi_square == pytest.approx(plain / (1 - ties / (14 * 4 * (4**2 - 1))))
    assert found.f == pytest.approx(13 * found.chi_square / (14 * 3 - found.chi_square))
    assert found.p_f == pytest.approx(stats.f.sf(found.f, 3, 39))
    assert found.p_f < found.p_chi_square < 0.05


def test_the_critical_difference_is_that_of_the_worked_example() -> None:
    means = ranks_of(DEMSAR).mean(axis=0)
    assert nemenyi_test(means, 14, alpha=0.05)[0] == pytest.approx(1.25, abs=0.005)
    assert nemenyi_test(means, 14, alpha=0.10)[0] == pytest.approx(1.12, abs=0.005)


def test_nemenyis_p_values_are_those_of_scikit_posthocs_and_agree_with_the_critical_difference() -> None:
    for scores in (DEMSAR, np.random.default_rng(0).normal(size=(9, 6)) + np.arange(6) * 0.6):
        means = ranks_of(scores).mean(axis=0)
        critical, p = nemenyi_test(means, len(scores))
        np.testing.assert_allclose(p, scikit_posthocs.posthoc_nemenyi_friedman(scores).to_numpy(), atol=1e-6)
        gaps = np.abs(np.subtract.outer(means, means))
        np.testing.assert_array_equal(gaps > critical, p < 0.05)


@pytest.mark.parametrize("sets", [2, 3, 6])
@pytest.mark.parametrize("treatments", [3, 4, 12])
def test_data_sets_that_all_agree_are_as_surprising_as_agreeing_by_chance_is(sets: int, treatments: int) -> None:
    agreed = friedman_test(np.tile(np.linspace(0.9, 0.5, treatments), (sets, 1)))
    assert agreed.chi_square == pytest.approx(sets * (treatments - 1))  # the most there is
    assert np.isnan(agreed.f)
    assert np.isnan(agreed.p_f)
    assert agreed.p == pytest.approx(1 / math.factorial(treatments) ** (sets - 1), abs=3e-4)


def test_scores_that_are_all_equal_differ_in_nothing() -> None:
    found = friedman_test(np.full((5, 3), 0.5))
    assert (found.chi_square, found.f, found.p) == (0, 0, 1)


@pytest.mark.parametrize("decimals", [1, 9])
def test_p_is_the_share_of_all_ways_to_deal_out_the_ranks(decimals: int) -> None:
    """Every way, one by one: (3!)^4, once with ties and once without."""
    rng = np.random.default_rng(5)
    for scores in np.round(rng.random((6, 4, 3)) + np.array([0, 0.2, 0.4]), decimals):
        ranks = ranks_of(scores)
        squares = [
            (np.sum([rows[list(order)] for rows, order in zip(ranks, orders, strict=True)], axis=0) ** 2).sum()
            for orders in itertools.product(itertools.permutations(range(3)), repeat=4)
        ]
        share = np.mean(np.array(squares) >= (ranks.sum(axis=0) ** 2).sum() - 1e-9)
        found = friedman_test(scores)
        assert found.p == pytest.approx(share)


def test_many_data_sets_are_tested_by_chance_and_agree_with_f() -> None:
    found = friedman_test(DEMSAR)
    assert found.p == friedman_test(DEMSAR).p == pytest.approx(found.p_f, abs=0.01)


def test_scores_that_were_rounded_apart_share_a_rank() -> None:
    np.testing.assert_array_equal(ranks_of(np.array([[0.1 + 0.2, 0.3, 0.5]])), [[2.5, 2.5, 1]])


@given(st.lists(st.floats(1, 10), min_size=2, max_size=9), st.floats(0.1, 5))
def test_bars_join_all_neighbours_that_are_not_told_apart_and_no_others(ranks: list[float], critical: float) -> None:
    means = np.sort(ranks)
    apart = np.abs(np.subtract.outer(means, means)) > critical
    bars = cliques(means, apart)
    for i in range(len(means)):
        for j in range(i + 1, len(means)):
            assert any(first <= i and j <= last for first, last in bars) == (not apart[i, j])
    assert not any(a != b and a[0] <= b[0] and b[1] <= a[1] for a in bars for b in bars)
