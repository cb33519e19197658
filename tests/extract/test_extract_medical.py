"""BLIP and networks of medical images, from files as their authors publish them, against other implementations."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import torchvision
import transformers as hf
from medprobe.base import WeightsError
from medprobe.cache import TransformSpec
from medprobe.extract import load_backbone
from medprobe.extract.adapters import ADAPTERS, Inside, Wanted
from medprobe.extract.catalogue import ByHand, Local, catalogue, resolve
from medprobe.extract.pooling import available
from medprobe.extract.weights.published import BLIP
from published_networks import (
    agree,
    dinov2,
    dinov2_of_transformers,
    filled,
    linear,
    siglip_in_names_of_timm,
    vit_of_transformers,
)
from published_networks import vit as vit_shapes
from shaken_networks import cosines, shaken, smooth_inputs
from torch import nn
from torchvision.models.resnet import Bottleneck

_OPTIONS = {"precision": "fp32", "device": "cpu"}
_BY_HAND = [entry for entry in catalogue().values() if isinstance(entry.weights, ByHand)]
# SEEM's poolings are all from inside; test_extract_weights.py builds its entries too.
_HERE = [e for e in catalogue().values() if e.source == "open_clip" or (e in _BY_HAND and e.source != "seem")]


def _blip_as_published(vit: nn.Module) -> dict[str, torch.Tensor]:
    """Salesforce's names: timm's under `visual_encoder.`, beside momentum copies, queues and text networks."""
    tensors = {f"visual_encoder.{name}": value for name, value in vit.state_dict().items()}
    momentum = {f"visual_encoder_m.{name}": value[:1] for name, value in vit.state_dict().items()}
    texts = ("text_encoder.embeddings.word_embeddings.weight", "text_encoder_m.x", "text_decoder.cls.bias")
    others = ("vision_proj.weight", "text_proj_m.bias", "itm_head.weight", "image_queue", "queue_ptr", "temp")
    return tensors | momentum | {name: torch.zeros(2) for name in (*texts, *others)}


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    """timm's ViT-B/16, which Salesforce's image encoder is, two blocks deep."""
    return shaken(timm.create_model("vit_base_patch16_224", num_classes=0, depth=2), 0.02)


def test_blip_gives_the_tokens_that_timms_transformer_gives(tmp_path, vit, shallow) -> None:
    shallow(2)
    torch.save({"model": _blip_as_published(vit)}, tmp_path / "model_base.pth")
    poolings = ["cls", "mean", "patch0"]
    backbone = load_backbone("blip-base", weights=tmp_path / "model_base.pth", poolings=poolings, **_OPTIONS)
    pixels, normalised = smooth_inputs(backbone, 2)
    made = backbone.embed(pixels)
    with torch.inference_mode():
        tokens = vit.forward_features(normalised)
    for pooling, expected in (("cls", tokens[:, 0]), ("mean", tokens[:, 1:].mean(1)), ("patch0", tokens[:, 1])):
        assert cosines(made[pooling], expected.numpy()).min() >= 0.9999, pooling
    assert cosines(made["cls"], made["patch0"]).max() < 0.999


def _described(inside: Inside) -> str:
    """As the catalogue has it: `@1..12, stage1..stage4, neck`."""
    stages = [name for name in inside.maps if name.startswith(("stage", "res"))]
    others = [name for name in inside.maps if name not in stages]
    blocks = [f"@1..{inside.blocks}"] if inside.blocks else []
    return ", ".join([*blocks, *([f"{stages[0]}..{stages[-1]}"] if stages else []), *others])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensors: tensors.pop("visual_encoder.norm.bias"), "1 missing: post_layernorm.bias"),
        (lambda tensors: tensors.update(rubbish=torch.zeros(2)), "1 not part of the model: rubbish"),
    ],
    ids=["missing", "extra"],
)
def test_a_file_of_blip_that_does_not_fit_is_told(tmp_path, vit, shallow, change, told) -> None:
    shallow(2)
    tensors = _blip_as_published(vit)
    change(tensors)
    torch.save({"model": tensors}, tmp_path / "model_base.pth")
    with pytest.raises(WeightsError, match=told):
        load_backbone("blip-base", weights=tmp_path / "model_base.pth", **_OPTIONS)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("blip-base", "openclip"),
        ("blip-base", "dinov2"),
        ("dinov2-b", "blip"),
        ("dinov2-b", "openclip"),
        ("clip-b16", "blip"),
        ("clip-b16", "dinov2"),
    ],
)
def test_a_file_of_another_network_is_told_by_what_it_looks_like(tmp_path, shallow, name, kind) -> None:
    shallow(1)
    width, ones = 8, torch.ones(8)
    files = {
        "blip": {"visual_encoder.pos_embed": torch.ones(1, 5, width), "visual_encoder.blocks.0.norm1.weight": ones},
        "openclip": {"visual.transformer.resblocks.0.ln_1.weight": ones, "logit_scale": torch.ones(())},
        "dinov2": {"mask_token": ones, "pos_embed": torch.ones(1, 5, width), "blocks.0.norm1.weight": ones}
        | {"blocks.0.ls1.gamma": ones},
    }
    titles = {"blip": "BLIP as Salesforce", "openclip": "images and texts as OpenCLIP", "dinov2": "DINOv2 as Meta"}
    torch.save(files[kind], tmp_path / "other.pth")
    told = rf"(?s)other\.pth: the tensors do not fit .*looks like .*{titles[kind]} publishe"
    with pytest.raises(WeightsError, match=told):
        load_backbone(name, weights=tmp_path / "other.pth", **_OPTIONS)


def test_every_tensor_of_a_large_blip_has_its_place() -> None:
    with torch.device("meta"):
        large = timm.create_model("vit_large_patch16_224", num_classes=0)
        target = ADAPTERS["hf"].create(resolve("blip-large")).state_dict()
        made = BLIP.convert(_blip_as_published(large), target)
    assert {name: value.shape for name, value in made.items()} == {n: value.shape for n, value in target.items()}


def test_a_densenet_of_torchxrayvision_sees_one_channel_from_minus_to_plus_1024(tmp_path, shallow) -> None:
    shallow(1)
    theirs = torchvision.models.DenseNet(32, (1, 1, 1, 1), 64, num_classes=18)
    theirs.features.conv0 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    shaken(theirs, 0.02)
    torch.save({**theirs.state_dict(), "op_threshs": torch.zeros(18)}, tmp_path / "xrv.pth")
    backbone = load_backbone("xrv-densenet121", weights=tmp_path / "xrv.pth", **_OPTIONS)
    pixels, normalised = smooth_inputs(backbone, 2)
    assert pixels.shape[1] == 1
    torch.testing.assert_close(normalised, (2 * torch.from_numpy(pixels).float() / 255 - 1) * 1024, rtol=0, atol=1e-3)
    with torch.inference_mode():
        expected = torch.relu(theirs.features(normalised)).mean((2, 3))
    assert cosines(backbone.embed(pixels)["pooled"], expected.numpy()).min() >= 0.9999


def test_lvm_meds_resnet_gives_what_torchvisions_gives(tmp_path, shallow) -> None:
    shallow(1)
    theirs = shaken(torchvision.models.ResNet(Bottleneck, [1, 1, 1, 1]), 0.02)
    torch.save(theirs.state_dict(), tmp_path / "lvmmed_resnet.torch")
    backbone = load_backbone("lvm-med-resnet50", weights=tmp_path / "lvmmed_resnet.torch", **_OPTIONS)
    theirs.fc = nn.Identity()
    pixels, normalised = smooth_inputs(backbone, 2)
    with torch.inference_mode():
        expected = theirs(normalised)
    assert cosines(backbone.embed(pixels)["pooled"], expected.numpy()).min() >= 0.9999


def _loaded(name: str, file: Path, depth: int) -> tuple[nn.Module, TransformSpec]:
    """An entry at its full width with fewer blocks, from a file; and its preprocessing."""
    whole = catalogue()[name]
    entry = replace(whole, weights=Local(file), options={**whole.options, "depth": depth})
    network = ADAPTERS["timm"].load(entry).eval()
    return network, ADAPTERS["timm"].transform(network, entry, entry.image_size)


def _agree_on_cls(network: nn.Module, theirs: nn.Module) -> None:
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        made = ADAPTERS["timm"].features(network, images, Wanted()).cls.numpy()
        expected = theirs(images).last_hidden_state[:, 0]
    agree(made, expected)


def test_retfound_is_read_with_decoder_and_options_and_gives_what_transformers_vit_gives(tmp_path) -> None:
    encoder = filled(vit_shapes(1024, 2, 16, 197))
    decoder = filled(
        linear("decoder_embed", 512, 1024) | {"mask_token": (1, 1, 512), "decoder_pos_embed": (1, 197, 512)}
    )
    content = {
        "model": encoder | decoder,
        "args": argparse.Namespace(lr=1e-3),
        "optimizer": {"state": {}},
        "epoch": 799,
    }
    torch.save(content, tmp_path / "RETFound_cfp_weights.pth")
    network, transform = _loaded("retfound", tmp_path / "RETFound_cfp_weights.pth", 2)
    _agree_on_cls(network, vit_of_transformers(encoder))
    assert (transform.resize_to, transform.interpolation) == (256, "bicubic")


def test_uni_gives_what_a_transformer_with_layer_scale_of_transformers_gives(tmp_path) -> None:
    scales = {f"blocks.{block}.ls{part}.gamma": (1024,) for block in range(2) for part in (1, 2)}
    tensors = filled(vit_shapes(1024, 2, 16, 197) | scales)
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    network, transform = _loaded("uni", tmp_path / "pytorch_model.bin", 2)
    _agree_on_cls(network, dinov2_of_transformers(tensors))
    assert (transform.resize_to, transform.interpolation) == (224, "bilinear")


@pytest.mark.parametrize(("name", "scaled"), [("uni", True), ("retfound", False)])
def test_every_tensor_of_a_large_transformer_has_its_place(name, scaled) -> None:
    shapes = vit_shapes(1024, 24, 16, 197)
    if scaled:
        shapes |= {f"blocks.{block}.ls{part}.gamma": (1024,) for block in range(24) for part in (1, 2)}
    with torch.device("meta"):
        target = ADAPTERS["timm"].create(resolve(name)).state_dict()
    assert {name: tuple(value.shape) for name, value in target.items()} == shapes


def test_rad_dino_from_its_folder_gives_what_timms_dinov2_gives(tmp_path) -> None:
    """As published: a folder of transformers, of DINOv2's base width at 518 px; two blocks deep."""
    tensors = filled(dinov2(768, 2))
    dinov2_of_transformers(tensors).save_pretrained(tmp_path)
    poolings = ["cls", "mean"]
    backbone = load_backbone(f"rad-dino@{tmp_path}", poolings=poolings, image_size=112, **_OPTIONS)
    assert backbone.transform.mean == (0.5307,) * 3
    theirs = timm.create_model("vit_base_patch14_dinov2", num_classes=0, depth=2).eval()
    theirs.load_state_dict({name: value for name, value in tensors.items() if name != "mask_token"})
    ADAPTERS["timm"].set_image_size(theirs, resolve("timm:vit_base_patch14_dinov2"), (112, 112))
    pixels, images = smooth_inputs(backbone, 1)
    made = backbone.embed(pixels)
    with torch.inference_mode():
        tokens = theirs.forward_features(images)
    agree(made["cls"], tokens[:, 0])
    agree(made["mean"], tokens[:, 1:].mean(1))


