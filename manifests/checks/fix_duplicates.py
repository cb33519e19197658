"""Manifests without duplicate images: identical ones dropped, or all copies of a scan tied into one group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...base import ManifestError, counted
from ..image_stats.compute import ImageStats
from ..manifest import Manifest
from ..schema.groups import codes_of, disagreeing, first_rows
from ..schema.labels import label_codes
from ..schema.table_io import TEXT, as_words, column_of
from ..validation.structure import SPLITS
from .context import same_pixels, split_order
from .near_duplicates import near_pairs


@dataclass(frozen=True, eq=False)
class Fixed:
    """A new manifest and what was done to the old one, which is unchanged."""

    manifest: Manifest
    rows: np.ndarray
    """(M,) int64: which rows of the old manifest are in the new one."""
    changes: tuple[str, ...]
    """What was done, in sentences with counts; nothing where there was nothing to do."""


Fix = Callable[[Manifest, ImageStats], Fixed]


def drop_duplicates(manifest: Manifest, stats: ImageStats) -> Fixed:
    """Keeps one of identical images: the one in test, else in val, else in train, so that a published test stays whole.

    Of several in one part the first row is kept. Where identical images have different labels all are dropped: one of
    the labels is wrong, and it is unknown which. Copies inside one unit stay, such as equal slices of a volume,
    and a unit that loses a sample keeps the others. Constant images stay: they do not show a shared patient.

    Args:
        manifest: without errors.
        stats: the statistics of its N images; an image that could not be read stays.

    Raises:
        ManifestError: the manifest has errors, or nothing would be left.

    Examples:
        >>> from medprobe.manifests import drop_duplicates, manifest_image_stats
        >>> fixed = drop_duplicates(manifest, manifest_image_stats(manifest, workers=1, show_progress=False))
        >>> len(manifest), len(fixed.manifest), fixed.changes
        (60, 59, ('dropped 1 copy of 1 image',))
    """
    labels = label_codes(manifest.require_sound().table, manifest.card)
    rows, content, count = same_pixels(stats)
    unit = codes_of(manifest.unit_ids)[0][rows]
    disputed = disagreeing(content, count, labels[rows])
    repeated = disagreeing(content, count, unit) & ~disputed
    # The first row of each content when rows are in the order in which they are kept.
    order = np.argsort(-split_order(manifest)[rows], kind="stable")
    keeper = order[first_rows(content[order], count)]
    surplus = repeated[content] & (unit != unit[keeper][content])
    refused = disputed[content]
    left = np.ones(len(manifest), bool)
    left[rows[surplus | refused]] = False
    if not left.any():
        raise ManifestError(f"{manifest.path or manifest.name}: all images are copies with different labels.")
    copies, images = counted(int(surplus.sum()), "copy", "copies"), counted(int(repeated.sum()), "image")
    changes = _change(manifest, rows[surplus], f"dropped {copies} of {images}")
    copies, images = counted(int(refused.sum()), "copy", "copies"), counted(int(disputed.sum()), "image")
    why = "with different labels, since the right one is unknown"
    changes += _change(manifest, rows[refused], f"dropped all {copies} of {images} {why}")
    sound = Manifest(manifest.table[left], manifest.card.model_copy(deep=True), manifest.path)
    return Fixed(sound, np.flatnonzero(left), tuple(changes))


def group_duplicates(manifest: Manifest, stats: ImageStats) -> Fixed:
    """Puts all copies of a scan into one group, which no resample divides; units and samples stay as they are.

    Copies are identical images, and nearly identical ones as the check `near-duplicate` finds them: mirrored, turned,
    cropped, brightened, resized or compressed again. Groups that any chain of copies connects become one, named after
    the first of them by code point. A group that is then in several parts of the split moves to train as a whole, so
    that nothing in test was ever trained on and the new test is a part of the published one. Constant images tie
    nothing together.

    Args:
        manifest: without errors.
        stats: the statistics of its N images; an image that could not be read keeps its group.

    Raises:
        ManifestError: the manifest has errors, or a part of the split would be left empty.

    Examples:
        >>> from medprobe.manifests import group_duplicates, manifest_image_stats
        >>> fixed = group_duplicates(manifest, manifest_image_stats(manifest, workers=1, show_progress=False))
        >>> len(fixed.manifest), fixed.changes
        (60, ())
    """
    rows, content, count = same_pixels(stats)
    group, groups = codes_of(manifest.require_sound().group_ids)
    merged = _connected(len(groups), group[rows], group[rows[first_rows(content, count)][content]])
    # Each search leaves out what is tied already, and ends early where there are too many pairs.
    while len(near := near_pairs(merged[group], stats=stats)):
        merged = _connected(merged.max() + 1, merged[group[near["row"]]], merged[group[near["other"]]])[merged]
    # Groups are sorted, so the first of each component is the first by code point.
    name = groups[first_rows(merged, int(merged.max()) + 1)]
    table = manifest.table.assign(group_id=pd.Series(name[merged][group], dtype=TEXT))
    tied = np.bincount(merged)[merged] > 1
    became = counted(len(np.unique(merged[tied])), "group")
    largest = counted(int(np.bincount(merged).max()), "group")
    what = f"tied {counted(int(tied.sum()), 'group')} into {became} by identical or nearly identical images"
    changes = [f"{what}; the largest has {largest}"] if tied.any() else []
    card = manifest.card.model_copy(deep=True)
    if "group_id" not in manifest.table:
        card.groups = "copies"
        changes += ["the new column group_id ties copies together and names no patients"] if tied.any() else []
    if "split" in table:
        table["split"], moved = _to_train(manifest, merged[group])
        changes += moved
    return Fixed(Manifest(table, card, manifest.path), np.arange(len(table)), tuple(changes))


def _connected(count: int, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The connected component, from 0, of each of `count` nodes that edges (E,) join: (count,) int64."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array((np.ones(len(one), bool), (one, other)), shape=(count, count))
    return connected_components(edges, directed=False)[1].astype(np.int64)


FIXES: dict[str, Fix] = {"drop-duplicates": drop_duplicates, "group-duplicates": group_duplicates}
"""What `medprobe manifest check --fix` can do."""


def _to_train(manifest: Manifest, group: np.ndarray) -> tuple[pd.Series, list[str]]:
    """The split with every divided group moved to train as a whole, and what moved, in a sentence."""
    split = as_words(column_of(manifest.table, "split"))
    divided = disagreeing(group, int(group.max()) + 1, split)
    moved = divided[group] & (split != "train")
    lost = set(split) - set(split[~moved]) - {"train"}
    if lost:
        raise ManifestError(
            f"{manifest.path or manifest.name}: each image of {' and '.join(sorted(lost))} shares a group with train, "
            "so none would be left there; remove the column split, and let each seed draw its own."
        )
    sentence = f"moved {counted(int(divided.sum()), 'group')} from several parts of the split to train as a whole"
    return pd.Series(np.where(moved, "train", split), dtype=TEXT), _change(manifest, np.flatnonzero(moved), sentence)


def _change(manifest: Manifest, rows: np.ndarray, sentence: str) -> list[str]:
    """`sentence` about rows with how many are in each part of the split: ` (3 from train)`; nothing without rows."""
    if len(rows) == 0:
        return []
    split = as_words(column_of(manifest.table, "split").iloc[rows]) if "split" in manifest.table else np.array([])
    counts = [f"{(split == name).sum():,} from {name}" for name in SPLITS if name in split]
    return [f"{sentence} ({', '.join(counts)})" if counts else sentence]
