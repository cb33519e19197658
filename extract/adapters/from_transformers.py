"""Backbones of Hugging Face transformers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...base import BackboneError, WeightsError, first_line
from ...cache import TransformSpec
from ..catalogue import Entry, Hub, Local
from .interface import Features, require_multiple

_PIL_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class TransformersAdapter:
    """transformers: `AutoModel` for the network, the image processor's config for the preprocessing."""

    def create(self, entry: Entry) -> nn.Module:
        """See `Adapter.create`."""
        from transformers import AutoModel

        if isinstance(entry.weights, Hub):
            with _hub(entry):
                model: Any = AutoModel.from_pretrained(entry.model, use_safetensors=True, dtype=torch.float32)
        else:
            model = AutoModel.from_config(_config(entry))
        return getattr(model, "vision_model", model)

    def transform(self, network: nn.Module, entry: Entry, size: int | None) -> TransformSpec:
        """See `Adapter.transform`."""
        processor = _processor(entry)
        own = _pair(processor.get("crop_size") or processor["size"])
        height, width = (size, size) if size else own
        resize = _pair(processor["size"])
        short_side = "shortest_edge" in processor["size"]
        scaled = (round(resize[0] * height / own[0]), round(resize[1] * width / own[1]))
        return TransformSpec(
            size=(height, width),
            resize="short-side" if short_side else "squash",
            resize_to=scaled[0] if short_side else scaled,
            interpolation=_PIL_FILTERS[int(processor.get("resample", 3))],  # pyright: ignore[reportArgumentType]
            mean=tuple(processor.get("image_mean") or (0.0, 0.0, 0.0)),
            std=tuple(processor.get("image_std") or (1.0, 1.0, 1.0)),
        )

    def set_image_size(self, network: nn.Module, size: tuple[int, int]) -> None:
        """See `Adapter.set_image_size`."""
        config: Any = network.config
        patch = getattr(config, "patch_size", None)
        if isinstance(patch, int):
            require_multiple(size, patch)
        own = getattr(config, "image_size", None)
        interpolates = any(hasattr(module, "interpolate_pos_encoding") for module in network.modules())
        if isinstance(patch, int) and own not in (None, size[0]) and not interpolates:
            raise BackboneError(f"this architecture takes images of {own} x {own} pixels only.")

    def features(self, network: nn.Module, images: torch.Tensor) -> Features:
        """See `Adapter.features`."""
        out = network(images, **_interpolation(network))
        tokens = out.last_hidden_state
        pooled = getattr(out, "pooler_output", None)
        if tokens.ndim == 4:
            patches = tokens.flatten(2).transpose(1, 2)
            return Features(patches.mean(1) if pooled is None else pooled.flatten(1), patches=patches)
        prefix = 1 + int(getattr(network.config, "num_register_tokens", 0) or 0)
        cls, patches = tokens[:, 0], tokens[:, prefix:]
        return Features(cls if pooled is None else pooled, cls=cls, patches=patches)


def _interpolation(network: nn.Module) -> dict[str, bool]:
    """The switch that older architectures need before they take another image size; newer ones always do."""
    asked = "interpolate_pos_encoding" in signature(network.forward).parameters
    return {"interpolate_pos_encoding": True} if asked else {}


def _config(entry: Entry) -> Any:
    from transformers import AutoConfig

    if entry.config is not None:
        options = dict(entry.config)
        return AutoConfig.for_model(options.pop("model_type"), **options)
    beside = entry.weights.path if isinstance(entry.weights, Local) else None
    if beside is not None:
        folder = beside if beside.is_dir() else beside.parent
        if (folder / "config.json").is_file():
            return AutoConfig.from_pretrained(folder)
    with _hub(entry):
        return AutoConfig.from_pretrained(entry.model)


def _processor(entry: Entry) -> dict[str, Any]:
    """The image processor's config as a dictionary; ImageNet's standard one where the entry brings its own config."""
    if entry.config is not None:
        side = entry.image_size or entry.config["image_size"]
        return {"size": {"shortest_edge": side}, "image_mean": _IMAGENET_MEAN, "image_std": _IMAGENET_STD}
    from transformers.image_processing_base import ImageProcessingMixin

    place: str | Path = entry.model
    if isinstance(entry.weights, Local):
        folder = entry.weights.path if entry.weights.path.is_dir() else entry.weights.path.parent
        place = folder if (folder / "preprocessor_config.json").is_file() else place
    with _hub(entry):
        return ImageProcessingMixin.get_image_processor_dict(place)[0]


def _pair(size: dict[str, int] | int) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if "shortest_edge" in size:
        return size["shortest_edge"], size["shortest_edge"]
    return size["height"], size["width"]


@contextmanager
def _hub(entry: Entry) -> Iterator[None]:
    """Turns what the hub's client raises into advice."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{entry.model} cannot be had from the model hub ({first_line(error)}). Where the hub can be "
            f"reached, run `hf download {entry.model} --local-dir FOLDER`, copy the folder here and name the "
            f'backbone "{entry.name}@FOLDER"; a gated model also needs `hf auth login`.'
        ) from error
