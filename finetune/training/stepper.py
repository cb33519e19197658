"""One step on one batch, and the outputs of a network as it is: in one precision, in as few parts as fit the memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from timm.data.mixup import Mixup
from torch import nn

from ...base.errors import TrainingError
from ...cache.spec import Precision
from ...extract.device import choose_precision, exact_fp32, is_out_of_memory
from ..inputs.sources import Inputs, Tensors
from ..network.heads import Rescaling
from .losses import Loss
from .optimization import Average, make_optimizer, make_scheduler
from .randomness import batches
from .recipe import Recipe

if TYPE_CHECKING:
    from ..network.classifier import Classifier

Targets = list[tuple[float, torch.Tensor]]
"""Labels (B, ...) of a batch, each with its share; several where images are mixed."""


def training_precision(recipe: Recipe, device: torch.device) -> Precision:
    """What a network is trained in: by `auto` bf16 on GPUs that have it, fp32 on all CPUs.

    On CPUs gradients of convolutions are slower in bf16 than in fp32, and a run is to be the same on all of them.
    """
    if recipe.precision == "auto" and device.type == "cpu":
        return "fp32"
    return choose_precision(recipe.precision, device)


class Stepper:
    """A network with its optimizer, schedule and moving average."""

    def __init__(self, classifier: Classifier, inputs: Inputs, loss: Loss, recipe: Recipe, train: np.ndarray) -> None:
        """Takes a network on its device, and the rows that an epoch passes over."""
        self.classifier, self.inputs, self.loss, self.recipe = classifier, inputs, loss, recipe
        self.device = next(classifier.parameters()).device
        self.precision: Precision = training_precision(recipe, self.device)
        self.step = 0
        self.part = recipe.batch_size
        """Images computed at once."""
        if recipe.rescale and recipe.head_init == "random":
            self._fit_rescaling(train)
        self.optimizer = make_optimizer(classifier, recipe)
        self.scheduler = make_scheduler(self.optimizer, recipe, len(batches(train, recipe.batch_size)))
        self.average = Average(classifier, recipe.ema) if recipe.ema else None
        self.mixup = Mixup(recipe.mixup, recipe.cutmix, label_smoothing=0.0) if recipe.mixes else None

    @property
    def lr(self) -> float:
        """The learning rate of the head."""
        return max(group["lr"] for group in self.optimizer.param_groups)

    def update(self, tensors: Tensors, y: torch.Tensor) -> float:
        """One step of the optimizer on one batch; its loss before the step."""
        tensors, targets = self._mixed(tensors, y)
        weight = sum(share * float(self.loss.weights(labels).sum()) for share, labels in targets)

        def add_gradients(part: slice) -> torch.Tensor:
            outputs = self._outputs(tensors, part)
            sums = [self.loss.sums(outputs, labels[part].to(self.device)).sum() * share for share, labels in targets]
            loss = torch.stack(sums).sum() / weight
            loss.backward()
            return loss.detach()

        with exact_fp32(self.device, self.precision):
            losses = self._in_parts(len(y), add_gradients, begin=self.optimizer.zero_grad)
        loss = float(sum(losses))
        if math.isfinite(loss):
            if self.recipe.clip_grad:
                torch.nn.utils.clip_grad_norm_(self.classifier.parameters(), self.recipe.clip_grad)
            with enough_memory(self.device):  # the optimizer's own state is made in its first step
                self.optimizer.step()
            self.step += 1
            self.scheduler.step_update(self.step)
            if self.average:
                self.average.update(self.step)
        return loss

    def logits(self, rows: np.ndarray) -> torch.Tensor:
        """(n, outputs) float32 of rows, in main memory, without augmentation."""
        return self._of_rows(rows, self._outputs)

    def averaged(self) -> AbstractContextManager[None]:
        """Puts the moving average, if there is one, in the network's place meanwhile."""
        return self.average.applied() if self.average else nullcontext()

    def state(self, *, whole: bool) -> dict[str, Any]:
        """What changes from step to step, for a checkpoint; unless `whole`, what the test needs of it."""
        if not whole:
            return {"part": self.part}
        return {
            "part": self.part,
            "step": self.step,
            "network": dict(self.classifier.trained_state()),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state() if self.average else {},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continues from a state."""
        self.part, self.step = state["part"], state.get("step", 0)
        if "network" in state:
            self.classifier.load_trained_state(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
        if self.average and "average" in state:
            self.average.restore(state["average"])

    def _of_rows(self, rows: np.ndarray, work: Callable[[Tensors, slice], torch.Tensor]) -> torch.Tensor:
        """What `work` gives for part after part of the rows, put together in main memory; nothing is augmented."""
        self.classifier.eval()
        parts = batches(rows, self.recipe.batch_size)
        exactly = exact_fp32(self.device, self.precision)
        with torch.inference_mode(), exactly, closing(self.inputs.batches(parts, None)) as source:
            found = [
                self._in_parts(len(part), lambda where, own=tensors: work(own, where).cpu())
                for part, tensors in zip(parts, source, strict=True)
            ]
        return torch.cat([one for some in found for one in some]).clone()

    def _fit_rescaling(self, rows: np.ndarray) -> None:
        """Has the head rescale vectors by those of these rows, as they are before training."""
        for module in self.classifier.head.modules():
            if isinstance(module, Rescaling):
                module.fit(self._of_rows(rows, partial(self._seen_by, module)))

    def _seen_by(self, module: nn.Module, tensors: Tensors, part: slice) -> torch.Tensor:
        """What a module of the head is given for some of the images of a batch."""
        seen: list[torch.Tensor] = []
        with module.register_forward_pre_hook(lambda _, given: seen.extend(given)):
            self._outputs(tensors, part)
        return seen[0]

    def _mixed(self, tensors: Tensors, y: torch.Tensor) -> tuple[Tensors, Targets]:
        """A batch whose images are mixed with each other, if they are to be, and the labels with their shares."""
        pairs = len(y) // 2 * 2  # timm mixes the first image with the last, and so on
        if not self.mixup or not pairs:
            return tensors, [(1.0, y)]
        (images,) = tensors
        # Which image has which share of which label, since a loss need not be linear in one-hot labels.
        self.mixup.num_classes = pairs
        mixed, shares = self.mixup(images[:pairs].float(), torch.arange(pairs))
        share = float(shares[0, 0])
        partners = torch.arange(len(y))
        partners[:pairs] = partners[:pairs].flip(0)
        return (torch.cat([mixed, images[pairs:].float()]),), [(share, y), (1 - share, y[partners])]

    def _outputs(self, tensors: Tensors, part: slice) -> torch.Tensor:
        """Logits float32 of some of the images of a batch."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return self.inputs.logits(self.classifier, tuple(one[part] for one in tensors)).float()

    def _in_parts(
        self, count: int, work: Callable[[slice], torch.Tensor], begin: Callable[[], object] = lambda: None
    ) -> list[torch.Tensor]:
        """What `work` gives for a batch of `count` images, in as few parts as the memory allows.

        Where there is too little memory for one, parts are halved, for all that follows too, and all begins again.
        """
        while True:
            try:
                with enough_memory(self.device):
                    begin()
                    parts = batches(np.arange(count), self.part)
                    return [work(slice(int(part[0]), int(part[-1]) + 1)) for part in parts]
            except _NoMemoryError:
                if self.part <= 2:
                    raise
            self.part = max(2, min(self.part, count) // 2)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()


class _NoMemoryError(TrainingError):
    """There is not enough memory on the device."""


@contextmanager
def enough_memory(device: torch.device) -> Iterator[None]:
    """Turns what torch raises where memory is out into a TrainingError that says what to do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise _NoMemoryError(
            f"the memory of {device} is too small for this training, even two images at a time; take a mode that trains"
            " fewer blocks, such as partial:1 or linear, or smaller images."
        ) from error
