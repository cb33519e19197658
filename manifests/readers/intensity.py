"""Stored values of any range become 8 bits, for every format; a DICOM file's own window is in `dicom_tables`."""

from __future__ import annotations

import numpy as np

from ...base import ImageError
from ..schema.intensity_policy import IntensityPolicy

Bounds = tuple[float, float]
"""The values that become 0 and 255."""

MOST_VALUES = 4_000_000
"""Percentiles of more values than this are taken over evenly spaced ones: exact to the eye, and quick."""


def chosen_bounds(values: np.ndarray, reading: IntensityPolicy) -> Bounds:
    """The values that become 0 and 255 under `reading`, where the file requests none: its window, else percentiles.

    Args:
        values: any shape and real type: what percentiles are taken over (a slice or a whole volume). NaN and infinity
            are ignored.
        reading: the manifest's intensity policy.

    Raises:
        ImageError: percentiles are needed and no value is finite.
    """
    if isinstance(reading.window, tuple):
        centre, width = reading.window
        return centre - width / 2, centre + width / 2
    flat = thinned(values.reshape(-1))
    if flat.dtype.kind == "f":
        flat = flat[np.isfinite(flat)]
    if flat.size == 0:
        raise ImageError("holds no finite value")
    low, high = np.percentile(flat, reading.percentiles)
    return float(low), float(high)


def thinned(flat: np.ndarray) -> np.ndarray:
    """A view of evenly spaced values, (N,), over which percentiles are computed."""
    return flat[:: max(1, -(-flat.size // MOST_VALUES))]


def to_8_bits(values: np.ndarray, bounds: Bounds) -> np.ndarray:
    """`values` with the first bound at 0 and the second at 255, linear between, cut off outside, rounded.

    Where the bounds are equal all becomes 0, and NaN becomes 0 too.

    Args:
        values: any shape and real type.
        bounds: from `chosen_bounds`.

    Returns:
        uint8, the shape of `values`.
    """
    low, high = bounds
    if not high > low:
        return np.zeros(values.shape, np.uint8)
    scaled = (values.astype(np.float64) - low) * (255.0 / (high - low))
    return np.rint(np.clip(np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0), 0, 255)).astype(np.uint8)
