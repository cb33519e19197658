"""The table of labels of a tree of DICOM files: its column of ids, and the row of each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ....base import ManifestError, counted, one_of
from ...schema.table_io import as_words, read_table
from ...validation.diagnostics import rows_in_words
from ...validation.faults import refuse
from ..common import Notice
from ..label_tables import PublishedTable, read_split_words
from .headers import KEYWORDS, Level


def read_labels(
    file: Path,
    label_columns: Sequence[str],
    join: str | None,
    group_column: str | None,
    split_column: str | None,
    notice: Notice,
    *,
    multilabel: bool,
) -> tuple[PublishedTable, str]:
    """The table with its splits as train, val and test, and its column of ids: `join`, or the first of `KEYWORDS`.

    Raises:
        ManifestError: a column does not exist, no column is one of ids, rows are blank or repeated, or words name no
            split; all are listed.
    """
    if not label_columns:
        raise ManifestError(f"{file}: no label column was named.")
    key = join or _key_column(file)
    options = {group_column: "--group-column", split_column: "--split-column"}
    options |= dict.fromkeys(label_columns, "--label-column") | {key: "--join"}
    named_by = {column: option for column, option in options.items() if column}
    table = PublishedTable(file, list(named_by), named_by=named_by)
    table.fold_ids([key, *([group_column] if group_column else [])], notice)
    table.need_filled(key, *([group_column] if group_column and group_column != split_column else []))
    table.need_distinct(key)
    if split_column:
        remedy = "omit --split-column to draw a split per seed"
        words = read_split_words(table[split_column], split_column, table, remedy)
        table.rows[split_column] = table[split_column] if words is None else words
    for column in label_columns:
        if multilabel:
            table.numbers(column, (0, 1))
        else:
            table.need_filled(column)
    refuse(table)
    return table, key


def _key_column(file: Path) -> str:
    columns = [str(column) for column in read_table(file, text=()).columns]
    if key := next((keyword for keyword in KEYWORDS.values() if keyword in columns), None):
        return key
    raise ManifestError(
        f"{file}: no column is named {one_of(KEYWORDS.values())}. Name the column of ids with --join; there are "
        f"{one_of(columns)}."
    )


def joined_on(table: PublishedTable, key: str, images: pd.DataFrame) -> Level:
    """Which of the ids the column holds: the one that it has most in common with; none at all is an error."""
    common = {level: len(set(as_words(table[key])) & set(images[level])) for level in KEYWORDS}
    if not any(common.values()):
        raise ManifestError(
            f'{table.file}: column "{key}" has no id in common with the {counted(len(images), "image")}; tried '
            f"{one_of(KEYWORDS.values())}. Is it the right column (--join)? Were ids in the files changed?"
        )
    return max(KEYWORDS, key=lambda level: common[level])


def report_unmatched(table: PublishedTable, images: pd.DataFrame, notice: Notice) -> None:
    """Reports how many images have no row (`row` is -1), and which rows have no image.

    By numbers and not by ids: a notice may end in a log.
    """
    without_row = images[images["row"] < 0]
    if len(without_row):
        studies = counted(without_row["study"].nunique(), "study", "studies")
        notice(f"Skipped {counted(len(without_row), 'image')} of {studies} without a row in {table.file.name}.")
    unused = np.setdiff1d(np.arange(len(table)), images["row"])
    if len(unused):
        notice(f"Without an image in {table.file.name}: {rows_in_words(unused)}.")


def compare_groups(table: PublishedTable, images: pd.DataFrame, column: str, notice: Notice) -> None:
    """Notes PatientIDs that are in several groups as errors.

    Some exports have one PatientID in all files, which does not distinguish patients; then only this is reported.
    """
    pairs = images[["patient", "row"]].assign(group=as_words(table[column])[images["row"]])
    pairs = pairs[pairs["patient"] != ""]
    patients, groups = pairs["patient"].nunique(), pairs["group"].nunique()
    if patients == 1 and len(images) > 1 and groups > 1:
        notice(f'All files have the same PatientID; groups are taken from column "{column}".')
        return
    in_several = pairs.groupby("patient")["group"].transform("nunique") > 1
    for _, part in pairs[in_several].groupby("patient", sort=False):
        where, count = rows_in_words(np.unique(part["row"])), part["group"].nunique()
        table.note(
            f'{where}: are of one PatientID and {count:,} groups of column "{column}"; fix the column, or omit '
            "--group-column to make each PatientID a group"
        )


def refuse_inconsistent_units(
    table: PublishedTable, made: pd.DataFrame, rows: pd.Series, unit: Level, columns: Mapping[str, str]
) -> None:
    """Makes sure that all images of a unit have one label, one group and one split, and that there are no other errors.

    `made` has its `columns` (by name in `table`) from the `rows` of `table`.
    """
    finer = "study" if unit == "patient" else "image"
    for ours, theirs in columns.items():
        inconsistent = made.groupby("unit_id")[ours].transform("nunique") > 1
        for part in rows[inconsistent].groupby(made["unit_id"]).unique():
            where = rows_in_words(np.sort(part))
            table.note(f'{where}: are of one {unit} and differ in column "{theirs}"; give --unit {finer}, or fix them')
    refuse(table)
