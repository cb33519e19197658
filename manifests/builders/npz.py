"""npz files in MedMNIST's layout: `{train,val,test}_{images,labels}` (Yang et al. 2023, Scientific Data 10, 41)."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ...base import ImageError, ManifestError, did_you_mean, one_of
from ..manifest import Manifest
from ..readers.image_stack import Layout
from ..readers.npz import read_header
from ..readers.read_errors import DamageAsImageError
from ..schema.card import Task
from ..validation.diagnostics import rows_in_words
from ..validation.faults import Faults, refuse
from ..validation.structure import SPLITS
from .common import Notice, assemble, report_empty_classes, silent, task_for
from .medmnist_facts import all_sets, name_and_size
from .slices import SliceChoice


def build_npz(
    file: Path | str,
    *,
    name: str | None = None,
    task: Task | None = None,
    classes: Sequence[str] | None = None,
    slices: str = "all",
    notice: Notice = silent,
) -> Manifest:
    """A manifest of the arrays of images and labels in an npz file; the images stay in it.

    Images are `{split}_images`, uint8, (N, H, W) or (N, H, W, 3), volumes (N, D, H, W). Labels are `{split}_labels`,
    whole numbers: (N,) or (N, 1) for one class per sample, (N, K) of 0 and 1 for K labels. A split may be missing.
    `train_images[7]` becomes the sample `train/0007`, with as many digits as the largest index needs (at least four).
    Each slice of a volume along D is a sample, `train/0007/12`, and the volume is their unit. A file that is named as
    one of MedMNIST's sets gets the classes and task of that set if its labels fit.

    Args:
        file: npz file.
        name: name of the data set; by default the file name.
        task: by default that of the MedMNIST set; else binary for two classes, multiclass for more, multilabel for
            labels of several columns.
        classes: names of classes 0, 1, ...; by default those of the MedMNIST set, else "0", "1", ...
        slices: slices to take from volumes: all, middle, middle:N (N slices around the middle) or every:N.
        notice: called with messages: missing splits, classes without samples, a recognised MedMNIST set.

    Raises:
        ManifestError: no such file, no npz file, no pair of arrays, or arrays of other shapes and types; all problems
            of the arrays are listed.

    Examples:
        >>> import numpy as np
        >>> from medprobe.manifests import build_npz
        >>> np.savez(folder / "digits.npz", train_images=np.zeros((4, 8, 8), np.uint8), train_labels=[0, 1, 2, 1])
        >>> built = build_npz(folder / "digits.npz")
        >>> built.card.task, list(built.sample_ids[:2])
        ('multiclass', ['train/0000', 'train/0001'])
    """
    file = Path(file)
    choice = SliceChoice.parse(slices, axes=False)
    layouts, labels = _read(file, notice)
    table = _table(layouts, choice, file)
    task, classes = _published(file, labels, task, classes, notice)
    multilabel = labels.shape[1] > 1
    count = labels.shape[1] if multilabel else max(int(labels.max()) + 1, 2)
    names = list(map(str, range(count))) if classes is None else list(classes)
    if len(names) < count or (multilabel and len(names) > count):
        has = f"{count} labels per sample" if multilabel else f"{count} classes (0 to {count - 1})"
        raise ManifestError(f"{file}: has {has}, but --classes names {len(names)}.")
    labels = labels[table.pop("_of")]
    if multilabel:
        task = "multilabel"
        table[names] = labels.astype(np.int8)
    else:
        table["label"] = np.array(names, object)[labels[:, 0]]
        report_empty_classes(set(table["label"]), names, notice)
    about = {"name": name or file.stem, "task": task_for(names, task), "classes": names}
    return assemble(table, file.parent, faults=Faults(str(file)), **about)


def _read(file: Path, notice: Notice) -> tuple[dict[str, Layout], np.ndarray]:
    """The layout of the images of each split; and the labels of all splits, one after the other: (N, K) int64."""
    arrays = read_shapes(file)
    splits = [split for split in SPLITS if f"{split}_images" in arrays or f"{split}_labels" in arrays]
    if not splits:
        raise ManifestError(f"{file}: has no arrays train_images and train_labels, only {one_of(arrays)}.")
    faults = Faults(str(file))
    layouts = {split: layout for split in splits if (layout := _layout(arrays, split, faults))}
    shapes = {name: arrays[name][0] for split in splits if (name := f"{split}_labels") in arrays}
    widths = {name: max((1, *shape[1:])) for name, shape in shapes.items()}
    if len(set(widths.values())) > 1:
        listed = one_of(f"{name} {width}" for name, width in widths.items())
        faults.note(f"labels per sample differ between the splits: {listed}; give all the same columns")
    refuse(faults)
    if len(splits) < len(SPLITS):
        notice(f"There are arrays for {one_of(splits)} only.")
    labels = [_labels(file, f"{split}_labels", faults) for split in splits]
    refuse(faults)
    return layouts, np.concatenate(labels)


def _layout(arrays: Mapping[str, tuple[tuple[int, ...], np.dtype]], split: str, faults: Faults) -> Layout | None:
    """How the images of a split are stored; `faults` receives what is wrong with its arrays."""
    images, labels = f"{split}_images", f"{split}_labels"
    for name in (images, labels):
        if name not in arrays:
            faults.note(f"{name} is missing")
            return None
    (shape, dtype), (label_shape, label_dtype) = arrays[images], arrays[labels]
    sizes = [counted[0] if counted else 0 for counted in (shape, label_shape)]
    wrong = {
        f"{images} holds {dtype}; it must be uint8, 0 to 255": dtype != np.uint8,
        f"{labels} holds {label_dtype}; it must be whole numbers": label_dtype.kind not in "iub",
        f"{labels} has shape {label_shape}; it must be (N,), (N, 1) or (N, K)": len(label_shape) not in (1, 2)
        or 0 in label_shape[1:],
        f"{images} holds no image; omit an empty split": shape[:1] == (0,),
        f"{images} has {sizes[0]:,} images, {labels} {sizes[1]:,} rows": shape[:1] != label_shape[:1],
    }
    for message in (message for message, is_wrong in wrong.items() if is_wrong):
        faults.note(message)
    try:
        return Layout.of(shape, images)
    except ImageError as error:
        faults.note(str(error))
        return None


def _labels(file: Path, name: str, faults: Faults) -> np.ndarray:
    """An array of labels, (N, K) int64; `faults` receives rows with a negative class, or other than 0 and 1."""
    try:
        with DamageAsImageError(), np.load(file, allow_pickle=False) as archive:
            labels = archive[name].astype(np.int64)
    except ImageError:
        faults.note(f"{name} cannot be read: the file is damaged")
        return np.zeros((0, 1), np.int64)
    labels = labels.reshape(len(labels), -1)
    one = labels.shape[1] == 1
    wrong = (labels < 0) | (labels > 1 if not one else False)
    if wrong.any():
        rows = np.flatnonzero(wrong.any(axis=1))
        values = one_of(map(str, np.unique(labels[wrong])), most=4)
        meant = "a class is 0 or more" if one else "a label of several is 0 or 1"
        faults.note(f"{name}, {rows_in_words(rows)}: holds {values}, but {meant}", len(rows))
    return labels


def _published(
    file: Path, labels: np.ndarray, task: Task | None, classes: Sequence[str] | None, notice: Notice
) -> tuple[Task | None, Sequence[str] | None]:
    """Task and classes as given; what is not given is MedMNIST's own where the file is named as one of its sets."""
    facts = all_sets().get(name_and_size(file.stem)[0])
    if facts is None or len(classes or facts.classes) != len(facts.classes):
        return task, classes
    count = labels.shape[1] if facts.task == "multilabel" else int(labels.max()) + 1
    if (labels.shape[1] > 1) != (facts.task == "multilabel") or count > len(facts.classes):
        return task, classes
    if classes is None or task is None:
        notice(
            f"The file is named as {facts.title} of MedMNIST: {facts.task}, with the classes "
            f"{one_of(facts.classes, most=20)}, unless --task and --classes are given."
        )
    return task or facts.task, classes or facts.classes


