"""DICOM files, through pydicom: pixels as the file requests them to be displayed, and nothing else of it.

The policy, for every transfer syntax:

- grey values pass the modality LUT or rescale slope and intercept, then the window (`IntensityPolicy.window`);
  MONOCHROME1 is inverted, so that 0 is always black;
- `stored` takes the first VOI LUT, else the first window with its VOI LUT function; where there is neither, unsigned
  values of at most 8 bits without rescale keep their full range, and all others take the percentiles;
- RGB, YBR and palette colours become RGB of 8 bits, the high ones, and are never windowed; colour profiles, overlays
  and annotations are ignored;
- one frame is decoded at a time, and only after the declared size was checked against the limit for images.

Of the header, only the elements that define how pixels are stored and displayed are read, and no error message repeats
a text from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...base import ImageError
from ...base.text import install_command
from ..schema.intensity_policy import IntensityPolicy
from .intensity import MOST_VALUES, Bounds, chosen_bounds, thinned, to_8_bits
from .memo import remembered
from .read_errors import DamageAsImageError, chosen_frame
from .source import Source

if TYPE_CHECKING:
    from pydicom import Dataset

    from .dicom_file import DicomFile

_MOST_FRAMES = 64
"""Percentiles of a file of more frames than this are taken over evenly spaced ones."""


def recognises(head: bytes) -> bool:
    """Whether a file that starts with `head` is DICOM: by its signature."""
    return head[128:132] == b"DICM"


def read(source: Source) -> np.ndarray:
    """The pixels of one frame: uint8, (H, W) grey or (H, W, 3) RGB."""
    with _opened(source) as file:
        return _pixels(file, chosen_frame(source.frame, file.layout.number_of_frames), source)


def frames(source: Source) -> int:
    """How many frames the file declares."""
    with _opened(source) as file:
        return file.layout.number_of_frames


def _opened(source: Source) -> AbstractContextManager[DicomFile]:
    try:
        from .dicom_file import DicomFile
    except ImportError as error:
        raise ImageError(f"DICOM needs pydicom; {install_command('medical')}") from error
    return DicomFile.open(source.path)


@DamageAsImageError()
def series_window(paths: Sequence[Path], reading: IntensityPolicy) -> tuple[float, float]:
    """Centre and width of the window between the percentiles of a series of slices, in the files' units.

    Of more than 64 files, evenly spaced ones are read.
    """
    chosen = np.linspace(0, len(paths) - 1, min(len(paths), _MOST_FRAMES)).round().astype(int)
    parts = []
    for path in (paths[number] for number in chosen):
        with _opened(Source(path)) as file:
            values = file.frame(0).reshape(-1)
            parts.append(_sample(file, {0: values[:: -(-len(chosen) * values.size // MOST_VALUES)]}))
    low, high = chosen_bounds(np.concatenate(parts), reading)
    if not high > low:
        raise ImageError("all values of the series are the same")
    return (low + high) / 2, high - low


def lacks_window(elements: Dataset) -> bool:
    """Whether the greys of a file with such a header get percentiles under `IntensityPolicy(window="stored")`."""
    from . import dicom_tables as tables

    if str(elements.get("PhotometricInterpretation", "")).strip() not in ("MONOCHROME1", "MONOCHROME2"):
        return False
    with suppress(Exception):  # reading its pixels reports what is wrong with it
        if tables.voi(elements, 0) is not None:
            return False
        bits = int(elements.get("BitsStored") or elements.get("BitsAllocated") or 16)
        as_stored = bits <= 8 and not elements.get("PixelRepresentation") and tables.modality(elements, 0) is None
        return not as_stored
    return False


def _pixels(file: DicomFile, frame: int, source: Source) -> np.ndarray:
    from . import dicom_tables as tables

    stored, layout = file.frame(frame), file.layout
    if layout.photometric_interpretation == "PALETTE COLOR":
        return tables.palette_colours(stored, file.elements)
    if stored.ndim == 3:
        return _to_8_bit_colours(stored, layout.bits_stored)
    to_units, as_stored = tables.modality(file.elements, frame), source.reading.window == "stored"
    voi = tables.voi(file.elements, frame) if as_stored else None
    if voi is None:
        is_grey = as_stored and layout.is_shown_as_stored and to_units is None
        bounds = (0.0, 2.0**layout.bits_stored - 1) if is_grey else _bounds(file, frame, stored, source)
        voi = partial(to_8_bits, bounds=bounds)
    grey = tables.map_values(stored, voi if to_units is None else lambda values: voi(to_units(values)))
    return 255 - grey if layout.photometric_interpretation == "MONOCHROME1" else grey


def _to_8_bit_colours(colours: np.ndarray, bits: int) -> np.ndarray:
    """(H, W, 3) unsigned samples of `bits` bits as uint8: the high byte, as in ordinary images of 16 bits."""
    if colours.dtype.kind != "u" or bits < 8:
        raise ImageError("has colours that are signed or of fewer than 8 bits, which are not supported")
    return (colours >> (bits - 8)).astype(np.uint8)


def _bounds(file: DicomFile, frame: int, stored: np.ndarray, source: Source) -> Bounds:
    """What becomes 0 and 255: the card's window, else percentiles of the file or of the frame."""
    reading = source.reading
    if isinstance(reading.window, tuple):
        return chosen_bounds(np.empty(0), reading)
    if reading.scope == "slice" or file.layout.number_of_frames == 1:
        return chosen_bounds(_sample(file, {frame: stored}), reading)
    return _bounds_of_file(source.path, reading)


@remembered(64)
def _bounds_of_file(path: Path, reading: IntensityPolicy) -> Bounds:
    with _opened(Source(path)) as file:
        count = min(file.layout.number_of_frames, _MOST_FRAMES)
        frames = np.linspace(0, file.layout.number_of_frames - 1, count).round().astype(int)
        step = -(-count * file.layout.pixels // MOST_VALUES)
        sample = {int(frame): file.frame(int(frame)).reshape(-1)[::step].copy() for frame in frames}
        return chosen_bounds(_sample(file, sample), reading)


def _sample(file: DicomFile, stored: dict[int, np.ndarray]) -> np.ndarray:
    """Values in the file's units, without padding."""
    from . import dicom_tables as tables

    parts = []
    for frame, values in stored.items():
        flat = tables.without_padding(thinned(values.reshape(-1)), file.elements)
        to_units = tables.modality(file.elements, frame)
        parts.append(flat if to_units is None else to_units(flat))
    return np.concatenate(parts)
