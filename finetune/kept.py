"""A kept network that predicts: a backbone whose one vector is the network's logits, and what these mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..cache import EmbeddingSpec
from ..extract import Backbone
from ..extract.device import choose_device
from ..extract.runtimes import TorchEmbedder, Vectors
from ..extract.weights.fine_tuned import TRAINED_ON, FineTuned
from ..extract.weights.tensors import tensors_digest
from ..manifests import IntensityPolicy
from .network.classifier import Classifier
from .network.saved import load_classifier
from .training.losses import probabilities

LOGITS = "logits"
"""What takes the place of a pooling."""


@dataclass(frozen=True, eq=False)
class KeptNetwork:
    """A network that `--keep-weights` has kept, on its device; in fp32, whatever it was trained in."""

    about: Mapping[str, Any]
    """What it was trained for; see `FineTuned.about`."""
    backbone: Backbone
    """Its vectors are logits, learnt from the images of train and val."""
    trained_on: np.ndarray
    """(n, 16) uint8: digests of those images, and of what its backbone had learnt from before."""

    @classmethod
    def load(cls, folder: Path, *, device: str) -> KeptNetwork:
        """Reads a folder of `RUN/weights`.

        Raises:
            WeightsError, BackboneError: as `load_classifier`.
        """
        tuned = FineTuned.read(folder)
        about = tuned.about
        place = choose_device(device)
        classifier = load_classifier(folder, device=str(place))
        entry = tuned.entry(folder)
        spec = EmbeddingSpec(
            backbone=entry.name,
            model=f"{entry.source}:{entry.model}",
            weights_digest=tensors_digest(classifier.state_dict()),
            transform=tuned.transform,
            poolings=(LOGITS,),
            precision="fp32",
            reading=IntensityPolicy(**about["reading"]).in_spec,
        )
        dims, logits = {LOGITS: tuned.outputs}, _Logits(classifier)
        # The head has learnt too, so that logits are of more images than the backbone's own vectors.
        seen = tuned.read_weights(folder / TRAINED_ON)["digests"].numpy()
        embedder = TorchEmbedder(logits, place, "fp32")
        return cls(about, Backbone(entry, spec, dims, place, logits, embedder, trained_on=seen), seen)

    def predict_proba(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities (n, C) float64 of logits (n, outputs)."""
        return probabilities(logits, **self.about["loss"])


class _Logits(Vectors):
    """A classifier in the place of its backbone: the one vector of an image is what its head gives."""

    def __init__(self, classifier: Classifier) -> None:
        own = classifier.vectors
        super().__init__(own.network, own.adapter, own.transform, {LOGITS: own.recipes[0]}, own.mean.device)
        self.classifier = classifier

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """See `Vectors`."""
        return (self.classifier(images),)
