"""How stored values become 8-bit pixels, where a format leaves the choice: the card's `reading`."""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ...base import canonical_json

Window = Literal["stored", "percentiles"] | tuple[float, float]


def _is_pair(value: object) -> bool:
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

    window: Window = "stored"
    """`stored`: what the file itself asks for, a DICOM's window or VOI table, the full range of a 16-bit PNG or TIFF;
    where a file asks for nothing (NIfTI, stacks of floats), its percentiles. `percentiles`: always those. Or `[centre,
    width]` in the file's own units, after its rescale slope and intercept (Hounsfield units in CT). 8-bit grey and
    colour images of ordinary formats are never stretched."""
    percentiles: tuple[float, float] = (0.5, 99.5)
    """The percentiles of the values that become 0 and 255; between them, linear."""
    scope: Literal["volume", "slice"] = "volume"
    """What percentiles are taken over: the whole file (a NIfTI volume, all frames of a DICOM, one volume of a stack),
    so that slices keep their relation; or each slice by itself."""
    draft: Annotated[int, Field(ge=16)] | None = None
    """Let JPEG images be decoded at 1/2, 1/4 or 1/8 of their size while their shorter side stays at least this many
    pixels: several times faster for very large photographs, with slightly other pixels. Default: never."""

    # Before pydantic's own checks, which would report each member of the union.
    @field_validator("window", mode="before")
    @classmethod
    def _is_window(cls, window: Any) -> Any:
        if window in ("stored", "percentiles"):
            return window
        if not _is_pair(window) or window[1] <= 0:
            raise ValueError(
                f"must be stored, percentiles, or [centre, width] with a width above 0, such as [40, 400], not {window}"
            )
        return tuple(window)

    @field_validator("percentiles", mode="before")
    @classmethod
    def _are_percentiles(cls, pair: Any) -> Any:
        if not _is_pair(pair) or not 0 <= pair[0] < pair[1] <= 100:
            raise ValueError(f"must be two numbers from 0 to 100, the lower first, such as [0.5, 99.5], not {pair}")
        return pair

    @property
    def in_spec(self) -> str:
        """Canonical JSON for the embedding spec of what differs from the default, "" where nothing does."""
        changed = self.model_dump(mode="json", exclude_defaults=True)
        return canonical_json(changed) if changed else ""


def parse_window(text: str) -> tuple[float, float] | None:
    """The window that `CENTRE,WIDTH` in a manifest's column `window` means; None where it means none."""
    try:
        numbers = tuple(float(number) for number in text.split(","))
    except ValueError:
        return None
    return numbers if _is_pair(numbers) and numbers[1] > 0 else None  # pyright: ignore[reportReturnType]


DEFAULT_READING = IntensityPolicy()
"""What a card that says nothing means."""
