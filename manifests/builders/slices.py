"""Which slices of a volume become samples: `axial:all`, `axial:middle:5`, `axial:every:3`, `axial:largest-mask`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...base import ManifestError, no_such, one_of
from ..readers.nifti import AXES, Axis

_NUMBER = re.compile("[1-9][0-9]{0,8}")
_KINDS = ("all", "middle", "every", "largest-mask")
_FRAMES = ("all", "middle", "every")


@dataclass(frozen=True)
class SliceChoice:
    """Some of the slices along one axis of a volume.

    Examples:
        >>> from medprobe.manifests import SliceChoice
        >>> SliceChoice.parse("axial:middle:5")
        SliceChoice(axis='axial', kind='middle', number=5)
    """

    axis: Axis | None
    """None where the text names none: an array has a first axis and no anatomy."""
    kind: Literal["all", "middle", "every", "largest-mask"]
    number: int = 1
    """Of `middle`: how many; of `every`: the step."""

    @classmethod
    def parse(cls, text: str, option: str = "--slices", *, axes: bool = True) -> SliceChoice:
        """The choice that `text`, given as `option`, names.

        `[AXIS:]all`, `[AXIS:]middle`, `[AXIS:]middle:N`, `[AXIS:]every:N`, `[AXIS:]largest-mask`; without `axes` what
        is chosen has no anatomy: neither an axis nor a mask.

        Raises:
            ManifestError: it is not valid; lists what is.
        """
        words = text.strip().split(":")
        axis = words.pop(0) if axes and words[0] in AXES else None
        kind, *number = words or [""]
        known = _KINDS if axes else _FRAMES
        may_be = f"It may be {one_of(known)}, with a number as in middle:5 or every:3"
        may_be += f", after an axis ({one_of(AXES)}): axial:middle:5." if axes else "."
        if kind not in known:
            raise ManifestError(
                f"{option} {text}: {no_such('choice', kind, (*known, *AXES) if axes else known)} {may_be}"
            )
        numbered = kind in ("middle", "every")
        if len(number) > numbered or (kind == "every" and not number) or not all(map(_NUMBER.fullmatch, number)):
            raise ManifestError(
                f"{option} {text}: a number of 1 or more follows middle or every, and no other. {may_be}"
            )
        return cls(axis, kind, int(number[0]) if number else 1)  # pyright: ignore[reportArgumentType]

    def frames(self, count: int, mask_areas: Sequence[int] | np.ndarray | None = None) -> list[int]:
        """Indices of the chosen slices, ascending.

        `middle:N` are N neighbours around the middle, all where there are fewer; `every:N` are 0, N, 2N, ...;
        `largest-mask` is the one slice with the largest area of the mask, the first of equals.

        Args:
            count: slices along the axis.
            mask_areas: (count,), the area of the mask in each slice; only for `largest-mask`.

        Raises:
            ManifestError: a mask is needed and is missing, is empty, or has another number of slices.
        """
        if self.kind == "middle":
            start = max(0, (count - self.number) // 2)
            return list(range(start, min(count, start + self.number)))
        if self.kind != "largest-mask":
            return list(range(0, count, self.number if self.kind == "every" else 1))
        if mask_areas is None:
            raise ManifestError("largest-mask needs a mask, and there is none.")
        areas = np.asarray(mask_areas)
        if areas.shape != (count,):
            raise ManifestError(f"the mask has {len(areas)} slices and the volume {count}; they do not match.")
        if not (areas > 0).any():
            raise ManifestError("the mask is empty, so no slice has the largest part of it.")
        return [int(areas.argmax())]
