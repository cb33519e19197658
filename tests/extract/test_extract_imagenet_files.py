"""Networks of ImageNet in the files of their authors: read to the number, or known by sight and refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import pytest
import timm
import torch
import torchvision
from medprobe.extract import load_backbone
from medprobe.extract.weights.loading import as_published
from published_networks import agree, linear, noise_images, normalised, saved, vit
from torch import nn
from torchvision.models.resnet import Bottleneck

_OPTIONS = {"precision": "fp32", "device": "cpu"}


def _narrow_vgg16() -> nn.Module:
    """torchvision's VGG-16 whose first two linear layers, of which most of its file consists, are narrow."""
    with torch.device("meta"):
        network = torchvision.models.vgg16(weights=None, init_weights=False)
    network.classifier[0], network.classifier[3] = nn.Linear(512 * 7 * 7, 64), nn.Linear(64, 4096)
    return network.to_empty(device="cpu")


_SHALLOW = {
    "vgg16": (_narrow_vgg16, {"mlp_ratio": 64 / 4096}),
    "resnet50": (partial(torchvision.models.ResNet, Bottleneck, [1, 1, 1, 1]), {}),
    "densenet121": (partial(torchvision.models.DenseNet, 32, (1, 1, 1, 1), 64), {}),
}
_WHOLE = {name: (partial(torchvision.models.get_model, name, weights=None), {}) for name in _SHALLOW}


def _of_torchvision(create: Callable[[], nn.Module]) -> nn.Module:
    """torchvision's network with random numbers, those of its norms included."""
    torch.manual_seed(0)
    network = create().eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.reset_parameters()
    for name, value in network.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(std=0.1)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    return network


def _without_classes(network: nn.Module) -> nn.Module:
    last = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
    network.set_submodule(last, nn.Identity())
    return network


def _as_densenets_files_have_it(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)\.", r"\1.\2.", name): value for name, value in tensors.items()}


@pytest.mark.parametrize(
    ("model", "rewrite"),
    [("vgg16", dict), ("resnet50", dict), ("densenet121", dict), ("densenet121", _as_densenets_files_have_it)],
    ids=["vgg16", "resnet50", "densenet121", "densenet121-as-on-disk"],
)
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["shallow", "whole"])
def test_torchvisions_files_give_what_torchvisions_networks_give(
    tmp_path, shallow, monkeypatch, model, rewrite, whole
) -> None:
    if not whole:
        shallow(1)
    create, options = (_WHOLE if whole else _SHALLOW)[model]
    monkeypatch.setattr(timm, "create_model", partial(timm.create_model, **options))
    network = _of_torchvision(create)
    path = saved(rewrite(network.state_dict()), tmp_path / "theirs.pth")
    backbone = load_backbone(f"timm:{model}@{path}", poolings=["pooled"], **_OPTIONS)
    with torch.inference_mode():
        out = _without_classes(network)(normalised(backbone, noise_images(224, 1)))
    agree(backbone.embed(noise_images(224, 1))["pooled"], out)


def _in_names_of_microsoft(model: nn.Module) -> dict[str, torch.Tensor]:
    """timm's Swin under the names of microsoft/Swin-Transformer, whose buffers are stored too."""
    named = {}
    for name, value in model.state_dict().items():
        stage = re.match(r"layers\.(\d)\.downsample\.", name)
        at = name.replace(f"layers.{stage[1]}.", f"layers.{int(stage[1]) - 1}.") if stage else name
        named[at.replace("head.fc.", "head.")] = value
    stored = ("attn_mask", "relative_position_index")
    return named | {name: buffer for name, buffer in model.named_buffers() if name.endswith(stored)}


_OF_META = (
    (r"^stem\.", "downsample_layers.0."),
    (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
    (r"^stages\.(\d)\.blocks\.", r"stages.\1."),
    (r"\.conv_dw\.", ".dwconv."),
    (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
    (r"\.mlp\.grn\.weight$", ".grn.gamma"),
    (r"\.mlp\.grn\.bias$", ".grn.beta"),
    (r"^head\.norm\.", "norm."),
    (r"^head\.fc\.", "head."),
)


def _in_names_of_meta(model: nn.Module) -> dict[str, torch.Tensor]:
    """timm's ConvNeXt under the names of facebookresearch/ConvNeXt."""
    named = {}
    for name, value in model.state_dict().items():
        at = name
        for pattern, replacement in _OF_META:
            at = re.sub(pattern, replacement, at)
        named[at] = value.reshape(1, 1, 1, -1) if ".grn." in at else value
    return named


def _target(model: str) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return timm.create_model(model, num_classes=0).state_dict()


def _shapes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in tensors.items()}


@pytest.mark.parametrize(
    ("model", "publish"),
    [
        ("swin_tiny_patch4_window7_224", _in_names_of_microsoft),
        ("convnext_tiny", _in_names_of_meta),
        ("convnextv2_atto", _in_names_of_meta),
    ],
)
def test_the_authors_names_are_what_timm_itself_converts_and_each_finds_its_place(shallow, model, publish) -> None:
    """timm's own conversion, which is written apart from ours, is given the same file and must give the same."""
    shallow(1)
    whole = timm.create_model(model)
    published = publish(whole)
    values = as_published(published, _target(model))
    assert _shapes(values) == _shapes(_target(model))
    family = timm.models.swin_transformer if "swin" in model else timm.models.convnext
    converted = family.checkpoint_filter_fn(dict(published), whole)
    assert all(torch.equal(value, converted[name]) for name, value in values.items())


@pytest.mark.parametrize(
    ("model", "publish"),
    [
        ("swin_tiny_patch4_window7_224", _in_names_of_microsoft),
        ("swin_base_patch4_window7_224", _in_names_of_microsoft),
        ("convnext_tiny", _in_names_of_meta),
        ("convnext_base", _in_names_of_meta),
        ("convnextv2_atto", _in_names_of_meta),
    ],
)
def test_every_tensor_of_the_whole_ones_has_its_place(model, publish) -> None:
    with torch.device("meta"):
        values = as_published(publish(timm.create_model(model)), _target(model))
    assert _shapes(values) == _shapes(_target(model))


@pytest.mark.parametrize("distilled", [False, True])
def test_metas_deit_has_the_names_of_timm(distilled) -> None:
    shapes = vit(768, 12, 16, 198 if distilled else 197) | linear("head", 1000, 768)
    if distilled:
        shapes |= {"dist_token": (1, 1, 768)} | linear("head_dist", 1000, 768)
    model = "deit_base_distilled_patch16_224" if distilled else "deit_base_patch16_224"
    values = as_published({name: torch.empty(shape, device="meta") for name, shape in shapes.items()}, _target(model))
    assert _shapes(values) == _shapes(_target(model))
