"""What a seed draws: parts that share no patient, that have every class, and that follow from the seed alone."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from medprobe.base import ProbeError
from medprobe.evaluate import Resample, draw_resamples
from medprobe.evaluate.resampling.protocols import DRAWN, PROTOCOLS, VAL_SHARE
from medprobe.evaluate.resampling.resample import MOST_SEEDS, check_seeds, parse_seeds, resolve_protocol
from medprobe.manifests import DatasetCard, Manifest, Units, stratified_group_split
from medprobe.manifests.stratified_groups import shuffle_keys, shuffled
from random_cohorts import classes_in, cohorts, groups_with, units_of

PARTS = ("train", "val", "test")


def _drawn(units: Units, classes: list[str], seed: int = 0, **options) -> Resample | None:
    """One resample, or None where there are too few groups of a class, which another test looks at."""
    if (groups_with(units).sum(axis=0) < 3).any() or groups_with(units).shape[1] < len(classes):
        with pytest.raises(ProbeError, match="too few groups"):
            draw_resamples(units, [seed], classes=classes, **options)
        return None
    return draw_resamples(units, [seed], classes=classes, **options)[0]


@given(cohorts(), st.integers(0, 2**31 - 1))
def test_parts_are_disjoint_and_whole_and_no_group_is_in_two(cohort: tuple[Units, list[str]], seed: int) -> None:
    units, classes = cohort
    resample = _drawn(units, classes, seed, protocol="holdout")
    if resample is None:
        return
    parts = [getattr(resample, name) for name in PARTS]
    assert sorted(np.concatenate(parts)) == list(range(len(units)))
    owners = np.concatenate([np.unique(units.group[part]) for part in parts])
    assert len(owners) == len(set(owners))
    assert all((np.diff(part) > 0).all() for part in parts)


@given(cohorts(), st.integers(0, 2**31 - 1), st.sampled_from([(0.7, 0.1, 0.2), (0.1, 0.2, 0.7)]))
def test_every_class_is_trained_on(
    cohort: tuple[Units, list[str]], seed: int, fractions: tuple[float, float, float]
) -> None:
    units, classes = cohort
    resample = _drawn(units, classes, seed, protocol="holdout", fractions=fractions)
    if resample is not None:
        assert classes_in(units, resample.train) == classes_in(units, np.arange(len(units)))


def test_several_labels_are_shared_out_better_than_by_chance() -> None:
    """Three quarters of 200 draws are nearer to the shares of all units than random patients are; rare labels too."""
    rng = np.random.default_rng(0)
    group = rng.integers(0, 150, 400)
    y = (rng.random((400, 5)) < [0.04, 0.1, 0.2, 0.4, 0.6]).astype(np.int8)
    units = units_of(y, group)
    share, patients = y.mean(axis=0), len(units.group_id)

    def off(test: np.ndarray) -> float:
        return float((np.abs(y[test].mean(axis=0) - share) / share).mean())

    drawn = [off(resample.test) for resample in draw_resamples(units, range(200), classes=list("abcde"))]
    tested = round(0.2 * patients)
    random = [off(np.flatnonzero(np.isin(units.group, rng.permutation(patients)[:tested]))) for _ in range(200)]
    assert np.mean(np.less(drawn, random)) > 0.75
    assert np.mean(drawn) < 0.6 * np.mean(random)


@given(cohorts(multilabel=False), st.integers(0, 2**31 - 1))
def test_every_class_is_in_every_part_when_each_patient_has_one_class(
    cohort: tuple[Units, list[str]], seed: int
) -> None:
    units, classes = cohort
    units = units_of(units.y[np.unique(units.group, return_index=True)[1]][units.group], units.group)
    resample = _drawn(units, classes, seed, protocol="holdout")
    if resample is not None:
        every = classes_in(units, np.arange(len(units)))
        assert all(classes_in(units, getattr(resample, name)) == every for name in PARTS)


@given(cohorts(), st.integers(0, 2**31 - 1))
def test_no_part_lacks_a_class_that_one_more_group_could_bring_it_for_free(
    cohort: tuple[Units, list[str]], seed: int
) -> None:
    units, classes = cohort
    resample = _drawn(units, classes, seed, protocol="holdout")
    if resample is None:
        return
    has = groups_with(units)
    owners = {name: np.unique(units.group[getattr(resample, name)]) for name in PARTS}
    for poor in PARTS:
        lacks = np.flatnonzero(has.any(axis=0) & ~has[owners[poor]].any(axis=0))
        for rich in set(PARTS) - {poor}:
            spare = has[owners[rich]].sum(axis=0) > 1
            givers = [g for g in owners[rich] if has[g, lacks].any() and spare[has[g]].all()]
            assert not givers, f"{poor} lacks class {lacks}, which group {givers} of {rich} could bring"


@given(st.data())
def test_shares_of_every_class_are_exact_to_one_unit_without_groups(data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(3, 200), min_size=2, max_size=5))
    y = np.repeat(np.arange(len(counts)), counts)
    y = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(y)
    units = units_of(y, np.arange(len(y)))
    fractions = data.draw(st.sampled_from([(0.7, 0.1, 0.2), (0.6, 0.2, 0.2), (1 / 3, 1 / 3, 1 / 3), (0.9, 0.05, 0.05)]))
    resample = _drawn(units, [str(c) for c in range(len(counts))], protocol="holdout", fractions=fractions)
    assert resample is not None
    for c, count in enumerate(counts):
        got = np.array([(y[getattr(resample, name)] == c).sum() for name in PARTS])
        wanted = count * np.array(fractions)
        # One unit is the rounding; a part that would have none gets one, from the largest.
        starved = (wanted < 1).sum()
        assert (got >= 1).all()
        assert (np.abs(got - wanted) < 1 + starved).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.sampled_from([(0.7, 0.1, 0.2), (0.5, 0.25, 0.25)]))
def test_shares_of_patients_with_several_exams_are_met_to_about_one_patient(
    entropy: int, largest: int, fractions: tuple[float, float, float]
) -> None:
    rng = np.random.default_rng(entropy)
    sizes = rng.integers(1, largest + 1, 60)
    group = np.repeat(np.arange(60), sizes)
    y = rng.integers(0, 2, 60)[group]
    units = units_of(y, group)
    resample = _drawn(units, ["a", "b"], protocol="holdout", fractions=fractions)
    assert resample is not None
    for c in (0, 1):
        wanted = (y == c).sum() * np.array(fractions)
        got = np.array([(y[getattr(resample, name)] == c).sum() for name in PARTS])
        assert (np.abs(got - wanted) <= 2 * largest).all(), (got, wanted)


@given(cohorts(), st.integers(0, 2**31 - 1))
def test_a_seed_draws_the_same_again_whatever_is_drawn_with_it(cohort: tuple[Units, list[str]], seed: int) -> None:
    units, classes = cohort
    one = _drawn(units, classes, seed, protocol="holdout")
    if one is None:
        return
    others = [other for other in (0, 7, 12345) if other != seed]
    again = draw_resamples(units, [*others, seed], classes=classes, protocol="holdout")[-1]
    assert again.seed == seed
    assert all(np.array_equal(getattr(one, name), getattr(again, name)) for name in PARTS)


def test_seeds_draw_different_resamples() -> None:
    units = units_of(np.arange(200) % 3, np.arange(200))
    drawn = draw_resamples(units, range(50), classes=["a", "b", "c"], protocol="holdout")
    assert len({tuple(resample.test) for resample in drawn}) == 50


def test_every_group_is_tested_about_as_often_as_its_share_says() -> None:
    units = units_of(np.arange(100) % 2, np.arange(100))
    drawn = draw_resamples(units, range(400), classes=["a", "b"], protocol="holdout")
    times = np.bincount(np.concatenate([resample.test for resample in drawn]), minlength=100)
    # 400 draws at 0.2: mean 80, standard deviation 8; six of them leave no room for chance.
    assert np.abs(times - 80).max() < 48
    assert times.std() < 12


def _table(rng: np.random.Generator, rows: int, *, split: bool) -> pd.DataFrame:
    patient = rng.integers(0, rows // 2, rows)
    exam = patient * 3 + rng.integers(0, 2, rows)
    table = pd.DataFrame(
        {
            "sample_id": [f"s{i}" for i in rng.permutation(rows)],
            "path": "x",
            "unit_id": [f"e{e}" for e in exam],
            "group_id": [f"p{p}" for p in patient],
            "label": np.array(["a", "b", "c"])[(exam // 3 + exam) % 3],
        }
    )
    if split:
        table["split"] = np.where(patient % 5 == 0, "test", "train")
    return table


@pytest.mark.parametrize("split", [False, True], ids=["holdout", "official"])
def test_the_order_of_the_manifests_rows_makes_no_difference(split: bool) -> None:
    rng = np.random.default_rng(5)
    card = DatasetCard(name="toy", task="multiclass", classes=["a", "b", "c"])
    for _ in range(15):
        table = _table(rng, 150, split=split)
        drawn = []
        for rows in (table, table.sample(frac=1, random_state=int(rng.integers(1000))), table.iloc[::-1]):
            units = Manifest(rows.reset_index(drop=True), card).units()
            resamples = draw_resamples(units, range(3), classes=card.classes)
            drawn.append([{name: set(units.unit_id[getattr(r, name)]) for name in PARTS} for r in resamples])
        assert drawn[0] == drawn[1] == drawn[2]


def test_a_patient_who_joins_does_not_reshuffle_the_others() -> None:
    names = np.array([f"patient {i}" for i in range(50)], dtype=object)
    before = names[shuffled(shuffle_keys(names), 3)].tolist()
    joined = np.insert(names, 20, "patient new")
    after = joined[shuffled(shuffle_keys(joined), 3)].tolist()
    after.remove("patient new")
    assert after == before


def test_the_order_of_groups_is_the_same_on_every_machine_and_under_every_numpy() -> None:
    """Written down once: a change would silently give every published seed another resample."""
    names = np.array([f"patient {i}" for i in range(10)], dtype=object)
    assert shuffled(shuffle_keys(names), 0).tolist() == ORDER_OF_SEED_0
    assert shuffled(shuffle_keys(names), 2**31 - 1).tolist() == ORDER_OF_LAST_SEED


ORDER_OF_SEED_0 = [2, 0, 4, 5, 6, 7, 3, 1, 8, 9]
ORDER_OF_LAST_SEED = [7, 0, 8, 2, 4, 3, 9, 6, 1, 5]


def _split_cohort(rng: np.random.Generator, *, val: bool) -> Units:
    group = rng.integers(0, 60, 200)
    parts = np.array(["train", "train", "train", "val" if val else "train", "test"])
    return units_of(rng.integers(0, 3, 200), group, parts[group % 5].astype("<U5"))


@pytest.mark.parametrize("val", [False, True], ids=["no val", "with val"])
def test_official_keeps_the_manifests_test_and_val_and_draws_from_its_training_part(val: bool) -> None:
    rng = np.random.default_rng(1)
    for _ in range(40):
        units = _split_cohort(rng, val=val)
        assert units.split is not None
        for resample in draw_resamples(units, range(3), classes=["a", "b", "c"], protocol="official"):
            assert np.array_equal(resample.test, np.flatnonzero(units.split == "test"))
            assert (units.split[resample.train] == "train").all()
            assert (units.split[resample.val] == ("val" if val else "train")).all()
            assert not set(units.group[resample.train]) & set(units.group[resample.val])
            pool = (units.split == "train").sum()
            drawn = len(resample.train) if val else len(resample.train) + len(resample.val)
            assert abs(drawn / pool - DRAWN) < 0.1
            if val:
                assert np.array_equal(resample.val, np.flatnonzero(units.split == "val"))
            else:
                assert abs(len(resample.val) / drawn - VAL_SHARE) < 0.1
            assert classes_in(units, resample.train) == {0, 1, 2}


def test_official_leaves_another_tenth_out_for_every_seed() -> None:
    units = _split_cohort(np.random.default_rng(2), val=True)
    drawn = draw_resamples(units, range(10), classes=["a", "b", "c"], protocol="official")
    assert len({tuple(resample.train) for resample in drawn}) == 10


@pytest.mark.parametrize(("split", "protocol"), [(True, "official"), (False, "holdout")])
def test_auto_is_official_where_the_manifest_has_train_and_test(split: bool, protocol: str) -> None:
    parts = np.where(np.arange(30) < 20, "train", "test").astype("<U5") if split else None
    assert resolve_protocol("auto", units_of(np.arange(30) % 2, np.arange(30), parts)) == protocol


def test_too_few_groups_names_every_such_class_and_how_many_there_are() -> None:
    y = np.array([0] * 20 + [1] * 2 + [2] * 9)
    units = units_of(y, np.r_[np.arange(20), 20, 21, [22] * 9])
    with pytest.raises(ProbeError) as fault:
        draw_resamples(units, [0], classes=["healthy", "rare", "one patient"], protocol="holdout")
    assert '"rare" (2)' in str(fault.value)
    assert '"one patient" (1)' in str(fault.value)
    assert "healthy" not in str(fault.value)


def test_a_class_that_only_the_test_has_is_named() -> None:
    split = np.array(["train"] * 20 + ["test"] * 4).astype("<U5")
    units = units_of(np.array([0, 1] * 10 + [0, 1, 2, 2]), np.arange(24), split)
    with pytest.raises(ProbeError, match=r'"late" \(0\)'):
        draw_resamples(units, [0], classes=["a", "b", "late"], protocol="official")


def test_a_group_on_both_sides_of_the_split_is_refused_under_official_alone() -> None:
    split = np.array(["train"] * 20 + ["test"] * 10).astype("<U5")
    units = units_of(np.arange(30) % 2, np.r_[np.arange(20), np.arange(10) + 15], split)
    with pytest.raises(ProbeError, match="5 of 25 groups"):
        draw_resamples(units, [0], classes=["a", "b"], protocol="official")
    assert len(draw_resamples(units, [0], classes=["a", "b"], protocol="holdout")) == 1


def test_official_without_a_split_says_what_to_do() -> None:
    with pytest.raises(ProbeError, match=r"no unit is in train or test.*holdout"):
        draw_resamples(units_of(np.arange(30) % 2, np.arange(30)), [0], classes=["a", "b"], protocol="official")


@pytest.mark.parametrize("fractions", [(0.7, 0.3, 0.0), (0.7, 0.2, 0.2), (-0.1, 0.6, 0.5), (np.nan, 0.5, 0.5)])
def test_fractions_that_make_no_split_are_refused(fractions: tuple[float, float, float]) -> None:
    with pytest.raises(ProbeError, match="sum to one"):
        draw_resamples(
            units_of(np.arange(30) % 2, np.arange(30)), [0], classes=["a", "b"], protocol="holdout", fractions=fractions
        )


def test_an_unknown_protocol_names_the_near_one() -> None:
    with pytest.raises(ProbeError, match='Did you mean "holdout"'):
        draw_resamples(units_of(np.arange(9) % 2, np.arange(9)), [0], classes=["a", "b"], protocol="holdot")
    assert set(PROTOCOLS) == {"official", "fixed", "holdout", "kfold", "external"}


def test_seeds_are_a_number_or_a_list() -> None:
    assert parse_seeds("3") == [0, 1, 2]
    assert parse_seeds("3,5, 7") == [3, 5, 7]
    assert parse_seeds("3,") == [3]


def test_seeds_are_given_in_blocks() -> None:
    assert parse_seeds("20:23") == [20, 21, 22]
    assert parse_seeds("0:2, 50:52,7") == [0, 1, 50, 51, 7]
    assert parse_seeds("7:8") == [7]


@pytest.mark.parametrize(
    "text",
    [
        *("0", "-1", "", ",", "many", "1.5", "3,3", "-1,2", "9999999999,", "100000000", "9" * 20, "9" * 5000),
        *("3:3", "5:3", ":", "3:", ":3", "0:3:1", "0:2,1:3", "-2:1", "0:10001", "0:" + "9" * 20, "0:3,x", "1.5:3"),
    ],
)
def test_seeds_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(ProbeError):
        parse_seeds(text)


@pytest.mark.parametrize("seeds", [[], [1, 1], [-1], [2**31], [0.5], range(MOST_SEEDS + 1)])
def test_a_list_of_seeds_that_makes_no_sense_is_refused(seeds) -> None:
    with pytest.raises(ProbeError):
        check_seeds(seeds)


@given(st.integers(0, 2**32 - 1))
def test_labels_that_only_a_few_patients_have_reach_every_part_when_they_can(entropy: int) -> None:
    """Three patients have a rare label, beside many that are common: one of them goes to each part."""
    rng = np.random.default_rng(entropy)
    y = (rng.random((80, 3)) < 0.5).astype(np.int8)
    y[:, 2] = 0
    y[rng.choice(80, 3, replace=False), 2] = 1
    units = units_of(y, np.arange(80))
    resample = draw_resamples(units, [0], classes=["a", "b", "rare"], protocol="holdout")[0]
    assert [int(y[getattr(resample, name), 2].sum()) for name in PARTS] == [1, 1, 1]


def test_where_no_division_gives_every_part_every_class_train_has_them_all() -> None:
    """Four patients, three classes in three of them each: two parts at most can be complete, and train is one."""
    counts = np.array([[1, 1, 3], [3, 0, 2], [2, 2, 0], [0, 2, 1]])
    for order in permutations(range(4)):
        part = stratified_group_split(counts, np.array(order), np.array([0.7, 0.1, 0.2]), np.ones(3, np.int64))
        assert set(part) == {0, 1, 2}
        assert (counts[part == 0].sum(axis=0) > 0).all()


def test_a_part_without_a_share_gets_nothing() -> None:
    order, needed = np.arange(50), np.array([1, 1, 0, 0])
    for counts in (np.eye(2, dtype=np.int64)[np.arange(50) % 2], np.tile([1, 2], (50, 1))):
        part = stratified_group_split(counts, order, np.array([0.7, 0.2, 0.0, 0.1]), needed)
        assert set(part) == {0, 1, 3}


def test_a_hundred_thousand_exams_of_forty_thousand_patients_are_drawn_in_seconds() -> None:
    import time

    rng = np.random.default_rng(0)
    units = units_of(rng.integers(0, 8, 100_000), rng.integers(0, 40_000, 100_000))
    start = time.process_time()
    draw_resamples(units, [0], classes=[str(c) for c in range(8)], protocol="holdout")
    assert time.process_time() - start < 20
