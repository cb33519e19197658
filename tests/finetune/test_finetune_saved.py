"""Kept networks: the same logits when loaded, and backbones like any other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from medprobe.base import WeightsError
from medprobe.extract import catalogue, load_backbone, preprocessing_of, resolve
from medprobe.finetune import load_classifier
from medprobe.finetune.network.classifier import Classifier, make_classifier
from medprobe.finetune.network.heads import Rescaling
from medprobe.finetune.network.saved import save_weights

_NO_IMAGES = np.empty((0, 16), np.uint8)
_CASES = [
    ("tiny-vit", "full", 64),
    ("tiny-cnn", "partial:2", 96),
    ("tiny-swin", "lora:2", 64),
    ("tiny-sam", "full", 64),
    ("tiny-sam-hf", "bitfit", 64),
    ("tiny-clip", "lora:2", 64),
    ("tiny-blip", "full", 64),
    ("tiny-vit", "tokens-deit:unfrozen@tiny-vit@random", 32),
]
"""Networks at sizes that most were not made for, so that their positions are resampled ones."""


def _trained(classifier: Classifier) -> Classifier:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in classifier.parameters():
            if value.requires_grad:
                value.add_(torch.randn(value.shape, generator=generator) * 0.05)
        for module in classifier.head.modules():
            if isinstance(module, Rescaling):
                module.fit(torch.randn(50, len(module.mean), generator=generator) * 2 + 1)
    return classifier.eval()


@pytest.mark.parametrize(
    ("name", "mode", "size"),
    [
        pytest.param(*one, marks=() if one[0] in ("tiny-vit", "tiny-swin", "tiny-clip") else pytest.mark.slow)
        for one in _CASES
    ],
)
def test_a_kept_network_is_a_classifier_and_a_backbone(tiny_backbone, images_for, tmp_path, name, mode, size) -> None:
    backbone = tiny_backbone(name, image_size=size)
    images = images_for(backbone)
    classifier = _trained(make_classifier(backbone, mode, 3))
    save_weights(classifier, tmp_path / "kept", {"classes": ["a", "b", "c"]}, _NO_IMAGES)
    loaded = load_classifier(tmp_path / "kept")
    assert loaded.mode == classifier.mode or "tokens" in mode
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), classifier(images), atol=2e-6, rtol=1e-5)
        expected = classifier.vectors(images)[0]
    again = load_backbone(
        f"{name}@{tmp_path}/kept/weights.safetensors", device="cpu", runtime="torch", precision="fp32"
    )
    assert again.transform == backbone.transform
    assert again.spec.poolings == backbone.spec.poolings
    assert again.spec.weights_digest != backbone.spec.weights_digest
    assert preprocessing_of(resolve(f"{name}@{tmp_path}/kept"))[0] == backbone.transform
    if "tokens" not in mode:
        vectors = torch.from_numpy(again.embed(images)[again.spec.poolings[0]])
        torch.testing.assert_close(vectors, expected, atol=5e-6, rtol=1e-5)


def test_a_kept_network_can_take_another_size_again(tiny_backbone, tmp_path: Path) -> None:
    classifier = make_classifier(tiny_backbone("tiny-blip", image_size=64), "full", 3)
    save_weights(classifier, tmp_path / "kept", {}, _NO_IMAGES)
    other = load_backbone(f"tiny-blip@{tmp_path}/kept", device="cpu", runtime="torch", image_size=32)
    assert (other.transform.size, other.spec.positions) == ((32, 32), "bicubic")
    assert other.network.embeddings.position_embedding.shape == (1, 17, 48)


def test_a_network_without_its_last_blocks_is_a_classifier_and_no_backbone(tiny_backbone, images_for, tmp_path) -> None:
    backbone = tiny_backbone("tiny-swin")
    classifier = _trained(make_classifier(backbone, "drop-last:1+full", 3))
    save_weights(classifier, tmp_path / "kept", {}, _NO_IMAGES)
    with torch.no_grad():
        assert torch.equal(load_classifier(tmp_path / "kept")(images_for(backbone)), classifier(images_for(backbone)))
    with pytest.raises(WeightsError, match=r"without its last blocks \(drop-last:1\+full\).*load_classifier"):
        load_backbone(f"tiny-swin@{tmp_path}/kept", device="cpu")


def test_a_kept_network_needs_no_catalogue_and_no_hub(tiny_backbone, images_for, tmp_path, monkeypatch) -> None:
    backbone = tiny_backbone("tiny-blip")
    classifier = _trained(make_classifier(backbone, "full", 3))
    save_weights(classifier, tmp_path / "kept", {}, _NO_IMAGES)
    monkeypatch.delitem(catalogue(), "tiny-blip")
    with torch.no_grad():
        assert torch.equal(load_classifier(tmp_path / "kept")(images_for(backbone)), classifier(images_for(backbone)))
    again = load_backbone(f"hf:blip@{tmp_path}/kept", device="cpu", runtime="torch", precision="fp32")
    assert again.dims == {"cls": 48}
    monkeypatch.undo()


def test_what_lies_beside_the_weights_is_checked(tiny_backbone, tmp_path: Path) -> None:
    save_weights(make_classifier(tiny_backbone("tiny-resnet"), "full", 3), tmp_path / "kept", {"seed": 1}, _NO_IMAGES)
    text = (tmp_path / "kept" / "network.json").read_text()
    assert str(tmp_path) not in text
    assert json.loads(text)["about"] == {"seed": 1}
    with pytest.raises(
        WeightsError, match=r"tuned from tiny-resnet@random, and not of timm:vit_tiny.*tiny-resnet@FILE"
    ):
        load_backbone(f"tiny-vit@{tmp_path}/kept", device="cpu")
    fields = json.loads(text)
    for broken in (text[:50], "[]", json.dumps({**fields, "schema": 99}), json.dumps({"schema": 1})):
        (tmp_path / "kept" / "network.json").write_text(broken)
        with pytest.raises(WeightsError, match=r"network\.json"):
            load_classifier(tmp_path / "kept")
