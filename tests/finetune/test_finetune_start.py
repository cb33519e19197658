"""How training begins: the head of the linear probe, and the outputs of each loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from medprobe.base.errors import FinetuneError
from medprobe.evaluate import find_metric
from medprobe.evaluate.resampling.resample import Resample
from medprobe.extract import Backbone
from medprobe.finetune.inputs.sources import VectorInputs
from medprobe.finetune.network.modes import Mode
from medprobe.finetune.training.loop import Training
from medprobe.finetune.training.recipe import Recipe
from medprobe.finetune.training.start import make_start
from medprobe.probe import ProbeTask, resolve_probes
from medprobe.probe.engines.parallel import Workers
from small_training import ImagesInMemory, small_task, train


def _data(backbone: Backbone, classes: int = 3) -> tuple[ImagesInMemory, ProbeTask, Resample]:
    """Images, and a task of their vectors from a frozen backbone."""
    images, task, resample = small_task(classes=classes, size=32)
    vectors = backbone.embed(images)[backbone.spec.poolings[0]]
    kind = "binary" if classes == 2 else "multiclass"
    return ImagesInMemory(images), replace(task, X=vectors, task=kind), resample


def _recipe(**settings) -> Recipe:
    return Recipe.named("default").changed(**{"epochs": 2, "batch_size": 8, "precision": "fp32", **settings})


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_a_head_from_the_probe_predicts_what_logreg_predicts(tiny, kind) -> None:
    inputs, task, resample = _data(tiny, 2 if kind == "binary" else 3)
    if kind == "multilabel":
        task = replace(task, y=np.stack([task.y == 1, task.y > 0, task.y < 3], axis=1).astype(np.int8), task=kind)
    recipe = _recipe(head_init="probe", lr=1e-12)
    classifier = make_start(tiny, Mode.parse("full"), recipe, task, resample)
    found = train(classifier, inputs, task, resample, recipe)
    (logreg,) = resolve_probes(["logreg:stop_path=false"])
    (expected,) = logreg.solve(task, Workers(1))
    assert np.allclose(found.val_proba, expected.val_proba, atol=2e-3)
    assert [curve["epoch"] for curve in found.curves] == [0, 1, 2]


def test_what_a_probe_has_learnt_is_not_lost_by_training(tiny) -> None:
    inputs, task, resample = _data(tiny)
    recipe = _recipe(head_init="probe", lr=1.0, warmup_epochs=0)
    classifier = make_start(tiny, Mode.parse("partial:1"), recipe, task, resample)
    found = train(classifier, inputs, task, resample, recipe)
    assert found.best_epoch == 0


@pytest.mark.parametrize("mode", ["linear", "mlp", "full"])
def test_the_head_rescales_vectors_by_those_of_train(tiny, mode) -> None:
    inputs, task, resample = _data(tiny)
    recipe = _recipe()
    classifier = make_start(tiny, Mode.parse(mode), recipe, task, resample)
    training = Training(classifier, inputs, task, resample, recipe)
    training.epoch(lambda: False)
    vectors, found = task.X[resample.train].astype(float), classifier.head.get_submodule("rescaling")
    assert np.allclose(found.get_buffer("mean"), vectors.mean(axis=0), rtol=1e-4, atol=1e-6)
    assert np.isclose(found.get_buffer("scale"), np.sqrt(vectors.var(axis=0).mean()), rtol=1e-4)


@pytest.mark.parametrize("factor", [1e-4, 1e4, 0])
def test_the_scale_of_vectors_does_not_matter_to_a_head(tiny, factor) -> None:
    _, task, resample = _data(tiny)
    losses = []
    for X in (task.X * (factor > 0), task.X * np.float32(factor) + np.float32(factor)):
        recipe = _recipe(epochs=3)
        classifier = make_start(tiny, Mode.parse("linear"), recipe, task, resample)
        found = train(classifier, VectorInputs(X), task, resample, recipe)
        losses.append([curve["val_loss"] for curve in found.curves])
    assert np.allclose(*losses, atol=2e-3)


@pytest.mark.parametrize("recipe", [{"rescale": False}, {"head_init": "probe"}])
def test_a_head_can_read_vectors_as_they_are(tiny, recipe) -> None:
    inputs, task, resample = _data(tiny)
    classifier = make_start(tiny, Mode.parse("linear"), _recipe(**recipe), task, resample)
    Training(classifier, inputs, task, resample, _recipe(**recipe))
    vectors = torch.from_numpy(task.X[:4])
    assert torch.equal(classifier.head.get_submodule("rescaling")(vectors), vectors)


@pytest.mark.parametrize("mode", ["mlp", "drop-last:2+full"])
def test_a_probe_is_no_start_for_another_vector_or_head(tiny, mode) -> None:
    _, task, resample = _data(tiny)
    with pytest.raises(FinetuneError, match="head_init=probe needs a linear head on the vector of the whole backbone"):
        make_start(tiny, Mode.parse(mode), _recipe(head_init="probe"), task, resample)


@pytest.mark.parametrize("loss", [pytest.param("cross-entropy", marks=pytest.mark.slow), "corn"])
def test_ordered_classes_are_learnt_with_each_loss(tiny, loss) -> None:
    inputs, task, resample = _data(tiny)
    task = replace(task, task="ordinal", metric=find_metric("quadratic_kappa"))
    recipe = _recipe(loss=loss, epochs=5, lr=2e-3)
    classifier = make_start(tiny, Mode.parse("full"), recipe, task, resample)
    found = train(classifier, inputs, task, resample, recipe)
    assert found.test_proba.shape == (len(resample.test), 3)
    assert task.metric.value(task.scored(resample.test, found.test_proba)) > 0.6
