"""Gliomas in several MRI sequences, with a table of grades: a preset of `build nifti`.

The layout of the BraTS challenges, as described at https://www.med.upenn.edu/cbica/brats2020/data.html
(`BraTS20_Training_001/BraTS20_Training_001_t1ce.nii.gz`, grades in `name_mapping.csv`), and of many hospital exports.
Huang et al. 2024 (arXiv 2402.07595) used three sequences, and the grades II, III and IV.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..builders.common import Notice, class_order, silent
from ..builders.nifti import CohortKind, Incomplete, build_nifti
from ..manifest import Manifest
from ..schema.card import Task

_NUMBER = re.compile(r"[0-9]+|I{1,3}|IV", re.IGNORECASE)


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
    """A manifest of glioma MRI (BraTS and the like): a NIfTI file per patient and sequence, and a table of grades.

    `build nifti` with the defaults of such sets. A sample is a slice of a volume. Unit and group are the patient (of
    BraTS 2021 and later the unit is a visit) and the modality is the sequence, so that a probe with `--aggregation
    concat` gets one vector per patient. Patient folders may be one folder deeper (HGG/, LGG/).

    Args:
        src: folder that holds the patient folders; paths in the manifest start from it.
        grades: CSV or Parquet table of grades. By default the only table in SRC that has the grade column.
        patient_column: column of names of patient folders. By default the column that matches most folders.
        grade_column: column of grades. By default the only column with the word "grade" in its name.
        sequences: a word of the file names, such as t1ce, or a pattern such as `*T1_post*`. By default all sequences
            that every patient has.
        slices: slices to take: axial, coronal or sagittal, then all, middle:N, every:N or largest-mask, such as
            axial:middle:5.
        mask: mask file of each patient, named as a sequence is. With largest-mask, the slice with the largest mask
            area is taken.
        incomplete: what to do with patients that lack a sequence: refuse to build, or skip them.
        name: name of the data set.
        task: by default binary for two grades, ordinal for more that are numbers (II, III, IV), else multiclass.
        classes: grades in order; sorted by default, LGG before HGG.
        notice: called with a message about what was skipped or looks odd.

    Raises:
        ManifestError: as `build_nifti`.
    """
    kind = CohortKind("grade", "--grades", "--grade-column", order=_order, task=_task, group=_patient)
    return build_nifti(
        src,
        labels=grades,
        patient_column=patient_column,
        label_column=grade_column,
        sequences=sequences,
        slices=slices,
        mask=mask,
        incomplete=incomplete,
        name=name or "glioma-mri",
        task=task,
        classes=classes,
        notice=notice,
        kind=kind,
    )


def _order(grades: Sequence[str]) -> list[str]:
    """Low grade before high: in alphabetical order HGG would come first and be the negative class."""
    return sorted(class_order(grades), key=lambda grade: grade.upper() == "HGG")


def _task(grades: Sequence[str]) -> Task:
    if len(grades) == 2:
        return "binary"
    return "ordinal" if all(_NUMBER.fullmatch(grade) for grade in grades) else "multiclass"


def _patient(folder: str) -> str:
    """The patient of a folder: in BraTS 2021 and later a folder is a visit, `BraTS-GLI-00001-000`."""
    visit = re.fullmatch(r"(BraTS-[A-Za-z]+-\d+)-\d{3}", folder)
    return visit[1] if visit else folder
