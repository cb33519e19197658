"""Heads: from vectors to logits."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn


class Rescaling(nn.Module):
    """Vectors (B, D) less `mean` (D,), over the number `scale`; at first 0 and 1, and never trained.

    One scale for all features, so that a rate suits the vectors of any network. Were each divided by its own deviation,
    as those of `logreg` are, features of little variance would count as much as others, and no L2 penalty is chosen
    here that would make up for it.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(()))

    def fit(self, vectors: torch.Tensor) -> None:
        """Takes the mean of vectors (N, D), and the root of their mean variance; 1 where nothing varies."""
        mean, variance = vectors.double().mean(0), vectors.double().var(0, correction=0).mean()
        self.mean.copy_(mean)
        self.scale.copy_(variance.sqrt() if variance > 1e-12 * mean.square().mean() else torch.ones(()))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Rescaled vectors."""
        return (vectors - self.mean) / self.scale


class Head(nn.Sequential):
    """Vectors float32 (B, D) to logits float32 (B, outputs), in float32 whatever the backbone computes in.

    Its last layer, which is linear, is `output`.
    """

    output: nn.Linear

    def __init__(self, width: int, outputs: int, *, hidden: int | None = None, dropout: float = 0.0) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(rescaling=Rescaling(width))
        if hidden is not None:
            layers["hidden"], layers["activation"] = nn.Linear(width, hidden), nn.ReLU()
        layers["dropout"] = nn.Dropout(dropout)
        layers["output"] = nn.Linear(hidden or width, outputs)
        super().__init__(layers)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 (as in torch)
        """Logits of vectors."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


class CutPoints(nn.Module):
    """From a score (B, 1) to the logits (B, classes - 1) of being above each cut point.

    The first cut point and the logarithms of the steps between them are what is trained, so that they stay in order.
    """

    def __init__(self, classes: int) -> None:
        """Begins where all classes are equally likely at a score of zero."""
        super().__init__()
        shares = torch.arange(1, classes) / classes
        cuts = torch.logit(shares)
        self.first = nn.Parameter(cuts[:1].clone())
        self.log_steps = nn.Parameter(cuts.diff().log())

    def forward(self, score: torch.Tensor) -> torch.Tensor:
        """Logits of scores."""
        cuts = torch.cat([self.first, self.first + self.log_steps.exp().cumsum(0)])
        return score - cuts
