"""What builders share: words for splits, the order of classes, the task that labels suggest."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from ...base import ManifestError, counted, did_you_mean, no_such, one_of
from ..manifest import Manifest
from ..readers.source import Source, real_place
from ..schema.card import DatasetCard, Task
from ..schema.table_io import as_text, column_of, is_blank
from ..validation.diagnostics import outside_root
from ..validation.faults import Faults, refuse
from .files import refuse_other_encodings, require_readable

Notice = Callable[[str], None]
"""Called with a message for the user, one sentence at a time."""

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
    """The `Notice` that does nothing."""


def require_folder(folder: Path) -> None:
    """Makes sure that a folder exists and can be listed."""
    # Not of `Path`, which raises where a folder above may not be entered.
    if os.path.isdir(folder):
        require_readable(folder)
        refuse_other_encodings(folder, [folder.resolve()])
        return
    if os.path.exists(folder):
        raise ManifestError(f"{folder}: is a file; give the folder that it is in, or unpack it.")
    near = did_you_mean(folder.name, (other.name for other in folder.parent.glob("*/")))
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


_MOST_NUMBERS = 20
"""Classes up to which numbers are taken for grades or codes without further evidence."""


def agree_on_classes(
    found: Sequence[str],
    given: Sequence[str] | None,
    faults: Faults,
    notice: Notice,
    *,
    only_one: str,
    task: Task | None,
) -> list[str]:
    """The classes in the order `given`, or as `found` where none are.

    Errors are classes that were found but not given, and if none are given a single class, or without a `task` more
    numbers than can be classes by accident. The returned list still makes a valid card, so that `assemble` can report
    everything else that is wrong.

    Args:
        found: distinct labels, in order.
        given: classes that the user names.
        faults: receives the errors.
        notice: called with given classes that have no sample.
        only_one: what to do where a single class was found, as a sentence.
        task: if the user names one.
    """
    if given is None:
        if not task and len(found) > _MOST_NUMBERS and all(re.fullmatch(r"[-+]?\d+(\.\d*)?", name) for name in found):
            faults.note(
                f"has {len(found):,} different numbers as labels ({one_of(found, most=3)}). {only_one} Is a score or a "
                "measurement meant, such as an age? It cannot be predicted: tasks are binary, multiclass, ordinal and "
                "multilabel. Cut it into a few classes and write those into the table; or, if each number is a class, "
                "add --task multiclass (or ordinal, for ordered grades)"
            )
        if len(found) == 1:
            faults.note(f'holds only one class, "{found[0]}"; a task needs at least two classes. {only_one}')
        return [*found, *(f"another class {number}" for number in range(len(found), 2))]
    unknown = [name for name in found if name not in given]
    if unknown:
        near = "".join(did_you_mean(name, given) for name in unknown[:1])
        faults.note(f"holds classes that are missing in --classes: {one_of(unknown)}.{near}", len(unknown))
    report_empty_classes(found, given, notice)
    return [*given, *unknown]


def report_empty_classes(found: Collection[str], classes: Sequence[str], notice: Notice) -> None:
    """Reports `classes` that are not `found`, which may be intended or misspelt."""
    empty = [f'"{name}"' for name in classes if name not in found]
    if empty:
        notice(f"No sample has the class {one_of(empty)}; it stays in the list of classes.")


def fold_ids(ids: pd.Series, where: str, notice: Notice) -> pd.Series:
    """`ids` without a trailing `.0`, where all of them are whole numbers with or without it: `3.0` and `3` are one.

    Programs write `3.0` where a column of numbers has a blank cell. `notice` is called if any id has it; the message
    begins with `where`.
    """
    words = as_text(ids)
    given = words[~is_blank(words)]
    distinct = given.drop_duplicates()
    if not distinct.str.fullmatch(r"[0-9]+(\.0+)?").all() or not distinct.str.contains(".", regex=False).any():
        return ids
    folded = distinct.str.replace(r"\.0+$", "", regex=True)
    # By numbers and not by ids: a notice may end in a log.
    fewer = len(distinct) - folded.nunique()
    joined = f", which makes {len(distinct):,} ids {len(distinct) - fewer:,}" if fewer else ""
    rows = counted(int(given.str.contains(".", regex=False).sum()), "row")
    notice(f'{where}: ids end in ".0" in {rows} and are read as whole numbers ("3.0" as "3"){joined}.')
    return words.str.replace(r"\.0+$", "", regex=True)


def assemble(
    table: pd.DataFrame,
    root: Path,
    *,
    faults: Faults | None = None,
    name: str | None = None,
    notice: Notice = silent,
    columns: Mapping[str, str] = MappingProxyType({}),
    remedies: Mapping[str, str] = MappingProxyType({}),
    **card: object,
) -> Manifest:
    """A manifest of `table` whose paths start at `root`.

    Args:
        table: the manifest's table.
        root: the folder that paths start from; where symbolic links lead out of it, a folder above becomes the root.
        faults: errors found before, which are reported with the others; by default those of `root`, which has none.
        name: of the data set; by default that of `root`.
        notice: called if ids of groups or units are folded (`fold_ids`), and if the root is another one.
        columns: what the user calls the manifest's columns, for messages.
        remedies: what to do, by the code of a finding.
        card: the other fields of the card.

    Raises:
        ManifestError: lists every error of table and card, by rows and columns: ids may be a patient's.
    """
    faults = Faults(str(root)) if faults is None else faults
    ids = [one for one in ("group_id", "unit_id") if one in table]
    table = table.assign(
        **{one: fold_ids(column_of(table, one), f'column "{columns.get(one, one)}"', notice) for one in ids}
    )
    if "group_id" in columns and columns["group_id"] == columns.get("label"):
        faults.note(
            f'column "{columns["label"]}" is the label and the group too, so that each class would be one patient; '
            "name the column of patients, or none"
        )
    root = root.resolve()
    name = name or root.name
    top = _above_links(root, column_of(table, "path"))
    if top != root:
        up = Path(os.path.relpath(top, root)).as_posix()
        notice(
            f"Symbolic links lead out of {root.name}, so the root of all paths is {up} from there, above their targets."
        )
        table = table.assign(path=f"{root.relative_to(top).as_posix()}/" + column_of(table, "path"))
    try:
        manifest = Manifest(table, DatasetCard.of(faults.where, name=name, root=str(top), **card))
    except ManifestError:
        # These errors are closer to the cause: missing classes make an invalid card.
        refuse(faults)
        raise
    for fault in manifest.faults:
        # One column of the user's table may be two of ours, and is reported once.
        message = re.sub('column "([^"]*)"', lambda match: f'column "{columns.get(match[1], match[1])}"', fault.message)
        faults.found.append(replace(fault, message=message + remedies.get(fault.code, "")))
    refuse(faults)
    return manifest


def _above_links(root: Path, paths: pd.Series) -> Path:
    """The nearest folder, `root` or one above it, that all files are below, those that symbolic links lead to too."""
    real_folder = cache(lambda folder: os.path.realpath(folder))
    sources = (Source.parse(root, path) for path in paths[~outside_root(paths) & ~is_blank(paths)].unique())
    places = {real_place(source.path, real_folder) for source in sources}
    return Path(os.path.commonpath([root, *places]))


_YEARS = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
"""Of the units of an age string (DICOM PS3.5, AS)."""


def years_of(age: str) -> float | None:
    """Years of an age such as `58`, `045Y` or `018M`; None where it is none."""
    match = re.fullmatch(r"(\d+)([DWMY]?)", age.strip().upper())
    return int(match[1]) * _YEARS[match[2]] if match else None


def choose_word(option: str, given: str, known: Iterable[str]) -> None:
    """Makes sure that the value of an option is one of the known words."""
    if given not in (words := tuple(known)):
        raise ManifestError(f"--{option}: {no_such('word', given, words)}")


def choose_labels(requested: Sequence[str], known: Sequence[str]) -> list[str]:
    """The requested labels, or all of them; one that is not known is an error."""
    for name in requested:
        if name not in known:
            raise ManifestError(f"--label: {no_such('label', name, known)}")
    return list(dict.fromkeys(requested or known))
