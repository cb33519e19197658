"""A transformer that reads all tokens of a backbone, as in Palés Huix et al. (WACV 2024), and a linear head on it."""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import resample_abs_pos_embed  # pyright: ignore[reportPrivateImportUsage]
from torch import nn

from ...base.errors import FinetuneError


class TokenHead(nn.Module):
    """Tokens (B, N, D) to logits float32 (B, outputs).

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
