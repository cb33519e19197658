"""Where slices are along the normal of their stack: of a series of files, or of the frames of one file."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pydicom import Dataset

_PARALLEL = 0.01
"""By which direction cosines of slices of one stack may differ: half a degree."""


def along_normal(orientations: Sequence[Any], positions: Sequence[Any]) -> np.ndarray | None:
    """Millimetres of each slice along the normal of the first, (N,).

    Args:
        orientations: six direction cosines of each (ImageOrientationPatient); None where they are not known.
        positions: three coordinates of each (ImagePositionPatient); likewise.

    Returns:
        None where slices lack one of the two, or are not parallel.
    """
    if any(one is None for one in (*orientations, *positions)):
        return None
    axes, places = np.array(orientations, float), np.array(positions, float)
    normal = np.cross(axes[0, :3], axes[0, 3:])
    length = np.linalg.norm(normal)
    if length < _PARALLEL or np.abs(axes - axes[0]).max() > _PARALLEL:
        return None
    # Positions of one slice in several series or echoes differ by rounding.
    return np.round(places @ (normal / length), 3)


def places_of_frames(elements: Dataset, count: int) -> list[int] | None:
    """The number of each frame's position in an enhanced multi-frame file, from 0; frames at one position share it.

    None where the file does not say where its frames are, as with films.
    """
    with suppress(AttributeError, ArithmeticError, TypeError, ValueError):
        frames = list(elements.get("PerFrameFunctionalGroupsSequence") or [])
        shared = [*(elements.get("SharedFunctionalGroupsSequence") or [])][:1]
        if len(frames) != count:
            return None
        axes = [_of_group("PlaneOrientation", "ImageOrientationPatient", 6, [frame, *shared]) for frame in frames]
        found = along_normal(axes, [_of_group("PlanePosition", "ImagePositionPatient", 3, [frame]) for frame in frames])
        return None if found is None else np.unique(found, return_inverse=True)[1].tolist()
    return None


def place_of(elements: Dataset) -> tuple[list[float] | None, list[float] | None]:
    """Position and orientation of a file of one slice; an enhanced one has them in its functional groups."""
    position = numbers(elements, "ImagePositionPatient", 3)
    orientation = numbers(elements, "ImageOrientationPatient", 6)
    with suppress(AttributeError, ArithmeticError, TypeError, ValueError):
        groups = [
            item
            for keyword in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
            for item in [*(elements.get(keyword) or [])][:1]
        ]
        position = position or _of_group("PlanePosition", "ImagePositionPatient", 3, groups)
        orientation = orientation or _of_group("PlaneOrientation", "ImageOrientationPatient", 6, groups)
    return position, orientation


def numbers(elements: Dataset, keyword: str, count: int) -> list[float] | None:
    """The numbers of an element; None where there are fewer or more than `count`, or they are not finite."""
    with suppress(ArithmeticError, TypeError, ValueError):
        found = elements.get(keyword)
        values = [float(number) for number in ([found] if count == 1 else found)]  # pyright: ignore[reportOptionalIterable]
        if len(values) == count and all(map(isfinite, values)):
            return values
    return None


def _of_group(group: str, keyword: str, count: int, places: Sequence[Dataset]) -> list[float] | None:
    """The numbers in the functional group `group` of the first of `places` that has it."""
    held = next((found for place in places for found in place.get(f"{group}Sequence") or []), None)
    return None if held is None else numbers(held, keyword, count)
