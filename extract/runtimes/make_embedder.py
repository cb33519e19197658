"""A network set to work in the runtime that its spec names, or in torch where that one cannot."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from ...base import MedprobeWarning
from ...cache import EmbeddingSpec
from ..adapters import Adapter
from ..catalogue import LIBRARIES
from ..pooling import Recipe
from .interface import Embedder, Vectors
from .on_torch import TorchEmbedder


def make_embedder(
    network: nn.Module,
    adapter: Adapter,
    spec: EmbeddingSpec,
    recipes: Mapping[str, Recipe],
    device: torch.device,
    *,
    compiled: bool = False,
) -> tuple[Embedder, EmbeddingSpec]:
    """Sets a network to work as `spec` says.

    Args:
        network: in evaluation mode, on `device`.
        adapter: of the network's library.
        spec: how to run it, and which vectors to make.
        recipes: what each of its poolings stands for.
        device: where to run it.
        compiled: put it through `torch.compile`, where torch runs it.

    Returns:
        The embedder, and the spec as it came true: it says torch where OpenVINO could not run the network.
    """
    vectors = Vectors(network, adapter, spec, recipes, device)
    if spec.runtime == "openvino":
        from .converted_models import ConvertedModel
        from .on_openvino import ConversionError, start_openvino

        store = ConvertedModel.of(spec, LIBRARIES[spec.model.partition(":")[0]])
        try:
            return start_openvino(vectors, spec.precision, store), spec
        except ConversionError as error:
            message = f"{spec.backbone}: torch runs this network instead of OpenVINO, as {error}."
            warnings.warn(message, MedprobeWarning, stacklevel=3)
            spec = replace(spec, runtime="torch")
    return TorchEmbedder(vectors, device, spec.precision, compiled=compiled), spec
