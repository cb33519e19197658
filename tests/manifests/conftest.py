"""Small real images, tables and npz files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from medprobe.manifests import Manifest, build_folder
from PIL import Image


def draw(path: Path, seed: int, size: tuple[int, int] = (12, 10)) -> Path:
    """Writes a grey PNG of noise that `seed` alone decides."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    Image.fromarray(pixels).save(path, format="PNG")
    return path


@pytest.fixture(name="draw")
def _draw() -> Callable[..., Path]:
    """`draw(path, seed)`: a grey PNG of noise that `seed` alone decides."""
    return draw


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    """`train` and `test` of classes `cat` (12 + 10 images) and `dog` (11 + 10), every image another."""
    seed = 0
    for split, name, count in (("train", "cat", 12), ("train", "dog", 11), ("test", "cat", 10), ("test", "dog", 10)):
        for number in range(count):
            draw(tmp_path / "pets" / split / name / f"{number:02d}.png", seed)
            seed += 1
    return tmp_path / "pets"


@pytest.fixture
def pets(class_folders: Path, tmp_path: Path) -> Manifest:
    """The class folders as a saved manifest."""
    return build_folder(class_folders).save(tmp_path / "pets.parquet")
