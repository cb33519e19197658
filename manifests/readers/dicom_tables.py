"""From stored DICOM values to grey and colour: modality and VOI tables, windows, palettes.

After PS3.3 of the DICOM standard: C.11.1 (modality LUT), C.11.2 (VOI LUT and windows), C.7.6.3.1 (palettes), and
C.7.6.16.2 (the functional groups, in which files of many frames keep the same for all or for each of them).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset

from ...base import ImageError
from .intensity import Bounds, to_8_bits

_BLOCK = 2**22
"""Values that are mapped at once where they are too wide for a table of all of them."""


@dataclass(frozen=True)
class Rescale:
    """Slope and intercept: what most files have in place of a modality LUT."""

    slope: float = 1.0
    intercept: float = 0.0

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return (self.slope, self.intercept) == (1.0, 0.0)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Values in the file's units; float64, or as they were."""
        return values if self.is_identity else values.astype(np.float64) * self.slope + self.intercept


@dataclass(frozen=True, eq=False)
class Table:
    """A lookup table of the standard: values below its first entry take the first, values above its last the last."""

    first: int
    """The value that the first entry stands for."""
    entries: np.ndarray
    """(N,) unsigned."""
    top: int
    """The largest value that an entry can have."""

    @property
    def is_identity(self) -> bool:
        """A table counts as a change, whatever stands in it."""
        return False

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """The entries for `values`, which may be fractions: the nearest entry."""
        places = np.clip(np.rint(values.astype(np.float64)) - self.first, 0, len(self.entries) - 1)
        return self.entries[np.nan_to_num(places).astype(np.intp)]


@dataclass(frozen=True)
class Window:
    """What becomes black and what white, linear between."""

    bounds: Bounds

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """uint8."""
        return to_8_bits(values, self.bounds)


@dataclass(frozen=True)
class Sigmoid:
    """The window of VOI LUT function SIGMOID (C.11.2.1.3.1)."""

    centre: float
    width: float

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """uint8."""
        # Beyond 40 the curve has long reached its ends, and the exponential would overflow.
        steps = np.clip(-4 * (values.astype(np.float64) - self.centre) / self.width, -40, 40)
        return to_8_bits(1 / (1 + np.exp(steps)), (0.0, 1.0))


@dataclass(frozen=True)
class TableOfGreys:
    """A VOI LUT, whose output range is spread over 0 to 255."""

    table: Table

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """uint8."""
        return to_8_bits(self.table(values), (0.0, float(self.table.top)))


Voi = Window | Sigmoid | TableOfGreys


def modality(header: Dataset, frame: int) -> Rescale | Table:
    """What turns the stored values of a frame into the file's units, such as Hounsfield units."""
    tables = header.get("ModalityLUTSequence")
    if tables:
        return _table(tables[0], header)
    item = _item(header, frame, "PixelValueTransformationSequence")
    slope, intercept = _number(item, "RescaleSlope"), _number(item, "RescaleIntercept")
    return Rescale(1.0 if slope is None else slope, intercept or 0.0)


def voi(header: Dataset, frame: int) -> Voi | None:
    """How the file asks for a frame to be shown: the first VOI LUT, else the first window that has a width.

    Raises:
        ImageError: the window's function is none of the standard's.
    """
    item = _item(header, frame, "FrameVOILUTSequence")
    tables = item.get("VOILUTSequence")
    if tables and tables[0].get("LUTDescriptor") is not None and tables[0].get("LUTData") is not None:
        return TableOfGreys(_table(tables[0], header))
    centre, width = _number(item, "WindowCenter"), _number(item, "WindowWidth")
    if centre is None or width is None:
        return None
    function = str(item.get("VOILUTFunction") or "LINEAR").strip().upper()
    if function == "LINEAR":
        return _linear(centre, width) if width >= 1 else None
    if width <= 0:
        return None
    if function == "LINEAR_EXACT":
        return Window((centre - width / 2, centre + width / 2))
    if function == "SIGMOID":
        return Sigmoid(centre, width)
    raise ImageError("asks for a VOI LUT function that is none of the standard's; set `reading.window` in the card")


