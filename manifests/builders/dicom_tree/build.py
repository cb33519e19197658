"""A tree of DICOM files, and a table of labels that is joined on one of their ids."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd

from ....base import ManifestError, counted, one_of
from ...manifest import Manifest
from ...schema.card import Task
from ...schema.intensity_policy import DEFAULT_READING, IntensityPolicy
from ...schema.table_io import as_words, column_of
from ...validation.diagnostics import refusal
from ..common import (
    Notice,
    agree_on_classes,
    assemble,
    choose_word,
    class_order,
    fold_ids,
    require_folder,
    silent,
    task_for,
)
from ..files import files_below, read_all
from ..slices import SliceChoice
from .headers import ATTRIBUTES, Level, Skipped, read_header, require_pydicom
from .labels import compare_groups, joined_on, read_labels, refuse_inconsistent_units, report_unmatched
from .series import chosen_frames, sort_series
from .skipped import SkippedFiles, kinds_in_words
from .windows import series_windows


def build_dicom(
    src: Path | str,
    *,
    labels: Path | str | None = None,
    label_columns: Sequence[str] = (),
    unlabelled: bool = False,
    join: str | None = None,
    unit: Level | None = None,
    frames: str = "all",
    attributes: Sequence[str] = (),
    group_column: str | None = None,
    split_column: str | None = None,
    skip_faulty: bool = False,
    skipped: Path | str | None = None,
    name: str | None = None,
    task: Task | None = None,
    classes: Sequence[str] | None = None,
    reading: IntensityPolicy = DEFAULT_READING,
    notice: Notice = silent,
) -> Manifest:
    """A manifest of a tree of DICOM files, with labels from a table by SOPInstanceUID, StudyInstanceUID or PatientID.

    DICOM files are recognised by content, not by name. Read from each header are the ids of image, study, series and
    patient, Modality, NumberOfFrames, where a slice is, how intensities are shown, and with --attribute PatientSex and
    PatientAge. A sample is a frame; the group is the patient. Slices of a series are in the order of their positions.
    Other files, DICOMDIR, files without pixels, images without a row in the table and rows without an image are
    skipped, with a message.

    With --unlabelled there is no table; every image is taken, and an image without PatientID is of a patient of its
    own study. The manifest can be embedded, searched and predicted.

    Args:
        src: folder that holds the files, at any depth; paths in the manifest start from it.
        labels: CSV or Parquet table of labels.
        label_columns: column of class names, or one of several columns of 0 and 1.
        unlabelled: take every image without a label; then there is no table.
        join: column of ids in the table. By default the first of SOPInstanceUID, StudyInstanceUID and PatientID that it
            has. Which of the three ids a column holds is determined by its values.
        unit: what gets one prediction: image, study or patient. By default the study, or the image if the table has a
            row per image.
        frames: frames to take from files with several, and slices from series with a file per slice: all, middle,
            middle:N (N around the middle) or every:N; both are counted in the order of their positions.
        attributes: sex or age (in years) of the patient, to compute subgroup scores by.
        group_column: column of patients in the table, for files without PatientID. A PatientID must not be in several
            groups.
        split_column: column of splits in the table: train, val or test.
        skip_faulty: skip files that are damaged, lack an id or repeat the SOPInstanceUID of another, instead of
            refusing the tree.
        skipped: CSV table to write, with the path of every file that is not in the manifest and the reason. It also
            lists all faulty files if the tree is refused.
        name: name of the data set; by default that of the folder.
        task: by default binary for two classes, multiclass for more, multilabel for several label columns.
        classes: class names in order; sorted by default. Not with several label columns.
        reading: intensity policy of the images. Where it takes percentiles, slices of a series get those of the series,
            in a column `window`.
        notice: called with messages: what was skipped, and which series got a window.

    Raises:
        ManifestError: no such folder, table or column, wrong rows, files that are damaged or lack an id, two files
            of one SOPInstanceUID, a unit of several labels, groups or splits, a PatientID in several groups, or nothing
            in common between the files and the table; all of a kind are listed, by rows and files and without an id.
        OutputError: the table of skipped files cannot be written.
    """
    src = Path(src)
    choice = SliceChoice.parse(frames, "--frames", axes=False)
    if unit is not None:
        choose_word("unit", unit, get_args(Level))
    for attribute in attributes:
        choose_word("attribute", attribute, ATTRIBUTES)
    multilabel = len(label_columns) > 1 or task == "multilabel"
    given = {"--labels": labels, "--label-column": label_columns, "--join": join, "--group-column": group_column}
    given |= {"--split-column": split_column, "--task": task, "--classes": classes}
    table, key = None, ""
    if labels is not None and not unlabelled:
        columns = label_columns, join, group_column, split_column
        table, key = read_labels(Path(labels), *columns, notice, multilabel=multilabel)
    elif not unlabelled:
        raise ManifestError(f"{src}: name the table of labels with --labels, or add --unlabelled if there is none.")
    elif others := [option for option, value in given.items() if value]:
        raise ManifestError(f"{src}: --unlabelled images have no {one_of(others)}; leave out one or the other.")
    left_out = SkippedFiles(src, None if skipped is None else Path(skipped), skip_faulty=skip_faulty)
    needed: list[Level] = ["image", "study", *(["patient"] if group_column is None and table is not None else [])]
    file = None if table is None else table.file
    images = _read_images(src, file, attributes, left_out, notice, needed=needed)
    images["patient"] = fold_ids(column_of(images, "patient"), "PatientID", notice)
    level: Level = "study"
    if table is None:
        images["row"], images["patient"] = 0, images["patient"].where(images["patient"] != "", images["study"])
    else:
        level = joined_on(table, key, images)
        images["row"] = table.row_of(key, column_of(images, level))
        report_unmatched(table, images, notice)
        left_out.add(dict.fromkeys(images["path"][images["row"] < 0], f"no row in {table.file.name}"))
    left_out.write()
    images = sort_series(images[images["row"] >= 0], notice)
    unit = unit or ("image" if level == "image" else "study")
    if table is not None and group_column is not None:
        compare_groups(table, images, group_column, notice)
    elif unit == "study":
        _refuse_shared_studies(images, src)
    images["window"] = series_windows(images, src, reading, notice)
    if (images["window"].notna() & (images["modality"] == "CT")).any():
        notice("For CT give one window for all patients with --window CENTRE,WIDTH, such as --window 40,400.")
    samples = chosen_frames(images.assign(unit_id=images[unit], group_id=images["patient"]), choice, "image")
    window = ["window"] if samples["window"].notna().any() else []
    made = samples[["sample_id", "path", "frame", "unit_id", "group_id", "modality", *attributes, *window]].copy()
    rows = samples["row"]
    if table is None:
        return assemble(made, src, name=name, notice=notice, attributes=list(attributes))
    names = {name: name for name in label_columns} if multilabel else {"label": label_columns[0]}
    columns = {"group_id": group_column, "split": split_column, **names}
    columns = {ours: theirs for ours, theirs in columns.items() if theirs}
    for ours, theirs in columns.items():
        numbers = multilabel and ours in names
        made[ours] = (pd.to_numeric(table[theirs]).to_numpy(np.int8) if numbers else as_words(table[theirs]))[rows]
    if multilabel:
        task, classes = "multilabel", list(label_columns)
    else:
        remedy = f'Is "{label_columns[0]}" the column of labels?'
        classes = agree_on_classes(class_order(made["label"]), classes, table, notice, only_one=remedy, task=task)
    refuse_inconsistent_units(table, made, rows, unit, columns)
    return assemble(
        made,
        src,
        name=name,
        notice=notice,
        columns=columns,
        task=task_for(classes, task),
        classes=classes,
        attributes=list(attributes),
    )


def _read_images(
    src: Path,
    labels: Path | None,
    attributes: Sequence[str],
    left_out: SkippedFiles,
    notice: Notice,
    *,
    needed: Sequence[Level],
) -> pd.DataFrame:
    """A row for each image below `src`, in the order of their paths: `path`, and what `read_header` returns."""
    require_pydicom()
    require_folder(src)
    tables = {table.resolve() for table in (labels, left_out.table) if table is not None}
    files = [file for file in files_below(src) if file.resolve() not in tables]
    headers = read_all(partial(read_header, attributes=attributes, needed=needed), files, "Reading headers")
    found = [(file.relative_to(src).as_posix(), header) for file, header in zip(files, headers, strict=True)]
    images = pd.DataFrame([{"path": path, **header} for path, header in found if isinstance(header, dict)])
    faults = {path: header for path, header in found if isinstance(header, str)}
    if len(images):
        first = images.groupby("image", sort=False)["path"].transform("first")
        is_copy = first != images["path"]
        copies = zip(images["path"][is_copy], first[is_copy], strict=True)
        faults |= {path: f"has the SOPInstanceUID of {one}; keep one of the two" for path, one in copies}
        images = images[~is_copy].reset_index(drop=True)
    left_out.add({path: header.what for path, header in found if isinstance(header, Skipped)})
    others = kinds_in_words(header for _, header in found if isinstance(header, Skipped))
    left_out.add_faulty(faults, notice)
    if images.empty:
        left_out.write()
        faulty = counted(len(faults), "faulty file") if faults else ""
        only = " and ".join(words for words in (faulty, others) if words)
        raise ManifestError(f"{src}: holds no DICOM images{f', only {only}' if only else ''}.")
    if others:
        notice(f"Skipped {others}.")
    return images


def _refuse_shared_studies(images: pd.DataFrame, src: Path) -> None:
    """Makes sure that each study is of one patient."""
    pairs = images.drop_duplicates(["study", "patient"])
    faults = [
        f"{one_of(paths)} have one StudyInstanceUID and different PatientIDs; fix the files, or name the table's "
        "column of patients with --group-column"
        for _, paths in pairs[pairs["study"].duplicated(keep=False)].groupby("study", sort=False)["path"]
    ]
    if faults:
        raise ManifestError(refusal(str(src), faults))
