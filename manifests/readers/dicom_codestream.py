"""The header of a compressed frame, read before a decoder sees it.

Decoders reserve memory for the size that the compressed data declares. Here it is compared with what the DICOM header
declares, so that a damaged frame is refused and not decoded.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from ...base import ImageError

_JPEG_KINDS: dict[int, Literal["jpeg", "lossless", "jpeg-ls"]] = {
    0xC0: "jpeg",
    0xC1: "jpeg",
    0xC2: "jpeg",
    0xC3: "lossless",
    0xF7: "jpeg-ls",
}
"""By the marker that starts the frame. Hierarchical and arithmetic ones (0xC5 to 0xCF) are not among them."""
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))
_CODESTREAM = b"\xff\x4f\xff\x51"
_JP2 = b"\x00\x00\x00\x0cjP  "
_MOST_TILES = 65_535


@dataclass(frozen=True)
class Codestream:
    """The header of one compressed frame."""

    kind: Literal["jpeg", "lossless", "jpeg-ls", "jpeg2000"]
    rows: int
    columns: int
    samples: int
    precision: int
    """Bits of a sample."""
    adobe: bool = False
    """Whether an Adobe marker declares the colour transform, so that a JPEG decoder gives RGB by itself."""


def describe_jpeg(frame: bytes) -> Codestream:
    """The header of a JPEG or JPEG-LS frame."""
    if frame[:2] != b"\xff\xd8":
        raise _damaged()
    place, adobe = 2, False
    while place + 4 <= len(frame):
        if frame[place] != 0xFF:
            raise _damaged()
        marker = frame[place + 1]
        if marker == 0xFF or marker in _WITHOUT_LENGTH:
            place += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", frame, place + 2)
        body = frame[place + 4 : place + 2 + length]
        if marker in _JPEG_KINDS:
            # No compressed value looks like the end marker. Some decoders fill up what is cut off, without an error.
            if frame.find(b"\xff\xd9", place) < 0:
                raise ImageError("the file is cut off")
            if len(body) < 6 or len(body) < 6 + 3 * body[5]:
                raise _damaged()
            precision, rows, columns, samples = struct.unpack_from(">BHHB", body)
            return Codestream(_JPEG_KINDS[marker], rows, columns, samples, precision, adobe)
        if 0xC5 <= marker <= 0xCF and marker not in (0xC8, 0xCC):
            raise ImageError("compressed as a kind of JPEG (hierarchical or arithmetic) that is not supported")
        if marker in (0xD9, 0xDA) or length < 2:
            break
        adobe |= marker == 0xEE and body.startswith(b"Adobe")
        place += 2 + length
    raise _damaged()


def describe_jpeg2000(frame: bytes) -> tuple[Codestream, bytes]:
    """The header of a JPEG 2000 frame, and the frame without the file header that some writers put around it."""
    if frame.startswith(_JP2):
        frame = _unboxed(frame)
    if not frame.startswith(_CODESTREAM) or len(frame) < 45:
        raise _damaged()
    right, bottom, left, top, width, height, tile_left, tile_top, samples = struct.unpack_from(">8LH", frame, 8)
    if not (left < right and top < bottom and width and height and tile_left <= left and tile_top <= top):
        raise _damaged()
    if -(-(right - tile_left) // width) * -(-(bottom - tile_top) // height) > _MOST_TILES:
        raise _damaged()
    components = frame[42 : 42 + 3 * samples]
    if len(components) < 3 * samples or any(step == 0 for step in components[1::3] + components[2::3]):
        raise _damaged()
    if len(set(components[::3])) != 1:
        raise ImageError("compressed as JPEG 2000 with samples of different depths, which is not supported")
    precision = (components[0] & 0x7F) + 1
    return Codestream("jpeg2000", bottom - top, right - left, samples, precision), frame


def _unboxed(frame: bytes) -> bytes:
    place = 0
    while place + 8 <= len(frame):
        length, kind = struct.unpack_from(">L4s", frame, place)
        if kind == b"jp2c":
            return frame[place + (16 if length == 1 else 8) :]
        if length < 8:
            break
        place += length
    raise _damaged()


def _damaged() -> ImageError:
    return ImageError("the file is damaged: its compressed pixels do not match its header")
