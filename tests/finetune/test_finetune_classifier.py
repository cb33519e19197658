"""Classifiers: logits, seeds, what optimizers see of them, and what they hand over and take back."""

from __future__ import annotations

import pytest
import torch
from medprobe.base import WeightsError
from medprobe.finetune.network.classifier import make_classifier
from timm.layers import DropPath
from timm.optim import create_optimizer_v2


def test_logits_are_the_head_on_the_vectors_of_the_backbone(tiny_backbone, images_for) -> None:
    backbone = tiny_backbone("tiny-swin")
    images = images_for(backbone)
    classifier = make_classifier(backbone, "linear", 3, dropout=0.5).eval()
    vectors = torch.from_numpy(backbone.embed(images)["pooled"])
    expected = torch.nn.functional.linear(vectors, classifier.head.output.weight, classifier.head.output.bias)
    torch.testing.assert_close(classifier(images), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", ["linear", "lora", "tokens-deit@tiny-vit@random"])
def test_logits_are_float32_under_autocast(tiny_backbone, images_for, mode: str) -> None:
    backbone = tiny_backbone("tiny-vit")
    classifier = make_classifier(backbone, mode, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert classifier(images_for(backbone)).dtype == torch.float32


@pytest.mark.parametrize("mode", ["mlp", "lora", "tokens-deit@tiny-vit@random"])
def test_a_seed_draws_the_new_weights_and_disturbs_no_other_numbers(tiny_backbone, mode: str) -> None:
    backbone = tiny_backbone("tiny-vit")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = (make_classifier(backbone, mode, 3, seed=seed).trained_state() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_rates_of_timms_optimizer_fall_from_the_head_to_the_stem(tiny_backbone) -> None:
    classifier = make_classifier(tiny_backbone("tiny-vit"), "full", 3)
    optimizer = create_optimizer_v2(classifier, "adamw", lr=1.0, weight_decay=0.1, layer_decay=0.5)
    named = {id(value): name for name, value in classifier.named_parameters()}
    scales = {named[id(v)]: (g["lr_scale"], g["weight_decay"]) for g in optimizer.param_groups for v in g["params"]}
    assert scales["head.output.weight"] == (1.0, 0.1)
    assert scales["vectors.network.norm.weight"] == (0.5, 0.0)
    assert scales["vectors.network.blocks.3.mlp.fc1.weight"] == (0.5, 0.1)
    assert scales["vectors.network.blocks.0.mlp.fc1.weight"] == (0.5**4, 0.1)
    assert scales["vectors.network.patch_embed.proj.weight"] == (0.5**5, 0.1)
    assert scales["vectors.network.pos_embed"] == scales["vectors.network.cls_token"] == (0.5**5, 0.0)


@pytest.mark.parametrize("name", ["tiny-clip", "tiny-blip", "tiny-sam-hf"])
def test_positions_and_class_tokens_do_not_decay_whatever_their_library_calls_them(tiny_backbone, name: str) -> None:
    classifier = make_classifier(tiny_backbone(name), "full", 3)
    undecayed = classifier.no_weight_decay()
    stem = {f"vectors.network.{each}" for each, number in classifier.blocks.numbers.items() if number == 0}
    assert {each for each in stem if not each.endswith((".weight", ".bias"))} <= undecayed
    assert not any("mlp" in each or "qkv" in each for each in undecayed)


def test_a_reader_of_tokens_goes_on_counting_layers(tiny_backbone) -> None:
    classifier = make_classifier(tiny_backbone("tiny-vit"), "tokens-deit:unfrozen@tiny-vit@random", 3)
    number = classifier.group_matcher()
    names = ["vectors.network.cls_token", "vectors.network.norm.bias", "head.deit.pos_embed", "head.deit.norm.bias"]
    assert [number(name) for name in [*names, "head.output.weight"]] == [0, 4, 5, 9, 10]


@pytest.mark.parametrize("name", ["tiny-vit", "tiny-resnet", "tiny-swin", "tiny-sam"])
def test_stochastic_depth_rises_from_the_first_block_to_the_last(tiny_backbone, name: str) -> None:
    classifier = make_classifier(tiny_backbone(name), "full", 3, drop_path=0.3)
    rates = [m.drop_prob for m in classifier.vectors.network.modules() if isinstance(m, DropPath)]
    assert rates == sorted(rates)
    assert (rates[0], rates[-1]) == (0.0, 0.3)
    assert not classifier.notes


def test_no_place_for_stochastic_depth_is_noted(tiny_backbone) -> None:
    (note,) = make_classifier(tiny_backbone("tiny-clip"), "full", 3, drop_path=0.3).notes
    assert "stochastic depth" in note


@pytest.mark.parametrize("mode", ["full", "lora:2", "bitfit"])
def test_what_is_trained_can_be_handed_over(tiny_backbone, images_for, mode: str) -> None:
    backbone = tiny_backbone("tiny-cnn")
    images = images_for(backbone)
    one, other = (make_classifier(backbone, mode, 3, seed=seed) for seed in (1, 2))
    with torch.no_grad():
        for value in one.parameters():
            if value.requires_grad:
                value.add_(0.01)
    one(images)  # moves the statistics of what is trained
    other.load_trained_state(one.trained_state())
    assert torch.equal(one.eval()(images), other.eval()(images))


def test_trained_weights_of_another_mode_are_refused(tiny_backbone) -> None:
    backbone = tiny_backbone("tiny-vit")
    state = make_classifier(backbone, "partial:1", 3).trained_state()
    for mode, outputs in (("partial:2", 3), ("partial:1", 4)):
        with pytest.raises(WeightsError, match="another network, mode or number of classes"):
            make_classifier(backbone, mode, outputs).load_trained_state(state)


def test_a_copy_of_a_resized_network_has_positions_of_its_own(tiny_backbone, images_for) -> None:
    backbone = tiny_backbone("tiny-blip", image_size=64)
    before = backbone.embed(images_for(backbone))["cls"]
    classifier = make_classifier(backbone, "full", 3)
    logits = classifier(images_for(backbone))
    logits.sum().backward()
    positions = dict(classifier.named_parameters())["vectors.network.embeddings.position_embedding"]
    assert positions.shape == (1, 65, 48)
    assert positions.grad is not None
    with torch.no_grad():
        positions.zero_()
    assert not torch.equal(classifier(images_for(backbone)), logits)
    assert (backbone.embed(images_for(backbone))["cls"] == before).all()
