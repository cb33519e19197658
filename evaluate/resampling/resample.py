"""What a seed controls: which units train, which choose, which are scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np

from ...base import ProbeError, no_such, one_of
from ...manifests import Units
from .protocols import HOLDOUT, PROTOCOLS, TEST, TRAIN, VAL

MOST_SEEDS = 10_000


@dataclass(frozen=True, eq=False)
class Resample:
    """The units that one seed draws; every backbone, probe and fine-tuning sees the same ones.

    The arrays are sorted int64 positions into `Units`; no group is in two of them.

    Examples:
        >>> from medprobe.evaluate import draw_resamples
        >>> resample = draw_resamples(manifest.units(), [7], classes=manifest.card.classes)[0]
        >>> resample.seed, len(resample.train), len(resample.val), len(resample.test)
        (7, 42, 6, 12)
    """

    seed: int
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    fold: int = 0
    """Which of the seed's folds is the test; 0 where the protocol has no folds."""

    @property
    def words(self) -> str:
        """What to call it in a message."""
        return f"seed {self.seed}, fold {self.fold}" if self.fold else f"seed {self.seed}"

    def within(self, usable: np.ndarray) -> Resample:
        """This resample without the units that `usable` (U,) bool rules out."""
        return self._of_each(lambda part: part[usable[part]])

    def rows(self, unit: np.ndarray) -> Resample:
        """This resample in rows, where row `r` belongs to the unit `unit[r]`."""
        return self._of_each(lambda part: np.flatnonzero(np.isin(unit, part)))

    def units(self, unit: np.ndarray) -> Resample:
        """The inverse of `rows`: this resample in units, where row `r` belongs to the unit `unit[r]`."""
        return self._of_each(lambda part: np.unique(unit[part]))

    def _of_each(self, change: Callable[[np.ndarray], np.ndarray]) -> Resample:
        return replace(self, train=change(self.train), val=change(self.val), test=change(self.test))


def draw_resamples(
    units: Units,
    seeds: int | Sequence[int],
    *,
    classes: Sequence[str],
    protocol: str = "auto",
    fractions: tuple[float, float, float] = HOLDOUT,
    folds: int | None = None,
) -> list[Resample]:
    """Draws one resample a seed (under `kfold` one a seed and fold), stratified by class and never splitting a group.

    A resample depends on the units and the seed alone: not on the order of the manifest's rows, nor on anything that
    is probed.

    Args:
        units: what to draw from; U units.
        seeds: whole numbers, none twice; or how many.
        classes: names by label code, for messages.
        protocol: `official` keeps the manifest's test, and its val where it has one; the seed draws 90 % of the
            training groups, and a fifth of those for val where there is none. `fixed` keeps the manifest's train, val
            and test, so that seeds differ only in what is random in a fit. `holdout` draws all three parts.
            `kfold` deals the groups to folds, tests each once, and draws a fifth of the others for val. `external` is
            for the units of two manifests (`concat_units`). `auto` is `kfold` if `folds` is given, else `official`
            where the manifest has train and test, else `holdout`.
        fractions: shares of train, val and test for `holdout`.
        folds: of `kfold`; 5 by default.

    Raises:
        ProbeError: no seed, an unknown protocol, a split that does not allow it, a group on both sides of the split,
            fewer groups than folds, or a class with too few groups (all such classes are named).

    Examples:
        >>> from medprobe.evaluate import draw_resamples
        >>> resamples = draw_resamples(manifest.units(), 2, classes=manifest.card.classes, protocol="kfold", folds=3)
        >>> [(resample.seed, resample.fold) for resample in resamples]
        [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    """
    protocol = resolve_protocol(protocol, units, folds)
    seeds = check_seeds(seeds)
    units = _without_empty_groups(units)
    draw = PROTOCOLS[protocol](units, list(classes), fractions, folds)
    return [
        Resample(seed, *(np.flatnonzero(part == which) for which in (TRAIN, VAL, TEST)), fold=fold)
        for seed in seeds
        for fold, part in enumerate(draw(seed))
    ]


def _without_empty_groups(units: Units) -> Units:
    """The units with groups that have units alone: of groups that were tied together one has all."""
    present, group = np.unique(units.group, return_inverse=True)
    return replace(units, group=group, group_id=units.group_id[present])


def resolve_protocol(protocol: str, units: Units, folds: int | None = None) -> str:
    """`auto` made into a protocol.

    Raises:
        ProbeError: there is no such protocol, or it has no folds and some are requested.
    """
    if protocol == "auto":
        has = set() if units.split is None else set(units.split.tolist())
        return "kfold" if folds is not None else "official" if {"train", "test"} <= has else "holdout"
    if protocol not in PROTOCOLS:
        raise ProbeError(no_such("protocol", protocol, ("auto", *PROTOCOLS)))
    if folds is not None and protocol != "kfold":
        raise ProbeError(f"the protocol {protocol} has no folds; leave them out, or use the protocol kfold.")
    return protocol


def check_seeds(seeds: int | Sequence[int]) -> list[int]:
    """The seeds as a list; a number is how many, from 0 on.

    Raises:
        ProbeError: there are none or too many, one is negative or not a whole number, or one occurs twice.
    """
    if isinstance(seeds, str) or not isinstance(seeds, Integral | Sized):
        raise ProbeError(f"seeds {seeds!r}: give a number of seeds such as 20, or a list such as [3, 5, 7].")
    count = int(seeds) if isinstance(seeds, Integral) else len(seeds)
    if not 1 <= count <= MOST_SEEDS:
        raise ProbeError(
            f"{count:,} seeds: at least one seed is needed, and at most {MOST_SEEDS:,}; 20 to 100 are usual."
        )
    given = list(range(count) if isinstance(seeds, Integral) else seeds)
    wrong = [seed for seed in given if int(seed) != seed or not 0 <= seed < 2**31]
    if wrong:
        raise ProbeError(f"a seed is a whole number from 0 to 2,147,483,647; got {one_of(map(str, wrong), most=5)}.")
    listed = [int(seed) for seed in given]
    twice = sorted(seed for seed, times in Counter(listed).items() if times > 1)
    if twice:
        raise ProbeError(f"seeds given twice: {one_of(map(str, twice))}. The same seed draws the same resample.")
    return listed


def parse_seeds(text: str) -> list[int]:
    """`20` as the seeds 0 to 19; `20:40` as 20 to 39; `3,5,7` as those three (`3,` as one), also `0:10,50:60`.

    Raises:
        ProbeError: `text` is none of these, or asks for no seed.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    try:
        blocks = [[int(bound) for bound in word.split(":")] for word in words]
    except ValueError:
        blocks = [[]]
    if any(len(block) not in (1, 2) for block in blocks):
        raise ProbeError(
            f'--seeds "{text}": give a number of seeds such as 20, a block such as 20:40 (20 to 39), or a list such as'
            " 3,5,7 or 0:10,50:60."
        )
    if "," not in text and [len(block) for block in blocks] == [1]:
        return check_seeds(blocks[0][0])
    blocks = [block if len(block) == 2 else [block[0], block[0] + 1] for block in blocks]
    empty = [word for word, (first, end) in zip(words, blocks, strict=True) if end <= first]
    if empty:
        raise ProbeError(f'--seeds "{text}": {one_of(empty)} has no seed; 20:40 are the seeds 20 to 39.')
    count = sum(end - first for first, end in blocks)
    return check_seeds(count if count > MOST_SEEDS else [seed for block in blocks for seed in range(*block)])
