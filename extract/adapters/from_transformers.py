"""Backbones of Hugging Face transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from inspect import signature
from types import MethodType
from typing import Any

import torch
from torch import nn

from ...base import BackboneError
from ...cache import TransformSpec
from ...cache.spec import Positions
from ..catalogue import PROCESSOR, Entry, Hub, Local
from ..weights.download import advice_without_hub
from .image_processors import transform_of
from .interface import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    LAST_OF_STAGE,
    Adapter,
    Features,
    Inside,
    Matcher,
    Place,
    Wanted,
    grid_of,
    positions,
)
from .position_embeddings import resampled, way_of
from .transformers_weights import config_of, load_vision, untrained_vision

_NO_MATTER = {"architectures", "dtype", "id2label", "label2id", "problem_type", "torch_dtype", "transformers_version"}
"""What a config says that changes no vector."""


class TransformersAdapter(Adapter):
    """transformers: `AutoModel` for the network, the image processor's config for the preprocessing."""

    def create(self, entry: Entry) -> nn.Module:
        return untrained_vision(config_of(entry))

    def load(self, entry: Entry) -> nn.Module:
        return load_vision(entry)

    def fit_to(self, network: Any, tensors: Mapping[str, torch.Tensor], where: str) -> None:
        if not any(name.startswith("pooler.") for name in tensors):
            network.pooler = None

    def transform(self, network: Any, entry: Entry, size: int | None) -> TransformSpec:
        return transform_of(_processor(entry), size, entry.name)

    def config(self, network: Any, entry: Entry) -> Mapping[str, Any]:
        brought = isinstance(entry.weights, Local) and (entry.weights.path / "config.json").is_file()
        if entry.config is not None and not brought:
            return {}
        config = network.config.to_diff_dict()
        return {name: value for name, value in config.items() if name not in _NO_MATTER and name[:1] != "_"}

    def set_image_size(self, network: Any, entry: Entry, size: tuple[int, int]) -> Positions:
        patch = getattr(network.config, "patch_size", None)
        if not isinstance(patch, int):
            return ""
        grid, way = grid_of(size, patch), way_of(entry.model, network.config.model_type)
        if _is_sam(network):
            own, network.patch_embed.image_size = tuple(network.patch_embed.image_size), size
            if own == size or network.pos_embed is None:
                return ""
            # The relative positions of its attention follow by themselves.
            network.pos_embed = resampled(network.pos_embed, grid, way)
            return way
        sides: Any = getattr(network.config, "image_size", None) or size
        height, width = (sides, sides) if isinstance(sides, int) else sides
        if (height, width) == size:
            return ""
        interpolating = [module for module in network.modules() if hasattr(module, "interpolate_pos_encoding")]
        # Rotary positions are computed for each size.
        if not interpolating and not hasattr(network, "rope_embeddings"):
            raise BackboneError(f"this architecture takes images of {height} x {width} pixels only.")
        held = [_hold_positions(module, grid, way, (height // patch, width // patch)) for module in interpolating]
        if any(held):
            network.config.image_size = size
        return way if any(held) else ""

    def inside(self, network: Any) -> Inside:
        config = network.config
        if _is_sam(network):
            return Inside(config.num_hidden_layers, ("neck",))
        if config.model_type in _MAPS_BY_STAGE:
            return Inside(maps=tuple(f"stage{number + 1}" for number in range(len(config.depths))))
        blocks = getattr(config, "num_hidden_layers", None)
        return Inside(blocks=blocks if isinstance(blocks, int) and not hasattr(config, "depths") else 0)

    def group_matcher(self, network: Any) -> Matcher:
        return {"stem": _STEM, "blocks": _BLOCKS}

    def features(self, network: Any, images: torch.Tensor, wanted: Wanted) -> Features:
        """These networks always run to their end."""
        if _is_sam(network):
            return _features_of_sam(network, images, wanted)
        options = {"output_hidden_states": True} if wanted.inside else {}
        if "interpolate_pos_encoding" in signature(network.forward).parameters:
            # Which older architectures need before they take another image size; newer ones always do.
            options["interpolate_pos_encoding"] = True
        out = network(images, **options)
        last = out.last_hidden_state
        pooled = getattr(out, "pooler_output", None)
        if last.ndim == 4:
            stages = {name: out.hidden_states[int(str(name).removeprefix("stage"))] for name in wanted.inside}
            maps: dict[Place, Features] = {name: Features(patches=positions(one)) for name, one in stages.items()}
            return Features(None if pooled is None else pooled.flatten(1), patches=positions(last), inside=maps)
        blocks = {place: _tokens(network, _normed(network, out, int(place))) for place in wanted.inside}
        return replace(_tokens(network, last), pooled=pooled, inside=blocks)


_STEM = r"^(?:\w+\.)?(?:embeddings|embedder|patch_embed|pos_embed|pre_layrnorm)\b"
_BLOCKS = [
    (r"^(?:\w+\.)?(?:layers|stages)\.(\d+)\.(?:layers|blocks)\.(\d+)\.", None),
    # ConvNeXt makes a map smaller before a stage, and Swin after it.
    (r"^(?:\w+\.)?stages\.(\d+)\.downsampling_layer\.", (0,)),
    (r"^(?:\w+\.)?layers\.(\d+)\.downsample\.", LAST_OF_STAGE),
    (r"^(?:\w+\.)?layers?\.(\d+)\.", None),
]
"""Where the image encoders of transformers keep their blocks, by stage where they have stages."""

_MAPS_BY_STAGE = {"convnext", "convnextv2", "regnet", "resnet"}
"""Architectures whose hidden states are the stages' maps, before the next stage makes them smaller."""


def _is_sam(network: Any) -> bool:
    return network.config.model_type == "sam_vision_model"


def _hold_positions(module: Any, grid: tuple[int, int], way: Positions, old_grid: tuple[int, int]) -> bool:
    """Gives a module the positions of `grid` for good, instead of those that transformers interpolates per batch.

    False for one that has none, or keeps them in another form (of several stages, say), which is left as it is.
    """
    name = _name_of_positions(module)
    held = getattr(module, name, None)
    rows = held.weight[None] if isinstance(held, nn.Embedding) else held
    if not isinstance(rows, torch.Tensor) or rows.ndim != 3:
        return False
    prefix = rows.shape[1] - old_grid[0] * old_grid[1]
    if not 0 <= prefix <= 2:
        return False
    made = resampled(rows, grid, way, old_grid, prefix=prefix)
    if isinstance(held, nn.Embedding):
        held.weight = nn.Parameter(made[0], requires_grad=False)
    else:
        setattr(module, name, made)
    # Bound to the module and not a closure over it, so that a copy of the network has positions of its own.
    module.interpolate_pos_encoding = MethodType(_held_positions, module)
    return True


def _name_of_positions(module: Any) -> str:
    return next((n for n in ("position_embeddings", "position_embedding") if getattr(module, n, None) is not None), "")


def _held_positions(module: Any, *_: Any) -> torch.Tensor:
    held = getattr(module, _name_of_positions(module))
    return held.weight[None] if isinstance(held, nn.Embedding) else held


def _features_of_sam(network: Any, images: torch.Tensor, wanted: Wanted) -> Features:
    """As through timm: the encoder ends in its last block, and the neck after it is a map of its own."""
    out = network(images, output_hidden_states=True)
    blocks = {place: out.hidden_states[place].flatten(1, 2) for place in wanted.inside if isinstance(place, int)}
    inside: dict[Place, Features] = {place: Features(patches=tokens) for place, tokens in blocks.items()}
    if "neck" in wanted.inside:
        inside["neck"] = Features(patches=positions(out.last_hidden_state))
    return Features(patches=out.hidden_states[-1].flatten(1, 2), inside=inside)


def _normed(network: Any, out: Any, block: int) -> torch.Tensor:
    """Tokens (B, N, D) of a block, with the norm that the last block's tokens get, if they get any."""
    tokens = out.hidden_states[block]
    if out.hidden_states[-1] is out.last_hidden_state:
        return tokens
    norms = (getattr(network, name, None) for name in ("layernorm", "norm", "post_layernorm"))
    norm = next((norm for norm in norms if norm is not None), None)
    return tokens if norm is None else norm(tokens)


def _tokens(network: Any, tokens: torch.Tensor) -> Features:
    """The class token, if there is one, and those of the patches."""
    if not any(name.endswith(("cls_token", "class_embedding")) for name, _ in network.named_parameters()):
        return Features(patches=tokens)
    prefix = 1 + int(getattr(network.config, "num_register_tokens", 0) or 0)
    return Features(cls=tokens[:, 0], patches=tokens[:, prefix:])


def _processor(entry: Entry) -> dict[str, Any]:
    """The image processor's config as a dictionary: of the place of the weights, else the entry's, else the hub's.

    Where an entry brings the architecture's config and says nothing of preprocessing, it is ImageNet's standard one.
    """
    from transformers.image_processing_base import ImageProcessingMixin

    if file := entry.beside(PROCESSOR):
        return ImageProcessingMixin.get_image_processor_dict(file.parent)[0]
    known = not isinstance(entry.weights, Hub)
    if known and entry.preprocessing:
        return entry.preprocessing
    if known and entry.config is not None:
        side = entry.image_size or entry.config["image_size"]
        return {"size": {"shortest_edge": side}, "image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD}
    with advice_without_hub(entry, entry.model):
        return ImageProcessingMixin.get_image_processor_dict(entry.model)[0]
