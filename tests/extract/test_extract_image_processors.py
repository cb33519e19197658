"""Preprocessing through transformers is its image processors' own, or is refused by the field that we cannot follow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import transformers as hf
from medprobe.base import WeightsError
from medprobe.cache import TransformSpec
from medprobe.extract.adapters.image_processors import transform_of
from medprobe.extract.loader import to_input
from PIL import Image

_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def _ours(pixels: np.ndarray, spec: TransformSpec) -> np.ndarray:
    scaled = to_input(pixels, spec) / 255
    return (scaled - np.reshape(spec.mean, (3, 1, 1))) / np.reshape(spec.std, (3, 1, 1))


_PROCESSORS = {
    "crops by a share": hf.ConvNextImageProcessorPil(size={"shortest_edge": 64}, crop_pct=0.875),
    "crops by a share that leaves a part of a pixel": hf.ConvNextImageProcessorPil(
        size={"shortest_edge": 60}, crop_pct=0.9, **_IMAGENET
    ),
    "squashes from 384 on": hf.ConvNextImageProcessorPil(size={"shortest_edge": 384}, crop_pct=0.875),
    "normalises not": hf.ViTImageProcessorPil(size={"height": 48, "width": 40}, do_normalize=False),
    "normalises at 0 to 255": hf.ViTImageProcessorPil(
        size={"height": 48, "width": 48}, do_rescale=False, image_mean=[120.0, 110, 100], image_std=[60.0, 61, 62]
    ),
    "rescales to 0 to 2": hf.ViTImageProcessorPil(size={"height": 48, "width": 48}, rescale_factor=2 / 255),
    "does neither": hf.ViTImageProcessorPil(size={"height": 48, "width": 48}, do_rescale=False, do_normalize=False),
    "crops not, but has a crop's size": hf.BeitImageProcessorPil(
        size={"height": 48, "width": 48}, crop_size={"height": 40, "width": 40}, do_center_crop=False
    ),
    "squashes, then crops": hf.DeiTImageProcessorPil(size={"height": 64, "width": 64}, crop_size=56),
    "scales the shorter side, then crops": hf.CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size=56),
}


@pytest.mark.parametrize("name", _PROCESSORS)
@pytest.mark.parametrize("shape", [(90, 131), (131, 90), (77, 77)])
def test_the_input_is_the_processors_own(name, shape) -> None:
    processor: Any = _PROCESSORS[name]
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    theirs = processor(Image.fromarray(pixels), return_tensors="np")["pixel_values"][0]
    spec = transform_of(processor.to_dict(), None, "hf:some/model")
    ours = _ours(pixels, spec)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


def test_what_a_config_leaves_out_is_its_kinds_default() -> None:
    older = transform_of({"feature_extractor_type": "CLIPFeatureExtractor", "size": 64, "crop_size": 56}, None, "some")
    whole = transform_of(hf.CLIPImageProcessor(size={"shortest_edge": 64}, crop_size=56).to_dict(), None, "some")
    assert older == whole
    assert (older.resize, older.resize_to, older.size) == ("short-side", 64, (56, 56))
    assert transform_of({"image_processor_type": "ViTImageProcessor", "size": 48}, None, "some").resize == "squash"


def test_another_size_scales_resize_and_crop_together() -> None:
    processor = hf.ConvNextImageProcessor(size={"shortest_edge": 224}, crop_pct=0.875)
    own, twice = (transform_of(processor.to_dict(), size, "some") for size in (None, 448))
    assert (own.size, own.resize_to) == ((224, 224), 256)
    assert (twice.size, twice.resize_to, twice.resize) == ((448, 448), 512, "short-side")


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (hf.MobileViTImageProcessor().to_dict(), "do_flip_channel_order"),
        (hf.PoolFormerImageProcessor().to_dict(), "crop_pct"),
        (hf.EfficientNetImageProcessor(rescale_offset=True).to_dict(), "rescale_offset"),
        (hf.LevitImageProcessor().to_dict(), "LevitImageProcessor"),
        (hf.ViTImageProcessor(do_resize=False).to_dict(), "do_resize"),
        (hf.CLIPImageProcessor(do_center_crop=False).to_dict(), "do_center_crop"),
        (hf.ViTImageProcessor(do_pad=True).to_dict(), "do_pad"),
        (hf.ViTImageProcessor(resample=4).to_dict(), "resample: 4"),
        (hf.SamImageProcessor(pad_size={"height": 1024, "width": 512}).to_dict(), "longest_edge"),
        ({"size": {"height": 28, "width": 28}, "equalize": True}, "equalize"),
        ({"size": {"max_height": 28}}, "sizes"),
        ({"image_processor_type": "ViTImageProcessor", "size": {"tall": 3}}, "tall"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_field_that_cannot_be_followed_is_refused_by_name(config, field) -> None:
    with pytest.raises(WeightsError, match=rf"hf:some/model: preprocessor_config\.json .*{field}"):
        transform_of(config, None, "hf:some/model")


def test_padding_of_segment_anything_becomes_a_squash_to_its_square() -> None:
    spec = transform_of(hf.SamImageProcessor().to_dict(), None, "some")
    assert (spec.size, spec.resize, spec.resize_to) == ((1024, 1024), "squash", (1024, 1024))
    assert transform_of(hf.SamImageProcessor().to_dict(), 224, "some").resize_to == (224, 224)
