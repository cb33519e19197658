"""Position embeddings for another grid of patches, resampled as the authors of each family of networks do it."""

from __future__ import annotations

import re

import torch
from torch import nn

from ...cache.spec import Positions

_OFFSET = 0.1
"""What DINO's and DINOv2's authors add to the number of patches, against rounding; it moves every position a little."""

# `interpolate_pos_encoding` of facebookresearch/dino and dinov2 (hub: `interpolate_offset=0.1`);
# `interpolate_pos_embed` of facebookresearch/mae and deit, and of salesforce/BLIP.
_BY_MODEL_TYPE: dict[str, Positions] = {
    "dinov2": "bicubic-offset-0.1",
    "vit_mae": "bicubic",
    "deit": "bicubic",
    "blip_vision_model": "bicubic",
}
"""By what transformers calls an architecture."""
_BY_NAME: tuple[tuple[str, Positions], ...] = (
    (r"patch14_dinov2|[._/]dino($|-vit)", "bicubic-offset-0.1"),
    (r"\.mae$|(^|/)deit", "bicubic"),
)
"""By names of timm, and of repositories whose architecture transformers calls a plain `vit`."""


def way_of(model: str, model_type: str = "") -> Positions:
    """How the authors of a network resample its positions.

    Of all that are not in the tables it is timm's `resample_abs_pos_embed`, which is also OpenCLIP's `resize_pos_embed`
    and, for DINOv2 with registers, its authors' (hub: `interpolate_antialias=True, interpolate_offset=0.0`).
    `model` is its name in its library; `model_type`, in transformers, its config's.
    """
    if model_type in _BY_MODEL_TYPE:
        return _BY_MODEL_TYPE[model_type]
    for pattern, way in _BY_NAME:
        if re.search(pattern, model):
            return way
    return "bicubic-antialias"


def resampled(
    held: torch.Tensor,
    grid: tuple[int, int],
    way: Positions,
    old_grid: tuple[int, int] | None = None,
    *,
    prefix: int = 0,
) -> nn.Parameter:
    """The positions of `grid` patches, of those that a network holds.

    `held` is a map (1, H, W, D); or, with `old_grid` (H, W), a row (1, prefix + H x W, D), whose prefix stays as it is.
    """
    held = held.detach()
    old = old_grid or (held.shape[1], held.shape[2])
    patches = held[:, prefix:].reshape(1, *old, -1).permute(0, 3, 1, 2)
    if way == "bicubic-offset-0.1":
        scale = ((grid[0] + _OFFSET) / old[0], (grid[1] + _OFFSET) / old[1])
        made = nn.functional.interpolate(patches, scale_factor=scale, mode="bicubic")
    else:
        made = nn.functional.interpolate(patches, size=grid, mode="bicubic", antialias=way == "bicubic-antialias")
    made = made.permute(0, 2, 3, 1)
    if old_grid:
        made = torch.cat([held[:, :prefix], made.flatten(1, 2)], dim=1)
    return nn.Parameter(made, requires_grad=False)
