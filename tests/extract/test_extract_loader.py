"""The loader: one decode an image, one input a geometry, memory that is bounded and shared."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from medprobe.cache import TransformSpec
from medprobe.extract import extract, loader
from medprobe.extract.loader import decode, geometry, to_input
from medprobe.manifests import Manifest, build_folder, read_image
from medprobe.manifests.readers import pillow
from PIL import Image

_A = TransformSpec(
    size=(32, 32),
    resize="short-side",
    resize_to=36,
    interpolation="bicubic",
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
)
_SAME_GEOMETRY = replace(_A, mean=(0.4, 0.4, 0.4), std=(0.3, 0.3, 0.3))
_OTHER = replace(_A, size=(28, 28))


@pytest.fixture
def photographs(tmp_path: Path) -> Manifest:
    """Two JPEGs of 3,000 x 2,000 pixels."""
    for number in range(2):
        place = tmp_path / "photographs" / ("cat", "dog")[number] / f"{number}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((3000, 2000)).save(place, quality=80)
    return build_folder(tmp_path / "photographs").save(tmp_path / "photographs.parquet")


def test_large_photographs_are_decoded_once_for_three_backbones(
    photographs, tmp_path, tiny, tiny_convnet, tiny_with_other_colours, monkeypatch
) -> None:
    decoded: list[tuple[int, ...]] = []
    made: list[TransformSpec] = []
    decode_jpeg, make = pillow.decode_jpeg, loader.to_input

    def counting(*arguments):
        pixels = decode_jpeg(*arguments)
        decoded.append(pixels.shape)
        return pixels

    monkeypatch.setattr(pillow, "decode_jpeg", counting)
    monkeypatch.setattr(loader, "to_input", lambda pixels, one: made.append(one) or make(pixels, one))
    backbones = [tiny, tiny_convnet, tiny_with_other_colours]
    caches = extract(photographs, backbones, tmp_path / "store", workers=0, show_progress=False)
    assert [len(cache) for cache in caches] == [2, 2, 2]
    assert decoded == [(2000, 3000, 3)] * 2
    assert len(made) == 4  # two geometries of two images: the third backbone differs in mean and std alone


def test_transforms_that_differ_in_mean_and_std_share_one_input(gallery) -> None:
    assert geometry(_A) == geometry(_SAME_GEOMETRY) != geometry(_OTHER)
    [batch] = decode(gallery.sources(), range(6), [_A, _SAME_GEOMETRY, _OTHER], batch_size=8, workers=0)
    assert len(batch.inputs) == 2
    everything = np.ones(6, bool)
    assert batch.keep(everything, _A) is batch.keep(everything, _SAME_GEOMETRY)


@pytest.mark.parametrize("workers", [0, 2])
def test_inputs_are_those_of_each_image_in_the_order_of_rows(gallery, workers) -> None:
    rows = [5, 1, 20, 3, 8]
    batches = list(decode(gallery.sources(), rows, [_A, _OTHER], batch_size=2, workers=workers))
    assert [row for batch in batches for row in batch.rows] == rows
    for transform in (_A, _OTHER):
        made = np.concatenate([batch.keep(np.ones(len(batch.rows), bool), transform) for batch in batches])
        meant = np.stack([to_input(read_image(gallery.source(row)), transform) for row in rows])
        np.testing.assert_array_equal(made, meant)


def test_an_image_that_memory_does_not_hold_is_set_aside_and_the_others_are_made(gallery, monkeypatch) -> None:
    make, count = loader.to_input, iter(range(100))

    def too_large_once(pixels, transform):
        if next(count) == 3:
            raise MemoryError
        return make(pixels, transform)

    monkeypatch.setattr(loader, "to_input", too_large_once)
    [batch] = decode(gallery.sources(), range(4), [_A, _OTHER], batch_size=4, workers=0)
    assert batch.failures == [(1, "needs more memory than there is")]
    assert batch.rows == [0, 2, 3]
    for transform in (_A, _OTHER):
        meant = np.stack([make(read_image(gallery.source(row)), transform) for row in batch.rows])
        np.testing.assert_array_equal(batch.keep(np.ones(3, bool), transform), meant)


@pytest.mark.filterwarnings("error")
def test_one_channel_inputs_are_made_without_a_warning(gallery) -> None:
    grey = replace(_A, mean=(0.5,), std=(0.2,), colour="grey")
    [batch] = decode(gallery.sources(), range(4), [grey], batch_size=4, workers=0)
    assert batch.inputs[geometry(grey)].shape == (4, 1, 32, 32)


def test_workers_wait_when_nobody_takes_what_they_made(gallery, tmp_path, monkeypatch) -> None:
    read = loader.read_image
    log = tmp_path / "read"

    def noted(source):
        with log.open("a") as file:
            file.write(f"{source.path.name}\n")
        return read(source)

    monkeypatch.setattr(loader, "read_image", noted)
    batches = decode(gallery.sources(), range(22), [_A], batch_size=2, workers=1)
    next(batches)
    time.sleep(1.0)
    # The batch that was taken, and two ahead of it: 2 * workers + 1.
    assert len(log.read_text().splitlines()) <= 2 * (2 * 1 + 1)
    batches.close()


def test_a_batch_that_is_kept_does_not_change(gallery) -> None:
    batches = decode(gallery.sources(), range(22), [_A], batch_size=2, workers=1)
    kept = next(batches).inputs[geometry(_A)]
    before = kept.clone()
    assert len(list(batches)) == 10
    assert (kept == before).all()
