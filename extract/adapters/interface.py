"""What an adapter offers, and the tensors that poolings are made of."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from ...base import BackboneError, WeightsError
from ...base.text import first_line
from ...cache import Colour, TransformSpec
from ...cache.spec import Positions, Runtime
from ..catalogue import Entry
from ..weights.tensors import tensors_digest

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Per channel, on the 0..1 scale: where neither a config nor its authors say more."""

Place = int | str
"""A place inside a network: the number of a block, from 1, or the name of a feature map."""


Matcher = Mapping[str, Any] | Callable[[str], Any]
"""Which parameters are the network's stem and which its blocks, in the form of timm's `group_matcher`.

By name of a part, `stem` first, a pattern of parameters' names, whose groups are numbers that put the blocks in order;
or pairs of such a pattern and of further numbers. Or a function that gives such numbers for a name.
"""
LAST_OF_STAGE = (99999,)
"""In a `Matcher`, timm's further number of what belongs to the block before it."""


@dataclass(frozen=True)
class Inside:
    """The places inside a network that a pooling may name."""

    blocks: int = 0
    """Blocks that give tokens, numbered from 1; 0 where there are none."""
    maps: tuple[str, ...] = ()
    """Feature maps by name: `stage1` to `stage4`, at 1/4, 1/8, 1/16 and 1/32 of the image's sides, and `res2` to `res5`
    of SEEM, likewise; `neck`; `logits` of a linear head."""
    projected: bool = False
    """Whether blocks give `proj` too: the network projects nothing but its class token."""


@dataclass(frozen=True)
class Wanted:
    """Which outputs of a network are wanted, so that no others are computed."""

    end: bool = True
    """What the network ends in: its tokens or last map, and what the library makes of them."""
    inside: frozenset[Place] = frozenset()


@dataclass(frozen=True)
class Features:
    """The outputs of one batch of B images, D features, before pooling."""

    pooled: torch.Tensor | None = None
    """(B, D'): what the library itself would hand to a classifier; None where it has nothing trained for that."""
    cls: torch.Tensor | None = None
    """(B, D): the class token after the last norm; None where there is none."""
    patches: torch.Tensor | None = None
    """(B, N, D): patch tokens after the last norm, or the positions of a last feature map."""
    proj: torch.Tensor | None = None
    """(B, D'): the vector that is compared with a text's, after the projection; None where there is none."""
    inside: Mapping[Place, Features] = field(default_factory=dict)
    """`cls` and `patches` of the places inside that were wanted; of blocks, with the network's last norm applied, and
    with `proj` of that class token where there is such a projection."""


class Adapter(Protocol):
    """One source library. A `network` is one that `create` or `load` gave, whose attributes are the library's."""

    runtime: Runtime | None = None
    """The one that its networks run in; None where torch runs them, and others may."""
    fixed_precision: bool = False
    """Whether its networks compute in the types that are written in them, so that no other can be requested."""
    channels_last: bool = True
    """Whether its networks take batches and weights in that order in memory, in which convolutions are quicker."""
    trainable: bool = True
    """Whether its networks can be fine-tuned."""

    def create(self, entry: Entry) -> nn.Module:
        """The architecture at its own image size, untrained.

        Raises:
            BackboneError: the library has no such model.
        """
        ...

    def load(self, entry: Entry) -> nn.Module:
        """The architecture at its own image size, with the weights of the hub or of a file or folder.

        Raises:
            BackboneError: the library has no such model.
            WeightsError: they cannot be had, are damaged, or do not fit.
        """
        ...

    def fit_to(self, network: Any, tensors: Mapping[str, torch.Tensor], where: str) -> None:
        """Gives a created network the optional parts that tensors of its own names have, and takes the others away.

        `where` names the file in errors.
        """

    def transform(self, network: Any, entry: Entry, size: int | None) -> TransformSpec:
        """The preprocessing of the model's own config, scaled to `size` pixels; None is the model's own size."""
        ...

    def config(self, network: Any, entry: Entry) -> Mapping[str, Any]:
        """What decides the forward pass and is in no tensor, where it came with the weights; else nothing.

        JSON-like, without what changes no vector (versions, names of classes), and never a path.
        """
        return {}

    def digest(self, network: Any, entry: Entry) -> str:
        """SHA-256 of the weights."""
        return tensors_digest(network.state_dict())

    def lacks_normalization(self, network: Any, entry: Entry) -> bool:
        """Whether mean and standard deviation are not known, so that the user has to give them."""
        return False

    def set_image_size(self, network: Any, entry: Entry, size: tuple[int, int]) -> Positions:
        """Makes `network` take images of (height, width) pixels; positions that it has are resampled once, here.

        Returns how they were resampled, "" where they were not; BackboneError where the size is not possible.
        """
        ...

    def inside(self, network: Any) -> Inside:
        """The places inside `network` that `features` can give."""
        ...

    def group_matcher(self, network: Any) -> Matcher | None:
        """What of `network` is stem and block, by names of parameters; None where its library does not know."""
        return network.group_matcher(coarse=False) if hasattr(network, "group_matcher") else None

    def features(self, network: Any, images: torch.Tensor, wanted: Wanted) -> Features:
        """Runs `network` on a normalised batch (B, C, H, W), no further than `wanted` needs."""
        ...


