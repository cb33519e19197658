"""Folds, budgets and external tests: no group on two sides, every fold tested once, small budgets inside large ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from medprobe.base import ProbeError
from medprobe.evaluate import Budget, Resample, draw_resamples, subsample_train
from medprobe.evaluate.resampling.protocols import DRAWN, VAL_SHARE
from medprobe.evaluate.resampling.train_size import budgets_of, parse_numbers
from medprobe.manifests import DatasetCard, Manifest, Units, assign_folds
from medprobe.probe import concat_units
from random_cohorts import classes_in, cohorts, groups_with, units_of

PARTS = ("train", "val", "test")
SEEDS = st.integers(0, 2**31 - 1)
ProbeData = tuple[Units, list[str]]


def _same(one: Resample, other: Resample) -> bool:
    return (one.seed, one.fold) == (other.seed, other.fold) and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in PARTS
    )


def _assert_parted(units: Units, resample: Resample) -> None:
    """The parts are sorted, disjoint, and no group is in two of them."""
    parts = [getattr(resample, name) for name in PARTS]
    assert all((np.diff(part) > 0).all() for part in parts)
    owners = np.concatenate([np.unique(units.group[part]) for part in parts])
    assert len(owners) == len(set(owners))


def _folded(cohort: ProbeData, folds: int, seed: int) -> list[Resample]:
    """The folds of one seed; none where there are too few groups, which must be said."""
    units, classes = cohort
    has = groups_with(units)
    needed = 4 if folds == 2 else folds
    if len(units.group_id) < folds or has.shape[1] < len(classes) or (has.sum(axis=0) < needed).any():
        with pytest.raises(ProbeError, match=r"too few groups|groups \(patients"):
            draw_resamples(units, [seed], classes=classes, folds=folds)
        return []
    return draw_resamples(units, [seed], classes=classes, folds=folds)


# --- kfold


@given(cohorts(), SEEDS, st.integers(2, 6))
def test_every_fold_is_tested_once_and_no_group_stands_on_two_sides(cohort: ProbeData, seed: int, folds: int) -> None:
    units, _ = cohort
    drawn = _folded(cohort, folds, seed)
    for resample in drawn:
        _assert_parted(units, resample)
        assert sorted(np.concatenate([getattr(resample, name) for name in PARTS])) == list(range(len(units)))
    if drawn:
        assert [(resample.seed, resample.fold) for resample in drawn] == [(seed, fold) for fold in range(folds)]
        assert sorted(np.concatenate([resample.test for resample in drawn])) == list(range(len(units)))


@given(cohorts(multilabel=False), SEEDS, st.integers(2, 6))
def test_every_class_is_in_every_part_of_every_fold_when_each_patient_has_one_class(
    cohort: ProbeData, seed: int, folds: int
) -> None:
    units, classes = cohort
    pure = units_of(units.y[np.unique(units.group, return_index=True)[1]][units.group], units.group)
    for resample in _folded((pure, classes), folds, seed):
        assert all(classes_in(pure, getattr(resample, name)) == set(range(len(classes))) for name in PARTS)


@given(cohorts(), SEEDS, st.integers(2, 6))
def test_every_class_is_trained_on_in_every_fold(cohort: ProbeData, seed: int, folds: int) -> None:
    units, classes = cohort
    for resample in _folded(cohort, folds, seed):
        assert classes_in(units, resample.train) == set(range(len(classes)))


def test_a_class_whose_patients_all_have_others_too_is_trained_on_in_every_fold() -> None:
    """Seven patients, five labels: no single move that costs no fold a label takes the second label out of fold 1."""
    counts = [[1, 0, 3, 0, 3], [0, 3, 3, 0, 1], [2, 2, 2, 0, 0], [0, 0, 0, 1, 3], [3, 0, 3, 1, 1], [0, 0, 3, 1, 0],
              [0, 3, 1, 1, 0]]  # fmt: skip
    fold = assign_folds(np.array(counts), np.array([1, 4, 6, 3, 0, 5, 2]), 3, needed=1)
    assert all(len(set(fold[np.array(counts)[:, c] > 0])) > 1 for c in range(5))


@given(st.lists(st.integers(6, 90), min_size=2, max_size=6), st.integers(2, 6), SEEDS)
def test_folds_differ_by_one_unit_and_by_one_of_each_class_without_groups(
    counts: list[int], folds: int, seed: int
) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    drawn = _folded((units_of(y, np.arange(len(y))), [str(c) for c in range(len(counts))]), folds, seed)
    sizes = np.array([np.bincount(y[resample.test], minlength=len(counts)) for resample in drawn])
    assert (np.ptp(sizes, axis=0) <= 1).all()
    assert np.ptp(sizes.sum(axis=1)) <= 1
    for resample in drawn:
        rest = len(resample.train) + len(resample.val)
        assert abs(len(resample.val) - VAL_SHARE * rest) <= len(counts)


@given(cohorts(), SEEDS)
def test_a_seeds_folds_are_the_same_whatever_is_drawn_with_them(cohort: ProbeData, seed: int) -> None:
    units, classes = cohort
    drawn = _folded(cohort, 3, seed)
    others = [other for other in (1, 99) if other != seed]
    again = draw_resamples(units, [*others, seed], classes=classes, folds=3)[-3:] if drawn else []
    assert all(_same(one, other) for one, other in zip(drawn, again, strict=True))


def test_folds_of_one_seed_choose_on_different_cases() -> None:
    """Were val always taken from the same end of the seed's order, all folds would choose on much the same units."""
    units = units_of(np.arange(300) % 3, np.arange(300))
    drawn = draw_resamples(units, [0], classes=["a", "b", "c"], folds=5)
    times = np.bincount(np.concatenate([resample.val for resample in drawn]), minlength=300)
    assert (times > 0).sum() > 150  # 5 x 48 draws among 300


