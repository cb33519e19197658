"""Architectures without their weights: preprocessing, poolings, and what a network gives for one black image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import nn

from ..base import BackboneError
from ..base.text import first_line
from ..cache import TransformSpec
from ..cache.spec import Positions
from .adapters import ADAPTERS, Adapter, Features, Inside, Wanted
from .catalogue import OWN, Entry, Local, Random
from .device import describe, exact_fp32, is_lost, is_out_of_memory
from .pooling import Recipe, available, pool, read_pooling, wanted
from .runtimes import Vectors
from .weights.fine_tuned import WEIGHTS, FineTuned


def preprocessing_of(entry: Entry) -> tuple[TransformSpec, Positions]:
    """The preprocessing of an entry if nothing else is requested, and how its positions are resampled for that size.

    Nothing is loaded: weights are not needed, and a hub is not contacted.

    Examples:
        >>> from medprobe.extract import preprocessing_of, resolve
        >>> transform, positions = preprocessing_of(resolve("dinov2-s"))
        >>> transform.resize_to, transform.size, positions
        (256, (224, 224), 'bicubic-offset-0.1')
    """
    with torch.device("meta"):
        _, _, transform, positions = untrained_network(entry, None)
    return transform, positions


def untrained_vectors(
    entry: Entry, *, pooling: str | None = None, image_size: int | None = None, device: str = "meta"
) -> Vectors:
    """The network of an entry, its preprocessing and one pooling; by default on torch's meta device, without values.

    Of a fine-tuned one it has the architecture, and not the weights.

    Raises:
        BackboneError: the backbone has no such pooling, or cannot take that image size.
    """
    with torch.device(device):
        entry, network, transform, _ = untrained_network(entry, image_size)
    adapter, place = ADAPTERS[entry.source], torch.device(device)
    there = available(Trial(adapter, network, transform, place).end)
    pooling = pooling or (entry.poolings or there)[0]
    recipe = read_pooling(entry.name, pooling, there, adapter.inside(network))
    return Vectors(network, adapter, transform, {pooling: recipe}, place)


def untrained_network(entry: Entry, image_size: int | None) -> tuple[Entry, nn.Module, TransformSpec, Positions]:
    """An entry with what lies beside its weights, its network, its preprocessing, and how positions are resampled."""
    adapter, tuned = ADAPTERS[entry.source], FineTuned.of(entry)
    entry = tuned.completed(entry) if tuned else entry
    if not isinstance(entry.weights, Local):
        entry = replace(entry, weights=Random())
    network = adapter.create(entry).eval().requires_grad_(False)
    if tuned:
        adapter.fit_to(network, tuned.tensors(entry), WEIGHTS)
    transform = transform_of(adapter, network, entry, image_size, tuned)
    return entry, network, transform, adapter.set_image_size(network, entry, transform.size)


def transform_of(
    adapter: Adapter, network: nn.Module, entry: Entry, image_size: int | None, tuned: FineTuned | None
) -> TransformSpec:
    """The preprocessing of a fine-tuned network as it was trained with, else that of the entry."""
    if tuned and image_size in (None, tuned.transform.size[0]):
        return tuned.transform
    return adapter.transform(network, entry, image_size or entry.image_size)


@dataclass(frozen=True)
class Trial:
    """Runs of a network on one black image, which show what it gives."""

    adapter: Adapter
    network: nn.Module
    transform: TransformSpec
    device: torch.device

    def run(self, outputs: Wanted) -> Features:
        """The outputs for a black image; BackboneError where the network cannot take it."""
        channels = 1 if self.transform.colour == "grey" else 3  # red filters are those of three
        height, width = self.transform.size
        black = torch.zeros(1, channels, height, width, device=self.device)
        try:
            with torch.inference_mode(), exact_fp32(self.device, "fp32"):
                return self.adapter.features(self.network, black, outputs)
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            if is_lost(error) or is_out_of_memory(error):
                raise BackboneError(
                    f"{describe(self.device)} cannot run one image of {height} x {width} pixels ({first_line(error)}); "
                    "use a smaller backbone or --image-size, --precision bf16, or another --device."
                ) from error
            if any(self.adapter is ADAPTERS[source] for source in OWN):
                raise BackboneError(
                    f"the network fails for a batch of shape {tuple(black.shape)}: {type(error).__name__}: "
                    f"{first_line(error)}. Is that its input (--image-size)? Else its code has to change; --debug "
                    "shows where."
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
                "this network gives another vector of the same image each time, as those do that mask patches at random"
                " or add noise; it cannot be used."
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
