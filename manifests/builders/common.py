"""What builders share: words for splits, the order of classes, the task that labels suggest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from ...base import ManifestError, did_you_mean, one_of
from ..card import DatasetCard, Task
from ..manifest import Manifest

Notice = Callable[[str], None]
"""Told what a builder noticed and a user should know, one sentence at a time."""

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""Spellings of the three splits, in lower case."""


def silent(sentence: str) -> None:
    """The `Notice` that keeps quiet."""


def class_order(labels: Iterable[str]) -> list[str]:
    """The distinct labels, sorted; by value where all of them are whole numbers."""
    distinct = sorted(set(labels))
    if all(re.fullmatch(r"-?\d+", label) for label in distinct):
        return sorted(distinct, key=int)
    return distinct


def task_for(classes: Sequence[str], task: Task | None) -> Task:
    """`task` where one is given; else binary for two classes and multiclass for more."""
    return task or ("binary" if len(classes) == 2 else "multiclass")


def agree_on_classes(found: list[str], given: Sequence[str] | None, where: str) -> list[str]:
    """The classes in the order `given`, or as `found` where none are.

    Raises:
        ManifestError: a class that was found is not among the given ones.
    """
    if given is None:
        return found
    unknown = [name for name in found if name not in given]
    if unknown:
        near = "".join(did_you_mean(name, given) for name in unknown[:1])
        raise ManifestError(f"{where}: holds classes that --classes leaves out: {one_of(unknown)}.{near}")
    return list(given)


def assemble(table: pd.DataFrame, where: str, root: Path, **card: object) -> Manifest:
    """A manifest of `table` whose paths start at `root`.

    Raises:
        ManifestError: names `where`, and every fault of table and card.
    """
    manifest = Manifest(table, DatasetCard.of(where, root=str(root.resolve()), **card))
    try:
        return manifest.require_sound()
    except ManifestError as error:
        raise ManifestError(f"{where}{str(error).removeprefix(manifest.name)}") from error
