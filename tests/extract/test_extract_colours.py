"""What a network sees of images of every colour mode, and under a normalization that is not its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from medprobe.base import BackboneError, ManifestError, QuarantineError
from medprobe.cache import TransformSpec
from medprobe.cache.spec import dataset_folder
from medprobe.extract import Normalization, dataset_normalization, load_backbone, read_normalization
from medprobe.extract.loader import to_input
from medprobe.manifests import DatasetCard, Manifest, Source, build_folder, read_image
from PIL import Image

_TINY = "timm:test_vit@random"
_OPTIONS = {"precision": "fp32", "device": "cpu", "image_size": 32}


def _spec(colour: str) -> TransformSpec:
    channels = 3 if colour == "rgb" else 1
    numbers = {"mean": (0.5,) * channels, "std": (0.5,) * channels, "colour": colour}
    return TransformSpec(size=(16, 16), resize="squash", resize_to=(16, 16), interpolation="bilinear", **numbers)


def _grey() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)


def _colours() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def _seen(image: Image.Image, path: Path, colour: str) -> np.ndarray:
    image.save(path)
    return to_input(read_image(Source(path)), _spec(colour))


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("grey.png", lambda: Image.fromarray(_grey())),
        ("rgb.png", lambda: Image.fromarray(_grey()).convert("RGB")),
        ("rgba.png", lambda: Image.fromarray(_grey()).convert("RGBA")),
        ("palette.png", lambda: Image.fromarray(_grey()).convert("P")),
        ("wide.png", lambda: Image.fromarray(_grey().astype(np.uint16) * 257)),
        ("wide.tif", lambda: Image.fromarray(_grey().astype(np.uint16) * 257)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_grey_picture_is_the_same_to_a_network_however_it_is_stored(tmp_path, name, image) -> None:
    np.testing.assert_array_equal(_seen(image(), tmp_path / name, "grey"), _grey()[None])
    np.testing.assert_array_equal(_seen(image(), tmp_path / name, "rgb"), np.stack([_grey()] * 3))


def test_a_cmyk_picture_is_seen_as_pillow_shows_it(tmp_path) -> None:
    cmyk = Image.fromarray(_colours()).convert("CMYK")
    for colour, mode in (("rgb", "RGB"), ("grey", "L")):
        seen = _seen(cmyk, tmp_path / "cmyk.tif", colour)
        shown = np.asarray(cmyk.convert("RGB").convert(mode))
        np.testing.assert_array_equal(seen, shown[None] if mode == "L" else shown.transpose(2, 0, 1))


def test_a_network_of_one_channel_sees_the_luma_of_colours(tmp_path) -> None:
    seen = _seen(Image.fromarray(_colours()), tmp_path / "rgb.png", "grey")
    luma = _colours() @ np.array([0.299, 0.587, 0.114])
    assert seen.shape == (1, 16, 16)
    assert np.abs(seen[0] - luma).max() <= 0.51


def test_what_is_transparent_is_black_to_either_kind_of_network(tmp_path) -> None:
    image = Image.fromarray(np.dstack([_colours(), np.zeros((16, 16), np.uint8)]), "RGBA")
    assert not _seen(image, tmp_path / "clear.png", "grey").any()
    assert not _seen(image, tmp_path / "clear.png", "rgb").any()


def test_a_spec_whose_channels_do_not_fit_its_colour_is_refused() -> None:
    with pytest.raises(ValueError, match="grey has 1 channels"):
        TransformSpec(
            size=(8, 8),
            resize="squash",
            resize_to=(8, 8),
            interpolation="bilinear",
            mean=(0.5,) * 3,
            std=(0.5,) * 3,
            colour="grey",
        )


def _saved(folder: Path, pictures: dict[str, np.ndarray]) -> Manifest:
    for name, pixels in pictures.items():
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return build_folder(folder / "images").save(folder / "few.parquet")


def _few(folder: Path) -> Manifest:
    return _saved(
        folder,
        {
            "train/cat/0.png": np.full((224, 224), 51, np.uint8),
            "train/dog/1.png": np.full((224, 224, 3), (0, 102, 255), np.uint8),
            "test/cat/2.png": np.full((224, 224), 255, np.uint8),
        },
    )


def test_the_normalization_of_a_data_set_is_that_of_its_training_images(tmp_path) -> None:
    made = dataset_normalization(_few(tmp_path), tmp_path / "store", workers=0)
    assert made["rgb"] == Normalization((0.1, 0.3, 0.6), (0.1, 0.1, 0.4))
    luma = round(0.587 * 102 + 0.114 * 255)
    assert made["grey"].mean == pytest.approx(((51 + luma) / 2 / 255,), abs=1e-6)


def test_it_is_counted_once_and_again_when_an_image_changed(tmp_path, monkeypatch) -> None:
    manifest = _few(tmp_path)
    manifest.card.name = "few images"
    first = dataset_normalization(manifest, tmp_path / "store", workers=0)
    with monkeypatch.context() as forbidding:
        forbidding.setattr("medprobe.extract.loader.decode", None)
        assert dataset_normalization(manifest, tmp_path / "store") == first
    Image.fromarray(np.full((224, 224), 70, np.uint8)).save(tmp_path / "images/train/cat/0.png")
    second = dataset_normalization(manifest, tmp_path / "store", workers=1)
    assert second != first
    [kept] = tmp_path.glob("store/*/normalization.json")
    assert kept.parent == dataset_folder(tmp_path / "store", manifest.name), "where its caches are"
    kept.write_text("{")
    assert dataset_normalization(manifest, tmp_path / "store", workers=0) == second


def test_it_is_counted_again_when_the_manifest_names_other_pixels_of_the_same_file(tmp_path) -> None:
    pages = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (51, 102)]
    (tmp_path / "images").mkdir()
    pages[0].save(tmp_path / "images" / "pages.tif", save_all=True, append_images=pages[1:])
    for page, mean in ((0, 0.2), (1, 0.4)):
        table = pd.DataFrame({"sample_id": ["one"], "path": ["pages.tif"], "frame": [page], "label": ["cat"]})
        card = DatasetCard(name="pages", task="multiclass", classes=["cat", "dog"], root=str(tmp_path / "images"))
        made = dataset_normalization(Manifest(table, card), tmp_path / "store", workers=0)
        assert made["grey"].mean == (mean,)


def test_a_split_without_training_images_has_no_mean(tmp_path) -> None:
    manifest = _saved(tmp_path, {"test/cat/0.png": _grey(), "val/dog/1.png": _grey()})
    with pytest.raises(ManifestError, match="no image in train"):
        dataset_normalization(manifest, tmp_path / "store", workers=0)


def test_images_of_which_none_can_be_read_have_no_mean(tmp_path) -> None:
    manifest = _few(tmp_path)
    for file in (tmp_path / "images" / "train").glob("*/*.png"):
        file.write_text("no image")
    with pytest.raises(QuarantineError, match="none of the 2 images of images can be read"):
        dataset_normalization(manifest, tmp_path / "store", workers=0)


@pytest.mark.parametrize("model", ["test_vit", "test_resnet"])
def test_red_filters_see_what_a_stem_cut_to_them_sees(model, tmp_path) -> None:
    options = {**_OPTIONS, "image_size": 64, "runtime": "torch"} if model == "test_resnet" else _OPTIONS
    backbone = load_backbone(f"timm:{model}@random", grey="red-filters", **options)
    own = load_backbone(f"timm:{model}@random", **options).transform
    assert (backbone.transform.mean, backbone.transform.std) == (own.mean[:1], own.std[:1])
    pixels = np.stack([to_input(_grey(), backbone.transform), to_input(_colours(), backbone.transform)])
    assert pixels.shape[1] == 1
    cut = timm.create_model(model, num_classes=0, in_chans=1).eval()
    state = backbone.network.state_dict()
    stem = next(
        name for name, value in cut.state_dict().items() if value.shape != state[name].shape and value.ndim == 4
    )
    size = {"pos_embed": state["pos_embed"]} if "pos_embed" in state else {}
    if size:
        cut.set_input_size(img_size=options["image_size"])
    cut.load_state_dict(state | {stem: state[stem][:, :1]} | size)
    with torch.inference_mode():
        expected = cut.forward_head(
            cut.forward_features((torch.from_numpy(pixels).float() / 255 - own.mean[0]) / own.std[0])
        )
    pooling = backbone.spec.poolings[0]
    np.testing.assert_allclose(backbone.embed(pixels)[pooling], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("model", "model"),
        ("dataset", "dataset"),
        ("0.286/0.267", Normalization((0.286,), (0.267,))),
        (".415,.221,.073/.275,.15,.081", Normalization((0.415, 0.221, 0.073), (0.275, 0.15, 0.081))),
    ],
)
def test_a_normalization_is_read(text, meaning) -> None:
    assert read_normalization(text) == meaning


@pytest.mark.parametrize("text", ["", "modell", "0.5", "0.5/", "0.5/0.2/0.1", "0.5;0.5/1", "a/b", "-1/1"])
def test_what_is_no_normalization_is_told_with_examples(text) -> None:
    with pytest.raises(BackboneError, match=r"0\.286/0\.267"):
        read_normalization(text)


@pytest.mark.parametrize(
    ("normalization", "told"),
    [
        (Normalization((0.5, 0.5), (0.5, 0.5)), "network takes 3 channels"),
        (Normalization((0.5,), (0.0,)), "std must be positive"),
    ],
)
def test_a_normalization_that_does_not_fit_the_network_is_told(normalization, told) -> None:
    with pytest.raises(BackboneError, match=told):
        load_backbone(_TINY, normalization=normalization, **_OPTIONS)


def test_another_normalization_is_what_the_network_sees_and_part_of_the_spec() -> None:
    own = load_backbone(_TINY, **_OPTIONS)
    other = load_backbone(_TINY, normalization=Normalization((0.3,), (0.2,)), **_OPTIONS)
    assert own.spec.fingerprint != other.spec.fingerprint
    assert (other.transform.mean, other.transform.std) == ((0.3,) * 3, (0.2,) * 3)
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
    with torch.inference_mode():
        expected = other.network.forward_features((torch.from_numpy(images).float() / 255 - 0.3) / 0.2)[:, 0]
    np.testing.assert_allclose(other.embed(images)["cls"], expected, rtol=1e-4, atol=1e-5)