def positions(feature_map: torch.Tensor) -> torch.Tensor:
    """The positions of a map (B, D, H, W) in one row (B, H x W, D)."""
    return feature_map.flatten(2).transpose(1, 2)


def transform_spec(
    config: Mapping[str, Any], size: tuple[int, int], scaled: tuple[int, int], *, squash: bool, colour: Colour = "rgb"
) -> TransformSpec:
    """Preprocessing with the `interpolation`, `mean` and `std` of a library's config.

    The image is brought to `scaled`, height and width, whatever its aspect; without `squash`, its shorter side to the
    first of them. The centre of `size` is what the network sees.
    """
    return TransformSpec(
        size=size,
        resize="squash" if squash else "short-side",
        resize_to=scaled if squash else scaled[0],
        interpolation="bicubic" if config["interpolation"] == "random" else config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        colour=colour,
    )


def plain_transform(size: tuple[int, int], channels: int = 3) -> TransformSpec:
    """Of a network without a config: shorter side to the input's, centre crop, 0 to 1; unequal sides are squashed."""
    config = {"interpolation": "bicubic", "mean": (0.0,) * channels, "std": (1.0,) * channels}
    return transform_spec(config, size, size, squash=size[0] != size[1], colour="rgb" if channels == 3 else "grey")


def matcher_under(prefix: str, matcher: Matcher | None) -> Matcher | None:
    """The same of a network that is part of another one."""
    if not isinstance(matcher, Mapping):
        return matcher and (lambda name: matcher(name.removeprefix(prefix)) if name.startswith(prefix) else math.inf)

    def moved(spec: Any) -> Any:
        if isinstance(spec, str):
            # Its beginning is where timm matches it anyway.
            return f"^{re.escape(prefix)}(?:{spec.replace('^', '')})"
        return [(moved(pattern), numbers) for pattern, numbers in spec]

    return {name: moved(spec) for name, spec in matcher.items()}


def grid_of(size: tuple[int, int], patch: int) -> tuple[int, int]:
    """Into how many rows and columns of patches an image is cut; BackboneError where it does not divide into them."""
    if any(side % patch for side in size):
        below = max(patch, size[0] // patch * patch)
        raise BackboneError(
            f"this architecture cuts images into patches of {patch} pixels and cannot take {size[0]} x {size[1]}; "
            f"choose a multiple of {patch}, such as {below} or {below + patch}."
        )
    return size[0] // patch, size[1] // patch


def read_config(file: Path) -> dict[str, Any]:
    """The JSON object in a file; WeightsError where it holds none."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")).items())
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{file.name} cannot be read as a config ({first_line(error)}).") from error
