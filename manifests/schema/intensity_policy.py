"""How stored values become 8-bit pixels, where a format leaves the choice: the card's `reading`."""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from ...base import canonical_json

Window = Literal["stored", "percentiles"] | tuple[float, float]


def _as_window(window: object) -> object:
    """A list as a tuple; refuses here what is not a window, since a union would report each of its members."""
    if window in ("stored", "percentiles"):
        return window
    if not _two_numbers(window):
        raise ValueError("must be stored, percentiles, or [centre, width], such as [40, 400]")
    return window if isinstance(window, tuple) else tuple(window)  # pyright: ignore[reportArgumentType]


def _as_percentiles(percentiles: object) -> object:
    if not _two_numbers(percentiles):
        raise ValueError("must be two numbers from 0 to 100, such as [0.5, 99.5]")
    return percentiles


def _two_numbers(value: object) -> bool:
    """Whether a value is a pair of finite numbers."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return False
    return all(isinstance(one, int | float) and not isinstance(one, bool) and isfinite(one) for one in value)


class IntensityPolicy(BaseModel):
    """The intensity policy of a manifest: which range of stored values becomes 0 to 255.

    Part of the dataset card, and of the embedding spec where it is not the default, so that pixels that were read
    otherwise never share a cache.

    Examples:
        >>> from medprobe.manifests import IntensityPolicy
        >>> lung = IntensityPolicy(window=(-600, 1500))
        >>> lung.window
        (-600.0, 1500.0)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    window: Annotated[Window, BeforeValidator(_as_window)] = "stored"
    """`stored`: what the file itself asks for, a DICOM's window or VOI table, the full range of a 16-bit PNG or TIFF;
    where a file asks for nothing (NIfTI, stacks of floats), its percentiles. `percentiles`: always those. Or `[centre,
    width]` in the file's own units, after its rescale slope and intercept (Hounsfield units in CT). 8-bit grey and
    colour images of ordinary formats are never stretched."""
    percentiles: Annotated[tuple[float, float], BeforeValidator(_as_percentiles)] = (0.5, 99.5)
    """The percentiles of the values that become 0 and 255; between them, linear."""
    scope: Literal["volume", "slice"] = "volume"
    """What percentiles are taken over: the whole file (a NIfTI volume, all frames of a DICOM, one volume of a stack),
    so that slices keep their relation; or each slice by itself."""
    draft: Annotated[int, Field(ge=16)] | None = None
    """Let JPEG images be decoded at 1/2, 1/4 or 1/8 of their size while their shorter side stays at least this many
    pixels: several times faster for very large photographs, with slightly other pixels. Default: never."""

    @field_validator("window")
    @classmethod
    def _window_has_width(cls, window: Window) -> Window:
        if isinstance(window, tuple) and not window[1] > 0:
            raise ValueError(f"a window is [centre, width], and its width is above 0, not {window[1]:g}")
        return window

    @field_validator("percentiles")
    @classmethod
    def _percentiles_ascend(cls, percentiles: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= percentiles[0] < percentiles[1] <= 100:
            raise ValueError(f"percentiles ascend between 0 and 100, not {percentiles[0]:g} and {percentiles[1]:g}")
        return percentiles

    @property
    def in_spec(self) -> str:
        """Canonical JSON for the embedding spec of what differs from the default, "" where nothing does."""
        changed = self.model_dump(mode="json", exclude_defaults=True)
        return canonical_json(changed) if changed else ""


DEFAULT_READING = IntensityPolicy()
"""What a card that says nothing means."""
