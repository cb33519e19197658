"""The loop that trains one network on one resample, chooses its epoch on val and predicts its test once."""

from __future__ import annotations

import math
import platform
import resource
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import timm
import torch

from ...base import fingerprint
from ...base.errors import TrainingError
from ...evaluate.resampling.resample import Resample
from ...evaluate.results.fit_result import DIVERGED
from ...probe import ProbeTask
from ..inputs.sources import Inputs
from .checkpoint import Checkpoint, Interrupted
from .losses import Loss, make_loss
from .optimization import learning_rate
from .randomness import batches, seeded, shuffled
from .recipe import Recipe
from .stepper import Stepper

if TYPE_CHECKING:
    from ..network.classifier import Classifier

Curve = dict[str, Any]
"""One epoch: `epoch` from 1 (0 is before training), `train_loss`, `val_loss`, `val_metric`, `lr`, `seconds`."""


@dataclass(frozen=True, eq=False)
class Trained:
    """What one training gave, or the best of several."""

    classifier: Classifier
    """As it is after the best epoch."""
    loss: Loss
    """What its logits mean."""
    params: dict[str, Any]
    """What was chosen on val: the epoch, and the settings in which the recipes of a search differ."""
    val_proba: np.ndarray
    """(n_val, C) float64, by row."""
    test_proba: np.ndarray
    """(n_test, C) float64, by row."""
    best_epoch: int
    """From 1; 0 is the network before training."""
    curves: list[Curve]
    fit_s: float
    """Seconds of training and validation, those before an interruption included; of a search, of all recipes."""
    predict_s: float
    """Seconds of the test."""
    peak_bytes: int
    """The most memory in use: of a GPU by this training, or else of this process since it began."""
    notes: list[str]


