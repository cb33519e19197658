"""Runs of a network on one black image: what it gives, and whether it can be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from ..base import BackboneError
from ..base.text import first_line
from .adapters import Adapter, Features, Inside, Wanted
from .device import describe, exact_fp32, is_lost, is_out_of_memory
from .pooling import Recipe, available, pool, read_pooling, wanted


@dataclass(frozen=True)
class Trial:
    """Runs of a network on one black image, which show what it gives."""

    adapter: Adapter
    network: nn.Module
    shape: tuple[int, int, int]
    """Channels, height and width of an image."""
    device: torch.device

    def run(self, outputs: Wanted) -> Features:
        """The outputs for a black image.

        Raises:
            BackboneError: the network cannot take it.
        """
        black = torch.zeros(1, *self.shape, device=self.device)
        try:
            with torch.inference_mode(), exact_fp32(self.device, "fp32"):
                return self.adapter.features(self.network, black, outputs)
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            _, height, width = self.shape
            if is_lost(error) or is_out_of_memory(error):
                raise BackboneError(
                    f"{describe(self.device)} cannot run one image of {height} x {width} pixels ({first_line(error)}); "
                    "use a smaller backbone or --image-size, --precision bf16, or another --device."
                ) from error
            raise BackboneError(
                f"this architecture cannot take images of {height} x {width} pixels ({first_line(error)})."
            ) from error

    @cached_property
    def end(self) -> Features:
        """What the network ends in."""
        return self.run(Wanted())

    def dims(self, recipes: Mapping[str, Recipe]) -> dict[str, int]:
        """Vector lengths by pooling, of a network that says the same twice and whose last block is its end."""
        outputs = wanted(recipes.values())
        last = self.adapter.inside(self.network).blocks
        blocks = any(isinstance(place, int) for place in outputs.inside)
        again = self.run(Wanted(inside=outputs.inside | {last} if blocks else outputs.inside))
        if not all(_same(self.end, again, pooling) for pooling in available(self.end)):
            raise BackboneError(
                "this network gives another vector each time (it masks patches at random); it cannot be used."
            )
        if blocks and not all(_same(self.end, again.inside[last], what) for what in available(again.inside[last])):
            raise BackboneError(
                "the last block of this network does not give what the network ends in, so what its library calls "
                "the output of a block is something else; its poolings with @ cannot be used."
            )
        return {pooling: pool(again, recipe).shape[1] for pooling, recipe in recipes.items()}


def _same(one: Features, other: Features, pooling: str) -> bool:
    recipe = read_pooling("", pooling, available(one), Inside())
    return torch.allclose(pool(one, recipe), pool(other, recipe), atol=1e-3)
