"""What runs a network: torch anywhere, OpenVINO on CPUs.

In: a network with its adapter, and the spec that says how to run it. Out: an `Embedder`, which turns uint8 batches into
vectors, and the spec as it came true. A further runtime is one file and one case in `make_embedder`.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch

from ...base import MedprobeWarning
from ...cache import EmbeddingSpec
from ..catalogue import LIBRARIES
from .on_torch import Embedder, Pending, TorchEmbedder, Vectors

__all__ = ["Embedder", "Pending", "TorchEmbedder", "Vectors", "make_embedder"]


def make_embedder(
    vectors: Vectors, spec: EmbeddingSpec, device: torch.device, *, compiled: bool = False
) -> tuple[Embedder, EmbeddingSpec]:
    """Sets a network to work on `device` as `spec` says; `compiled` puts it through `torch.compile`, for torch.

    Returns:
        The embedder, and the spec as it came true: it says torch where OpenVINO could not run the network.
    """
    # What OpenVINO runs by itself is no network of torch that could be converted.
    if spec.runtime == "openvino" and vectors.adapter.runtime is None:
        from .on_openvino import ConversionError, start_openvino

        try:
            return start_openvino(vectors, spec, LIBRARIES[spec.model.partition(":")[0]]), spec
        except ConversionError as error:
            message = f"{spec.backbone}: torch runs this network instead of OpenVINO, as {error}."
            warnings.warn(message, MedprobeWarning, stacklevel=3)
            spec = replace(spec, runtime="torch")
    return TorchEmbedder(vectors, device, spec.precision, compiled=compiled), spec
