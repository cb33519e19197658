"""The patients of a cohort of NIfTI volumes, with their labels and files.

Folders and files are often named after patients, so messages name patients by the rows of the table, and files by the
parts of their names that several patients share.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import pandas as pd

from ...base import ManifestError, counted, did_you_mean, one_of
from ..schema.card import Task
from ..schema.table_io import SUFFIXES, as_words, column_of, read_table
from ..validation.diagnostics import rows_in_words
from ..validation.faults import Faults, refuse
from .common import Notice, class_order, fold_ids, require_folder, silent, task_for
from .files import files_below, walk
from .label_tables import PublishedTable

Incomplete = Literal["refuse", "leave-out"]

_SUFFIX = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
_MASK_WORDS = ("seg", "segmentation", "mask", "label", "labels", "gtv", "roi")
"""Files of these names hold outlines, not images: no sequences, unless named with --sequence."""
_DEEPEST = 2
"""Levels below SRC at which patient folders may be; there links to folders are followed."""


@dataclass(frozen=True)
class CohortKind:
    """What a preset decides for all its cohorts."""

    label: str = "label"
    """What a label is: a word of the label column's name."""
    name: str | None = None
    """Of the data set; by default that of its folder."""
    order: Callable[[Sequence[str]], list[str]] = class_order
    """The default order of classes."""
    task: Callable[[Sequence[str]], Task] = lambda classes: task_for(classes, None)
    """The default task."""
    group: Callable[[str], str] = str
    """The patient of a folder name, where a folder is one of several visits."""


PLAIN = CohortKind()
"""Without a preset."""


@dataclass(frozen=True)
class Cohort:
    """The patients that have both a row and a folder, and their NIfTI files."""

    src: Path
    table: Path
    patients: pd.DataFrame
    """By name of the patient: `row` of the table, from 0, `label` and `folder`."""
    files: pd.DataFrame
    """`name` of the patient, `path`, and `rest` of the file name without the patient's: `t1ce`."""
    is_labelled: bool = True
    """Whether `table` is a table, and not the folder itself."""

    def rows(self, patients: Sequence[str] | pd.Index) -> str:
        """Which patients, for messages."""
        rows = rows_in_words(self.patients.loc[list(patients), "row"].to_numpy())
        if self.is_labelled:
            return f"{rows} of {self.table.name}"
        return f"{rows.replace('row', 'patient')} in the order of names"

    def matching(self, word: str) -> pd.DataFrame:
        """The files that `word`, a word of their name or a pattern, names."""
        named = [_is_named(rest, word) for rest in self.files["rest"]]
        return self.files[pd.Series(named, self.files.index, dtype=bool)]

    def counts(self) -> pd.Series:
        """How many patients have a file of each name, sorted by name."""
        return column_of(self.files, "name").groupby(self.files["rest"]).nunique().sort_index()

    def in_words(self, counts: pd.Series) -> str:
        """Some of `counts`; a name that one patient has may be the patient's, and is not repeated."""
        words = [f"{rest} ({count} of {len(self.patients)})" for rest, count in counts[counts > 1].items()]
        if alone := int((counts == 1).sum()):
            words.append(f"{counted(alone, 'file')} that only one patient has")
        return one_of(words) or "no .nii or .nii.gz file"

    def common_sequences(self, mask: str | None, notice: Notice) -> list[str]:
        """The sequences that every patient has, without masks."""
        masks = [*_MASK_WORDS, *([mask] if mask else [])]
        counts, total = self.counts(), len(self.patients)
        images = counts[[not any(_is_named(rest, word) for word in masks) for rest in counts.index]]
        common, others = list(images.index[images == total]), images[images < total]
        if not common:
            one_each = (
                ', or take the one volume of each patient with --sequence "*"' if len(self.files) == total else ""
            )
            raise ManifestError(
                f"{self.src}: there is no sequence that all {counted(total, 'patient')} have; found "
                f"{self.in_words(counts)}. Name them with --sequence{one_each}."
            )
        if len(others):
            notice(f"Took {one_of(common)}, which every patient has; skipped {self.in_words(others)}.")
        return common

    def complete(self, wanted: Sequence[str], incomplete: Incomplete, notice: Notice) -> dict[str, dict[str, Path]]:
        """By patient that has a file of every wanted word: the path of each."""
        found = {word: self.matching(word).groupby("name")["path"] for word in wanted}
        if unknown := [word for word, of_word in found.items() if not len(of_word)]:
            counts = self.counts()
            near = "".join(did_you_mean(word, counts.index[counts > 1]) for word in unknown)
            raise ManifestError(
                f"{self.src}: no patient has a file named {one_of(unknown)}.{near} There are {self.in_words(counts)}."
            )
        paths = pd.DataFrame({word: of_word.first() for word, of_word in found.items()}).reindex(self.patients.index)
        missing = paths.isna()
        lacking = paths.index[missing.any(axis=1)]
        refused = len(lacking) > 0 and (incomplete == "refuse" or len(lacking) == len(paths))
        faults = Faults(str(self.src))
        if refused:
            words = [one_of(paths.columns[missing.loc[patient]]) for patient in lacking]
            for word, part in pd.Series(lacking, lacking).groupby(pd.Series(words, lacking)):
                faults.note(f"{self.rows(part.index)}: no file of {word} in the patient's folder", len(part))
        for word, of_word in found.items():
            for patient, count in of_word.size()[lambda count: count > 1].items():
                where = self.rows([str(patient)])
                faults.note(f"{where}: the patient's folder has {count} files of {word}; give a more specific name")
        if faults:
            hint = "\nFix the folders, or add --incomplete leave-out to skip such patients." if refused else ""
            raise ManifestError(f"{faults}{hint}")
        if len(lacking):
            total = counted(len(paths), "patient")
            notice(f"Skipped {len(lacking)} of {total} that lack a sequence: {self.rows(lacking)}.")
        return {str(patient): dict(row) for patient, row in paths.drop(lacking).iterrows()}


