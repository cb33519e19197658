"""BLIP and networks of medical images, from files as their authors publish them, against other implementations."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from medprobe.base import WeightsError
from medprobe.extract import load_backbone
from medprobe.extract.adapters import ADAPTERS, Wanted
from medprobe.extract.catalogue import ByHand, catalogue, resolve
from medprobe.extract.pooling import available
from medprobe.extract.weights.clip import blip
from shaken_networks import cosines, shaken, smooth_inputs
from torch import nn

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
    """timm's ViT-B/16, which Salesforce's image encoder is."""
    return shaken(timm.create_model("vit_base_patch16_224", num_classes=0), 0.02)


def test_blip_gives_the_tokens_that_timms_transformer_gives(tmp_path, vit) -> None:
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


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensors: tensors.pop("visual_encoder.norm.bias"), "1 missing: post_layernorm.bias"),
        (lambda tensors: tensors.update(rubbish=torch.zeros(2)), "1 not part of the model: rubbish"),
    ],
    ids=["missing", "extra"],
)
def test_a_file_of_blip_that_does_not_fit_is_told(tmp_path, vit, change, told) -> None:
    tensors = _blip_as_published(vit)
    change(tensors)
    torch.save({"model": tensors}, tmp_path / "model_base.pth")
    with pytest.raises(WeightsError, match=told):
        load_backbone("blip-base", weights=tmp_path / "model_base.pth", **_OPTIONS)


def test_every_tensor_of_a_large_blip_has_its_place() -> None:
    with torch.device("meta"):
        large = timm.create_model("vit_large_patch16_224", num_classes=0)
        target = ADAPTERS["hf"].create(resolve("blip-large")).state_dict()
        made = blip(_blip_as_published(large))
    assert {name: value.shape for name, value in made.items()} == {n: value.shape for n, value in target.items()}


def test_a_densenet_of_torchxrayvision_sees_one_channel_from_minus_to_plus_1024(tmp_path) -> None:
    theirs = torchvision.models.densenet121(weights=None, num_classes=18)
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


def test_lvm_meds_resnet_gives_what_torchvisions_gives(tmp_path) -> None:
    theirs = shaken(torchvision.models.resnet50(weights=None), 0.02)
    torch.save(theirs.state_dict(), tmp_path / "lvmmed_resnet.torch")
    backbone = load_backbone("lvm-med-resnet50", weights=tmp_path / "lvmmed_resnet.torch", **_OPTIONS)
    theirs.fc = nn.Identity()
    pixels, normalised = smooth_inputs(backbone, 2)
    with torch.inference_mode():
        expected = theirs(normalised)
    assert cosines(backbone.embed(pixels)["pooled"], expected.numpy()).min() >= 0.9999


@pytest.mark.parametrize("entry", _BY_HAND, ids=lambda entry: entry.name)
def test_weights_that_people_have_to_fetch_are_never_replaced_by_others(entry) -> None:
    with pytest.raises(WeightsError, match=f"{entry.name}@/path/to/{entry.weights.file}"):
        load_backbone(entry.name, **_OPTIONS)


@pytest.mark.parametrize("entry", _HERE, ids=lambda entry: entry.name)
def test_an_entry_exists_in_its_library_with_that_length_and_those_poolings(entry) -> None:
    adapter = ADAPTERS[entry.source]
    with torch.device("meta"):
        network = adapter.create(entry).eval()
        images = torch.zeros(1, entry.channels, entry.image_size, entry.image_size)
        features = adapter.features(network, images, Wanted())
    assert set(entry.poolings) <= set(available(features))
    assert getattr(features, entry.poolings[0]).shape == (1, entry.dim)
    assert adapter.transform(network, entry, entry.image_size).channels == entry.channels
    assert entry.license
    assert entry.paper
    assert entry.pretraining