def read_shapes(file: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and dtype of each array of an npz file, read from the headers alone: images may be many.

    Raises:
        ManifestError: there is no such file, or it is not an npz file.
    """
    if not file.is_file():
        near = did_you_mean(file.name, (other.name for other in file.parent.glob("*.npz")))
        raise ManifestError(
            f"{file}: {'is a folder' if file.is_dir() else 'there is no such file'}; give an npz file.{near}"
        )
    try:
        with zipfile.ZipFile(file) as archive:
            found = {}
            for name in archive.namelist():
                with archive.open(name) as stream:
                    shape, _, dtype = read_header(stream)
                found[name.removesuffix(".npy")] = (shape, dtype)
    except Exception as error:
        raise ManifestError(f"{file}: is not an npz file, or was cut off.") from error
    return found


def _table(layouts: dict[str, Layout], choice: SliceChoice, file: Path) -> pd.DataFrame:
    """A row for each image, or each chosen slice; `_of` says which of all labels, one split after the other, it has."""
    depths = {layout.depth for layout in layouts.values()}
    if None in depths and len(depths) > 1:
        raise ManifestError(f"{file}: holds images in one split and volumes in another.")
    if None in depths and choice.kind != "all":
        raise ManifestError(f"{file}: holds images, not volumes, so there are no slices to choose with --slices.")
    samples = {split: layout.count // (layout.depth or 1) for split, layout in layouts.items()}
    digits = max(4, *(len(str(count - 1)) for count in samples.values()))
    parts, before = [], 0
    for split, layout in layouts.items():
        chosen = np.array(choice.frames(layout.depth or 1), np.int64)
        sample, slice_ = np.repeat(np.arange(samples[split]), len(chosen)), np.tile(chosen, samples[split])
        names = [f"{split}/{number:0{digits}d}" for number in sample]
        part = pd.DataFrame({"sample_id": names, "path": f"{file.name}#{split}_images", "split": split})
        part["frame"] = sample * (layout.depth or 1) + slice_
        if layout.depth is not None:
            width = len(str(layout.depth - 1))
            part["sample_id"] = [f"{name}/{number:0{width}d}" for name, number in zip(names, slice_, strict=True)]
            # Not the beginning of the sample's id: hashed units would take readable sample ids with them.
            part["unit_id"] = [f"{split}_images[{number}]" for number in sample]
        parts.append(part.assign(_of=before + sample))
        before += samples[split]
    return pd.concat(parts, ignore_index=True)