def read_cohort(
    src: Path,
    labels: Path | str | None,
    patient_column: str | None,
    label_column: str | None,
    kind: CohortKind,
    notice: Notice,
) -> Cohort:
    """The patients that a table of labels and the folders below `src` have in common; arguments as in `build_nifti`.

    Raises:
        ManifestError: tables or columns are missing, rows are wrong, or no folder is in the table.
    """
    require_folder(src)
    below = sorted(folder for folder, _ in walk(src, linked=_DEEPEST) if folder != src)
    places = [folder for folder in below if len(folder.relative_to(src).parts) <= _DEEPEST]
    folders = pd.DataFrame({"name": [folder.name for folder in places], "folder": places})
    file, label, columns = _find_labels(src, labels, label_column, kind)
    columns = [patient_column] if patient_column else [one for one in columns if one != label]
    named_by = {label: "--label-column", **({patient_column: "--patient-column"} if patient_column else {})}
    table = PublishedTable(file, list(dict.fromkeys([label, *columns])), named_by=named_by)
    candidates = [(one, ids) for one in columns for ids in (table[one], fold_ids(table[one], one, silent))]
    column, ids = max(candidates, key=lambda candidate: folders["name"].isin(candidate[1]).sum())
    if not ids.equals(table[column]):
        table.fold_ids([column], notice)
    if not folders["name"].isin(table[column]).any():
        raise ManifestError(
            f"{file}: none of {counted(len(folders), 'folder')} is named in {one_of(columns)}. Write the names of the "
            "patients' folders into a column and name it with --patient-column."
        )
    table.need_filled(column, label)
    table.need_distinct(column)
    repeated = table[column].isin(folders["name"][folders["name"].duplicated()])
    table.blame(repeated, f'column "{column}": several folders have this name; keep one of them')
    refuse(table)
    rows = pd.DataFrame({"name": as_words(table[column]), "label": as_words(table[label]), "row": range(len(table))})
    found = rows.merge(folders, on="name")
    absent = rows["row"][~rows["name"].isin(found["name"])].to_numpy()
    if len(absent):
        notice(f"Skipped {counted(len(absent), 'patient')} without a folder: {rows_in_words(absent)} of {file.name}.")
    parents = {folder.parent for folder in found["folder"]}
    extra = folders[~folders["name"].isin(rows["name"])]["folder"]
    if count := sum(folder.parent in parents and folder not in parents for folder in extra):
        notice(
            f"Skipped {counted(count, 'folder')} without a row in {file.name}: compare the names of the folders with "
            f'its column "{column}".'
        )
    files = [
        (name, path, _rest(path, name))
        for name, folder in zip(found["name"], found["folder"], strict=True)
        for path in files_below(folder)
        if _SUFFIX.search(path.name)
    ]
    return Cohort(src, file, found.set_index("name"), pd.DataFrame(files, columns=["name", "path", "rest"]))