_MEDSIGLIP = {"hidden_size": 1152, "intermediate_size": 4304, "num_attention_heads": 16, "patch_size": 14}


def test_medsiglip_from_its_folder_gives_what_timms_siglip_gives(tmp_path) -> None:
    """As published: a folder of transformers, of images and texts; at full width, two blocks deep and 56 px wide."""
    images = {**_MEDSIGLIP, "num_hidden_layers": 2, "image_size": 56}
    texts = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = shaken(hf.SiglipModel(hf.SiglipConfig(vision_config=images, text_config={**texts, "vocab_size": 9})), 0.02)
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(
        '{"size": {"height": 56, "width": 56}, "image_mean": [0.5, 0.5, 0.5]}'
    )
    backbone = load_backbone(f"medsiglip@{tmp_path}", poolings=["pooled", "mean"], image_size=56, **_OPTIONS)
    theirs = timm.create_model("vit_so400m_patch14_siglip_224", num_classes=0, depth=2, img_size=56).eval()
    theirs.load_state_dict(siglip_in_names_of_timm(model.vision_model))
    pixels, inputs = smooth_inputs(backbone, 2)
    made = backbone.embed(pixels)
    with torch.inference_mode():
        tokens = theirs.forward_features(inputs)
        pooled = theirs.forward_head(tokens)
    agree(made["mean"], tokens.mean(1))
    agree(made["pooled"], pooled)


