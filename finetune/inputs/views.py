"""Augmented views of images: which there are by a recipe, each drawn from a seed, the image and a number."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat

Probability = Annotated[float, Field(ge=0, le=1)]


class Augmentation(BaseModel):
    """What is random in a view of an image; by default nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    crop_scale: Annotated[tuple[NonNegativeFloat, NonNegativeFloat] | None, Field(examples=["crop_scale=[0.8,1]"])] = (
        None
    )
    """Smallest and largest share of the image that a random crop has; `none`: no random crop."""
    hflip: Probability = 0.0
    """Chance of a flip left to right."""
    vflip: Probability = 0.0
    """Chance of a flip upside down."""
    color_jitter: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat, NonNegativeFloat] | None = None
    """Strength of random changes of brightness, contrast, saturation and hue."""
    color_jitter_prob: Probability = 1.0
    """Chance of them."""
    auto_augment: str | None = None
    """timm's name of a policy, as `rand-m9-mstd0.5-inc1`."""
    reprob: Probability = 0.0
    """Chance that a random rectangle is erased."""
