"""From stored DICOM values to grey and colour: modality and VOI tables, windows, palettes.

After PS3.3 of the DICOM standard: C.11.1 (modality LUT), C.11.2 (VOI LUT and windows), C.7.6.3.1 (palettes), and
C.7.6.16.2 (the functional groups, in which multi-frame files keep what is the same for all frames or one of them).

Why not `pydicom.pixels.processing`: it ignores functional groups, and a slope without an intercept; the index of a
lookup table wraps around in the type of its entries or of the stored values; palettes of big-endian files are not
byte-swapped, and segmented ones are expanded without a limit; a window is scaled to the range of the stored bits, which
rounds to other values of 8 bits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset

from ...base import ImageError
from .intensity import to_8_bits

Mapping = Callable[[np.ndarray], np.ndarray]
"""Maps an array of real values to one of the same shape, value by value."""
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_BLOCK = 2**22
"""Values that are mapped at once where they are too wide for a table of all of them."""


@dataclass(frozen=True, eq=False)
class LookupTable:
    """A lookup table of the standard: values below its first entry take the first, values above its last the last."""

    first: int
    """The value that the first entry stands for."""
    entries: np.ndarray
    """(N,) unsigned."""
    largest: int
    """The largest value that an entry can have."""

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """The entries for `values`, which may be fractions: the nearest entry."""
        places = np.clip(np.rint(values.astype(np.float64)) - self.first, 0, len(self.entries) - 1)
        return self.entries[np.nan_to_num(places).astype(np.intp)]


def modality(header: Dataset, frame: int) -> Mapping | None:
    """Maps the stored values of a frame to the file's units, such as Hounsfield units; None where they are the same."""
    tables = header.get("ModalityLUTSequence")
    if tables:
        return _lookup_table(tables[0].LUTDescriptor, tables[0].LUTData, header)
    item = _functional_group(header, frame, "PixelValueTransformationSequence")
    slope, intercept = _number(item, "RescaleSlope"), _number(item, "RescaleIntercept") or 0.0
    factor = 1.0 if slope is None else slope
    return None if (factor, intercept) == (1.0, 0.0) else lambda values: values.astype(np.float64) * factor + intercept


def voi(header: Dataset, frame: int) -> Mapping | None:
    """Maps the file's units to uint8 as the file requests: by its first VOI LUT, else by its first valid window.

    None where the header has neither.
    """
    item = _functional_group(header, frame, "FrameVOILUTSequence")
    tables = item.get("VOILUTSequence")
    if tables and tables[0].get("LUTDescriptor") is not None and tables[0].get("LUTData") is not None:
        table = _lookup_table(tables[0].LUTDescriptor, tables[0].LUTData, header)
        return lambda values: to_8_bits(table(values), (0.0, float(table.largest)))
    centre, width = _number(item, "WindowCenter"), _number(item, "WindowWidth")
    if centre is None or width is None:
        return None
    function = str(item.get("VOILUTFunction") or "LINEAR").strip().upper()
    if width < 1 if function == "LINEAR" else width <= 0:
        return None
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise ImageError("requests an unknown VOI LUT function; set `reading.window` in the card")
    if function == "SIGMOID":
        return lambda values: _sigmoid(values, centre, width)
    if function == "LINEAR_EXACT":
        return lambda values: to_8_bits(values, (centre - width / 2, centre + width / 2))
    # C.11.2.1.2.1: the centre is half a value lower and the width one value less than the header says.
    low = centre - 0.5 - (width - 1) / 2
    # A window of width 1 is a step: black up to its lower bound, white above.
    high = max(low + width - 1, low + 1e-6 * max(1.0, abs(low)))
    return lambda values: to_8_bits(values, (low, high))


