"""Checkpoints in the layout of their authors: every tensor used, none missing, and an independent network agrees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import transformers as hf
from medprobe.base import WeightsError
from medprobe.extract import load_backbone
from medprobe.extract.weights.layouts import as_published
from medprobe.extract.weights.published import recognise
from torch import nn
from torch.nn import functional

_OPTIONS = {"precision": "fp32", "device": "cpu"}
Shapes = dict[str, tuple[int, ...]]


def _filled(shapes: Shapes, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tensors of these shapes, of a scale that keeps a deep network's numbers finite and unlike."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes.items():
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        noise = torch.randn(shape, generator=generator)
        if len(shape) == 1 and name.endswith("weight"):
            tensors[name] = 1 + 0.2 * noise
        elif len(shape) == 1:
            tensors[name] = 0.2 * noise + (0.5 if "gamma" in name else 0)
        else:
            tensors[name] = noise / fan_in**0.5
    return tensors


def _linear(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _vit(width: int, depth: int, patch: int, tokens: int, *, mlp: tuple[str, str] = ("fc1", "fc2"), hidden: int = 0):
    """The names and shapes that the papers' own code gives a plain vision transformer."""
    shapes: Shapes = {"cls_token": (1, 1, width), "pos_embed": (1, tokens, width)}
    shapes |= {"patch_embed.proj.weight": (width, 3, patch, patch), "patch_embed.proj.bias": (width,)}
    hidden = hidden or 4 * width
    for block in range(depth):
        at = f"blocks.{block}"
        shapes |= _norm(f"{at}.norm1", width) | _norm(f"{at}.norm2", width)
        shapes |= _linear(f"{at}.attn.qkv", 3 * width, width) | _linear(f"{at}.attn.proj", width, width)
        shapes |= _linear(f"{at}.mlp.{mlp[0]}", 2 * hidden if mlp[0] == "w12" else hidden, width)
        shapes |= _linear(f"{at}.mlp.{mlp[1]}", width, hidden)
    return shapes | _norm("norm", width)


def _dinov2(width: int, depth: int, *, registers: int = 0, swiglu: bool = False) -> Shapes:
    hidden = {1536: 4096}.get(width, 0) if swiglu else 0
    shapes = _vit(width, depth, 14, 1 + 37 * 37, mlp=("w12", "w3") if swiglu else ("fc1", "fc2"), hidden=hidden)
    shapes["mask_token"] = (1, width)
    for block in range(depth):
        shapes |= {f"blocks.{block}.ls1.gamma": (width,), f"blocks.{block}.ls2.gamma": (width,)}
    return shapes | ({"register_tokens": (1, registers, width)} if registers else {})


def _sam(width: int, depth: int, heads: int, global_blocks: tuple[int, ...]) -> Shapes:
    shapes: Shapes = {"pos_embed": (1, 64, 64, width)}
    shapes |= {"patch_embed.proj.weight": (width, 3, 16, 16), "patch_embed.proj.bias": (width,)}
    for block in range(depth):
        at, span = f"blocks.{block}", 127 if block in global_blocks else 27
        shapes |= _norm(f"{at}.norm1", width) | _norm(f"{at}.norm2", width)
        shapes |= _linear(f"{at}.attn.qkv", 3 * width, width) | _linear(f"{at}.attn.proj", width, width)
        shapes |= {f"{at}.attn.rel_pos_{axis}": (span, width // heads) for axis in "hw"}
        shapes |= _linear(f"{at}.mlp.lin1", 4 * width, width) | _linear(f"{at}.mlp.lin2", width, 4 * width)
    shapes |= {"neck.0.weight": (256, width, 1, 1), "neck.2.weight": (256, 256, 3, 3)}
    shapes |= _norm("neck.1", 256) | _norm("neck.3", 256)
    others = {
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": (2, 128),
        "mask_decoder.iou_token.weight": (1, 256),
    }
    return {f"image_encoder.{name}": shape for name, shape in shapes.items()} | others


def _images(size: int, count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


def _inputs(backbone, images: np.ndarray) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (backbone.transform.mean, backbone.transform.std))
    return (torch.from_numpy(images).float() / 255 - mean) / std


def _agree(ours: np.ndarray, theirs: torch.Tensor, least: float = 0.9999) -> None:
    theirs = theirs.detach().numpy()
    cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosine.min() >= least
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), np.linalg.norm(theirs, axis=1), rtol=1e-3)


