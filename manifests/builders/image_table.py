"""A table of images, with labels or without: a row per image, with columns such as patient ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ...base import ManifestError, one_of
from ..manifest import Manifest
from ..schema.card import Task
from ..schema.table_io import TEXT, as_text, as_words, column_of
from ..validation.diagnostics import outside_root
from ..validation.faults import Faults
from .common import Notice, agree_on_classes, assemble, class_order, silent, task_for
from .frames import check_frames
from .images import report_absent
from .label_tables import read_columns, read_split_words

_OPTIONS = {"sample_id": "id", "path": "image", "unit_id": "unit", "group_id": "group"}
"""The option's name before `-column`, by column of the manifest, if it is another one."""


def build_csv(
    table: Path | str,
    *,
    image_column: str,
    label_columns: Sequence[str] = (),
    id_column: str | None = None,
    unit_column: str | None = None,
    group_column: str | None = None,
    split_column: str | None = None,
    frame_column: str | None = None,
    modality_column: str | None = None,
    attributes: Sequence[str] = (),
    root: Path | str | None = None,
    name: str | None = None,
    task: Task | None = None,
    classes: Sequence[str] | None = None,
    notice: Notice = silent,
) -> Manifest:
    """A manifest of the images that a CSV or Parquet table lists.

    White space around values is removed. Splits may also be named training, valid, validation, dev or testing, in any
    case. Several label columns make a multilabel task with their names as classes.

    Args:
        table: CSV or Parquet table.
        image_column: column of image paths, relative to --root.
        label_columns: column of class names, or one of several columns of 0 and 1. Without one the images are
            unlabelled.
        id_column: column of sample ids. By default the image path, followed by the frame.
        unit_column: column of units, which get one prediction each (an exam, a lesion). By default every sample is one.
        group_column: column of groups (patients): never in both train and test. By default every unit is one.
        split_column: column of splits: train, val or test.
        frame_column: column of frame numbers, from 0, in files of several images.
        modality_column: column of modalities, for units with several modalities.
        attributes: column to compute subgroup scores by.
        root: folder that image paths start from. By default the folder of the table.
        name: name of the data set; by default the file name of the table.
        task: by default binary for two classes, multiclass for more, multilabel for several label columns.
        classes: class names in order; sorted by default. Not with several label columns, which are ordered as given.
        notice: called with messages about what looks odd, such as rows whose image is missing.

    Raises:
        ManifestError: a column does not exist (similar ones are suggested), a field is blank, an id is repeated, none
            of the images exists, or a row names no frame of a file with several, or one that is not there.

    Examples:
        >>> from medprobe.manifests import build_csv
        >>> built = build_csv(
        ...     folder / "labels.csv",
        ...     image_column="image",
        ...     label_columns=["diagnosis"],
        ...     group_column="patient",
        ...     root=folder / "images",
        ... )
        >>> len(built), built.card.task, built.card.classes
        (60, 'binary', ['benign', 'malignant'])
    """
    table = Path(table)
    columns = {
        "sample_id": id_column or image_column,
        "path": image_column,
        "unit_id": unit_column,
        "group_id": group_column,
        "split": split_column,
        "frame": frame_column,
        "modality": modality_column,
    }
    chosen = {ours: theirs for ours, theirs in columns.items() if theirs is not None}
    if not label_columns and (task or classes):
        raise ManifestError(f"{table}: --task and --classes need labels; name their column with --label-column.")
    multilabel = len(label_columns) > 1 or task == "multilabel"
    if root is not None and not Path(root).is_dir():
        raise ManifestError(f"{root}: the folder that image paths start from (--root) does not exist.")
    root = table.parent if root is None else Path(root)
    text = {theirs for ours, theirs in chosen.items() if ours != "frame"} | (set() if multilabel else {*label_columns})
    options = {theirs: f"--{_OPTIONS.get(ours, ours)}-column" for ours, theirs in chosen.items()}
    options |= dict.fromkeys(label_columns, "--label-column") | dict.fromkeys(attributes, "--attribute")
    given = read_columns(table, options, text=text, named_by=options)
    faults = Faults(str(table))
    # Reported only with a manifest: they refer to its rows, and to checks of it.
    messages: list[str] = []
    made = _placed(given, chosen, root, faults, messages.append, name_by_path=id_column is None)
    of_frames = f'column "{frame_column}"' if frame_column else "a column that --frame-column names"
    check_frames(column_of(made, "path"), made.get("frame"), root, (f'column "{image_column}"', of_frames), faults)
    names: list[str] = []
    if not label_columns:
        messages.append("No --label-column was given, so the images are unlabelled.")
    elif multilabel:
        task, names = "multilabel", list(label_columns)
        if classes is not None and list(classes) != names:
            raise ManifestError(
                f"--classes ({one_of(classes)}) differs from the label columns ({one_of(names)}); a multilabel set has "
                "a column per class, so omit --classes."
            )
    else:
        made["label"] = _tidy(column_of(given, label_columns[0]))
        found = class_order(_labels(column_of(made, "label"), label_columns[0], faults))
        remedy = f'Is "{label_columns[0]}" the column of labels?'
        names = agree_on_classes(found, classes, faults, messages.append, only_one=remedy, task=task)
    if task == "ordinal" and classes is None and not all(name.lstrip("-").isdigit() for name in names):
        messages.append(
            f"The order of classes is that of their names: {', '.join(names)}; give another with --classes."
        )
    for column in (*(names if multilabel else ()), *attributes):
        made[column] = given[column]
    repeats = "; remove all but one, or name a column that distinguishes the rows with --id-column"
    if id_column is not None:
        repeats = "; give each row an id of its own, or remove all but one"
    elif frame_column is None:
        repeats += ", or the frames of one file with --frame-column"
    manifest = assemble(
        made,
        root,
        faults=faults,
        name=name or table.stem,
        notice=messages.append,
        columns={**chosen, **({"label": label_columns[0]} if label_columns else {})},
        remedies={"duplicate-id": repeats, "path-outside-root": " (--root names it)"},
        task=task_for(names, task) if label_columns else None,
        classes=names,
        attributes=list(attributes),
    )
    for message in messages:
        notice(message)
    return manifest


