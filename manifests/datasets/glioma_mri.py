"""Gliomas in several MRI sequences, with a table of grades: a preset of `build nifti`.

The layout of the BraTS challenges, as described at https://www.med.upenn.edu/cbica/brats2020/data.html
(`BraTS20_Training_001/BraTS20_Training_001_t1ce.nii.gz`, grades in `name_mapping.csv`), and of many hospital exports.
Huang et al. 2024 (arXiv 2402.07595) used three sequences, and the grades II, III and IV.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from functools import wraps
from pathlib import Path
from typing import Any

from ..builders.common import class_order
from ..builders.nifti import build_nifti
from ..builders.nifti_cohort import CohortKind
from ..manifest import Manifest
from ..schema.card import Task

_NUMBER = re.compile(r"[0-9]+|I{1,3}|IV", re.IGNORECASE)


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


_GLIOMA = CohortKind("grade", "glioma-mri", order=_order, task=_task, group=_patient)


@wraps(build_nifti, assigned=["__annotations__"])
def build_glioma_mri(src: Path | str, **options: Any) -> Manifest:
    """A manifest of glioma MRI (BraTS and the like): a NIfTI file per patient and sequence, and a table of grades.

    `build nifti` with the defaults of such sets: two grades are a binary task (LGG before HGG), more that are numbers
    (II, III, IV) an ordinal one. A sample is a slice of a volume. Unit and group are the patient (of BraTS 2021 and
    later the unit is a visit) and the modality is the sequence, so that a probe with `--aggregation concat` gets one
    vector per patient. Patient folders may be one folder deeper (HGG/, LGG/). The label column is by default the only
    one with the word "grade" in its name.
    """
    return build_nifti(src, **options, kind=_GLIOMA)


build_glioma_mri.__doc__ = f"""{inspect.getdoc(build_glioma_mri)}

Args:{(inspect.getdoc(build_nifti) or "").partition("Args:")[2]}"""
