"""How much of its training part a system is given: all, a few units of each class, or a share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from ...base import ProbeError, one_of
from ...manifests import Units
from ...manifests.stratified_groups import shuffle_keys, shuffled
from .resample import Resample

_Number = TypeVar("_Number", int, float)

FULL_TRAIN = "all"
"""The budget of a system that trains on all that its protocol draws."""


@dataclass(frozen=True)
class Budget:
    """A part of the training units. One of the two is set, or neither: then it is all that the protocol draws.

    Examples:
        >>> from medprobe.evaluate import Budget
        >>> Budget(shots=5).name, Budget(share=0.1).name, Budget.named("10%")
        ('5 shots', '10%', Budget(shots=None, share=0.1))
    """

    shots: int | None = None
    """Units of each class."""
    share: float | None = None
    """Of the units of each class; up to 1, which is every unit of train but none of val."""

    @property
    def name(self) -> str:
        """As in the tables: `all`, `1 shot`, `5 shots`, `10%`."""
        if self.shots is not None:
            return f"{self.shots} shot{'s' if self.shots != 1 else ''}"
        return FULL_TRAIN if self.share is None else f"{100 * self.share:.6g}%"

    @property
    def whole(self) -> bool:
        """Whether nothing is taken away, and the chosen model may be fitted on val too."""
        return self.shots is None and self.share is None

    @classmethod
    def named(cls, name: str) -> Budget:
        """The budget that a table calls `name`.

        Raises:
            ProbeError: none is called so.
        """
        if name == FULL_TRAIN:
            return cls()
        if found := re.fullmatch(r"(\d+) shots?", name):
            return cls(shots=int(found[1]))
        if found := re.fullmatch(r"([\d.e-]+)%", name):
            return cls(share=float(found[1]) / 100)
        raise ProbeError(
            f'"{name}" is not a budget; use {FULL_TRAIN}, shots such as `5 shots`, or a share such as `10%`.'
        )

    def wanted(self, available: np.ndarray) -> np.ndarray:
        """How many units of each class are wanted of those `available`: two (C,) int64."""
        if self.shots is not None:
            return np.minimum(available, self.shots)
        share = 1.0 if self.share is None else self.share
        return np.minimum(available, np.maximum(1, np.floor(share * available + 0.5).astype(np.int64)))


def budgets_of(shots: int | Sequence[int] = (), fractions: float | Sequence[float] = ()) -> list[Budget]:
    """The requested budgets, one or several, the shots first; that of all training units where none is.

    Raises:
        ProbeError: a number of shots is not a whole number from 1, a share is not above 0 and up to 1, or one stands
            there twice.
    """
    shots = [shots] if isinstance(shots, (int, float)) else shots
    fractions = [fractions] if isinstance(fractions, (int, float)) else fractions
    wrong = [number for number in shots if int(number) != number or number < 1]
    if wrong:
        raise ProbeError(f"shots are whole numbers from 1, units of each class; got {_list(wrong)}.")
    outside = [share for share in fractions if not 0 < share <= 1]
    if outside:
        raise ProbeError(f"a train fraction lies above 0 and at most at 1, e.g. 0.1 for 10 %; got {_list(outside)}.")
    budgets = [Budget(shots=int(k)) for k in sorted(shots)] + [
        Budget(share=float(share)) for share in sorted(fractions)
    ]
    names = [budget.name for budget in budgets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ProbeError(f"given twice: {one_of(twice)}; name each budget once.")
    return budgets or [Budget()]


def parse_numbers(text: str, kind: Callable[[str], _Number], option: str, like: str) -> list[_Number]:
    """`1,5,10` as numbers of a `kind`; a message has the name of the `option` and what its value should be `like`.

    Raises:
        ProbeError: it is not a list of such numbers.
    """
    try:
        numbers = [kind(word) for word in text.split(",") if word.strip()]
        valid = bool(numbers) and all(map(math.isfinite, numbers))
    except (ValueError, OverflowError):
        numbers, valid = [], False
    if not valid:
        raise ProbeError(f'{option} "{text}": give {like}.')
    return numbers


def subsample_train(
    units: Units, resamples: Iterable[Resample], budget: Budget, *, classes: Sequence[str]
) -> list[Resample]:
    """The resamples with their train cut down to a budget; val and test stay as they are.

    Each class takes groups in an order that the seed draws, until it has as many units as it is to have. The order is
    the same for every budget, so the units of a smaller budget are among those of a larger one of its kind. Groups are
    taken whole: a class may get more, through the last of its groups and through groups that another class took.
    Multilabel: each label takes groups that have it, and units without any label count as one more label.

    Args:
        units: what was drawn from.
        resamples: in positions of `units`.
        budget: how much is left.
        classes: names by label code, for messages.

    Raises:
        ProbeError: a class has fewer training units than the requested shots (all such classes are named).

    Examples:
        >>> from medprobe.evaluate import Budget, draw_resamples, subsample_train
        >>> units, classes = manifest.units(), manifest.card.classes
        >>> resamples = draw_resamples(units, 2, classes=classes)
        >>> [len(resample.train) for resample in subsample_train(units, resamples, Budget(shots=4), classes=classes)]
        [8, 8]
    """
    if budget.whole:
        return list(resamples)
    keys = shuffle_keys(units.group_id)
    return [_cut(units, resample, budget, keys, classes) for resample in resamples]


def _cut(units: Units, resample: Resample, budget: Budget, keys: np.ndarray, classes: Sequence[str]) -> Resample:
    counts = _counts(units, resample.train, len(classes))
    available = counts.sum(axis=0)
    few = [f'"{name}" ({available[c]})' for c, name in enumerate(classes) if available[c] < (budget.shots or 0)]
    if few:
        raise ProbeError(
            f"{resample.words}: {budget.name} per class are requested, but the training part has fewer units of"
            f" {one_of(few)}. Ask for at most as many shots as the number in brackets, or add cases."
        )
    # A fold's own order: were it the seed's, folds would share most of their few units and seem to agree.
    order = shuffled(keys, resample.seed, stream=2 + 2 * resample.fold)
    taken = np.zeros(len(keys), bool)
    for c, wanted in enumerate(budget.wanted(available)):
        members = order[counts[order, c] > 0]
        enough = np.searchsorted(np.cumsum(counts[members, c]), wanted) + 1
        taken[members[:enough]] = True
    return replace(resample, train=resample.train[taken[units.group[resample.train]]])


def _counts(units: Units, train: np.ndarray, classes: int) -> np.ndarray:
    """Units of each class in each group, (G, C) int64; for multilabel (G, C + 1), the last of those without a label."""
    chosen = np.zeros(len(units), bool)
    chosen[train] = True
    counts = units.classes_by_group(chosen, classes)
    if units.y.ndim == 1:
        return counts
    bare = chosen & (units.y.sum(axis=1) == 0)
    return np.c_[counts, np.bincount(units.group[bare], minlength=len(counts))]


def _list(numbers: Sequence[float]) -> str:
    return one_of([f"{number:g}" for number in numbers], most=5)