def mapped(stored: np.ndarray, to_grey: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """`to_grey` of every value, (H, W) uint8, in bounded memory.

    Args:
        stored: (H, W), any real type.
        to_grey: maps an array of that type to uint8, value by value.
    """
    if stored.dtype.kind in "ui" and stored.dtype.itemsize <= 2:
        # All values that there can be are mapped once, and looked up.
        unsigned = np.dtype(f"u{stored.dtype.itemsize}")
        every = np.arange(2 ** (8 * stored.dtype.itemsize), dtype=unsigned)
        native = np.ascontiguousarray(stored, stored.dtype.newbyteorder("="))
        return to_grey(every.view(native.dtype))[native.view(unsigned)]
    grey = np.empty(stored.size, np.uint8)
    flat = stored.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        grey[start : start + _BLOCK] = to_grey(flat[start : start + _BLOCK])
    return grey.reshape(stored.shape)


def without_padding(values: np.ndarray, header: Dataset) -> np.ndarray:
    """Those of (N,) stored values that are part of the picture; all of them where none would be left."""
    keyword = {"f4": "FloatPixelPadding", "f8": "DoubleFloatPixelPadding"}.get(values.dtype.str[1:], "PixelPadding")
    first = _number(header, f"{keyword}Value")
    last = _number(header, f"{keyword}RangeLimit")
    if first is None:
        return values
    low, high = sorted((first, first if last is None else last))
    kept = values[(values < low) | (values > high)]
    return kept if kept.size else values


def painted(stored: np.ndarray, header: Dataset) -> np.ndarray:
    """The colours of a palette's indices: (H, W, 3) uint8.

    Args:
        stored: (H, W), integers.
        header: holds the palette.

    Raises:
        ImageError: the palette is missing, damaged or of a kind that is not read.
    """
    tables = [_palette(header, colour) for colour in ("Red", "Green", "Blue")]
    return np.stack([mapped(stored, table) for table in tables], axis=-1)


def eight_bits(colours: np.ndarray, bits: int) -> np.ndarray:
    """(H, W, 3) unsigned samples of `bits` bits as uint8: the high byte, as in ordinary images of 16 bits.

    Raises:
        ImageError: the samples are signed or have fewer than 8 bits.
    """
    if colours.dtype.kind != "u" or bits < 8:
        raise ImageError("has colours that are signed or of fewer than 8 bits")
    return (colours >> (bits - 8)).astype(np.uint8)


def _item(header: Dataset, frame: int, group: str) -> Dataset:
    """Where what belongs to a functional group stands: with the frame, with what all share, or in the header itself."""
    own = header.get("PerFrameFunctionalGroupsSequence") or []
    for groups in (*own[frame : frame + 1], *(header.get("SharedFunctionalGroupsSequence") or [])[:1]):
        if groups.get(group):
            return groups[group][0]
    return header


def _number(item: Dataset, keyword: str) -> float | None:
    """The first of the element's values, None where it is absent, empty or not finite."""
    value = item.get(keyword)
    if value is not None and not isinstance(value, str | int | float):
        value = next(iter(value), None)
    number = None if value is None or value == "" else float(value)
    return number if number is not None and np.isfinite(number) else None


def _linear(centre: float, width: float) -> Window:
    """C.11.2.1.2.1: the centre is half a value lower and the width one value less than the words say."""
    low = centre - 0.5 - (width - 1) / 2
    # A window of width 1 is a step: black up to its lower bound, white above.
    return Window((low, max(low + width - 1, low + 1e-6 * max(1.0, abs(low)))))


def _table(item: Dataset, header: Dataset) -> Table:
    """The table of a modality or VOI LUT sequence's item."""
    return _described(item.LUTDescriptor, item.LUTData, header)


def _described(descriptor: Sequence[int], data: bytes | Sequence[int], header: Dataset) -> Table:
    count, first, bits = (int(value) for value in descriptor)
    count = count or 2**16
    # Written as unsigned where the values below it are negative; a table cannot reach beyond 16 bits.
    first -= 2**16 if first + count > 2**16 else 0
    words = (
        _words(data, header, wide=len(data) >= 2 * count or count == 1) if isinstance(data, bytes) else np.asarray(data)
    )
    entries = np.atleast_1d(words).astype(np.int64)[:count] & (2**16 - 1)
    if len(entries) < count or not 1 <= bits <= 16:
        raise ImageError("the file is damaged: a lookup table is shorter than its description")
    return Table(first, entries.astype(np.uint16), 2**bits - 1)


def _words(data: bytes, header: Dataset, *, wide: bool) -> np.ndarray:
    kind = ("<u2" if header.original_encoding[1] else ">u2") if wide else "u1"
    return np.frombuffer(data[: len(data) // np.dtype(kind).itemsize * np.dtype(kind).itemsize], kind)


def _palette(header: Dataset, colour: str) -> Callable[[np.ndarray], np.ndarray]:
    descriptor = header.get(f"{colour}PaletteColorLookupTableDescriptor")
    data = header.get(f"{colour}PaletteColorLookupTableData")
    segments = header.get(f"Segmented{colour}PaletteColorLookupTableData")
    if descriptor is None or (data is None and segments is None):
        raise ImageError("the file is damaged: it has colours of a palette and no palette")
    if data is None:
        data = _expanded(_words(segments, header, wide=descriptor[2] > 8), int(descriptor[0]) or 2**16)
    table = _described(descriptor, data, header)
    # Entries of 8 bits stand in the upper half of a word where they are above 255.
    bits = 16 if table.top < table.entries.max() else table.top.bit_length()
    return Table(table.first, (table.entries >> max(0, bits - 8)).astype(np.uint8), 255)


def _expanded(words: np.ndarray, count: int) -> list[int]:
    """The entries of a segmented palette (C.7.9.2): runs of entries, and lines from the entry before to another."""
    entries: list[int] = []
    place = 0
    while place + 2 < len(words) and len(entries) < count:
        kind, length = int(words[place]), int(words[place + 1])
        if kind == 0:
            entries.extend(words[place + 2 : place + 2 + length].tolist())
            place += 2 + length
        elif kind == 1 and entries:
            line = np.linspace(entries[-1], int(words[place + 2]), length + 1)[1:]
            entries.extend(np.rint(line).astype(int).tolist())
            place += 3
        else:
            # A segment that refers to others may do so without end.
            raise ImageError("has a palette with indirect segments, which is not read here")
    return entries
