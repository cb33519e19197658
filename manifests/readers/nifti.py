"""Slices of NIfTI volumes, through nibabel: `vol.nii.gz#axial` and a frame.

A volume is turned to RAS+ first (as `nibabel.as_closest_canonical`: axes swapped and flipped, never resampled), so
that the first axis goes from left to right, the second from back to front, the third from feet to head. `frame` counts
slices from 0 along the third axis for `axial`, the second for `coronal`, the first for `sagittal`. A slice has the
radiological orientation: the patient's right on the picture's left and the front on top (axial) or the head on top
(coronal); the front on the left and the head on top (sagittal). A pixel is a voxel, also where voxels are not square.

Stored values pass the header's slope and intercept and then the manifest's intensity policy; `cal_min` and `cal_max`
are not used. NIfTI-1 and NIfTI-2 are read, plain or gzipped; a file is recognised by its content. Sizes are checked
before memory is taken. None of nibabel's own header checks is run: they print to the terminal.
"""

from __future__ import annotations

import gzip
import math
import re
import threading
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...base import ImageError, did_you_mean, one_of
from ...base.text import install_command
from ..schema.intensity_policy import IntensityPolicy
from .intensity import Bounds, chosen_bounds, thinned, to_8_bits
from .memo import remembered
from .read_errors import DamageAsImageError, SelectionError, chosen_frame, refuse_too_many
from .source import Source

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

Axis = Literal["axial", "coronal", "sagittal"]
AXES: dict[str, int] = {"axial": 2, "coronal": 1, "sagittal": 0}
"""The axis of a volume in RAS+ orientation along which slices are counted."""
MOST_BYTES = 2**30
"""Of a volume that has to be decoded whole; a header may declare anything."""
_LENGTHS = (348, 540)
"""Of a header, with which a file begins: NIfTI-1 and NIfTI-2."""
_MOST_INFLATED = 1032
"""Bytes that one byte of a gzip file can become at most."""


def recognises(head: bytes) -> bool:
    """Whether a file that starts with `head` is NIfTI, alone, gzipped, or one half of a pair."""
    return header_length(inflated(head)) > 0


def read(source: Source) -> np.ndarray:
    """The pixels of one slice: uint8, (H, W), or (H, W, 3) of RGB volumes."""
    axis, number = _cut(source)
    volume = _volume(source.path, number)
    frame = chosen_frame(source.frame, volume.oriented.shape[AXES[axis]], f"{axis} slices")
    return volume.picture(axis, frame, source.reading)


def frames(source: Source) -> int:
    """How many slices there are along the axis that the path names."""
    axis, number = _cut(source)
    _require_volume(_Header.of(source.path), number)
    return slice_count(source.path, axis)


@DamageAsImageError()
def slice_count(path: Path, axis: Axis) -> int:
    """How many slices the volume in `path` has along `axis`, read from its header."""
    header = _Header.of(path)
    return header.shape[int(np.flatnonzero(header.orientation[:, 0] == AXES[axis])[0])]


@DamageAsImageError()
def mask_areas(path: Path, axis: Axis) -> np.ndarray:
    """How many voxels above 0 each slice of a mask has along `axis`: what `SliceChoice.frames` asks for.

    Returns:
        int64, (slices,).

    Raises:
        ImageError: as `read`; or the mask holds colours or several volumes.
    """
    volume = _volume(path, None)
    if volume.is_colour:
        raise ImageError("holds colours; a mask is 0 outside and above 0 inside")
    areas = [np.count_nonzero(volume.scaled(plane) > 0) for plane in volume.slices(axis)]
    return np.array(areas, np.int64)


def _cut(source: Source) -> tuple[Axis, int | None]:
    """Axis and index of the fourth dimension that a path names after `#`."""
    name, at, number = (source.member or "").partition("@")
    if not source.member:
        raise SelectionError("a volume is cut along an axis; write `#axial` after its name in the column `path`")
    if name not in AXES:
        raise SelectionError(f'there is no axis "{name}", only {one_of(AXES)}.{did_you_mean(name, AXES)}')
    if at and not re.fullmatch(r"[0-9]{1,9}", number):
        raise SelectionError(f'"{number}" after @ is not an index of the fourth dimension; write `{name}@0`')
    return name, int(number) if at else None  # pyright: ignore[reportReturnType]


