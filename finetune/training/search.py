"""The choice of a recipe on val: several are trained under one seed, and only the best one predicts test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...evaluate.metrics.registry import METRICS
from ...evaluate.resampling.resample import Resample
from ...probe import ProbeTask
from ...probe.engines.model_selection import ModelSelector
from ..inputs.sources import Inputs
from .checkpoint import Checkpoint
from .loop import Curve, Trained, Training
from .recipe import Recipe, in_words, searched

if TYPE_CHECKING:
    from ..network.classifier import Classifier


def fit_best(
    make: Callable[[Recipe], tuple[Classifier, Inputs]],
    task: ProbeTask,
    resample: Resample,
    recipes: Sequence[Recipe],
    *,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Curve], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    on_resumed: Callable[[int], None] = lambda _: None,
) -> Trained:
    """Trains one classifier by each recipe and takes the best on val, by the metric or by what recipes `select`.

    Args:
        make: a new classifier for a recipe, and its inputs.
        task: labels, classes and metric of the rows.
        resample: in rows; its seed is that of each training.
        recipes: one, or the candidates of a search.
        checkpoint: the file that keeps the state after an epoch, and that training continues from; with several recipes
            one each, with its number in the name.
        on_epoch: called after each epoch with its curve; `candidate` in it is as `lr=0.001,layer_decay=1`, or empty.
        should_stop: looked at after each step; if true, `Interrupted` is raised.
        on_resumed: called with the epoch that a training goes on after, where an earlier process was ended.

    Raises:
        Interrupted: `should_stop` was true.
        TrainingError: with no recipe a single epoch was good, or the memory is too small.
        FinetuneError: a recipe does not fit the task.
    """

    def begun(recipe: Recipe) -> Training:
        return Training(*make(recipe), task, resample, recipe)

    grid = searched(recipes)
    chooses = replace(task, metric=METRICS["log_loss"]) if recipes[0].select == "loss" else task
    selector = ModelSelector(chooses, resample)
    seconds, failures = 0.0, []
    training = begun(recipes[0])
    for number, recipe in enumerate(recipes, 1):
        training = training if recipe is training.recipe else begun(recipe)
        file = checkpoint
        if checkpoint and len(recipes) > 1:
            file = checkpoint.with_stem(f"{checkpoint.stem}-{number}")
        chosen = {name: getattr(recipe, name) for name in grid}
        values = ",".join(f"{name}={in_words(value)}" for name, value in chosen.items())
        saved = Checkpoint(file, training.key)
        training.run(
            saved, lambda curve, values=values: on_epoch({**curve, "candidate": values}), should_stop, on_resumed
        )
        seconds += training.seconds
        if not training.best_curve:
            failures.append(f"{values}: {training.diverged}")
        elif selector.consider(chosen, training.val_proba):
            selector.best = recipe, training.state()
        else:
            saved.write({**training.state(), "best": {}}, at_once=True)  # it lost, and would lose again
    if selector.best and training.recipe != selector.best[0]:
        recipe, state = selector.best
        training = begun(recipe)
        training.restore(state)
    trained = training.tested()
    notes = [*trained.notes, *selector.notes(grid), *failures]
    return replace(trained, params={**trained.params, **selector.params}, fit_s=seconds, notes=notes)
