"""The sequences of patients: which files of a patient's folder they are, and who lacks one.

What is told names patients by the rows of their table, and files by the names that several patients' have in common:
folders and files are often called after patients.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from ...base import ManifestError, counted, did_you_mean, one_of
from ..validation.faults import Faults
from .common import Notice
from .grades import Grades
from .walk import files_below

_SUFFIX = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
_MASK_WORDS = {"seg", "segmentation", "mask", "label", "labels", "gtv", "roi"}
"""Files so named show the tumour's outline, not the patient: no sequence, unless asked for by name."""
Incomplete = Literal["refuse", "leave-out"]


@dataclass(frozen=True)
class Patient:
    """The NIfTI files in and below a patient's folder, by what is left of their names without the patient's."""

    name: str
    files: dict[str, list[Path]]

    @classmethod
    def of(cls, folder: Path, name: str) -> Patient:
        """The patient of this name, in whose `folder` files are looked for."""
        files: dict[str, list[Path]] = {}
        for file in files_below(folder):
            if _SUFFIX.search(file.name):
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


def _holders(patients: list[Patient]) -> Counter[str]:
    """How many patients have a file of each name, the patient's own left out."""
    return Counter(rest for patient in patients for rest in patient.files)


def _shared(holders: Counter[str]) -> list[str]:
    """The names that several patients' files have: one that a single file has may be the patient's."""
    return sorted(rest for rest, count in holders.items() if count > 1)


def common_sequences(patients: list[Patient], src: Path, mask: str | None, notice: Notice) -> list[str]:
    """What every patient has a file of, masks left out.

    Raises:
        ManifestError: there is nothing that all of them have.
    """
    holders = _holders(patients)
    masks = {rest for rest in holders if _MASK_WORDS & set(_words(rest)) or (mask and _is_named(rest, mask))}
    common = sorted(rest for rest, count in holders.items() if count == len(patients) and rest not in masks)
    if not common:
        found = one_of(f"{rest} ({holders[rest]})" for rest in _shared(holders))
        nothing = "no names that patients share" if holders else "no .nii or .nii.gz file"
        raise ManifestError(
            f"{src}: there is no sequence that all {counted(len(patients), 'patient')} have; found {found or nothing}. "
            "Name them with --sequence."
        )
    others = [rest for rest in _shared(holders) if rest not in {*common, *masks}]
    alone = sum(count == 1 and rest not in {*common, *masks} for rest, count in holders.items())
    if others or alone:
        listed = [f"{rest} ({holders[rest]} of {len(patients)})" for rest in others]
        listed += [f"{counted(alone, 'file')} that one patient has alone"] if alone else []
        notice(f"Took {one_of(common)}, which every patient has; left out {one_of(listed)}.")
    return common


def complete_patients(
    patients: list[Patient],
    names: list[str],
    mask: str | None,
    table: Grades,
    src: Path,
    incomplete: Incomplete,
    notice: Notice,
) -> list[Patient]:
    """The patients that have one file of each sequence, and of the mask.

    Raises:
        ManifestError: nobody has one of them, or patients have several files of one, or lack one and may not be left
            out; all are told, by the rows of the table.
    """
    wanted = [*names, *([mask] if mask else [])]
    _refuse_unknown(patients, names, mask, src)
    lacking: dict[str, list[str]] = {}
    several: list[str] = []
    for patient in patients:
        found = {name: len(patient.matching(name)) for name in wanted}
        if missing := [name for name, count in found.items() if count == 0]:
            lacking.setdefault(one_of(missing), []).append(patient.name)
        several += [
            f"{table.rows_of([patient.name])}: the patient's folder has {count} files of {name}; name the sequence "
            "more narrowly"
            for name, count in found.items()
            if count > 1
        ]
    left_out = {name for patients_ in lacking.values() for name in patients_}
    refused = bool(lacking) and (incomplete == "refuse" or len(left_out) == len(patients))
    faults = Faults(str(src))
    if refused:
        for missing, lack in lacking.items():
            faults.note(f"{table.rows_of(lack)}: no file of {missing} in the patient's folder", len(lack))
    for fault in several:
        faults.note(fault)
    if faults:
        hint = "\nMend the folders, or add --incomplete leave-out to go on without such patients." if refused else ""
        raise ManifestError(f"{faults}{hint}")
    if lacking:
        count = f"{len(left_out)} of {counted(len(patients), 'patient')}"
        rows = table.rows_of([patient.name for patient in patients if patient.name in left_out])
        notice(f"Left out {count} that lack a sequence: {rows}.")
    return [patient for patient in patients if patient.name not in left_out]


def _refuse_unknown(patients: list[Patient], names: list[str], mask: str | None, src: Path) -> None:
    """Makes sure that each sequence, and the mask, is known to some patient.

    Raises:
        ManifestError: no patient has a file of one; all are told, with the near ones and what there is.
    """
    asked = [*(("--sequence", name) for name in names), *([("--mask", mask)] if mask else [])]
    there = _shared(_holders(patients))
    faults = [
        f"{option} {name}: no patient has a file of this name.{did_you_mean(name, there)}"
        for option, name in asked
        if not any(patient.matching(name) for patient in patients)
    ]
    if faults:
        listed = "".join(f"\n  {fault}" for fault in faults) if len(faults) > 1 else f" {faults[0]}"
        raise ManifestError(f"{src}:{listed}\nThere are {one_of(there) or 'no names that patients share'}.")
