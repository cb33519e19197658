"""Which slices of a volume become samples: `axial:all`, `axial:middle:5`, `axial:every:3`, `axial:largest-mask`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...base import ManifestError, no_such, one_of
from ..readers.nifti import AXES, Axis

_KINDS = ("all", "middle", "every", "largest-mask")
_MAY_BE = f"It may be all, middle:5, every:3 or largest-mask, after an axis ({one_of(AXES)}): axial:middle:5."
_FRAMES = ("all", "middle", "every")
_FRAMES_MAY_BE = "It may be all, middle, middle:5 (neighbours around the middle) or every:3."


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
    def parse(cls, text: str) -> SliceChoice:
        """The choice that `text`, given as `--slices`, names.

        `[AXIS:]all`, `[AXIS:]middle:N`, `[AXIS:]every:N`, `[AXIS:]largest-mask`.

        Raises:
            ManifestError: it is not valid; lists what is.
        """
        words = text.strip().split(":")
        axis = words.pop(0) if words[0] in AXES else None
        kind = words.pop(0) if words else ""
        if kind not in _KINDS:
            known = AXES if axis is None and words else _KINDS
            what = "axis" if known is AXES else "choice of slices"
            raise ManifestError(f"--slices {text}: {no_such(what, kind, known)} {_MAY_BE}")
        return cls(axis, kind, _number(kind, words, f"--slices {text}", _MAY_BE))  # pyright: ignore[reportArgumentType]

    @classmethod
    def parse_frames(cls, text: str, option: str) -> SliceChoice:
        """The choice that `text` names among frames without anatomy: `all`, `middle`, `middle:N`, `every:N`.

        Args:
            text: what was given.
            option: where, such as `--frames`, for messages.

        Raises:
            ManifestError: it is not valid; lists what is.
        """
        kind, *words = text.strip().split(":")
        where = f"{option} {text}"
        if kind in (*AXES, "largest-mask"):
            raise ManifestError(f"{where}: frames have neither named axes nor a mask. {_FRAMES_MAY_BE}")
        if kind not in _FRAMES:
            raise ManifestError(f"{where}: {no_such('choice of frames', kind, _FRAMES)} {_FRAMES_MAY_BE}")
        number = 1 if kind == "middle" and not words else _number(kind, words, where, _FRAMES_MAY_BE)
        return cls(None, kind, number)  # pyright: ignore[reportArgumentType]

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


def _number(kind: str, words: list[str], where: str, may_be: str) -> int:
    """What follows `middle` or `every`; 1 where nothing has to follow."""
    takes_number = kind in ("middle", "every")
    if len(words) != takes_number or not all(re.fullmatch("[1-9][0-9]{0,8}", word) for word in words):
        wanted = f"{kind}:N with N of 1 or more" if takes_number else f"{kind} alone"
        raise ManifestError(f"{where}: write {wanted}. {may_be}")
    return int(words[0]) if words else 1
