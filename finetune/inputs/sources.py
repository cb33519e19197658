"""What the loop trains from, and which form of it suits a network: images, activations or vectors."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

if TYPE_CHECKING:
    from ..network.classifier import Classifier

Tensors = tuple[torch.Tensor, ...]
"""In main memory; the first dimension of each is images."""


class Inputs(Protocol):
    """What a network is trained and evaluated on, by row and view."""

    note: str
    """What they are and what they cost, for the log."""

    def view_of(self, epoch: int) -> int | None:
        """The view that `epoch`, from 0, is trained on; None, as for evaluation, where nothing is random."""
        ...

    def batches(self, batches: Sequence[np.ndarray], view: int | None) -> Generator[Tensors, None, None]:
        """The tensors of each batch of rows, in order; what has to be decoded is decoded ahead by worker processes.

        Close the iterator (or use it up) to end them. The tensors of a batch may be cut along their first dimension.

        Raises:
            ImageError: an image cannot be read, or is not what was embedded any more.
        """
        ...

    def logits(self, classifier: Classifier, tensors: Tensors) -> torch.Tensor:
        """Logits float32 (B, outputs) on the classifier's device, with gradients of what it trains."""
        ...
