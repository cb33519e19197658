"""Class folders: `SRC/glioma/1.jpg`, or `SRC/train/glioma/1.jpg`; or any folder, for images without labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

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
    table = class_folder_table(src, notice)
    remedy = (
        f"Expected a folder for each class, {ANY_CLASSES}; give the folder above all classes, or add --unlabelled if "
        "the images have no labels."
    )
    faults = Faults(str(src))
    names = agree_on_classes(class_order(table["label"]), classes, faults, notice, only_one=remedy, task=task)
    return assemble(table, src, faults=faults, name=name, notice=notice, task=task_for(names, task), classes=names)


ANY_CLASSES = "SRC/CLASS/*.jpg or SRC/train/CLASS/*.jpg"
"""The layout of class folders."""


def class_folder_table(
    src: Path, notice: Notice, *, classes: Sequence[str] | None = None, layout: str = ANY_CLASSES
) -> pd.DataFrame:
    """The table of the images in class folders, with or without folders of splits above them.

    Args:
        src: the folder that paths start from.
        notice: called with messages about what was skipped or looks odd.
        classes: the only folders that are classes, in any case; others are skipped, with a message. By default all are.
        layout: how the set is laid out, for messages.

    Returns:
        `sample_id` and `path` (the path below `src`, suffix included), `label` and, under folders of splits, `split`;
        sorted by `sample_id`.

    Raises:
        ManifestError: no such folder, folders that cannot be read (all are listed), no class folders, one of `classes`
            has none, or there are no images.
    """
    require_folder(src)
    top = [folder.name for folder in _folders(src)]
    splits = {name: SPLIT_WORDS[name.lower()] for name in top if name.lower() in SPLIT_WORDS}
    if splits and classes is None and (mixed := [name for name in top if name not in splits]):
        raise ManifestError(
            f"{src}: folders of splits ({one_of(splits)}) are mixed with others ({one_of(mixed)}). Give the folder "
            "that holds the splits only, or the classes only."
        )
    depth = 2 if splits else 1
    known = None if classes is None else {name.casefold(): name for name in classes}
    labels: dict[str, str | None] = {}
    rows: list[dict[str, str | None]] = []
    others: list[Path] = []
    loose = deep = 0
    # Links to a split or a class are followed; one inside a class, to images of another, would give them this label.
    for folder, names in walk(src, linked=depth, notice=notice):
        parts = folder.relative_to(src).parts
        images = [folder / name for name in names if _is_image(folder / name)]
        if len(parts) < depth:
            loose += len(images)
            continue
        place, name = "/".join(parts[:depth]), parts[depth - 1]
        is_part = not splits or parts[0] in splits
        label = labels[place] = (name if known is None else known.get(name.casefold())) if is_part else None
        if label is not None:
            others += [folder / name for name in names if folder / name not in images]
            deep += len(images) * (len(parts) > depth)
            paths = [file.relative_to(src).as_posix() for file in images]
            rows += [{"sample_id": one, "path": one, "label": label, "split": splits.get(parts[0])} for one in paths]
    _require_classes(src, labels, classes, layout, list(splits))
    with_images = {"/".join(str(row["path"]).split("/")[:depth]) for row in rows}
    for place, label in labels.items():
        if label is None:
            notice(f"Skipped the folder {place}/: neither a class nor a split.")
        elif place not in with_images:
            notice(f"{place}/ holds no images and was skipped.")
    report_others(others, notice)
    if loose:
        notice(f"Skipped {counted(loose, 'image')} outside the class folders.")
    if deep:
        notice(
            f"There {'is' if deep == 1 else 'are'} {counted(deep, 'image')} in folders inside the class folders. If "
            "such a folder is a patient, use `medprobe manifest build csv` with --group-column, or a patient may be in "
            "both train and test."
        )
    if not rows:
        raise ManifestError(f"{src}: its class folders hold no images. Expected {layout}.")
    return pd.DataFrame(rows).dropna(axis="columns").sort_values("sample_id", ignore_index=True)


def _require_classes(
    src: Path, labels: Mapping[str, str | None], classes: Sequence[str] | None, layout: str, splits: Sequence[str]
) -> None:
    """Makes sure that there are class folders, and one for each of `classes` in each split.

    `labels` are those of the folders, `splits` the folders that these are in, if they are of splits.
    """
    if not labels:
        hint = "" if classes else " For images without labels, add --unlabelled."
        raise ManifestError(f"{src}: no class folders in {one_of(splits or [src.name])}. Expected {layout}.{hint}")
    there = {(place.rpartition("/")[0], label) for place, label in labels.items()}
    lacking = [("", name) for name in classes or () if name not in labels.values()]
    present = [name for name in classes or () if name in labels.values()]
    lacking += [(part, name) for part in splits for name in present if (part, name) not in there]
    if lacking:
        others = [place.rpartition("/")[2] for place, label in labels.items() if label is None]
        listed = "".join(
            f"\n  there is no folder {name}/{part and f' in {part}/'}.{did_you_mean(name, others)}"
            for part, name in lacking
        )
        # Counted and not named: in a wrong folder the names may be patients'.
        raise ManifestError(
            f"{src}: is not in the layout of this data set:{listed}\nExpected {layout}; there "
            f"{'is' if len(labels) == 1 else 'are'} {counted(len(labels), 'folder')} where the classes should be."
        )


def _unlabelled_table(src: Path, notice: Notice) -> pd.DataFrame:
    """As `class_folder_table`, without labels; with `split` where every image is in a folder of a split."""
    require_folder(src)
    others: list[Path] = []
    paths = pd.Series([file.relative_to(src).as_posix() for file in images_below(src, notice, others)], dtype=TEXT)
    report_others(others, notice)
    if not len(paths):
        raise ManifestError(
            f"{src}: holds no images. NIfTI volumes are for `medprobe manifest build nifti`; images of stacks are "
            "listed in a table, as images.npz#array and a frame, for `medprobe manifest build csv`."
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


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if os.path.isdir(entry) and not entry.name.startswith("."))


def images_below(folder: Path, notice: Notice, others: list[Path]) -> list[Path]:
    """Every image below `folder` that is not hidden; `others` receives the files that are none."""
    images: list[Path] = []
    for here, names in walk(folder, notice=notice):
        for file in (here / name for name in names):
            (images if _is_image(file) else others).append(file)
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
