"""A fitted probe with the backbone that its embeddings are from, or a fine-tuned network: what it predicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..base import ImageError, ProbeError, one_of
from ..cache import EmbeddingSpec
from ..manifests import IntensityPolicy, Source, read_image
from ..manifests.readers.pillow import pixels_of
from .unusual import TrainingNeighbours

if TYPE_CHECKING:
    from PIL import Image

    from ..extract import Backbone

    AnyImage = str | Path | Image.Image | np.ndarray


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What `model.json` says of a model besides its probe's parameters."""

    spec: EmbeddingSpec
    """What its embeddings were made with, and what images are embedded with."""
    pooling: str
    """The vector of the spec that the probe reads."""
    stored: str
    """Type in which the cache held the training vectors: `float16` or `float32`."""
    reading: IntensityPolicy
    """How stored values become 8-bit pixels."""
    task: str
    classes: tuple[str, ...]
    """In the order of the probabilities."""
    aggregation: str
    """How the images of a unit are combined."""
    modalities: tuple[str, ...]
    """Of a unit, under the aggregation `concat`."""
    family: str
    """Of the probe: `logreg`, `knn`, `gbm` or `centroid`; `finetune` for a network."""
    label: str
    """The probe's name for people."""
    params: Mapping[str, Any]
    """The hyper-parameters that were chosen on val."""
    metric: str
    """What they were chosen by."""
    temperature: float | None
    """What the logits are divided by; None where nothing was calibrated."""
    fitted_on: Mapping[str, Any]
    """The data set: name, digest, counts; no ids and no paths."""
    versions: Mapping[str, str]
    """Of the libraries that fitted it."""

    @property
    def multilabel(self) -> bool:
        """Whether a unit has any number of the classes."""
        return self.task == "multilabel"


class Predictor(Protocol):
    """What is made of vectors: a `FittedProbe`, or of logits the probabilities that they mean."""

    def predict_proba(self, X: np.ndarray, /) -> np.ndarray:
        """Probabilities (n, C) float64 for vectors (n, D)."""
        ...


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted probe with its backbone; `fit_model` makes one and `load_model` reads one.

    Of a fine-tuned network the embeddings are its logits.

    Examples:
        >>> from medprobe.model import fit_model
        >>> model = fit_model(manifest, caches[0], probe="logreg", progress=False)
        >>> model.classes, model.facts.params["C"] > 0
        (('benign', 'malignant'), True)
    """

    facts: ModelFacts
    probe: Predictor
    """Predicts from embeddings; not calibrated."""
    neighbours: TrainingNeighbours | None
    """None for a fine-tuned network."""
    trained_on: np.ndarray
    """(n, 16) uint8: digests of the pixels of the images that it was fitted on."""
    backbone_name: str | None = None
    """Its name with the place of local weights; a model holds no folders."""
    device: str = "auto"
    network: Backbone | None = None
    """A fine-tuned network, whose vectors are logits."""

    def __repr__(self) -> str:
        facts, data = self.facts, self.facts.fitted_on
        system = f"{facts.label} on {facts.spec.backbone}, {facts.pooling}"
        return f"Model({system}, fitted on {data['units']:,} units of {data['dataset']}: {one_of(facts.classes)})"

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the probabilities."""
        return self.facts.classes

    def calibrated(self, proba: np.ndarray) -> np.ndarray:
        """Probabilities (n, C) of units, scaled by the temperature where there is one."""
        temperature = self.facts.temperature
        if temperature is None:
            return proba
        from ..evaluate.statistics.temperature import scale_probabilities  # here, since it imports SciPy

        return scale_probabilities(proba, temperature, multilabel=self.facts.multilabel)

    def named(self, proba: np.ndarray) -> np.ndarray:
        """(n,) object: the class of each row; for multilabel those from a probability of 0.5, joined by semicolons."""
        names = np.array(self.classes, object)
        if self.facts.multilabel:
            return np.array(["; ".join(names[row]) for row in proba >= 0.5], object)
        return names[proba.argmax(axis=1)]

    def predict_proba(self, images: Iterable[AnyImage]) -> np.ndarray:
        """Probabilities (n, C) float64 of images, each a unit of its own, in the order of `classes`.

        Args:
            images: paths of image files, PIL images, or uint8 arrays (H, W) or (H, W, 3).

        Raises:
            ImageError: a file cannot be read.
            ProbeError: the model combines images of several modalities: `predict_manifest` does.
            BackboneError, WeightsError: the backbone cannot be loaded as it was.
        """
        return self.calibrated(self.probe.predict_proba(self.embed(images)))

    def predict(self, images: Iterable[AnyImage]) -> np.ndarray:
        """The class of each image, (n,) object; arguments and errors are those of `predict_proba`."""
        return self.named(self.predict_proba(images))

    def unusual(self, images: Iterable[AnyImage]) -> np.ndarray:
        """(n,) float64: the percentage of training images that are no further from their neighbours than this one.

        Raises:
            ProbeError: it is a fine-tuned network.
        """
        if self.neighbours is None:
            raise ProbeError("a fine-tuned network has no training embeddings by which an image could be unusual.")
        return self.neighbours.percentiles(self.embed(images))

    def embed(self, images: Iterable[AnyImage]) -> np.ndarray:
        """The embeddings of images, (n, D) float32, as the cache of the training images holds them."""
        if self.facts.aggregation == "concat":
            raise ProbeError(
                f"this model combines images of several modalities ({', '.join(self.facts.modalities)}), which single"
                " images do not name; predict a manifest with the columns unit_id and modality."
            )
        if isinstance(images, str | Path):
            raise ProbeError(f"images are a list, also of one: [{str(images)!r}]; `medprobe predict` takes a folder.")
        vectors = self.backbone.embed_images(_read(image, self.facts.reading) for image in images)
        names, dims = list(self.backbone.dims), list(self.backbone.dims.values())
        own = np.split(vectors, np.cumsum(dims)[:-1], axis=1)[names.index(self.facts.pooling)]
        return own.astype(self.facts.stored).astype(np.float32)

    @cached_property
    def backbone(self) -> Backbone:
        """The backbone under the very spec of the training embeddings.

        Raises:
            BackboneError, WeightsError: it cannot be had, or is not the same any more.
        """
        if self.network is not None:
            return self.network
        from ..extract import load_spec

        facts = self.facts
        return load_spec(facts.spec, facts.reading, backbone=self.backbone_name, device=self.device)


def _read(image: AnyImage, reading: IntensityPolicy) -> np.ndarray:
    """The pixels of a file or of an image of Pillow; what is an array already stays as it is."""
    if isinstance(image, str | Path):
        try:
            return read_image(Source(Path(image), reading=reading))
        except ImageError as error:
            raise ImageError(f"{Path(image).name}: {error}") from error
    return image if isinstance(image, np.ndarray) else pixels_of(image, reading)