def test_every_tensor_of_medsiglip_has_the_place_that_timms_has() -> None:
    with torch.device("meta"):
        ours = siglip_in_names_of_timm(ADAPTERS["hf"].create(resolve("medsiglip")))
        theirs = timm.create_model("vit_so400m_patch14_siglip_224", num_classes=0, img_size=448).state_dict()
    assert {name: value.shape for name, value in ours.items()} == {n: value.shape for n, value in theirs.items()}


@pytest.mark.parametrize("entry", _BY_HAND, ids=lambda entry: entry.name)
def test_weights_that_people_have_to_fetch_are_never_replaced_by_others(entry) -> None:
    with pytest.raises(WeightsError, match=f"{entry.name}@/path/to/{entry.weights.file}"):
        load_backbone(entry.name, **_OPTIONS)


# SAM's like, whose poolings are all means, are with those of other entries in test_extract_weights.py.
@pytest.mark.parametrize("entry", [e for e in _HERE if e.poolings[0] != "mean"], ids=lambda entry: entry.name)
def test_an_entry_exists_in_its_library_with_that_length_and_those_poolings(entry) -> None:
    adapter = ADAPTERS[entry.source]
    with torch.device("meta"):
        network = adapter.create(entry).eval()
        images = torch.zeros(1, entry.channels, entry.image_size, entry.image_size)
        features = adapter.features(network, images, Wanted())
    assert set(entry.poolings) <= set(available(features))
    assert getattr(features, entry.poolings[0]).shape == (1, entry.dim)
    assert adapter.transform(network, entry, entry.image_size).channels == entry.channels
    assert _described(adapter.inside(network)) == entry.inside
    assert entry.license
    assert entry.paper
    assert entry.pretraining