def _sigmoid(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    """VOI LUT function SIGMOID (C.11.2.1.3.1) to uint8."""
    # Beyond 40 the curve has long reached its ends, and the exponential would overflow.
    exponents = np.clip(-4 * (values.astype(np.float64) - centre) / width, -40, 40)
    return to_8_bits(1 / (1 + np.exp(exponents)), (0.0, 1.0))


def map_values(stored: np.ndarray, mapping: Mapping) -> np.ndarray:
    """`mapping` of every value, (H, W) uint8, in bounded memory."""
    if stored.dtype.kind in "ui" and stored.dtype.itemsize <= 2:
        # All possible values are mapped once, and looked up.
        unsigned = np.dtype(f"u{stored.dtype.itemsize}")
        possible = np.arange(2 ** (8 * stored.dtype.itemsize), dtype=unsigned)
        native = np.ascontiguousarray(stored, stored.dtype.newbyteorder("="))
        return mapping(possible.view(native.dtype))[native.view(unsigned)]
    grey = np.empty(stored.size, np.uint8)
    flat = stored.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        grey[start : start + _BLOCK] = mapping(flat[start : start + _BLOCK])
    return grey.reshape(stored.shape)


def without_padding(values: np.ndarray, header: Dataset) -> np.ndarray:
    """Those of (N,) stored values that are not padding; all of them where none would be left."""
    keyword = {"f4": "FloatPixelPadding", "f8": "DoubleFloatPixelPadding"}.get(values.dtype.str[1:], "PixelPadding")
    first = _number(header, f"{keyword}Value")
    last = _number(header, f"{keyword}RangeLimit")
    if first is None:
        return values
    low, high = sorted((first, first if last is None else last))
    kept = values[(values < low) | (values > high)]
    return kept if kept.size else values


def palette_colours(indices: np.ndarray, header: Dataset) -> np.ndarray:
    """The colours of a palette's (H, W) indices: (H, W, 3) uint8."""
    channels = (_palette(header, colour) for colour in ("Red", "Green", "Blue"))
    return np.stack([map_values(indices, channel) for channel in channels], axis=-1)


def _functional_group(header: Dataset, frame: int, name: str) -> Dataset:
    """The item that holds a functional group: the frame's own, else the shared one, else the header itself."""
    own = header.get("PerFrameFunctionalGroupsSequence") or []
    for groups in (*own[frame : frame + 1], *(header.get("SharedFunctionalGroupsSequence") or [])[:1]):
        if groups.get(name):
            return groups[name][0]
    return header


def _number(item: Dataset, keyword: str) -> float | None:
    """The first of the element's values, None where it is absent, empty or not finite; a decimal comma is a point."""
    value = item.get(keyword)
    if value is not None and not isinstance(value, str | int | float):
        value = next(iter(value), None)
    if isinstance(value, str):  # what pydicom could not read as a number
        value = value.split("\\")[0].replace(",", ".", 1).strip(" \0")
        if value and not _DECIMAL.fullmatch(value):
            raise ImageError(f"the file is damaged: its {keyword} is not a number")
    number = None if value is None or value == "" else float(value)
    return number if number is not None and np.isfinite(number) else None


def _lookup_table(descriptor: Sequence[int], data: bytes | Sequence[int], header: Dataset) -> LookupTable:
    count, first, bits = (int(value) for value in descriptor)
    count = count or 2**16
    # Written as unsigned where the values below it are negative; a table cannot reach beyond 16 bits.
    first -= 2**16 if first + count > 2**16 else 0
    is_bytes = isinstance(data, bytes)
    words = _integers(data, header, is_16_bit=len(data) >= 2 * count or count == 1) if is_bytes else data
    entries = np.atleast_1d(words).astype(np.int64)[:count] & (2**16 - 1)
    if len(entries) < count or not 1 <= bits <= 16:
        raise ImageError("the file is damaged: a lookup table is shorter than its descriptor declares")
    return LookupTable(first, entries.astype(np.uint16), 2**bits - 1)


def _integers(data: bytes, header: Dataset, *, is_16_bit: bool) -> np.ndarray:
    dtype = np.dtype(("<u2" if header.original_encoding[1] else ">u2") if is_16_bit else "u1")
    return np.frombuffer(data, dtype, len(data) // dtype.itemsize)


def _palette(header: Dataset, colour: str) -> LookupTable:
    descriptor = header.get(f"{colour}PaletteColorLookupTableDescriptor")
    data = header.get(f"{colour}PaletteColorLookupTableData")
    segments = header.get(f"Segmented{colour}PaletteColorLookupTableData")
    if descriptor is None or (data is None and segments is None):
        raise ImageError("the file is damaged: it has palette colours and no palette")
    if data is None:
        data = _expanded(_integers(segments, header, is_16_bit=descriptor[2] > 8), int(descriptor[0]) or 2**16)
    table = _lookup_table(descriptor, data, header)
    # Entries of 8 bits are in the upper half of a 16-bit word where they are above 255.
    bits = 16 if table.largest < table.entries.max() else table.largest.bit_length()
    return LookupTable(table.first, (table.entries >> max(0, bits - 8)).astype(np.uint8), 255)


def _expanded(words: np.ndarray, count: int) -> list[int]:
    """The entries of a segmented palette (C.7.9.2): runs of entries, and linear ramps from the previous entry."""
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
            # A segment that refers to others may refer to itself.
            raise ImageError("has a palette with indirect segments, which are not supported")
    return entries
