"""Slices of NIfTI volumes, their headers through nibabel: `vol.nii.gz#axial` and a frame.

A volume is turned to RAS+ first (`nibabel.as_closest_canonical`: axes swapped and flipped, never resampled), so that
the first axis goes from left to right, the second from back to front, the third from below to above. `frame` counts
slices from 0 along the third axis for `axial`, the second for `coronal`, the first for `sagittal`. A slice is laid out
as radiologists look at it: the patient's right on the picture's left and the front above (axial) or the head above
(coronal); the front on the left and the head above (sagittal). A pixel is a voxel, also where voxels are not square.

Stored values pass the header's slope and intercept and then the manifest's reading; `cal_min` and `cal_max` are not
used. NIfTI-1 and NIfTI-2 are read, as they are or through gzip; a file is known by its content.
"""

from __future__ import annotations

import gzip
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...base import ImageError, did_you_mean, one_of
from ..schema.intensity_policy import IntensityPolicy
from .cache import Memo, file_key
from .intensity import Bounds, chosen_bounds, thinned, to_8_bits
from .nifti_header import DAMAGE, Header, damage_in_words, header_length, inflated
from .slices import AXES, Axis
from .source import Source, reason_of

MOST_BYTES = 2**30
"""Of a volume that has to be decoded whole; a header may declare anything."""
_MOST_INFLATED = 1032
"""Bytes that one byte of a gzip file can become at most."""


def recognises(head: bytes) -> bool:
    """Whether a file that starts with `head` is NIfTI, alone, gzipped, or one half of a pair."""
    return header_length(inflated(head)) > 0


def read(source: Source) -> np.ndarray:
    """The pixels of one slice: uint8, (H, W), or (H, W, 3) of RGB volumes.

    Raises:
        ImageError: no axis or slice is named, there is no such slice or fourth index, the file is one half of a pair,
            damaged or cut off, its values are no real numbers, or the volume is too large to be decoded.
    """
    axis, number = _cut(source)
    volume = _volume(source.path, number)
    count = volume.oriented.shape[AXES[axis]]
    if source.frame is None and count > 1:
        raise ImageError(f"holds {count} {axis} slices; say which in the manifest's column `frame`, from 0")
    if (source.frame or 0) >= count:
        raise ImageError(f"has no {axis} slice {source.frame}: it holds {count}, from 0")
    try:
        return volume.picture(axis, source.frame or 0, source.reading)
    except DAMAGE as error:
        raise ImageError(damage_in_words(error)) from error


def slice_count(path: Path, axis: Axis) -> int:
    """How many slices the volume in `path` has along `axis`, read from its header.

    Raises:
        ImageError: as `read`.
    """
    header = Header.of(path)
    return header.shape[int(np.flatnonzero(header.orientation[:, 0] == AXES[axis])[0])]


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
        raise ImageError("a volume is cut along an axis; write `#axial` after its name in the column `path`")
    if name not in AXES:
        raise ImageError(f'there is no axis "{name}", only {one_of(AXES)}.{did_you_mean(name, AXES)}')
    if at and not re.fullmatch(r"[0-9]{1,9}", number):
        raise ImageError(f'"{number}" after @ is no index of the fourth dimension; write `{name}@0`')
    return name, int(number) if at else None  # pyright: ignore[reportReturnType]


@dataclass(eq=False)
class _Volume:
    """One volume as it is stored, and the same turned to RAS+."""

    stored: np.ndarray
    """(voxels,) in the order of the file."""
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
            self.bounds[reading] = chosen_bounds(self.scaled(thinned(self.stored)), reading)
        return self.bounds[reading]


_VOLUMES: Memo[_Volume] = Memo(8, 512 * 2**20)


def _volume(path: Path, number: int | None) -> _Volume:
    try:
        return _VOLUMES.get((*file_key(path), number), lambda: _opened(path, number))
    except OSError as error:
        raise ImageError(reason_of(error)) from error


def _opened(path: Path, number: int | None) -> tuple[_Volume, int]:
    from nibabel.orientations import apply_orientation

    header = Header.of(path)
    if number is None and header.volumes > 1:
        raise ImageError(f"holds {header.volumes} volumes; name one in the column `path`, such as `#axial@0`")
    if (number or 0) >= header.volumes:
        raise ImageError(f"has no volume {number}: it holds {header.volumes}, from 0")
    try:
        stored, held = _stored(path, header, number or 0)
        oriented = apply_orientation(stored.reshape(header.shape, order="F"), header.orientation)
    except DAMAGE as error:
        raise ImageError(damage_in_words(error)) from error
    return _Volume(stored, oriented, header.slope, header.inter), held


def _stored(path: Path, header: Header, number: int) -> tuple[np.ndarray, int]:
    """The values of a volume in the order of the file, (voxels,), and how many bytes of memory they take."""
    size, begin = header.volume_bytes, header.start + number * header.volume_bytes
    there = path.stat().st_size
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    if begin + size > there * (_MOST_INFLATED if is_gzip else 1):
        raise ImageError("the file is cut off: its header declares more values than it holds")
    if not is_gzip:
        # Only the pages of the slices that are asked for are read.
        mapped = np.memmap(path, header.dtype, "r", begin, (size // header.dtype.itemsize,))
        return mapped.view(np.ndarray), 0
    if size > MOST_BYTES:
        raise ImageError(f"a volume of {size:,} bytes is too large to be decoded; save it without gzip")
    stream = _STREAMS.get(file_key(path), lambda: (_Inflating.of(path), 0))
    data = stream.read(begin, size, is_last=number == header.volumes - 1)
    return np.frombuffer(data, header.dtype), size


@dataclass(eq=False)
class _Inflating:
    """An open gzip file: volumes of a series are read one after the other without starting again."""

    file: gzip.GzipFile
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, path: Path) -> _Inflating:
        return cls(gzip.GzipFile(fileobj=path.open("rb")))

    def read(self, begin: int, size: int, *, is_last: bool) -> np.ndarray:
        """uint8, (size,), from `begin`. After the last volume the rest is read too, since a checksum ends the file."""
        data = np.empty(size, np.uint8)
        with self.lock:
            try:
                self.file.seek(begin)
                self._fill(memoryview(data))  # pyright: ignore[reportArgumentType]
                while is_last and self.file.read(2**20):
                    pass
            except BaseException:
                self.file.rewind()
                raise
        return data

    def _fill(self, room: memoryview) -> None:
        done = 0
        while done < len(room):
            count = self.file.readinto(room[done : done + 2**22])
            if not count:
                raise EOFError("truncated")
            done += count


_STREAMS: Memo[_Inflating] = Memo(2)
