"""Gliomas in several MRI sequences: a folder a patient, a NIfTI file a sequence, and a table of grades.

The layout of the BraTS challenges, as described at https://www.med.upenn.edu/cbica/brats2020/data.html
(`BraTS20_Training_001/BraTS20_Training_001_t1ce.nii.gz`, grades in `name_mapping.csv`), and
of many a hospital's export. Huang et al. 2024 (arXiv 2402.07595) took three sequences, and the grades II, III and IV.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from ...base import ImageError, ManifestError, counted, did_you_mean, one_of
from ..card import Task
from ..finding import refusal
from ..manifest import Manifest
from ..readers.nifti import mask_areas, slice_count
from ..slices import SliceChoice
from .common import Notice, agree_on_classes, assemble, class_order, silent
from .grades import Grades, read_grades, task_of_grades
from .headers import read_all
from .label_columns import choose_word

_SUFFIX = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
_MASK_WORDS = {"seg", "segmentation", "mask", "label", "labels", "gtv", "roi"}
"""Files so named show the tumour's outline, not the patient: no sequence, unless asked for by name."""
Incomplete = Literal["refuse", "leave-out"]


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
            a file is no NIfTI volume. All patients and files are told.
    """
    src = Path(src)
    choice = _choice(slices, mask)
    choose_word("incomplete", incomplete, get_args(Incomplete))
    table = read_grades(src, grades, patient_column, grade_column, notice)
    patients = [_Patient.of(folder, patient) for patient, folder in table.folders.items()]
    names = list(sequences) or _common_sequences(patients, src, mask, notice)
    patients = _complete(patients, names, mask, src, incomplete, notice)
    made = _table(patients, names, mask, choice, table, src)
    found = _order(class_order(made["label"]))
    ordered = agree_on_classes(found, classes, str(table.file))
    return assemble(
        made,
        str(src),
        src,
        name=name or "glioma-mri",
        task=task or task_of_grades(ordered),
        classes=ordered,
        description=f"Sequences {one_of(names)}; slices {slices}{f' by the mask {mask}' if mask else ''}.",
    )


@dataclass(frozen=True)
class _Patient:
    """The NIfTI files in and below a patient's folder, by what is left of their names without the patient's."""

    name: str
    files: dict[str, list[Path]]

    @classmethod
    def of(cls, folder: Path, name: str) -> _Patient:
        files: dict[str, list[Path]] = {}
        for file in sorted(folder.rglob("*")):
            hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
            if not hidden and _SUFFIX.search(file.name) and file.is_file():
                files.setdefault(_rest(file, name), []).append(file)
        return cls(name, files)

    def matching(self, sequence: str) -> list[Path]:
        """The files that `sequence`, a word or a pattern, is the name of."""
        return [file for rest, files in self.files.items() if _is_named(rest, sequence) for file in files]


def _rest(file: Path, patient: str) -> str:
    """`t1ce` of `BraTS20_Training_001_t1ce.nii.gz`."""
    stem = _SUFFIX.sub("", file.name)
    rest = stem[len(patient) :] if stem.casefold().startswith(patient.casefold()) else stem
    return rest.strip("_-. ") or stem


def _is_named(rest: str, sequence: str) -> bool:
    """Whether `sequence` is the whole of a file's name, a word of it, or a pattern that fits; in any case."""
    rest, sequence = rest.casefold(), sequence.casefold()
    if any(sign in sequence for sign in "*?["):
        return fnmatchcase(rest, sequence)
    return rest == sequence or sequence in _words(rest)


def _words(rest: str) -> list[str]:
    return re.split(r"[^a-z0-9]+", rest.casefold())


def _choice(slices: str, mask: str | None) -> SliceChoice:
    choice = SliceChoice.parse(slices)
    if choice.axis is None:
        raise ManifestError(f'--slices {slices}: name the axis, such as "axial:{slices}".')
    if choice.kind == "largest-mask" and mask is None:
        raise ManifestError(f"--slices {slices}: name the mask's files with --mask, such as --mask seg.")
    if choice.kind != "largest-mask" and mask is not None:
        raise ManifestError(f"--mask {mask}: a mask is used by --slices {choice.axis}:largest-mask alone.")
    return choice


