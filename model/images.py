"""What is to be predicted, as a manifest: one that is there, a folder of images, or one file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..base import OutputError
from ..manifests import IntensityPolicy, Manifest
from ..manifests.builders.any_images import build_any
from ..manifests.schema.table_io import SUFFIXES

SLICES, FRAMES = "axial:middle:5", "all"
"""Of a NIfTI volume, as in `medprobe manifest build nifti`; and of DICOM, as in `medprobe manifest build dicom`."""


def manifest_of(
    path: Path | str,
    *,
    slices: str = SLICES,
    frames: str = FRAMES,
    reading: IntensityPolicy | None = None,
    notice: Callable[[str], None] = lambda _: None,
) -> Manifest:
    """The manifest at `path`, or an unlabelled one of the images there.

    Args:
        path: a manifest's table (.parquet or .csv), a folder of images at any depth (DICOM and NIfTI files too), or one
            image or volume.
        slices: of a NIfTI volume, which is one unit.
        frames: of a DICOM file of several and of a DICOM series of slices, each of which is one unit.
        reading: the intensity policy of the model, under which slices of a DICOM series get one window; the
            default policy by default.
        notice: called with messages about what was skipped.

    Raises:
        ManifestError: there is no such file, or it cannot be read; there are no images.

    Examples:
        >>> from medprobe.model import manifest_of
        >>> len(manifest_of("images"))
        60
    """
    path = Path(path)
    if path.suffix.lower() in SUFFIXES and not path.is_dir():
        return Manifest.load(path)
    return build_any(path, slices=slices, frames=frames, reading=reading or IntensityPolicy(), notice=notice)


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
