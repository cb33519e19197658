"""Checkpoints in the layout of their authors: every tensor used, none missing, and an independent network agrees."""

from __future__ import annotations

import json

import pytest
import timm
import torch
from medprobe.base import WeightsError
from medprobe.extract import load_backbone
from medprobe.extract.weights.loading import as_published
from medprobe.extract.weights.published import recognise
from published_networks import (
    agree,
    agree_with_vit,
    dinov2,
    dinov2_of_transformers,
    dinov3,
    dinov3_of_transformers,
    filled,
    filled_dinov3,
    linear,
    noise_images,
    norm,
    normalised,
    sam,
    sam_of_transformers,
    saved,
    vit,
)
from torch.nn import functional

_OPTIONS = {"precision": "fp32", "device": "cpu"}


@pytest.mark.parametrize(
    ("model", "width", "registers"),
    [
        ("vit_small_patch14_dinov2", 384, 0),
        ("vit_small_patch14_reg4_dinov2", 384, 4),
        ("vit_base_patch14_dinov2", 768, 0),
    ],
)
def test_metas_dinov2_through_timm_is_transformers_dinov2(tmp_path, shallow, model, width, registers) -> None:
    shallow(4)
    tensors = filled(dinov2(width, 4, registers=registers))
    poolings = ["cls", "mean", "cls@last4+mean"]
    backbone = load_backbone(
        f"timm:{model}@{saved(tensors, tmp_path / 'vits14.pth')}", poolings=poolings, image_size=112, **_OPTIONS
    )
    made = backbone.embed(noise_images(112))
    network = dinov2_of_transformers(tensors, registers, size=112)
    with torch.inference_mode():
        out = network(normalised(backbone, noise_images(112)), output_hidden_states=True)
        normed = [network.layernorm(states) for states in out.hidden_states[-4:]]
    mean = out.last_hidden_state[:, 1 + registers :].mean(1)
    agree(made["cls"], out.last_hidden_state[:, 0])
    agree(made["mean"], mean)
    agree(made["cls@last4+mean"], torch.cat([*(states[:, 0] for states in normed), mean], 1))


_CONFIG = {"model_type": "dinov2", "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
_CONFIG |= {"image_size": 518, "patch_size": 14}


@pytest.mark.parametrize(("registers", "swiglu"), [(0, False), (4, False), (0, True)])
def test_metas_dinov2_is_read_by_transformers_too(tmp_path, registers, swiglu) -> None:
    shapes = vit(128, 2, 14, 1370, mlp=("w12", "w3") if swiglu else ("fc1", "fc2"), hidden=344 if swiglu else 512)
    shapes |= {f"blocks.{block}.ls{part}.gamma": (128,) for block in range(2) for part in (1, 2)}
    shapes |= {"mask_token": (1, 128)} | ({"register_tokens": (1, registers, 128)} if registers else {})
    tensors = filled(shapes)
    config = _CONFIG | ({"use_swiglu_ffn": True} if swiglu else {})
    if registers:
        config |= {"model_type": "dinov2_with_registers", "num_register_tokens": registers}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "preprocessor_config.json").write_text('{"size": {"height": 56, "width": 56}}')
    saved(tensors, tmp_path / "dinov2.pth")
    backbone = load_backbone(f"hf:some/model@{tmp_path / 'dinov2.pth'}", **_OPTIONS)
    network = dinov2_of_transformers(tensors, registers, swiglu, size=56)
    with torch.inference_mode():
        out = network(normalised(backbone, noise_images(56)))
    agree(backbone.embed(noise_images(56))["cls"], out.last_hidden_state[:, 0])


