"""What a NIfTI header says, through nibabel, and checked before anything else is read.

Of nibabel's own checks none is run: they print to the terminal what they find odd.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ...base import ImageError
from .source import reason_of

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

_HEADER = {348: ("n+1", 344), 540: ("n+2", 4)}
"""Magic of a single file, and where it stands, by the length of the header that a file begins with."""
DAMAGE = (
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    OSError,
    MemoryError,
)
"""What gzip, nibabel and numpy raise on damaged files, found by feeding them damaged files."""


@dataclass(frozen=True, eq=False)
class Header:
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
    """(3, 2): the axis that each stored axis becomes, and 1 or -1, as nibabel has it."""

    @classmethod
    def of(cls, path: Path) -> Header:
        """Reads and checks the header of `path`.

        Raises:
            ImageError: it is none of a single NIfTI file, or says what cannot be.
        """
        try:
            with path.open("rb") as file:
                return cls._parsed(inflated(file.read(8192)))
        except ImageError:
            raise
        except (*DAMAGE, _header_error()) as error:
            raise ImageError(damage_in_words(error)) from error

    @classmethod
    def _parsed(cls, head: bytes) -> Header:
        length = header_length(head)
        if not length:
            raise ImageError("is no NIfTI file")
        magic, place = _HEADER[length]
        if len(head) < length:
            raise ImageError("the file is cut off")
        if head[place : place + 2] == b"ni":
            raise ImageError("is one half of a .hdr/.img pair; convert the two to one .nii file")
        if head[place : place + 3] != magic.encode():
            raise ImageError("its header is damaged, or older than NIfTI (Analyze 7.5); convert it to one .nii file")
        nifti1, nifti2 = _nibabel()
        header = (nifti1.Nifti1Header if length == 348 else nifti2.Nifti2Header)(head[:length], check=False)
        shape, volumes = _checked_shape(header)
        slope, inter = header.get_slope_inter()
        return cls(
            shape=shape,
            volumes=volumes,
            dtype=_checked_dtype(header),
            start=_checked_start(header, length),
            slope=1.0 if slope is None else float(slope),
            inter=float(inter or 0),
            orientation=_checked_orientation(header),
        )

    @property
    def volume_bytes(self) -> int:
        """Of one volume as it is stored."""
        return math.prod(self.shape) * self.dtype.itemsize


def _checked_shape(header: Nifti1Header) -> tuple[tuple[int, int, int], int]:
    shape = tuple(int(length) for length in header.get_data_shape())
    if not 2 <= len(shape) <= 7 or any(length < 1 for length in shape):
        raise ImageError("the file is damaged: its header gives no size")
    if any(length > 1 for length in shape[4:]):
        raise ImageError(f"has {len(shape)} dimensions, {' x '.join(map(str, shape))}; volumes have three or four")
    x, y, z, volumes = (*shape, 1, 1)[:4]
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and max(x * y, x * z, y * z) > limit:
        raise ImageError(f"its header declares slices of more than {limit:,} pixels")
    return (x, y, z), volumes


def _checked_dtype(header: Nifti1Header) -> np.dtype:
    try:
        dtype = header.get_data_dtype()
    except _header_error() as error:
        raise ImageError("the file is damaged: its header gives no type of values that is known") from error
    if dtype.names and dtype.itemsize != 3:
        raise ImageError("holds colours with alpha; save it as RGB24 or grey")
    if not dtype.names and (dtype.kind not in "iuf" or dtype.itemsize == 0):
        raise ImageError(f"holds {dtype.name} values, which are no shades of grey")
    return dtype


def _checked_start(header: Nifti1Header, length: int) -> int:
    start = int(header.get_data_offset())
    if start < length:
        raise ImageError("the file is damaged: its header gives no place of the values")
    return start


def _checked_orientation(header: Nifti1Header) -> np.ndarray:
    from nibabel.orientations import io_orientation

    affine = np.asarray(header.get_best_affine(), np.float64)
    # What is no axis of a body, a column of zeros or a number that is none, has no place in the orientation.
    with np.errstate(all="ignore"):
        orientation = io_orientation(affine) if np.isfinite(affine).all() else np.full((3, 2), np.nan)
    if not np.isfinite(orientation).all():
        raise ImageError("its header gives no orientation: the affine is degenerate")
    return orientation.astype(int)


def inflated(head: bytes) -> bytes:
    """The beginning of what a file holds, of which `head` is the beginning."""
    if head[:2] != b"\x1f\x8b":
        return head
    try:
        # No more than the longest header: the checksum at the end is not a matter of what the file is.
        return zlib.decompressobj(31).decompress(head, max(_HEADER))
    except zlib.error:
        return b""


def header_length(head: bytes) -> int:
    """The length that a NIfTI header begins with, in either byte order; 0 for other files."""
    declared = {int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")}
    return next((length for length in _HEADER if length in declared), 0)


def _nibabel() -> tuple[Any, Any]:
    try:
        from nibabel import nifti1, nifti2
    except ImportError as error:
        raise ImageError('NIfTI is read through nibabel: pip install "medprobe[medical]"') from error
    return nifti1, nifti2


def _header_error() -> type[Exception]:
    from nibabel.spatialimages import HeaderDataError

    return HeaderDataError


def damage_in_words(error: BaseException) -> str:
    """Why a file could not be read, of what gzip, nibabel or numpy raised; names no folder."""
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    if isinstance(error, EOFError):
        return "the file is cut off"
    if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
        return reason_of(error)
    return "the file is damaged: its header or its compression cannot be read"
