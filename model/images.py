"""What is to be predicted, as a manifest: one that is there, a folder of images, or one file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from ..base import ImageError, ManifestError, OutputError
from ..manifests import DatasetCard, Manifest, SliceChoice, build_folder
from ..manifests.readers.nifti import slice_count
from ..manifests.schema.table_io import SUFFIXES

SLICES = "axial:middle:5"
"""Of a NIfTI volume; as in `medprobe manifest build nifti`."""


def manifest_of(path: Path | str, *, slices: str = SLICES, notice: Callable[[str], None] = lambda _: None) -> Manifest:
    """The manifest at `path`, or an unlabelled one of the images there.

    Args:
        path: a manifest's table (.parquet or .csv), a folder of images at any depth (DICOM and NIfTI files too), or one
            image or volume.
        slices: of a NIfTI volume, which is one unit.
        notice: called with messages about what was skipped.

    Raises:
        ManifestError: there is no such file, or it cannot be read; there are no images.

    Examples:
        >>> from medprobe.model import manifest_of
        >>> len(manifest_of("images"))
        60
    """
    path = Path(path)
    if path.is_dir():
        volumes = sorted(file.relative_to(path) for file in path.rglob("*") if _is_volume(file))
        return _volumes(path, volumes, slices) if volumes else build_folder(path, unlabelled=True, notice=notice)
    if path.suffix.lower() in SUFFIXES:
        return Manifest.load(path)
    if not path.is_file():
        raise ManifestError(f"{path}: there is no such file or folder.")
    if _is_volume(path):
        return _volumes(path.parent, [Path(path.name)], slices)
    return _unlabelled(path.parent, pd.DataFrame({"sample_id": [path.name], "path": [path.name]}))


def _is_volume(file: Path) -> bool:
    return file.name.lower().endswith((".nii", ".nii.gz")) and not file.name.startswith(".")


def _volumes(root: Path, files: Sequence[Path], slices: str) -> Manifest:
    """A row for each slice that is taken of a volume, which is a unit."""
    choice, rows = SliceChoice.parse(slices), []
    for file in files:
        name, axis = file.as_posix(), choice.axis or "axial"
        try:
            frames = choice.frames(slice_count(root / file, axis))
        except ImageError:
            frames = [0]  # which extraction cannot read either, and says why
        rows += [(f"{name}#{axis}-{frame}", f"{name}#{axis}", frame, name) for frame in frames]
    return _unlabelled(root, pd.DataFrame(rows, columns=["sample_id", "path", "frame", "unit_id"]))


def _unlabelled(root: Path, table: pd.DataFrame) -> Manifest:
    root = root.resolve()
    return Manifest(table, DatasetCard.of(str(root), name=root.name or "images", root=str(root)))


def require_table_place(out: Path, images: Path, *, overwrite: bool) -> None:
    """Makes sure that a table of predictions may be written.

    Raises:
        OutputError: another suffix, a folder that is not there, or a file that must not be replaced.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{out}: the table of predictions ends in .csv or .parquet.")
    if not out.absolute().parent.is_dir():
        raise OutputError(f"{out}: the folder {out.parent} does not exist; create it, or give another --out.")
    if out.exists() and (not overwrite or out.is_dir() or (images.exists() and out.samefile(images))):
        raise OutputError(f"{out}: is there already; choose another --out, or add --overwrite for an older table.")