@pytest.mark.parametrize("chunked", [False, True], ids=["released", "as-training-saves-it"])
def test_metas_linear_head_gives_its_logits(tmp_path, shallow, chunked) -> None:
    shallow(4)
    tensors = filled(dinov2(384, 4))
    head = filled({"linear_head.weight": (1000, 5 * 384), "linear_head.bias": (1000,)}, seed=1)
    model = {f"backbone.{name}": value for name, value in tensors.items()} | head
    if chunked:
        model = {name.replace("blocks.", "blocks.0."): value for name, value in model.items()}
    path = saved({"state_dict": model}, tmp_path / "dinov2_vits14_lc.pth")
    poolings = ["logits", "cls@last4+mean", "cls"]
    backbone = load_backbone(f"dinov2-s@{path}", poolings=poolings, image_size=56, **_OPTIONS)
    made = backbone.embed(noise_images(56))
    said = functional.linear(
        torch.from_numpy(made["cls@last4+mean"]), head["linear_head.weight"], head["linear_head.bias"]
    )
    agree(made["logits"], said)
    network = dinov2_of_transformers(tensors, size=56)
    with torch.inference_mode():
        out = network(normalised(backbone, noise_images(56)))
    agree(made["cls"], out.last_hidden_state[:, 0])


@pytest.mark.parametrize(
    ("model", "shapes"),
    [
        ("vit_small_patch14_dinov2", dinov2(384, 12)),
        ("vit_small_patch14_reg4_dinov2", dinov2(384, 12, registers=4)),
        ("vit_base_patch14_dinov2", dinov2(768, 12)),
        ("vit_base_patch14_reg4_dinov2", dinov2(768, 12, registers=4)),
        ("vit_large_patch14_dinov2", dinov2(1024, 24)),
        ("vit_large_patch14_reg4_dinov2", dinov2(1024, 24, registers=4)),
        ("vit_giant_patch14_dinov2", dinov2(1536, 40, swiglu=True)),
        ("vit_giant_patch14_reg4_dinov2", dinov2(1536, 40, registers=4, swiglu=True)),
        ("vit_small_patch16_dinov3", dinov3(384, 12)),
        ("vit_small_patch16_dinov3_qkvb", dinov3(384, 12)),
        ("vit_base_patch16_dinov3", dinov3(768, 12)),
        ("vit_large_patch16_dinov3", dinov3(1024, 24)),
        ("vit_large_patch16_dinov3_qkvb", dinov3(1024, 24)),
        ("vit_base_patch16_224.mae", vit(768, 12, 16, 197) | linear("decoder_embed", 512, 768)),
        ("vit_base_patch16_224.dino", vit(768, 12, 16, 197)),
        ("vit_large_patch16_224.mae", vit(1024, 24, 16, 197) | linear("decoder_embed", 512, 1024)),
        ("samvit_base_patch16", sam(768, 12, 12, (2, 5, 8, 11))),
        ("samvit_large_patch16", sam(1024, 24, 16, (5, 11, 17, 23))),
        ("samvit_huge_patch16", sam(1280, 32, 16, (7, 15, 23, 31))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_tensor_of_every_size_has_its_place(model, shapes) -> None:
    with torch.device("meta"):
        target = timm.create_model(model, num_classes=0).state_dict()
        published = {name: torch.empty(shape) for name, shape in shapes.items()}
        values = as_published(published, target)
    assert {name: value.shape for name, value in values.items()} == {n: value.shape for n, value in target.items()}


@pytest.mark.parametrize("size", [224, pytest.param(1024, marks=pytest.mark.slow)])
def test_metas_sam_through_timm_is_transformers_sam(tmp_path, shallow, size) -> None:
    shallow(3)
    tensors = filled(sam(768, 3, 12, (2,)))
    path = saved(tensors, tmp_path / "sam_vit_b_01ec64.pth")
    poolings = ["mean", "neck", "mean@2"]
    backbone = load_backbone(f"timm:samvit_base_patch16@{path}", poolings=poolings, image_size=size, **_OPTIONS)
    made = backbone.embed(noise_images(size, 1))
    network = sam_of_transformers(tensors, size)
    with torch.inference_mode():
        out = network(normalised(backbone, noise_images(size, 1)), output_hidden_states=True)
    agree(made["neck"], out.last_hidden_state.mean((2, 3)))
    agree(made["mean"], out.hidden_states[3].mean((1, 2)))
    agree(made["mean@2"], out.hidden_states[2].mean((1, 2)))
    assert backbone.dims == {"mean": 768, "neck": 256, "mean@2": 768}


def test_lvm_meds_transformer_is_sams_without_prefix_and_positions(tmp_path, shallow) -> None:
    shallow(3)
    whole = filled(sam(768, 3, 12, (2,)))
    tensors = {name.removeprefix("image_encoder."): value for name, value in whole.items() if "image_encoder" in name}
    del tensors["pos_embed"]
    path = saved(tensors, tmp_path / "lvmmed_vit.pth")
    backbone = load_backbone(f"lvm-med-vit-b@{path}", poolings=["mean", "neck"], **_OPTIONS)
    made, network = backbone.embed(noise_images(224, 1)), sam_of_transformers(tensors, 224)
    with torch.inference_mode():
        out = network(normalised(backbone, noise_images(224, 1)), output_hidden_states=True)
    agree(made["neck"], out.last_hidden_state.mean((2, 3)))
    agree(made["mean"], out.hidden_states[3].mean((1, 2)))
    assert (backbone.transform.resize, backbone.transform.interpolation) == ("squash", "bilinear")


@pytest.mark.parametrize(
    ("model", "biases"), [("vit_small_patch16_dinov3", False), ("vit_small_patch16_dinov3_qkvb", True)]
)
def test_metas_dinov3_through_timm_is_transformers_dinov3(tmp_path, shallow, model, biases) -> None:
    shallow(4)
    tensors = filled_dinov3(384, 4, biases=biases)
    path = saved(tensors, tmp_path / "dinov3_vits16_pretrain.pth")
    poolings = ["cls", "mean", "cls@2"]
    backbone = load_backbone(f"timm:{model}@{path}", poolings=poolings, image_size=128, **_OPTIONS)
    made, network = backbone.embed(noise_images(128)), dinov3_of_transformers(tensors)
    with torch.inference_mode():
        out = network(normalised(backbone, noise_images(128)), output_hidden_states=True)
        middle = network.norm(out.hidden_states[2])
    agree(made["cls"], out.last_hidden_state[:, 0])
    agree(made["mean"], out.last_hidden_state[:, 5:].mean(1))
    agree(made["cls@2"], middle[:, 0])


def test_metas_dinov3_is_read_by_transformers_too(tmp_path) -> None:
    tensors = filled_dinov3(128, 2, biases=True)
    config = {"model_type": "dinov3_vit", "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 512, "num_register_tokens": 4}))
    (tmp_path / "preprocessor_config.json").write_text('{"size": {"height": 64, "width": 64}}')
    backbone = load_backbone(
        f"hf:some/model@{saved(tensors, tmp_path / 'dinov3.pth')}", poolings=["cls", "mean"], **_OPTIONS
    )
    made, network = backbone.embed(noise_images(64)), dinov3_of_transformers(tensors)
    with torch.inference_mode():
        out = network(normalised(backbone, noise_images(64)))
    agree(made["cls"], out.last_hidden_state[:, 0])
    agree(made["mean"], out.last_hidden_state[:, 5:].mean(1))


@pytest.mark.parametrize(
    ("biases", "change", "told"),
    [
        (True, {}, r"dinov3\.pth: the file has biases.*_qkvb"),
        (False, {"rope_embed.periods": 50 ** (torch.arange(16) / 16)}, r"dinov3\.pth: .*other periods"),
    ],
    ids=["biases", "periods"],
)
def test_what_a_network_of_dinov3_cannot_take_is_not_dropped_in_silence(
    tmp_path, shallow, biases, change, told
) -> None:
    shallow(1)
    path = saved(filled_dinov3(384, 1, biases=biases) | change, tmp_path / "dinov3.pth")
    with pytest.raises(WeightsError, match=told):
        load_backbone(f"timm:vit_small_patch16_dinov3@{path}", **_OPTIONS)


@pytest.mark.parametrize(("layers", "below"), [(1, "cls+mean"), (4, "cls@last4+mean")])
def test_a_linear_head_of_its_own_file_lies_beside_its_backbone_in_one_folder(tmp_path, shallow, layers, below) -> None:
    shallow(4)
    saved(filled(dinov2(384, 4)), tmp_path / "dinov2_vits14_pretrain.pth")
    head = filled({"weight": (1000, (1 + layers) * 384), "bias": (1000,)}, seed=1)
    saved(head, tmp_path / f"dinov2_vits14_linear{4 if layers == 4 else ''}_head.pth")
    backbone = load_backbone(f"dinov2-s@{tmp_path}", poolings=["logits", below], image_size=56, **_OPTIONS)
    made = backbone.embed(noise_images(56))
    agree(made["logits"], functional.linear(torch.from_numpy(made[below]), head["weight"], head["bias"]))


def test_a_linear_head_of_another_network_or_two_of_them_are_told(tmp_path, shallow) -> None:
    shallow(1)
    saved(filled(dinov2(384, 1)), tmp_path / "dinov2_vits14_pretrain.pth")
    saved(filled({"weight": (9, 5 * 768), "bias": (9,)}), tmp_path / "dinov2_vitb14_linear4_head.pth")
    with pytest.raises(WeightsError, match=r"vectors of 3840.*384 wide.*768.*1920"):
        load_backbone(f"dinov2-s@{tmp_path}", **_OPTIONS)
    saved(filled({"weight": (9, 2 * 384), "bias": (9,)}), tmp_path / "dinov2_vits14_linear_head.pth")
    with pytest.raises(WeightsError, match="one of a linear head at most"):
        load_backbone(f"dinov2-s@{tmp_path}", **_OPTIONS)


@pytest.mark.parametrize("full", [False, True], ids=["encoder", "with-the-decoder"])
def test_mae_is_read_with_and_without_its_decoder(tmp_path, shallow, full) -> None:
    shallow(2)
    tensors = filled(vit(768, 2, 16, 197))
    decoder = filled(linear("decoder_embed", 512, 768) | norm("decoder_norm", 512) | {"mask_token": (1, 1, 512)})
    path = saved({"model": tensors | (decoder if full else {})}, tmp_path / "mae_pretrain_vit_base.pth")
    backbone = load_backbone(f"timm:vit_base_patch16_224.mae@{path}", **_OPTIONS)
    assert set(backbone.network.state_dict()) == set(tensors)
    agree_with_vit(backbone, tensors)


@pytest.mark.parametrize("full", [False, True], ids=["backbone", "teacher-and-student"])
def test_dino_is_read_bare_and_from_its_teacher(tmp_path, shallow, full) -> None:
    shallow(2)
    tensors = filled(vit(768, 2, 16, 197))
    head = filled({"head.mlp.0.weight": (64, 768), "head.last_layer.weight_g": (64, 1)})
    student = {f"module.backbone.{name}": torch.zeros_like(value) for name, value in tensors.items()}
    teacher = {f"backbone.{name}": value for name, value in tensors.items()} | head
    content = {"student": student, "teacher": teacher, "epoch": 100} if full else tensors
    path = saved(content, tmp_path / "dino_vitbase16_pretrain.pth")
    backbone = load_backbone(f"dino-vit-b16@{path}", **_OPTIONS)
    assert set(backbone.network.state_dict()) == set(tensors)
    agree_with_vit(backbone, tensors)


@pytest.mark.parametrize(
    ("model", "shapes", "told"),
    [
        ("vit_small_patch14_dinov2", sam(768, 1, 12, (0,)), "looks like Segment Anything"),
        ("vit_base_patch14_dinov2", dinov2(384, 2), r"missing: blocks\.2\..*looks like DINOv2"),
        ("samvit_base_patch16", dinov2(384, 1), "missing.*looks like DINOv2"),
        ("vit_small_patch14_dinov2", dinov3(384, 2), "looks like DINOv3 as Meta published it"),
        ("vit_small_patch14_dinov2", {"weight": (9, 768), "bias": (9,)}, "looks like the linear head.*name the folder"),
    ],
)
def test_a_checkpoint_of_something_else_is_told_by_what_it_looks_like(tmp_path, shallow, model, shapes, told) -> None:
    shallow(3)
    path = saved(filled(shapes), tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=f"(?s)other.pth: the tensors do not fit timm:{model}.*{told}"):
        load_backbone(f"timm:{model}@{path}", **_OPTIONS)


def test_a_library_own_names_are_no_published_layout() -> None:
    for model in ("vit_small_patch14_dinov2", "samvit_base_patch16", "vit_base_patch16_224", "resnet50"):
        with torch.device("meta"):
            assert recognise(timm.create_model(model).state_dict()) is None
