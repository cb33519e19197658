"""Losses by task: how many outputs each has, its sum over images, and the probabilities that its outputs mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.special import expit as sigmoid
from scipy.special import softmax
from torch.nn import functional as F  # noqa: N812  (its usual name)

from ...base import one_of
from ...base.errors import FinetuneError
from .recipe import Recipe

_LOSSES = {
    "binary": ("cross-entropy",),
    "multiclass": ("cross-entropy",),
    "ordinal": ("cross-entropy", "corn"),
    "multilabel": ("bce",),
}
"""By task; the first is `auto`."""


class Loss(ABC):
    """What is minimised: a mean over images, of which each may have a weight.

    A sum and a weight rather than a mean, so that a batch may be computed in parts.
    """

    name: str
    """As the setting `loss` has it."""
    outputs: int
    """Of the network."""

    @abstractmethod
    def sums(self, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """(B,) float32: each image's loss times its weight, of logits float32 (B, outputs) and codes (B,).

        For several labels per image `y` is (B, C), of zeros and ones.
        """

    @abstractmethod
    def weights(self, y: torch.Tensor) -> torch.Tensor:
        """(B,) float32: each image's weight."""

    def facts(self) -> dict[str, Any]:
        """What `probabilities` needs to know of it, as JSON has it."""
        return {"loss": self.name}

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(n, C) float64 of logits (n, outputs); rows sum to one, except for several labels per image."""
        return probabilities(logits, **self.facts())

    def mean(self, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The loss of all images."""
        return self.sums(logits, y).sum() / self.weights(y).sum()


def probabilities(logits: np.ndarray, loss: str, constant: Mapping[str, float] | None = None) -> np.ndarray:
    """`Loss.probabilities` of a loss that has these `facts`."""
    logits = logits.astype(np.float64)
    if loss == "cross-entropy":
        return softmax(logits, axis=1)
    above = sigmoid(logits)
    if loss == "bce":
        for label, value in (constant or {}).items():
            above[:, int(label)] = value
        return above
    above = np.cumprod(above, axis=1)
    return -np.diff(above, axis=1, prepend=1.0, append=0.0)


def make_loss(recipe: Recipe, task: str, y: np.ndarray) -> Loss:
    """The loss that a recipe has for a task: `binary`, `multiclass`, `ordinal` or `multilabel`.

    `y` are the labels of train: codes (n,) of which each class has some, or (n, C) of zeros and ones.

    Raises:
        FinetuneError: the task has no such loss, or the loss has no label smoothing.
    """
    known = _LOSSES[task]
    name = known[0] if recipe.loss == "auto" else recipe.loss
    if name not in known:
        raise FinetuneError(f"loss={name} is not for {task} tasks; there are {one_of(known)}.")
    if recipe.label_smoothing and name == "corn":
        raise FinetuneError(f"loss={name} has no label smoothing; set label_smoothing=0, or another loss.")
    balanced = recipe.class_weight == "balanced"
    if name == "bce":
        return _BinaryCrossEntropy(y, balanced=balanced, smoothing=recipe.label_smoothing)
    counts = np.bincount(y)
    class_weight = len(y) / (len(counts) * counts) if balanced else np.ones(len(counts))
    if name == "corn":
        return _Corn(class_weight)
    return _CrossEntropy(class_weight, recipe.label_smoothing)


class _OfClasses(Loss):
    """For one label per image, each class with a weight."""

    def __init__(self, class_weight: np.ndarray) -> None:
        self.class_weight = torch.tensor(class_weight, dtype=torch.float32)
        self.classes = len(class_weight)

    def weights(self, y: torch.Tensor) -> torch.Tensor:
        return self.class_weight.to(y.device)[y]


class _CrossEntropy(_OfClasses):
    """Softmax cross-entropy, with an output per class also where there are two."""

    name = "cross-entropy"

    def __init__(self, class_weight: np.ndarray, smoothing: float = 0.0) -> None:
        super().__init__(class_weight)
        self.outputs, self.smoothing = self.classes, smoothing

    def sums(self, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        weight = self.class_weight.to(logits.device)
        return F.cross_entropy(logits, y, weight, label_smoothing=self.smoothing, reduction="none")


class _BinaryCrossEntropy(Loss):
    """For several labels per image: the mean over labels. A label that never changes in train is predicted as it is."""

    name = "bce"

    def __init__(self, y: np.ndarray, *, balanced: bool = False, smoothing: float = 0.0) -> None:
        self.outputs, self.smoothing = y.shape[1], smoothing
        positive = y.mean(axis=0)
        changing = (positive > 0) & (positive < 1)
        self.constant = {str(label): float(positive[label]) for label in np.flatnonzero(~changing)}
        weight = np.ones(self.outputs)
        if balanced:
            weight[changing] = (1 - positive[changing]) / positive[changing]
        self.positive_weight = torch.tensor(weight, dtype=torch.float32)

    def sums(self, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        target = y.float() * (1 - self.smoothing) + self.smoothing / 2
        weight = self.positive_weight.to(logits.device)
        return F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight, reduction="none").mean(dim=1)

    def weights(self, y: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(y), device=y.device)

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "constant": self.constant}


class _Corn(_OfClasses):
    """Conditional ordinal regression (Shi, Cao, Raschka 2021, arXiv 2111.08851).

    Output k is whether the class is above k, learnt from the images whose class is at least k.
    """

    name = "corn"

    def __init__(self, class_weight: np.ndarray) -> None:
        super().__init__(class_weight)
        self.outputs = self.classes - 1

    def sums(self, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        ranks = torch.arange(self.outputs, device=y.device)
        above = (y[:, None] > ranks).float()
        losses = F.binary_cross_entropy_with_logits(logits, above, reduction="none")
        return (losses * (y[:, None] >= ranks)).sum(dim=1) * super().weights(y)

    def weights(self, y: torch.Tensor) -> torch.Tensor:
        return super().weights(y) * (y + 1).clamp(max=self.outputs)  # an image counts once per output it teaches
