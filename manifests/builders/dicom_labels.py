"""The table of labels of a tree of DICOM files: its column of ids, and the row of each image."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from ...base import ManifestError, counted, did_you_mean, one_of
from ..schema.columns import as_words, column_of, read_table
from ..validation.diagnostics import rows_in_words
from .common import Notice
from .dicom_headers import ImageHeader
from .label_tables import PublishedTable, read_split_words, refuse_faults

Level = Literal["image", "study", "patient"]
KEYWORDS: dict[Level, str] = {"image": "SOPInstanceUID", "study": "StudyInstanceUID", "patient": "PatientID"}
_SPELLINGS: dict[Level, set[str]] = {
    "image": {"sopinstanceuid", "sopuid", "instanceuid", "imageuid"},
    "study": {"studyinstanceuid", "studyuid"},
    "patient": {"patientid", "patient"},
}
"""Column names in lower case without separators, from image to patient."""


def read_labels(
    file: Path,
    label_columns: Sequence[str],
    join: str | None,
    others: Mapping[str, str],
    split_column: str | None,
    *,
    multilabel: bool,
) -> tuple[PublishedTable, str]:
    """The table, and its column of ids.

    Args:
        file: a CSV or Parquet table.
        label_columns: column of class names, or one of several columns of 0 and 1.
        join: the column of ids, where it is named.
        others: further columns, by the option that names each.
        split_column: the one of them that holds the split; becomes train, val and test.
        multilabel: whether labels are 0 and 1.

    Raises:
        ManifestError: a column is not there, no column is one of ids, rows are blank or repeated, or words name no
            split; all are listed.
    """
    if not label_columns:
        raise ManifestError(f"{file}: no label column was named.")
    columns = [str(column) for column in read_table(file, text=()).columns]
    key = join or _key_column(file, columns)
    named_by = {**others, **dict.fromkeys(label_columns, "--label-column"), key: "--join"}
    table = PublishedTable(file, list(named_by), named_by=named_by)
    table.need_filled(key, *(column for column in others if column != split_column))
    table.need_distinct(key)
    if split_column:
        remedy = "omit --split-column to draw a split per seed"
        words = read_split_words(table[split_column], split_column, table.faults, remedy)
        table.rows[split_column] = table[split_column] if words is None else words
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
    wanted = one_of(KEYWORDS.values())
    near = "".join(did_you_mean(keyword, columns) for keyword in KEYWORDS.values())
    raise ManifestError(
        f"{file}: no column is named {wanted}.{near} Name the column of ids with --join; there are {one_of(columns)}."
    )


def joined_on(table: PublishedTable, key: str, headers: Sequence[ImageHeader]) -> Level:
    """Which of the ids the column holds: the one that it has most in common with.

    Raises:
        ManifestError: it has nothing in common with any.
    """
    there = set(as_words(table[key]))
    common: list[tuple[int, Level]] = [
        (len(there & {getattr(header, level) for header in headers}), level) for level in KEYWORDS
    ]
    if not any(count for count, _ in common):
        raise ManifestError(
            f'{table.file}: column "{key}" has no id in common with the {counted(len(headers), "image")}; tried '
            f"{one_of(KEYWORDS.values())}. Is it the right column (--join)? Were ids in the files changed?"
        )
    return max(common, key=lambda pair: pair[0])[1]


def report_unmatched(table: PublishedTable, headers: Sequence[ImageHeader], rows: np.ndarray, notice: Notice) -> None:
    """Tells how many images have no row, -1 of `rows` (N,), and which rows have no image."""
    # Told by their number, not by their ids: a notice may end in a log.
    without_row = [header for header, row in zip(headers, rows, strict=True) if row < 0]
    if without_row:
        studies = len({header.study for header in without_row})
        notice(
            f"Skipped {counted(len(without_row), 'image')} of {counted(studies, 'study', 'studies')} without a row in "
            f"{table.file.name}."
        )
    unused = np.setdiff1d(np.arange(len(table)), rows)
    if len(unused):
        notice(f"Without an image in {table.file.name}: {rows_in_words(unused)}.")


def compare_groups(
    table: PublishedTable, headers: Sequence[ImageHeader], rows: np.ndarray, column: str, notice: Notice
) -> None:
    """Refuses PatientIDs that are in several groups, and reports groups with several PatientIDs.

    Some exports have one PatientID in all files, which does not distinguish patients; then only this is reported.

    Args:
        table: the labels.
        headers: of N images.
        rows: (N,), the row of the labels that each belongs to.
        column: the table's column of groups.
        notice: called with what may be intended.
    """
    groups = as_words(table[column])[rows]
    pairs = pd.DataFrame({"patient": [header.patient for header in headers], "group": groups, "row": rows})
    pairs = pairs[pairs["patient"] != ""]
    by_patient = pairs.groupby("patient", sort=False)
    if len(by_patient) == 1 and len(headers) > 1 and pairs["group"].nunique() > 1:
        notice(f'All files have the same PatientID; groups are taken from column "{column}".')
        return
    split_units = by_patient["group"].transform("nunique") > 1
    for _, part in pairs[split_units].groupby("patient", sort=False):
        rows_of_one = rows_in_words(np.unique(part["row"]))
        table.faults.note(
            f'{rows_of_one}: are of one PatientID and {part["group"].nunique():,} groups of column "{column}"; fix '
            "the column, or omit --group-column to make each PatientID a group"
        )
    several = int((pairs.groupby("group")["patient"].nunique() > 1).sum())
    if several:
        patients = int(by_patient.ngroups)
        notice(
            f'{counted(several, "group")} of column "{column}" {"holds" if several == 1 else "hold"} more than one '
            f"PatientID ({counted(pairs['group'].nunique(), 'group')}, {counted(patients, 'PatientID')} in all); "
            "correct if patients were registered twice, otherwise fix the column."
        )


def table_columns(labels: Sequence[str], group: str | None, split: str | None, *, multilabel: bool) -> dict[str, str]:
    """What the table calls the manifest's columns that it gives."""
    given = {"group_id": group, "split": split}
    given |= {name: name for name in labels} if multilabel else {"label": labels[0]}
    return {ours: theirs for ours, theirs in given.items() if theirs}


