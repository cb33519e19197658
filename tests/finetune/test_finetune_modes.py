"""Modes: what each trains, on every kind of network, and that the rest stays as it is, to the bit."""

from __future__ import annotations

import re
from typing import Any

import peft
import pytest
import timm
import torch
from medprobe.base.errors import FinetuneError
from medprobe.extract import resolve
from medprobe.extract.architecture import untrained_vectors
from medprobe.finetune import describe_modes
from medprobe.finetune.network.classifier import Classifier, assemble, blocks_of, make_classifier
from medprobe.finetune.network.heads import Head
from medprobe.finetune.network.modes import Mode
from medprobe.finetune.network.trial import needed_parameters
from tiny_networks import KINDS
from torch import nn

_TOKENS = "tokens-deit@tiny-vit@random"
_SIX = ("tiny-vit", "tiny-cnn", "tiny-swin", "tiny-sam", "tiny-clip", "tiny-blip")
_MODES = ("mlp", "partial:2", "lora:8", "bitfit", "full", _TOKENS, "drop-last:2+full", "drop-last:1+lora:2")
_LABELS = torch.tensor([0, 1, 2, 0])


def _case(name: str, mode: str) -> Any:
    """Each kind in one mode, and each mode on one kind, are quick; all others are slow by their number."""
    quick = name == "tiny-vit" or mode == "lora:8"
    return pytest.param(name, mode, marks=() if quick else pytest.mark.slow)


