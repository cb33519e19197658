"""Whatever images a path leads to, without labels: files, DICOM series and films, NIfTI volumes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ...base import ImageError, ManifestError
from ..manifest import Manifest
from ..readers import dicom
from ..readers.nifti import slice_count
from ..schema.intensity_policy import IntensityPolicy
from .common import Notice, assemble
from .dicom_tree.units import dicom_units
from .folder import images_below, report_others
from .images import IMAGE_SUFFIXES
from .slices import SliceChoice


def build_any(path: Path, *, slices: str, frames: str, reading: IntensityPolicy, notice: Notice) -> Manifest:
    """An unlabelled manifest of one file, or of all images in a folder at any depth.

    A unit is a file; of a DICOM series of slices it is the whole series, under the name of its first file. `slices` of
    NIfTI volumes are as `build_nifti` takes them, `frames` of DICOM as `build_dicom` does. `notice` is called with what
    was skipped, and about series.

    Raises:
        ManifestError: there is no such file, there are no images, or folders cannot be read.
    """
    others: list[Path] = []
    if path.is_dir():
        root, images = path, images_below(path, notice, others)
    elif path.is_file():
        root, images = path.parent, [path]
    else:
        raise ManifestError(f"{path}: there is no such file or folder.")
    report_others([file for file in others if not _is_volume(file)], notice)
    kinds: dict[str, list[str]] = {"image": [], "dicom": [], "volume": []}
    for name in sorted(file.relative_to(root).as_posix() for file in (*images, *filter(_is_volume, others))):
        kinds[_kind(root / name)].append(name)
    plain, of_dicom, volumes = kinds.values()
    choices = SliceChoice.parse(slices), SliceChoice.parse(frames, "--frames", axes=False)
    parts = [pd.DataFrame({"sample_id": plain, "path": plain, "unit_id": plain})]
    if of_dicom:
        parts.append(dicom_units(root, of_dicom, choices[1], reading, notice))
    if volumes:
        parts.append(_slices(root, volumes, choices[0]))
    table = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    if table.empty:
        raise ManifestError(f"{path}: holds no images, DICOM files or NIfTI volumes.")
    table = table.dropna(axis="columns", how="all")
    name = root.resolve().name or "images"
    made = assemble(table.drop(columns="unit_id"), root, name=name, notice=notice, reading=reading)
    # Not before, as units are files here, and no ids of which some may be written as numbers.
    alone = (table["unit_id"] == table["sample_id"]).all()
    return made if alone else Manifest(made.table.assign(unit_id=table["unit_id"]), made.card)


def _is_volume(file: Path) -> bool:
    return file.name.lower().endswith((".nii", ".nii.gz")) and not file.name.startswith(".")


def _kind(file: Path) -> str:
    if _is_volume(file):
        return "volume"
    if file.suffix.lower() in IMAGE_SUFFIXES and file.suffix.lower() not in (".dcm", ".dicom"):
        return "image"
    try:
        with file.open("rb") as opened:
            return "dicom" if dicom.recognises(opened.read(512)) else "image"
    except OSError:
        return "image"  # which extraction cannot read either, and says why


def _slices(root: Path, files: Sequence[str], choice: SliceChoice) -> pd.DataFrame:
    """A row for each slice that is taken of a volume, which is a unit."""
    rows, axis = [], choice.axis or "axial"
    for name in files:
        try:
            frames = choice.frames(slice_count(root / name, axis))
        except ImageError:
            frames = [0]  # which extraction cannot read either, and says why
        rows += [(f"{name}#{axis}-{frame}", f"{name}#{axis}", frame, name) for frame in frames]
    return pd.DataFrame(rows, columns=["sample_id", "path", "frame", "unit_id"])