def test_too_few_groups_for_the_folds_are_told() -> None:
    with pytest.raises(ProbeError, match="8 folds, but there are 6 groups"):
        draw_resamples(units_of(np.arange(12) % 2, np.arange(12) // 2), [0], classes=["a", "b"], folds=8)
    few = units_of(np.array([0] * 20 + [1] * 4), np.arange(24))
    with pytest.raises(ProbeError, match=r'of "rare" \(4\): each of 5 folds needs one'):
        draw_resamples(few, [0], classes=["a", "rare"], folds=5)
    assert len(draw_resamples(few, [0], classes=["a", "rare"], folds=2)) == 2


@pytest.mark.parametrize("folds", [1, 0, -3, 2.5, 101])
def test_a_number_of_folds_that_makes_no_sense_is_refused(folds) -> None:
    with pytest.raises(ProbeError, match="whole number from 2"):
        draw_resamples(units_of(np.arange(200) % 2, np.arange(200)), [0], classes=["a", "b"], folds=folds)


def test_folds_ask_for_kfold_and_go_with_nothing_else() -> None:
    units = units_of(np.arange(30) % 2, np.arange(30), np.where(np.arange(30) < 20, "train", "test").astype("<U5"))
    assert len(draw_resamples(units, [0, 1], classes=["a", "b"], folds=3)) == 6
    assert len(draw_resamples(units, [0, 1], classes=["a", "b"], protocol="kfold")) == 10
    for protocol in ("official", "holdout"):
        with pytest.raises(ProbeError, match=f"{protocol} has no folds"):
            draw_resamples(units, [0], classes=["a", "b"], protocol=protocol, folds=3)


# --- budgets


@st.composite
def _drawn(draw: st.DrawFn) -> tuple[Units, list[str], Resample]:
    """A resample under any protocol, of a random cohort that allows one."""
    units, classes = draw(cohorts().filter(lambda c: groups_with(c[0]).shape[1] == len(c[1])))
    protocol = draw(st.sampled_from(["holdout", "kfold", "official"]))
    if protocol == "official":
        split = np.array(["test", "train", "train", "train"])[units.group % 4].astype("<U5")
        units = units_of(units.y, units.group, split)
    try:
        drawn = draw_resamples(units, [draw(SEEDS)], classes=classes, protocol=protocol, folds=None)
    except ProbeError:
        drawn = draw_resamples(units_of(np.arange(40) % 2, np.arange(40) // 2), [0], classes=["a", "b"], folds=4)
        return units_of(np.arange(40) % 2, np.arange(40) // 2), ["a", "b"], drawn[draw(st.integers(0, 3))]
    return units, classes, draw(st.sampled_from(drawn))


def _per_class(units: Units, rows: np.ndarray, classes: list[str]) -> np.ndarray:
    y = units.y[rows]
    return y.sum(axis=0, dtype=np.int64) if y.ndim == 2 else np.bincount(y, minlength=len(classes))


@given(_drawn(), st.lists(st.integers(1, 12), min_size=1, max_size=4, unique=True))
def test_shots_are_nested_whole_groups_of_train_with_enough_of_each_class(
    drawn: tuple[Units, list[str], Resample], shots: list[int]
) -> None:
    units, classes, resample = drawn
    available = _per_class(units, resample.train, classes)
    before = np.empty(0, np.int64)
    for budget in budgets_of(shots):
        assert budget.shots is not None
        short = [f'"{classes[c]}" ({available[c]})' for c in np.flatnonzero(available < budget.shots)]
        if short:
            with pytest.raises(ProbeError) as fault:
                subsample_train(units, [resample], budget, classes=classes)
            assert all(word in str(fault.value) for word in short)
            continue
        (cut,) = subsample_train(units, [resample], budget, classes=classes)
        assert np.array_equal(cut.val, resample.val)
        assert np.array_equal(cut.test, resample.test)
        assert set(before) <= set(cut.train) <= set(resample.train)
        _assert_parted(units, cut)
        taken = np.isin(units.group[resample.train], units.group[cut.train])
        assert np.array_equal(resample.train[taken], cut.train)
        assert (_per_class(units, cut.train, classes) >= budget.shots).all()
        before = cut.train


@given(_drawn(), st.lists(st.floats(0.001, 1), min_size=1, max_size=4, unique=True))
def test_shares_are_nested_whole_groups_of_train_that_keep_every_class(
    drawn: tuple[Units, list[str], Resample], shares: list[float]
) -> None:
    units, classes, resample = drawn
    available = _per_class(units, resample.train, classes)
    before = np.empty(0, np.int64)
    for share in [*sorted(shares), 1.0]:
        (cut,) = subsample_train(units, [resample], Budget(share=share), classes=classes)
        assert np.array_equal(cut.val, resample.val)
        assert np.array_equal(cut.test, resample.test)
        assert set(before) <= set(cut.train) <= set(resample.train)
        assert np.array_equal(resample.train[np.isin(units.group[resample.train], units.group[cut.train])], cut.train)
        left = _per_class(units, cut.train, classes)
        assert (left[available > 0] >= np.maximum(1, share * available[available > 0] - 0.5)).all()
        before = cut.train
    assert np.array_equal(before, resample.train)


@given(st.lists(st.integers(20, 90), min_size=2, max_size=5), SEEDS, st.integers(1, 10), st.floats(0.01, 1))
def test_budgets_are_exact_where_every_group_is_one_unit(
    counts: list[int], seed: int, shots: int, share: float
) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    units, classes = units_of(y, np.arange(len(y))), [str(c) for c in range(len(counts))]
    drawn = draw_resamples(units, [seed], classes=classes, protocol="holdout")
    (few,) = subsample_train(units, drawn, Budget(shots=shots), classes=classes)
    assert _per_class(units, few.train, classes).tolist() == [shots] * len(counts)
    (part,) = subsample_train(units, drawn, Budget(share=share), classes=classes)
    available = _per_class(units, drawn[0].train, classes)
    wanted = np.maximum(1, np.floor(share * available + 0.5))
    assert _per_class(units, part.train, classes).tolist() == wanted.tolist()


def test_units_without_any_label_are_among_the_few_of_a_multilabel_task() -> None:
    """Without them a label would have no counter-examples but the other labels' cases."""
    y = np.zeros((120, 2), np.int8)
    y[:40, 0] = y[40:80, 1] = 1
    units = units_of(y, np.arange(120))
    drawn = draw_resamples(units, [0], classes=["a", "b"], protocol="holdout")
    (cut,) = subsample_train(units, drawn, Budget(shots=3), classes=["a", "b"])
    assert sorted(map(tuple, y[cut.train].tolist())) == [(0, 0)] * 3 + [(0, 1)] * 3 + [(1, 0)] * 3


def test_seeds_and_folds_cut_down_to_different_units() -> None:
    units = units_of(np.arange(200) % 2, np.arange(200))
    drawn = draw_resamples(units, range(4), classes=["a", "b"], folds=5)
    cut = subsample_train(units, drawn, Budget(shots=2), classes=["a", "b"])
    assert len({tuple(resample.train) for resample in cut}) == 20


@pytest.mark.parametrize(
    "budget", [Budget(), Budget(shots=1), Budget(shots=50), Budget(share=0.1), Budget(share=0.005), Budget(share=1)]
)
def test_a_budget_can_be_read_from_its_name(budget: Budget) -> None:
    assert Budget.named(budget.name) == budget


def test_budgets_are_named_and_none_is_all() -> None:
    assert [budget.name for budget in budgets_of([5, 1], [1, 0.01])] == ["1 shot", "5 shots", "1%", "100%"]
    assert [(budget.name, budget.whole) for budget in budgets_of()] == [("all", True)]
    assert not any(budget.whole for budget in budgets_of([1], [1]))
    with pytest.raises(ProbeError, match="is not a budget"):
        Budget.named("five shots")


@pytest.mark.parametrize(
    ("shots", "shares", "told"),
    [
        ([0], [], "whole numbers from 1"), ([-1], [], "whole numbers from 1"), ([1.5], [], "whole numbers from 1"),
        ([1, 1], [], "given twice: 1 shot"), ([], [0], "above 0"), ([], [1.1], "above 0"),
        ([], [float("nan")], "above 0"), ([], [0.1, 0.1], "given twice: 10%"),
    ],
)  # fmt: skip
def test_budgets_that_make_no_sense_are_refused(shots: list[int], shares: list[float], told: str) -> None:
    with pytest.raises(ProbeError, match=told):
        budgets_of(shots, shares)


def test_budgets_are_read_as_a_user_types_them() -> None:
    assert parse_numbers("1, 5,10", int, "--shots", "") == [1, 5, 10]
    assert parse_numbers("0.01,.1,1", float, "--train-fraction", "") == [0.01, 0.1, 1.0]


_WRONG = [(kind, text) for kind in (int, float) for text in ("", ",", "x", "1;2", "inf", "nan", "10%")]


@pytest.mark.parametrize(("kind", "text"), [*_WRONG, (int, "1.5")])
def test_budgets_that_are_no_numbers_are_refused(kind: type, text: str) -> None:
    with pytest.raises(ProbeError, match="--shots"):
        parse_numbers(text, kind, "--shots", "numbers")


# --- external


@given(cohorts(), cohorts(), SEEDS)
def test_an_external_test_is_whole_and_the_rest_follows_from_the_first_manifest_alone(
    ours: ProbeData, theirs: ProbeData, seed: int
) -> None:
    trained, classes = ours
    tested = units_of(trained.y[::-1], np.arange(len(trained)) // 2)
    if theirs[0].y.ndim == trained.y.ndim and len(theirs[1]) == len(classes):
        tested = theirs[0]
    units = concat_units(trained, tested)
    has = groups_with(trained)
    if has.shape[1] < len(classes) or (has.sum(axis=0) < 2).any():
        with pytest.raises(ProbeError, match="the training part has"):
            draw_resamples(units, [seed], classes=classes, protocol="external")
        return
    (resample,) = draw_resamples(units, [seed], classes=classes, protocol="external")
    _assert_parted(units, resample)
    assert resample.test.tolist() == list(range(len(trained), len(units)))
    assert max(resample.train.max(), resample.val.max(initial=0)) < len(trained)
    assert classes_in(trained, resample.train) == set(range(len(classes)))
    beside_itself = concat_units(trained, trained)
    (other,) = draw_resamples(beside_itself, [seed], classes=classes, protocol="external")
    assert np.array_equal(other.train, resample.train)
    assert np.array_equal(other.val, resample.val)


def test_an_external_protocol_draws_as_official_does_without_a_val() -> None:
    trained = units_of(np.arange(200) % 2, np.arange(200))
    units = concat_units(trained, units_of(np.arange(50) % 2, np.arange(50)))
    drawn = draw_resamples(units, range(20), classes=["a", "b"], protocol="external")
    assert {len(resample.train) + len(resample.val) for resample in drawn} == {round(200 * DRAWN)}
    assert {len(resample.val) for resample in drawn} == {round(200 * DRAWN * VAL_SHARE)}
    assert len({tuple(resample.train) for resample in drawn}) == 20


def test_groups_of_the_same_name_in_two_manifests_stay_two_groups() -> None:
    trained, tested = units_of(np.arange(20) % 2, np.arange(20)), units_of(np.arange(10) % 2, np.arange(10))
    units = concat_units(trained, tested)
    assert len(set(units.group)) == len(units.group_id) == 30
    assert units.group_id[units.group[20:]].tolist() == tested.group_id[tested.group].tolist()


# --- the order of rows


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_folds_and_budgets_do_not_depend_on_the_order_of_the_rows(task: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        patient = rng.integers(0, 40, 120)
        table = pd.DataFrame({"sample_id": [f"s{i}" for i in rng.permutation(120)], "path": "x"})
        table["group_id"] = [f"p{p}" for p in patient]
        if task == "multilabel":
            table["a"], table["b"] = (rng.random((2, 120)) < 0.4).astype(int)
        else:
            table["label"] = np.where(rng.random(120) < 0.4, "a", "b")
        card = DatasetCard(name="d", task=task, classes=["a", "b"])
        found = [
            Manifest(table.sample(frac=1, random_state=seed) if seed else table, card).units() for seed in range(2)
        ]
        drawn = [draw_resamples(units, range(2), classes=["a", "b"], folds=3) for units in found]
        for budget in (Budget(), Budget(shots=2), Budget(share=0.3)):
            one, other = (subsample_train(u, d, budget, classes=["a", "b"]) for u, d in zip(found, drawn, strict=True))
            assert all(_same(a, b) for a, b in zip(one, other, strict=True))