class Training:
    """The epochs of one network: trained on train, chosen on val, and the best one then predicts test.

    Every random number follows from the resample's seed and the epoch; the caller's generators are left as they were.
    On a CPU it gives the same bytes whenever it is done, and whether or not it was interrupted.
    """

    def __init__(
        self, classifier: Classifier, inputs: Inputs, task: ProbeTask, resample: Resample, recipe: Recipe
    ) -> None:
        """Begins with a network on its device that has the outputs of `make_loss`; it is trained in place.

        The `resample` is in rows of the `task`.

        Raises:
            TrainingError: the memory is too small.
            FinetuneError: the recipe does not fit the task.
        """
        self.classifier, self.inputs, self.task, self.resample = classifier, inputs, task, resample
        self.recipe, self.seed = recipe, resample.seed
        self.y = torch.from_numpy(task.y.astype(np.int64))
        self.loss = make_loss(recipe, task.task, task.y[resample.train])
        self.stepper = Stepper(classifier, inputs, self.loss, recipe, resample.train)
        self.curves: list[Curve] = []
        self.best_curve: Curve = {}
        self.best: dict[str, torch.Tensor] = {}
        """What is trained, as it was after the best epoch; in main memory."""
        self.val_proba = np.empty(0)
        """(n_val, C) of the best epoch."""
        self.diverged = ""
        """Where the loss stopped being a number, and training with it."""
        if self.stepper.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.stepper.device)

    @property
    def epochs(self) -> int:
        """Passes over train so far."""
        return self.curves[-1]["epoch"] if self.curves else 0

    @property
    def seconds(self) -> float:
        """Of all epochs, those before an interruption included."""
        return sum(curve["seconds"] for curve in self.curves)

    @property
    def is_over(self) -> bool:
        """Whether there is no further epoch."""
        best = self.best_curve.get("epoch", 0)
        impatient = self.recipe.patience is not None and self.epochs - best >= self.recipe.patience
        return impatient or self.epochs >= self.recipe.epochs or bool(self.diverged)

    def run(
        self,
        saved: Checkpoint,
        on_epoch: Callable[[Curve], None],
        should_stop: Callable[[], bool],
        on_resumed: Callable[[int], None] = lambda _: None,
    ) -> None:
        """All epochs that `saved` does not have; `on_resumed` is called with how many it has, if more are to come.

        Raises:
            Interrupted: `should_stop`, which is looked at after each step, was true.
            TrainingError: the memory is too small.
        """
        if state := saved.read():
            self.restore(state)
            if not self.is_over:
                on_resumed(self.epochs)
        while not self.is_over:
            try:
                curve = self.epoch(should_stop)
            except _DivergedError as error:
                self.diverged, curve = str(error), None
            saved.write(self.state(), at_once=self.is_over)
            if curve:
                on_epoch(curve)

    def epoch(self, should_stop: Callable[[], bool]) -> Curve:
        """One pass over train, and val after it; of a head from a probe first val alone, which may be the best."""
        start = time.perf_counter()
        if self.recipe.head_init == "probe" and not self.curves:
            learnt: Curve = {"epoch": 0, "train_loss": math.nan, "lr": 0.0}
        else:
            learnt = {"epoch": self.epochs + 1, "train_loss": self._pass(should_stop), "lr": self.stepper.lr}
        with self.stepper.averaged():
            logits = self.stepper.logits(self.resample.val)
            if not logits.isfinite().all():
                raise _DivergedError(f"the outputs for val are not finite after epoch {learnt['epoch']}")
            proba = self.loss.probabilities(logits.numpy())
            loss = float(self.loss.mean(logits, self.y[self.resample.val]))
            metric = self.task.metric.value(self.task.scored(self.resample.val, proba))
            curve = {**learnt, "val_loss": loss, "val_metric": metric}
            if not self.best_curve or self.is_better(curve, self.best_curve):
                self.best_curve, self.val_proba = curve, proba
                self.best = {name: one.to("cpu", copy=True) for name, one in self.classifier.trained_state().items()}
        self.curves.append({**curve, "seconds": time.perf_counter() - start})
        return self.curves[-1]

    def _pass(self, should_stop: Callable[[], bool]) -> float:
        """The mean loss of one pass over train."""
        epoch = self.epochs
        parts = batches(shuffled(self.resample.train, self.seed, epoch), self.recipe.batch_size)
        total, view = 0.0, self.inputs.view_of(epoch)
        with seeded(self.seed, epoch, self.stepper.device), closing(self.inputs.batches(parts, view)) as source:
            self.classifier.train()
            for number, (rows, tensors) in enumerate(zip(parts, source, strict=True), 1):
                loss = self.stepper.update(tensors, self.y[rows])
                if not math.isfinite(loss):
                    raise _DivergedError(f"the loss is {loss:g} at step {number} of epoch {epoch + 1}")
                total += loss * len(rows)
                if should_stop():
                    raise Interrupted
        return total / len(self.resample.train)

    def is_better(self, curve: Curve, than: Curve) -> bool:
        """Whether one epoch is better than another on val; of equals in the metric, the one with the lower loss."""
        value, other = curve["val_metric"], than["val_metric"]
        if self.recipe.select == "loss" or math.isnan(value) or math.isnan(other) or value == other:
            return curve["val_loss"] < than["val_loss"]
        return self.task.metric.better(value, other)

    def tested(self) -> Trained:
        """The test by the best epoch, whose weights the classifier has from then on.

        Raises:
            TrainingError: no epoch was good.
        """
        if not self.best_curve:
            raise TrainingError(
                f"{self.diverged}, and no epoch before it was good; take a lower learning rate than"
                f" {learning_rate(self.classifier, self.recipe):g}, or a longer warm-up."
            )
        start = time.perf_counter()
        self.classifier.load_trained_state(self.best)
        test_proba = self.loss.probabilities(self.stepper.logits(self.resample.test).numpy())
        return Trained(
            classifier=self.classifier,
            loss=self.loss,
            params={"epoch": self.best_curve["epoch"]},
            val_proba=self.val_proba,
            test_proba=test_proba,
            best_epoch=self.best_curve["epoch"],
            curves=self.curves,
            fit_s=self.seconds,
            predict_s=time.perf_counter() - start,
            peak_bytes=_peak_bytes(self.stepper.device),
            notes=self._notes(),
        )

    @property
    def key(self) -> str:
        """Of everything that decides the result besides the data, the backbone and the mode."""
        arrays = (self.resample.train, self.resample.val, self.resample.test, self.task.y)
        return fingerprint(
            {
                "recipe": self.recipe.facts(),
                "seed": self.seed,
                "rows": blake2b(b"".join(array.tobytes() for array in arrays), digest_size=16).hexdigest(),
                "metric": self.task.metric.name,
                "trained": {name: list(one.shape) for name, one in self.classifier.trained_state().items()},
                "computed": [self.stepper.device.type, self.stepper.precision],
                "versions": [torch.__version__, timm.__version__, np.__version__],
            }
        )

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs; once training is over, no more than the test needs."""
        return {
            "curves": self.curves,
            "best_curve": self.best_curve,
            "best": self.best,
            "val_proba": torch.from_numpy(self.val_proba),
            "diverged": self.diverged,
            "stepper": self.stepper.state(whole=not self.is_over),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continues from a state."""
        self.curves, self.best, self.best_curve = state["curves"], state["best"], state["best_curve"]
        self.val_proba, self.diverged = state["val_proba"].numpy(), state["diverged"]
        self.stepper.restore(state["stepper"])

    def _notes(self) -> list[str]:
        notes = [f"{DIVERGED} {self.diverged}"] if self.diverged else []
        if self.stepper.part < self.recipe.batch_size:
            notes.append(f"batches were computed in parts of {self.stepper.part} images: there is no memory for more")
        if any(math.isnan(curve["val_metric"]) for curve in self.curves):
            notes.append(f"{self.task.metric.name} is not defined on val; chosen by the loss")
        return notes


class _DivergedError(Exception):
    """The message says where."""


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