def add_columns(
    made: pd.DataFrame, table: PublishedTable, taken: np.ndarray, columns: Mapping[str, str], *, multilabel: bool
) -> None:
    """Writes what the table says into the manifest's table.

    Args:
        made: the manifest's table, a row a frame, (N,).
        table: the labels.
        taken: (N,), the row of the labels that each belongs to.
        columns: of `table_columns`.
        multilabel: whether labels are 0 and 1.
    """
    for ours, theirs in columns.items():
        words = table[theirs]
        numbers = multilabel and ours not in ("split", "group_id")
        made[ours] = (pd.to_numeric(words).to_numpy(np.int8) if numbers else as_words(words))[taken]


def refuse_inconsistent_units(
    table: PublishedTable, made: pd.DataFrame, taken: np.ndarray, unit: Level, columns: Mapping[str, str]
) -> None:
    """Makes sure that all images of a unit have one label, one group and one split, and that there are no other errors.

    Args:
        table: the labels.
        made: the manifest's table, a row a frame, (N,).
        taken: (N,), the row of the labels that each belongs to.
        unit: what gets one prediction.
        columns: of `table_columns`.

    Raises:
        ManifestError: rows of the table disagree; all are listed by their numbers.
    """
    for ours, theirs in columns.items():
        units = column_of(made, "unit_id")
        split_units = (made.groupby("unit_id")[ours].transform("nunique") > 1).to_numpy(bool)
        for part in pd.Series(taken[split_units]).groupby(as_words(units)[split_units]).unique():
            rows = rows_in_words(np.sort(part))
            remedy = f"give --unit {_finer(unit)}, or fix them"
            table.faults.note(f'{rows}: are of one {unit} and differ in column "{theirs}"; {remedy}')
    refuse_faults(table)


def _finer(unit: Level) -> Level:
    return "study" if unit == "patient" else "image"
