"""Networks that the user's code makes: modules of torch and encoders, named or handed over, checked when they load."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from medprobe.base import BackboneError, QuarantineError
from medprobe.base.errors import FinetuneError
from medprobe.cache import EmbeddingSpec, find_caches
from medprobe.extract import Normalization, extract, load_backbone, resolve
from medprobe.extract.catalogue import catalogue
from PIL import Image
from torchvision import transforms

_CODE = """
import numpy as np, timm, torch
from medprobe.cache import TransformSpec
from torchvision import transforms

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = timm.create_model("test_vit", num_classes=0)
        self.transform = TransformSpec(
            size=(160, 160),
            resize="short-side",
            resize_to=180,
            interpolation="bilinear",
            mean=(0.5,) * 3,
            std=(0.5,) * 3,
        )
    def forward(self, images):
        return self.body.forward_features(images)

class Branches(Net):
    def forward(self, images):
        tokens = self.body.forward_features(images)
        return {"tokens": tokens, "first": tokens[:, 0]}

class Encoder:
    def __init__(self):
        self.net = timm.create_model("test_vit", num_classes=0)
        steps = [transforms.Resize(180), transforms.CenterCrop(160), transforms.ToTensor()]
        steps.append(transforms.Normalize(0.5, 0.5))
        self.preprocess = transforms.Compose(steps)
    def embed(self, batch):
        return self.net(batch)

class Colours:
    def preprocess(self, image):
        return np.asarray(image.resize((8, 8)), np.float32).transpose(2, 0, 1)
    def embed(self, batch):
        return batch.mean((2, 3)).numpy()

class Picky(Colours):
    def preprocess(self, image):
        if image.size == (31, 33):
            raise ValueError("too small")
        return super().preprocess(image)

class OfTheBatch(Colours):
    def embed(self, batch):
        return batch.mean((2, 3)) - batch.mean()

class Shuffled(Colours):
    def embed(self, batch):
        return batch.mean((2, 3)).sort(0).values

class Random(Colours):
    def embed(self, batch):
        return torch.rand(len(batch), 3)

class Nan(Colours):
    def embed(self, batch):
        return batch.mean((2, 3)) * float("nan")

class Ragged(Colours):
    def preprocess(self, image):
        return np.asarray(image, np.float32).transpose(2, 0, 1)

class NoVectors(Colours):
    def embed(self, batch):
        return batch

class Fails(Colours):
    def embed(self, batch):
        raise KeyError("weights")

def number():
    return 3
