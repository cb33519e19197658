"""How many there are of what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...base import percent
from ..manifest import Manifest
from ..schema.labels import label_codes
from ..schema.table_io import column_of, positions
from ..validation.structure import SPLITS


def class_counts(manifest: Manifest) -> pd.DataFrame:
    """Samples per class and split.

    Returns:
        int64, one row per class of the card in its order, one column per split that occurs (`all` where the manifest
        has none) and, where there are several, `total`. In a multilabel set a sample counts in each of its classes.
        No rows without labels.
    """
    card, table = manifest.card, manifest.table
    labels = label_codes(table, card)
    names, split = ["all"], np.zeros(len(table), np.int64)
    if "split" in table:
        names, split = list(SPLITS), positions(column_of(table, "split"), SPLITS)
    counts = {
        name: per_class(labels[split == place], len(card.classes))
        for place, name in enumerate(names)
        if (split == place).any()
    }
    frame = pd.DataFrame(counts, index=pd.Index(card.classes, name="class"), dtype=np.int64)
    if len(counts) > 1:
        frame["total"] = frame.sum(axis=1)
    return frame


def split_in_words(manifest: Manifest) -> str:
    """How many samples each part of the split has: `70 in train, 30 in test`."""
    counts = column_of(manifest.table, "split").value_counts()
    return ", ".join(f"{counts[name]:,} in {name}" for name in SPLITS if name in counts)


def per_class(labels: np.ndarray, classes: int) -> np.ndarray:
    """How many of `labels`, coded as by `label_codes`, have each class: (C,) int64."""
    if labels.ndim == 2:
        return (labels == 1).sum(axis=0)
    return np.bincount(labels[labels >= 0], minlength=classes)


@dataclass(frozen=True)
class ClassBalance:
    """How unequal the classes are, counted over units, and what a constant answer would score."""

    largest: str
    """The class, or label, that most units have; the first of equals."""
    largest_share: float
    """Its share of all units."""
    smallest: str
    """The class, or label, that the fewest units have."""
    smallest_share: float
    constant_accuracy: float
    """Accuracy of always giving the commonest answer, in multilabel for each label by itself. Where there is an
    official split, the answer is train's and the accuracy that on test; else both are of all units."""
    scored_on: str
    """`test`, or `all` units."""

    @property
    def ratio(self) -> float:
        """How many times as many units the largest class has as the smallest; infinite where that one has none."""
        return self.largest_share / self.smallest_share if self.smallest_share else float("inf")


def class_balance(manifest: Manifest) -> ClassBalance:
    """The majority class, the imbalance, and the accuracy that a score has to be held against.

    Raises:
        ManifestError: the manifest is not sound, or unlabelled.

    Examples:
        >>> from medprobe.manifests import class_balance
        >>> balance = class_balance(manifest)
        >>> balance.largest, balance.constant_accuracy
        ('benign', 0.5)
    """
    manifest.card.require_task("a balance of classes")
    units, classes = manifest.units(), manifest.card.classes
    shares = per_class(units.y, len(classes)) / len(units)
    largest, smallest = int(shares.argmax()), int(shares.argmin())
    learnt, scored, scored_on = units.y, units.y, "all"
    if units.split is not None and {"train", "test"} <= set(np.unique(units.split)):
        learnt, scored, scored_on = units.y[units.split == "train"], units.y[units.split == "test"], "test"
    return ClassBalance(
        largest=classes[largest],
        largest_share=float(shares[largest]),
        smallest=classes[smallest],
        smallest_share=float(shares[smallest]),
        constant_accuracy=_constant_accuracy(learnt, scored, len(classes)),
        scored_on=scored_on,
    )


def balance_in_words(manifest: Manifest) -> list[str]:
    """`class_balance` in two sentences, for a terminal and a page; nothing without labels."""
    if manifest.card.task is None:
        return []
    balance, multilabel = class_balance(manifest), manifest.card.task == "multilabel"
    what, of = "label" if multilabel else "class", f"{counted_things(manifest)}s"
    first = f"Largest {what}: {balance.largest}, {percent(balance.largest_share)} of {of}; "
    if balance.largest_share == balance.smallest_share:
        first = f"Every {what} has {percent(balance.largest_share)} of {of}."
    elif np.isfinite(balance.ratio):
        first += f"{_times(balance.ratio)} as many as {balance.smallest} ({percent(balance.smallest_share)})."
    else:
        first += f"{balance.smallest} has none."
    answer = "the commoner answer to each label" if multilabel else "the majority class"
    where = "on test" if balance.scored_on == "test" else "here"
    return [first, f"Always giving {answer} has an accuracy of {balance.constant_accuracy:.3f} {where}."]


def _times(ratio: float) -> str:
    """`2.5 times`; `1.02 times` where one digit would say that there is no difference."""
    return f"{ratio:,.1f} times" if ratio >= 1.05 else f"{max(ratio, 1.001):.3g} times"


def counted_things(manifest: Manifest) -> str:
    """What gets one label and is counted: `unit`, or `image` where the manifest names no units."""
    return "unit" if "unit_id" in manifest.table else "image"


def _constant_accuracy(learnt: np.ndarray, scored: np.ndarray, classes: int) -> float:
    """Of the commonest answer among the labels `learnt`, over the labels `scored`."""
    if learnt.ndim == 2:
        return float((scored == (learnt.mean(axis=0) >= 0.5)).mean())
    counts = per_class(learnt, classes)
    # Of several that are equally common, the one that does best: it is what a score has to beat.
    commonest = np.flatnonzero(counts == counts.max())
    return max(float((scored == answer).mean()) for answer in commonest)


def group_words(manifest: Manifest) -> str:
    """What the groups of a manifest are: `patients`, `copies of an image`, or `one a unit` where none are named."""
    if "group_id" not in manifest.table:
        return "one a unit"
    return "patients" if manifest.names_patients else "copies of an image"


def group_counts(manifest: Manifest) -> pd.DataFrame:
    """Groups, units and images of each split, and how many a group has of them.

    Returns:
        One row per split that occurs and, where there are several, `total`; `all` alone where there is no split.
        Columns `groups`, `units`, `images` (int64), `units_median`, `units_largest`, `images_median`,
        `images_largest` (of a group; float64). A group on both sides of a split counts on each.
    """
    units = manifest.units()
    images = np.bincount(units.sample_unit, minlength=len(units))
    split = np.full(len(units), "all") if units.split is None else units.split
    parts = {name: split == name for name in (*SPLITS, "all") if name in split}
    if len(parts) > 1:
        parts["total"] = np.ones(len(units), bool)
    rows = {name: _of_groups(units.group[chosen], images[chosen]) for name, chosen in parts.items()}
    return pd.DataFrame.from_dict(rows, orient="index").astype(dict.fromkeys(("groups", "units", "images"), np.int64))


def _of_groups(group: np.ndarray, images: np.ndarray) -> dict[str, float]:
    """Of chosen units, (n,) their groups and their numbers of images."""
    of_group = pd.Series(images).groupby(group).agg(["size", "sum"])
    units, pictures = of_group["size"], of_group["sum"]
    return {
        "groups": len(of_group),
        "units": len(group),
        "images": images.sum(),
        "units_median": units.median(),
        "units_largest": units.max(),
        "images_median": pictures.median(),
        "images_largest": pictures.max(),
    }
