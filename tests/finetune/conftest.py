"""Tiny networks without trained weights, one of each kind, and images for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from medprobe.extract import Backbone, catalogue, load_backbone
from tiny_networks import KINDS


@pytest.fixture(scope="session", autouse=True)
def _in_the_catalogue() -> Iterator[None]:
    """Lets `load_backbone` find the tiny networks by name."""
    catalogue().update(KINDS)
    yield
    for name in KINDS:
        del catalogue()[name]


@pytest.fixture(scope="session")
def tiny_backbone() -> Callable[..., Backbone]:
    """`tiny_backbone(name, ...)`: one of `KINDS` with random weights, loaded once per set of options."""
    loaded: dict[tuple[Any, ...], Backbone] = {}

    def load(name: str, **options: Any) -> Backbone:
        key = (name, *sorted(options.items()))
        if key not in loaded:
            backbone = load_backbone(f"{name}@random", device="cpu", runtime="torch", precision="fp32", **options)
            generator = torch.Generator().manual_seed(0)
            with torch.no_grad():
                for (
                    value
                ) in backbone.network.parameters():  # fresh ones have weights of zero, behind which all is equal
                    value.add_(torch.randn(value.shape, generator=generator) * 0.05)
            loaded[key] = backbone
        return loaded[key]

    return load


@pytest.fixture(scope="session")
def tiny() -> Backbone:
    """A transformer of timm that runs in milliseconds."""
    return load_backbone("timm:test_vit@random", image_size=32, precision="fp32", runtime="torch", device="cpu")


@pytest.fixture(scope="session")
def images_for() -> Callable[..., torch.Tensor]:
    """`images_for(backbone, count)`: uint8 images of noise, as its network takes them."""

    def made(backbone: Backbone, count: int = 4) -> torch.Tensor:
        shape = (count, backbone.transform.channels, *backbone.transform.size)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    return made
