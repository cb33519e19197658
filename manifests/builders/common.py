"""What builders share: words for splits, the order of classes, the task that labels suggest."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from ...base import ManifestError, did_you_mean, no_such, one_of
from ..manifest import Manifest
from ..schema.card import DatasetCard, Task
from ..validation.faults import Faults, refuse
from .files import require_readable

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


def require_folder(folder: Path, instead: str = "give the folder that it is in") -> None:
    """Makes sure that there is such a folder, and that what is in it can be listed.

    Args:
        folder: what was given.
        instead: what to do where it is a file.

    Raises:
        ManifestError: there is none, and folders beside it with a near name are named; or it cannot be read.
    """
    # Not of `Path`, which raises where a folder above may not be entered.
    if os.path.isdir(folder):
        require_readable(folder)
        return
    if os.path.exists(folder):
        raise ManifestError(f"{folder}: is a file; {instead}.")
    near = did_you_mean(folder.name, (beside.name for beside in folder.parent.glob("*/")))
    raise ManifestError(f"{folder}: there is no such folder.{near}")


def class_order(labels: Iterable[str]) -> list[str]:
    """The distinct labels, sorted; by value where all of them are whole numbers."""
    distinct = sorted(set(labels))
    if all(re.fullmatch(r"-?\d+", label) for label in distinct):
        return sorted(distinct, key=int)
    return distinct


def task_for(classes: Sequence[str], task: Task | None) -> Task:
    """`task` where one is given; else binary for two classes and multiclass for more."""
    return task or ("binary" if len(classes) == 2 else "multiclass")


def agree_on_classes(
    found: Sequence[str], given: Sequence[str] | None, faults: Faults, notice: Notice, *, only_one: str
) -> list[str]:
    """The classes in the order `given`, or as `found` where none are.

    Noted are classes that were found and are not among the given ones, and a single class where none are given. What
    is returned then still makes a card, so that `assemble` can tell everything else that is wrong.

    Args:
        found: distinct labels, in order.
        given: classes that the user names.
        faults: noted in.
        notice: called with given classes that have no sample.
        only_one: what to do where a single class was found, as a sentence.
    """
    if given is None:
        if len(found) == 1:
            faults.note(f'holds one class only, "{found[0]}"; a task needs at least two classes. {only_one}')
        return [*found, *(f"another class {number}" for number in range(len(found), 2))]
    unknown = [name for name in found if name not in given]
    if unknown:
        near = "".join(did_you_mean(name, given) for name in unknown[:1])
        faults.note(f"holds classes that --classes leaves out: {one_of(unknown)}.{near}", len(unknown))
    tell_of_empty_classes(found, given, notice)
    return [*given, *unknown]


def tell_of_empty_classes(found: Collection[str], classes: Sequence[str], notice: Notice) -> None:
    """Tells of `classes` that are not `found`: they may be meant, or one may be a name too many."""
    empty = [f'"{name}"' for name in classes if name not in found]
    if len(empty) == 1:
        notice(f"Class {empty[0]} has no sample here; it stays among the classes.")
    elif empty:
        notice(f"Classes {one_of(empty)} have no sample here; they stay among the classes.")


def assemble(
    table: pd.DataFrame,
    where: str,
    root: Path,
    *,
    noted: Faults | None = None,
    columns: Mapping[str, str] = MappingProxyType({}),
    remedies: Mapping[str, str] = MappingProxyType({}),
    **card: object,
) -> Manifest:
    """A manifest of `table` whose paths start at `root`.

    Args:
        table: the manifest's table.
        where: what it was made from, for messages.
        root: the folder that paths start from.
        noted: faults of `where` that were found before, which are told with the others.
        columns: what the user calls the manifest's columns, for messages.
        remedies: by the code of a finding, what to do where it is not plain.
        card: the fields of the card.

    Raises:
        ManifestError: names `where`, and every fault of table and card, by rows and columns: ids may be a patient's.
    """
    faults = noted or Faults(where)
    try:
        manifest = Manifest(table, DatasetCard.of(where, root=str(root.resolve()), **card))
    except ManifestError:
        # What was noted is nearer to the cause: classes that the table does not have give a card that cannot be.
        refuse(faults)
        raise
    for fault in manifest.faults:
        row = int(fault.rows[0]) - 1 if len(fault.rows) else -1
        # One column of the user's may serve as two of ours, and is told of once.
        faults.note(
            _in_words_of(columns, fault.message) + remedies.get(fault.code, ""), fault.count, row=row, code=fault.code
        )
    refuse(faults)
    return manifest


def _in_words_of(columns: Mapping[str, str], message: str) -> str:
    """`message` with the user's names of columns in the place of ours, each exchanged once."""
    return re.sub('column "([^"]*)"', lambda match: f'column "{columns.get(match[1], match[1])}"', message)


def choose_word(option: str, given: str, known: Iterable[str]) -> None:
    """Makes sure that an option is one of the words that it may be.

    Raises:
        ManifestError: it is not; the near ones are named.
    """
    if given not in (words := tuple(known)):
        raise ManifestError(f"--{option}: {no_such('word', given, words)}")


def choose_labels(asked: Sequence[str], known: Sequence[str]) -> list[str]:
    """The labels that were asked for, or all of them.

    Raises:
        ManifestError: there is no such label; the near ones are named.
    """
    for name in asked:
        if name not in known:
            raise ManifestError(f"--label: {no_such('label', name, known)}")
    return list(dict.fromkeys(asked or known))