"""
_CPU: Any = {"device": "cpu", "runtime": "torch", "precision": "fp32"}


@pytest.fixture
def module(tmp_path, monkeypatch) -> Path:
    """The folder with `own_code.py`, which is the current one."""
    (tmp_path / "own_code.py").write_text(_CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own_code", raising=False)
    return tmp_path


def _photo(seed: int, size: tuple[int, int] = (200, 240)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def _tiny_vit() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return timm.create_model("test_vit", num_classes=0).eval()


def test_a_module_gives_what_torchvision_and_it_give(module) -> None:
    images = [_photo(0), _photo(1)]
    steps = [transforms.Resize(180), transforms.CenterCrop(160), transforms.ToTensor(), transforms.Normalize(0.5, 0.5)]
    batch = torch.stack([transforms.Compose(steps)(image) for image in images])
    with torch.no_grad():
        expected = _tiny_vit().forward_features(batch)
    backbone = load_backbone("python:own_code:Net", poolings=["cls", "mean"], **_CPU)
    np.testing.assert_allclose(
        backbone.embed_images(images), torch.cat([expected[:, 0], expected[:, 1:].mean(1)], 1), atol=2e-5
    )


def test_an_encoder_gives_what_its_parts_give(module) -> None:
    images = [_photo(0), _photo(1, (90, 70)).convert("L")]
    backbone = load_backbone("python:own_code:Encoder", **_CPU)
    made = backbone.network.get_submodule("parts.0")
    own = sys.modules["own_code"].Encoder().preprocess
    with torch.no_grad():
        expected = made(torch.stack([own(image.convert("RGB")) for image in images]))
    np.testing.assert_allclose(backbone.embed_images(images), expected, atol=1e-5)
    assert backbone.spec.transform is None
    assert EmbeddingSpec.from_json(backbone.spec.to_json()) == backbone.spec


def test_outputs_by_name_are_poolings(module) -> None:
    backbone = load_backbone("python:own_code:Branches", poolings=["cls", "first", "tokens", "mean"], **_CPU)
    vectors = backbone.embed(torch.zeros(2, 3, 160, 160, dtype=torch.uint8))
    np.testing.assert_array_equal(vectors["cls"], vectors["first"])
    np.testing.assert_array_equal(vectors["mean"], vectors["tokens"])


def test_caches_in_workers_hold_what_images_in_memory_give(module, gallery) -> None:
    names = ("python:own_code:Colours", "python:own_code:Net", "python:own_code:Encoder")
    backbones = [load_backbone(name, **_CPU) for name in names]
    caches = extract(gallery, backbones, module / "store", workers=2, show_progress=False)
    images = [Image.open(gallery.source(row).path) for row in range(len(gallery))]
    for backbone, cache in zip(backbones, caches, strict=True):
        np.testing.assert_allclose(cache.load(backbone.spec.poolings[0]), backbone.embed_images(images), atol=1e-4)


def test_an_image_that_an_encoder_refuses_is_quarantined(module, gallery) -> None:
    backbone = load_backbone("python:own_code:Picky", **_CPU)
    with pytest.raises(QuarantineError, match="`preprocess` raised ValueError: too small"):
        extract(gallery, [backbone], module / "store", workers=1, show_progress=False)
    [cache] = find_caches(module / "store", gallery.name)
    assert 0 < len(cache) < len(gallery)


def test_changed_code_and_changed_weights_are_other_specs(module) -> None:
    first = load_backbone("python:own_code:Colours", **_CPU).spec
    assert load_backbone("python:own_code:Colours", **_CPU).spec == first
    (module / "own_code.py").write_text(_CODE + "# a comment\n")
    assert load_backbone("python:own_code:Colours", **_CPU).spec.fingerprint != first.fingerprint
    network = _tiny_vit()
    one, same = (
        load_backbone(network, normalization=Normalization((0.5,), (0.5,)), **_CPU, image_size=160).spec for _ in "ab"
    )
    with torch.no_grad():
        next(network.parameters()).add_(1)
    other = load_backbone(network, normalization=Normalization((0.5,), (0.5,)), **_CPU, image_size=160).spec
    assert one == same
    assert other.weights_digest != one.weights_digest


def test_a_module_that_fails_for_images_is_told_from_a_wrong_size() -> None:
    with pytest.raises(BackboneError, match=r"fails for a batch of shape \(1, 3, 224, 224\): RuntimeError: mat1"):
        load_backbone(torch.nn.Linear(7, 3), normalization=Normalization((0.5,), (0.5,)), device="cpu")


class _Holds:
    """An encoder whose vectors depend on what it is given."""

    def __init__(self, held: object) -> None:
        self.held = held

    def preprocess(self, image):
        return np.asarray(image.resize((8, 8)), np.float32).transpose(2, 0, 1) / 255

    def embed(self, batch):
        return batch.mean((2, 3))


def _linear(seed: int) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return torch.nn.Linear(3, 3)


class _Block(torch.nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.linear, self.scale = _linear(0), scale


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: {"nets": [_linear(seed)]},
        lambda seed: torch.full((3,), seed),
        lambda seed: [np.full(3, seed)],
        lambda seed: _Holds(_Holds(_linear(seed))),
        lambda seed: transforms.Compose([transforms.Resize(10 + seed)]),
        lambda seed: transforms.Compose([transforms.Normalize(0.5 + seed, 1)]),
        lambda seed: ["cls", "mean"][seed],
        lambda seed: _Block(seed),
        lambda seed: torch.nn.Sequential(_Block(seed)) if seed else _Block(0),
    ],
)
def test_whatever_an_encoder_holds_is_part_of_its_spec(make: Callable[[int], object]) -> None:
    specs = [load_backbone(_Holds(make(seed)), device="cpu").spec for seed in (0, 0, 1)]
    assert specs[0] == specs[1] != specs[2]


def test_networks_in_lists_are_put_into_evaluation_mode() -> None:
    dropout = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout())
    load_backbone(_Holds({"nets": [dropout]}), device="cpu")
    assert not dropout.training


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("OfTheBatch", "the other images in the batch"),
        ("Shuffled", "one row per image, in order"),
        ("Random", "from call to call"),
        ("Nan", "NaN or infinity"),
        ("Ragged", "resize to one size"),
        ("NoVectors", r"gave float32 \(3, 3, 8, 8\) for 3 images"),
        ("Fails", "KeyError: weights"),
        ("number", "gives int; it has to be a torch.nn.Module"),
        ("absent", "own_code has no absent"),
    ],
)
def test_a_faulty_encoder_is_refused_when_it_loads(module, name, words) -> None:
    with pytest.raises(BackboneError, match=words):
        load_backbone(f"python:own_code:{name}", **_CPU)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("python:no_such_module:f", {}, "no module no_such_module in the current folder"),
        ("python:own_code", {}, "python:MODULE:FUNCTION"),
        ("python:own_code:Colour", {}, 'own_code has no Colour. Did you mean "Colours"'),
        ("python:own_code:Colours", {"image_size": 64}, "leave out --image-size"),
        ("python:own_code:Colours", {"poolings": ["cls"]}, "its one vector is pooled"),
        ("python:own_code:Net", {"image_size": 64}, "a `transform` of its own"),
        ("python:timm:list_models", {}, "gives list"),
    ],
)
def test_a_faulty_name_or_option_is_refused(module, name, options, words) -> None:
    with pytest.raises(BackboneError, match=words):
        load_backbone(name, **_CPU, **options)


def test_a_module_without_a_transform_needs_a_normalization() -> None:
    with pytest.raises(BackboneError, match="--normalization MEAN/STD"):
        load_backbone(_tiny_vit(), **_CPU)


def test_entry_points_of_packages_are_names_of_the_catalogue(module, monkeypatch) -> None:
    info = module / "lab_encoders-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-encoders\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[medprobe.backbones]\nlab-net = own_code:Net\n")
    monkeypatch.syspath_prepend(str(module))
    catalogue.cache_clear()
    try:
        entry = resolve("lab-net")
        assert (entry.source, entry.pretraining) == ("python", "in the package lab-encoders 1.0")
        assert load_backbone("lab-net", **_CPU).spec.backbone == "lab-net"
    finally:
        catalogue.cache_clear()


def test_an_encoder_cannot_be_trained(module, gallery) -> None:
    from medprobe.finetune.embeddings import load_trainable

    with pytest.raises(FinetuneError, match="only networks of torch can be trained"):
        load_trainable(gallery, {"name": "python:own_code:Colours"}, "cpu")
    assert load_trainable(gallery, {"name": "python:own_code:Net"}, "cpu").dims == {"cls": 64}
