"""Class folders: `SRC/glioma/1.jpg`, or `SRC/train/glioma/1.jpg`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...base import ManifestError
from ..card import Task
from ..manifest import Manifest
from .class_folders import class_folder_table
from .common import Notice, agree_on_classes, assemble, class_order, silent, task_for


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
    table = class_folder_table(src, notice)
    names = agree_on_classes(class_order(table["label"]), classes, str(src))
    return assemble(table, str(src), src, name=name or src.resolve().name, task=task_for(names, task), classes=names)