@dataclass(eq=False)
class _Volume:
    """One volume as it is stored, and the same turned to RAS+."""

    stored: np.ndarray
    """(X, Y, Z) in the order of the file, column-major."""
    oriented: np.ndarray
    """(X, Y, Z), a view of `stored`."""
    slope: float
    inter: float
    bounds: dict[IntensityPolicy, Bounds] = field(default_factory=dict)
    """Of the whole volume, by reading."""

    @property
    def is_colour(self) -> bool:
        return self.stored.dtype.names is not None

    def picture(self, axis: Axis, index: int, reading: IntensityPolicy) -> np.ndarray:
        """One slice as it is looked at: uint8, (H, W) or (H, W, 3)."""
        plane = np.ascontiguousarray(self.slices(axis)[index][::-1, ::-1].T)
        if self.is_colour:
            return plane.view(np.uint8).reshape(*plane.shape, 3)
        with np.errstate(all="ignore"):
            values = self.scaled(plane)
            return to_8_bits(values, self._bounds(values, reading))

    def slices(self, axis: Axis) -> np.ndarray:
        """A view of the volume with `axis` first."""
        # Not `np.take`, which would copy a volume that was turned for each slice.
        return np.moveaxis(self.oriented, AXES[axis], 0)

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Stored values in the file's own units."""
        if (self.slope, self.inter) == (1.0, 0.0):
            return values
        return values.astype(np.float64) * self.slope + self.inter

    def _bounds(self, values: np.ndarray, reading: IntensityPolicy) -> Bounds:
        if reading.scope == "slice":
            return chosen_bounds(values, reading)
        if reading not in self.bounds:
            self.bounds[reading] = chosen_bounds(self.scaled(thinned(self.stored.reshape(-1, order="F"))), reading)
        return self.bounds[reading]


@remembered(4)
def _volume(path: Path, number: int | None) -> _Volume:
    header = _Header.of(path)
    _require_volume(header, number)
    from nibabel.orientations import apply_orientation

    stored = _stored(path, header, number or 0)
    return _Volume(stored, apply_orientation(stored, header.orientation), header.slope, header.inter)


def _require_volume(header: _Header, number: int | None) -> None:
    if number is None and header.volumes > 1:
        raise SelectionError(f"holds {header.volumes} volumes; name one in the column `path`, such as `#axial@0`")
    if (number or 0) >= header.volumes:
        raise SelectionError(f"has no volume {number}: it holds {header.volumes}, from 0")


def _stored(path: Path, header: _Header, number: int) -> np.ndarray:
    """One volume as stored, (X, Y, Z)."""
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    end = header.start + (number + 1) * header.volume_bytes
    if end > path.stat().st_size * (_MOST_INFLATED if is_gzip else 1):
        raise ImageError("the file is cut off: its header declares more values than it holds")
    if not is_gzip:
        # Only the pages of the requested slices are read.
        start = header.start + number * header.volume_bytes
        return np.memmap(path, header.dtype, "r", start, header.shape, "F").view(np.ndarray)
    if header.volume_bytes > MOST_BYTES:
        raise ImageError(f"a volume of {header.volume_bytes:,} bytes is too large to be decoded; save it without gzip")
    return _series(path).volume(number)


class _GzippedSeries:
    """The volumes of an open gzip file: those that are read in order do not start again at its beginning."""

    def __init__(self, path: Path, header: _Header) -> None:
        from nibabel.arrayproxy import ArrayProxy

        self._lock = threading.Lock()
        self._file = gzip.GzipFile(path)
        self._last = header.volumes - 1
        self._values: Any = ArrayProxy(self._file, ((*header.shape, header.volumes), header.dtype, header.start))

    def volume(self, number: int) -> np.ndarray:
        """One volume, (X, Y, Z)."""
        with self._lock:
            try:
                values = self._values[..., number]
                # After the last the rest is read too, since a checksum ends the file.
                while number == self._last and self._file.read(2**20):
                    pass
            except ValueError as error:  # nibabel's for too few bytes
                self._file.rewind()
                raise EOFError from error
            except BaseException:
                self._file.rewind()
                raise
        return values


