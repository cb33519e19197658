"""A small network on a few images in memory, with everything that the loop needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from medprobe.evaluate import find_metric
from medprobe.evaluate.resampling.resample import Resample
from medprobe.finetune.network.modes import Mode
from medprobe.finetune.training.checkpoint import Checkpoint
from medprobe.finetune.training.loop import Curve, Trained, Training
from medprobe.finetune.training.recipe import Recipe
from medprobe.probe import ProbeTask
from torch import nn


class TinyClassifier(nn.Module):
    has_attention = False
    mode = Mode.parse("full")

    def __init__(self, outputs: int, seed: int = 0, *, batch_norm: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.stem = nn.Conv2d(3, 8, 3, stride=2)
            self.blocks = nn.ModuleList(nn.Conv2d(8, 8, 3) for _ in range(2))
            self.norm = nn.BatchNorm2d(8) if batch_norm else nn.GroupNorm(2, 8)
            self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(8, outputs))
        self.stem.requires_grad_(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.stem(images.float() / 255)
        for block in self.blocks:
            x = block(x).relu()
        return self.head(self.norm(x).mean((2, 3)))

    def trained_state(self) -> dict[str, torch.Tensor]:
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("stem")}

    def load_trained_state(self, state: dict[str, torch.Tensor]) -> None:
        self.load_state_dict(state, strict=False)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        return {"stem": r"^stem", "blocks": [(r"^blocks\.(\d+)", None), (r"^norm", (99,))]}

    def no_weight_decay(self) -> set[str]:
        return set()


class ImagesInMemory:
    note = ""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def view_of(self, epoch: int) -> None:
        return None

    def batches(self, batches: Sequence[np.ndarray], view: int | None) -> Iterator[tuple[torch.Tensor, ...]]:
        for rows in batches:
            yield (self.images[rows],)

    def logits(self, classifier: nn.Module, tensors: tuple[torch.Tensor, ...]) -> torch.Tensor:
        (images,) = tensors
        return classifier(images.to(next(classifier.parameters()).device))


def small_task(count: int = 60, classes: int = 3, size: int = 16) -> tuple[torch.Tensor, ProbeTask, Resample]:
    """Images whose brightness grows with their class, in noise."""
    rng = np.random.default_rng(0)
    y = np.arange(count) % classes
    images = rng.normal(100 + 12 * y[:, None, None, None], 40, (count, 3, size, size)).clip(0, 255).astype(np.uint8)
    order = rng.permutation(count)
    train, val, test = (np.sort(part) for part in np.split(order, [count // 2, count * 3 // 4]))
    resample = Resample(0, train, val, test)
    vectors = images.mean(axis=(2, 3)).astype(np.float32)
    names = tuple(f"class {c}" for c in range(classes))
    task = ProbeTask(vectors, y, (resample,), "multiclass", names, find_metric("accuracy"), refit=False)
    return torch.from_numpy(images), task, resample


def train(
    classifier: Any,
    inputs: Any,
    task: ProbeTask,
    resample: Resample,
    recipe: Recipe,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Curve], object] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Trained:
    """Trains by one recipe, as `fit_best` does, and tests the best epoch."""
    training = Training(classifier, inputs, task, replace(resample, seed=seed), recipe)
    training.run(Checkpoint(checkpoint, training.key), on_epoch, should_stop)
    return training.tested()


def facts(trained: Any) -> str:
    """All that two trainings must have in common to be the same."""
    curves = [{name: value for name, value in curve.items() if name != "seconds"} for curve in trained.curves]
    proba = [part.tobytes().hex() for part in (trained.val_proba, trained.test_proba)]
    return repr((curves, trained.best_epoch, proba, trained.notes))
