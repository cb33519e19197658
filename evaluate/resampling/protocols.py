"""How a seed draws: each protocol, and what it asks of the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...base import ProbeError, one_of
from ...manifests import Units, assign_folds, stratified_group_split
from ...manifests.stratified_groups import shuffle_keys, shuffled

TRAIN, VAL, TEST, UNUSED = 0, 1, 2, 3
_NAMES = ("train", "val", "test")

HOLDOUT = (0.7, 0.1, 0.2)
"""Shares of train, val and test under `holdout`."""
DRAWN = 0.9
"""Share of the training groups that a seed draws where the test is fixed: `official` and `external`."""
VAL_SHARE = 0.2
"""Share of what may be trained on that chooses, where the manifest or the fractions do not say."""
FOLDS = 5
"""Folds of `kfold`, by default."""
MOST_FOLDS = 100
_MANY_CLASSES = 20
"""From so many on, classes that have one group each are more likely ids."""

FIXED_TEST = frozenset({"official", "fixed", "external"})
"""Protocols under which every seed has the same test."""


Draw = Callable[[int], Sequence[np.ndarray]]
"""From a seed to the part of each unit, (U,) int64; one array a fold, one in all where the protocol has no folds."""
Fractions = tuple[float, float, float]
"""Shares of train, val and test."""


def holdout(units: Units, classes: list[str], fractions: Fractions, folds: int | None) -> Draw:
    """All three parts are drawn."""
    shares = np.asarray(fractions, np.float64)
    if shares.shape != (3,) or not np.isfinite(shares).all() or shares.min() <= 0 or abs(shares.sum() - 1) > 1e-6:
        raise ProbeError(f"fractions of train, val and test must be positive and sum to one; got {tuple(fractions)}.")
    shares = shares / shares.sum()
    counts = units.classes_by_group(np.ones(len(units), bool), len(classes))
    _require_groups(counts, classes, 3, "train, val and test each need one", "the data set has")
    keys = shuffle_keys(units.group_id)
    return lambda seed: [
        stratified_group_split(counts, shuffled(keys, seed), shares, np.ones(3, np.int64))[units.group]
    ]


def kfold(units: Units, classes: list[str], fractions: Fractions, folds: int | None) -> Draw:
    """The groups are dealt to folds; each fold is tested once, and val is drawn from the others."""
    folds, groups = FOLDS if folds is None else folds, len(units.group_id)
    if int(folds) != folds or not 2 <= folds <= MOST_FOLDS:
        raise ProbeError(f"{folds} folds: give a whole number from 2 to {MOST_FOLDS}; 5 and 10 are usual.")
    if groups < folds:
        raise ProbeError(
            f"{folds} folds, but there are {groups:,} groups (patients, or images where the manifest names no groups)"
            " only, and a group is never split. Ask for fewer folds."
        )
    counts = units.classes_by_group(np.ones(len(units), bool), len(classes))
    # Of two folds the one that is not tested must do for both train and val.
    each, why = (2, "of two folds each needs two") if folds == 2 else (1, f"each of {folds} folds needs one")
    _require_groups(counts, classes, int(folds) * each, why, "the data set has")
    keys = shuffle_keys(units.group_id)

    def draw(seed: int) -> list[np.ndarray]:
        fold_of = assign_folds(counts, shuffled(keys, seed), int(folds), needed=each)
        return [_without_fold(fold_of != fold, counts, keys, seed, fold)[units.group] for fold in range(int(folds))]

    return draw


def _without_fold(rest: np.ndarray, counts: np.ndarray, keys: np.ndarray, seed: int, fold: int) -> np.ndarray:
    """The part of each group, (G,), where the `rest` (G,) bool makes train and val and the others are tested."""
    part = np.full(len(rest), TEST, np.int64)
    pool = np.flatnonzero(rest)
    # An order of its own for each fold: by that of the folds, val would nearly always be the last fold.
    order = shuffled(keys[pool], seed, stream=1 + 2 * fold)
    part[pool] = stratified_group_split(counts[pool], order, np.array([1 - VAL_SHARE, VAL_SHARE]), np.ones(2, np.int64))
    return part


def fixed_test(units: Units, classes: list[str], fractions: Fractions, folds: int | None) -> Draw:
    """The manifest's test under every seed, its val where it has one; the seed draws from its train.

    Under `external` the units are those of two manifests, of which the first is `train` and the second `test`.
    """
    fixed = _fixed_parts(units)
    has_val = bool((fixed == VAL).any())
    pool = np.unique(units.group[fixed == TRAIN])
    shares = np.array([DRAWN, 0, 0, 1 - DRAWN]) if has_val else DRAWN * np.array([1 - VAL_SHARE, VAL_SHARE, 0, 0])
    shares[UNUSED] = 1 - DRAWN
    counts = units.classes_by_group(fixed == TRAIN, len(classes))[pool]
    needed = np.array([1, int(not has_val), 0, 0])
    why = "training needs one" if has_val else "train and val each need one, and the manifest names no val"
    _require_groups(counts, classes, int(needed.sum()), why, "the training part has")
    keys = shuffle_keys(units.group_id[pool])

    def draw(seed: int) -> list[np.ndarray]:
        of_group = np.full(len(units.group_id), UNUSED, np.int64)
        of_group[pool] = stratified_group_split(counts, shuffled(keys, seed), shares, needed)
        return [np.where(fixed == TRAIN, of_group[units.group], fixed)]

    return draw


def train_and_val(units: Units, learnt: np.ndarray, classes: list[str]) -> np.ndarray:
    """The part of each unit, (U,) int64: of those that are `learnt` (U,) bool a fifth of the groups is val, no test.

    Raises:
        ProbeError: a class has too few groups.
    """
    part, pool = np.full(len(units), UNUSED, np.int64), np.unique(units.group[learnt])
    counts = units.classes_by_group(learnt, len(classes))[pool]
    _require_groups(counts, classes, 2, "train and val each need one", "what is learnt from has")
    keys = shuffled(shuffle_keys(units.group_id[pool]), 0)
    drawn = stratified_group_split(counts, keys, np.array([1 - VAL_SHARE, VAL_SHARE]), np.ones(2, np.int64))
    part[learnt] = drawn[np.searchsorted(pool, units.group[learnt])]
    return part


def fixed(units: Units, classes: list[str], fractions: Fractions, folds: int | None) -> Draw:
    """All three parts are the manifest's, under every seed, which changes only what is random in a fit."""
    parts = _fixed_parts(units, _NAMES, "fixed")
    return lambda seed: [parts]


