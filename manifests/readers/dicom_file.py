"""A DICOM file: its header read through pydicom and checked, its frames decoded one at a time."""

from __future__ import annotations

import io
import logging
import os
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from pydicom import Dataset, uid
from pydicom.datadict import tag_for_keyword
from pydicom.encaps import encapsulate, get_frame
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import convert_color_space

from ...base import ImageError
from ...base.text import install_command
from .codestreams import Codestream, decode_jpeg, describe_jpeg, describe_jpeg2000, refuse_lost_values
from .read_errors import refuse_too_many

_MAX_INFLATED_BYTES = 256 * 2**20
"""To which a deflated file may grow."""
_STRIP = 2**20
"""Pixels whose colours are converted at once."""
_PIXEL_DATA = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
_BITS_ALLOCATED = {"PixelData": (1, 8, 16, 32, 64), "FloatPixelData": (32,), "DoubleFloatPixelData": (64,)}
_UNDEFINED = 0xFFFFFFFF
"""The length of a value that consists of fragments."""
_JPEG = (*uid.JPEGTransferSyntaxes, *uid.JPEGLSTransferSyntaxes)
_ONE_SAMPLE = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_YBR = ("YBR_FULL", "YBR_FULL_422")
"""Colours that a decoder leaves for us to convert."""
_YBR_OF_JPEG2000 = ("YBR_ICT", "YBR_RCT")
_SUPPORTED = (*_ONE_SAMPLE, "RGB", *_YBR, *_YBR_OF_JPEG2000)
_UNSUPPORTED = ("HSV", "ARGB", "CMYK", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "XYB")
_COLOURS = ("Red", "Green", "Blue")
_KEYWORDS = (
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    *(f"{kind}PixelPadding{what}" for kind in ("", "Float", "DoubleFloat") for what in ("Value", "RangeLimit")),
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
    "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction",
    *(f"{colour}PaletteColorLookupTableDescriptor" for colour in _COLOURS),
    *(f"{kind}{colour}PaletteColorLookupTableData" for kind in ("", "Segmented") for colour in _COLOURS),
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
)  # fmt: skip
"""How pixels are stored and displayed."""


class Content:
    """The bytes of a file; a read never asks for, and so never reserves, more than there are."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self.size = file, size
        self.seek, self.tell = file.seek, file.tell
        self.as_file = cast("BinaryIO", self)
        """The same, typed as what pydicom expects; it only reads, seeks and tells."""
        self.whole = False
        """Refuse to return part of a value; set once the header, which is searched in large steps, has been read."""

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes."""
        left = max(0, self.size - self.tell())
        # pydicom reads tags of 4 and 8 bytes until there are no more.
        if self.whole and size > max(left, 8):
            raise ImageError("the file is cut off")
        return self._file.read(left if size < 0 else min(size, left))


class PixelElement(NamedTuple):
    """Where the pixels are in a file."""

    keyword: str
    """`PixelData`, `FloatPixelData` or `DoubleFloatPixelData`."""
    vr: str
    length: int
    """Bytes of the value; `_UNDEFINED` where it consists of fragments."""
    start: int
    """Of the value."""


@dataclass(frozen=True)
class Header:
    """The requested elements of a header, read up to the pixels."""

    elements: Dataset
    meta: Dataset
    """TransferSyntaxUID and MediaStorageSOPClassUID, where there are any."""
    syntax: uid.UID
    """The transfer syntax: how the file is encoded and its pixels compressed."""
    content: Content
    """The file, or what it inflates to."""
    pixels: PixelElement | None

    @property
    def is_cut_off(self) -> bool:
        """Whether the file ends before its pixels do; of compressed ones their length is not known."""
        if self.pixels is None or self.pixels.length == _UNDEFINED:
            return False
        # Some writers leave out the byte that pads to an even length.
        return self.pixels.start + self.pixels.length > self.content.size + 1


