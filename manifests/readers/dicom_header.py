"""The header of a DICOM file as far as pixels go: the elements that say how they are stored and shown, checked."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO, cast

from PIL import Image
from pydicom import Dataset, uid
from pydicom.datadict import tag_for_keyword
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder

from ...base import ImageError

_MOST_INFLATED = 256 * 2**20
"""Bytes to which a deflated file may grow."""
_COLOURS = ("Red", "Green", "Blue")
_KEYWORDS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    *(f"{kind}PixelPadding{what}" for kind in ("", "Float", "DoubleFloat") for what in ("Value", "RangeLimit")),
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    *(f"{colour}PaletteColorLookupTableDescriptor" for colour in _COLOURS),
    *(f"{kind}{colour}PaletteColorLookupTableData" for kind in ("", "Segmented") for colour in _COLOURS),
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
)
_TAGS = [tag for tag in map(tag_for_keyword, _KEYWORDS) if tag is not None]
_PIXEL_DATA = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
_SYNTAX = 0x00020010
UNDEFINED = 0xFFFFFFFF
"""The length of a value that consists of fragments."""
_MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
YBR = ("YBR_FULL", "YBR_FULL_422")
"""Colours that a decoder leaves for us to convert."""
_YBR_OF_JPEG2000 = ("YBR_ICT", "YBR_RCT")
_READ_HERE = (*_MONOCHROME, "PALETTE COLOR", "RGB", *YBR, *_YBR_OF_JPEG2000)
_NOT_READ = ("HSV", "ARGB", "CMYK", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "XYB")


@dataclass(frozen=True)
class Layout:
    """How pixels are stored, as the header declares it; checked."""

    rows: int
    columns: int
    samples: int
    """1, or 3 for colours."""
    frames: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    planar: int
    photometric: str
    """One that is read here."""
    element: str
    """`PixelData`, `FloatPixelData` or `DoubleFloatPixelData`."""

    @property
    def pixels(self) -> int:
        """Of one frame."""
        return self.rows * self.columns

    @property
    def is_shown_as_stored(self) -> bool:
        """Whether values mean greys where the file asks for no window: unsigned, of at most 8 bits."""
        return self.element == "PixelData" and not self.signed and self.bits_stored <= 8

    def bits_up_to(self, frames: int) -> int:
        """Bits that so many uncompressed frames take."""
        bits = frames * self.pixels * self.samples * self.bits_allocated
        return bits // 3 * 2 if self.photometric == "YBR_FULL_422" else bits


@dataclass(frozen=True)
class Header:
    """What is known of a DICOM file before its pixels are touched."""

    elements: Dataset
    """Those that say how pixels are stored and shown; no other was read."""
    layout: Layout
    syntax: uid.UID
    """The transfer syntax: how the file is encoded and its pixels compressed."""
    content: Content
    start: int
    """Where the pixels' value starts in `content`."""
    length: int
    """Bytes of that value; `UNDEFINED` where it consists of fragments."""
    kind: str
    """The value representation of the pixels."""


class Content:
    """The bytes of a file, of which no more are asked for, and so reserved, than it has."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.seek, self.tell = file.seek, file.tell
        self.whole = False
        """Refuse to give a value in part; set once the header, which is searched in large steps, has been read."""

    @property
    def as_file(self) -> BinaryIO:
        """To pydicom, which reads, seeks and tells, it is one."""
        return cast("BinaryIO", self)

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes.

        Raises:
            ImageError: there are fewer, and `whole` values are wanted.
        """
        left = max(0, self._size - self.tell())
        # Tags of 4 and 8 bytes are asked for until there are no more.
        if self.whole and size > max(left, 8):
            raise ImageError("the file is cut off")
        return self._file.read(left if size < 0 else min(size, left))


def read_header(content: Content) -> Header:
    """Reads the header at the start of `content` and checks it.

    Raises:
        ImageError: there are no pixels, or pixels that are not read here, too large or not as declared.
    """
    syntax = _read_syntax(content)
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        content = _inflated(content)
    implicit, little = _encoding(content, syntax)
    elements = read_dataset(content.as_file, implicit, little, stop_when=_at_pixels, specific_tags=list(_TAGS))
    implicit = bool(elements.original_encoding[0])
    if syntax is None:
        # A file that does not tell is not compressed: how its elements are written says the rest.
        syntax = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        syntax = uid.ImplicitVRLittleEndian if implicit else syntax
    element, kind, length = _pixel_element(content, implicit, little)
    layout = _layout(elements, element)
    _check(layout, syntax)
    return Header(elements, layout, syntax, content, content.tell(), length, kind)


