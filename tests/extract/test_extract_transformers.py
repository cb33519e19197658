"""Models of transformers from a folder or file on this disk give what transformers itself makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from medprobe.base import BackboneError, WeightsError
from medprobe.extract import load_backbone
from safetensors.torch import load_file, save_file

_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
_PROCESSOR = '{"size": {"height": 28, "width": 28}, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}'
_OPTIONS = {"precision": "fp32", "device": "cpu"}


def _saved(model, folder: Path) -> Path:
    torch.manual_seed(0)
    with torch.no_grad():
        for value in model.parameters():
            value.normal_(std=0.2)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(_PROCESSOR)
    return folder


def _images(count: int = 3, size: int = 28) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


def _normalised(images: np.ndarray) -> torch.Tensor:
    return (torch.from_numpy(images).float() / 255 - 0.5) / 0.5


@pytest.mark.parametrize(
    "model",
    [
        hf.Dinov2Model(hf.Dinov2Config(**_SMALL)),
        hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**_SMALL, num_register_tokens=4)),
        hf.ViTModel(hf.ViTConfig(**_SMALL, intermediate_size=64)),
        hf.CLIPVisionModel(hf.CLIPVisionConfig(**_SMALL, intermediate_size=64)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_saved_folder_gives_the_class_token_that_transformers_gives(model, tmp_path) -> None:
    folder = _saved(model, tmp_path / "model")
    backbone = load_backbone(f"hf:some/model@{folder}", poolings=["cls", "mean"], **_OPTIONS)
    made = backbone.embed(_images())
    with torch.inference_mode():
        tokens = model.eval()(_normalised(_images())).last_hidden_state
    np.testing.assert_allclose(made["cls"], tokens[:, 0].numpy(), rtol=1e-4, atol=1e-4)
    prefix = 1 + (getattr(model.config, "num_register_tokens", 0) or 0)
    np.testing.assert_allclose(made["mean"], tokens[:, prefix:].mean(1).numpy(), rtol=1e-4, atol=1e-4)


def test_a_pytorch_file_of_older_names_is_read_as_the_folder_is(tmp_path) -> None:
    folder = _saved(hf.Dinov2Model(hf.Dinov2Config(**_SMALL)), tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    assert any("attention.attention.query" in name for name in tensors), "the published names are the older ones"
    whole = load_backbone("hf:some/model", weights=folder, **_OPTIONS)
    (tmp_path / "old").mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / "old" / name).write_bytes((folder / name).read_bytes())
    torch.save(tensors, tmp_path / "old" / "pytorch_model.bin")
    for place in (tmp_path / "old", tmp_path / "old" / "pytorch_model.bin"):
        assert (
            load_backbone("hf:some/model", weights=place, **_OPTIONS).spec.weights_digest == whole.spec.weights_digest
        )


def test_a_pooler_that_was_never_trained_is_left_out_and_the_fingerprint_stays(tmp_path) -> None:
    folder = _saved(hf.ViTForImageClassification(hf.ViTConfig(**_SMALL, intermediate_size=64)), tmp_path / "model")
    first, second = (load_backbone("hf:some/model", weights=folder, **_OPTIONS) for _ in range(2))
    assert first.spec.fingerprint == second.spec.fingerprint
    with pytest.raises(BackboneError, match='no pooling "pooled"'):
        load_backbone("hf:some/model", weights=folder, poolings=["pooled"], **_OPTIONS)


def test_a_network_without_a_class_token_has_no_cls(tmp_path) -> None:
    model = hf.SiglipVisionModel(hf.SiglipVisionConfig(**_SMALL, intermediate_size=64))
    folder = _saved(model, tmp_path / "model")
    with pytest.raises(BackboneError, match='no pooling "cls"'):
        load_backbone("hf:some/model", weights=folder, poolings=["cls"], **_OPTIONS)
    made = load_backbone("hf:some/model", weights=folder, poolings=["mean", "pooled"], **_OPTIONS).embed(_images())
    with torch.inference_mode():
        out = model.eval()(_normalised(_images()))
    np.testing.assert_allclose(made["mean"], out.last_hidden_state.mean(1).numpy(), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(made["pooled"], out.pooler_output.numpy(), rtol=1e-3, atol=1e-4)


def test_a_network_that_masks_at_random_is_refused(tmp_path) -> None:
    config = hf.ViTMAEConfig(**_SMALL | {"image_size": 56}, intermediate_size=64)
    folder = _saved(hf.ViTMAEModel(config), tmp_path / "model")
    (folder / "preprocessor_config.json").write_text(_PROCESSOR.replace("28", "56"))
    with pytest.raises(BackboneError, match="another vector each time"):
        load_backbone("hf:some/model", weights=folder, **_OPTIONS)


def test_a_folder_that_lacks_tensors_or_is_damaged_is_told(tmp_path) -> None:
    folder = _saved(hf.ViTModel(hf.ViTConfig(**_SMALL, intermediate_size=64)), tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if "layernorm" in name)
    save_file({k: v for k, v in tensors.items() if k != name}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match="lack 1 tensors"):
        load_backbone("hf:some/model", weights=folder, **_OPTIONS)
    (folder / "model.safetensors").write_bytes(b"\x00" * 50)
    with pytest.raises(WeightsError, match="no whole model"):
        load_backbone("hf:some/model", weights=folder, **_OPTIONS)