def read_header(file: BinaryIO, keywords: Sequence[str]) -> Header:
    """Reads the elements called `keywords` from the header of an open DICOM file, and no other.

    Not `pydicom.dcmread`, which inflates deflated files without a limit and takes the memory that an element declares.

    Raises:
        ImageError: it is deflated, and cut off or too large.
    """
    content = Content(file, os.fstat(file.fileno()).st_size)
    content.seek(132)
    wanted = [tag_for_keyword("TransferSyntaxUID"), tag_for_keyword("MediaStorageSOPClassUID")]
    meta = read_dataset(
        content.as_file,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, vr, length: tag >> 16 != 2,
        specific_tags=cast("list", wanted),
    )
    syntax = meta.get("TransferSyntaxUID")
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        content = _inflated(content)
    implicit, little = _encoding(content, syntax)
    found: list[PixelElement] = []

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        if tag in _PIXEL_DATA:
            found.append(PixelElement(_PIXEL_DATA[tag], vr or "OW", length, content.tell()))
        return tag in _PIXEL_DATA

    tags = [tag_for_keyword(keyword) for keyword in keywords]
    elements = read_dataset(content.as_file, implicit, little, stop_when=at_pixels, specific_tags=cast("list", tags))
    if syntax is None:
        # Without a transfer syntax pixels are not compressed; how the elements are encoded determines the rest.
        syntax = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        syntax = uid.ImplicitVRLittleEndian if elements.original_encoding[0] else syntax
    return Header(elements, meta, syntax, content, found[-1] if found else None)


def _encoding(content: Content, syntax: uid.UID | None) -> tuple[bool, bool]:
    """Whether value representations are implicit, and whether numbers are little endian."""
    if syntax is not None:
        return syntax == uid.ImplicitVRLittleEndian, syntax != uid.ExplicitVRBigEndian
    start = content.tell()
    head = content.read(6)
    content.seek(start)
    # The first group is a small number, so its larger byte is zero; pydicom corrects implicit to explicit by itself.
    return True, not (head[:1] == b"\x00" and head[4:6].isalpha())