def _trained(classifier: Classifier, images: torch.Tensor, steps: int = 2) -> None:
    """Two steps that change everything that has a gradient, after the rescaling of the vectors is fitted."""
    if isinstance(classifier.head, Head):
        with torch.no_grad():
            classifier.head.rescaling.fit(classifier.vectors(images)[0])
    values = [value for value in classifier.parameters() if value.requires_grad]
    optimizer = torch.optim.Adam(values, lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(classifier(images), _LABELS).backward()
        assert all(value.grad is not None for value in values)
        optimizer.step()


@pytest.mark.parametrize(("name", "mode"), [_case(name, mode) for name in _SIX for mode in _MODES])
def test_what_a_mode_names_is_trained_and_nothing_else_changes(tiny_backbone, images_for, name: str, mode: str) -> None:
    backbone = tiny_backbone(name)
    original = {each: value.clone() for each, value in backbone.network.state_dict().items()}
    classifier = make_classifier(backbone, mode, 3)
    before = {each: value.clone() for each, value in classifier.state_dict().items()}
    _trained(classifier, images_for(backbone))
    after = classifier.state_dict()
    assert {each for each in after if not torch.equal(after[each], before[each])} == classifier.trained_state().keys()
    assert all(torch.equal(value, original[each]) for each, value in backbone.network.state_dict().items())
    on_meta = assemble(untrained_vectors(resolve(name)), Mode.parse(mode), 3)
    assert on_meta.trained_parameters() == classifier.trained_parameters()


@pytest.mark.parametrize("name", [pytest.param("tiny-vit", marks=pytest.mark.slow), "tiny-resnet"])
def test_the_table_of_modes_holds_what_a_classifier_trains(tiny_backbone, name: str, monkeypatch) -> None:
    from medprobe.finetune.network import modes

    monkeypatch.setattr(modes, "_DEIT", "tiny-vit@random")
    blocks, costs = describe_modes(resolve(name), 3)
    assert [cost.mode for cost in costs if cost.mode.startswith("partial")] == [
        "partial:1",
        "partial:2",
        f"partial:{blocks}",
    ]
    for cost in costs:
        classifier = make_classifier(tiny_backbone(name), cost.mode, 3)
        assert cost.trained == classifier.trained_parameters()
        assert cost.share == cost.trained / sum(value.numel() for value in classifier.parameters())
    assert {cost.mode: cost.blocks for cost in costs}["partial:2"] == 2


def test_partial_counts_are_those_of_timm(tiny_backbone) -> None:
    parts = tiny_backbone("tiny-vit").network
    count = sum(value.numel() for part in (*parts.blocks[-2:], parts.norm) for value in part.parameters())
    assert make_classifier(tiny_backbone("tiny-vit"), "partial:2", 3).trained_parameters() == count + 3 * 48 + 3


def test_lora_counts_and_outputs_are_those_of_peft(tiny_backbone, images_for) -> None:
    backbone = tiny_backbone("tiny-vit")
    classifier = make_classifier(backbone, "lora:4", 3)
    entry = KINDS["tiny-vit"]
    theirs = timm.create_model(entry.model, num_classes=0, **entry.options)
    theirs.load_state_dict(backbone.network.state_dict())
    config = peft.LoraConfig(r=4, lora_alpha=16, target_modules=["qkv", "attn.proj"])
    wrapped = peft.get_peft_model(theirs, config)
    assert wrapped.get_nb_trainable_parameters()[0] == classifier.trained_parameters() - (3 * 48 + 3)
    updates = {n: v for n, v in classifier.vectors.network.named_parameters() if v.requires_grad}
    with torch.no_grad():
        for value in updates.values():
            value.normal_(std=0.1)
        for each, value in wrapped.base_model.model.named_parameters():
            if each in updates:
                value.copy_(updates[each])
        expected = wrapped.eval()(_normalised(backbone, images_for))
        torch.testing.assert_close(classifier.eval().vectors(images_for(backbone))[0], expected, atol=1e-5, rtol=0)


def test_an_opened_attention_of_an_openclip_tower_gives_the_same_vectors(tiny_backbone, images_for) -> None:
    backbone = tiny_backbone("tiny-clip")
    images = images_for(backbone)
    classifier = make_classifier(backbone, "lora", 3).eval()
    with torch.no_grad():
        torch.testing.assert_close(classifier.vectors(images)[0], backbone.vectors(images)[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", ["linear", "mlp", "partial:2", "lora:2", _TOKENS])
def test_batch_norms_of_frozen_parts_do_not_move(tiny_backbone, images_for, mode: str) -> None:
    backbone = tiny_backbone("tiny-cnn")
    classifier = make_classifier(backbone, mode, 3)
    frozen = {
        name: module
        for name, module in classifier.vectors.named_modules()
        if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad
    }
    before = {name: module.running_mean.clone() for name, module in frozen.items()}
    _trained(classifier, images_for(backbone))
    assert frozen
    assert not any(module.training for module in frozen.values())
    assert all(torch.equal(module.running_mean, before[name]) for name, module in frozen.items())


def test_batch_norms_move_where_all_is_trained(tiny_backbone, images_for) -> None:
    backbone = tiny_backbone("tiny-cnn")
    classifier = make_classifier(backbone, "full", 3)
    norms = [module for module in classifier.vectors.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [module.running_mean.clone() for module in norms]
    _trained(classifier, images_for(backbone))
    assert not any(torch.equal(module.running_mean, old) for module, old in zip(norms, before, strict=True))
    classifier.eval()
    assert not any(module.training for module in classifier.modules())


def test_a_fully_trained_network_can_have_the_head_of_mlp(tiny_backbone) -> None:
    classifier = make_classifier(tiny_backbone("tiny-cnn"), "full:8", 3)
    assert classifier.head.hidden.out_features == 8
    assert all(value.requires_grad for value in classifier.parameters())


@pytest.mark.parametrize(("name", "pooling"), [("tiny-vit", "cls"), ("tiny-clip", "proj"), ("tiny-blip", "cls")])
def test_without_its_last_blocks_a_transformer_gives_what_the_pooling_of_a_block_gives(
    tiny_backbone, images_for, name: str, pooling: str
) -> None:
    inside = tiny_backbone(name, poolings=(f"{pooling}@2",))
    images = images_for(inside)
    classifier = make_classifier(tiny_backbone(name), "drop-last:2", 3)
    expected = torch.from_numpy(inside.embed(images)[f"{pooling}@2"])
    torch.testing.assert_close(classifier.vectors(images)[0], expected, atol=1e-5, rtol=0)
    assert classifier.blocks.count == 2


def test_without_its_last_stages_the_mean_of_the_last_map_is_the_vector(tiny_backbone, images_for) -> None:
    backbone = tiny_backbone("tiny-swin", poolings=("stage3",))
    images = images_for(backbone)
    classifier = make_classifier(tiny_backbone("tiny-swin"), "drop-last:1", 3)
    assert classifier.vectors.poolings == ("mean",)
    expected = torch.from_numpy(backbone.embed(images)["stage3"])
    torch.testing.assert_close(classifier.vectors(images)[0], expected, atol=1e-5, rtol=0)
    assert classifier.head.output.in_features == 96


def test_tokens_are_those_of_the_patches_on_the_positions_of_the_reader(tiny_backbone, images_for) -> None:
    backbone = tiny_backbone("tiny-vit", image_size=64)
    classifier = make_classifier(backbone, _TOKENS, 3)
    tokens = classifier.vectors(images_for(backbone))[0]
    assert tokens.shape == (4, 64, 48)
    assert classifier.head.deit.pos_embed.shape == (1, 65, 48)
    torch.testing.assert_close(tokens, backbone.network.forward_features(_normalised(backbone, images_for))[:, 1:])


def _normalised(backbone: Any, images_for: Any) -> torch.Tensor:
    mean, std = (torch.tensor(each).view(1, -1, 1, 1) for each in (backbone.transform.mean, backbone.transform.std))
    return (images_for(backbone).float() / 255 - mean) / std


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("mlp", "mlp:256"),
        ("lora", "lora:8"),
        ("partial:3", "partial:3"),
        ("full", "full"),
        ("full:64", "full:64"),
        ("drop-last:4", "drop-last:4+linear"),
        ("drop-last:4+lora", "drop-last:4+lora:8"),
        ("tokens-deit", "tokens-deit"),
        ("tokens-deit:unfrozen@deit-b@/home/me/deit.pth", "tokens-deit:unfrozen@deit-b@deit.pth"),
    ],
)
def test_a_mode_has_one_name(text: str, name: str) -> None:
    assert Mode.parse(text).name == name


@pytest.mark.parametrize(
    "text",
    [
        *("", "linea", "partial", "partial:0", "partial:x", "partial:-1", "full:0", "full:", "lora:", "linear@x"),
        *("drop-last", "drop-last:0", "drop-last:2+", "drop-last:2+what", "drop-last:1+drop-last:1"),
        *("tokens-deit:frozen", "tokens-deit@"),
    ],
)
def test_an_unknown_mode_is_refused_with_those_that_there_are(text: str) -> None:
    with pytest.raises(FinetuneError, match=r"there is no mode .*partial:K, lora\[:8\]"):
        Mode.parse(text)


@pytest.mark.parametrize("mode", ["partial:5", "drop-last:4", "drop-last:2+partial:3"])
def test_more_blocks_than_there_are_are_refused(tiny_backbone, mode: str) -> None:
    has = 2 if "+" in mode else 4
    with pytest.raises(FinetuneError, match=re.escape(f"but this network has {has} blocks")):
        make_classifier(tiny_backbone("tiny-vit"), mode, 3)


def test_blocks_after_the_vector_are_not_trained_for_nothing(tiny_backbone) -> None:
    backbone = tiny_backbone("tiny-vit", poolings=("cls@3",))
    with pytest.raises(FinetuneError, match=r"last 1 of 4 blocks.*use drop-last:1\+partial:2, or another pooling"):
        make_classifier(backbone, "partial:2", 3)
    inside = make_classifier(backbone, "drop-last:1+partial:2", 3)
    assert inside.blocks.count == 3


@pytest.mark.parametrize("name", ["convnext-t", "vgg16", "resnet50"])
def test_networks_of_stages_run_without_their_last_blocks(name: str) -> None:
    entry = resolve(name)
    classifier = assemble(untrained_vectors(entry), Mode.parse("drop-last:4+full"), 2)
    assert classifier.blocks.count == blocks_of(untrained_vectors(entry)).count - 4


@pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", "beit_base_patch16_224"])
def test_every_update_of_lora_is_on_a_layer_that_runs(name: str) -> None:
    classifier = assemble(untrained_vectors(resolve(f"timm:{name}@random")), Mode.parse("lora:4"), 2)
    network = classifier.vectors.network
    updates = {name for name, value in network.named_parameters() if value.requires_grad}
    assert any("qkv" in name for name in updates)
    assert updates <= needed_parameters(classifier.vectors)[0]
