"""What is known of a backbone without its weights: its preprocessing, its architecture on torch's meta device."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from ..cache import TransformSpec
from ..cache.spec import Positions
from .adapters import ADAPTERS, Adapter
from .catalogue import Entry, Local, Random
from .pooling import available, read_pooling
from .runtimes import Vectors
from .trial import Trial
from .weights.fine_tuned import WEIGHTS, FineTuned


def preprocessing_of(entry: Entry) -> tuple[TransformSpec, Positions]:
    """The preprocessing of an entry if nothing else is requested, and how its positions are resampled for that size.

    Nothing is loaded: weights are not needed, and a hub is not asked.

    Examples:
        >>> from medprobe.extract import preprocessing_of, resolve
        >>> transform, positions = preprocessing_of(resolve("dinov2-s"))
        >>> transform.resize_to, transform.size, positions
        (256, (224, 224), 'bicubic-offset-0.1')
    """
    with torch.device("meta"):
        _, _, transform, positions = _untrained(entry, None)
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
        entry, network, transform, _ = _untrained(entry, image_size)
    adapter, place = ADAPTERS[entry.source], torch.device(device)
    there = available(Trial(adapter, network, network_shape(transform), place).end)
    pooling = pooling or (entry.poolings or there)[0]
    recipe = read_pooling(entry.name, pooling, there, adapter.inside(network))
    return Vectors(network, adapter, transform, {pooling: recipe}, place)


def _untrained(entry: Entry, image_size: int | None) -> tuple[Entry, nn.Module, TransformSpec, Positions]:
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


def network_shape(transform: TransformSpec) -> tuple[int, int, int]:
    """Channels, height and width of what a network sees; red filters are those of three channels."""
    return (1 if transform.colour == "grey" else 3, *transform.size)
