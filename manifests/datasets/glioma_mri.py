"""Gliomas in several MRI sequences: a folder a patient, a NIfTI file a sequence, and a table of grades.

The layout of the BraTS challenges, as described at https://www.med.upenn.edu/cbica/brats2020/data.html
(`BraTS20_Training_001/BraTS20_Training_001_t1ce.nii.gz`, grades in `name_mapping.csv`), and
of many a hospital's export. Huang et al. 2024 (arXiv 2402.07595) took three sequences, and the grades II, III and IV.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pandas as pd

from ...base import ImageError, ManifestError, one_of
from ..builders.common import Notice, agree_on_classes, assemble, class_order, silent
from ..builders.grades import Grades, read_grades, task_of_grades
from ..builders.headers import read_all
from ..builders.label_columns import choose_word
from ..builders.sequences import Incomplete, Patient, common_sequences, complete_patients
from ..manifest import Manifest
from ..readers.nifti import mask_areas, slice_count
from ..readers.slices import SliceChoice
from ..schema.card import Task
from ..validation.faults import Faults, refuse
from ..validation.finding import refusal


def build_glioma_mri(
    src: Path | str,
    *,
    grades: Path | str | None = None,
    patient_column: str | None = None,
    grade_column: str | None = None,
    sequences: Sequence[str] = (),
    slices: str = "axial:middle:5",
    mask: str | None = None,
    incomplete: Incomplete = "refuse",
    name: str | None = None,
    task: Task | None = None,
    classes: Sequence[str] | None = None,
    notice: Notice = silent,
) -> Manifest:
    """A manifest of MRI volumes in a folder per patient, one NIfTI file a sequence, with a table of grades.

    A sample is a slice of a volume. Unit and group are the patient and the modality is the sequence, so that a probe
    with `--fuse concat` sees one vector a patient: the mean over the slices of each sequence, side by side. Every
    patient needs every sequence for that. The patient folders may lie one folder deeper (HGG/, LGG/).

    Args:
        src: the folder of patient folders; becomes the manifest's root.
        grades: the table of grades; default the one table in `src` that has a column of grades.
        patient_column: names of the patient folders; default the column that holds most of them.
        grade_column: default the one column whose name has the word grade.
        sequences: a word of the file's name, such as t1ce, or a pattern such as `*T1_post*`. Default all that
            every patient has.
        slices: which slices are taken: axial, coronal or sagittal, then all, middle:N, every:N or largest-mask.
        mask: for largest-mask, the patient's file to measure the tumour in, named as a sequence is.
        incomplete: what to do with patients that lack a sequence; told either way.
        name: of the data set; default glioma-mri.
        task: default binary for two grades, ordinal for more that are numbers, else multiclass.
        classes: the grades in order; default sorted, LGG before HGG.
        notice: told what was left out and what looks odd.

    Raises:
        ManifestError: tables or columns are missing, rows are at fault, patients lack sequences or have one twice, or
            a file is no NIfTI volume. All patients are told, by the rows of the table.
    """
    src = Path(src)
    choice = _choice(slices, mask)
    choose_word("incomplete", incomplete, get_args(Incomplete))
    table = read_grades(src, grades, patient_column, grade_column, notice)
    patients = [Patient.of(folder, patient) for patient, folder in table.folders.items()]
    names = list(sequences) or common_sequences(patients, src, mask, notice)
    patients = complete_patients(patients, names, mask, table, src, incomplete, notice)
    made = _table(patients, names, mask, choice, table, src)
    found = _order(class_order(made["label"]))
    remedy = "Is that the column of grades? Name another with --grade-column."
    faults = Faults(str(table.file))
    ordered = agree_on_classes(found, classes, faults, notice, only_one=remedy)
    refuse(faults)
    return assemble(
        made,
        str(src),
        src,
        name=name or "glioma-mri",
        task=task or task_of_grades(ordered),
        classes=ordered,
        description=f"Sequences {one_of(names)}; slices {slices}{f' by the mask {mask}' if mask else ''}.",
    )


def _choice(slices: str, mask: str | None) -> SliceChoice:
    choice = SliceChoice.parse(slices)
    if choice.axis is None:
        raise ManifestError(f'--slices {slices}: name the axis, such as "axial:{slices}".')
    if choice.kind == "largest-mask" and mask is None:
        raise ManifestError(f"--slices {slices}: name the mask's files with --mask, such as --mask seg.")
    if choice.kind != "largest-mask" and mask is not None:
        raise ManifestError(f"--mask {mask}: a mask is used by --slices {choice.axis}:largest-mask alone.")
    return choice


def _table(
    patients: list[Patient], names: list[str], mask: str | None, choice: SliceChoice, table: Grades, src: Path
) -> pd.DataFrame:
    """A row a slice.

    Raises:
        ManifestError: files cannot be read or cut as asked; all are told.
    """
    answers = read_all(lambda patient: _slices(patient, names, mask, choice, table), patients, "Reading volumes")
    faults = [fault for _, told in answers for fault in told]
    if faults:
        raise ManifestError(refusal(str(src), faults))
    return pd.DataFrame(
        {
            "sample_id": f"{patient.name}/{sequence.strip('*?') or sequence}/{choice.axis}-{frame:03d}",
            "path": f"{patient.matching(sequence)[0].relative_to(src).as_posix()}#{choice.axis}",
            "frame": frame,
            "label": table.grade[patient.name],
            "unit_id": patient.name,
            "group_id": _person(patient.name),
            "modality": sequence.strip("*?") or sequence,
        }
        for patient, (frames, _) in zip(patients, answers, strict=True)
        for sequence, chosen in frames.items()
        for frame in chosen
    )


def _person(folder: str) -> str:
    """Whose folder it is: BraTS 2021 and later end a visit's name in its number, `BraTS-GLI-00001-000`."""
    visit = re.fullmatch(r"(BraTS-[A-Za-z]+-\d+)-\d{3}", folder)
    return visit[1] if visit else folder


def _slices(
    patient: Patient, names: list[str], mask: str | None, choice: SliceChoice, table: Grades
) -> tuple[dict[str, list[int]], list[str]]:
    """The slices of each of a patient's sequences, and what is wrong with the files."""
    assert choice.axis is not None
    frames, faults, areas = {}, [], None
    where = table.rows_of([patient.name])
    if mask:
        try:
            areas = mask_areas(patient.matching(mask)[0], choice.axis)
        except ImageError as error:
            return {}, [f"{where}: {mask}: {error}"]
    for name in names:
        file = patient.matching(name)[0]
        try:
            frames[name] = choice.frames(slice_count(file, choice.axis), areas)
        except (ImageError, ManifestError) as error:
            faults.append(f"{where}: {name}: {error}")
    return frames, faults


def _order(grades: list[str]) -> list[str]:
    """Low grade before high: by letters, HGG would come first and be the negative class."""
    return sorted(grades, key=lambda grade: grade.upper() == "HGG")
