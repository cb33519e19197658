"""Class folders: `SRC/glioma/1.jpg`, or `SRC/train/glioma/1.jpg`; or any folder, for images without labels."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from ...base import ManifestError, counted, did_you_mean, one_of
from ..manifest import Manifest
from ..readers import looks_like_an_image
from ..schema.card import Task
from ..schema.table_io import TEXT
from ..validation.faults import Faults
from .common import SPLIT_WORDS, Notice, agree_on_classes, assemble, class_order, require_folder, silent, task_for
from .files import walk
from .images import IMAGE_SUFFIXES

_BUILDERS = {(".csv", ".csv.gz", ".parquet"): "csv", (".npz",): "npz", (".dcm",): "dicom"}
"""Who takes a file of such a suffix, or a folder of such files."""
_PACKED = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar")


def build_folder(
    src: Path | str,
    *,
    name: str | None = None,
    task: Task | None = None,
    classes: Sequence[str] | None = None,
    unlabelled: bool = False,
    notice: Notice = silent,
) -> Manifest:
    """A manifest of the images in class folders, with or without folders of splits above them.

    Every folder in SRC is a class, unless the folders are named train, val and test (or training, valid, validation,
    dev, testing, in any case): then the folders inside those are the classes. Images may be in
    subfolders of a class folder. Skipped are hidden files and folders, links to folders inside a class folder, and
    files that are not images; a file with an image suffix is always taken, so that the checks can report it.

    With --unlabelled, every image in SRC and its subfolders is taken and folders name no classes. The manifest can be
    embedded, searched and predicted.

    Args:
        src: folder of class folders; paths in the manifest start from it.
        name: name of the data set; by default that of the folder.
        task: by default binary for two classes and multiclass for more.
        classes: class names in order; sorted by default.
        unlabelled: take every image, whatever folder it is in, without a label.
        notice: called with messages about what was skipped or looks odd.

    Raises:
        ManifestError: no such folder, no class folders, no images, fewer than two classes.

    Examples:
        >>> from medprobe.manifests import build_folder
        >>> built = build_folder(folder / "images", name="lesions")
        >>> len(built), built.card.task, built.card.classes
        (60, 'binary', ['benign', 'malignant'])
    """
    src = Path(src)
    if task == "multilabel":
        raise ManifestError(
            f"{src}: a folder gives an image one label; for several, list the images in a table with a column of 0 "
            "and 1 per class, and use `medprobe manifest build csv`."
        )
    if unlabelled:
        if task or classes:
            raise ManifestError(f"{src}: --unlabelled images have neither --task nor --classes; leave them out.")
        table = _unlabelled_table(src, notice)
        return assemble(table, src, name=name, notice=notice)
    table = class_folder_table(src, notice, instead=_instead(src))
    remedy = (
        f"Expected a folder for each class, {ANY_CLASSES}; give the folder above all classes, or add --unlabelled if "
        "the images have no labels."
    )
    faults = Faults(str(src))
    names = agree_on_classes(class_order(table["label"]), classes, faults, notice, only_one=remedy, task=task)
    return assemble(table, src, faults=faults, name=name, notice=notice, task=task_for(names, task), classes=names)


def _instead(file: Path) -> str:
    """What to do with a file that was given in place of a folder."""
    for suffixes, builder in _BUILDERS.items():
        if file.name.lower().endswith(suffixes):
            return f"use `medprobe manifest build {builder}` for it, or give the folder that class folders are in"
    unpack = "unpack it, and " if file.name.lower().endswith(_PACKED) else ""
    return f"{unpack}give the folder that the class folders are in"


ANY_CLASSES = "SRC/CLASS/*.jpg or SRC/train/CLASS/*.jpg"
"""The layout of class folders."""
_LINKED = 2
"""Levels at which links to folders are followed: a split or a class may be one."""


class _ClassFolder(NamedTuple):
    """A folder whose images are of one class."""

    path: Path
    label: str
    split: str | None


def class_folder_table(
    src: Path,
    notice: Notice,
    *,
    classes: Sequence[str] | None = None,
    layout: str = ANY_CLASSES,
    instead: str = "give the folder that it is in",
) -> pd.DataFrame:
    """The table of the images in class folders, with or without folders of splits above them.

    Args:
        src: the folder that paths start from.
        notice: called with messages about what was skipped or looks odd.
        classes: the only folders that are classes, in any case; others are skipped, with a message. By default all are.
        layout: how the set is laid out, for messages.
        instead: what to do where `src` is a file, for messages.

    Returns:
        `sample_id` and `path` (the path below `src`, suffix included), `label` and, under folders of splits, `split`;
        sorted by `sample_id`.

    Raises:
        ManifestError: no such folder, folders that cannot be read (all are listed), no class folders, one of `classes`
            has none, or there are no images.
    """
    require_folder(src, instead)
    # First, as a folder that cannot be read would look empty.
    walk(src, linked=_LINKED)
    rows: list[dict[str, str | None]] = []
    others: list[Path] = []
    deep = 0
    for folder, label, split in _class_folders(src, notice, classes, layout):
        images = images_below(folder, notice, others)
        if not images:
            notice(f"{folder.relative_to(src).as_posix()}/ holds no images and was skipped.")
        deep += sum(file.parent != folder for file in images)
        paths = [file.relative_to(src).as_posix() for file in images]
        rows += [{"sample_id": path, "path": path, "label": label, "split": split} for path in paths]
    report_others(others, notice)
    if deep:
        notice(
            f"There {'is' if deep == 1 else 'are'} {counted(deep, 'image')} in folders inside the class folders. If "
            "such a folder is a patient, use `medprobe manifest build csv` with --group-column, or a patient may be in "
            "both train and test."
        )
    if not rows:
        raise ManifestError(f"{src}: its class folders hold no images. Expected {layout}.")
    return pd.DataFrame(rows).dropna(axis="columns").sort_values("sample_id", ignore_index=True)


def _unlabelled_table(src: Path, notice: Notice) -> pd.DataFrame:
    """As `class_folder_table`, without labels; with `split` where every image is in a folder of a split."""
    require_folder(src, _instead(src))
    walk(src)  # refuses folders that cannot be read
    others: list[Path] = []
    paths = pd.Series([file.relative_to(src).as_posix() for file in images_below(src, notice, others)], dtype=TEXT)
    report_others(others, notice)
    if not len(paths):
        if any(file.name.lower().endswith((".nii", ".nii.gz")) for file in others):
            command = shlex.join(["medprobe", "manifest", "build", "nifti", str(src), "--unlabelled"])
            raise ManifestError(f"{src}: holds NIfTI volumes and no images; `{command}` takes slices of them.")
        raise ManifestError(
            f"{src}: holds no images. Images of stacks are listed in a table, as images.npz#array and a frame, for "
            "`medprobe manifest build csv`."
        )
    table = pd.DataFrame({"sample_id": paths, "path": paths})
    split = paths.str.partition("/")[0].str.lower().map(SPLIT_WORDS)
    return (table if split.isna().any() else table.assign(split=split)).sort_values("sample_id", ignore_index=True)


def unpacked(src: Path, inner: str, classes: Sequence[str]) -> Path:
    """`src`, or `inner` in it where an archive was unpacked with that folder around the classes or splits."""
    marks = {*SPLIT_WORDS, *(name.casefold() for name in classes)}

    def holds_the_set(folder: Path) -> bool:
        # An unreadable folder is reported later.
        readable = os.path.isdir(folder) and os.access(folder, os.R_OK | os.X_OK)
        return readable and any(entry.name.casefold() in marks for entry in _folders(folder))

    return src / inner if not holds_the_set(src) and holds_the_set(src / inner) else src


def _class_folders(src: Path, notice: Notice, classes: Sequence[str] | None, layout: str) -> list[_ClassFolder]:
    """The class folders, each with its split."""
    folders = _folders(src)
    splits = {folder: SPLIT_WORDS[folder.name.lower()] for folder in folders if folder.name.lower() in SPLIT_WORDS}
    others = [folder for folder in folders if splits and folder not in splits]
    if others and classes is None:
        raise ManifestError(
            f"{src}: folders of splits ({one_of(folder.name for folder in splits)}) are mixed with others "
            f"({one_of(folder.name for folder in others)}). Give the folder that holds the splits only, or the "
            "classes only."
        )
    places: dict[Path, str | None] = {**splits} if splits else {src: None}
    found = [_ClassFolder(folder, folder.name, split) for place, split in places.items() for folder in _folders(place)]
    if not found:
        hint = "" if classes else " For images without labels, add --unlabelled."
        raise ManifestError(
            f"{src}: no class folders in {one_of(place.name for place in places)}. Expected {layout}.{hint}"
        )
    kept = found if classes is None else _of_classes(src, found, classes, layout)
    for folder in others + sorted({one.path for one in found} - {one.path for one in kept}):
        files = sum(len(names) for _, _, names in os.walk(folder))
        where = folder.relative_to(src).as_posix()
        notice(f"Skipped the folder {where}/ ({counted(files, 'file')}): neither a class nor a split.")
    for place in places:
        files = [entry for entry in place.iterdir() if entry.is_file() and not entry.name.startswith(".")]
        if loose := sum(map(_is_image, files)):
            where = "the folder" if place == src else f"{place.name}/"
            notice(f"Skipped {counted(loose, 'image')} in {where} itself, outside any class folder.")
    for name, parts in _gaps(kept, found):
        notice(f"There is no folder {name}/ in {parts}.")
    return kept


def _of_classes(src: Path, found: list[_ClassFolder], classes: Sequence[str], layout: str) -> list[_ClassFolder]:
    """The folders that are named as one of `classes`, in any case, if each class has one in each split."""
    known = {name.casefold(): name for name in classes}
    kept = [one._replace(label=known[one.label.casefold()]) for one in found if one.label.casefold() in known]
    there = {one.label for one in kept}
    lacking = [(name, "") for name in classes if name not in there]
    lacking += [(name, f" in {parts}") for name, parts in _gaps(kept, found)]
    if lacking:
        others = sorted({one.label for one in found if one.label.casefold() not in known})
        listed = "".join(
            f"\n  there is no folder {name}/{where}.{did_you_mean(name, others)}" for name, where in lacking
        )
        # Counted and not named: in a wrong folder the names may be patients'.
        raise ManifestError(
            f"{src}: is not in the layout of this data set:{listed}\nExpected {layout}; there "
            f"{'is' if len(found) == 1 else 'are'} {counted(len(found), 'folder')} where the classes should be."
        )
    return kept


def _gaps(kept: list[_ClassFolder], found: list[_ClassFolder]) -> list[tuple[str, str]]:
    """Classes that some split has and another lacks, with the folders of the splits that lack it.

    `kept` are the folders of classes, `found` all folders in those of splits.
    """
    places: dict[str, dict[str, None]] = {}
    for one in found:
        if one.split is not None:
            places.setdefault(one.split, {})[f"{one.path.parent.name}/"] = None
    splits_of: dict[str, set[str | None]] = {}
    for one in kept:
        splits_of.setdefault(one.label, set()).add(one.split)
    lacking = [(name, [split for split in places if split not in has]) for name, has in splits_of.items()]
    return [(name, one_of(" or ".join(places[split]) for split in splits)) for name, splits in lacking if splits]


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def images_below(folder: Path, notice: Notice, others: list[Path]) -> list[Path]:
    """Every image below `folder` that is not hidden; `others` receives the files that are none."""
    images: list[Path] = []
    links = 0
    # Links inside are not followed: one that leads up would give the images of other classes this class's label.
    for here, folders, files in os.walk(folder):
        links += sum(Path(here, name).is_symlink() for name in folders)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in (Path(here, name) for name in sorted(files) if not name.startswith(".")):
            (images if _is_image(file) else others).append(file)
    if links:
        notice(f"Did not follow {counted(links, 'link')} to folders inside {folder.name}/.")
    return images


def report_others(files: Sequence[Path], notice: Notice) -> None:
    """Reports files that are not images, by suffix."""
    if files:
        counts = Counter(file.suffix.lower() or "(no suffix)" for file in files)
        kinds = one_of(f"{count:,} {suffix}" for suffix, count in counts.most_common())
        notice(f"Skipped {counted(len(files), 'file')} that are not images: {kinds}.")


def _is_image(file: Path) -> bool:
    if file.suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        with file.open("rb") as opened:
            return looks_like_an_image(opened.read(512))
    except OSError:
        return False
