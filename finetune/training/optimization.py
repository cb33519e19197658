"""Optimizer, schedule and moving average of a training, all timm's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from timm.optim import create_optimizer_v2  # pyright: ignore[reportPrivateImportUsage]
from timm.scheduler.scheduler import Scheduler
from timm.scheduler.scheduler_factory import create_scheduler_v2
from timm.utils.model_ema import ModelEmaV3
from torch import nn

from ...base.errors import FinetuneError
from ...base.text import first_line
from ...evaluate.results.recipe_words import DECAY_WITH_ATTENTION, RATE, RATE_OF_A_LINEAR_LAYER
from .recipe import Recipe

if TYPE_CHECKING:
    from ..network.classifier import Classifier


def learning_rate(classifier: Classifier, recipe: Recipe) -> float:
    """The highest rate, that of the head."""
    return recipe.lr or (RATE_OF_A_LINEAR_LAYER if classifier.mode.kind == "linear" else RATE)


def make_optimizer(classifier: Classifier, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimizer of what is trained: no weight decay on biases and norms, lower rates for earlier blocks.

    Raises:
        FinetuneError: it needs a package that is not installed, or cannot be made for another reason.
    """
    layer_decay = recipe.layer_decay or (DECAY_WITH_ATTENTION if classifier.has_attention else 1.0)
    try:
        return create_optimizer_v2(
            classifier,
            opt=recipe.optimizer,
            lr=learning_rate(classifier, recipe),
            weight_decay=recipe.weight_decay,
            layer_decay=layer_decay if layer_decay < 1 else None,
        )
    except (AssertionError, ImportError, TypeError, ValueError) as error:
        raise FinetuneError(f"optimizer={recipe.optimizer} cannot be used: {first_line(error)}.") from error


def make_scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> Scheduler:
    """The learning rate of each step; an epoch has `steps` of them."""
    highest = max(group["lr"] for group in optimizer.param_groups)
    warmup = recipe.warmup_steps if recipe.warmup_steps is not None else round(recipe.warmup_epochs * steps)
    named: dict[str, dict[str, Any]] = {
        "cosine": {"sched": "cosine"},
        "linear": {"sched": "poly", "decay_rate": 1.0},
        "constant": {"sched": "step", "decay_rate": 1.0, "decay_epochs": 1},
    }
    # timm's epochs are steps here, so that warm-up may be of any number of them.
    scheduler, _ = create_scheduler_v2(
        optimizer,
        **named[recipe.schedule],
        num_epochs=recipe.epochs * steps,
        min_lr=recipe.min_lr,
        warmup_epochs=warmup,
        warmup_lr=highest / max(warmup, 1),  # from zero, where the first step would change nothing
        step_on_epochs=False,
        updates_per_epoch=1,
    )
    assert scheduler is not None
    return scheduler


class Average:
    """A moving average of what is trained, of nothing else; it follows closely at first and more slowly with time."""

    def __init__(self, classifier: Classifier, decay: float) -> None:
        self.classifier = classifier
        state = classifier.trained_state()
        self._names = list(state)
        # The classifier's own tensors as a module, which is what timm averages.
        self._live = nn.ParameterList(nn.Parameter(tensor, requires_grad=False) for tensor in state.values())
        self._ema = ModelEmaV3(self._live, decay=decay, use_warmup=True)

    def update(self, step: int) -> None:
        """Takes in the weights after a step, counted from 1."""
        self._ema.update(self._live, step=step)

    def state(self) -> dict[str, torch.Tensor]:
        """The averages, by name."""
        return dict(zip(self._names, self._ema.module.state_dict().values(), strict=True))

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Takes them back."""
        for own, tensor in zip(self._ema.module.state_dict().values(), state.values(), strict=True):
            own.copy_(tensor)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Puts the averages in the classifier's place meanwhile."""
        kept = {name: tensor.clone() for name, tensor in self.classifier.trained_state().items()}
        self.classifier.load_trained_state(self.state())
        try:
            yield
        finally:
            self.classifier.load_trained_state(kept)