def _saved(tensors: dict[str, torch.Tensor], place: Path) -> Path:
    torch.save(tensors, place)
    return place


def _hf_dinov2(tensors: dict[str, torch.Tensor], registers: int, swiglu: bool = False) -> nn.Module:
    """The same network in transformers, filled by the names that its own documentation gives, one by one."""
    width, depth = tensors["cls_token"].shape[-1], len([name for name in tensors if name.endswith(".ls1.gamma")])
    kind = {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": width // 64}
    kind |= {"image_size": 518, "patch_size": 14, "use_swiglu_ffn": swiglu}
    if registers:
        model = hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(**kind, num_register_tokens=registers))
        model.embeddings.register_tokens.data = tensors["register_tokens"]
    else:
        model = hf.Dinov2Model(hf.Dinov2Config(**kind))
    model.embeddings.cls_token.data = tensors["cls_token"]
    model.embeddings.position_embeddings.data = tensors["pos_embed"]
    _fill(model.embeddings.patch_embeddings.projection, tensors, "patch_embed.proj")
    for number, layer in enumerate(model.encoder.layer):
        at = f"blocks.{number}"
        _fill(layer.norm1, tensors, f"{at}.norm1")
        _fill(layer.norm2, tensors, f"{at}.norm2")
        layer.layer_scale1.lambda1.data = tensors[f"{at}.ls1.gamma"]
        layer.layer_scale2.lambda1.data = tensors[f"{at}.ls2.gamma"]
        weights = tensors[f"{at}.attn.qkv.weight"].chunk(3), tensors[f"{at}.attn.qkv.bias"].chunk(3)
        for linear, weight, bias in zip(
            (layer.attention.q_proj, layer.attention.k_proj, layer.attention.v_proj), *weights, strict=True
        ):
            linear.weight.data, linear.bias.data = weight, bias
        _fill(layer.attention.o_proj, tensors, f"{at}.attn.proj")
        if swiglu:
            for part, index in (("gate_proj", 0), ("up_proj", 1)):
                linear = getattr(layer.mlp, part)
                linear.weight.data = tensors[f"{at}.mlp.w12.weight"].chunk(2)[index]
                linear.bias.data = tensors[f"{at}.mlp.w12.bias"].chunk(2)[index]
            _fill(layer.mlp.down_proj, tensors, f"{at}.mlp.w3")
        else:
            _fill(layer.mlp.fc1, tensors, f"{at}.mlp.fc1")
            _fill(layer.mlp.fc2, tensors, f"{at}.mlp.fc2")
    _fill(model.layernorm, tensors, "norm")
    return model.eval()


def _fill(module: nn.Module, tensors: dict[str, torch.Tensor], name: str) -> None:
    assert module.weight.shape == tensors[f"{name}.weight"].shape
    module.weight.data = tensors[f"{name}.weight"]
    if f"{name}.bias" in tensors:
        module.bias.data = tensors[f"{name}.bias"]


