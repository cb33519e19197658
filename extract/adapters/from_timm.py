"""Backbones of timm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from inspect import signature
from typing import Any

import timm
import torch
from timm.data import resolve_model_data_config  # pyright: ignore[reportPrivateImportUsage]
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import nn

from ...base import BackboneError, WeightsError, did_you_mean
from ...cache import TransformSpec
from ...cache.spec import Positions
from ..catalogue import Entry, Local
from ..weights.download import advice_without_hub
from ..weights.loading import load_file
from ..weights.tensors import read_local
from .interface import Adapter, Features, Inside, Place, Wanted, grid_of, positions, transform_spec
from .position_embeddings import resampled, way_of


class TimmAdapter(Adapter):
    """timm: the model's pretrained config owns its preprocessing."""

    def create(self, entry: Entry) -> nn.Module:
        return _create(entry, pretrained=False)

    def load(self, entry: Entry) -> nn.Module:
        if isinstance(entry.weights, Local):
            network, path = self.create(entry), entry.weights.path
            tensors = read_local(entry.weights)
            self.fit_to(network, tensors, path.name)
            load_file(network, tensors, path.name, entry)
            return network
        if timm.is_model(entry.model) and not timm.is_model_pretrained(entry.model):
            raise WeightsError(f"timm has no pretrained weights for {entry.model}; give some as {entry.model}@FILE.")
        # Of a name without a tag, the repository of timm's favourite one.
        config = timm.get_pretrained_cfg(entry.model)
        with advice_without_hub(entry, (config and config.hf_hub_id) or f"timm/{entry.model}"):
            return _create(entry, pretrained=True)

    def fit_to(self, network: Any, tensors: Mapping[str, torch.Tensor], where: str) -> None:
        _add_linear_head(network, tensors, where)

    def transform(self, network: Any, entry: Entry, size: int | None) -> TransformSpec:
        config = resolve_model_data_config(network) | entry.preprocessing
        own = config["input_size"][1:]
        height, width = (size, size) if size else own
        # timm's eval transform: scale by the inverse of the crop share, then take the centre.
        scaled = (math.floor(height / config["crop_pct"]), math.floor(width / config["crop_pct"]))
        squash = config["crop_mode"] == "squash" or height != width
        colour = "grey" if entry.channels == 1 else "rgb"
        return transform_spec(config, (height, width), scaled, squash=squash, colour=colour)

    def set_image_size(self, network: Any, entry: Entry, size: tuple[int, int]) -> Positions:
        embed = getattr(network, "patch_embed", None)
        own = getattr(embed, "img_size", None)
        if embed is None or own is None or tuple(own) == size:
            return ""
        patch = embed.patch_size if isinstance(embed.patch_size, int) else embed.patch_size[0]
        new_grid, way = grid_of(size, patch), way_of(entry.model)
        held = getattr(network, "pos_embed", None)
        if isinstance(network, VisionTransformerSAM):
            # The relative positions of its attention follow by themselves, linearly, as in its authors' `get_rel_pos`.
            if held is None or tuple(held.shape[1:3]) == new_grid:
                return ""
            network.pos_embed = resampled(held, new_grid, way)
            return way
        try:
            grid = tuple(embed.grid_size)
            network.set_input_size(img_size=size)
        except (AttributeError, AssertionError, ValueError, RuntimeError) as error:
            raise BackboneError(f"this architecture takes images of {own[0]} x {own[1]} pixels only.") from error
        if not isinstance(held, torch.Tensor):
            return ""
        prefix = 0 if network.no_embed_class else network.num_prefix_tokens
        # Of a hybrid the grid is another one: its patches are cells of a convolutional network's map.
        network.pos_embed = resampled(held, tuple(network.patch_embed.grid_size), way, grid, prefix=prefix)
        return way

    def inside(self, network: Any) -> Inside:
        if isinstance(network, VisionTransformerSAM):
            return Inside(len(network.blocks), ("neck",))
        reductions = _reductions(network)
        if len(set(reductions)) > 1:
            return Inside(maps=tuple(_STAGES[side] for side in _STAGES if side in reductions))
        return Inside(len(reductions), ("logits",) if hasattr(network, "linear_head") else ())

    def features(self, network: Any, images: torch.Tensor, wanted: Wanted) -> Features:
        if isinstance(network, VisionTransformerSAM):
            return _features_of_sam(network, images, wanted)
        last, inside = run(network, images, wanted)
        return replace(Features() if last is None else end_of(network, last), inside=inside)


def run(network: Any, images: torch.Tensor, wanted: Wanted) -> tuple[torch.Tensor | None, dict[Place, Features]]:
    """What `forward_features` of a network of timm gives, None if the end is not wanted, and what is wanted inside."""
    if not wanted.inside:
        return network.forward_features(images), {}
    indices = {place: _index(network, place) for place in wanted.inside - {"logits"}}
    under_logits = _blocks_of_head(network) if "logits" in wanted.inside else ()
    last, taps = _run(network, images, sorted({*indices.values(), *under_logits}), end=wanted.end)
    inside = {place: taps[index] for place, index in indices.items()}
    if under_logits:
        patches: Any = taps[under_logits[-1]].patches
        parts: list[Any] = [*(taps[index].cls for index in under_logits), patches.mean(1)]
        inside["logits"] = Features(patches=network.linear_head(torch.cat(parts, 1))[:, None])
    return last, inside


