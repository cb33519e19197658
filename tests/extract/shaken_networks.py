"""Untrained networks and images in which a weight at the wrong place shows."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from medprobe.extract import Backbone
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(B,) of the rows of two matrices."""
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def shaken(model: Network, by: float) -> Network:
    """Random weights of which each matters: fresh ones have biases of zero and norms of one."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn(value.shape, generator=generator) * by)
    model.eval()
    return model


def smooth_inputs(backbone: Backbone, count: int) -> tuple[np.ndarray, torch.Tensor]:
    """Smooth random images, and the same as the network sees them."""
    spec = backbone.transform
    coarse = torch.rand(count, spec.channels, 8, 8, generator=torch.Generator().manual_seed(1))
    images = nn.functional.interpolate(coarse, spec.size, mode="bicubic").clamp(0, 1)
    pixels = (images * 255).round().to(torch.uint8)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (spec.mean, spec.std))
    return pixels.numpy(), (pixels.float() / 255 - mean) / std
