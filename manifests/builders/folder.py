"""Class folders: `SRC/glioma/1.jpg`, or `SRC/train/glioma/1.jpg`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...base import ManifestError
from ..manifest import Manifest
from ..schema.card import Task
from ..validation.faults import Faults
from .class_folders import ANY_CLASSES, class_folder_table
from .common import Notice, agree_on_classes, assemble, class_order, silent, task_for

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

    Every folder of `src` is a class, unless its folders are called train, val and test (or training, valid, validation,
    dev, testing, in any case): then the folders inside those are the classes. Images may lie deeper inside a class
    folder. Passed over are hidden files and folders, links to folders inside a class folder, and files that are no
    images; a file with the suffix of an image is taken whatever is in it, so that the checks can say what is wrong.

    Args:
        src: the folder; becomes the manifest's root.
        name: of the data set; default the folder's name.
        task: default binary for two classes and multiclass for more.
        classes: their order; default sorted.
        notice: told what was left out and what looks odd.

    Raises:
        ManifestError: no such folder, no class folders, no images, fewer than two classes.
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
