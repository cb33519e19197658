"""What is known to leak from the test into training: patients and images that are in several parts of a split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ...base import ProbeError, counted
from ...base.text import listed
from ...manifests import Units
from ...manifests.readers import of_one_colour
from ...manifests.validation.diagnostics import Diagnostic, diagnostic

_PARTS = ("train", "val", "test")
REASONS = {
    "patient": "patient",
    "pixels": "pixels of their own or of their group",
    "near": "near-duplicates of their own or of their group",
}
"""Why a unit is left out, the first that holds, in words."""


@dataclass(frozen=True, eq=False)
class Leaks:
    """The units of a study without their leaks, and as they were published.

    Groups that share an image are one group, so that no resample divides copies and a bootstrap counts them once. Where
    the test is fixed, a unit whose group is in a later part of the split (train, val, test) is in no part.
    """

    clean: Units
    """U units with groups tied; `split` is "" where a unit is left out. A tied group has the code of its first one."""
    published: Units
    """The same without any tie; a group that is in several parts of the split is a group of each."""
    reason: np.ndarray
    """(U,) object array: `patient`, `pixels` or `near` where a unit is left out, else ""."""
    tied: int
    """How many groups are tied to another one, among the units that are not left out."""
    ties: int
    """How many groups they make."""
    near: bool
    """Whether near-duplicates were looked for."""
    is_kept: bool = False
    """Whether nothing was looked for: what leaks is scored."""
    divided: int = 0
    """How many more groups there are because some are in several parts of the split, where what leaks is scored."""

    @classmethod
    def kept(cls, units: Units, *, apart: bool = False) -> Leaks:
        """The units as they are; `apart`: a group that is in several parts of the split is a group of each."""
        given = len(units.group_id)
        units = _apart(units) if apart else units
        reason = np.full(len(units), "", object)
        divided = len(units.group_id) - given
        return cls(units, units, reason, tied=0, ties=0, near=False, is_kept=True, divided=divided)

    @cached_property
    def left_out(self) -> dict[str, int]:
        """Units left out, by reason."""
        return {name: int((self.reason == name).sum()) for name in REASONS}

    @property
    def any_left_out(self) -> bool:
        """Whether some unit is left out, so that scores as published differ."""
        return any(self.left_out.values())

    def facts(self) -> dict[str, Any]:
        """For run.json."""
        if self.is_kept:
            return {"kept": True}
        split = self.clean.split
        left = {} if split is None else {name: int((split == name).sum()) for name in _PARTS}
        return {
            "kept": False,
            "near": self.near,
            "units_left_out": self.left_out,
            "units_left": left,
            "groups_tied": self.tied,
        }

    def diagnostics(self) -> list[Diagnostic]:
        """What was done about leaks, for the warnings of a run."""
        found = []
        if self.any_left_out:
            things = sum(self.left_out.values())
            message = f"{self._left_out_in_words()}; the score with them is shown beside the one without"
            found.append(diagnostic("leaks-left-out", message, things=things))
        if self.tied:
            message = f"{self._tied_in_words()}, kept on one side and counted once by intervals"
            found.append(diagnostic("copies-tied", message, things=self.tied))
        return found

    def _left_out_in_words(self) -> str:
        parts = [f"{count:,} by {REASONS[name]}" for name, count in self.left_out.items() if count]
        units, split = counted(sum(self.left_out.values()), "training unit"), self.published.split
        where = "test or validation" if split is not None and (split == "val").any() else "test"
        return f"{units} left out, known to be in the {where} part too ({listed(parts)})"

    def _tied_in_words(self) -> str:
        groups = counted(self.tied, "group (patient, or image without one)", "groups (patients, or images without one)")
        return f"{groups} with images in common count as {self.ties:,}"

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Adds to a `ProbeError` what was left out or tied, and what to do about it."""
        try:
            yield
        except ProbeError as error:
            facts = [self._left_out_in_words()] if self.any_left_out else []
            facts += [self._tied_in_words()] if self.tied else []
            if not facts:
                raise
            raise ProbeError(f"{error} Note: {'; '.join(facts)}. {_REMEDY}") from error


