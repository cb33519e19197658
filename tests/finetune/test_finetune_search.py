"""The choice among recipes on val."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from medprobe.base.errors import TrainingError
from medprobe.finetune.training.checkpoint import Interrupted
from medprobe.finetune.training.recipe import Recipe, candidates
from medprobe.finetune.training.search import fit_best
from small_training import ImagesInMemory, TinyClassifier, facts, small_task, train


def _recipe(**settings) -> Recipe:
    return Recipe.named("default").changed(**{"epochs": 12, "batch_size": 8, "precision": "fp32", **settings})


def _searched(search: str, **options: Any):
    images, task, resample = small_task()
    recipes = candidates(_recipe(**options.pop("settings", {})), search)
    trained = []

    def make(recipe: Recipe):
        trained.append(recipe.lr)
        return TinyClassifier(3), ImagesInMemory(images)

    return fit_best(make, task, resample, recipes, **options), trained


@pytest.mark.parametrize("select", [pytest.param("metric", marks=pytest.mark.slow), "loss"])
def test_a_search_gives_what_its_best_recipe_gives(select) -> None:
    images, task, resample = small_task()
    best, _ = _searched("lr=1e-6,3e-2,1e-5", settings={"select": select})
    alone = _recipe(lr=3e-2, select=select)
    expected = train(TinyClassifier(3), ImagesInMemory(images), task, resample, alone)
    assert best.params == {"epoch": expected.best_epoch, "lr": 3e-2}
    assert facts(replace(best, notes=[])) == facts(expected)
    assert best.notes == ["lr=0.03 is at the grid's edge"]
    assert best.fit_s > sum(curve["seconds"] for curve in best.curves)
    with torch.no_grad():
        proba = best.classifier.eval()(images[resample.test]).double().softmax(1).numpy()
    assert np.allclose(proba, best.test_proba, atol=1e-6)


def test_an_interrupted_search_goes_on_where_it_was(tmp_path) -> None:
    search = "lr=3e-2,1e-4,1e-5"
    expected, _ = _searched(search)
    stops = iter([False] * 142 + [True])  # in the last epoch of the third
    with pytest.raises(Interrupted):
        _searched(search, checkpoint=tmp_path / "state.pt", should_stop=lambda: next(stops))
    seen = []
    found, trained = _searched(search, checkpoint=tmp_path / "state.pt", on_epoch=seen.append)
    assert facts(found) == facts(expected)
    assert len(seen) <= 12  # those of the third
    assert {curve["candidate"] for curve in seen} == {"lr=1e-05"}
    sizes = [path.stat().st_size for path in sorted(tmp_path.iterdir())]
    assert trained[-1] == 3e-2  # made again, as its weights alone were kept
    assert sizes[1] < sizes[0] / 2
    assert sizes[2] < sizes[0] / 2


def test_a_recipe_that_fails_does_not_end_a_search() -> None:
    best, _ = _searched("lr=3e-2,1e30", settings={"warmup_epochs": 0, "clip_grad": None})
    assert best.params["lr"] == 3e-2
    assert best.notes[-1].startswith("lr=1e+30: the loss is")
    assert "at step 2 of epoch 1" in best.notes[-1]
    with pytest.raises(TrainingError, match="the loss is nan at step 2 of epoch 1"):
        _searched("lr=1e30,1e31", settings={"warmup_epochs": 0, "clip_grad": None})
