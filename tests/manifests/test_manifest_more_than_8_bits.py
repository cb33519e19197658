from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from medprobe.base import ImageError
from medprobe.manifests import IntensityPolicy, Source, read_image
from PIL import Image

_RAMP = np.arange(300, dtype=np.uint16).reshape(15, 20) * 10


def _read(path: Path, reading: IntensityPolicy | None = None) -> np.ndarray:
    return read_image(Source(path, reading=reading or IntensityPolicy()))


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(np.uint16, "i.png"), (np.uint16, "i.tif"), (np.int32, "i.tif"), (np.float32, "i.tif")],
)
@pytest.mark.parametrize(
    ("reading", "low", "high"),
    [
        (IntensityPolicy(window=(1000.0, 500.0)), 750, 1250),
        (IntensityPolicy(window="percentiles", percentiles=(0, 100)), 0, 2990),
    ],
    ids=["window", "percentiles"],
)
def test_a_window_makes_wide_images_8_bits(
    tmp_path: Path, dtype, name: str, reading: IntensityPolicy, low, high
) -> None:
    Image.fromarray(_RAMP.astype(dtype)).save(tmp_path / name)
    expected = np.rint(((_RAMP.astype(float) - low) / (high - low)).clip(0, 1) * 255)
    np.testing.assert_array_equal(_read(tmp_path / name, reading), expected)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_a_wide_image_whose_range_is_unknown_is_refused_with_what_to_set(tmp_path: Path, kind) -> None:
    Image.fromarray(_RAMP.astype(kind)).save(tmp_path / "i.tif")
    with pytest.raises(ImageError, match="`window` under `reading` in the card"):
        _read(tmp_path / "i.tif")


def test_8_bit_images_are_never_stretched(tmp_path: Path) -> None:
    for pixels in (np.full((4, 4), 7, np.uint8), np.full((4, 4, 3), 7, np.uint8)):
        Image.fromarray(pixels).save(tmp_path / "i.png")
        np.testing.assert_array_equal(_read(tmp_path / "i.png", IntensityPolicy(window=(100.0, 10.0))), pixels)


def test_16_bit_ppm_is_scaled_by_its_full_range(tmp_path: Path) -> None:
    (tmp_path / "i.pgm").write_bytes(b"P5 3 1 65535\n" + np.array([0, 257, 65535], ">u2").tobytes())
    assert _read(tmp_path / "i.pgm").tolist() == [[0, 1, 255]]


def test_a_draft_of_a_jpeg_is_smaller_only_where_it_is_asked_for(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((1000, 1500, 3), np.uint8)).save(tmp_path / "i.jpg")
    Image.fromarray(np.zeros((1000, 1500, 3), np.uint8)).save(tmp_path / "i.png")
    assert _read(tmp_path / "i.jpg").shape == (1000, 1500, 3)
    assert _read(tmp_path / "i.jpg", IntensityPolicy(draft=224)).shape == (250, 375, 3)
    assert _read(tmp_path / "i.jpg", IntensityPolicy(draft=600)).shape == (1000, 1500, 3)
    assert _read(tmp_path / "i.png", IntensityPolicy(draft=224)).shape == (1000, 1500, 3)
