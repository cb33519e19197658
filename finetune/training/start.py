"""The network as training begins: with the outputs of its loss, and its head drawn or taken from the linear probe."""

from __future__ import annotations

import numpy as np
import torch

from ...base.errors import FinetuneError
from ...evaluate.resampling.resample import Resample
from ...extract import Backbone
from ...probe import LogisticPath, ProbeTask
from ...probe.engines.model_selection import ModelSelector
from ..network.classifier import Classifier, make_classifier
from ..network.modes import Mode
from .losses import make_loss
from .recipe import Recipe


def make_start(backbone: Backbone, mode: Mode, recipe: Recipe, task: ProbeTask, resample: Resample) -> Classifier:
    """The classifier that `Training` is given, of a copy of `backbone`; new weights have the seed of the resample.

    `X` of the task are the vectors of the frozen backbone, and the resample is in its rows.

    Raises:
        FinetuneError: the mode does not fit the network, or the loss the task; or as `check_start`.
    """
    loss = make_loss(recipe, task.task, task.y[resample.train])
    drops = {"dropout": recipe.dropout, "drop_path": recipe.drop_path}
    classifier = make_classifier(backbone, mode, loss.outputs, seed=resample.seed, **drops)
    check_start(mode, recipe)
    if recipe.head_init == "probe":
        weight, bias = probe_head(task, resample, class_weight=recipe.class_weight)
        output = classifier.head.output
        with torch.no_grad():
            output.weight.copy_(torch.from_numpy(weight))
            output.bias.copy_(torch.from_numpy(bias))
    return classifier


def check_start(mode: Mode, recipe: Recipe) -> None:
    """Makes sure that training can begin as the recipe says; worth knowing before the hours of other modes.

    Raises:
        FinetuneError: `head_init=probe` does not fit the mode or the loss, or there are views but nothing random.
    """
    if recipe.views and not recipe.augmentation.is_random:
        raise FinetuneError(f"views={recipe.views} needs random augmentation: add --augment, or leave views out.")
    if recipe.head_init == "probe" and (mode.kind in ("mlp", "tokens-deit") or mode.dropped):
        raise FinetuneError(
            f"head_init=probe needs a linear head on the vector of the whole backbone, which {mode.name} does not have;"
            " set head_init=random, or choose another mode."
        )
    if recipe.head_init == "probe" and recipe.loss == "corn":
        raise FinetuneError(f"head_init=probe does not work with loss={recipe.loss}; set head_init=random.")


def probe_head(
    task: ProbeTask, resample: Resample, *, class_weight: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (outputs, D) and biases (outputs,), float64, of the probe `logreg` on the rows of train.

    Its C is chosen on val; its standardisation is part of the weights.
    """
    path = LogisticPath(class_weight=class_weight, standardize=True).fit(task.X[resample.train], task.y[resample.train])
    selector = ModelSelector(task, resample)
    for place, proba in enumerate(path.path_proba(task.X[resample.val])):
        if selector.consider({"C": path.Cs_[place]}, proba):
            selector.best = path.coef_[place], path.intercept_[place]
    weight, bias = selector.best
    if task.wide or len(weight) > 1:
        return weight, bias
    return np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2  # one logit, halved between two