@remembered(4)
def _series(path: Path) -> _GzippedSeries:
    return _GzippedSeries(path, _Header.of(path))


@dataclass(frozen=True, eq=False)
class _Header:
    """What a header says, checked."""

    shape: tuple[int, int, int]
    volumes: int
    """Length of the fourth dimension."""
    dtype: np.dtype
    start: int
    """Where the values of the first volume begin."""
    slope: float
    inter: float
    orientation: np.ndarray
    """(3, 2): the RAS+ axis of each stored axis, and its direction, 1 or -1 (nibabel's `io_orientation`)."""

    @classmethod
    def of(cls, path: Path) -> _Header:
        """Reads and checks the header of `path`."""
        try:
            from nibabel import nifti1, nifti2
        except ImportError as error:
            raise ImageError(f"NIfTI is read through nibabel: {install_command('medical')}") from error
        with path.open("rb") as file:
            head = inflated(file.read(8192))
        length = header_length(head)
        if not length:
            raise ImageError("not a NIfTI file")
        if len(head) < length:
            raise ImageError("the file is cut off")
        header = (nifti1.Nifti1Header if length == 348 else nifti2.Nifti2Header)(head[:length], check=False)
        magic = header["magic"].item()[:3]
        if magic[:2] == b"ni":
            raise ImageError("is one half of a .hdr/.img pair; convert the two to one .nii file")
        if magic != header.single_magic:
            raise ImageError("its header is damaged, or older than NIfTI (Analyze 7.5); convert it to one .nii file")
        shape, start = header.get_data_shape(), int(header.get_data_offset())
        if not 2 <= len(shape) <= 7 or min(shape) < 1 or start < length:
            raise ImageError("the file is damaged: its header has no valid size, or offset of the values")
        if max(shape[4:], default=1) > 1:
            raise ImageError(f"has {len(shape)} dimensions, {' x '.join(map(str, shape))}; volumes have three or four")
        x, y, z, volumes = (int(size) for size in (*shape, 1, 1)[:4])
        dtype = header.get_data_dtype()
        if dtype.names and dtype.itemsize != 3:
            raise ImageError("holds colours with alpha; save it as RGB24 or grey")
        if not dtype.names and (dtype.kind not in "iuf" or dtype.itemsize == 0):
            raise ImageError(f"holds {dtype.name} values, which are not grey levels")
        refuse_too_many(max(x * y, x * z, y * z))
        slope, inter = header.get_slope_inter()
        return cls(
            shape=(x, y, z),
            volumes=volumes,
            dtype=dtype,
            start=start,
            slope=1.0 if slope is None else float(slope),
            inter=float(inter or 0),
            orientation=_checked_orientation(header),
        )

    @property
    def volume_bytes(self) -> int:
        """Of one volume as it is stored."""
        return math.prod(self.shape) * self.dtype.itemsize


def _checked_orientation(header: Nifti1Header) -> np.ndarray:
    from nibabel.orientations import io_orientation

    affine = np.asarray(header.get_best_affine(), np.float64)
    # A column of zeros, or a value that is not finite, has no direction.
    with np.errstate(all="ignore"):
        orientation = io_orientation(affine) if np.isfinite(affine).all() else np.full((3, 2), np.nan)
    if not np.isfinite(orientation).all():
        raise ImageError("its header gives no orientation: the affine is degenerate")
    return orientation.astype(int)


def inflated(head: bytes) -> bytes:
    """The start of a file's content, inflated where the file, which starts with `head`, is gzipped."""
    if head[:2] != b"\x1f\x8b":
        return head
    try:
        # No more than the longest header, so that the checksum at the end is not needed.
        return zlib.decompressobj(31).decompress(head, max(_LENGTHS))
    except zlib.error:
        return b""


def header_length(head: bytes) -> int:
    """The length that a NIfTI header begins with, in either byte order; 0 for other files."""
    declared = {int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")}
    return next((length for length in _LENGTHS if length in declared), 0)