@pytest.mark.parametrize("registers", [0, 4])
def test_metas_dinov2_through_timm_is_transformers_dinov2(tmp_path, registers) -> None:
    tensors = _filled(_dinov2(384, 12, registers=registers))
    model = "vit_small_patch14_reg4_dinov2" if registers else "vit_small_patch14_dinov2"
    poolings = ["cls", "mean", "cls@last4+mean"]
    backbone = load_backbone(
        f"timm:{model}@{_saved(tensors, tmp_path / 'vits14.pth')}", poolings=poolings, image_size=112, **_OPTIONS
    )
    made = backbone.embed(_images(112))
    network = _hf_dinov2(tensors, registers)
    with torch.inference_mode():
        out = network(_inputs(backbone, _images(112)), output_hidden_states=True)
        normed = [network.layernorm(states) for states in out.hidden_states[-4:]]
    mean = out.last_hidden_state[:, 1 + registers :].mean(1)
    _agree(made["cls"], out.last_hidden_state[:, 0])
    _agree(made["mean"], mean)
    _agree(made["cls@last4+mean"], torch.cat([*(states[:, 0] for states in normed), mean], 1))


_CONFIG = {"model_type": "dinov2", "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
_CONFIG |= {"image_size": 518, "patch_size": 14}


@pytest.mark.parametrize(("registers", "swiglu"), [(0, False), (4, False), (0, True)])
def test_metas_dinov2_is_read_by_transformers_too(tmp_path, registers, swiglu) -> None:
    shapes = _vit(128, 2, 14, 1370, mlp=("w12", "w3") if swiglu else ("fc1", "fc2"), hidden=344 if swiglu else 512)
    shapes |= {f"blocks.{block}.ls{part}.gamma": (128,) for block in range(2) for part in (1, 2)}
    shapes |= {"mask_token": (1, 128)} | ({"register_tokens": (1, registers, 128)} if registers else {})
    tensors = _filled(shapes)
    config = _CONFIG | ({"use_swiglu_ffn": True} if swiglu else {})
    if registers:
        config |= {"model_type": "dinov2_with_registers", "num_register_tokens": registers}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "preprocessor_config.json").write_text('{"size": {"height": 56, "width": 56}}')
    _saved(tensors, tmp_path / "dinov2.pth")
    backbone = load_backbone(f"hf:some/model@{tmp_path / 'dinov2.pth'}", **_OPTIONS)
    network = _hf_dinov2(tensors, registers, swiglu)
    with torch.inference_mode():
        out = network(_inputs(backbone, _images(56)))
    _agree(backbone.embed(_images(56))["cls"], out.last_hidden_state[:, 0])


@pytest.mark.parametrize("chunked", [False, True], ids=["released", "as-training-saves-it"])
def test_metas_linear_head_gives_its_logits(tmp_path, chunked) -> None:
    tensors = _filled(_dinov2(384, 12))
    head = _filled({"linear_head.weight": (1000, 5 * 384), "linear_head.bias": (1000,)}, seed=1)
    model = {f"backbone.{name}": value for name, value in tensors.items()} | head
    if chunked:
        model = {name.replace("blocks.", "blocks.0."): value for name, value in model.items()}
    path = _saved({"state_dict": model}, tmp_path / "dinov2_vits14_lc.pth")
    poolings = ["logits", "cls@last4+mean", "cls"]
    backbone = load_backbone(f"dinov2-s@{path}", poolings=poolings, image_size=56, **_OPTIONS)
    made = backbone.embed(_images(56))
    said = functional.linear(
        torch.from_numpy(made["cls@last4+mean"]), head["linear_head.weight"], head["linear_head.bias"]
    )
    _agree(made["logits"], said)
    network = _hf_dinov2(tensors, 0)
    with torch.inference_mode():
        out = network(_inputs(backbone, _images(56)))
    _agree(made["cls"], out.last_hidden_state[:, 0])


