"""Models of transformers from a folder or file on this disk give what transformers itself makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from medprobe.base import BackboneError, WeightsError
from medprobe.extract import load_backbone, resolve
from medprobe.extract.adapters.from_timm import TimmAdapter
from medprobe.extract.adapters.interface import Wanted
from safetensors.torch import load_file, save_file

_SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
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


def test_a_network_that_is_random_is_refused(monkeypatch) -> None:
    features = TimmAdapter.features

    def masked(self, network, images, wanted):
        return features(self, network, torch.where(torch.rand(images.shape) < 0.5, images, 1.0), wanted)

    monkeypatch.setattr(TimmAdapter, "features", masked)
    with pytest.raises(BackboneError, match="another vector of the same image"):
        load_backbone("timm:test_vit@random", **_OPTIONS)


def test_a_folder_that_lacks_tensors_or_is_damaged_is_told(tmp_path) -> None:
    folder = _saved(hf.ViTModel(hf.ViTConfig(**_SMALL, intermediate_size=64)), tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if "layernorm" in name)
    save_file({k: v for k, v in tensors.items() if k != name}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match="1 missing: "):
        load_backbone("hf:some/model", weights=folder, **_OPTIONS)
    (folder / "model.safetensors").write_bytes(b"\x00" * 50)
    with pytest.raises(WeightsError, match="no whole model"):
        load_backbone("hf:some/model", weights=folder, **_OPTIONS)


_VIT: dict[str, Any] = _SMALL | {"intermediate_size": 64}
_TEXT: dict[str, Any] = {k: _VIT[k] for k in ("hidden_size", "num_attention_heads", "intermediate_size")} | {
    "vocab_size": 50
}


def _with_config(folder: Path, **changed) -> Path:
    """The folder, with a config.json that says something else than what its weights were made by."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changed))
    return folder


def _deeper(**own) -> dict:
    return _VIT | {"num_hidden_layers": 4} | own


@pytest.mark.parametrize("as_one_file", [False, True])
@pytest.mark.parametrize("model", [hf.ViTModel, hf.ViTForImageClassification])
def test_weights_deeper_than_their_config_are_refused(model, as_one_file, tmp_path) -> None:
    folder = _with_config(_saved(model(hf.ViTConfig(**_deeper())), tmp_path / "model"), num_hidden_layers=2)
    place = folder / "model.safetensors" if as_one_file else folder
    with pytest.raises(WeightsError, match=r"not part of the model: .*layers?\.2\..*config\.json"):
        load_backbone("hf:some/model", weights=place, **_OPTIONS)


def test_an_image_tower_deeper_than_its_config_is_refused_and_the_text_tower_is_nobodys_concern(tmp_path) -> None:
    config = hf.CLIPConfig(vision_config=_deeper(), text_config=_TEXT | {"num_hidden_layers": 3})
    folder = _saved(hf.CLIPModel(config), tmp_path / "model")
    whole = load_backbone("hf:some/model", weights=folder, **_OPTIONS).embed(_images())
    told = json.loads((folder / "config.json").read_text())
    _with_config(folder, text_config=told["text_config"] | {"num_hidden_layers": 1})
    again = load_backbone("hf:some/model", weights=folder, **_OPTIONS).embed(_images())
    np.testing.assert_array_equal(again["cls"], whole["cls"])
    _with_config(folder, vision_config=told["vision_config"] | {"num_hidden_layers": 2})
    with pytest.raises(WeightsError, match=r"not part of the model: .*vision_model\.encoder\.layers\.2\."):
        load_backbone("hf:some/model", weights=folder, **_OPTIONS)


def test_an_image_tower_takes_its_part_of_a_file_of_both_towers(tmp_path) -> None:
    config = hf.CLIPConfig(vision_config=_VIT, text_config=_TEXT | {"num_hidden_layers": 1})
    folder = _saved(hf.CLIPModel(config), tmp_path / "model")
    whole = load_backbone("hf:some/model", weights=folder, **_OPTIONS).embed(_images())
    (folder / "config.json").write_text(json.dumps(hf.CLIPVisionConfig(**_VIT).to_dict()))
    tower = load_backbone("hf:some/model", weights=folder, **_OPTIONS).embed(_images())
    np.testing.assert_array_equal(tower["cls"], whole["cls"])


