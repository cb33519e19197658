"""Losses and probabilities against torch, SciPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from medprobe.base.errors import FinetuneError
from medprobe.finetune.training.losses import make_loss
from medprobe.finetune.training.recipe import Recipe
from scipy.special import expit, softmax
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

_RNG = np.random.default_rng(0)
_Y = _RNG.permutation(np.repeat(np.arange(4), [30, 5, 12, 9]))
_LABELS = (_RNG.random((40, 3)) < (0.2, 0.5, 0.9)).astype(np.int8)


def _recipe(**settings) -> Recipe:
    return Recipe.named("default").changed(**settings)


def _logits(rows: int, outputs: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(rows).normal(0, 2, (rows, outputs)).astype(np.float32))


@pytest.mark.parametrize("weight", [None, "balanced"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs(weight, smoothing) -> None:
    loss = make_loss(_recipe(class_weight=weight, label_smoothing=smoothing), "multiclass", _Y)
    expected = nn.CrossEntropyLoss(
        None if weight is None else torch.tensor(compute_class_weight("balanced", classes=np.arange(4), y=_Y)).float(),
        label_smoothing=smoothing,
    )
    logits, y = _logits(len(_Y), loss.outputs), torch.from_numpy(_Y)
    assert torch.allclose(loss.mean(logits, y), expected(logits, y), rtol=1e-6)
    assert np.allclose(loss.probabilities(logits.numpy()), softmax(logits.double().numpy(), axis=1), atol=1e-12)


@pytest.mark.parametrize("weight", [None, "balanced"])
def test_the_loss_of_several_labels_is_torchs(weight) -> None:
    loss = make_loss(_recipe(class_weight=weight), "multilabel", _LABELS)
    share = _LABELS.mean(axis=0)
    expected = nn.BCEWithLogitsLoss(pos_weight=None if weight is None else torch.tensor((1 - share) / share).float())
    logits, y = _logits(40, 3), torch.from_numpy(_LABELS.astype(np.int64))
    assert torch.allclose(loss.mean(logits, y), expected(logits, y.float()), rtol=1e-6)
    assert np.allclose(loss.probabilities(logits.numpy()), expit(logits.double().numpy()), atol=1e-12)


def test_a_label_that_never_changes_in_train_is_predicted_as_it_is() -> None:
    y = np.c_[_LABELS[:, :1], np.ones(40, np.int8), np.zeros(40, np.int8)]
    loss = make_loss(_recipe(class_weight="balanced"), "multilabel", y)
    logits = _logits(40, 3)
    assert torch.isfinite(loss.mean(logits, torch.from_numpy(y.astype(np.int64))))
    assert (loss.probabilities(logits.numpy())[:, 1:] == (1, 0)).all()


def test_corn_is_a_log_loss_on_the_images_that_each_output_learns_from() -> None:
    loss = make_loss(_recipe(loss="corn"), "ordinal", _Y)
    logits = _logits(len(_Y), loss.outputs)
    total, images = 0.0, 0
    for rank in range(3):
        learns = rank <= _Y
        proba = expit(logits[:, rank].double().numpy()[learns])
        total += log_loss(_Y[learns] > rank, proba, normalize=False)
        images += learns.sum()
    assert float(loss.mean(logits, torch.from_numpy(_Y))) == pytest.approx(total / images, rel=1e-6)


def test_probabilities_of_corn_are_products_of_conditional_ones() -> None:
    loss = make_loss(_recipe(loss="corn"), "ordinal", _Y)
    above = expit(np.array([[2.0, -1.0, 0.5]]))[0]
    expected = [1 - above[0], above[0] * (1 - above[1]), above[0] * above[1] * (1 - above[2]), above.prod()]
    assert np.allclose(loss.probabilities(np.array([[2.0, -1.0, 0.5]]))[0], expected, atol=1e-15)


@pytest.mark.parametrize("name", ["cross-entropy", "corn"])
def test_probabilities_of_extreme_outputs_sum_to_one(name) -> None:
    loss = make_loss(_recipe(loss=name), "ordinal", _Y)
    logits = np.sort(np.random.default_rng(1).normal(0, 300, (50, max(loss.outputs, 3))))[:, ::-1]
    proba = loss.probabilities(logits)
    assert (proba >= 0).all()
    assert np.allclose(proba.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize(
    ("task", "settings", "message"),
    [
        ("binary", {"loss": "corn"}, "loss=corn is not for binary tasks; there are cross-entropy"),
        ("multilabel", {"loss": "cross-entropy"}, "loss=cross-entropy is not for multilabel tasks; there are bce"),
        ("ordinal", {"loss": "corn", "label_smoothing": 0.1}, "loss=corn has no label smoothing"),
    ],
)
def test_a_loss_that_does_not_fit_the_task_is_refused(task, settings, message) -> None:
    with pytest.raises(FinetuneError, match=message):
        make_loss(_recipe(**settings), task, _LABELS if task == "multilabel" else _Y)
