"""The table of grades beside a folder of patients: which file and columns it is, and what its rows say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...base import ManifestError, counted, did_you_mean, one_of
from ..schema.card import Task
from ..schema.columns import SUFFIXES, as_words, read_table
from ..validation.finding import rows_in_words
from .common import Notice, require_folder
from .label_table import PublishedTable, refuse_faults
from .walk import walk

_NUMBER = re.compile(r"[0-9]+|I{1,3}|IV", re.IGNORECASE)
_LINKED = 2
"""Levels at which links to folders are followed: a patient's folder may be one."""


@dataclass(frozen=True)
class Grades:
    """The patients that have both a row and a folder."""

    file: Path
    """The table."""
    folders: dict[str, Path]
    """By the name of the patient."""
    grade: dict[str, str]
    """By the name of the patient."""
    row: dict[str, int]
    """In the table, from 0, by the name of the patient: what a message calls a patient by."""

    def rows_of(self, patients: Sequence[str]) -> str:
        """Which patients, in the words of a message and without their names."""
        return f"{rows_in_words([self.row[name] for name in patients])} of {self.file.name}"


def read_grades(
    src: Path, table: Path | str | None, patient_column: str | None, grade_column: str | None, notice: Notice
) -> Grades:
    """The grades of the patients in `src`.

    Raises:
        ManifestError: no such folder or table, folders that cannot be read (all are told), no column is the one of
            patients or of grades, or rows are blank or repeated; all such rows are told.
    """
    require_folder(src)
    walk(src, linked=_LINKED)
    folders = _patient_folders(src)
    file = _only_table(src, grade_column) if table is None else Path(table)
    columns = _columns(file)
    grade = grade_column or _grade_column(file, columns)
    others = [name for name in columns if name != grade] if grade in columns else []
    opened = PublishedTable(file, [grade, *others], named_by={grade: "--grade-column"})
    patient = _patient_column(opened, folders, patient_column)
    opened.need_filled(patient, grade)
    opened.need_distinct(patient)
    names = as_words(opened[patient])
    for name in dict.fromkeys(names):
        if len(folders.get(name, ())) > 1:
            opened.blame(names == name, f'column "{patient}": there are several folders of this name; keep one of them')
    refuse_faults(opened)
    grades = dict(zip(names, as_words(opened[grade]), strict=True))
    there = {name: folders[name][0] for name in grades if name in folders}
    rows = {name: row for row, name in enumerate(names)}
    found = Grades(file, there, {name: grades[name] for name in there}, rows)
    _tell_of_unmatched(found, patient, folders, notice)
    return found


def task_of_grades(grades: Sequence[str]) -> Task:
    """Binary for two; ordinal for more that are numbers, arabic or roman; else multiclass."""
    if len(grades) == 2:
        return "binary"
    return "ordinal" if all(_NUMBER.fullmatch(grade) for grade in grades) else "multiclass"


def _patient_folders(src: Path) -> dict[str, list[Path]]:
    """The folders in `src` and one deeper, by name."""
    found: dict[str, list[Path]] = {}
    for folder in sorted((*src.glob("*/"), *src.glob("*/*/"))):
        if not any(part.startswith(".") for part in folder.relative_to(src).parts):
            found.setdefault(folder.name, []).append(folder)
    return found


def _only_table(src: Path, grade_column: str | None) -> Path:
    tables = [file for file in sorted(src.iterdir()) if file.suffix.lower() in SUFFIXES and file.is_file()]
    fit = [file for file in tables if (grade_column in _columns(file) if grade_column else _with_grade(_columns(file)))]
    if len(fit) == 1:
        return fit[0]
    if fit:
        what = f"several tables have a column of grades: {one_of(file.name for file in fit)}"
    else:
        wanted = f'a column "{grade_column}"' if grade_column else "a column of grades"
        columns = [column for file in tables for column in _columns(file)]
        has = f"; columns are {one_of(columns)}.{did_you_mean(grade_column or 'grade', columns)}" if columns else "."
        what = f"no table here has {wanted}; found {one_of(file.name for file in tables) or 'no .csv or .parquet'}{has}"
    ending = "" if what.endswith((".", "?")) else "."
    raise ManifestError(f"{src}: {what}{ending} Name the table with --grades, and its column with --grade-column.")


def _columns(file: Path) -> list[str]:
    return [str(column) for column in read_table(file, text=()).columns]


def _with_grade(columns: Sequence[str]) -> list[str]:
    return [column for column in columns if "grade" in re.split(r"[^a-z]+", column.lower())]


def _grade_column(file: Path, columns: Sequence[str]) -> str:
    fit = _with_grade(columns)
    if len(fit) == 1:
        return fit[0]
    what = f"several columns may be the grade: {one_of(fit)}" if fit else "no column is named grade"
    raise ManifestError(f"{file}: {what}. Name it with --grade-column; there are {one_of(columns)}.")


def _patient_column(table: PublishedTable, folders: dict[str, list[Path]], asked: str | None) -> str:
    """The column of names of patient folders: `asked`, or the one that holds most of them."""
    columns = [str(column) for column in table.rows.columns]
    if asked is not None and asked not in columns:
        raise ManifestError(
            f'{table.file}: --patient-column: no column "{asked}".{did_you_mean(asked, columns)} It has '
            f"{one_of(columns)}."
        )
    matches = {column: len(set(as_words(table[column])) & set(folders)) for column in ([asked] if asked else columns)}
    best = max(matches, key=lambda column: matches[column])
    if matches[best] == 0:
        which = f'column "{asked}" holds no name' if asked else "no column holds the name"
        raise ManifestError(
            f"{table.file}: {which} of a patient's folder, and there {_are(len(folders))}. Write the folders' names "
            "into a column and name it with --patient-column."
        )
    return best


def _are(folders: int) -> str:
    return f"{'is' if folders == 1 else 'are'} {counted(folders, 'folder')}"


def _tell_of_unmatched(table: Grades, column: str, folders: dict[str, list[Path]], notice: Notice) -> None:
    # By rows and numbers: folders are called after patients.
    without_folder = [name for name in table.row if name not in folders]
    if without_folder:
        patients = counted(len(without_folder), "patient")
        notice(f"Left out {patients} without a folder: {table.rows_of(without_folder)}.")
    parents = {folder.parent for name in table.row for folder in folders.get(name, ())}
    ungraded = [
        folder
        for name, there in folders.items()
        for folder in there
        if name not in table.row and folder.parent in parents and folder not in parents
    ]
    if ungraded:
        notice(
            f"Left out {counted(len(ungraded), 'folder')} without a row in {table.file.name}: compare the folders' "
            f'names with its column "{column}".'
        )
