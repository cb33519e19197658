"""What an adapter offers, and the tensors that poolings are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from ...base import BackboneError
from ...cache import TransformSpec
from ..catalogue import Entry


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


class Adapter(Protocol):
    """One source library."""

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

    def transform(self, network: nn.Module, entry: Entry, size: int | None) -> TransformSpec:
        """The preprocessing of the model's own config, scaled to `size` pixels; None is the model's own size."""
        ...

    def set_image_size(self, network: nn.Module, size: tuple[int, int]) -> None:
        """Makes `network` take images of (height, width) pixels, interpolating positions where it has any.

        Raises:
            BackboneError: the architecture cannot take that size.
        """
        ...

    def features(self, network: nn.Module, images: torch.Tensor) -> Features:
        """Runs `network` on a normalised batch (B, 3, H, W)."""
        ...


def require_multiple(size: tuple[int, int], patch: int) -> None:
    """Refuses a size that does not divide into patches.

    Raises:
        BackboneError: names the nearest sizes that do.
    """
    if any(side % patch for side in size):
        below = max(patch, size[0] // patch * patch)
        raise BackboneError(
            f"this architecture cuts images into patches of {patch} pixels and cannot take {size[0]} x {size[1]}; "
            f"choose a multiple of {patch}, such as {below} or {below + patch}."
        )
