"""A spec tells apart whatever gives other vectors, also what no tensor shows."""

from __future__ import annotations

import json

import numpy as np
import pytest
import timm
import torch
import transformers as hf
from medprobe.base import WeightsError
from medprobe.extract import load_backbone

_OPTIONS = {"precision": "fp32", "device": "cpu", "runtime": "torch"}
_PIXELS = np.random.default_rng(0).integers(0, 256, (2, 3, 28, 28), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """A small ViT of transformers with its config."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    hf.ViTModel(hf.ViTConfig(**sizes, intermediate_size=64)).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"size": {"height": 28, "width": 28}}')
    return tmp_path


def _changed(folder, **changes) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("change", [{"num_attention_heads": 4}, {"hidden_act": "relu"}, {"layer_norm_eps": 0.1}])
def test_another_config_of_the_same_weights_is_another_spec(folder, change) -> None:
    one = load_backbone("hf:some/vit", weights=folder, poolings=["cls"], **_OPTIONS)
    _changed(folder, **change)
    other = load_backbone("hf:some/vit", weights=folder, poolings=["cls"], **_OPTIONS)
    assert one.spec.weights_digest == other.spec.weights_digest
    assert not np.allclose(one.embed(_PIXELS)["cls"], other.embed(_PIXELS)["cls"], atol=1e-4)
    assert one.spec.fingerprint != other.spec.fingerprint


def test_what_a_config_says_without_effect_changes_no_spec(folder) -> None:
    one = load_backbone("hf:some/vit", weights=folder, **_OPTIONS)
    _changed(folder, transformers_version="4.0", architectures=["ViTForImageClassification"], _name_or_path="/home/me")
    assert load_backbone("hf:some/vit", weights=folder, **_OPTIONS).spec == one.spec


def test_weights_that_hold_nan_are_told_by_the_tensor(tmp_path) -> None:
    network = timm.create_model("test_vit", num_classes=0)
    network.norm.weight.data[3] = float("nan")
    torch.save(network.state_dict(), tmp_path / "own.pth")
    with pytest.raises(WeightsError, match=r"test_vit@own.pth: its weights hold NaN or infinity, in norm.weight;"):
        load_backbone("timm:test_vit", weights=tmp_path / "own.pth", **_OPTIONS)


def test_where_the_name_says_it_all_nothing_is_added() -> None:
    assert load_backbone("timm:test_vit@random", **_OPTIONS).spec.config_digest == ""
