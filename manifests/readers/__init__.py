"""Reads one image of any supported format; the reader is chosen by the content of the file, not by its name.

In: a `Source`. Out: pixels, uint8, (H, W) grey or (H, W, 3) RGB.
A further format is one file here, with `recognises` and `read`, and one line in `READERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ...base import ImageError
from . import dicom, hdf5, nifti, npz, pillow, zarr_stacks
from .image_stack import Stack
from .read_errors import DamageAsImageError
from .source import Source, is_store, refuse_special

__all__ = [
    "READERS",
    "Reader",
    "content_digest",
    "frame_count",
    "looks_like_an_image",
    "of_one_colour",
    "read_image",
    "reader_of",
]

_CONSTANT = "f" * 16
"""How the digest of an image of one colour begins."""
_HEAD = 512
"""Bytes that a reader may inspect; DICOM has its signature at byte 128."""


@dataclass(frozen=True)
class Reader:
    """One way to turn a file into pixels."""

    name: str
    recognises: Callable[[bytes], bool]
    """Whether a file that starts with these 512 bytes has this format."""
    read: Callable[[Source], np.ndarray]
    """uint8, (H, W) or (H, W, 3); raises `ImageError` with a reason that names no folder, or anything on damage."""
    frames: Callable[[Source], int]
    """How many images or slices are under the path of a source, read without decoding them; raises as `read`."""


def _of_stacks(name: str, recognises: Callable[[bytes], bool], stack_of: Callable[[Source], Stack]) -> Reader:
    return Reader(
        name, recognises, lambda source: stack_of(source).pixels(source), lambda source: stack_of(source).layout.count
    )


_ZARR = _of_stacks("zarr", lambda head: False, zarr_stacks.stack_of)
"""A store is a folder, and so not recognised by the bytes of a file."""
READERS: tuple[Reader, ...] = (
    # First, because a DICOM file may start with the signature of a TIFF as well.
    Reader("dicom", dicom.recognises, dicom.read, dicom.frames),
    Reader("image", pillow.recognises, pillow.read, pillow.frames),
    Reader("npz", npz.recognises, npz.read, npz.frames),
    Reader("nifti", nifti.recognises, nifti.read, nifti.frames),
    _of_stacks("hdf5", hdf5.recognises, hdf5.stack_of),
    _ZARR,
)


@DamageAsImageError()
def read_image(source: Source) -> np.ndarray:
    """The pixels of one sample, decoded in this process.

    A decoder that crashes ends the process. `extract`, `manifest check` and `manifest show` decode in workers
    (`worker_pool.py`), where it costs one image.

    Returns:
        uint8, (H, W) grey or (H, W, 3) RGB; the colour policy is in `readers/pillow.py` and docs/formats.md.

    Raises:
        ImageError: the reason, without a folder: missing, empty, cut off, damaged, too large, not an image.

    Examples:
        >>> from medprobe.manifests import read_image
        >>> read_image(manifest.source(0)).shape
        (32, 32, 3)
    """
    pixels = reader_of(source.path).read(source)
    if 0 in pixels.shape:
        raise ImageError("has no pixels")
    return pixels


@DamageAsImageError()
def frame_count(source: Source) -> int:
    """How many images a file or an array holds, or slices along the axis that the path names, without decoding them.

    Raises:
        ImageError: as `read_image`; a `SelectionError` where the array or axis is not there.
    """
    return reader_of(source.path).frames(source)


@DamageAsImageError()
def reader_of(path: Path) -> Reader:
    """The reader that recognises the content of a file, or a folder."""
    refuse_special(path.stat())
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except IsADirectoryError:
        if is_store(path):
            return _ZARR
        raise
    reader = next((reader for reader in READERS if reader.recognises(head)), None)
    if reader is None:
        raise ImageError(_what_else(head))
    return reader


def looks_like_an_image(head: bytes) -> bool:
    """Whether a file that starts with `head`, 512 bytes, is an image and not an archive of arrays or a volume."""
    return pillow.recognises(head) or dicom.recognises(head)


def content_digest(pixels: np.ndarray) -> str:
    """32 hex digits (BLAKE2b) over shape and bytes: equal for equal pixels, whatever file they came from.

    The digest of an image whose pixels are all the same begins with sixteen `f`: such images are equal without showing
    the same thing, and who has the digests alone must know (`of_one_colour`).

    Args:
        pixels: uint8, (H, W) or (H, W, 3).

    Examples:
        >>> import numpy as np
        >>> from medprobe.manifests import content_digest
        >>> black = np.zeros((8, 8), np.uint8)
        >>> content_digest(black) == content_digest(black.copy()), content_digest(black) == content_digest(black + 1)
        (True, False)
    """
    hasher = blake2b(np.array(pixels.shape, "<i8").tobytes(), digest_size=16)
    hasher.update(np.ascontiguousarray(pixels).data)
    digest = hasher.hexdigest()
    # Most images differ within their middle row.
    middle = pixels[len(pixels) // 2]
    if (middle == pixels[0, 0]).all() and (pixels == pixels[0, 0]).all():
        return _CONSTANT + digest[len(_CONSTANT) :]
    return digest


def of_one_colour(digests: np.ndarray) -> np.ndarray:
    """Which content digests, (N, 16) uint8, are those of images of one colour: (N,) bool."""
    return (digests[:, : len(_CONSTANT) // 2] == 0xFF).all(axis=1)


def _what_else(head: bytes) -> str:
    if not head:
        return "the file is empty (0 bytes)"
    if not any(head):
        return "the file holds only zeros"
    printable = sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
    return "a text file, not an image" if printable == len(head) else "not an image of a known format"
