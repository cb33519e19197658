"""Poolings from inside a network: which places there are, and that each gives what the library computes there."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
import transformers as hf
from medprobe.base import BackboneError
from medprobe.extract import load_backbone
from medprobe.extract.adapters import ADAPTERS, Inside, Wanted
from published_networks import noise_images, normalised
from torch import nn

_OPTIONS = {"precision": "fp32", "device": "cpu"}
_SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}


@pytest.mark.parametrize("model", ["test_vit", "test_vit2", "vit_tiny_patch16_dinov3_qkvb"])
def test_the_last_block_gives_what_the_network_ends_in(model) -> None:
    depth = ADAPTERS["timm"].inside(timm.create_model(model, num_classes=0)).blocks
    poolings = [f"mean@{depth}", "mean", "cls", f"cls@{depth}"]
    try:
        backbone = load_backbone(f"timm:{model}@random", poolings=poolings, **_OPTIONS)
    except BackboneError:
        poolings = poolings[:2]  # no class token
        backbone = load_backbone(f"timm:{model}@random", poolings=poolings, **_OPTIONS)
    made = backbone.embed(noise_images(backbone.transform.size[0]))
    for pooling in poolings[1:3]:
        np.testing.assert_allclose(made[f"{pooling}@{depth}"], made[pooling], rtol=1e-5, atol=1e-5)


def test_a_block_is_what_the_network_cut_off_after_it_ends_in() -> None:
    backbone = load_backbone("timm:test_vit@random", poolings=["cls@2", "mean@2", "patch0@2"], **_OPTIONS)
    images = noise_images(backbone.transform.size[0])
    made = backbone.embed(images)
    backbone.network.blocks = backbone.network.blocks[:2]
    with torch.inference_mode():
        tokens = backbone.network.forward_features(normalised(backbone, images))
    np.testing.assert_allclose(made["cls@2"], tokens[:, 0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(made["mean@2"], tokens[:, 1:].mean(1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(made["patch0@2"], tokens[:, 1], rtol=1e-4, atol=1e-5)


def test_terms_are_put_one_after_the_other_the_deepest_block_last() -> None:
    poolings = ["cls@last4+mean", "cls@3", "cls@4", "cls@5", "cls@6", "mean", "mean@last1"]
    backbone = load_backbone("timm:test_vit@random", poolings=poolings, **_OPTIONS)
    made = backbone.embed(noise_images(backbone.transform.size[0]))
    np.testing.assert_array_equal(made["cls@last4+mean"], np.concatenate([made[name] for name in poolings[1:6]], 1))
    np.testing.assert_allclose(made["mean@last1"], made["mean"], rtol=1e-5, atol=1e-5)
    assert backbone.dims["cls@last4+mean"] == 5 * backbone.dims["mean"]


def test_blocks_beyond_the_deepest_that_is_asked_are_not_computed() -> None:
    backbone = load_backbone("timm:test_vit@random", poolings=["cls@2"], **_OPTIONS)
    ran: list[int] = []
    for number, block in enumerate(backbone.network.blocks, start=1):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    backbone.embed(noise_images(backbone.transform.size[0]))
    assert ran == [1, 2]


@pytest.mark.parametrize(
    ("model", "size"),
    [("test_resnet", 64), ("test_convnext", 64), ("test_efficientnet", 64), ("vgg11", 32), ("densenet121", 64)],
)
def test_stages_are_maps_of_a_quarter_to_a_32nd_of_the_image(model, size) -> None:
    network = timm.create_model(model, num_classes=0).eval()
    adapter = ADAPTERS["timm"]
    there = adapter.inside(network)
    assert there.maps == ("stage1", "stage2", "stage3", "stage4")
    images = torch.randn(1, 3, size, size)
    with torch.inference_mode():
        made = adapter.features(network, images, Wanted(inside=frozenset(there.maps)))
        plain = adapter.features(network, images, Wanted())
    torch.testing.assert_close(made.patches, plain.patches)
    torch.testing.assert_close(made.pooled, plain.pooled)
    for stage, shrink in zip(there.maps, (4, 8, 16, 32), strict=True):
        assert made.inside[stage].patches.shape[1] == (size // shrink) ** 2


def test_the_last_stage_of_a_hierarchical_transformer_ends_in_its_norm() -> None:
    poolings = ["mean", "stage4", "stage2"]
    backbone = load_backbone("timm:swin_tiny_patch4_window7_224@random", poolings=poolings, **_OPTIONS)
    made = backbone.embed(noise_images(224, 1))
    np.testing.assert_allclose(made["stage4"], made["mean"], rtol=1e-4, atol=1e-5)
    assert backbone.dims["stage2"] == 192


def _saved(model: nn.Module, folder, size: int):
    torch.manual_seed(0)
    for value in model.parameters():
        nn.init.normal_(value, std=0.2)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(f'{{"size": {{"height": {size}, "width": {size}}}}}')
    return model.eval()


@pytest.mark.parametrize(
    "model",
    [
        hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**_SMALL, num_register_tokens=4)),
        hf.ViTModel(hf.ViTConfig(**_SMALL, intermediate_size=64)),
        hf.CLIPVisionModel(hf.CLIPVisionConfig(**_SMALL, intermediate_size=64)),
        hf.SiglipVisionModel(hf.SiglipVisionConfig(**_SMALL, intermediate_size=64)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_blocks_of_transformers_are_hidden_states_under_the_last_norm(model, tmp_path) -> None:
    model = _saved(model, tmp_path, 28)
    classes = not isinstance(model, hf.SiglipVisionModel)
    poolings = ["mean", "mean@3", "mean@2", *(["patch0@2"] if classes else [])]
    backbone = load_backbone(f"hf:some/model@{tmp_path}", poolings=poolings, **_OPTIONS)
    made = backbone.embed(noise_images(28))
    if classes:
        with torch.inference_mode():
            out = model(normalised(backbone, noise_images(28)), output_hidden_states=True)
            # CLIP's last norm is for its class token alone.
            norm = nn.Identity() if isinstance(model, hf.CLIPVisionModel) else model.layernorm
            expected = norm(out.hidden_states[2])[:, 1 + getattr(model.config, "num_register_tokens", 0)]
        np.testing.assert_allclose(made["patch0@2"], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(made["mean@3"], made["mean"], rtol=1e-5, atol=1e-5)
    assert not np.allclose(made["mean@2"], made["mean"], atol=1e-3)


def test_stages_of_transformers_are_maps(tmp_path) -> None:
    _saved(
        hf.ResNetModel(hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1] * 4)), tmp_path, 64
    )
    backbone = load_backbone(f"hf:some/model@{tmp_path}", poolings=["stage4", "mean", "stage2"], **_OPTIONS)
    made = backbone.embed(noise_images(64))
    np.testing.assert_allclose(made["stage4"], made["mean"], rtol=1e-5)
    assert backbone.dims == {"stage4": 32, "mean": 32, "stage2": 16}


@pytest.mark.parametrize(
    "pooling", ["cls@7", "patch0@7", "proj@2", "cls@0", "mean@last7", "pooled@2", "cls@", "stage2", "cls+", "cls@1..3"]
)
def test_a_place_that_there_is_not_is_answered_with_those_there_are(pooling) -> None:
    told = r"It has cls, mean, cls\+mean, patch0, pooled, cls@K \(block K, 1 to 6\), mean@K"
    with pytest.raises(BackboneError, match=told):
        load_backbone("timm:test_vit@random", poolings=[pooling], **_OPTIONS)


def test_a_stage_that_there_is_not_is_answered_with_those_there_are() -> None:
    with pytest.raises(BackboneError, match=r'no pooling "stage5".*stage1, stage2, stage3, stage4'):
        load_backbone("timm:test_resnet@random", poolings=["stage5"], **_OPTIONS)


def test_a_library_whose_last_block_is_not_the_end_is_not_believed(monkeypatch) -> None:
    """A wrong count of the adapter's: one block too few."""
    adapter = ADAPTERS["timm"]
    monkeypatch.setattr(type(adapter), "inside", lambda self, network: Inside(blocks=len(network.blocks) - 1))
    with pytest.raises(BackboneError, match="last block of this network"):
        load_backbone("timm:test_vit@random", poolings=["cls@2"], **_OPTIONS)
