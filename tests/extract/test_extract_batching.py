"""The batch size: grows while that helps, shrinks when memory runs out, remembered, and never a fault of its own."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from medprobe.base import BackboneError
from medprobe.cache import CacheDraft
from medprobe.extract import extract, throughput
from medprobe.extract.throughput import BatchSize, recall, remember


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(throughput, "user_cache", lambda: tmp_path / "user-cache")


def _feed(size: BatchSize, seconds_of) -> list[int]:
    """The sizes it goes through on a device on which a batch takes `seconds_of(images)`."""
    seen = []
    while not size.settled:
        seen.append(size.now)
        size.took(size.now, seconds_of(size.now))
    return seen


def test_it_doubles_while_throughput_rises_and_keeps_the_smallest_size_that_is_as_fast() -> None:
    size = BatchSize(8, most=256)
    seen = _feed(size, lambda images: 1.0 + max(0, images - 64) / 64)  # a device that is full at 64
    assert sorted(set(seen)) == [8, 16, 32, 64, 128]
    assert size.now == 64
    assert size.found


def test_it_grows_no_further_than_it_may() -> None:
    size = BatchSize(8, most=32)
    _feed(size, lambda images: 1.0)
    assert size.now == 32


def test_the_first_batch_of_a_size_may_be_slow() -> None:
    size, seen = BatchSize(8, most=64), set()

    def warming_up(images: int) -> float:
        slow = images not in seen
        seen.add(images)
        return 9.0 if slow else 1.0

    _feed(size, warming_up)
    assert size.now == 64


def test_a_batch_that_is_not_full_says_nothing() -> None:
    size = BatchSize(8, most=64)
    for _ in range(10):
        size.took(5, 1.0)
    assert (size.now, size.settled) == (8, False)


def test_after_an_out_of_memory_it_never_grows_again() -> None:
    size = BatchSize(8, most=64)
    size.took(8, 1.0)
    size.took(8, 1.0)
    size.halve()
    for _ in range(5):
        size.took(size.now, 0.1)
    assert size.now == 8


def test_a_size_is_remembered_by_device_and_spec_and_a_damaged_memory_is_none() -> None:
    remember("NVIDIA H100", "0123456789ab", 128)
    remember("NVIDIA H100", "ba9876543210", 64)
    remember("NVIDIA T4", "0123456789ab", 16)
    assert recall("NVIDIA H100", "0123456789ab") == 128
    assert recall("NVIDIA T4", "0123456789ab") == 16
    assert recall("NVIDIA T4", "ba9876543210") is None
    for damage in ("", "[1]", '{"NVIDIA T4": 3}', '{"NVIDIA T4": {"0123456789ab": "many"}}'):
        throughput._place().write_text(damage)
        assert recall("NVIDIA T4", "0123456789ab") is None
    remember("NVIDIA T4", "0123456789ab", 8)
    assert recall("NVIDIA T4", "0123456789ab") == 8


def test_a_cache_folder_that_cannot_be_written_is_no_fault(tmp_path) -> None:
    (tmp_path / "user-cache").write_text("a file")
    remember("NVIDIA T4", "0123456789ab", 8)
    assert recall("NVIDIA T4", "0123456789ab") is None


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("std::bad_alloc")])
def test_an_out_of_memory_halves_tries_the_same_images_again_and_is_remembered(
    error, gallery, tmp_path, tiny, monkeypatch
) -> None:
    monkeypatch.setattr("medprobe.extract.throughput.batch_sizes", lambda device: (16, 32))
    [plain] = extract(gallery, [tiny], tmp_path / "plain", batch_size=22, workers=0, show_progress=False)
    embed, sizes = type(tiny).embed, []

    def small_memory(self, images):
        sizes.append(len(images))
        if len(images) > 5:
            raise error
        return embed(self, images)

    monkeypatch.setattr(type(tiny), "embed", small_memory)
    [cache] = extract(gallery, [tiny], tmp_path / "store", workers=0, show_progress=False)
    assert sizes == [16, 8, 4, 4, 4, 4, 4, 2]
    np.testing.assert_allclose(cache.load("cls"), plain.load("cls"), rtol=1e-4, atol=1e-5)
    assert cache.info["throughput"]["batch_size"] == 4
    sizes.clear()
    extract(gallery, [tiny], tmp_path / "again", workers=0, show_progress=False)
    assert sizes == [4, 4, 4, 4, 4, 2]
    [(_, remembered)] = json.loads(throughput._place().read_text()).items()
    assert remembered == {tiny.spec.fingerprint: 4}


def test_a_size_that_the_user_chose_is_not_remembered(gallery, tmp_path, tiny) -> None:
    extract(gallery, [tiny], tmp_path / "store", batch_size=2, workers=0, show_progress=False)
    assert not throughput._place().exists()


def test_a_device_that_cannot_hold_one_image_says_so_and_what_was_embedded_stays(
    gallery, tmp_path, tiny, monkeypatch
) -> None:
    embed, done = type(tiny).embed, []

    def shrinking_memory(self, images):
        if len(done) >= 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        done.append(len(images))
        return embed(self, images)

    monkeypatch.setattr(type(tiny), "embed", shrinking_memory)
    with pytest.raises(BackboneError, match=r"does not hold even one image of 32 x 32 pixels"):
        extract(gallery, [tiny], tmp_path / "store", batch_size=4, workers=0, show_progress=False)
    with CacheDraft.open(tmp_path / "store", gallery.name, tiny.spec) as draft:
        assert len(draft.known()) == 12