def _placed(
    given: pd.DataFrame,
    chosen: dict[str, str],
    root: Path,
    faults: Faults,
    notice: Notice,
    *,
    name_by_path: bool,
) -> pd.DataFrame:
    """The manifest's table but for labels and attributes; paths start at `root`.

    `chosen` has the user's column for each of ours; with `name_by_path`, sample ids are made from paths and frames. If
    there are unknown splits, there is no column of splits.
    """
    made = pd.DataFrame({ours: _tidy(column_of(given, theirs)) for ours, theirs in chosen.items()})
    # With `/` between folders and starting at `root`, also where they are absolute.
    start = f"{root.resolve().as_posix().rstrip('/')}/"
    paths = column_of(made, "path").str.replace("\\", "/", regex=False).str.removeprefix(start)
    made["path"] = paths
    if name_by_path:
        made["sample_id"] = paths
        if "frame" in made:
            frames = as_text(column_of(made, "frame"))
            made["sample_id"] = paths.where(frames.isna(), paths + "/" + frames.fillna("").str.zfill(4))
    outside = outside_root(paths)
    remedy = f'Is "{chosen["path"]}" the column of paths? The folder that they start from is named with --root.'
    report_absent(paths.mask(outside), root, column=chosen["path"], faults=faults, remedy=remedy, notice=notice)
    if "split" in made:
        remedy = "omit --split-column to draw a split per seed"
        words = read_split_words(column_of(made, "split"), chosen["split"], faults, remedy)
        made = made.drop(columns="split") if words is None else made.assign(split=words)
    return made


def _tidy(column: pd.Series) -> pd.Series:
    """Text without the blanks around it; other types as they are."""
    return column.str.strip() if column.dtype == TEXT else column


def _labels(labels: pd.Series, column: str, faults: Faults) -> list[str]:
    """The distinct labels; decimal numbers are errors."""
    distinct = sorted(label for label in set(as_words(labels)) if label.strip())
    decimal = [label for label in distinct if "." in label and not np.isnan(pd.to_numeric(label, errors="coerce"))]
    if decimal:
        faults.note(
            f'column "{column}" holds decimal numbers ({one_of(decimal, most=4)}), which are not classes. Write whole '
            "numbers or words; a column of measurements cannot be a label."
        )
    return distinct
