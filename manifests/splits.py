"""Official splits to choose from: those of published studies, to the row, and grouped, stratified ones."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..base import ManifestError, counted, no_such, one_of
from .manifest import Manifest
from .schema.table_io import as_words, column_of
from .stratified_groups import shuffle_keys, shuffled, stratified_group_split
from .validation.structure import SPLITS

_GROUPED = re.compile(r"grouped:(\d+(?:\.\d+)?(?:/\d+(?:\.\d+)?){1,2})(?:@(\d+))?")


@dataclass(frozen=True)
class SplitPreset:
    """One way to give every sample of a manifest a part."""

    summary: str
    """One line, for help and messages."""
    draw: Callable[[Manifest], np.ndarray]
    """`train`, `val` or `test` for each row, (N,) object."""


def grouped(shares: tuple[float, ...], seed: int = 0) -> SplitPreset:
    """A split that is stratified by class and never divides a group, the same for any order of rows.

    `shares` are those of train, val and test, or of train and test. Without labels, all units count as of one class.
    Drawing raises `ManifestError` where there are too few groups to give each part one.
    """
    names = SPLITS if len(shares) == 3 else ("train", "test")

    def draw(manifest: Manifest) -> np.ndarray:
        units = manifest.units()
        counts = units.classes_by_group(np.ones(len(units), bool), len(manifest.card.classes))
        if manifest.card.task is None:
            counts = np.bincount(units.group)[:, None]
        fractions = np.array(shares) / sum(shares)
        order = shuffled(shuffle_keys(units.group_id), seed)
        part = stratified_group_split(counts, order, fractions, np.ones(len(names), np.int64))
        empty = [name for number, name in enumerate(names) if number not in part]
        if empty:
            raise ManifestError(
                f"--split: {counted(len(part), 'group')} cannot fill {one_of(names)}, nothing is left for "
                f"{one_of(empty)}. A group (a patient) is never divided: give fewer parts, or omit --split."
            )
        return np.array(names, object)[part[units.group[units.sample_unit]]]

    return SplitPreset("stratified by class, no group divided", draw)


def huix2024(held: float) -> SplitPreset:
    """The random split of Palés Huix et al. (WACV 2024, arXiv 2310.19522), to the row.

    Rows are shuffled by Python's own `random.Random(42)`; the first of them, `held` as a share, are held out, and the
    first half of those is val. By image, as the study did: no patient or lesion is kept together. Both counts are
    rounded down, as in the study's code (`get_validation_ids` in defaults/bases.py of
    github.com/joanaapa/Foundation-Medical).
    """

    def draw(manifest: Manifest) -> np.ndarray:
        order = list(range(len(manifest)))
        random.Random(42).shuffle(order)
        # In floating point, as the study's code counts: a rounded product could differ by a row.
        kept = order[: int(len(order) * held)]
        words = np.full(len(order), "train", object)
        words[kept[: len(kept) // 2]] = "val"
        words[kept[len(kept) // 2 :]] = "test"
        return words

    return SplitPreset("by image, as Palés Huix et al. 2024 drew it", draw)


def _as_huang2024(manifest: Manifest) -> np.ndarray:
    """The split of Huang et al. 2024 (arXiv 2402.07595) as far as it is known: by image, a fifth for val, seed 1.

    A published test and val stay as they are; where there is no test, a fifth of all images is drawn before val.
    What shuffled in the study is not known, so rows are those of `random.Random(1)`, not the study's own.
    """
    words, parts = np.full(len(manifest), "train", object), ["test", "val"]
    if "split" in manifest.table:
        words, parts = as_words(column_of(manifest.table, "split")), ["val"]
    order = np.flatnonzero(words == "train").tolist()
    random.Random(1).shuffle(order)
    for part in parts:
        share = len(order) // 5
        words[order[:share]], order = part, order[share:]
    return words


HUANG2024 = {"huang2024": SplitPreset("by image, in the manner of Huang et al. 2024", _as_huang2024)}
"""For a data set of that study."""


def resplit(manifest: Manifest, text: str, own: Mapping[str, SplitPreset]) -> Manifest:
    """`manifest` with the split that `text` names.

    Args:
        manifest: rows in the order of the published files, which the studies' own splits count by.
        text: `grouped:70/15/15` (train, val, test) or `grouped:80/20` (train, test), shares that sum to 100 or to 1,
            with `@SEED` after it; or one of `own`.
        own: the presets of this data set.

    Raises:
        ManifestError: there is no such split, or the shares do not sum to a whole.

    Examples:
        >>> from medprobe.manifests import resplit
        >>> split = resplit(manifest, "grouped:80/20@0", {})
        >>> split.table["split"].value_counts().to_dict()
        {'train': 48, 'test': 12}
    """
    return Manifest(manifest.table.assign(split=read_split(text, own).draw(manifest)), manifest.card, manifest.path)


def read_split(text: str, own: Mapping[str, SplitPreset]) -> SplitPreset:
    """The preset that `text` names; arguments and errors as those of `resplit`."""
    if text in own:
        return own[text]
    match = _GROUPED.fullmatch(text)
    if not match:
        raise ManifestError(f"--split: {no_such('split', text, (*own, 'grouped:70/15/15', 'grouped:80/20@7'))}")
    shares = tuple(float(share) for share in match[1].split("/"))
    if min(shares) <= 0:
        raise ManifestError(f"--split {text}: every part needs a share above 0.")
    total = math.fsum(shares)
    if not (math.isclose(total, 100) or math.isclose(total, 1)):
        raise ManifestError(
            f"--split {text}: the shares sum to {total:g}, not to 100 (or 1). Write all of train, val and test, such "
            "as grouped:70/15/15, or train and test, such as grouped:80/20."
        )
    return grouped(shares, int(match[2] or 0))