def test_a_tensor_that_has_no_place_is_refused_and_what_networks_compute_is_not(tmp_path) -> None:
    folder = _saved(hf.ViTModel(hf.ViTConfig(**_VIT)), tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    whole = load_backbone("hf:some/model", weights=folder, **_OPTIONS).spec.weights_digest
    computed = {"embeddings.position_ids": torch.arange(5), "embeddings.mask_token": torch.zeros(1, 1, 32)}
    save_file(tensors | computed, folder / "model.safetensors", {"format": "pt"})
    assert load_backbone("hf:some/model", weights=folder, **_OPTIONS).spec.weights_digest == whole
    for name in ("adapter.down.weight", "embeddings.register_tokens"):
        save_file(tensors | {name: torch.zeros(2, 32)}, folder / "model.safetensors", {"format": "pt"})
        with pytest.raises(WeightsError, match=f"1 not part of the model: .*{name}"):
            load_backbone("hf:some/model", weights=folder, **_OPTIONS)


@pytest.mark.parametrize("as_one_file", [False, True])
def test_weights_wider_than_their_config_are_refused_with_both_shapes(as_one_file, tmp_path) -> None:
    folder = _with_config(_saved(hf.ViTModel(hf.ViTConfig(**_VIT)), tmp_path / "model"), intermediate_size=48)
    place = folder / "model.safetensors" if as_one_file else folder
    with pytest.raises(WeightsError, match=r"6 of another shape: .*\(64,\) instead of \(48,\)"):
        load_backbone("hf:some/model", weights=place, **_OPTIONS)


def test_a_folder_in_its_authors_names_is_told_by_its_layout(tmp_path) -> None:
    folder = _saved(hf.ViTModel(hf.ViTConfig(**_VIT)), tmp_path / "model")
    names = ("mask_token", "pos_embed", "blocks.0.ls1.gamma")
    save_file({name: torch.zeros(2, 32) for name in names}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match="look like DINOv2 as Meta published it"):
        load_backbone("hf:some/model", weights=folder, **_OPTIONS)


_SAM: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64, "patch_size": 16,
    "window_size": 2, "global_attn_indexes": [1], "output_channels": 16, "mlp_dim": 64,
}  # fmt: skip


@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize("whole", [True, False])
def test_segment_anything_gives_what_timm_gives(whole, size, tmp_path) -> None:
    from timm.models.vision_transformer_sam import VisionTransformerSAM

    model = hf.SamModel(hf.SamConfig(vision_config=_SAM)) if whole else hf.SamVisionModel(hf.SamVisionConfig(**_SAM))
    folder = _saved(model, tmp_path / "model")
    processor = hf.SamImageProcessor(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    (folder / "preprocessor_config.json").write_text(json.dumps(processor.to_dict(), default=int))
    poolings = ["mean", "mean@1", "neck"]
    made = load_backbone(f"hf:some/sam@{folder}", poolings=poolings, image_size=size, **_OPTIONS)
    timms = VisionTransformerSAM(
        img_size=64, patch_size=16, embed_dim=32, depth=2, num_heads=2, mlp_ratio=2, neck_chans=16, num_classes=0,
        use_rel_pos=True, window_size=2, global_attn_indexes=(1,),
    ).eval()  # fmt: skip
    adapter, network = TimmAdapter(), timms
    network.load_state_dict({_of_timm(name): value for name, value in model.vision_encoder.state_dict().items()})
    adapter.set_image_size(network, resolve("timm:samvit_base_patch16"), (size, size))
    images = _images(size=size)
    shift, scale = (torch.tensor(each).reshape(3, 1, 1) for each in (processor.image_mean, processor.image_std))
    with torch.inference_mode():
        normalised = (torch.from_numpy(images).float() / 255 - shift) / scale
        theirs = adapter.features(network, normalised, Wanted(inside=frozenset({1, "neck"})))
    ours = made.embed(images)
    expected = {"mean": theirs, "mean@1": theirs.inside[1], "neck": theirs.inside["neck"]}
    for pooling, features in expected.items():
        assert features.patches is not None
        np.testing.assert_allclose(ours[pooling], features.patches.mean(1).numpy(), rtol=1e-3, atol=1e-4)


def _of_timm(name: str) -> str:
    """A name of transformers' Segment Anything as timm has it."""
    renamed = {
        "layers.": "blocks.", "layer_norm1": "norm1", "layer_norm2": "norm2", "mlp.lin": "mlp.fc",
        "patch_embed.projection": "patch_embed.proj",
    }  # fmt: skip
    if name.startswith("neck."):
        places = {"conv1": "0", "layer_norm1": "1", "conv2": "2", "layer_norm2": "3"}
        return ".".join(places.get(part, part) for part in name.split("."))
    for theirs, timms in renamed.items():
        name = name.replace(theirs, timms)
    return name


@pytest.mark.parametrize(
    "config",
    ['{"model_type": "no such"}', "{", '{"model_type": "vit", "hidden_size": "wide"}', "{}"],
)
def test_a_config_that_describes_nothing_is_told_by_its_file(config, tmp_path) -> None:
    folder = _saved(hf.ViTModel(hf.ViTConfig(**_VIT)), tmp_path / "model")
    (folder / "config.json").write_text(config)
    for place in (folder, folder / "model.safetensors"):
        with pytest.raises(WeightsError, match=r"model/config\.json: describes no architecture"):
            load_backbone("hf:some/model", weights=place, **_OPTIONS)
