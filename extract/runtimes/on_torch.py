"""torch, on CPUs and GPUs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ..device import Precision, exact_fp32, fixed_batch
from .interface import Vectors


class TorchEmbedder:
    """Runs in torch: bfloat16 by autocast, channels last, attention by torch's fused kernels.

    The fused attention (`scaled_dot_product_attention`) is what timm and transformers call by themselves.
    """

    def __init__(self, vectors: Vectors, device: torch.device, precision: Precision, *, compiled: bool = False) -> None:
        """Takes a network that is on `device` already; `compiled` puts it through `torch.compile`."""
        self.poolings = vectors.poolings
        self.device = device
        self.precision: Precision = precision
        self._run: Callable[[torch.Tensor], tuple[torch.Tensor, ...]] = torch.compile(vectors) if compiled else vectors

    def __call__(self, images: torch.Tensor) -> dict[str, np.ndarray]:
        """See `Embedder`."""
        step = fixed_batch(self.device, self.precision) or len(images)
        parts = [self._part(part, step) for part in images.split(step)]
        return {pooling: np.concatenate(matrices) for pooling, *matrices in zip(self.poolings, *parts, strict=True)}

    def _part(self, images: torch.Tensor, size: int) -> list[np.ndarray]:
        """Embeds up to `size` images as a batch of `size`."""
        count = len(images)
        batch = filled_up(images, size).to(self.device, non_blocking=True)
        bf16 = self.precision == "bf16"
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=bf16),
            exact_fp32(self.device, self.precision),
        ):
            return [matrix[:count].cpu().numpy() for matrix in self._run(batch)]


def filled_up(images: torch.Tensor, size: int) -> torch.Tensor:
    """The images with the last one repeated until there are `size` of them."""
    lacking = size - len(images)
    return torch.cat([images, images[-1:].expand(lacking, -1, -1, -1)]) if lacking > 0 else images
