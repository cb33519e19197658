"""What is random in a view of an image, as settings of a recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, field_validator

Probability = Annotated[float, Field(ge=0, le=1)]
Range = tuple[NonNegativeFloat, NonNegativeFloat]

_USUAL_POLICY = "rand-m9-mstd0.5-inc1"


class Augmentation(BaseModel, frozen=True):
    """What is random in a view of an image; by default nothing.

    Names and meaning are those of timm's `create_transform`, and the parts are its own.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    crop_scale: Annotated[Range | None, Field(examples=["crop_scale=[0.8,1]"])] = None
    """Smallest and largest share of the image's area that a random crop has; `none`: the crop of the evaluation. A
    share above 1 that does not fit is drawn again, ten times at most, and then the whole image is taken."""
    crop_ratio: tuple[PositiveFloat, PositiveFloat] = (3 / 4, 4 / 3)
    """Smallest and largest ratio of width to height of a random crop, before it is brought to the network's size."""
    hflip: Probability = 0.0
    """Chance of a flip left to right."""
    vflip: Probability = 0.0
    """Chance of a flip upside down."""
    color_jitter: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat, NonNegativeFloat] | None = None
    """Strength of random changes of brightness, contrast, saturation and hue. As in timm, none beside `auto_augment`,
    unless its name holds `3a`."""
    color_jitter_prob: Probability = 1.0
    """Chance of them."""
    auto_augment: str | None = None
    """timm's name of a policy, as `rand-m9-mstd0.5-inc1`."""
    reprob: Probability = 0.0
    """Chance that a random rectangle is replaced by noise."""

    @field_validator("crop_scale", "crop_ratio")
    @classmethod
    def _is_a_range(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 < value[1] >= value[0]:
            raise ValueError(f"must be the smaller number first, such as [0.8, 1], not [{value[0]:g}, {value[1]:g}]")
        return value

    @field_validator("auto_augment")
    @classmethod
    def _is_a_policy(cls, value: str | None) -> str | None:
        if value not in (None, _USUAL_POLICY):  # found good without the seconds that timm takes to import
            from timm.data.transforms_factory import create_transform

            try:
                create_transform(32, is_training=True, auto_augment=value)
            except (AssertionError, ValueError, KeyError, IndexError, TypeError, AttributeError):
                raise ValueError(f"cannot be {value}: timm has no such policy; one is {_USUAL_POLICY}") from None
        return value

    @property
    def is_random(self) -> bool:
        """Whether views of one image differ."""
        changes = (self.crop_scale, self.hflip, self.vflip, self.color_jitter and self.color_jitter_prob)
        return any((*changes, self.auto_augment, self.reprob))
