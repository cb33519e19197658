"""A tree of DICOM files, and a table of labels that is joined on one of their ids."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from ...base import ManifestError, counted, did_you_mean, no_such, one_of
from ..card import Task
from ..finding import refusal, rows_in_words
from ..manifest import Manifest
from ..slices import SliceChoice
from ..tables import as_words, read_table
from .columns import read_split_words
from .common import Notice, agree_on_classes, assemble, class_order, silent, task_for
from .dicom_headers import (
    ATTRIBUTES,
    Header,
    ImageHeader,
    PassedOver,
    Unusable,
    files_below,
    read_header,
    require_pydicom,
)
from .headers import read_all
from .label_columns import choose_word
from .published import PublishedTable, refuse_faults

Level = Literal["image", "study", "patient"]
_KEYWORDS: dict[Level, str] = {"image": "SOPInstanceUID", "study": "StudyInstanceUID", "patient": "PatientID"}
_SPELLINGS: dict[Level, set[str]] = {
    "image": {"sopinstanceuid", "sopuid", "instanceuid", "imageuid"},
    "study": {"studyinstanceuid", "studyuid"},
    "patient": {"patientid", "patient"},
}
"""Names of columns, in small letters and without what stands between words; the finest comes first."""


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
    notice: Notice = silent,
) -> Manifest:
    """A manifest of a tree of DICOM files, with labels from a table by SOPInstanceUID, StudyInstanceUID or PatientID.

    A file is known as DICOM by its content, not by its name. Of its header these are read: the three ids, Modality,
    NumberOfFrames, and PatientSex and PatientAge where they are asked for. A sample is a frame; the group is the
    patient. Files of other kinds, DICOMDIR, files without pixels, images without a row in the table and rows without
    an image are left out and told.

    Args:
        src: the folder that holds the files, at any depth; becomes the manifest's root.
        labels: a CSV or Parquet table; it is not changed.
        label_columns: one column of class names, or several of 0 and 1.
        join: the table's column of ids; default one named SOPInstanceUID, StudyInstanceUID or PatientID, the first of
            these that there is. Which of the three ids it holds is told by its content.
        unit: what gets one prediction. Default the study; the image where the table has a row per image.
        frames: of files of several images: all, middle, middle:N (neighbours around the middle) or every:N.
        attributes: sex or age (in years), for subgroup scores.
        group_column: the table's column of patients, instead of PatientID.
        split_column: the table's column of train, val and test.
        name: of the data set; default the folder's name.
        task: default binary for two classes, multiclass for more, multilabel for several label columns.
        classes: their order; default sorted. Not for several label columns.
        notice: told what was left out.

    Raises:
        ManifestError: no such folder, table or column, rows at fault, files that are damaged or lack an id, two files
            of one SOPInstanceUID, or nothing in common between the files and the table; all of a kind are told.
    """
    src, file = Path(src), Path(labels)
    choice = _choice(frames)
    if unit is not None:
        choose_word("unit", unit, get_args(Level))
    _refuse_attributes(attributes)
    multilabel = len(label_columns) > 1 or task == "multilabel"
    others = [column for column in (group_column, split_column) if column]
    table, key = _read_labels(file, label_columns, join, others, multilabel=multilabel)
    headers = _read_headers(src, file, attributes, notice, need_patient=group_column is None)
    level = _joined_on(table, key, headers)
    rows = table.row_of(key, pd.Series([getattr(header, level) for header in headers], dtype="string"))
    _tell_of_unmatched(table, headers, rows, notice)
    kept = [(header, row) for header, row in zip(headers, rows, strict=True) if row >= 0]
    made, taken = _table(src, kept, choice, unit or ("image" if level == "image" else "study"), attributes)
    if group_column:
        made["group_id"] = as_words(table[group_column])[taken]
    if split_column:
        remedy = "Mend the column, or leave --split-column out and let each seed draw its own split."
        made["split"] = as_words(read_split_words(table[split_column], split_column, file, remedy))[taken]
    if multilabel:
        task, names = "multilabel", list(label_columns)
        for column in names:
            made[column] = pd.to_numeric(table[column]).to_numpy(np.int8)[taken]
    else:
        made["label"] = as_words(table[label_columns[0]])[taken]
        names = agree_on_classes(class_order(made["label"]), classes, str(file))
    return assemble(
        made,
        str(src),
        src,
        columns={"label": label_columns[0]},
        name=name or src.resolve().name,
        task=task_for(names, task),
        classes=names,
        attributes=list(attributes),
    )


def _choice(frames: str) -> SliceChoice:
    choice = SliceChoice.parse("middle:1" if frames == "middle" else frames)
    if choice.axis is not None or choice.kind == "largest-mask":
        raise ManifestError(f"--frames {frames}: write all, middle, middle:N or every:N; frames have no axis or mask.")
    return choice


def _refuse_attributes(attributes: Sequence[str]) -> None:
    unknown = [name for name in attributes if name not in ATTRIBUTES]
    if unknown:
        raise ManifestError(f"--attribute: {no_such('attribute', unknown[0], ATTRIBUTES)}")


def _read_labels(
    file: Path, label_columns: Sequence[str], join: str | None, others: Sequence[str], *, multilabel: bool
) -> tuple[PublishedTable, str]:
    """The table, and its column of ids.

    Raises:
        ManifestError: a column is not there, no column is one of ids, or rows are blank or repeated; all are told.
    """
    if not label_columns:
        raise ManifestError(f"{file}: no label column was named.")
    columns = [str(column) for column in read_table(file, text=()).columns]
    key = join or _key_column(file, columns)
    table = PublishedTable(file, list(dict.fromkeys([key, *label_columns, *others])))
    table.need_filled(key, *others)
    table.need_distinct(key)
    for column in label_columns:
        if multilabel:
            table.numbers(column, (0, 1))
        else:
            table.need_filled(column)
    refuse_faults(table)
    return table, key


def _key_column(file: Path, columns: Sequence[str]) -> str:
    for spellings in _SPELLINGS.values():
        fit = [column for column in columns if re.sub(r"[\W_]+", "", column).lower() in spellings]
        if len(fit) == 1:
            return fit[0]
    wanted = one_of(_KEYWORDS.values())
    near = "".join(did_you_mean(keyword, columns) for keyword in _KEYWORDS.values())
    raise ManifestError(
        f"{file}: no column is named {wanted}.{near} Name the column of ids with --join; there are {one_of(columns)}."
    )


def _read_headers(
    src: Path, labels: Path, attributes: Sequence[str], notice: Notice, *, need_patient: bool
) -> list[ImageHeader]:
    """The headers of all images below `src`, in the order of their paths.

    Raises:
        ManifestError: no such folder, no images, files that cannot be used, or two of one SOPInstanceUID.
    """
    require_pydicom()
    if not src.is_dir():
        raise ManifestError(f"{src}: {'is a file, not a' if src.exists() else 'there is no such'} folder.")
    files = [file for file in files_below(src) if file.resolve() != labels.resolve()]
    read = partial(read_header, attributes=attributes, need_patient=need_patient)
    headers = read_all(read, files, "Reading headers")
    passed = Counter(header for header in headers if isinstance(header, PassedOver))
    images = [header for header in headers if isinstance(header, ImageHeader)]
    faults = _unusable(headers, src) + _twice(images, src)
    if faults:
        raise ManifestError(refusal(str(src), faults))
    left_out = one_of(counted(count, kind.what, kind.plural) for kind, count in passed.most_common())
    if not images:
        raise ManifestError(f"{src}: holds no DICOM images{f', only {left_out}' if left_out else ''}.")
    if left_out:
        notice(f"Left out {left_out}.")
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


def _joined_on(table: PublishedTable, key: str, headers: Sequence[ImageHeader]) -> Level:
    """Which of the ids the column holds: the one that it has most in common with.

    Raises:
        ManifestError: it has nothing in common with any.
    """
    there = set(as_words(table[key]))
    common: list[tuple[int, Level]] = [
        (len(there & {getattr(header, level) for header in headers}), level) for level in _KEYWORDS
    ]
    if not any(count for count, _ in common):
        raise ManifestError(
            f'{table.file}: column "{key}" has no id in common with the {counted(len(headers), "image")}; tried '
            f"{one_of(_KEYWORDS.values())}. Is it the right column (--join), and were the files given other ids?"
        )
    return max(common, key=lambda pair: pair[0])[1]


def _tell_of_unmatched(table: PublishedTable, headers: Sequence[ImageHeader], rows: np.ndarray, notice: Notice) -> None:
    # Told by their number, not by their ids: a notice may end in a log.
    without_row = [header for header, row in zip(headers, rows, strict=True) if row < 0]
    if without_row:
        studies = len({header.study for header in without_row})
        notice(
            f"Left out {counted(len(without_row), 'image')} of {counted(studies, 'study', 'studies')} without a row in "
            f"{table.file.name}."
        )
    unused = np.setdiff1d(np.arange(len(table)), rows)
    if len(unused):
        notice(f"Without an image in {table.file.name}: {rows_in_words(unused)}.")


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