_REMEDY = "`medprobe manifest check` lists them; --keep-leaks (keep_leaks=True) scores the copies as they are."


def find_leaks(
    units: Units,
    unit: np.ndarray,
    digests: np.ndarray,
    *,
    fixed_test: bool,
    near: Iterable[np.ndarray] | None = None,
) -> Leaks:
    """Finds the groups that share images, and under a fixed test the units that leak.

    Images with equal pixels tie their groups together, but for those of one colour: blank slices of two volumes do not
    show one patient.

    Args:
        units: U units.
        unit: (M,) the unit of each image.
        digests: (M, 16) uint8, `content_digest` of each image, as the caches have it.
        fixed_test: whether the test is that of `units.split` (`official`, `external`).
        near: pairs of images that are nearly identical, (P, 2) each; they tie as copies do.

    Raises:
        ProbeError: no training unit would be left.
    """
    group, groups = units.group[unit], len(units.group_id)
    shown = ~of_one_colour(digests)
    contents, content = np.unique(np.ascontiguousarray(digests[shown]).view("<u8"), axis=0, return_inverse=True)
    shares = np.stack([group[shown], groups + content.ravel()], axis=1)
    by_pixels = by_all = _first_tied(groups + len(contents), shares)[:groups]
    for pairs in near or ():
        by_all = _first_tied(groups, np.concatenate([np.stack([np.arange(groups), by_all], axis=1), group[pairs]]))
    split, reason = units.split, np.full(len(units), "", object)
    if fixed_test and split is not None:
        for name, first in reversed([("patient", np.arange(groups)), ("pixels", by_pixels), ("near", by_all)]):
            reason[_in_a_later_part(split, first[units.group])] = name
        _require_training_units(split, reason)
        split = np.where(reason == "", split, "")
    if not (reason != "").any() and (by_all == np.arange(groups)).all():
        return Leaks(units, units, reason, tied=0, ties=0, near=near is not None)
    kept = np.unique(units.group[reason == ""])
    sizes = np.bincount(by_all[kept])
    tied = kept[sizes[by_all[kept]] > 1]
    return Leaks(
        clean=replace(units, group=by_all[units.group], split=split),
        published=_apart(units) if fixed_test else units,
        reason=reason,
        tied=len(tied),
        ties=int((sizes > 1).sum()),
        near=near is not None,
    )


def _first_tied(nodes: int, edges: np.ndarray) -> np.ndarray:
    """The lowest node of each node's component, (nodes,) int64; `edges` are (E, 2)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), shape=(nodes, nodes))
    _, component = connected_components(graph, directed=False)
    return np.unique(component, return_index=True)[1][component]


def _in_a_later_part(split: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(U,) bool: of which units the group is also in a later part of the split."""
    rank = np.select([split == name for name in _PARTS], range(len(_PARTS)), -1)
    last = np.full(int(group.max()) + 1, -1)
    np.maximum.at(last, group, rank)
    return (rank >= 0) & (rank < last[group])


def _require_training_units(split: np.ndarray, reason: np.ndarray) -> None:
    train = split == "train"
    if train.any() and not (train & (reason == "")).any():
        units = counted(int(train.sum()), "training unit")
        raise ProbeError(
            f"nothing is left to train on: the patients or the pixels of all {units} are in the test part too. Use the"
            f" protocol holdout, which draws copies as one group, or give another test part. {_REMEDY}"
        )


def _apart(units: Units) -> Units:
    """The units with a group of its own for each part of the split that a group is in."""
    if units.split is None:
        return units
    pairs, group = np.unique(
        np.stack([units.group, np.unique(units.split, return_inverse=True)[1]], axis=1), axis=0, return_inverse=True
    )
    return replace(units, group=group.ravel(), group_id=units.group_id[pairs[:, 0]])