_STAGES = {4: "stage1", 8: "stage2", 16: "stage3", 32: "stage4"}
"""Stages by how much smaller than the image their map is; timm's own count begins at another one in each family."""


def _reductions(network: Any) -> list[int]:
    """How much smaller than the image each output is that timm can take from inside, in order."""
    if not hasattr(network, "forward_intermediates"):
        return []
    return [output["reduction"] for output in network.feature_info]


def _index(network: Any, place: Place) -> int:
    """The number that timm gives a block, or of the last output of a stage's size."""
    if isinstance(place, int):
        return place - 1
    return max(index for index, side in enumerate(_reductions(network)) if _STAGES.get(side) == place)


def _run(
    network: Any, images: torch.Tensor, indices: list[int], *, end: bool, norm: bool = True
) -> tuple[torch.Tensor | None, Mapping[int, Features]]:
    """What `forward_features` would give, if it is wanted, and the outputs from inside by index, in one pass."""
    prefix = getattr(network, "num_prefix_tokens", 0)
    with_prefix = prefix > 0 and "return_prefix_tokens" in signature(network.forward_intermediates).parameters
    options = {"return_prefix_tokens": True} if with_prefix else {}
    if not end:
        options |= {"stop_early": True, "intermediates_only": True}
    out = network.forward_intermediates(images, indices=indices, norm=norm, **options)
    last, outputs = out if end else (None, out)
    parts = outputs if with_prefix else [(feature_map, None) for feature_map in outputs]
    taps = {
        index: Features(cls=_class_token(network, tokens), patches=positions(feature_map))
        for index, (feature_map, tokens) in zip(indices, parts, strict=True)
    }
    return last, taps


def _class_token(network: Any, tokens: torch.Tensor | None) -> torch.Tensor | None:
    """The first of the prefix tokens (B, N, D), unless all of them are registers."""
    return None if tokens is None or getattr(network, "cls_token", None) is None else tokens[:, 0]


def end_of(network: Any, out: torch.Tensor) -> Features:
    """What the network ends in, from what `forward_features` gives."""
    if not isinstance(out, torch.Tensor):
        raise BackboneError("this architecture ends in several branches, which have no common vector; use another.")
    pooled = network.forward_head(out, pre_logits=True)
    if out.ndim == 4:
        channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
        return Features(pooled.flatten(1), patches=out.flatten(1, 2) if channels_last else positions(out))
    if out.ndim == 3:
        prefix = getattr(network, "num_prefix_tokens", 0)
        return Features(pooled, cls=_class_token(network, out[:, :prefix] if prefix else None), patches=out[:, prefix:])
    return Features(pooled)


def _features_of_sam(network: Any, images: torch.Tensor, wanted: Wanted) -> Features:
    """Where SAM's encoder ends is its last block; the neck after it, made for the mask decoder, is a map of its own."""
    last = len(network.blocks)
    blocks = {place for place in wanted.inside if isinstance(place, int)} | ({last} if wanted.end else set())
    # Without the norm, which for timm is the neck; the neck needs all blocks, whichever are requested.
    indices = sorted(block - 1 for block in blocks or {last})
    neck, taps = _run(network, images, indices, end="neck" in wanted.inside, norm=False)
    inside: dict[Place, Features] = {index + 1: tap for index, tap in taps.items()}
    if neck is not None:
        inside["neck"] = Features(patches=positions(neck))
    return Features(patches=inside[last].patches if wanted.end else None, inside=inside)


def _create(entry: Entry, *, pretrained: bool) -> nn.Module:
    if not timm.is_model(entry.model):
        raise BackboneError(f'timm has no model "{entry.model}".{did_you_mean(entry.model, timm.list_models())}')
    options = {"num_classes": 0, "in_chans": entry.channels, **entry.options}
    return timm.create_model(entry.model, pretrained=pretrained, **options)


def _add_linear_head(network: Any, tensors: Mapping[str, torch.Tensor], where: str) -> None:
    """Gives the network a place for the classifier that DINOv2's authors publish, if the file has one."""
    weight = tensors.get("linear_head.weight")
    if weight is None or weight.ndim != 2:
        return
    width = network.num_features
    if weight.shape[1] not in (2 * width, 5 * width):
        raise WeightsError(
            f"{where}: the linear head takes vectors of {weight.shape[1]}, but for a network {width} wide it has to "
            f"take {2 * width} (class token and patch mean) or {5 * width} (class tokens of four blocks, and the mean)."
        )
    network.linear_head = nn.Linear(weight.shape[1], weight.shape[0])


def _blocks_of_head(network: Any) -> range:
    """Timm's numbers of the last blocks whose class tokens DINOv2's linear head takes, besides the patch mean."""
    depth = len(network.blocks)
    return range(depth + 1 - network.linear_head.in_features // network.num_features, depth)