@pytest.mark.parametrize(
    ("model", "shapes"),
    [
        ("vit_base_patch14_dinov2", _dinov2(768, 12)),
        ("vit_base_patch14_reg4_dinov2", _dinov2(768, 12, registers=4)),
        ("vit_large_patch14_dinov2", _dinov2(1024, 24)),
        ("vit_large_patch14_reg4_dinov2", _dinov2(1024, 24, registers=4)),
        ("vit_giant_patch14_dinov2", _dinov2(1536, 40, swiglu=True)),
        ("vit_giant_patch14_reg4_dinov2", _dinov2(1536, 40, registers=4, swiglu=True)),
        ("samvit_base_patch16", _sam(768, 12, 12, (2, 5, 8, 11))),
        ("samvit_large_patch16", _sam(1024, 24, 16, (5, 11, 17, 23))),
        ("samvit_huge_patch16", _sam(1280, 32, 16, (7, 15, 23, 31))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_tensor_of_every_size_has_its_place(model, shapes) -> None:
    with torch.device("meta"):
        target = timm.create_model(model, num_classes=0).state_dict()
        published = {name: torch.empty(shape) for name, shape in shapes.items()}
        values = as_published(published, target)
    assert {name: value.shape for name, value in values.items()} == {n: value.shape for n, value in target.items()}


def _hf_sam(tensors: dict[str, torch.Tensor], size: int) -> nn.Module:
    """SAM's image encoder in transformers, with its absolute positions resampled to `size` pixels."""
    encoder = hf.SamVisionModel(hf.SamVisionConfig()).vision_encoder
    of = {name.removeprefix("image_encoder."): value for name, value in tensors.items()}
    grid = size // 16
    positions = functional.interpolate(of["pos_embed"].permute(0, 3, 1, 2), size=(grid, grid), mode="bicubic")
    encoder.pos_embed.data = positions.permute(0, 2, 3, 1)
    encoder.patch_embed.image_size = (size, size)
    _fill(encoder.patch_embed.projection, of, "patch_embed.proj")
    for number, layer in enumerate(encoder.layers):
        at = f"blocks.{number}"
        _fill(layer.layer_norm1, of, f"{at}.norm1")
        _fill(layer.layer_norm2, of, f"{at}.norm2")
        layer.attn.rel_pos_h.data, layer.attn.rel_pos_w.data = (of[f"{at}.attn.rel_pos_{axis}"] for axis in "hw")
        for part in ("qkv", "proj"):
            _fill(getattr(layer.attn, part), of, f"{at}.attn.{part}")
        for part in ("lin1", "lin2"):
            _fill(getattr(layer.mlp, part), of, f"{at}.mlp.{part}")
    neck = encoder.neck
    for place, module in enumerate((neck.conv1, neck.layer_norm1, neck.conv2, neck.layer_norm2)):
        _fill(module, of, f"neck.{place}")
    return encoder.eval()


@pytest.mark.parametrize("size", [224, pytest.param(1024, marks=pytest.mark.slow)])
def test_metas_sam_through_timm_is_transformers_sam(tmp_path, size) -> None:
    tensors = _filled(_sam(768, 12, 12, (2, 5, 8, 11)))
    path = _saved(tensors, tmp_path / "sam_vit_b_01ec64.pth")
    poolings = ["mean", "neck", "mean@7"]
    backbone = load_backbone(f"timm:samvit_base_patch16@{path}", poolings=poolings, image_size=size, **_OPTIONS)
    made = backbone.embed(_images(size, 1))
    network = _hf_sam(tensors, size)
    with torch.inference_mode():
        out = network(_inputs(backbone, _images(size, 1)), output_hidden_states=True)
    _agree(made["neck"], out.last_hidden_state.mean((2, 3)))
    _agree(made["mean"], out.hidden_states[12].mean((1, 2)))
    _agree(made["mean@7"], out.hidden_states[7].mean((1, 2)))
    assert backbone.dims == {"mean": 768, "neck": 256, "mean@7": 768}


@pytest.mark.parametrize("full", [False, True], ids=["encoder", "with-the-decoder"])
def test_mae_is_read_with_and_without_its_decoder(tmp_path, full) -> None:
    tensors = _filled(_vit(768, 12, 16, 197))
    decoder = _filled(_linear("decoder_embed", 512, 768) | _norm("decoder_norm", 512) | {"mask_token": (1, 1, 512)})
    path = _saved({"model": tensors | (decoder if full else {})}, tmp_path / "mae_pretrain_vit_base.pth")
    backbone = load_backbone(f"timm:vit_base_patch16_224.mae@{path}", **_OPTIONS)
    assert set(backbone.network.state_dict()) == set(tensors)
    _agree_with_vit(backbone, tensors)


@pytest.mark.parametrize("full", [False, True], ids=["backbone", "teacher-and-student"])
def test_dino_is_read_bare_and_from_its_teacher(tmp_path, full) -> None:
    tensors = _filled(_vit(768, 12, 16, 197))
    head = _filled({"head.mlp.0.weight": (64, 768), "head.last_layer.weight_g": (64, 1)})
    student = {f"module.backbone.{name}": torch.zeros_like(value) for name, value in tensors.items()}
    teacher = {f"backbone.{name}": value for name, value in tensors.items()} | head
    content = {"student": student, "teacher": teacher, "epoch": 100} if full else tensors
    path = _saved(content, tmp_path / "dino_vitbase16_pretrain.pth")
    backbone = load_backbone(f"dino-vit-b16@{path}", **_OPTIONS)
    assert set(backbone.network.state_dict()) == set(tensors)
    _agree_with_vit(backbone, tensors)


def _agree_with_vit(backbone, tensors: dict[str, torch.Tensor]) -> None:
    """Against transformers' ViT with the same numbers."""
    network = hf.ViTModel(hf.ViTConfig(layer_norm_eps=1e-6), add_pooling_layer=False)
    network.embeddings.cls_token.data = tensors["cls_token"]
    network.embeddings.position_embeddings.data = tensors["pos_embed"]
    _fill(network.embeddings.patch_embeddings.projection, tensors, "patch_embed.proj")
    _fill(network.layernorm, tensors, "norm")
    state = network.state_dict()
    for name in [name for name in state if name.startswith(("layers.", "encoder."))]:
        state[name] = _vit_tensor(name, tensors)
    network.load_state_dict(state)
    with torch.inference_mode():
        out = network.eval()(_inputs(backbone, _images(224)))
    _agree(backbone.embed(_images(224))["cls"], out.last_hidden_state[:, 0])


def _vit_tensor(name: str, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """The value of one of transformers' names, by its documentation."""
    at, kind = f"blocks.{next(part for part in name.split('.') if part.isdigit())}", name.rpartition(".")[2]
    for index, part in enumerate(("q_proj", "k_proj", "v_proj")):
        if part in name:
            return tensors[f"{at}.attn.qkv.{kind}"].chunk(3)[index]
    places = {
        "o_proj": "attn.proj",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "fc1": "mlp.fc1",
        "fc2": "mlp.fc2",
    }
    return tensors[f"{at}.{next(ours for theirs, ours in places.items() if theirs in name)}.{kind}"]


@pytest.mark.parametrize(
    ("model", "shapes", "told"),
    [
        ("vit_small_patch14_dinov2", _sam(768, 1, 12, (0,)), "looks like Segment Anything.*of 1 blocks, 768 wide"),
        ("vit_base_patch14_dinov2", _dinov2(384, 2), r"missing: blocks\.2\..*looks like DINOv2.*of 2 blocks, 384 wide"),
        ("samvit_base_patch16", _dinov2(384, 1), "missing.*looks like DINOv2"),
    ],
)
def test_a_checkpoint_of_something_else_is_told_by_what_it_looks_like(tmp_path, model, shapes, told) -> None:
    path = _saved(_filled(shapes), tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=f"(?s)other.pth: the tensors do not fit timm:{model}.*{told}"):
        load_backbone(f"timm:{model}@{path}", **_OPTIONS)


def test_a_library_own_names_are_no_published_layout() -> None:
    for model in ("vit_small_patch14_dinov2", "samvit_base_patch16", "vit_base_patch16_224", "resnet50"):
        with torch.device("meta"):
            assert recognise(timm.create_model(model).state_dict()) is None
