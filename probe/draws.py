"""The resamples of a study, drawn once for every system: without what is known to leak, and as published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..base import ProbeError, one_of
from ..evaluate.resampling.leaks import Leaks, find_leaks
from ..evaluate.resampling.protocols import FIXED_TEST
from ..evaluate.resampling.resample import Resample, draw_resamples
from ..evaluate.resampling.train_size import Budget, subsample_train
from ..manifests import Units
from .data.probe_data import ProbeData

ByBudget = list[tuple[Budget, list[Resample]]]


@dataclass(frozen=True, eq=False)
class Draws:
    """What every system of a study is fitted and tested on, in positions of `units`."""

    units: Units
    """Groups that share an image are one."""
    leaks: Leaks
    clean: ByBudget
    """Without what leaks."""
    as_published: ByBudget | None
    """With it; None where nothing is left out."""


def draw(
    data: ProbeData,
    *,
    protocol: str,
    seeds: Sequence[int],
    fractions: tuple[float, float, float],
    folds: int | None,
    budgets: Sequence[Budget],
    keep_leaks: bool = False,
    drop_near: bool = False,
    progress: bool = False,
) -> Draws:
    """Draws every resample under every budget; arguments are those of `run_probes`, the protocol resolved.

    Raises:
        ProbeError: the protocol is impossible with these units; says what was left out of them.
    """
    units = data.all_units
    if keep_leaks:
        leaks = Leaks.kept(units, apart=protocol == "fixed")
    else:
        near = data.near_pairs(show_progress=progress) if drop_near else None
        images = data.all_sample_units, data.all_digests
        leaks = find_leaks(units, *images, fixed_test=protocol in FIXED_TEST, near=near)
    classes = data.manifest.card.classes
    drawn = partial(draw_resamples, seeds=seeds, classes=classes, protocol=protocol, fractions=fractions, folds=folds)

    def by_budget(units: Units) -> ByBudget:
        resamples = [resample.within(data.all_usable) for resample in drawn(units)]
        for resample in resamples:
            _require_all_classes(units, resample, classes)
        return [(budget, subsample_train(units, resamples, budget, classes=classes)) for budget in budgets]

    # As published first: a fault that shows then has nothing to do with leaks.
    as_published = by_budget(leaks.published)
    with leaks.explained():
        clean = as_published if leaks.clean is leaks.published else by_budget(leaks.clean)
    return Draws(leaks.clean, leaks, clean, as_published if leaks.any_left_out else None)


def _require_all_classes(units: Units, resample: Resample, classes: list[str]) -> None:
    """Makes sure that train has all classes and that no part is empty.

    Raises:
        ProbeError: names the seed, and the part or the classes.
    """
    for name in ("train", "val", "test"):
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
