"""Recipes by name, their settings as text, and grids of them."""

from __future__ import annotations

import numpy as np
import pytest
from medprobe.base.errors import FinetuneError
from medprobe.evaluate import SystemKey
from medprobe.evaluate.resampling.resample import Resample
from medprobe.evaluate.results.recipe_words import setting_in_words
from medprobe.finetune.fitting import Cell
from medprobe.finetune.network.modes import Mode
from medprobe.finetune.systems import FineTuning
from medprobe.finetune.training.recipe import (
    Recipe,
    candidates,
    read_settings,
    recipe_names,
    recipe_settings,
    searched,
)

_LONG = Recipe.named("huix2024").changed(
    lr=3e-4, crop_scale=[0.5, 1], color_jitter=[0.1, 0.1, 0.1, 0.1], warmup_epochs=3, label_smoothing=0.1
)


def test_the_recipes_are_those_of_the_issue_and_say_where_they_come_from() -> None:
    assert recipe_names() == ["default", "huang2024", "huix2024", "probe-first", "retfound"]
    for name in recipe_names():
        recipe = Recipe.named(name)
        assert recipe.source
        assert recipe.differing() == ({} if name == "default" else {"recipe": name})
        assert Recipe.model_validate(recipe.facts()) == recipe


def test_every_setting_has_a_meaning() -> None:
    assert all(setting.meaning for setting in recipe_settings())
    assert not {"name", "source", "quirks"} & {setting.name for setting in recipe_settings()}


def test_settings_that_are_not_set_are_words_and_the_rate_is_that_of_the_training() -> None:
    for mode, rate in (("linear", 1e-2), ("drop-last:2", 1e-2), ("full", 1e-3), ("mlp", 1e-3)):
        recipe = Recipe.named("default")
        settings = FineTuning(Mode.parse(mode), recipe, [recipe]).facts(precision="fp32")["settings"]
        unset = [name for name, value in settings.items() if value is None]
        assert not {"None", "none"} & {setting_in_words(name, settings) for name in unset}
        assert float(setting_in_words("lr", settings)) == rate


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("huang2024", {"optimizer": "adam", "lr": 1e-4, "batch_size": 32, "epochs": 100, "schedule": "constant"}),
        ("huix2024", {"optimizer": "adamw", "lr": 1e-4, "weight_decay": 1e-5, "batch_size": 64, "epochs": 100}),
        ("huix2024", {"clip_grad": 1.0, "warmup_steps": 1000, "schedule": "constant", "crop_scale": (0.8, 1.2)}),
        ("huix2024", {"hflip": 0.5, "vflip": 0.5, "color_jitter": (0.2, 0.2, 0.1, 0.1), "color_jitter_prob": 0.8}),
        ("retfound", {"layer_decay": 0.65, "drop_path": 0.2, "label_smoothing": 0.1, "reprob": 0.25, "epochs": 50}),
        ("probe-first", {"head_init": "probe"}),
    ],
)
def test_recipes_are_as_published(name, facts) -> None:
    assert {setting: getattr(Recipe.named(name), setting) for setting in facts} == facts


def test_names_hold_what_differs_from_the_recipe() -> None:
    recipe = Recipe.named("huix2024").changed(lr="3e-4", crop_scale="none", warmup_epochs=3)
    assert recipe.differing() == {
        "crop_scale": None,
        "lr": 3e-4,
        "warmup_epochs": 3.0,
        "warmup_steps": None,
        "recipe": "huix2024",
    }
    words = "crop_scale=none,lr=0.0003,warmup_epochs=3,warmup_steps=none,recipe=huix2024"
    assert FineTuning(Mode.parse("full"), recipe, [recipe]).name == f"finetune:full:{words}"
    assert Recipe.named("default").changed(lr=Recipe.named("default").lr).differing() == {}


def test_budgets_have_folders_of_their_own_however_long_the_names_of_modes_are() -> None:
    way = FineTuning(Mode.parse("full"), _LONG, [_LONG])
    keys = [SystemKey("set", "net", "0" * 12, "cls", way.name, budget) for budget in ("all", "1 shot", "5 shots")]
    rows = np.arange(3)
    assert len(way.name) > 100
    assert len({Cell(key, 0, way, Resample(0, rows, rows, rows)).folder for key in keys}) == 3


def test_settings_are_read_from_text() -> None:
    texts = ["lr=1e-4", "clip_grad=none", "crop_scale=[0.5,1]", "loss = corn", "ema=0.99"]
    recipe = Recipe.named("default").changed(**read_settings(texts))
    assert (recipe.lr, recipe.clip_grad, recipe.crop_scale) == (1e-4, None, (0.5, 1.0))
    assert (recipe.loss, recipe.ema) == ("corn", 0.99)


def test_a_search_is_a_grid() -> None:
    grid = candidates(Recipe.named("retfound"), "lr=1e-4,1e-3 layer_decay=0.65,1 crop_scale=[0.5,1],none")
    assert len(grid) == 8
    assert [recipe.lr for recipe in grid] == [1e-4] * 4 + [1e-3] * 4
    assert searched(grid).keys() == {"lr", "layer_decay", "crop_scale"}
    assert searched(grid)["crop_scale"][:2] == [(0.5, 1.0), None]
    assert searched(grid[:1]) == {}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Recipe.named("huang"), 'unknown recipe "huang"; there are default, .* Did you mean "huang2024"'),
        (lambda: Recipe.named("default").changed(lrr=1), 'has no setting lrr; there are .* Did you mean "lr"'),
        (lambda: Recipe.named("default").changed(name="mine"), "has no setting name"),
        (lambda: Recipe.named("default").changed(lr=0), "recipe default: lr must be above 0"),
        (lambda: Recipe.named("default").changed(epochs=2.5), "epochs must be a whole number, not 2.5"),
        (lambda: Recipe.named("default").changed(dropout=True), "dropout must not be true"),
        (lambda: Recipe.named("default").changed(lr="big", ema=1), "lr must be a number.*; ema must be below 1"),
        (lambda: Recipe.named("default").changed(optimizer="adamm"), 'optimizer cannot be "adamm".*Did you mean "adam'),
        (lambda: Recipe.named("default").changed(optimizer="adahessian"), "optimizer cannot be"),
        (lambda: Recipe.named("default").changed(batch_size=1), "batch_size must be at least 2"),
        (lambda: Recipe.named("default").changed(crop_scale=0.5), r"crop_scale must be a list, .*; e.g. crop_scale=\["),
        (lambda: read_settings(["lr"]), '"lr": write a setting as name=value'),
        (lambda: read_settings(["lr=1", "lr=2"]), "lr is set twice"),
        (lambda: candidates(Recipe.named("default"), ""), 'search "" names no setting'),
        (lambda: candidates(Recipe.named("default"), "lr="), '"lr=": write a setting'),
        (lambda: candidates(Recipe.named("default"), "lr=1e-3 lr=1e-4"), "lr is set twice"),
        (lambda: candidates(Recipe.named("default"), "lr=1,1.0,2"), "lr has a value twice"),
        (lambda: candidates(Recipe.named("default"), "lr=1,1"), "lr has a value twice"),
        (lambda: candidates(Recipe.named("default"), f"epochs={','.join(map(str, range(1, 1002)))}"), "1,001 comb"),
    ],
)
def test_what_cannot_be_is_one_message(wrong, message) -> None:
    with pytest.raises(FinetuneError, match=f"(?s){message}"):
        wrong()
