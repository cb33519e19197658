"""A tree of DICOM files, and a table of labels that is joined on one of their ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd

from ...base import ManifestError, counted, one_of
from ..manifest import Manifest
from ..readers.slices import SliceChoice
from ..schema.card import Task
from ..schema.intensity_policy import DEFAULT_READING, IntensityPolicy
from ..validation.diagnostics import refusal
from .common import Notice, agree_on_classes, assemble, choose_word, class_order, require_folder, silent, task_for
from .dicom_headers import ATTRIBUTES, Header, ImageHeader, Skipped, Unusable, read_header, require_pydicom
from .dicom_labels import (
    Level,
    add_columns,
    compare_groups,
    joined_on,
    read_labels,
    refuse_inconsistent_units,
    report_unmatched,
    table_columns,
)
from .files import files_below, read_all


def build_dicom(
    src: Path | str,
    *,
    labels: Path | str,
    label_columns: Sequence[str],
    join: str | None = None,
    unit: Level | None = None,
    frames: str = "all",
    attributes: Sequence[str] = (),
    group_column: str | None = None,
    split_column: str | None = None,
    name: str | None = None,
    task: Task | None = None,
    classes: Sequence[str] | None = None,
    reading: IntensityPolicy = DEFAULT_READING,
    notice: Notice = silent,
) -> Manifest:
    """A manifest of a tree of DICOM files, with labels from a table by SOPInstanceUID, StudyInstanceUID or PatientID.

    DICOM files are recognised by content, not by name. Read from each header are the ids of image, study, series and
    patient, Modality, NumberOfFrames, how intensities are shown, and with --attribute PatientSex and PatientAge. A
    sample is a frame; the group is the patient. Other files, DICOMDIR, files without pixels, images without a row in
    the table and rows without an image are skipped, with a message.

    Args:
        src: folder that holds the files, at any depth; paths in the manifest start from it.
        labels: CSV or Parquet table of labels.
        label_columns: column of class names, or one of several columns of 0 and 1.
        join: column of ids in the table. By default the first of SOPInstanceUID, StudyInstanceUID and PatientID that it
            has. Which of the three ids a column holds is determined by its values.
        unit: what gets one prediction: image, study or patient. By default the study, or the image if the table has a
            row per image.
        frames: frames to take from files with several: all, middle, middle:N (N frames around the middle) or every:N.
        attributes: sex or age (in years) of the patient, to compute subgroup scores by.
        group_column: column of patients in the table, for files without PatientID. A PatientID must not be in several
            groups.
        split_column: column of splits in the table: train, val or test.
        name: name of the data set; by default that of the folder.
        task: by default binary for two classes, multiclass for more, multilabel for several label columns.
        classes: class names in order; sorted by default. Not with several label columns.
        reading: intensity policy of the images; only affects messages.
        notice: called with messages: what was skipped, and slices that would be rescaled one by one.

    Raises:
        ManifestError: no such folder, table or column, wrong rows, files that are damaged or lack an id, two files
            of one SOPInstanceUID, a unit of several labels, groups or splits, a
            PatientID in several groups, or nothing in common between the files
            and the table; all of a kind are listed, by rows and files and without an id.
    """
    src, file = Path(src), Path(labels)
    choice = SliceChoice.parse_frames(frames, "--frames")
    if unit is not None:
        choose_word("unit", unit, get_args(Level))
    for attribute in attributes:
        choose_word("attribute", attribute, ATTRIBUTES)
    multilabel = len(label_columns) > 1 or task == "multilabel"
    others = {group_column: "--group-column", split_column: "--split-column"}
    others = {column: option for column, option in others.items() if column}
    table, key = read_labels(file, label_columns, join, others, split_column, multilabel=multilabel)
    headers = _read_headers(src, file, attributes, notice, need_patient=group_column is None)
    level = joined_on(table, key, headers)
    rows = table.row_of(key, pd.Series([getattr(header, level) for header in headers], dtype="string"))
    report_unmatched(table, headers, rows, notice)
    headers, rows = [header for header, row in zip(headers, rows, strict=True) if row >= 0], rows[rows >= 0]
    unit = unit or ("image" if level == "image" else "study")
    if unit == "study" and group_column is None:
        _refuse_shared_studies(headers, src)
    if group_column is not None:
        compare_groups(table, headers, rows, group_column, notice)
    if not isinstance(reading.window, tuple):
        _report_rescaled_slices(headers, notice)
    made, taken = _table(src, list(zip(headers, rows, strict=True)), choice, unit, attributes)
    columns = table_columns(label_columns, group_column, split_column, multilabel=multilabel)
    add_columns(made, table, taken, columns, multilabel=multilabel)
    if multilabel:
        task, names = "multilabel", list(label_columns)
    else:
        remedy = f'Is "{label_columns[0]}" the column of labels?'
        names = agree_on_classes(class_order(made["label"]), classes, table.faults, notice, only_one=remedy)
    refuse_inconsistent_units(table, made, taken, unit, columns)
    return assemble(
        made,
        str(src),
        src,
        columns=columns,
        name=name or src.resolve().name,
        task=task_for(names, task),
        classes=names,
        attributes=list(attributes),
    )


def _read_headers(
    src: Path, labels: Path, attributes: Sequence[str], notice: Notice, *, need_patient: bool
) -> list[ImageHeader]:
    """The headers of all images below `src`, in the order of their paths.

    Raises:
        ManifestError: no such folder, folders that cannot be read, no images, files that cannot be used, or two of
            one SOPInstanceUID.
    """
    require_pydicom()
    require_folder(src)
    files = [file for file in files_below(src) if file.resolve() != labels.resolve()]
    read = partial(read_header, attributes=attributes, need_patient=need_patient)
    headers = read_all(read, files, "Reading headers")
    passed = Counter(header for header in headers if isinstance(header, Skipped))
    images = [header for header in headers if isinstance(header, ImageHeader)]
    faults = _unusable(headers, src) + _twice(images, src)
    if faults:
        raise ManifestError(refusal(str(src), faults))
    left_out = one_of(counted(count, kind.what, kind.plural) for kind, count in passed.most_common())
    if not images:
        raise ManifestError(f"{src}: holds no DICOM images{f', only {left_out}' if left_out else ''}.")
    if left_out:
        notice(f"Skipped {left_out}.")
    return images


def _unusable(headers: Sequence[Header], src: Path) -> list[str]:
    return [
        f"{header.file.relative_to(src).as_posix()}: {header.reason}"
        for header in headers
        if isinstance(header, Unusable)
    ]


def _twice(images: Sequence[ImageHeader], src: Path) -> list[str]:
    by_id: dict[str, list[str]] = {}
    for header in images:
        by_id.setdefault(header.image, []).append(header.file.relative_to(src).as_posix())
    return [f"{one_of(files)} have one SOPInstanceUID; keep one of them" for files in by_id.values() if len(files) > 1]


def _refuse_shared_studies(images: Sequence[ImageHeader], src: Path) -> None:
    """Makes sure that each study is of one patient.

    Raises:
        ManifestError: studies are of several; all are listed, by a file of each patient.
    """
    found: dict[str, dict[str, str]] = {}
    for header in images:
        found.setdefault(header.study, {}).setdefault(header.patient, header.file.relative_to(src).as_posix())
    faults = [
        f"{one_of(files.values())} have one StudyInstanceUID and different PatientIDs; fix the files, or name the "
        "table's column of patients with --group-column"
        for files in found.values()
        if len(files) > 1
    ]
    if faults:
        raise ManifestError(refusal(str(src), faults))


def _report_rescaled_slices(headers: Sequence[ImageHeader], notice: Notice) -> None:
    """Reports volumes with a file per slice and no window: intensities of their slices are not comparable."""
    files = Counter(header.series for header in headers if header.is_bare_slice)
    series = sum(count > 1 for count in files.values())
    if series:
        notice(
            f"{counted(series, 'series', 'series')} {'has' if series == 1 else 'have'} a file for each slice and no "
            "window in the files. Without --window CENTRE,WIDTH each slice is rescaled by its own percentiles, "
            "so that intensities of slices are not comparable; for CT give a window such as --window 40,400."
        )


def _table(
    src: Path, kept: Sequence[tuple[ImageHeader, int]], choice: SliceChoice, unit: Level, attributes: Sequence[str]
) -> tuple[pd.DataFrame, np.ndarray]:
    """A row a frame, and the row of the labels that each belongs to."""
    made, taken = [], []
    for header, row in kept:
        several = header.frames > 1
        for frame in choice.frames(header.frames) if several else [None]:
            taken.append(row)
            made.append(
                {
                    "sample_id": header.image if frame is None else f"{header.image}/{frame:04d}",
                    "path": header.file.relative_to(src).as_posix(),
                    "frame": frame,
                    "unit_id": getattr(header, unit),
                    "group_id": header.patient,
                    "modality": header.modality,
                    **dict(zip(attributes, header.attributes, strict=True)),
                }
            )
    return pd.DataFrame(made), np.array(taken)
