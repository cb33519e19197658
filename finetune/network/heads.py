"""Heads: from vectors, or from all tokens of a backbone, to logits."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from timm.layers import resample_abs_pos_embed  # pyright: ignore[reportPrivateImportUsage]
from torch import nn

from ...base.errors import FinetuneError


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


class TokenHead(nn.Module):
    """Tokens (B, N, D) to logits float32 (B, outputs), by a transformer, as in Palés Huix et al. (WACV 2024).

    A linear layer and a norm bring the tokens to the width of `deit`, whose patch embedding they replace; its class
    token, its positions, resampled for the tokens' grid, and its blocks follow; its class token goes to `output`.
    """

    def __init__(self, deit: Any, width: int, grid: tuple[int, int], outputs: int, *, dropout: float = 0.0) -> None:
        """Takes a vision transformer of timm, which is changed, and the width and grid of the tokens."""
        super().__init__()
        if getattr(deit, "cls_token", None) is None or getattr(deit, "pos_embed", None) is None:
            raise FinetuneError("tokens are read by a vision transformer of timm with a class token and positions.")
        prefix = 0 if deit.no_embed_class else deit.num_prefix_tokens
        positions = resample_abs_pos_embed(deit.pos_embed.detach(), list(grid), num_prefix_tokens=prefix)
        deit.patch_embed = nn.Sequential(nn.Linear(width, deit.embed_dim), nn.LayerNorm(deit.embed_dim))
        deit.pos_embed, deit.dynamic_img_size = nn.Parameter(positions), False
        self.deit = deit.requires_grad_(True)
        self.dropout, self.output = nn.Dropout(dropout), nn.Linear(deit.num_features, outputs)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits of tokens."""
        vectors = self.deit.forward_head(self.deit.forward_features(tokens), pre_logits=True)
        with torch.autocast(tokens.device.type, enabled=False):
            return self.output(self.dropout(vectors.float()))


def grid_of_tokens(count: int, size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of `count` tokens of an image of that height and width.

    Raises:
        FinetuneError: they are no grid of its shape.
    """
    rows = round((count * size[0] / size[1]) ** 0.5)
    if rows == 0 or count % rows:
        raise FinetuneError(f"{count} tokens are no grid of an image of {size[0]} x {size[1]} pixels.")
    return rows, count // rows
