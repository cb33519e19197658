"""Statistics against examples worked by hand, and against ways of computing them that share no code with ours."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from delong_of_scores import delong
from medprobe.evaluate import METRICS, weighted_scores
from medprobe.evaluate.metrics.functions import LabeledPredictions
from medprobe.evaluate.statistics.comparison import corrected_t_test
from medprobe.evaluate.statistics.p_values import wilcoxon_test
from scipy import stats
from sklearn.metrics import roc_auc_score

# --- DeLong


def test_delong_is_an_example_worked_by_hand() -> None:
    """Three positives and two negatives under two systems, every pair of them compared.

    Of the first system the positives are above (2, 2, 1) of the two negatives and the negatives below (2, 3) of the
    three positives: an area of 5/6. Of the second (1, 2, 0) and (2, 1): 1/2. As shares, the differences are
    (1/2, 0, 1/2) and (0, 2/3), of variances 1/12 and 2/9; so the difference 1/3 has the variance
    1/12 / 3 + 2/9 / 2 = 5/36, and z is 2 / sqrt(5).
    """
    truth = np.array([True, True, True, False, False])
    a, b = np.array([[0.9, 0.8, 0.4, 0.7, 0.3]]), np.array([[0.6, 0.9, 0.2, 0.5, 0.7]])
    found = delong(truth, a, b, np.arange(5))
    assert (found.auc_a, found.auc_b) == pytest.approx((5 / 6, 1 / 2))
    assert found.error == pytest.approx(np.sqrt(5) / 6)
    assert found.p == pytest.approx(2 * stats.norm.sf(2 / np.sqrt(5)))


@pytest.mark.parametrize("seed", range(5))
def test_delongs_error_is_that_of_leaving_out_every_unit_in_turn(seed: int) -> None:
    """An area is linear in the units of either class, so the jackknife of each class has DeLong's variance exactly."""
    rng = np.random.default_rng(seed)
    truth = np.arange(70) < 25
    a, b = truth + rng.normal(0, 1, 70), np.round(0.6 * truth + rng.normal(0, 1, 70), 1)

    def difference(kept: np.ndarray) -> float:
        return float(roc_auc_score(truth[kept], a[kept]) - roc_auc_score(truth[kept], b[kept]))

    variance = 0.0
    for units in (np.flatnonzero(truth), np.flatnonzero(~truth)):
        without = np.array([difference(np.delete(np.arange(70), unit)) for unit in units])
        variance += (len(units) - 1) / len(units) * ((without - without.mean()) ** 2).sum()
    found = delong(truth, a[None], b[None], np.arange(70))
    assert found.auc_a - found.auc_b == pytest.approx(difference(np.arange(70)))
    assert found.error == pytest.approx(np.sqrt(variance))


