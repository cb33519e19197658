"""The resamples of an experiment, drawn once for every system: without what is known to leak, and as published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..base import ProbeError, one_of
from ..evaluate.resampling.leaks import Leaks, find_leaks
from ..evaluate.resampling.protocols import FIXED_TEST, Fractions, settings_of
from ..evaluate.resampling.resample import Resample, draw_resamples
from ..evaluate.resampling.train_size import Budget, subsample_train
from ..manifests import Units
from .data.probe_data import ProbeData

ByBudget = list[tuple[Budget, list[Resample]]]


@dataclass(frozen=True, kw_only=True)
class Design:
    """How the resamples of an experiment are drawn. A design that contradicts itself cannot be made (`ProbeError`)."""

    protocol: str
    """`auto` too, until the units are known."""
    seeds: Sequence[int]
    budgets: Sequence[Budget]
    fractions: Fractions
    """Of `holdout`."""
    folds: int | None
    """Of `kfold`."""
    keep_leaks: bool
    drop_near: bool

    def __post_init__(self) -> None:
        if self.keep_leaks and self.drop_near:
            raise ProbeError(
                "--keep-leaks (keep_leaks) leaves nothing out, --drop-near (drop_near) even more: choose one of the"
                " two."
            )

    @property
    def settings(self) -> dict[str, Any]:
        """What a reader must know of how the protocol, resolved, drew."""
        return settings_of(self.protocol, self.fractions, self.folds)


@dataclass(frozen=True, eq=False)
class Draws:
    """What every system of an experiment is fitted and tested on, in positions of `units`."""

    units: Units
    """Groups that share an image are one."""
    leaks: Leaks
    clean: ByBudget
    """Without what leaks."""
    as_published: ByBudget | None
    """With it; None where nothing is left out."""


def draw(data: ProbeData, design: Design, *, progress: bool = False) -> Draws:
    """Draws every resample under every budget; the protocol of the design is resolved.

    Raises:
        ProbeError: the protocol is impossible with these units; says what was left out of them.
    """
    leaks = leaks_of(data, design, progress=progress)
    classes = data.manifest.card.classes
    how = {"protocol": design.protocol, "fractions": design.fractions, "folds": design.folds}
    drawn = partial(draw_resamples, seeds=design.seeds, classes=classes, **how)

    def by_budget(units: Units) -> ByBudget:
        resamples = [resample.within(data.all_usable) for resample in drawn(units)]
        for resample in resamples:
            require_all_classes(units, resample, classes)
        return [(budget, subsample_train(units, resamples, budget, classes=classes)) for budget in design.budgets]

    # As published first: a fault that shows then has nothing to do with leaks.
    as_published = by_budget(leaks.published)
    with leaks.explained():
        clean = as_published if leaks.clean is leaks.published else by_budget(leaks.clean)
    return Draws(leaks.clean, leaks, clean, as_published if leaks.any_left_out else None)


def leaks_of(data: ProbeData, design: Design, *, progress: bool = False) -> Leaks:
    """What is known to leak from the test of the design, whose protocol is resolved, into training.

    Raises:
        ProbeError: no training unit would be left.
    """
    units = data.all_units
    if design.keep_leaks:
        return Leaks.kept(units, apart=design.protocol == "fixed")
    near = data.near_pairs(show_progress=progress) if design.drop_near else None
    images = data.all_sample_units, data.all_digests
    return find_leaks(units, *images, fixed_test=design.protocol in FIXED_TEST, near=near)


def require_all_classes(
    units: Units, resample: Resample, classes: list[str], *, parts: Sequence[str] = ("train", "val", "test")
) -> None:
    """Makes sure that train has all classes and that none of these parts is empty.

    Raises:
        ProbeError: names the seed, and the part or the classes.
    """
    for name in parts:
        if not len(getattr(resample, name)):
            raise ProbeError(
                f"{resample.words}: no unit is left in {name}. Add cases, or use other fractions, other folds or"
                " another protocol."
            )
    y = units.y[resample.train]
    counts = y.sum(axis=0) if y.ndim == 2 else np.bincount(y, minlength=len(classes))
    absent = [f'"{classes[c]}"' for c in np.flatnonzero(counts == 0)]
    if absent:
        raise ProbeError(
            f"{resample.words}: no training unit of {one_of(absent)} is left: its few cases are in one group or"
            " could not be embedded. Merge the class with another, remove it from the card and the table, or add cases."
        )
