"""An encoder of the user's with a preprocessing of its own: the protocol, and its checks."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from PIL import Image
from torch import nn

from ...base import BackboneError, ImageError
from ...base.text import first_line
from ..weights.own_state import networks_in


@runtime_checkable
class Encoder(Protocol):
    """What `python:MODULE:FUNCTION` may give, and `load_backbone` takes: pixels and vectors are its own affair.

    Every `torch.nn.Module` that it holds is put on the device and into evaluation mode. Weights, arrays and settings
    that it holds, in attributes, lists, dictionaries and other objects, are part of the cache's name.

    Examples:
        >>> import numpy as np
        >>> from medprobe.extract import load_backbone
        >>> class MeanColour:
        ...     def preprocess(self, image):
        ...         return np.asarray(image.resize((8, 8)), np.float32).transpose(2, 0, 1)
        ...
        ...     def embed(self, batch):
        ...         return batch.mean((2, 3))
        >>> backbone = load_backbone(MeanColour(), device="cpu")
        >>> backbone.embed_images([np.full((20, 30, 3), 7, np.uint8)])
        array([[7., 7., 7.]], dtype=float32)
    """

    def preprocess(self, image: Image.Image) -> torch.Tensor | np.ndarray:
        """Makes an RGB image of any size into numbers (C, H, W), of one shape and type for all images.

        It runs in worker processes, on the CPU, with the same result for the same image.
        """
        ...

    def embed(self, batch: torch.Tensor) -> torch.Tensor | np.ndarray:
        """Makes a batch (B, C, H, W), on the device, into vectors (B, D) in the same order."""
        ...


class EncoderNetwork(nn.Module):
    """An encoder, and the modules of torch that it holds as its parts."""

    def __init__(self, encoder: Encoder, name: str) -> None:
        super().__init__()
        self._called = name
        self.parts = nn.ModuleList([encoder] if isinstance(encoder, nn.Module) else networks_in(encoder))
        self._encoder = [encoder]  # in a list, as it must not be a part a second time

    @property
    def encoder(self) -> Encoder:
        """What the user wrote."""
        return self._encoder[0]

    def preprocess(self, pixels: np.ndarray) -> np.ndarray:
        """The network's input (C, H, W), of an image uint8 (H, W) or (H, W, 3); ImageError where it gives none."""
        image = Image.fromarray(pixels).convert("RGB")
        try:
            made: Any = self.encoder.preprocess(image)
        except Exception as error:  # the user's code may raise anything
            raise ImageError(f"`preprocess` raised {type(error).__name__}: {first_line(error)}") from error
        array = np.asarray(made.detach().cpu() if isinstance(made, torch.Tensor) else made)
        if array.ndim != 3 or array.dtype.kind not in "fu" or not array.size:
            raise ImageError(f"`preprocess` gave {array.dtype} {array.shape}; numbers (C, H, W) are needed")
        return array

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Vectors (B, D) of inputs (B, C, H, W)."""
        made: Any = self.encoder.embed(batch)
        vectors = torch.as_tensor(made)
        if vectors.ndim != 2 or len(vectors) != len(batch) or not vectors.is_floating_point():
            kind = str(vectors.dtype).removeprefix("torch.")
            raise BackboneError(
                f"{self._called}: `embed` gave {kind} {tuple(vectors.shape)} for {len(batch)} images; vectors (B, D) "
                "of floating-point numbers are needed."
            )
        return vectors.float()
