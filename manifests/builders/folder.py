"""Class folders: `SRC/glioma/1.jpg`, or `SRC/train/glioma/1.jpg`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ...base import ManifestError, counted, did_you_mean, one_of
from ..manifest import Manifest
from ..readers import looks_like_an_image
from ..schema.card import Task
from ..validation.faults import Faults
from .common import SPLIT_WORDS, Notice, agree_on_classes, assemble, class_order, require_folder, silent, task_for
from .files import walk
from .images import IMAGE_SUFFIXES

_BUILDERS = {".csv": "csv", ".csv.gz": "csv", ".parquet": "csv", ".npz": "npz", ".dcm": "dicom"}
"""Who takes a file of this suffix, or a folder of such."""
_PACKED = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar")


def build_folder(
    src: Path | str,
    *,
    name: str | None = None,
    task: Task | None = None,
    classes: Sequence[str] | None = None,
    notice: Notice = silent,
) -> Manifest:
    """A manifest of the images in class folders, with or without folders of splits above them.

    Every folder in SRC is a class, unless the folders are named train, val and test (or training, valid, validation,
    dev, testing, in any case): then the folders inside those are the classes. Images may be in
    subfolders of a class folder. Skipped are hidden files and folders, links to folders inside a class folder, and
    files that are not images; a file with an image suffix is always taken, so that the checks can report it.

    Args:
        src: folder of class folders; paths in the manifest start from it.
        name: name of the data set; by default that of the folder.
        task: by default binary for two classes and multiclass for more.
        classes: class names in order; sorted by default.
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
    table = class_folder_table(src, notice, instead=_instead(src))
    remedy = f"Expected a folder for each class, {ANY_CLASSES}; give the folder above all classes."
    faults = Faults(str(src))
    names = agree_on_classes(class_order(table["label"]), classes, faults, notice, only_one=remedy)
    return assemble(
        table,
        str(src),
        src,
        noted=faults,
        name=name or src.resolve().name,
        task=task_for(names, task),
        classes=names,
    )


def _instead(file: Path) -> str:
    """What to do with a file that was given in place of a folder."""
    builder = next((name for suffix, name in _BUILDERS.items() if file.name.lower().endswith(suffix)), None)
    if builder:
        return f"use `medprobe manifest build {builder}` for it, or give the folder that class folders are in"
    if file.name.lower().endswith(_PACKED):
        return "unpack it, and give the folder"
    return "give the folder that the class folders are in"


ANY_CLASSES = "SRC/CLASS/*.jpg or SRC/train/CLASS/*.jpg"
"""The layout of class folders."""
_LINKED = 2
"""Levels at which links to folders are followed: a split or a class may be one."""


@dataclass(frozen=True)
class _ClassFolder:
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
    folders = _class_folders(src, notice, classes, layout)
    found = [_row(src, folder, path) for folder, path in _images(src, folders, notice)]
    if not found:
        raise ManifestError(f"{src}: its class folders hold no images. Expected {layout}.")
    return pd.DataFrame(found).sort_values("sample_id", ignore_index=True)


def unpacked(src: Path, inner: str, classes: Sequence[str]) -> Path:
    """`src`, or `inner` in it where an archive was unpacked with that folder around the classes or splits."""
    marks = {*SPLIT_WORDS, *(name.casefold() for name in classes)}

    def holds_the_set(folder: Path) -> bool:
        # An unreadable folder is reported later.
        readable = os.path.isdir(folder) and os.access(folder, os.R_OK | os.X_OK)
        return readable and any(entry.name.casefold() in marks for entry in _folders(folder))

    return src / inner if not holds_the_set(src) and holds_the_set(src / inner) else src


def _row(src: Path, folder: _ClassFolder, path: Path) -> dict[str, str]:
    relative = path.relative_to(src).as_posix()
    row = {"sample_id": relative, "path": relative, "label": folder.label}
    return row if folder.split is None else {**row, "split": folder.split}


def _images(src: Path, folders: list[_ClassFolder], notice: Notice) -> Iterator[tuple[_ClassFolder, Path]]:
    """Every image, with the folder that gives it its class and split."""
    ignored: Counter[str] = Counter()
    deep = 0
    for folder in folders:
        count = 0
        for file in _files(folder.path, notice):
            if not _is_image(file):
                ignored[file.suffix.lower() or "(no suffix)"] += 1
                continue
            count += 1
            deep += file.parent != folder.path
            yield folder, file
        if count == 0:
            notice(f"{folder.path.relative_to(src).as_posix()}/ holds no images and was skipped.")
    if ignored:
        kinds = one_of(f"{count:,} {suffix}" for suffix, count in ignored.most_common())
        notice(f"Skipped {counted(ignored.total(), 'file')} that are not images: {kinds}.")
    if deep:
        notice(
            f"There {'is' if deep == 1 else 'are'} {counted(deep, 'image')} in folders inside the class folders. If "
            "such a folder is a patient, use `medprobe manifest build csv` with --group-column, or a patient may be in "
            "both train and test."
        )


