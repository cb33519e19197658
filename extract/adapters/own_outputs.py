"""What a network of the user's gives: outputs by name, and the vectors that can be made of them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ...base import BackboneError
from .interface import Features, Inside, Wanted, positions

_MOST_PREFIX_TOKENS = 8


class NamedOutputs(nn.Module):
    """A network whose outputs have names: those of a mapping that it gives, or `output1`, `output2` ..."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.names: tuple[str, ...] = ()
        """Known once it has run."""

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """The outputs by name, of a normalised batch (B, C, H, W)."""
        outputs = _by_name(self.network(images))
        self.names = tuple(outputs)
        return outputs


def _by_name(made: Any) -> dict[str, torch.Tensor]:
    if isinstance(made, torch.Tensor):
        return {"output": made}
    if isinstance(made, Mapping):  # an output of transformers is one, too
        pairs = list(made.items())
    elif isinstance(made, Sequence) and not isinstance(made, str):
        pairs = [(f"output{number}", value) for number, value in enumerate(made, 1)]
    else:
        raise BackboneError(f"it gives {type(made).__name__}; give a tensor, or several in a tuple or a dict.")
    tensors = {pooling_name(str(name)): value for name, value in pairs if isinstance(value, torch.Tensor)}
    if not tensors:
        raise BackboneError("it gives no tensor.")
    return tensors


def pooling_name(name: str) -> str:
    """The name of an output as a pooling may have it."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".") or "output"


def inside_of(names: Sequence[str]) -> Inside:
    """Where there are several outputs, each of them is a pooling by its name."""
    return Inside(maps=tuple(names) if len(names) > 1 else ())


def features_of(outputs: Mapping[str, torch.Tensor], images: torch.Tensor, wanted: Wanted) -> Features:
    """The first output as the network's end, and those that are wanted by name.

    (B, D) is a vector as it is, (B, N, D) tokens, (B, D, H, W) a map. The tokens of a square image are its patches, a
    square number of them, after at most eight others, of which the first is the class token.

    Raises:
        BackboneError: one is of another shape, or not of this batch.
    """
    read = {name: _features(name, value, len(images)) for name, value in outputs.items()}
    end = next(iter(read.values()))
    inside = {place: _as_map(read[str(place)]) for place in wanted.inside}
    return Features(end.pooled, end.cls, end.patches, inside=inside)


def _features(name: str, value: torch.Tensor, count: int) -> Features:
    if value.ndim not in (2, 3, 4) or len(value) != count or not value.is_floating_point():
        raise BackboneError(
            f'its output "{name}" is {str(value.dtype).removeprefix("torch.")} {tuple(value.shape)} for {count} images;'
            " it has to be a vector (B, D), tokens (B, N, D) or a map (B, D, H, W) of floating-point numbers."
        )
    if value.ndim == 2:
        return Features(pooled=value)
    if value.ndim == 4:
        return Features(patches=positions(value))
    others = value.shape[1] - math.isqrt(value.shape[1]) ** 2
    if not 0 < others <= _MOST_PREFIX_TOKENS or value.shape[1] <= others + 1:
        return Features(patches=value)
    return Features(cls=value[:, 0], patches=value[:, others:])


def _as_map(features: Features) -> Features:
    """With a vector as the one position of a map, whose mean it is."""
    return features if features.pooled is None else Features(patches=features.pooled[:, None])
