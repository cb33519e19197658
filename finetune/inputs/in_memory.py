"""Images of the evaluation view, decoded once and kept in memory: the plainest inputs."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...cache import TransformSpec
from ...extract.loader import decode
from ...manifests import Source
from .sources import Tensors

if TYPE_CHECKING:
    from ..network.classifier import Classifier

_BATCH = 32


class ImagesInMemory:
    """The whole network from pixels; nothing is random."""

    note = "the whole network runs on images in memory"

    def __init__(self, sources: Sequence[Source], transform: TransformSpec, workers: int) -> None:
        batches = decode(sources, range(len(sources)), [transform], batch_size=_BATCH, workers=workers)
        parts = [batch.keep(np.ones(len(batch.rows), bool), transform) for batch in batches]
        self._images = torch.cat(parts)

    def view_of(self, epoch: int) -> int | None:
        """None: there is the evaluation view alone."""
        return None

    def batches(self, batches: Sequence[np.ndarray], view: int | None) -> Generator[Tensors, None, None]:
        """The images of each batch of rows."""
        for rows in batches:
            yield (self._images[torch.from_numpy(rows)],)

    def logits(self, classifier: Classifier, tensors: Tensors) -> torch.Tensor:
        """Logits of images."""
        return classifier(tensors[0].to(next(classifier.parameters()).device))
