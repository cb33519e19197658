"""Which tensor of a network becomes the vector of an image."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..base import BackboneError, did_you_mean, one_of
from .adapters import Features


def available(features: Features) -> tuple[str, ...]:
    """The poolings that these outputs allow, the usual one first.

    `cls`: the class token after the last norm; `mean`: the mean of the patch tokens, or of the last feature map;
    `cls+mean`: both, one after the other; `pooled`: what the library itself would hand to a classifier; `proj`: what a
    network of images and texts compares with a text.
    """
    names = [] if features.proj is None else ["proj"]
    if features.cls is not None:
        names.append("cls")
    if features.patches is not None:
        names.append("mean")
    if features.cls is not None and features.patches is not None:
        names.append("cls+mean")
    if features.pooled is None:
        return tuple(names)
    return (*names, "pooled") if "cls" in names else ("pooled", *names)


def require_available(name: str, asked: Sequence[str], there: Sequence[str]) -> None:
    """Makes sure that a backbone has the poolings that are asked of it.

    Raises:
        BackboneError: lists those it has.
    """
    for pooling in asked:
        if pooling not in there:
            raise BackboneError(
                f'{name} has no pooling "{pooling}".{did_you_mean(pooling, there)} It has {one_of(there)}.'
            )


def pool(features: Features, pooling: str) -> torch.Tensor:
    """The vectors (B, D) of one pooling, float32."""
    if pooling == "cls+mean":
        return torch.cat([pool(features, "cls"), pool(features, "mean")], dim=1)
    if pooling == "cls" and features.cls is not None:
        return features.cls.float()
    if pooling == "mean" and features.patches is not None:
        # Summed in float32 whatever the network computed in: an average of 256 bfloat16 numbers would lose digits.
        return features.patches.float().mean(dim=1)
    if pooling == "pooled" and features.pooled is not None:
        return features.pooled.float()
    if pooling == "proj" and features.proj is not None:
        return features.proj.float()
    raise ValueError(f"these features have no pooling {pooling!r}")