def _common_sequences(patients: list[_Patient], src: Path, mask: str | None, notice: Notice) -> list[str]:
    """What every patient has a file of, masks left out.

    Raises:
        ManifestError: there is nothing that all of them have.
    """
    counts: dict[str, int] = {}
    for patient in patients:
        for rest in patient.files:
            counts[rest] = counts.get(rest, 0) + 1
    masks = {rest for rest in counts if _MASK_WORDS & set(_words(rest)) or (mask and _is_named(rest, mask))}
    common = sorted(rest for rest, count in counts.items() if count == len(patients) and rest not in masks)
    if not common:
        most = sorted(counts, key=lambda rest: -counts[rest])
        raise ManifestError(
            f"{src}: there is no sequence that all {counted(len(patients), 'patient')} have; found "
            f"{one_of(f'{rest} ({counts[rest]})' for rest in most) or 'no .nii or .nii.gz file'}. Name them with "
            "--sequence."
        )
    others = sorted(set(counts) - set(common) - masks)
    if others:
        listed = one_of(f"{rest} ({counts[rest]} of {len(patients)})" for rest in others)
        notice(f"Took {one_of(common)}, which every patient has; left out {listed}.")
    return common


def _complete(
    patients: list[_Patient], names: list[str], mask: str | None, src: Path, incomplete: Incomplete, notice: Notice
) -> list[_Patient]:
    """The patients that have one file of each sequence, and of the mask.

    Raises:
        ManifestError: patients have several files of one, or lack one and may not be left out; all are told.
    """
    wanted = [*names, *([mask] if mask else [])]
    lacking, faults = {}, []
    for patient in patients:
        missing = [name for name in wanted if not patient.matching(name)]
        if missing:
            near = did_you_mean(missing[0], patient.files)
            lacking[patient.name] = f"{patient.name}/ has no {one_of(missing)}; it holds {one_of(patient.files)}.{near}"
        for name in wanted:
            several = patient.matching(name)
            if len(several) > 1:
                files = one_of(file.relative_to(src).as_posix() for file in several)
                faults.append(f"{patient.name}/ has several files of {name}: {files}. Name the sequence more narrowly")
    if lacking and (incomplete == "refuse" or len(lacking) == len(patients)):
        hint = "add --incomplete leave-out to go on without such patients"
        raise ManifestError(refusal(str(src), [*lacking.values(), *faults]) + f"\nMend the folders, or {hint}.")
    if faults:
        raise ManifestError(refusal(str(src), faults))
    if lacking:
        notice(f"Left out {len(lacking)} of {counted(len(patients), 'patient')} that lack a sequence: "
               f"{one_of(lacking)}.")  # fmt: skip
    return [patient for patient in patients if patient.name not in lacking]


def _table(
    patients: list[_Patient], names: list[str], mask: str | None, choice: SliceChoice, table: Grades, src: Path
) -> pd.DataFrame:
    """A row a slice.

    Raises:
        ManifestError: files cannot be read or cut as asked; all are told.
    """
    answers = read_all(lambda patient: _slices(patient, names, mask, choice, src), patients, "Reading volumes")
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
    patient: _Patient, names: list[str], mask: str | None, choice: SliceChoice, src: Path
) -> tuple[dict[str, list[int]], list[str]]:
    """The slices of each of a patient's sequences, and what is wrong with the files."""
    assert choice.axis is not None
    frames, faults, areas = {}, [], None
    if mask:
        try:
            areas = mask_areas(patient.matching(mask)[0], choice.axis)
        except ImageError as error:
            return {}, [f"{patient.matching(mask)[0].relative_to(src).as_posix()}: {error}"]
    for name in names:
        file = patient.matching(name)[0]
        try:
            frames[name] = choice.frames(slice_count(file, choice.axis), areas)
        except (ImageError, ManifestError) as error:
            faults.append(f"{file.relative_to(src).as_posix()}: {error}")
    return frames, faults


def _order(grades: list[str]) -> list[str]:
    """Low grade before high: by letters, HGG would come first and be the negative class."""
    return sorted(grades, key=lambda grade: grade.upper() == "HGG")
