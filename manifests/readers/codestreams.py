"""Compressed pixels: the headers of JPEG and JPEG 2000, and JPEG decoded or checked so that missing data are noticed.

Decoders reserve memory for the size that the compressed data declares. `describe_jpeg` and `describe_jpeg2000` read
it before, so that a frame of another size than its file declares is refused and not decoded.

Where compressed pixels end early or make no sense, libjpeg fills up with grey or noise and warns. Pillow keeps the
warnings to itself; `decode_jpeg` takes the same library through simplejpeg, and a warning is damage, but for those that
cost no pixel: an odd but clear header, and bytes that are left over before the end marker (cameras pad), if they are
few or all the same. More of them, or a decoder that ended amid zeros, are the trace of other data than the image's.
No decoder of lossless JPEG warns: `refuse_lost_values` counts the bits that its values need.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import simplejpeg

from ...base import ImageError
from .read_errors import refuse_too_many

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
_COLOURS = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
_ODD_HEADER = ("Invalid SOS parameters", "Unknown Adobe color transform", "unknown JFIF revision", "bad ICC")
_LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0x(..)")
_FEW = 16
"""Bytes before the end marker that are taken for padding whatever they are."""
_READ_AHEAD = 8
"""Bytes that the decoder takes before it needs them."""


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
    signed: bool = False
    """Whether samples are signed, as JPEG 2000 declares it."""


def describe_jpeg(frame: bytes) -> Codestream:
    """The header of a JPEG or JPEG-LS frame."""
    adobe = False
    for marker, body, end in _segments(frame):
        if marker in _JPEG_KINDS:
            # No compressed value looks like the end marker. Some decoders fill up what is cut off, without an error.
            if frame.find(b"\xff\xd9", end) < 0:
                raise ImageError("the file is cut off")
            if len(body) < 6 or len(body) < 6 + 3 * body[5]:
                raise _damaged()
            precision, rows, columns, samples = struct.unpack_from(">BHHB", body)
            return Codestream(_JPEG_KINDS[marker], rows, columns, samples, precision, adobe)
        if 0xC5 <= marker <= 0xCF and marker not in (0xC8, 0xCC):
            raise ImageError("compressed as a kind of JPEG (hierarchical or arithmetic) that is not supported")
        adobe |= marker == 0xEE and body.startswith(b"Adobe")
    raise _damaged()


def _segments(frame: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Marker and content of each segment up to the start of the scan, and the place after it."""
    if frame[:2] != b"\xff\xd8":
        raise _damaged()
    place = 2
    while place + 4 <= len(frame):
        if frame[place] != 0xFF:
            raise _damaged()
        marker = frame[place + 1]
        if marker == 0xFF or marker in _WITHOUT_LENGTH:
            place += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", frame, place + 2)
        if marker == 0xD9 or length < 2:
            break
        yield marker, frame[place + 4 : place + 2 + length], place + 2 + length
        if marker == 0xDA:
            break
        place += 2 + length


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
    precision, signed = (components[0] & 0x7F) + 1, components[0] > 0x7F
    return Codestream("jpeg2000", bottom - top, right - left, samples, precision, signed=signed), frame