def test_delongs_error_is_about_that_of_drawing_patients_anew() -> None:
    """Patients of several exams, some ill and some not: the spread over 2,000 bootstrap draws of patients."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(150), 3)
    truth = rng.random(450) < 0.4
    a = truth + rng.normal(0, 0.7, 150)[patient] + rng.normal(0, 1, 450)
    b = 0.7 * truth + rng.normal(0, 0.7, 150)[patient] + rng.normal(0, 1, 450)
    exams = np.arange(450).reshape(150, 3)

    def area(score: np.ndarray, rows: np.ndarray) -> float:
        """By Mann and Whitney's ranks; scikit-learn's takes five times as long."""
        ill = truth[rows]
        ranks, positives = stats.rankdata(score[rows]), ill.sum()
        return float((ranks[ill].sum() - positives * (positives + 1) / 2) / positives / (~ill).sum())

    assert area(a, np.arange(450)) == pytest.approx(roc_auc_score(truth, a))
    drawn = []
    for _ in range(2000):
        rows = exams[rng.integers(0, 150, 150)].ravel()
        drawn.append(area(a, rows) - area(b, rows))
    assert delong(truth, a[None], b[None], patient).error == pytest.approx(np.std(drawn), rel=0.08)


# --- Nadeau and Bengio


def test_the_corrected_t_is_an_example_worked_by_hand() -> None:
    """Four resamples of which a fifth is tested: n2 / n1 = 1/4.

    The differences 0.02, 0.04, 0.00, 0.06 have the mean 0.03 and the variance 0.002 / 3. Times 1/4 + 1/4 that is
    0.001 / 3, so t = 0.03 / sqrt(0.001 / 3) = sqrt(2.7), where the plain test has sqrt(5.4). With three degrees of
    freedom the share of Student's t within t is 2/pi (atan(u) + u / (1 + u^2)) for u = t / sqrt(3), here sqrt(0.9).
    """
    u = np.sqrt(0.9)
    within = 2 / np.pi * (np.arctan(u) + u / 1.9)
    assert corrected_t_test(np.array([0.02, 0.04, 0.00, 0.06]), 1 / 4) == pytest.approx(1 - within)
    u = np.sqrt(1.8)
    within = 2 / np.pi * (np.arctan(u) + u / 2.8)
    assert corrected_t_test(np.array([0.02, 0.04, 0.00, 0.06]), 0) == pytest.approx(1 - within)


# --- Wilcoxon


def test_wilcoxon_counts_the_signs_that_are_as_extreme() -> None:
    """Of the 64 signs of the ranks 1 to 6, a sum of 1 or less has {} and {1}: p = 2 * 2 / 64."""
    assert wilcoxon_test(np.array([-0.1, 0.2, 0.3, 0.4, 0.5, 0.6])) == pytest.approx(4 / 64)
    assert wilcoxon_test(np.array([0.01, -0.02, 0.03, 0.04, 0.05])) == pytest.approx(2 * 3 / 32)  # {}, {1}, {2}


def test_wilcoxon_is_the_worked_example_of_the_14_data_sets() -> None:
    """Demsar 2006, table 2: C4.5 with and without its m tuned. Against a count of all signs of the twelve ranks.

    He splits the ranks of the two zeros between the signs (R- = 12); left out, the smaller sum of ranks is 6.5.
    """
    without = [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.000, 0.940, 0.619, 0.972, 0.957]
    tuned = [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.000, 0.962, 0.666, 0.981, 0.978]
    differences = np.round(np.subtract(tuned, without), 6)
    ranks = stats.rankdata(np.abs(differences))
    assert ranks[differences < 0].sum() + ranks[differences == 0].sum() / 2 == 12
    differences = differences[differences != 0]
    ranks = stats.rankdata(np.abs(differences))
    smaller = ranks[differences < 0].sum()
    assert (len(ranks), smaller) == (12, 6.5)
    sums = np.array(list(product((0, 1), repeat=12))) @ ranks
    wanted = 2 * (sums <= smaller).mean()
    assert wanted < 0.01  # for which tables of twelve ranks allow a sum of 7
    # Two of the ranks are shared, for which SciPy may take the normal approximation.
    assert wilcoxon_test(np.subtract(tuned, without)) == pytest.approx(wanted, abs=0.004)
    assert wilcoxon_test(np.subtract(without, tuned)) == wilcoxon_test(np.subtract(tuned, without))


# --- expected calibration error


def _ece(chance: list[float], y: list[int]) -> float:
    scored = LabeledPredictions(np.array(y), np.c_[1 - np.array(chance), chance], "binary", ("rest", "ill"))
    return float(weighted_scores(METRICS["ece"], scored)[0][0])


def test_the_calibration_error_is_a_table_worked_by_hand() -> None:
    """Four calls: two at 0.9 share a bin and one of them is right, 0.8 is right, 0.6 (of the negative) is wrong.

    So 2/4 |0.9 - 0.5| + 1/4 |0.8 - 1| + 1/4 |0.6 - 0|.
    """
    assert _ece([0.9, 0.9, 0.8, 0.4], [1, 0, 1, 1]) == pytest.approx(0.2 + 0.05 + 0.15)


def test_the_calibration_error_has_fifteen_bins_of_as_many_calls() -> None:
    """Thirty calls in order, of each two that follow one another one is right.

    The pair k = 0..14 is stated at 0.51 + 0.03k and 0.52 + 0.03k, so its bin is off by 0.015 + 0.03k: 0.225 on average.
    """
    chance = [0.51 + 0.03 * k + step for k in range(15) for step in (0, 0.01)]
    assert _ece(chance, [1, 0] * 15) == pytest.approx(0.225)
