"""What networks in files of the user's have in common, whatever runs them: `onnx:FILE` and `pt2:FILE`."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...base import BackboneError, WeightsError
from ...base.files import sha256_of
from ...cache import TransformSpec
from ...cache.spec import Positions
from ..catalogue import PROCESSOR, Entry, Local
from ..device import filled_up
from .image_processors import transform_of
from .interface import Adapter, Features, Inside, Wanted, plain_transform, read_config
from .own_outputs import features_of, inside_of


class FileAdapter(Adapter):
    """A graph in a file: it computes in the types that are written in it, and cannot be trained.

    Its networks have `input_shape` (B, C, H, W) with None where it is free, and `outputs`, which begin with the names
    of the outputs, and give them by name.
    """

    fixed_precision, channels_last, trainable = True, False, False

    @abstractmethod
    def read(self, file: Path) -> nn.Module:
        """The network of a file."""

    def create(self, entry: Entry) -> nn.Module:
        """As `load`: architecture and weights are one."""
        return self.load(entry)

    def load(self, entry: Entry) -> nn.Module:
        with torch.device("cpu"):
            network: Any = self.read(file_of(entry))
        if network.input_shape[1] not in (1, 3):
            raise WeightsError(
                f"{entry.name}: its images have {network.input_shape[1] or 'any number of'} channels; 1 (grey) or 3 "
                "(RGB) are needed, in the order (B, C, H, W)."
            )
        return network

    def transform(self, network: Any, entry: Entry, size: int | None) -> TransformSpec:
        _, channels, height, width = network.input_shape
        if file := entry.beside(PROCESSOR):
            return transform_of(read_config(file), size or (height if height == width else None), entry.name)
        return plain_transform((size, size) if size else (height or 224, width or 224), channels)

    def lacks_normalization(self, network: Any, entry: Entry) -> bool:
        return entry.beside(PROCESSOR) is None

    def digest(self, network: Any, entry: Entry) -> str:
        """SHA-256 of the file, whose graph counts as much as its weights."""
        return sha256_of(file_of(entry))

    def set_image_size(self, network: Any, entry: Entry, size: tuple[int, int]) -> Positions:
        own = network.input_shape[2:]
        if any(one not in (None, given) for one, given in zip(own, size, strict=True)):
            sides = " x ".join(str(one or "any") for one in own)
            raise BackboneError(f"it was exported for images of {sides} pixels; use --image-size {own[0] or own[1]}.")
        return ""

    def inside(self, network: Any) -> Inside:
        return inside_of(list(network.outputs))

    def features(self, network: Any, images: torch.Tensor, wanted: Wanted) -> Features:
        batch = network.input_shape[0]
        if batch is None:
            return features_of(network(images.contiguous()), images, wanted)
        if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
            raise BackboneError(f"it was exported for batches of {batch}; export it with a dynamic first dimension")
        parts = [network(filled_up(part, batch).contiguous()) for part in images.split(batch)]
        outputs = {name: torch.cat([part[name] for part in parts])[: len(images)] for name in parts[0]}
        return features_of(outputs, images, wanted)


def file_of(entry: Entry) -> Path:
    """The file that an entry names."""
    assert isinstance(entry.weights, Local)
    return entry.weights.path
