"""A small cohort that a network learns in an epoch, and what two runs of it must have in common."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from medprobe.manifests import Manifest, build_folder
from PIL import Image

TINY = "timm:test_vit@random"
SEALED = ("scores.parquet", "predictions.parquet", "epochs.parquet", "units.parquet", "run.json")
"""Files that are the same bytes whenever a run is made again."""


def make_pets(folder: Path, count: int = 60) -> Manifest:
    """`count` images of two classes, of which one is redder, saved beside its images."""
    for number in range(count):
        path = folder / "pets" / ("cat", "dog")[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 160, (40, 36, 3), np.uint8)
        pixels[..., 0] += np.uint8(50 * (number % 2))
        Image.fromarray(pixels).save(path)
    return build_folder(folder / "pets").save(folder / "pets.parquet")


def sealed(run: Path) -> dict[str, bytes]:
    """The bytes of those files."""
    return {name: (run / name).read_bytes() for name in SEALED}
