"""Cohorts of NIfTI volumes: a folder per patient, a file per sequence, and a table of labels, or none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from ...base import ImageError, ManifestError, one_of
from ..manifest import Manifest
from ..readers.nifti import mask_areas, slice_count
from ..schema.card import Task
from ..validation.faults import Faults, refuse
from .common import Notice, agree_on_classes, assemble, choose_word, silent
from .files import read_all
from .nifti_cohort import PLAIN, Cohort, CohortKind, Incomplete, read_cohort, unlabelled_cohort
from .slices import SliceChoice


def build_nifti(
    src: Path | str,
    *,
    labels: Path | str | None = None,
    patient_column: str | None = None,
    label_column: str | None = None,
    unlabelled: bool = False,
    sequences: Sequence[str] = (),
    slices: str = "axial:middle:5",
    mask: str | None = None,
    incomplete: Incomplete = "refuse",
    name: str | None = None,
    task: Task | None = None,
    classes: Sequence[str] | None = None,
    notice: Notice = silent,
    kind: CohortKind = PLAIN,
) -> Manifest:
    """A manifest of NIfTI volumes: a folder per patient, a file per sequence, and a table of labels.

    A sample is a slice of a volume. Unit and group are the patient and the modality is the sequence, so that a probe
    with `--aggregation concat` gets one vector per patient: the means over the slices of each sequence, concatenated.
    This needs every sequence of every patient. Patient folders may be one folder deeper (train/, siteA/).

    With --unlabelled there is no table; every folder with volumes is a patient, or, where several such folders have one
    name (anat/), the folder above it. Where SRC has no folders, every volume in it is a patient. The manifest can be
    embedded, searched and predicted.

    Args:
        src: folder that holds the patient folders; paths in the manifest start from it.
        labels: CSV or Parquet table of labels. By default the only table in SRC that has the label column.
        patient_column: column of names of patient folders. By default the column that matches most folders.
        label_column: column of labels. By default the only column with the word "label" in its name.
        unlabelled: take every patient without a label; then there is no table.
        sequences: a word of the file names, such as t1ce, or a pattern such as `*T1_post*`. By default all sequences
            that every patient has.
        slices: slices to take: axial, coronal or sagittal, then all, middle:N, every:N or largest-mask, such as
            axial:middle:5.
        mask: mask file of each patient, named as a sequence is. With largest-mask, the slice with the largest mask
            area is taken.
        incomplete: what to do with patients that lack a sequence: refuse to build, or skip them.
        name: name of the data set.
        task: by default binary for two classes and multiclass for more.
        classes: class names in order; sorted by default.
        notice: called with a message about what was skipped or looks odd.
        kind: defaults of a preset.

    Raises:
        ManifestError: tables or columns are missing, rows are wrong, patients lack sequences or have several files of
            one, or a file is not a NIfTI volume. All patients are listed, by the rows of the table.
    """
    src = Path(src)
    choice = _choice(slices, mask)
    choose_word("incomplete", incomplete, get_args(Incomplete))
    if unlabelled:
        given = {"--labels": labels, "--patient-column": patient_column, "--label-column": label_column}
        if others := [option for option, value in {**given, "--task": task, "--classes": classes}.items() if value]:
            raise ManifestError(f"{src}: --unlabelled volumes have no {one_of(others)}; leave out one or the other.")
        cohort = unlabelled_cohort(src)
    else:
        cohort = read_cohort(src, labels, patient_column, label_column, kind, notice)
    names = list(sequences) or cohort.common_sequences(mask, notice)
    paths = cohort.complete([*names, *([mask] if mask else [])], incomplete, notice)
    made = _slice_table(cohort, paths, names, mask, choice, kind)
    description = f"Sequences {one_of(names)}; slices {slices}{f' by the mask {mask}' if mask else ''}."
    about: dict[str, Any] = {"name": name or kind.name, "description": description, "notice": notice}
    if unlabelled:
        return assemble(made.drop(columns="label"), src, **about)
    faults = Faults(str(cohort.table))
    remedy = "Is it the right column? Name another with --label-column."
    ordered = agree_on_classes(kind.order(made["label"].unique()), classes, faults, notice, only_one=remedy, task=task)
    refuse(faults)
    return assemble(made, src, task=task or kind.task(ordered), classes=ordered, **about)


def _choice(slices: str, mask: str | None) -> SliceChoice:
    choice = SliceChoice.parse(slices)
    if choice.axis is None:
        raise ManifestError(f'--slices {slices}: name the axis, such as "axial:{slices}".')
    if choice.kind == "largest-mask" and mask is None:
        raise ManifestError(f"--slices {slices}: name the mask files with --mask, such as --mask seg.")
    if choice.kind != "largest-mask" and mask is not None:
        raise ManifestError(f"--mask {mask}: only --slices {choice.axis}:largest-mask uses a mask.")
    return choice


def _slice_table(
    cohort: Cohort,
    paths: dict[str, dict[str, Path]],
    names: list[str],
    mask: str | None,
    choice: SliceChoice,
    kind: CohortKind,
) -> pd.DataFrame:
    """The manifest's table, a row per slice; `paths` by patient and word."""
    axis = choice.axis
    assert axis is not None

    def slices_of(patient: str) -> tuple[dict[str, list[int]], list[str]]:
        """The slices of each sequence of a patient, and what is wrong with its files."""
        frames, problems = {}, []
        try:
            areas = mask_areas(paths[patient][mask], axis) if mask else None
        except ImageError as error:
            return {}, [f"{mask}: {error}"]
        for name in names:
            try:
                frames[name] = choice.frames(slice_count(paths[patient][name], axis), areas)
            except (ImageError, ManifestError) as error:
                problems.append(f"{name}: {error}")
        return frames, problems

    answers = dict(zip(paths, read_all(slices_of, list(paths), "Reading volumes"), strict=True))
    faults = Faults(str(cohort.src))
    for patient, (_, problems) in answers.items():
        for problem in problems:
            faults.note(f"{cohort.rows([patient])}: {problem}")
    refuse(faults)
    return pd.DataFrame(
        {
            "sample_id": f"{patient}/{modality}/{axis}-{frame:03d}",
            "path": f"{paths[patient][sequence].relative_to(cohort.src).as_posix()}#{axis}",
            "frame": frame,
            "label": cohort.patients.at[patient, "label"],
            "unit_id": patient,
            "group_id": kind.group(patient),
            "modality": modality,
        }
        for patient, (frames, _) in answers.items()
        for sequence, chosen in frames.items()
        for modality in [sequence.strip("*?") or sequence]
        for frame in chosen
    )
