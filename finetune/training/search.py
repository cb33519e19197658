"""The choice of a recipe on val: several are trained under one seed, and only the best one predicts test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


@dataclass(frozen=True, eq=False)
class Best:
    """The recipe that was chosen on val, and what it gave."""

    recipe: Recipe
    classifier: Classifier
    trained: Trained
    """Its seconds are those of all recipes."""
    params: dict[str, Any]
    """What was chosen: the epoch, and the settings in which the recipes differ."""


def fit_best(
    make: Callable[[Recipe], tuple[Classifier, Inputs]],
    task: ProbeTask,
    resample: Resample,
    recipes: Sequence[Recipe],
    *,
    seed: int,
    checkpoint: Path | None = None,
    key: str = "",
    on_epoch: Callable[[Curve], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Best:
    """Trains one classifier by each recipe and takes the best on val, by the metric or by what recipes `select`.

    Args:
        make: a new classifier for a recipe, and its inputs.
        task: as for `train`.
        resample: as for `train`.
        recipes: one, or the candidates of a search.
        seed: of each training.
        checkpoint: the file that keeps the state; with several recipes one each, with its number in the name.
        key: as for `train`.
        on_epoch: as for `train`; `candidate` of what it is given is as `lr=0.001,layer_decay=1`, empty for one recipe.
        should_stop: as for `train`.

    Raises:
        Interrupted: `should_stop` was true.
        TrainingError: with no recipe a single epoch was good, or the memory is too small.
        FinetuneError: a recipe does not fit the task.
    """

    def begun(recipe: Recipe) -> Training:
        return Training(*make(recipe), task, resample, recipe, seed)

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
        saved = Checkpoint(file, training.key(key))
        report = on_epoch and (lambda curve, values=values, show=on_epoch: show({**curve, "candidate": values}))
        training.run(saved, report, should_stop)
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
    return Best(
        recipe=training.recipe,
        classifier=training.classifier,
        trained=replace(trained, fit_s=seconds, notes=notes),
        params={"epoch": trained.best_epoch, **selector.params},
    )