def _read_syntax(content: Content) -> uid.UID | None:
    """Reads the group that precedes the header proper, and no further; None where it does not tell the syntax."""
    if content.read(132)[128:] != b"DICM":
        content.seek(0)
    meta = read_dataset(
        content.as_file,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, vr, length: tag >> 16 != 2,
        specific_tags=[_SYNTAX],
    )
    syntax = meta.get("TransferSyntaxUID")
    if syntax is None:
        return None
    if not isinstance(syntax, uid.UID) or syntax.name == str(syntax):
        raise ImageError("is encoded in a way that is not of the DICOM standard (an unknown transfer syntax)")
    return syntax


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
    data = inflater.decompress(content.read(), _MOST_INFLATED)
    if inflater.unconsumed_tail:
        raise ImageError(f"is deflated and inflates to more than {_MOST_INFLATED // 2**20} MiB (a decompression bomb)")
    if not inflater.eof:
        raise ImageError("the file is cut off")
    return Content(io.BytesIO(data), len(data))


def _at_pixels(tag: int, vr: str | None, length: int) -> bool:
    return tag in _PIXEL_DATA


def _pixel_element(content: Content, implicit: bool, little: bool) -> tuple[str, str, int]:
    """The element that holds the pixels, its value representation and its length; `content` is then at its value."""
    order = "<" if little else ">"
    head = content.read(8)
    if len(head) < 8:
        raise ImageError("holds no pixels (a report, plan or waveform), or is cut off before them")
    group, number = struct.unpack_from(f"{order}HH", head)
    if implicit:
        kind, (length,) = "OW", struct.unpack_from(f"{order}L", head, 4)
    else:
        kind, (length,) = head[4:6].decode("ascii", "replace"), struct.unpack(f"{order}L", content.read(4))
    return _PIXEL_DATA[group << 16 | number], kind, length


def _layout(elements: Dataset, element: str) -> Layout:
    integers = element == "PixelData"
    photometric = elements.get("PhotometricInterpretation")
    samples = _whole(elements, "SamplesPerPixel", 1)
    allocated = _whole(elements, "BitsAllocated")
    stored = _whole(elements, "BitsStored", allocated) if integers else allocated
    return Layout(
        rows=_whole(elements, "Rows"),
        columns=_whole(elements, "Columns"),
        samples=samples,
        frames=_whole(elements, "NumberOfFrames", 1) or 1,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=_whole(elements, "HighBit", stored - 1) if integers else stored - 1,
        signed=bool(_whole(elements, "PixelRepresentation", 0)) if integers else False,
        planar=_whole(elements, "PlanarConfiguration", 0) if samples > 1 else 0,
        photometric=photometric.strip() if isinstance(photometric, str) else "",
        element=element,
    )


def _whole(elements: Dataset, keyword: str, absent: int | None = None) -> int:
    try:
        value = elements.get(keyword)
        value = absent if value is None or value == "" else value
        if isinstance(value, int):
            return int(value)
    except (ValueError, TypeError, OverflowError, struct.error):
        # What pydicom says would repeat the value.
        pass
    raise ImageError(f"the file is damaged: its header has no usable {keyword}")


def _check(layout: Layout, syntax: uid.UID) -> None:
    """Refuses what is not read, or cannot be, before anything of it is decoded."""
    if layout.photometric not in _READ_HERE:
        known = layout.photometric in _NOT_READ
        raise ImageError(f"has the colours of {layout.photometric if known else 'an unknown kind'}, not read here")
    if layout.samples != (1 if layout.photometric in (*_MONOCHROME, "PALETTE COLOR") else 3):
        raise ImageError("the file is damaged: its number of samples a pixel does not fit its colours")
    if layout.photometric in _YBR_OF_JPEG2000 and syntax not in uid.JPEG2000TransferSyntaxes:
        raise ImageError("the file is damaged: it has colours of JPEG 2000 and is not compressed so")
    if layout.rows < 1 or layout.columns < 1 or layout.frames < 1:
        raise ImageError("has no pixels")
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and layout.pixels > limit:
        raise ImageError(f"declares more than {limit:,} pixels a frame (a decompression bomb, or a slide in one piece)")
    widths = {"PixelData": (1, 8, 16, 32, 64), "FloatPixelData": (32,), "DoubleFloatPixelData": (64,)}
    if layout.bits_allocated not in widths[layout.element] or not 1 <= layout.bits_stored <= layout.bits_allocated:
        raise ImageError("the file is damaged: its pixels have an impossible number of bits")
    if layout.high_bit != layout.bits_stored - 1:
        raise ImageError("has values that do not start at the lowest bit, which is not read here")
    if syntax.is_encapsulated:
        _check_compression(layout, syntax)


def _check_compression(layout: Layout, syntax: uid.UID) -> None:
    try:
        get_decoder(syntax)
    except NotImplementedError:
        raise ImageError(f"is compressed as {syntax.name}, which is not read here") from None
    if layout.element != "PixelData" or layout.bits_allocated == 1:
        raise ImageError("the file is damaged: pixels of this kind are not stored compressed")