def _fixed_parts(units: Units, needed: Sequence[str] = ("train", "test"), protocol: str = "official") -> np.ndarray:
    """The part that the manifest gives each unit, (U,) int64.

    Raises:
        ProbeError: no unit is in a part that is needed, or a group is in two parts.
    """
    split = np.full(len(units), "") if units.split is None else units.split
    absent = [name for name in needed if not (split == name).any()]
    if absent:
        raise ProbeError(
            f"the protocol {protocol} needs the manifest's own split, and no unit is in {' or '.join(absent)}."
            " Add a `split` column (train, val, test), or use the protocol holdout."
        )
    parts = np.select([split == name for name in _NAMES], [TRAIN, VAL, TEST], UNUSED)
    inside = [np.bincount(units.group[parts == part], minlength=len(units.group_id)) > 0 for part in (TRAIN, VAL, TEST)]
    torn = int((np.sum(inside, axis=0) > 1).sum())
    if torn:
        raise ProbeError(
            f"{torn:,} of {len(units.group_id):,} groups are in several parts of the manifest's split, so its test"
            " score would be too good. `medprobe manifest check` lists them: fix the split, or use the protocol"
            " holdout, which never splits a group."
        )
    return parts


def learnable(units: Units, protocol: str) -> np.ndarray:
    """(U,) bool: units that some seed may train or choose on under a protocol, whichever seeds are drawn."""
    if protocol in FIXED_TEST and units.split is not None:
        return np.isin(units.split, ["train", "val"])
    return np.ones(len(units), bool)


def _require_groups(counts: np.ndarray, classes: list[str], needed: int, why: str, there: str) -> None:
    found = (counts > 0).sum(axis=0)
    few = [f'"{classes[c]}" ({found[c]})' for c in np.flatnonzero(found < needed)]
    if few:
        alone = int((found == 1).sum())
        on_ids = f" {alone:,} of {len(found):,} classes have one group each: is the label column one of ids?"
        many = len(found) >= _MANY_CLASSES and 2 * alone > len(found)
        raise ProbeError(
            f"too few groups (patients, or images where the manifest names no groups) of {one_of(few)}: {why}, so a"
            f" class needs {needed}, and {there} only the number in brackets. Merge the class with another, take it"
            f" out of the card and the table, or add cases.{on_ids if many else ''}"
        )


def settings_of(protocol: str, fractions: tuple[float, float, float], folds: int | None) -> dict[str, Any]:
    """What a reader must know of how a protocol drew, for run.json."""
    return {
        "holdout": dict(zip(_NAMES, fractions, strict=False)),
        "kfold": {"folds": folds or FOLDS, "val_share_of_the_other_folds": VAL_SHARE},
        "official": {"drawn_share_of_training_groups": DRAWN, "val_share_without_official_val": VAL_SHARE},
        "fixed": {},
        "external": {"drawn_share_of_training_groups": DRAWN, "val_share": VAL_SHARE},
    }[protocol]


PROTOCOLS: dict[str, Callable[[Units, list[str], Fractions, int | None], Draw]] = {
    "official": fixed_test,
    "fixed": fixed,
    "holdout": holdout,
    "kfold": kfold,
    "external": fixed_test,
}
"""How a seed draws. A further protocol is one function, its settings, and one line here."""
