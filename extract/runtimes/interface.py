"""What a runtime is given to run, and what it offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import nn

from ...cache import EmbeddingSpec
from ..adapters import Adapter
from ..pooling import Recipe, pool, wanted


class Embedder(Protocol):
    """A network at work in one runtime and precision."""

    def __call__(self, images: torch.Tensor) -> dict[str, np.ndarray]:
        """Embeds a batch.

        An image's vector does not depend on the batch that it comes in, beyond rounding.

        Args:
            images: uint8 (B, C, H, W) in main memory, B at least 1.

        Returns:
            float32 (B, D) by pooling.
        """
        ...


class Vectors(nn.Module):
    """Normalisation, network and poolings in one module, from uint8 pixels to vectors: what a runtime runs.

    Pixels travel as uint8, a quarter of float32, and are normalised where the network computes.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        adapter: Adapter,
        spec: EmbeddingSpec,
        recipes: Mapping[str, Recipe],
        device: torch.device,
    ) -> None:
        super().__init__()
        self.network, self.adapter, self.poolings = network, adapter, spec.poolings
        self.recipes = [recipes[pooling] for pooling in spec.poolings]
        self.shape = (spec.transform.channels, *spec.transform.size)
        for name, values in (("mean", spec.transform.mean), ("std", spec.transform.std)):
            channels = torch.tensor(values, device=device).view(1, -1, 1, 1)
            self.register_buffer(name, channels, persistent=False)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Vectors float32 (B, D), one matrix per pooling, of uint8 images (B, C, H, W)."""
        batch = (images.float() / 255 - self.mean) / self.std
        # Convolutions are quickest with channels last, and a transformer does not mind.
        batch = batch.contiguous(memory_format=torch.channels_last)
        features = self.adapter.features(self.network, batch, wanted(self.recipes))
        return tuple(pool(features, recipe) for recipe in self.recipes)