def unlabelled_cohort(src: Path) -> Cohort:
    """The patients below `src`, by the folders that hold volumes; each volume where there are no folders.

    Raises:
        ManifestError: there are no volumes, they are in `src` and in folders, or which folders are patients is unclear.
    """
    require_folder(src)
    volumes = [file for file in files_below(src) if _SUFFIX.search(file.name)]
    homes = sorted({file.parent for file in volumes})
    if not volumes or (src in homes and len(homes) > 1):
        if volumes:
            raise ManifestError(f"{src}: holds both volumes and folders of volumes; put each volume into a folder.")
        raise ManifestError(f"{src}: holds no .nii or .nii.gz file; give the folder that holds the patients' folders.")
    if homes == [src]:
        files = [(_SUFFIX.sub("", file.name), file, "volume") for file in volumes]
        folders = {name: src for name, _, _ in files}
    else:
        repeated = len({home.name for home in homes}) < len(homes)
        # A folder of volumes that lies where the folders of other patients lie is a patient's too.
        above = {folder for home in homes for folder in home.parent.parents}
        of_patient = {home: home.parent if repeated and home.parent not in above else home for home in homes}
        folders = {folder.name: folder for folder in of_patient.values()}
        files = [(home.name, file, _rest(file, home.name)) for file in volumes for home in [of_patient[file.parent]]]
        # Volumes of one name in two folders of a patient are of two patients, or of two visits.
        parts = {(name, rest, file.parent) for name, file, rest in files}
        if len(folders) < len({*of_patient.values()}) or len({part[:2] for part in parts}) < len(parts):
            raise ManifestError(
                f"{src}: several folders of volumes have one name, and it is unclear which folders are patients; give"
                " each patient a folder whose name no other has."
            )
    patients = pd.DataFrame({"row": range(len(folders)), "label": "", "folder": [*folders.values()]}, [*folders])
    return Cohort(src, src, patients, pd.DataFrame(files, columns=["name", "path", "rest"]), is_labelled=False)


def _find_labels(
    src: Path, labels: Path | str | None, label_column: str | None, kind: CohortKind
) -> tuple[Path, str, list[str]]:
    """The table of labels, its label column and all its columns: as named, or the only ones in `src` that can be it."""
    tables = [file for file in sorted(src.iterdir()) if file.suffix.lower() in SUFFIXES and file.is_file()]
    tables = [Path(labels)] if labels else tables
    columns = {file: [str(column) for column in read_table(file, text=()).columns] for file in tables}
    if labels and label_column:
        return tables[0], label_column, columns[tables[0]]
    fit = [
        (file, name)
        for file, names in columns.items()
        for name in names
        if (name == label_column if label_column else kind.label in re.split(r"[^a-z]+", name.lower()))
    ]
    if len(fit) == 1:
        return (*fit[0], columns[fit[0][0]])
    if fit:
        problem = f"several tables or columns fit: {one_of(f'{name} of {file.name}' for file, name in fit)}."
    else:
        wanted = f'a column "{label_column}"' if label_column else f'a column with the word "{kind.label}" in its name'
        names = dict.fromkeys(name for names in columns.values() for name in names)
        files = f"{one_of(file.name for file in columns)} with the columns {one_of(names)}"
        files = files if columns else "no .csv or .parquet file"
        near = did_you_mean(label_column or kind.label, names)
        problem = f"no table here has {wanted}; found {files}.{near}"
    remedy = "Name the table with --labels, its column with --label-column; without labels, add --unlabelled."
    raise ManifestError(f"{labels or src}: {problem} {remedy}")


def _rest(file: Path, patient: str) -> str:
    stem = _SUFFIX.sub("", file.name)
    rest = stem[len(patient) :] if stem.casefold().startswith(patient.casefold()) else stem
    return rest.strip("_-. ") or stem


def _is_named(rest: str, sequence: str) -> bool:
    """Whether `sequence` is the whole of a file's name, a word of it, or a pattern that fits; in any case."""
    rest, sequence = rest.casefold(), sequence.casefold()
    if any(sign in sequence for sign in "*?["):
        return fnmatchcase(rest, sequence)
    return rest == sequence or sequence in re.split(r"[^a-z0-9]+", rest)
