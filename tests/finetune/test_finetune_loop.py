"""The loop: against a plain loop of torch and timm alone, twice, with little memory, with a loss that is no number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import timm
import timm.loss
import timm.optim
import timm.scheduler
import timm.utils
import torch
from medprobe.base.errors import TrainingError
from medprobe.finetune.network.classifier import make_classifier
from medprobe.finetune.training.loop import Training
from medprobe.finetune.training.randomness import batches
from medprobe.finetune.training.recipe import Recipe
from small_training import ImagesInMemory, TinyClassifier, facts, small_task, train


def _recipe(**settings) -> Recipe:
    return Recipe.named("default").changed(**{"epochs": 4, "batch_size": 8, "precision": "fp32", **settings})


def _trained(recipe: Recipe, *, seed: int = 0, dropout: float = 0.0, batch_norm: bool = True, **options):
    images, task, resample = small_task()
    classifier = TinyClassifier(3, batch_norm=batch_norm, dropout=dropout)
    trained = train(classifier, ImagesInMemory(images), task, resample, recipe, seed=seed, **options)
    return trained, classifier


@pytest.mark.parametrize("elaborate", [False, True])
def test_losses_are_those_of_a_plain_loop(tiny, elaborate) -> None:
    """Twenty steps of a whole ViT; the other loop and its network are torch's and timm's alone."""
    images, task, resample = small_task(size=32)
    classifier = make_classifier(tiny, "full", 3)
    network = timm.create_model("test_vit", num_classes=3, img_size=32)
    head = {f"head.{name}": tensor for name, tensor in classifier.head.get_submodule("output").state_dict().items()}
    network.load_state_dict({**tiny.vectors.network.state_dict(), **head})
    plain = {"layer_decay": 1, "warmup_epochs": 0, "schedule": "constant", "clip_grad": None}
    recipe = _recipe(lr=1e-3, epochs=5, rescale=False, **({"warmup_epochs": 3} if elaborate else plain))
    training = Training(classifier, ImagesInMemory(images), task, replace(resample, seed=5), recipe)
    found, update = [], training.stepper.update
    training.stepper.update = lambda *batch: found.append(update(*batch)) or found[-1]
    for _ in range(5):
        training.epoch(lambda: False)
    batch = (images.float() / 255 - 0.5) / 0.5
    expected = list(_plain_losses(network, batch, torch.from_numpy(task.y), resample.train, elaborate=elaborate))
    assert len(found) == 20
    assert np.allclose(found, expected, atol=1e-5, rtol=0)
    assert expected[-1] < expected[0] - 0.1


def _plain_losses(network, images, labels, train_rows, *, elaborate) -> Iterator[float]:
    decay = 0.75 if elaborate else None
    optimizer = timm.optim.create_optimizer_v2(network, "adamw", lr=1e-3, weight_decay=0.05, layer_decay=decay)
    if elaborate:
        scheduler = timm.scheduler.CosineLRScheduler(
            optimizer, t_initial=20, warmup_t=12, warmup_lr_init=1e-3 / 12, t_in_epochs=False
        )
    for epoch in range(5):
        order = np.random.default_rng([5, epoch]).permutation(train_rows)
        for number, rows in enumerate(np.split(order, [8, 16, 24]), 1):
            loss = torch.nn.functional.cross_entropy(network.train()(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            if elaborate:
                torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            if elaborate:
                scheduler.step_update(4 * epoch + number)
            yield loss.item()


_EVERYTHING = {
    "ema": 0.9,
    "mixup": 0.4,
    "cutmix": 0.4,
    "label_smoothing": 0.1,
    "class_weight": "balanced",
    "batch_size": 7,
}


def test_the_same_call_gives_the_same_bytes_and_leaves_the_callers_generators_alone() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first, _ = _trained(_recipe(**_EVERYTHING), dropout=0.3)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # noqa: NPY002
    torch.rand(7)
    second, _ = _trained(_recipe(**_EVERYTHING), dropout=0.3)
    assert facts(first) == facts(second)
    other, _ = _trained(_recipe(**_EVERYTHING), dropout=0.3, seed=1)
    assert other.test_proba.tobytes() != first.test_proba.tobytes()


def test_the_tested_network_is_that_of_the_best_epoch() -> None:
    trained, classifier = _trained(_recipe(epochs=12, lr=3e-2))
    images, task, resample = small_task()
    values = [curve["val_metric"] for curve in trained.curves]
    equal = [curve for curve in trained.curves if curve["val_metric"] == max(values)]
    assert trained.best_epoch == min(equal, key=lambda curve: curve["val_loss"])["epoch"]
    assert task.metric.value(task.scored(resample.val, trained.val_proba)) == max(values)
    with torch.no_grad():
        proba = classifier.eval()(images[resample.test]).double().softmax(1).numpy()
    assert np.allclose(proba, trained.test_proba, atol=1e-6)
    assert max(values) > 0.7


def test_the_best_epoch_may_be_that_of_the_lowest_loss() -> None:
    trained, _ = _trained(_recipe(epochs=12, lr=3e-2, select="loss"))
    losses = [curve["val_loss"] for curve in trained.curves]
    assert trained.best_epoch == 1 + losses.index(min(losses))


def test_training_ends_when_val_has_not_been_better_for_some_epochs() -> None:
    trained, _ = _trained(_recipe(epochs=60, lr=3e-2, patience=3, schedule="constant"))
    assert len(trained.curves) == trained.best_epoch + 3 < 60


def test_the_rate_rises_and_falls() -> None:
    trained, _ = _trained(_recipe(epochs=6, warmup_epochs=2, lr=1e-2))
    rates = [curve["lr"] for curve in trained.curves]
    assert np.argmax(rates) == 1
    assert rates[0] < rates[1] > rates[2] > rates[-1]
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def test_a_moving_average_is_timms() -> None:
    images, task, resample = small_task()
    recipe = _recipe(ema=0.8, epochs=1, warmup_epochs=0, lr=1e-2)
    training = Training(TinyClassifier(3), ImagesInMemory(images), task, resample, recipe)
    network = training.classifier
    ema = timm.utils.ModelEmaV3(network, decay=0.8, use_warmup=True)
    for step, rows in enumerate(batches(resample.train, 8), 1):
        training.stepper.update((images[rows],), torch.from_numpy(task.y[rows]))
        ema.update(network, step=step)
    expected = ema.module.state_dict()
    live = network.norm.weight.clone()
    with training.stepper.averaged():
        assert all(torch.equal(tensor, expected[name]) for name, tensor in network.state_dict().items())
        assert not torch.equal(network.norm.weight, live)
    assert torch.equal(network.norm.weight, live)


def test_mixed_images_have_mixed_labels_and_the_loss_of_timm() -> None:
    images, task, resample = small_task()
    recipe = _recipe(mixup=0.5, label_smoothing=0.1)
    training = Training(TinyClassifier(3), ImagesInMemory(images), task, resample, recipe)
    rows = resample.train[:8]
    y = torch.from_numpy(task.y[rows])
    np.random.seed(3)  # noqa: NPY002
    mixed, targets = timm.data.Mixup(0.5, label_smoothing=0.1, num_classes=3)(images[rows].float(), y)
    expected = timm.loss.SoftTargetCrossEntropy()(TinyClassifier(3).train()(mixed), targets)
    np.random.seed(3)  # noqa: NPY002
    training.classifier.train()
    assert training.stepper.update((images[rows],), y) == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("fits", [1, 3, 5])
def test_a_batch_that_does_not_fit_is_computed_in_parts(monkeypatch, fits) -> None:
    whole, _ = _trained(_recipe(lr=1e-2), batch_norm=False)
    forward = TinyClassifier.forward

    def with_little_memory(self, images):
        if len(images) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, images)

    monkeypatch.setattr(TinyClassifier, "forward", with_little_memory)
    if fits == 1:
        with pytest.raises(TrainingError, match="the memory of cpu is too small for this training, even two images"):
            _trained(_recipe(lr=1e-2), batch_norm=False)
        return
    parts, _ = _trained(_recipe(lr=1e-2), batch_norm=False)
    assert np.allclose(parts.test_proba, whole.test_proba, atol=1e-3)
    for one, other in zip(whole.curves, parts.curves, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], abs=1e-3)
    assert parts.notes == [
        f"batches were computed in parts of {2 if fits == 3 else 4} images: there is no memory for more"
    ]
    assert not whole.notes


class _SpoiltImages(ImagesInMemory):
    """Whose second batch holds a number that is none, in the training of one epoch."""

    def __init__(self, images: torch.Tensor, epoch: int) -> None:
        super().__init__(images)
        self.spoilt = epoch

    def view_of(self, epoch: int) -> int:
        return epoch

    def batches(self, batches, view):
        for number, (images,) in enumerate(super().batches(batches, view)):
            yield (images * torch.nan if (view, number) == (self.spoilt, 1) else images,)


def test_a_loss_that_is_not_finite_ends_training_with_the_best_epoch_before() -> None:
    images, task, resample = small_task()
    expected, _ = _trained(_recipe(epochs=12, schedule="constant"))
    seen = []
    found = train(
        TinyClassifier(3),
        _SpoiltImages(images, 3),
        task,
        resample,
        _recipe(epochs=12, schedule="constant"),
        seed=0,
        on_epoch=seen.append,
    )
    assert found.notes == ["training ended where the loss is nan at step 2 of epoch 4"]
    assert found.curves == seen
    assert len(seen) == 3
    for ours, its in zip(seen, expected.curves, strict=False):
        assert ours["val_loss"] == its["val_loss"]
    assert np.isfinite(found.test_proba).all()


def test_a_loss_that_is_never_finite_is_an_error() -> None:
    images, task, resample = small_task()
    with pytest.raises(
        TrainingError, match=r"the loss is nan at step 2 of epoch 1, and no epoch .* lower learning rate"
    ):
        train(TinyClassifier(3), _SpoiltImages(images, 0), task, resample, _recipe())


def test_rows_are_batched_so_that_no_batch_has_one() -> None:
    assert [len(part) for part in batches(np.arange(17), 8)] == [8, 9]
    assert [len(part) for part in batches(np.arange(18), 8)] == [8, 8, 2]
    assert [len(part) for part in batches(np.arange(3), 8)] == [3]
    assert [len(part) for part in batches(np.arange(1), 8)] == [1]
