"""What a runtime offers."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch


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
