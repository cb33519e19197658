"""A backbone and a linear probe as one ONNX file: from the pixels that the network sees to probabilities."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from ..base import BackboneError, atomic_path
from ..base.text import first_line
from .backbone import Backbone

_OPSET = 17


@dataclass(frozen=True, eq=False)
class LinearHead:
    """Logits that are linear in the shifted and scaled vector, or in its direction."""

    shift: np.ndarray
    """(D,) is subtracted."""
    scale: np.ndarray
    """(D,) divides what is left."""
    normalize: bool
    """Whether the vector then gets unit length."""
    weights: np.ndarray
    """(K, D)."""
    intercepts: np.ndarray
    """(K,)."""
    sigmoid: bool
    """Whether a logit is a class or label of its own, rather than one of a softmax."""
    binary: bool
    """Whether the one logit is of the second of two classes."""
    constant: Mapping[int, float]
    """Probabilities that do not depend on the image, by column."""
    temperature: float | None
    """What the logarithms of the probabilities, none taken for smaller than `smallest`, are divided by at the end."""
    smallest: float


class _Probabilities(nn.Module):
    """Uint8 images (B, C, H, W) to probabilities (B, classes), float32."""

    shift: torch.Tensor
    scale: torch.Tensor
    weights: torch.Tensor
    intercepts: torch.Tensor

    def __init__(self, backbone: Backbone, pooling: str, head: LinearHead) -> None:
        super().__init__()
        self.vectors, self.place = backbone.vectors, backbone.spec.poolings.index(pooling)
        self.normalize, self.sigmoid, self.binary = head.normalize, head.sigmoid, head.binary
        self.constant, self.temperature, self.smallest = dict(head.constant), head.temperature, head.smallest
        for name in ("shift", "scale", "weights", "intercepts"):
            tensor = torch.tensor(np.asarray(getattr(head, name)), dtype=torch.float32, device=backbone.device)
            self.register_buffer(name, tensor)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        proba = self._probabilities(images)
        if self.temperature is None:
            return proba
        proba = proba.clamp(self.smallest, 1 - self.smallest)
        if self.sigmoid and not self.binary:
            return ((proba.log() - (1 - proba).log()) / self.temperature).sigmoid()
        return (proba.log() / self.temperature).softmax(dim=1)

    def _probabilities(self, images: torch.Tensor) -> torch.Tensor:
        rows = (self.vectors(images)[self.place] - self.shift) / self.scale
        if self.normalize:
            rows = rows / rows.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        logits = nn.functional.linear(rows, self.weights, self.intercepts)
        if not self.sigmoid:
            return logits.softmax(dim=1)
        proba = logits.sigmoid()
        if self.binary:
            return torch.cat([1 - proba, proba], dim=1)
        columns = list(proba.split(1, dim=1))
        for column, value in self.constant.items():
            columns[column] = torch.full_like(columns[column], value)
        return torch.cat(columns, dim=1)


def export_with_head(
    backbone: Backbone, pooling: str, head: LinearHead, file: Path, metadata: Mapping[str, Any]
) -> None:
    """Writes one ONNX file, whole or not at all: `images` uint8 (B, C, H, W) to `probabilities` float32 (B, classes).

    The images are resized and cropped as `backbone.transform` says; scaling and normalising are part of the graph,
    which computes in fp32.

    `backbone` is any that torch runs, `head` what is computed from its vector `pooling`; `metadata` are further entries
    of the file's own, JSON-like, to which `transform` is added.

    Raises:
        BackboneError: the network cannot be exported.
        OutputError: the file cannot be written.
    """
    module = _Probabilities(backbone, pooling, head).eval()
    example = torch.zeros((2, *backbone.vectors.shape), dtype=torch.uint8, device=backbone.device)
    with atomic_path(file) as temporary:
        try:
            _export(module, example, temporary)
            graph = onnx.load(temporary)
            onnx.checker.check_model(graph)
        except Exception as error:  # whatever stops an exporter
            raise BackboneError(
                f"{backbone.name}: cannot be exported to ONNX ({first_line(error)}); use the saved model with"
                " `medprobe predict` instead."
            ) from error
        for name, value in {**metadata, "transform": asdict(backbone.transform)}.items():
            entry = graph.metadata_props.add()
            entry.key, entry.value = name, value if isinstance(value, str) else json.dumps(value)
        onnx.save(graph, temporary)


def _export(module: nn.Module, example: torch.Tensor, file: Path) -> None:
    # By tracing: the other exporter needs onnxscript, and shapes are fixed here but for the batch.
    with torch.inference_mode(), warnings.catch_warnings(action="ignore"):
        torch.onnx.export(
            module,
            (example,),
            str(file),
            input_names=["images"],
            output_names=["probabilities"],
            dynamic_axes={"images": {0: "batch"}, "probabilities": {0: "batch"}},
            opset_version=_OPSET,
            dynamo=False,
        )
