"""Training on a GPU, where there is one: as on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from medprobe.extract import load_backbone
from medprobe.finetune.network.classifier import make_classifier
from medprobe.finetune.network.cut import Cut
from medprobe.finetune.training.loop import Training
from medprobe.finetune.training.recipe import Recipe
from small_training import ImagesInMemory, small_task

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def _classifier(name: str, mode: str, device: str):
    backbone = load_backbone(name, image_size=64, device=device, runtime="torch", precision="fp32")
    return make_classifier(backbone, mode, 3)


def _losses(name: str, mode: str, device: str, precision: str, count: int = 6) -> list[float]:
    images, task, resample = small_task(size=64)
    recipe = Recipe.named("default").changed(epochs=3, batch_size=8, precision=precision, ema=0.9)
    training = Training(_classifier(name, mode, device), ImagesInMemory(images), task, resample, recipe)
    found, update = [], training.stepper.update
    training.stepper.update = lambda *batch: found.append(update(*batch)) or found[-1]
    for _ in range(2):
        training.epoch(lambda: False)
    assert training.tested().peak_bytes > 0
    return found[:count]


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", 0.01), ("bf16", 0.1)])
@pytest.mark.parametrize(
    ("name", "mode"),
    [("timm:test_vit@random", "full"), ("timm:test_vit@random", "lora:4"), ("timm:test_resnet@random", "partial:1")],
)
def test_the_first_losses_are_those_of_the_cpu(name, mode, precision, allowed) -> None:
    expected, found = _losses(name, mode, "cpu", "fp32"), _losses(name, mode, "cuda", precision)
    np.testing.assert_allclose(found, expected, rtol=allowed)


@pytest.mark.parametrize("name", ["timm:test_vit@random", "timm:test_resnet@random"])
def test_a_network_is_cut_at_the_same_place_as_on_the_cpu(name) -> None:
    cuts = [Cut.of(_classifier(name, "partial:1", device)) for device in ("cpu", "cuda")]
    assert all(cuts)
    assert cuts[0].name == cuts[1].name
