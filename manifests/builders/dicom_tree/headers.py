"""What a manifest needs of a DICOM header, and no other element of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from ....base import ImageError, ManifestError
from ....base.text import install_command
from ...readers import dicom
from ...readers.read_errors import DamageAsImageError
from ..common import years_of
from .positions import numbers, place_of, places_of_frames

if TYPE_CHECKING:
    from pydicom import Dataset

Level = Literal["image", "study", "patient"]
KEYWORDS: dict[Level, str] = {"image": "SOPInstanceUID", "study": "StudyInstanceUID", "patient": "PatientID"}
"""The ids that a table may be joined on."""
ATTRIBUTES = {"sex": "PatientSex", "age": "PatientAge"}
"""Read if requested."""
_READ = {**KEYWORDS, "series": "SeriesInstanceUID", "modality": "Modality", "frames": "NumberOfFrames"}
_DISPLAY = (
    "SamplesPerPixel", "PhotometricInterpretation", "BitsStored", "BitsAllocated", "PixelRepresentation",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "WindowCenter", "WindowWidth", "VOILUTSequence",
    "VOILUTFunction", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
"""Elements for displaying intensities."""
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "InstanceNumber")
"""Where a slice is."""
VOLUMES = ("CT", "MR", "PT")
"""Modalities that may have a file per slice."""
_DIRECTORY = "1.2.840.10008.1.3.10"


class Skipped(NamedTuple):
    """A file that is not an image of a DICOM study: what it is instead, for a message."""

    what: str
    plural: str


OTHER_KIND = Skipped("other file", "other files")
DICOMDIR = Skipped("DICOMDIR", "DICOMDIRs")
NO_PIXELS = Skipped("DICOM file without pixels", "DICOM files without pixels")


def require_pydicom() -> None:
    """Makes sure that headers can be read, and keeps pydicom's messages, which may repeat them, to itself."""
    try:
        from ...readers.dicom_file import silence_pydicom
    except ImportError as error:
        raise ManifestError(f"DICOM is read through pydicom: {install_command('medical')}") from error
    silence_pydicom()


def read_header(
    file: Path, attributes: Sequence[str] = (), *, needed: Collection[Level] = tuple(KEYWORDS)
) -> dict[str, object] | Skipped | str:
    """What a file is, read up to its pixels; an image cannot be used without the `needed` ids.

    Returns:
        For an image: the ids `image`, `study`, `patient` and `series` (empty where the file has none), `modality`, the
        number of `frames`, `bare` (whether it is one slice of a volume, without a window in the file), `position` (3
        numbers), `orientation` (6) and the number of the `instance`, the `places` of several frames, and the
        attributes; what the header lacks is None. For a DICOM file that cannot be used: why, and what to do.
    """
    from ...readers import dicom_file

    wanted = _READ | {name: ATTRIBUTES[name] for name in attributes}
    try:
        with DamageAsImageError(), file.open("rb") as opened:
            if not dicom.recognises(opened.read(512)):
                return OTHER_KIND
            opened.seek(0)
            header = dicom_file.read_header(opened, (*wanted.values(), *_DISPLAY, *_PLACE))
            if str(header.meta.get("MediaStorageSOPClassUID", "")) == _DIRECTORY:
                return DICOMDIR
            if header.pixels is None:
                return NO_PIXELS
            if header.is_cut_off:
                return "the file is cut off; fetch it again or move it away"
            texts = {name: str(header.elements.get(keyword) or "").strip() for name, keyword in wanted.items()}
            return _image(header.elements, texts, file.stat().st_size, needed)
    except ImageError as error:
        return f"{error}; fix that, fetch it again, or move it away"


def _image(
    elements: Dataset, texts: dict[str, str], file_size: int, needed: Collection[Level]
) -> dict[str, object] | str:
    blank = [KEYWORDS[level] for level in KEYWORDS if not texts[level] and level in needed]
    if blank:
        patients_in_table = "if patients are named in the table of labels, say where with --group-column"
        remedy = patients_in_table if blank == ["PatientID"] else "move it away"
        return f"its header has no {' and no '.join(blank)}; {remedy}"
    frames = int(texts["frames"] or 1)
    if not 1 <= frames <= file_size:
        return "it declares more frames than it can hold; fetch it again or move it away"
    position, orientation = place_of(elements)
    found: dict[str, object] = {
        **texts,
        "modality": texts["modality"] or "OT",
        "frames": frames,
        "position": position,
        "orientation": orientation,
        "instance": (numbers(elements, "InstanceNumber", 1) or [None])[0],
        "places": places_of_frames(elements, frames) if frames > 1 else None,
        "bare": texts["modality"] in VOLUMES and frames == 1 and dicom.lacks_window(elements),
    }
    if "sex" in texts:
        found["sex"] = texts["sex"].upper() or None
    if "age" in texts:
        age = years_of(texts["age"])
        found["age"] = None if age is None else round(age, 2)
    return found
