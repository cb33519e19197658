"""Class folders: `SRC/glioma/1.jpg`, or `SRC/train/glioma/1.jpg`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from ...base import ManifestError, counted, one_of
from ..card import Task
from ..manifest import Manifest
from ..readers import looks_like_an_image
from .common import SPLIT_WORDS, Notice, agree_on_classes, assemble, class_order, silent, task_for

_IMAGE_SUFFIXES = {
    ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".jp2", ".pgm", ".ppm", ".pnm"
}  # fmt: skip


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
    if not src.is_dir():
        raise ManifestError(f"{src}: {'is a file, not a' if src.exists() else 'there is no such'} folder.")
    if task == "multilabel":
        raise ManifestError(
            f"{src}: a folder gives an image one label; for several, list the images in a table with a column of 0 "
            "and 1 per class, and use `medprobe manifest build csv`."
        )
    found = [_row(src, place, path) for place, path in _images(src, notice)]
    if not found:
        raise ManifestError(
            f"{src}: its class folders hold no images. Expected SRC/CLASS/*.jpg or SRC/train/CLASS/*.jpg."
        )
    table = pd.DataFrame(found).sort_values("sample_id", ignore_index=True)
    names = agree_on_classes(class_order(table["label"]), classes, str(src))
    return assemble(table, str(src), src, name=name or src.resolve().name, task=task_for(names, task), classes=names)


def _row(src: Path, place: tuple[str, str | None], path: Path) -> dict[str, str]:
    relative = path.relative_to(src).as_posix()
    label, split = place
    row = {"sample_id": relative, "path": relative, "label": label}
    return row if split is None else {**row, "split": split}


def _images(src: Path, notice: Notice) -> Iterator[tuple[tuple[str, str | None], Path]]:
    """Every image, with its class and split."""
    ignored: Counter[str] = Counter()
    deep = 0
    for split, class_folder in _class_folders(src, notice):
        count = 0
        for file in _files(class_folder, notice):
            if not _is_image(file):
                ignored[file.suffix.lower() or "(no suffix)"] += 1
                continue
            count += 1
            deep += file.parent != class_folder
            yield (class_folder.name, split), file
        if count == 0:
            notice(f"{class_folder.relative_to(src).as_posix()}/ holds no images and is left out.")
    if ignored:
        kinds = one_of(f"{count:,} {suffix}" for suffix, count in ignored.most_common())
        notice(f"Left out {counted(ignored.total(), 'file')} of other kinds: {kinds}.")
    if deep:
        notice(
            f"There are {counted(deep, 'image')} in folders inside the class folders. If such a folder is a patient, "
            "use `medprobe manifest build csv` with --group-column, or a patient may be on both sides of a split."
        )


def _class_folders(src: Path, notice: Notice) -> list[tuple[str | None, Path]]:
    """The class folders, each with its split.

    Raises:
        ManifestError: there are none, or folders of splits and of classes stand side by side.
    """
    folders = _folders(src)
    if not folders:
        raise ManifestError(
            f"{src}: has no folders. Expected one folder a class, SRC/CLASS/*.jpg, or SRC/train/CLASS/*.jpg."
        )
    splits = {folder: SPLIT_WORDS[folder.name.lower()] for folder in folders if folder.name.lower() in SPLIT_WORDS}
    if not splits:
        _tell_of_loose_files(src, src, notice)
        return [(None, folder) for folder in folders]
    others = [folder.name for folder in folders if folder not in splits]
    if others:
        raise ManifestError(
            f"{src}: folders of splits ({one_of(folder.name for folder in splits)}) stand beside others "
            f"({one_of(others)}). Give the folder that holds the splits only, or the classes only."
        )
    found: list[tuple[str | None, Path]] = [
        (split, folder) for above, split in splits.items() for folder in _folders(above)
    ]
    if not found:
        raise ManifestError(
            f"{src}: no class folders in {one_of(folder.name for folder in splits)}. Expected SRC/train/CLASS/*.jpg."
        )
    for above in splits:
        _tell_of_loose_files(above, src, notice)
    return found


def _tell_of_loose_files(folder: Path, src: Path, notice: Notice) -> None:
    loose = sum(1 for file in folder.iterdir() if file.is_file() and not file.name.startswith(".") and _is_image(file))
    if loose:
        where = "the folder itself" if folder == src else f"{folder.name}/ itself"
        notice(f"Left out {counted(loose, 'image')} in {where}, outside any class folder.")


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
    if file.suffix.lower() in _IMAGE_SUFFIXES:
        return True
    try:
        with file.open("rb") as opened:
            return looks_like_an_image(opened.read(32))
    except OSError:
        return False
