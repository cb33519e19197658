"""A backbone as one module, from uint8 pixels to vectors: what a runtime is given to run."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from ...cache import EmbeddingSpec
from ..adapters import Adapter
from ..pooling import Recipe, pool, wanted


class Vectors(nn.Module):
    """Normalisation, network and poolings in one.

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
