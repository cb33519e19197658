"""What a seed controls: which units train, which choose, which are scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..base import ProbeError, did_you_mean, one_of
from ..manifests import Units
from .allocation import allocate, shuffle_keys, shuffled

TRAIN, VAL, TEST, UNUSED = 0, 1, 2, 3
_NAMES = ("train", "val", "test")

HOLDOUT = (0.7, 0.1, 0.2)
"""Shares of train, val and test under `holdout`."""
DRAWN = 0.9
"""Share of the training groups that a seed draws under `official`."""
VAL_SHARE = 0.2
"""Share of the drawn training groups that chooses under `official`, where the manifest has no val."""
MOST_SEEDS = 10_000


@dataclass(frozen=True, eq=False)
class Resample:
    """The units that one seed draws; every backbone, probe and fine-tuning sees the same ones.

    The arrays are sorted int64 positions into `Units`; no group is in two of them.
    """

    seed: int
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    fold: int = 0
    """Which of the seed's folds is the test; 0 where the protocol has no folds."""

    def within(self, usable: np.ndarray) -> Resample:
        """This resample without the units that `usable` (U,) bool rules out."""
        return Resample(self.seed, *(part[usable[part]] for part in (self.train, self.val, self.test)), self.fold)

    def renumbered(self, position: np.ndarray) -> Resample:
        """This resample with every unit `u` called `position[u]`."""
        return Resample(self.seed, position[self.train], position[self.val], position[self.test], self.fold)


def draw_resamples(
    units: Units,
    seeds: Sequence[int],
    *,
    classes: Sequence[str],
    protocol: str = "auto",
    fractions: tuple[float, float, float] = HOLDOUT,
) -> list[Resample]:
    """Draws one resample a seed, stratified by class and never splitting a group.

    A resample depends on the units and the seed alone: not on the order of the manifest's rows, nor on anything that
    is probed.

    Args:
        units: what to draw from; U units.
        seeds: whole numbers, none twice.
        classes: names by label code, for messages.
        protocol: `official` keeps the manifest's test, and its val where it has one; the seed draws 90 % of the
            training groups, and a fifth of those for val where there is none. `holdout` draws all three parts.
            `auto` is `official` where the manifest has train and test.
        fractions: shares of train, val and test for `holdout`.

    Raises:
        ProbeError: no seed, an unknown protocol, a split that does not allow it, a group on both sides of the split,
            or a class with too few groups (all such classes are named).
    """
    protocol = resolve_protocol(protocol, units)
    seeds = check_seeds(seeds)
    draw = PROTOCOLS[protocol](units, list(classes), fractions)
    return [_resample(seed, draw(seed)) for seed in seeds]


def resolve_protocol(protocol: str, units: Units) -> str:
    """`auto` made into `official` or `holdout`.

    Raises:
        ProbeError: there is no such protocol.
    """
    if protocol == "auto":
        has = set() if units.split is None else set(units.split.tolist())
        return "official" if {"train", "test"} <= has else "holdout"
    if protocol not in PROTOCOLS:
        known = ("auto", *PROTOCOLS)
        raise ProbeError(f'unknown protocol "{protocol}"; there are {one_of(known)}.{did_you_mean(protocol, known)}')
    return protocol


def check_seeds(seeds: Sequence[int]) -> list[int]:
    """The seeds as a list.

    Raises:
        ProbeError: there are none or too many, one is negative or not a whole number, or one stands there twice.
    """
    if len(seeds) > MOST_SEEDS:
        raise ProbeError(f"{len(seeds):,} seeds: at most {MOST_SEEDS:,} resamples can be drawn; 20 to 100 are usual.")
    given = list(seeds)
    if not given:
        raise ProbeError("no seeds: at least one resample is needed. Give a number of seeds such as 20, or a list.")
    wrong = [seed for seed in given if int(seed) != seed or not 0 <= seed < 2**31]
    if wrong:
        raise ProbeError(f"a seed is a whole number from 0 to 2,147,483,647; got {one_of(map(str, wrong), most=5)}.")
    listed = [int(seed) for seed in given]
    twice = sorted(seed for seed, times in Counter(listed).items() if times > 1)
    if twice:
        raise ProbeError(f"seeds given twice: {one_of(map(str, twice))}. The same seed draws the same resample.")
    return listed


def parse_seeds(text: str) -> list[int]:
    """`20` as the seeds 0 to 19; `3,5,7` as those three (`3,` as one).

    Raises:
        ProbeError: `text` is neither, or asks for none.
    """
    try:
        numbers = [int(word) for word in text.split(",") if word.strip()]
    except ValueError:
        raise ProbeError(f'--seeds "{text}": give a number of seeds such as 20, or a list such as 3,5,7.') from None
    if "," in text:
        return check_seeds(numbers)
    if not numbers or numbers[0] < 1:
        raise ProbeError(f"--seeds {text}: at least one seed is needed, e.g. --seeds 20.")
    return check_seeds(range(numbers[0]))


