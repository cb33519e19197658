"""What a manifest needs of a DICOM header, and no other element of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...base import ImageError, ManifestError
from ..readers import dicom
from ..readers.source import reason_of

if TYPE_CHECKING:
    from pydicom import Dataset

_ATTRIBUTES = {"sex": "PatientSex", "age": "PatientAge"}
"""Read if requested."""
ATTRIBUTES = tuple(_ATTRIBUTES)
_SERIES = "SeriesInstanceUID"
_SHOWN = (
    "SamplesPerPixel", "PhotometricInterpretation", "BitsStored", "BitsAllocated", "PixelRepresentation",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "WindowCenter", "WindowWidth", "VOILUTSequence",
    "VOILUTFunction", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
"""Elements for displaying intensities."""
_SLICED = ("CT", "MR", "PT")
"""Modalities of volumes, which may have a file per slice."""
_NEEDED = ("SOPInstanceUID", "StudyInstanceUID", "PatientID", "Modality", "NumberOfFrames")
_DIRECTORY = "1.2.840.10008.1.3.10"
_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
"""Of the units of an age string (PS3.5, AS)."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """One file with pixels."""

    file: Path
    image: str
    """SOPInstanceUID."""
    study: str
    """StudyInstanceUID."""
    patient: str
    """PatientID."""
    modality: str
    frames: int
    series: str
    """SeriesInstanceUID; empty where the file names none."""
    is_bare_slice: bool
    """Whether it is one slice of a volume, and the file has no window."""
    attributes: tuple[object, ...]
    """The requested ones, in order; None if the header has none."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not an image of a DICOM study."""

    what: str
    """What it is instead, in the words of a message."""
    plural: str


OTHER_KIND = Skipped("other file", "other files")
DICOMDIR = Skipped("DICOMDIR", "DICOMDIRs")
NO_PIXELS = Skipped("DICOM file without pixels", "DICOM files without pixels")


@dataclass(frozen=True, slots=True)
class Unusable:
    """A DICOM file that cannot be used."""

    file: Path
    reason: str
    """And what to do."""


Header = ImageHeader | Skipped | Unusable


def require_pydicom() -> None:
    """Makes sure that headers can be read, and keeps pydicom's messages, which may repeat them, to itself.

    Raises:
        ManifestError: pydicom is not installed.
    """
    try:
        from ..readers.dicom_file import silence_pydicom
    except ImportError as error:
        raise ManifestError('DICOM is read through pydicom: pip install "medprobe[medical]"') from error
    silence_pydicom()


def read_header(file: Path, attributes: Sequence[str] = (), *, need_patient: bool = True) -> Header:
    """What a file is, read up to its pixels.

    Args:
        file: any file.
        attributes: some of `ATTRIBUTES`.
        need_patient: whether an image without PatientID cannot be used.
    """
    from ..readers import dicom_file

    try:
        with file.open("rb") as opened:
            if not dicom.recognises(opened.read(512)):
                return OTHER_KIND
            opened.seek(0)
            keywords = (*_NEEDED, _SERIES, *_SHOWN, *(_ATTRIBUTES[name] for name in attributes))
            header = dicom_file.read_header(opened, keywords)
            if str(header.meta.get("MediaStorageSOPClassUID", "")) == _DIRECTORY:
                return DICOMDIR
            if header.pixels is None:
                return NO_PIXELS
            return _image(file, header.elements, attributes, need_patient=need_patient)
    except OSError as error:
        return Unusable(file, f"{reason_of(error)}; fix that or move it away")
    except ImageError as error:
        return Unusable(file, f"{error}; fetch it again or move it away")
    except dicom.damage():
        # The text of such an error is not repeated, since it may contain header values.
        return Unusable(file, "the file is damaged: its header cannot be read; fetch it again or move it away")


def _image(file: Path, dataset: Dataset, attributes: Sequence[str], *, need_patient: bool) -> Header:
    words = {keyword: str(dataset.get(keyword) or "").strip() for keyword in _NEEDED}
    blank = [keyword for keyword in _NEEDED[: 3 if need_patient else 2] if not words[keyword]]
    if blank:
        hint = "; if patients are named in the table of labels, say where with --group-column"
        return Unusable(
            file, f"its header has no {' and no '.join(blank)}{hint if blank == ['PatientID'] else '; move it away'}"
        )
    frames = int(words["NumberOfFrames"] or 1)
    if not 1 <= frames <= file.stat().st_size:
        return Unusable(file, "it declares more frames than it can hold; fetch it again or move it away")
    parsers = {"sex": _sex, "age": _age}
    return ImageHeader(
        file=file,
        image=words["SOPInstanceUID"],
        study=words["StudyInstanceUID"],
        patient=words["PatientID"],
        modality=words["Modality"] or "OT",
        frames=frames,
        series=str(dataset.get(_SERIES) or "").strip(),
        is_bare_slice=words["Modality"] in _SLICED and frames == 1 and dicom.lacks_window(dataset),
        attributes=tuple(parsers[name](str(dataset.get(_ATTRIBUTES[name]) or "").strip()) for name in attributes),
    )


def _sex(text: str) -> str | None:
    return text.upper() or None


def _age(text: str) -> float | None:
    """Years of an age string such as 045Y or 018M."""
    match = re.fullmatch(r"(\d{1,3})([DWMY])", text.upper())
    return round(int(match[1]) * _YEARS[match[2]], 2) if match else None