def _class_folders(src: Path, notice: Notice, classes: Sequence[str] | None, layout: str) -> list[_ClassFolder]:
    """The class folders, each with its split.

    Raises:
        ManifestError: there are none, or folders of splits and of classes are mixed.
    """
    folders = _folders(src)
    if not folders:
        raise ManifestError(f"{src}: has no folders, and each class is one. Expected {layout}.")
    splits = {folder: SPLIT_WORDS[folder.name.lower()] for folder in folders if folder.name.lower() in SPLIT_WORDS}
    if not splits:
        _report_loose_files(src, src, notice)
        return _of_classes(src, [(None, folder) for folder in folders], notice, classes, layout)
    others = [folder for folder in folders if folder not in splits]
    if others and classes is None:
        raise ManifestError(
            f"{src}: folders of splits ({one_of(folder.name for folder in splits)}) are mixed with others "
            f"({one_of(folder.name for folder in others)}). Give the folder that holds the splits only, or the "
            "classes only."
        )
    _report_skipped_folders(src, others, notice)
    found: list[tuple[str | None, Path]] = [
        (split, folder) for above, split in splits.items() for folder in _folders(above)
    ]
    if not found:
        raise ManifestError(
            f"{src}: no class folders in {one_of(folder.name for folder in splits)}. Expected {layout}."
        )
    for above in splits:
        _report_loose_files(above, src, notice)
    return _of_classes(src, found, notice, classes, layout)


def _of_classes(
    src: Path, found: list[tuple[str | None, Path]], notice: Notice, classes: Sequence[str] | None, layout: str
) -> list[_ClassFolder]:
    """The folders that are classes.

    Raises:
        ManifestError: one of `classes` has no folder, or none in one of the splits; all such are named, with the near
            ones that are there.
    """
    if classes is None:
        _report_gaps(found, notice)
        return [_ClassFolder(folder, folder.name, split) for split, folder in found]
    known = {name.casefold(): name for name in classes}
    kept = [(split, folder) for split, folder in found if folder.name.casefold() in known]
    missing = [name for name in classes if not any(folder.name.casefold() == name.casefold() for _, folder in kept)]
    gaps = _gaps(kept, found)
    if missing or gaps:
        others = sorted({folder.name for _, folder in found if folder.name.casefold() not in known})
        faults = [f"there is no folder {name}/.{did_you_mean(name, others)}" for name in missing]
        faults += [f"there is no folder {known[name]}/ in {parts}.{did_you_mean(name, others)}" for name, parts in gaps]
        listed = "".join(f"\n  {fault}" for fault in faults)
        # Counted and not named: in a wrong folder the names may be patients'.
        there = len({folder for _, folder in found})
        raise ManifestError(
            f"{src}: is not in the layout of this data set:{listed}\nExpected {layout}; there "
            f"{'is' if there == 1 else 'are'} {counted(there, 'folder')} where the classes should be."
        )
    _report_skipped_folders(src, [folder for _, folder in found if folder.name.casefold() not in known], notice)
    return [_ClassFolder(folder, known[folder.name.casefold()], split) for split, folder in kept]


def _gaps(kept: list[tuple[str | None, Path]], found: list[tuple[str | None, Path]]) -> list[tuple[str, str]]:
    """Classes, folded, that some split has and another lacks, with the folders of those that lack it.

    Args:
        kept: folders of classes, with their splits.
        found: all folders, those that are not classes included.
    """
    parts: dict[str, dict[str, None]] = {}
    for split, folder in found:
        if split is not None:
            parts.setdefault(split, {})[f"{folder.parent.name}/"] = None
    there = {(split, folder.name.casefold()) for split, folder in kept}
    classes = dict.fromkeys(folder.name.casefold() for _, folder in kept)
    gaps = ((name, [split for split in parts if (split, name) not in there]) for name in classes)
    return [(name, one_of(" or ".join(parts[split]) for split in lack)) for name, lack in gaps if lack]


def _report_gaps(found: list[tuple[str | None, Path]], notice: Notice) -> None:
    for name, parts in _gaps(found, found):
        label = next(folder.name for _, folder in found if folder.name.casefold() == name)
        notice(f"There is no folder {label}/ in {parts}.")


def _report_skipped_folders(src: Path, folders: list[Path], notice: Notice) -> None:
    for folder in folders:
        files = sum(len(names) for _, _, names in os.walk(folder))
        where = folder.relative_to(src).as_posix()
        notice(f"Skipped the folder {where}/ ({counted(files, 'file')}): neither a class nor a split.")


def _report_loose_files(folder: Path, src: Path, notice: Notice) -> None:
    loose = sum(1 for file in folder.iterdir() if file.is_file() and not file.name.startswith(".") and _is_image(file))
    if loose:
        where = "the folder itself" if folder == src else f"{folder.name}/ itself"
        notice(f"Skipped {counted(loose, 'image')} in {where}, outside any class folder.")


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _files(folder: Path, notice: Notice) -> Iterator[Path]:
    """Every file below `folder` that is not hidden."""
    links = 0
    # Links inside are not followed: one that leads up would give the images of other classes this class's label.
    for here, folders, files in os.walk(folder):
        links += sum(Path(here, name).is_symlink() for name in folders)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here, name) for name in sorted(files) if not name.startswith("."))
    if links:
        notice(f"Did not follow {counted(links, 'link')} to folders inside {folder.name}/.")


def _is_image(file: Path) -> bool:
    if file.suffix.lower() in IMAGE_SUFFIXES:
        return True
    try:
        with file.open("rb") as opened:
            return looks_like_an_image(opened.read(512))
    except OSError:
        return False