def decode_jpeg(data: bytes, mode: str, scale: int = 1) -> np.ndarray | None:
    """The pixels of a JPEG stream; what follows its end marker is ignored.

    Args:
        data: from the start marker on.
        mode: what Pillow calls its colours: `L`, `RGB` or `CMYK`, the last as stored (mostly inverted).
        scale: 1, 2, 4 or 8: decode at this fraction of the size, which costs less.

    Returns:
        uint8, (H, W), (H, W, 3) or (H, W, 4), the same as Pillow's; None where Pillow must decode: its chroma is
        sampled in a way that simplejpeg does not know, or a warning stopped the decoder that costs no pixel.

    Raises:
        ImageError: it is cut off or damaged, has too many pixels, or is of a kind that libjpeg does not read.
    """
    try:
        height, width = map(int, simplejpeg.decode_jpeg_header(data)[:2])
        refuse_too_many(height * width)
        # As Pillow decodes: the exact transform, and chroma interpolated.
        pixels = simplejpeg.decode_jpeg(
            data, _COLOURS[mode], fastdct=False, fastupsample=False, min_factor=scale,
            min_height=-(-height // scale), min_width=-(-width // scale),
        )  # fmt: skip
        return pixels[..., 0] if mode == "L" else pixels
    except ValueError as error:
        warning = str(error)
    if "Could not determine" in warning or _costs_no_pixel(data, warning):
        return None
    if "Premature end of JPEG file" in warning:
        raise ImageError("the file is cut off")
    if "Unsupported" in warning:
        raise ImageError("is a kind of JPEG that is not supported")
    raise ImageError("the file is damaged: its compressed pixels are incomplete or changed")


def _costs_no_pixel(data: bytes, warning: str) -> bool:
    left_over = _LEFT_OVER.search(warning)
    if left_over is None:
        return any(text in warning for text in _ODD_HEADER)
    count, marker = int(left_over[1]), int(left_over[2], 16)
    if marker != 0xD9:
        # Before any other marker: harmless ahead of the first scan, the trace of damage between scans.
        return marker not in (0xC4, 0xDA, *range(0xD0, 0xD8))
    return count <= _FEW or any(
        count <= _run_before(end.start(), data, count + _READ_AHEAD + 1) <= count + _READ_AHEAD
        for end in re.finditer(rb"\xff\xd9", data)
    )


def _run_before(end: int, data: bytes, most: int) -> int:
    """How many bytes before `end` are the same, as far as the last `most` go."""
    part = data[max(0, end - most) : end]
    return len(part) - len(part.rstrip(part[-1:]))


def refuse_lost_values(frame: bytes, values: np.ndarray) -> None:
    """Refuses a lossless JPEG whose data are fewer or more than its values need, since decoders fill up in silence.

    How many bits each value needs follows from its prediction and the frame's own table of codes. Frames with restart
    intervals or several scans are not checked.

    Args:
        frame: the compressed frame.
        values: (H, W) or (H, W, samples), whole numbers, as they were decoded.

    Raises:
        ImageError: it is cut off or damaged.
    """
    costs, precision, start, scan = {}, 8, 0, b""
    for marker, body, end in _segments(frame):
        if marker == 0xC4:
            costs |= _costs(body)
        elif marker == 0xC3:
            precision = body[0]
        elif marker == 0xDD and any(body):
            return
        start, scan = end, body
    channels = np.atleast_3d(values).astype(np.int64) & (2**precision - 1)
    count = channels.shape[2]
    if not scan or scan[0] != count or len(scan) < 4 + 2 * count:
        return
    predictor, shift = scan[1 + 2 * count], scan[3 + 2 * count] & 15
    needed = 0
    for channel in range(count):
        cost = costs.get(scan[2 + 2 * channel] >> 4)
        if cost is None or predictor not in _PREDICTED:
            raise _damaged()
        needed += int(cost[_differences(channels[..., channel] >> shift, precision - shift, predictor) & 0xFFFF].sum())
    data = frame[start:]
    after = re.search(rb"\xff+[^\x00\xff]", data)
    data = data[: after.start() if after else None]
    spare = 8 * (len(data) - data.count(b"\xff\x00")) - needed
    if spare < 0:
        raise ImageError("the file is cut off")
    if spare >= 8 * (1 + _FEW):
        raise ImageError("the file is damaged: its compressed pixels are incomplete or changed")


_PREDICTED: dict[int, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    1: lambda left, above, corner: left,
    2: lambda left, above, corner: above,
    3: lambda left, above, corner: corner,
    4: lambda left, above, corner: left + above - corner,
    5: lambda left, above, corner: left + ((above - corner) >> 1),
    6: lambda left, above, corner: above + ((left - corner) >> 1),
    7: lambda left, above, corner: (left + above) >> 1,
}
"""ISO/IEC 10918-1, table H.1."""


def _differences(values: np.ndarray, bits: int, predictor: int) -> np.ndarray:
    """What a lossless JPEG stores of (H, W) values of `bits` bits: the differences from their prediction."""
    differences = values.copy()
    differences[0, 0] -= 1 << (bits - 1)
    differences[0, 1:] -= values[0, :-1]
    differences[1:, 0] -= values[:-1, 0]
    differences[1:, 1:] -= _PREDICTED[predictor](values[1:, :-1], values[:-1, 1:], values[:-1, :-1])
    return differences


def _costs(body: bytes) -> dict[int, np.ndarray]:
    """Bits that each difference, modulo 65,536, takes: (65536,) by the number of the table, of a segment of tables."""
    differences = np.arange(65536)
    sizes = np.frexp(np.minimum(differences, 65536 - differences))[1]
    costs, place = {}, 0
    while place + 17 <= len(body):
        counts = list(body[place + 1 : place + 17])
        symbols = body[place + 17 : place + 17 + sum(counts)]
        lengths = np.full(256, 1 << 20)  # a value without a code cannot have been stored
        lengths[list(symbols)] = np.repeat(np.arange(1, 17), counts)[: len(symbols)]
        costs[body[place]] = lengths[sizes] + np.where(sizes < 16, sizes, 0)
        place += 17 + sum(counts)
    return costs


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
