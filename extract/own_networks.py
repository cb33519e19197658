"""An encoder with a preprocessing of its own as a backbone, and the checks of every network of the user's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from ..base import BackboneError, ImageError
from ..base.text import first_line
from ..cache.spec import Precision, Runtime
from .adapters import ADAPTERS, Adapter, Inside
from .adapters.own_encoder import EncoderNetwork
from .architecture import Trial, untrained_network
from .catalogue import OWN, Code, Entry
from .device import RequestedRuntime, choose_precision, choose_runtime
from .loader import OwnInput
from .pooling import Term, available, read_pooling
from .runtimes import Vectors

POOLING = "pooled"
"""The one vector of an encoder."""
_SIZES = ((48, 64), (80, 56), (64, 64))
"""Height and width of the images that a network is tried with."""
_BRIGHTEST = (60, 256, 130)
"""Of the values in each, so that a vector of any kind tells them apart."""
_ROUNDING = 0.05
"""Of a vector's length: how far an image's vectors in two batches may be apart, as they may be of half precision."""


def entry_of(encoder: object) -> Entry:
    """An encoder or network that was made already, as an entry."""
    model = f"{type(encoder).__module__}:{type(encoder).__qualname__}"
    return Entry(f"python:{model}", source="python", model=model, weights=Code(), code=encoder)


class EncoderVectors(Vectors):
    """The encoder alone: what it is given is ready, and what it gives is the vector."""

    def __init__(self, network: EncoderNetwork, adapter: Adapter, shape: tuple[int, int, int]) -> None:
        nn.Module.__init__(self)
        self.network, self.adapter, self.shape = network, adapter, shape
        self.poolings, self.recipes, self.red_filters = (POOLING,), [(Term(POOLING),)], False

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Vectors float32 (B, D) of inputs (B, C, H, W)."""
        return (self.network(images),)


def precision_of(
    requested: Literal["auto", "fp32", "bf16"], adapter: Adapter, entry: Entry, device: torch.device
) -> Precision:
    """What a network computes in; BackboneError where another precision than that of its file is requested."""
    if not adapter.fixed_precision:
        return choose_precision(requested, device)
    if requested == "bf16":
        raise BackboneError(f"{entry.name} computes in the types that are in its file; leave out --precision bf16.")
    return "fp32"


def runtime_of(
    requested: RequestedRuntime, precision: Precision, adapter: Adapter, entry: Entry, device: torch.device
) -> Runtime:
    """What runs a network; BackboneError where what is requested cannot run it, or not on that device."""
    if adapter.runtime is None:
        return choose_runtime(requested, precision, device)
    if requested not in ("auto", adapter.runtime):
        raise BackboneError(f"{entry.name} is run by {adapter.runtime}; leave out --runtime {requested}.")
    if adapter.runtime == "openvino" and device.type != "cpu":
        raise BackboneError(
            f"{entry.name} is run by OpenVINO, on CPUs: add --device cpu, or export the network as pt2 for a GPU."
        )
    return adapter.runtime


def refuse_options(entry: Entry, options: Mapping[str, Any]) -> None:
    """BackboneError for the first option given that would change an encoder's preprocessing or arithmetic."""
    for name, value in options.items():
        if value:
            raise BackboneError(
                f"{entry.name} has a preprocessing and numbers of its own; leave out --{name.replace('_', '-')}."
            )


def own_input(network: EncoderNetwork, entry: Entry) -> OwnInput:
    """What the encoder makes of images of several sizes, grey and in colour: all of one shape, else BackboneError."""
    made, finite = None, False
    try:
        for pixels in example_images():
            array = network.preprocess(pixels)
            made = made or OwnInput(network.preprocess, array.shape, array.dtype)
            finite = bool(np.isfinite(made(pixels)).all())
    except ImageError as error:
        raise BackboneError(f"{entry.name}: {error}.") from error
    if made is None or not finite:
        raise BackboneError(f"{entry.name}: `preprocess` gave NaN or infinity.")
    return made


def require_own_rows(
    embed: Callable[[torch.Tensor], Mapping[str, np.ndarray]], inputs: torch.Tensor, name: str
) -> None:
    """BackboneError for a network that fails, or whose vectors depend on other images of the batch or on chance.

    `embed` gives (B, D) by pooling, of `inputs` (B, C, H, W), which are different images.
    """
    try:
        there, back, alone = embed(inputs), embed(inputs.flip(0)), embed(inputs[:1])
    except BackboneError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise BackboneError(f"{name}: {type(error).__name__}: {first_line(error)}; --debug shows where.") from error
    for pooling, vectors in there.items():
        if not np.isfinite(vectors).all():
            raise BackboneError(f"{name}: {pooling} is NaN or infinity for random images.")
        same = back[pooling][::-1], np.concatenate([alone[pooling], vectors[1:]])
        most = _ROUNDING * np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-6
        if not all((np.linalg.norm(other - vectors, axis=1, keepdims=True) <= most).all() for other in same):
            raise BackboneError(
                f"{name}: the vector of an image changes with its place and the other images in the batch, or from "
                "call to call. Give one row per image, in order, and call .eval() on every part."
            )


def describe(entry: Entry) -> tuple[str, dict[str, int]]:
    """What a network takes, in words, and the vectors that it has, with their lengths.

    A network of the user's own is loaded; of another one the architecture is enough.
    """
    adapter = ADAPTERS[entry.source]
    if entry.source in OWN:
        network = adapter.load(entry).eval().requires_grad_(False)
        transform = None
    else:
        entry, network, transform, _ = untrained_network(entry, None)
    if isinstance(network, EncoderNetwork):
        made = own_input(network, entry)
        batch = torch.from_numpy(np.stack([made(pixels) for pixels in example_images()]))
        with torch.inference_mode():
            vectors = network(batch)
        return f"its own preprocessing, {made.dtype} {made.shape}", {POOLING: vectors.shape[1]}
    transform = transform or adapter.transform(network, entry, entry.image_size)
    trial = Trial(adapter, network, transform, torch.device("cpu"))
    names = available(trial.end)
    recipes = {name: read_pooling(entry.name, name, names, Inside()) for name in names}
    inside = adapter.inside(network)
    recipes |= {name: read_pooling(entry.name, name, names, inside) for name in inside.maps}
    words = str(transform)
    if adapter.lacks_normalization(network, entry):
        words = f"{words.partition('; mean')[0]}; --normalization has to be given"
    return words, trial.dims(recipes)


def random_inputs(shape: tuple[int, ...]) -> torch.Tensor:
    """Three different inputs (3, C, H, W), uint8."""
    random = np.random.default_rng(0)
    return torch.from_numpy(np.stack([random.integers(0, most, shape, dtype=np.uint8) for most in _BRIGHTEST]))


def example_images() -> list[np.ndarray]:
    """Three different images, uint8, of different sizes, in colour and in grey."""
    random = np.random.default_rng(0)
    pairs = zip(_SIZES, _BRIGHTEST, strict=True)
    images = [random.integers(0, most, (*size, 3), dtype=np.uint8) for size, most in pairs]
    return [*images[:2], images[2][..., 0]]
