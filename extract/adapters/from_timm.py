"""Backbones of timm."""

from __future__ import annotations

import math
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config  # pyright: ignore[reportPrivateImportUsage]
from timm.layers import resample_abs_pos_embed  # pyright: ignore[reportPrivateImportUsage]
from torch import nn

from ...base import BackboneError, WeightsError, did_you_mean
from ...cache import TransformSpec
from ..catalogue import Entry, Local
from ..weights.layouts import as_published
from ..weights.loading import load_strictly
from ..weights.tensors import read_tensors
from .interface import Features, require_multiple


class TimmAdapter:
    """timm: the model's pretrained config owns its preprocessing."""

    def create(self, entry: Entry) -> nn.Module:
        """See `Adapter.create`."""
        _require_known(entry)
        return timm.create_model(entry.model, pretrained=False, num_classes=0)

    def load(self, entry: Entry) -> nn.Module:
        """See `Adapter.load`."""
        if isinstance(entry.weights, Local):
            network, path = self.create(entry), entry.weights.path
            load_strictly(network, as_published(read_tensors(path), network.state_dict()), path.name, entry)
            return network
        _require_known(entry)
        if not timm.is_model_pretrained(entry.model):
            raise WeightsError(f"timm has no pretrained weights for {entry.model}; give some as {entry.model}@FILE.")
        try:
            return timm.create_model(entry.model, pretrained=True, num_classes=0)
        except (OSError, RuntimeError) as error:
            raise WeightsError(_unreachable(entry)) from error

    def transform(self, network: nn.Module, entry: Entry, size: int | None) -> TransformSpec:
        """See `Adapter.transform`."""
        config = resolve_model_data_config(network)
        own = config["input_size"][1:]
        height, width = (size, size) if size else own
        # timm's eval transform: scale by the inverse of the crop share, then take the centre.
        scaled = tuple(math.floor(side / config["crop_pct"]) for side in (height, width))
        squash = config["crop_mode"] == "squash" or height != width
        return TransformSpec(
            size=(height, width),
            resize="squash" if squash else "short-side",
            resize_to=(scaled[0], scaled[1]) if squash else scaled[0],
            interpolation="bicubic" if config["interpolation"] == "random" else config["interpolation"],
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
        )

    def set_image_size(self, network: nn.Module, size: tuple[int, int]) -> None:
        """See `Adapter.set_image_size`."""
        embed: Any = getattr(network, "patch_embed", None)
        own = getattr(embed, "img_size", None)
        if own is None or tuple(own) == size:
            return
        require_multiple(size, embed.patch_size[0])
        positions = getattr(network, "pos_embed", None)
        grid = tuple(embed.grid_size)
        try:
            network.set_input_size(img_size=size)  # pyright: ignore[reportCallIssue]
        except (AttributeError, AssertionError, ValueError, RuntimeError) as error:
            raise BackboneError(f"this architecture takes images of {own[0]} x {own[1]} pixels only.") from error
        if isinstance(positions, torch.Tensor):
            _set_positions(network, positions, grid)

    def features(self, network: nn.Module, images: torch.Tensor) -> Features:
        """See `Adapter.features`."""
        model: Any = network
        return features_of(model, model.forward_features(images))


def features_of(model: Any, tokens: torch.Tensor) -> Features:
    """What `model.forward_features` gave, parted."""
    pooled = model.forward_head(tokens, pre_logits=True)
    if tokens.ndim == 4:
        channels_last = getattr(model, "output_fmt", "NCHW") == "NHWC"
        patches = tokens.flatten(1, 2) if channels_last else tokens.flatten(2).transpose(1, 2)
        return Features(pooled.flatten(1), patches=patches)
    if tokens.ndim == 3:
        prefix = getattr(model, "num_prefix_tokens", 0)
        has_class = prefix > 0 and getattr(model, "cls_token", None) is not None
        return Features(pooled, cls=tokens[:, 0] if has_class else None, patches=tokens[:, prefix:])
    return Features(pooled)


def _require_known(entry: Entry) -> None:
    if not timm.is_model(entry.model):
        raise BackboneError(f'timm has no model "{entry.model}".{did_you_mean(entry.model, timm.list_models())}')


def _set_positions(network: Any, positions: torch.Tensor, grid: tuple[int, int]) -> None:
    """Interpolates positions bicubically without antialiasing, as DINOv2's authors and transformers do."""
    prefix = 0 if network.no_embed_class else network.num_prefix_tokens
    resampled = resample_abs_pos_embed(
        positions.detach(),
        new_size=list(network.patch_embed.grid_size),
        old_size=list(grid),
        num_prefix_tokens=prefix,
        antialias=False,
    )
    network.pos_embed = nn.Parameter(resampled, requires_grad=False)


def _unreachable(entry: Entry) -> str:
    return (
        f"the weights of timm's {entry.model} cannot be fetched from the model hub. Where the hub can be reached, run "
        f"`hf download timm/{entry.model}`, copy model.safetensors to this machine and name the backbone "
        f'"{entry.name}@/path/to/model.safetensors"; or set HF_HUB_CACHE to a folder that holds the download.'
    )
