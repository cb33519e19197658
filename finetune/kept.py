"""A kept network that predicts: a backbone whose one vector is the network's logits, and what these mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..base import WeightsError
from ..cache import EmbeddingSpec
from ..extract import Backbone
from ..extract.device import choose_device
from ..extract.runtimes import TorchEmbedder, Vectors
from ..extract.weights.fine_tuned import DESCRIPTION, TRAINED_ON, FineTuned
from ..extract.weights.tensors import tensors_digest
from ..manifests import IntensityPolicy
from .network.classifier import Classifier
from .network.saved import load_classifier
from .training.losses import probabilities

LOGITS = "logits"
"""What takes the place of a pooling."""
_NEEDED = {"dataset", "units", "system", "task", "classes", "loss", "reading", "metric", "params"}
"""Of `about`, for predictions."""


@dataclass(frozen=True, eq=False)
class KeptNetwork:
    """A network that `--keep-weights` has kept, on its device; in fp32, whatever it was trained in."""

    about: Mapping[str, Any]
    """What it was trained for; see `FineTuned.about`."""
    backbone: Backbone
    """Its vectors are logits, learnt from the images of train and val."""

    @classmethod
    def load(cls, folder: Path, *, device: str) -> KeptNetwork:
        """Reads a folder of `RUN/weights`.

        Raises:
            WeightsError, BackboneError: as `load_classifier`; or the folder does not say what predictions need.
        """
        tuned = FineTuned.read(folder)
        about = tuned.about
        if missing := sorted(_NEEDED - about.keys()):
            raise WeightsError(
                f"{folder}: {DESCRIPTION} does not say what predictions need ({', '.join(missing)}), as an older"
                " medprobe has written it; train again with --keep-weights. As a backbone the network can be used."
            )
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
        dims, logits = {LOGITS: tuned.cut_points or tuned.outputs}, _Logits(classifier)
        # The head has learnt too, so that logits are of more images than the backbone's own vectors.
        seen = tuned.read_weights(folder / TRAINED_ON)["digests"].numpy()
        embedder = TorchEmbedder(logits, place, "fp32")
        return cls(about, Backbone(entry, spec, dims, place, logits, embedder, trained_on=seen))

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
