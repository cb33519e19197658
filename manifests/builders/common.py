"""What builders share: words for splits, the order of classes, the task that labels suggest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from ...base import ManifestError, did_you_mean, one_of
from ..card import DatasetCard, Task
from ..finding import refusal
from ..manifest import Manifest

Notice = Callable[[str], None]
"""Told what a builder noticed and a user should know, one sentence at a time."""

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "validate": "val",
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


def assemble(
    table: pd.DataFrame, where: str, root: Path, *, columns: Mapping[str, str] = MappingProxyType({}), **card: object
) -> Manifest:
    """A manifest of `table` whose paths start at `root`.

    Args:
        table: the manifest's table.
        where: what it was made from, for messages.
        root: the folder that paths start from.
        columns: what the user calls the manifest's columns, for messages.
        card: the fields of the card.

    Raises:
        ManifestError: names `where`, and every fault of table and card.
    """
    manifest = Manifest(table, DatasetCard.of(where, root=str(root.resolve()), **card))
    if not manifest.faults:
        return manifest
    messages = [fault.message for fault in manifest.faults]
    for ours, theirs in columns.items():
        messages = [message.replace(f'column "{ours}"', f'column "{theirs}"') for message in messages]
    # One column of the user's may serve as two of ours, and is told of once.
    raise ManifestError(refusal(where, list(dict.fromkeys(messages))))