_Draw = Callable[[int], np.ndarray]
"""From a seed to the part of each unit, (U,) int64."""


def _holdout(units: Units, classes: list[str], fractions: tuple[float, float, float]) -> _Draw:
    shares = np.asarray(fractions, np.float64)
    if shares.shape != (3,) or not np.isfinite(shares).all() or shares.min() <= 0 or abs(shares.sum() - 1) > 1e-6:
        raise ProbeError(f"fractions of train, val and test must be positive and sum to one; got {tuple(fractions)}.")
    shares = shares / shares.sum()
    counts = _counts(units, np.ones(len(units), bool), len(classes))
    _require_groups(counts, classes, 3, "train, val and test each need one", "the data set has")
    keys = shuffle_keys(units.group_id)
    return lambda seed: allocate(counts, shuffled(keys, seed), shares, np.ones(3, bool))[units.group]


def _official(units: Units, classes: list[str], fractions: tuple[float, float, float]) -> _Draw:
    del fractions
    fixed = _fixed_parts(units)
    pool = np.unique(units.group[fixed == TRAIN])
    has_val = bool((fixed == VAL).any())
    shares = np.array([DRAWN, 0, 0, 1 - DRAWN]) if has_val else DRAWN * np.array([1 - VAL_SHARE, VAL_SHARE, 0, 0])
    shares[UNUSED] = 1 - DRAWN
    counts = _counts(units, fixed == TRAIN, len(classes))[pool]
    needed = np.array([True, not has_val, False, False])
    why = "training needs one" if has_val else "train and val each need one, and the manifest names no val"
    _require_groups(counts, classes, int(needed.sum()), why, "the training part has")
    keys = shuffle_keys(units.group_id[pool])

    def draw(seed: int) -> np.ndarray:
        of_group = np.full(len(units.group_id), UNUSED, np.int64)
        of_group[pool] = allocate(counts, shuffled(keys, seed), shares, needed)
        return np.where(fixed == TRAIN, of_group[units.group], fixed)

    return draw


def _fixed_parts(units: Units) -> np.ndarray:
    """The part that the manifest gives each unit, (U,) int64.

    Raises:
        ProbeError: there is no train or no test, or a group stands in two parts.
    """
    split = np.full(len(units), "") if units.split is None else units.split
    absent = [name for name in ("train", "test") if not (split == name).any()]
    if absent:
        raise ProbeError(
            f"the protocol official needs the manifest's own split, and no unit is in {' or '.join(absent)}."
            " Add a `split` column (train, val, test), or use the protocol holdout."
        )
    parts = np.select([split == name for name in _NAMES], [TRAIN, VAL, TEST], UNUSED)
    inside = [np.bincount(units.group[parts == part], minlength=len(units.group_id)) > 0 for part in (TRAIN, VAL, TEST)]
    torn = int((np.sum(inside, axis=0) > 1).sum())
    if torn:
        raise ProbeError(
            f"{torn:,} of {len(units.group_id):,} groups stand in several parts of the manifest's split, so its test"
            " score would be too good. `medprobe manifest check` lists them: mend the split, or use the protocol"
            " holdout, which never splits a group."
        )
    return parts


def _counts(units: Units, chosen: np.ndarray, classes: int) -> np.ndarray:
    """Units of each class (multilabel: positives of each label) in each group, among the chosen: (G, C) int64."""
    counts = np.zeros((len(units.group_id), classes), np.int64)
    if units.y.ndim == 1:
        np.add.at(counts, (units.group[chosen], units.y[chosen]), 1)
    else:
        np.add.at(counts, units.group[chosen], units.y[chosen].astype(np.int64))
    return counts


def _require_groups(counts: np.ndarray, classes: list[str], needed: int, why: str, there: str) -> None:
    found = (counts > 0).sum(axis=0)
    few = [f'"{classes[c]}" ({found[c]})' for c in np.flatnonzero(found < needed)]
    if few:
        raise ProbeError(
            f"too few groups (patients, or images where the manifest names no groups) of {one_of(few)}: {why}, so a"
            f" class needs {needed}, and {there} only the number in brackets. Merge the class with another, take it"
            " out of the card and the table, or add cases."
        )


def _resample(seed: int, part: np.ndarray) -> Resample:
    return Resample(seed, *(np.flatnonzero(part == which) for which in (TRAIN, VAL, TEST)))


PROTOCOLS: dict[str, Callable[[Units, list[str], tuple[float, float, float]], _Draw]] = {
    "official": _official,
    "holdout": _holdout,
}
"""How a seed draws. A further protocol is one function and one line here."""