def _inflated(content: Content) -> Content:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data = inflater.decompress(content.read(), _MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        limit = _MAX_INFLATED_BYTES // 2**20
        raise ImageError(f"is deflated and inflates to more than {limit} MiB (a decompression bomb)")
    if not inflater.eof:
        raise ImageError("the file is cut off")
    return Content(io.BytesIO(data), len(data))


@dataclass(frozen=True)
class Layout:
    """How pixels are stored, as the header declares it; checked. The fields are the options of pydicom's decoders."""

    rows: int
    columns: int
    samples_per_pixel: int
    """1, or 3 for colours."""
    number_of_frames: int
    bits_allocated: int
    bits_stored: int
    pixel_representation: int
    planar_configuration: int
    photometric_interpretation: str
    """A supported one."""
    pixel_keyword: str
    pixel_vr: str

    @classmethod
    def of(cls, elements: Dataset, pixels: PixelElement) -> Layout:
        """The layout that a header declares."""
        is_integer = pixels.keyword == "PixelData"
        samples, allocated = _integer(elements, "SamplesPerPixel", 1), _integer(elements, "BitsAllocated")
        photometric = elements.get("PhotometricInterpretation")
        return cls(
            rows=_integer(elements, "Rows"),
            columns=_integer(elements, "Columns"),
            samples_per_pixel=samples,
            number_of_frames=_integer(elements, "NumberOfFrames", 1) or 1,
            bits_allocated=allocated,
            bits_stored=_integer(elements, "BitsStored", allocated) if is_integer else allocated,
            pixel_representation=int(is_integer and _integer(elements, "PixelRepresentation", 0) != 0),
            planar_configuration=_integer(elements, "PlanarConfiguration", 0) if samples > 1 else 0,
            photometric_interpretation=photometric.strip() if isinstance(photometric, str) else "",
            pixel_keyword=pixels.keyword,
            pixel_vr=pixels.vr,
        )

    @property
    def pixels(self) -> int:
        """Of one frame."""
        return self.rows * self.columns

    @property
    def is_shown_as_stored(self) -> bool:
        """Whether values are greys where the file requests no window: unsigned, of at most 8 bits."""
        return self.pixel_keyword == "PixelData" and not self.pixel_representation and self.bits_stored <= 8

    def bits_up_to(self, frames: int) -> int:
        """Bits that so many uncompressed frames take."""
        bits = frames * self.pixels * self.samples_per_pixel * self.bits_allocated
        return bits // 3 * 2 if self.photometric_interpretation == "YBR_FULL_422" else bits


@dataclass(frozen=True)
class DicomFile(Header):
    """An open DICOM file with pixels, whose header was checked."""

    layout: Layout

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[DicomFile]:
        """Reads the header of the file at `path` and checks it, before anything is decoded."""
        silence_pydicom()
        with path.open("rb") as file:
            header = read_header(file, _KEYWORDS)
            if not isinstance(header.syntax, uid.UID) or header.syntax.name == str(header.syntax):
                raise ImageError("is not encoded as the DICOM standard defines (an unknown transfer syntax)")
            if header.pixels is None:
                raise ImageError("holds no pixels (a report, plan or waveform), or is cut off before them")
            layout = Layout.of(header.elements, header.pixels)
            _check(layout, header)
            yield cls(**vars(header), layout=layout)

    def frame(self, index: int) -> np.ndarray:
        """The stored values of one frame: (H, W), or (H, W, 3) unsigned RGB."""
        assert self.pixels is not None
        self.content.seek(self.pixels.start)
        self.content.whole = True
        return self._compressed(index) if self.syntax.is_encapsulated else self._uncompressed(index, self.pixels.length)

    def _uncompressed(self, index: int, length: int) -> np.ndarray:
        if length == _UNDEFINED:
            raise ImageError(
                "the file is damaged: its pixels are compressed, and its header declares that they are not"
            )
        if -(-self.layout.bits_up_to(index + 1) // 8) > length:
            raise ImageError("the file is cut off or damaged: it holds fewer pixels than its header declares")
        options: dict[str, Any] = {**vars(self.layout), "allow_excess_frames": False}
        values, _ = get_decoder(self.syntax).as_array(self.content.as_file, index=index, raw=True, **options)
        return _in_rgb(values, self.layout.photometric_interpretation)

    def _compressed(self, index: int) -> np.ndarray:
        offsets = self.elements.get("ExtendedOffsetTable"), self.elements.get("ExtendedOffsetTableLengths")
        frame = get_frame(
            self.content.as_file,
            index,
            number_of_frames=self.layout.number_of_frames,
            extended_offsets=None if None in offsets else cast("tuple[bytes, bytes]", offsets),
        )
        stream: Codestream | None = None
        if self.syntax in uid.JPEG2000TransferSyntaxes:
            stream, frame = describe_jpeg2000(frame)
        elif self.syntax in _JPEG:
            stream = describe_jpeg(frame)
        plugin = "pydicom" if stream is None else self._plugin(stream)
        if plugin == "pillow":
            # At an eighth of the size, which is quick: for what it reports, since Pillow fills up.
            decode_jpeg(frame, "L", 8)
        attempts = [frame]
        if plugin == "pyjpegls":
            # CharLS refuses zeros before the end marker, with which some writers pad.
            end = frame.rfind(b"\xff\xd9")
            attempts.append(frame[:end].rstrip(b"\0") + frame[end:])
        for attempt in attempts:
            with suppress(RuntimeError, ValueError):
                values, decoded = self._decoded(attempt, plugin)
                break
        else:
            raise ImageError(f"the file is damaged: its pixels cannot be decoded ({self.syntax.name})")
        if stream is not None and stream.kind == "lossless":
            refuse_lost_values(frame, values)
        # Pillow has undone the colour transform that an Adobe marker declares; other decoders do not.
        as_rgb = plugin == "pillow" and stream is not None and stream.adobe
        return _in_rgb(values, "RGB" if as_rgb else str(decoded["photometric_interpretation"]))

    def _decoded(self, frame: bytes, plugin: str) -> tuple[np.ndarray, dict[str, Any]]:
        options = vars(self.layout) | {"number_of_frames": 1, "decoding_plugin": plugin, "allow_excess_frames": False}
        return get_decoder(self.syntax).as_array(encapsulate([frame], has_bot=False), index=0, raw=True, **options)

    def _plugin(self, stream: Codestream) -> str:
        """The decoder, the same on every machine whatever else is installed: lossy pixels differ between decoders."""
        layout = self.layout
        if (stream.rows, stream.columns, stream.samples) != (layout.rows, layout.columns, layout.samples_per_pixel):
            raise ImageError("the file is damaged: its compressed pixels have another size than its header declares")
        if stream.precision > layout.bits_allocated:
            raise ImageError("the file is damaged: its compressed pixels have more bits than its header declares")
        narrow = self.syntax == uid.JPEGBaseline8Bit or layout.bits_stored == 8
        plugin = "pyjpegls" if stream.kind == "jpeg-ls" else "pylibjpeg"
        if stream.kind == "jpeg" and stream.precision == 8 and narrow:
            plugin = "pillow"
        if plugin not in get_decoder(self.syntax).available_plugins:
            if plugin == "pillow":
                raise ImageError(f"{self.syntax.name} needs a Pillow that reads JPEG")
            name = {"jpeg2000": "pylibjpeg-openjpeg", "jpeg-ls": "pyjpegls"}.get(stream.kind, "pylibjpeg-libjpeg")
            raise ImageError(f"{self.syntax.name} needs the decoder {name}; {install_command('medical')}")
        return plugin


def _integer(elements: Dataset, keyword: str, default: int | None = None) -> int:
    try:
        value = elements.get(keyword)
        value = default if value is None or value == "" else value
        if isinstance(value, int):
            return int(value)
    except (ValueError, TypeError, OverflowError, struct.error):
        pass  # pydicom's message would repeat the value
    raise ImageError(f"the file is damaged: its header has no valid {keyword}")


def _check(layout: Layout, header: Header) -> None:
    """Refuses what is not supported, or cannot be, before anything of it is decoded."""
    photometric, syntax = layout.photometric_interpretation, header.syntax
    if photometric not in _SUPPORTED:
        name = photometric if photometric in _UNSUPPORTED else "an unknown kind"
        raise ImageError(f"has colours of {name}, which are not supported")
    if layout.samples_per_pixel != (1 if photometric in _ONE_SAMPLE else 3):
        raise ImageError("the file is damaged: its number of samples per pixel does not fit its colours")
    if photometric in _YBR_OF_JPEG2000 and syntax not in uid.JPEG2000TransferSyntaxes:
        raise ImageError("the file is damaged: it has colours of JPEG 2000 and is not compressed as JPEG 2000")
    if layout.rows < 1 or layout.columns < 1 or layout.number_of_frames < 1:
        raise ImageError("has no pixels")
    refuse_too_many(layout.pixels)
    allowed = _BITS_ALLOCATED[layout.pixel_keyword]
    if layout.bits_allocated not in allowed or not 1 <= layout.bits_stored <= layout.bits_allocated:
        raise ImageError("the file is damaged: its pixels have an impossible number of bits")
    last = layout.bits_stored - 1
    if layout.pixel_keyword == "PixelData" and _integer(header.elements, "HighBit", last) != last:
        raise ImageError("has values that do not start at the lowest bit, which is not supported")
    if not syntax.is_encapsulated:
        return
    try:
        get_decoder(syntax)
    except NotImplementedError:
        raise ImageError(f"is compressed as {syntax.name}, which is not supported") from None
    if layout.pixel_keyword != "PixelData" or layout.bits_allocated == 1:
        raise ImageError("the file is damaged: pixels of this kind are not stored compressed")


def _in_rgb(values: np.ndarray, photometric: str) -> np.ndarray:
    if values.ndim != 3 or photometric not in _YBR:
        return values
    if values.dtype != np.uint8:
        raise ImageError("has YBR colours of more than 8 bits, which are not supported")
    # By strips, since the conversion takes four times the memory.
    rows = max(1, _STRIP // values.shape[1])
    strips = (values[start : start + rows] for start in range(0, len(values), rows))
    return np.concatenate([convert_color_space(strip, "YBR_FULL", "RGB") for strip in strips])


def silence_pydicom() -> None:
    """Keeps pydicom's warnings about odd headers, which may repeat them, out of the user's terminal and logs.

    From the first DICOM file on, for the whole process: to switch it off and on again around each read would, with
    several threads, leave it on or off by chance. Calling it again changes nothing.
    """
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
    logging.getLogger("pydicom").propagate = False
