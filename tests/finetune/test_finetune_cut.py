"""A network in two halves gives what the whole network gives, of every kind, values and gradients."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import timm
import torch
import transformers as hf
from medprobe.cache import TransformSpec
from medprobe.extract import load_backbone
from medprobe.extract.adapters import ADAPTERS, Wanted
from medprobe.extract.adapters.from_seem import SeemFocalNet
from medprobe.extract.pooling import available, read_pooling
from medprobe.extract.runtimes import Vectors
from medprobe.finetune.network.classifier import Classifier, Head, make_classifier
from medprobe.finetune.network.cut import Cut
from medprobe.finetune.network.modes import Mode
from open_clip import model as towers
from torch import nn

# BLIP's and SAM's own range is 1e-10: all images would have the same logits.
_FOUR: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "initializer_range": 0.02}
_VIT: dict[str, Any] = {**_FOUR, "image_size": 28, "patch_size": 14, "intermediate_size": 64}
_STAGES: dict[str, Any] = {"embed_dim": 16, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 2, 2), "window_size": 2}


def _timm(name: str, **options: Any) -> nn.Module:
    return timm.create_model(name, num_classes=0, **options)


def _open_clip(**config: Any) -> nn.Module:
    config = {"output_tokens": False, "image_size": 64, **config}
    return towers._build_vision_tower(16, config, False)  # pyright: ignore[reportArgumentType]


NETWORKS: dict[str, tuple[str, int, Callable[[], nn.Module]]] = {
    "timm ViT": ("timm", 32, lambda: _timm("test_vit", img_size=32)),
    "timm ResNet": ("timm", 64, lambda: _timm("test_resnet")),
    "timm EfficientNet": ("timm", 64, lambda: _timm("test_efficientnet")),
    "timm DenseNet": ("timm", 64, lambda: _timm("densenet121", block_config=(1, 1, 2, 2))),
    "timm ConvNeXt": ("timm", 64, lambda: _timm("test_convnext")),
    "timm Swin": ("timm", 64, lambda: _timm("swin_tiny_patch4_window7_224", img_size=64, **_STAGES)),
    "timm SAM": (
        "timm",
        64,
        lambda: _timm(
            "samvit_base_patch16",
            img_size=64,
            embed_dim=32,
            depth=4,
            num_heads=2,
            window_size=2,
            global_attn_indexes=(1, 3),
        ),
    ),
    "timm EVA with rotary positions": ("timm", 28, lambda: _timm("eva02_tiny_patch14_224", img_size=28, depth=4)),
    "DINOv2": ("hf", 28, lambda: hf.Dinov2Model(hf.Dinov2Config(**_VIT))),
    "ViT": ("hf", 28, lambda: hf.ViTModel(hf.ViTConfig(**_VIT))),
    "CLIP": ("hf", 28, lambda: hf.CLIPVisionModel(hf.CLIPVisionConfig(**_VIT))),
    "BLIP": ("hf", 28, lambda: hf.BlipVisionModel(hf.BlipVisionConfig(**_VIT))),
    "Swin": ("hf", 64, lambda: hf.SwinModel(hf.SwinConfig(image_size=64, **{**_STAGES, "depths": [1, 1, 2, 1]}))),
    "ConvNeXt": (
        "hf",
        64,
        lambda: hf.ConvNextModel(hf.ConvNextConfig(hidden_sizes=[16, 16, 32, 32], depths=[1, 1, 2, 1])),
    ),
    "SAM": (
        "hf",
        64,
        lambda: (
            hf.SamVisionModel(
                hf.SamVisionConfig(
                    **_FOUR, image_size=64, window_size=2, global_attn_indexes=[1, 3], mlp_dim=64, output_channels=16
                )
            ).vision_encoder
        ),
    ),
    "OpenCLIP ViT": ("open_clip", 64, lambda: _open_clip(layers=4, width=32, head_width=16, patch_size=16)),
    "OpenCLIP ResNet": ("open_clip", 64, lambda: _open_clip(layers=[1, 1, 2, 1], width=16, head_width=16)),
    "OpenCLIP through timm": (
        "open_clip",
        64,
        lambda: _open_clip(timm_model_name="test_vit", timm_model_pretrained=False, timm_pool="", timm_proj="linear"),
    ),
    "SEEM FocalNet": ("seem", 64, lambda: SeemFocalNet(16, (1, 1, 2, 1), 2, depthwise=True)),
}


def _classifier(source: str, size: int, make: Callable[[], nn.Module], trained_share: float) -> Classifier:
    """A classifier that trains the last `trained_share` of the parameters, wherever in a block they begin."""
    torch.manual_seed(0)
    network, adapter = make().eval(), ADAPTERS[source]
    for parameter in network.parameters():
        if parameter.numel() and not parameter.detach().any():
            nn.init.normal_(parameter, std=0.1)
    transform = TransformSpec(
        size=(size, size),
        resize="squash",
        resize_to=(size, size),
        interpolation="bicubic",
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
    )
    there = available(adapter.features(network, torch.zeros(1, 3, size, size), Wanted()))
    recipes = {there[0]: read_pooling("", there[0], there, adapter.inside(network))}
    vectors = Vectors(network, adapter, transform, recipes, torch.device("cpu"))
    names = [name for name, _ in network.named_parameters()]
    width = vectors(torch.zeros(1, 3, size, size, dtype=torch.uint8))[0].shape[1]
    trained = set(names[len(names) - int(len(names) * trained_share) :])
    return Classifier(vectors, Head(width, 3, dropout=0.5), Mode.parse("full"), trained)


def _images(classifier: Classifier, count: int) -> torch.Tensor:
    generator = np.random.default_rng(7)
    return torch.from_numpy(generator.integers(0, 256, (count, *classifier.vectors.shape), dtype=np.uint8))


_QUICK = (
    "timm ViT",
    "timm ResNet",
    "timm Swin",
    "SAM",
    "BLIP",
    "OpenCLIP ViT",
    "SEEM FocalNet",
)


@pytest.mark.parametrize(
    "kind", [pytest.param(one, marks=() if one in _QUICK else pytest.mark.slow) for one in NETWORKS]
)
def test_both_halves_together_are_the_network_in_values_and_gradients(kind: str) -> None:
    classifier = _classifier(*NETWORKS[kind], 0.4)
    cut = Cut.of(classifier)
    assert cut is not None
    assert cut.name.startswith("vectors.network.")
    assert 0.2 < cut.frozen_share < 1
    images = _images(classifier, 5)
    classifier.eval()
    kept = cut.prefix(images)
    assert all(len(one) == 5 and not one.requires_grad for one in kept)
    torch.testing.assert_close(cut.suffix(kept), classifier(images), rtol=1e-5, atol=1e-5)
    order = torch.tensor([3, 0, 4])
    torch.testing.assert_close(
        cut.suffix([one[order] for one in kept]), classifier(images[order]), rtol=1e-4, atol=1e-5
    )

    def trained_step(logits: Callable[[], torch.Tensor]) -> dict[str, torch.Tensor | None]:
        torch.manual_seed(3)  # of the dropout before the head
        classifier.zero_grad()
        logits().square().sum().backward()
        return {name: parameter.grad for name, parameter in classifier.named_parameters()}

    classifier.train()
    torch.testing.assert_close(
        trained_step(lambda: cut.suffix(kept)), trained_step(lambda: classifier(images)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("linear", "head"),
        ("mlp:16", "head"),
        ("tokens-deit@timm:test_vit@random", "head"),
        ("partial:1", "vectors.network.blocks.5"),
        ("drop-last:2+partial:1", "vectors.network.blocks.3"),
        ("bitfit", None),
        ("full", None),
    ],
)
def test_the_cut_is_where_the_mode_begins_to_train(tiny, mode: str, name: str | None) -> None:
    cut = Cut.of(make_classifier(tiny, mode, 2))
    assert (cut and cut.name) == name


def test_a_vector_from_before_the_cut_keeps_the_network_whole() -> None:
    backbone = load_backbone(
        "timm:test_vit@random", poolings=["cls@2+cls"], image_size=32, precision="fp32", runtime="torch", device="cpu"
    )
    assert Cut.of(make_classifier(backbone, "partial:1", 2)) is None


def test_a_frozen_part_that_is_random_in_training_is_not_before_the_cut() -> None:
    # Its rotary positions are drawn again for each training step, and go into all blocks, the frozen ones too.
    config = hf.DINOv3ViTConfig(**{**_VIT, "pos_embed_rescale": 2.0})
    cut = Cut.of(_classifier("hf", 28, lambda: hf.DINOv3ViTModel(config), 0.4))
    assert cut is None or cut.name == "vectors.network.model"


@pytest.mark.parametrize(
    ("error", "is_raised"),
    [
        (RuntimeError("shapes cannot be multiplied"), False),
        (RuntimeError("CUDA out of memory"), True),
        (MemoryError(), True),
        (AttributeError("no such name"), True),
    ],
)
def test_a_fault_is_not_taken_for_a_network_without_a_cut(tiny, monkeypatch, error, is_raised) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Cut, "suffix", fail)
    classifier = make_classifier(tiny, "partial:1", 2)
    with pytest.raises(type(error)) if is_raised else nullcontext():
        assert Cut.of(classifier) is None


def test_the_search_for_a_cut_leaves_no_trace(tiny) -> None:
    classifier = make_classifier(tiny, "partial:2", 2)
    state = {name: value.clone() for name, value in classifier.state_dict().items()}
    before = torch.get_rng_state()
    Cut.of(classifier)
    assert torch.equal(torch.get_rng_state(), before)
    assert classifier.training
    torch.testing.assert_close(dict(classifier.state_dict()), state, rtol=0, atol=0)
    assert not any("forward" in vars(module) for module in classifier.modules())
    assert all(parameter.grad is None for parameter in classifier.parameters())
