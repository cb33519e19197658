"""A device that computes ahead, here one whose results and errors come late: the same cache, and no row mistaken."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from medprobe.base import BackboneError, QuarantineError, WorkerError
from medprobe.cache import CacheDraft, find_caches
from medprobe.extract import Backbone, extract, throughput
from medprobe.extract.runtimes import TorchEmbedder
from torch._dynamo.testing import CompileCounter

_QUIET = {"show_progress": False, "workers": 0}


class Late:
    """Computes a batch when its result is requested, from a copy of what was submitted."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        self.submitted = 0
        self.fails: Callable[[str, int, int], BaseException | None] = lambda when, number, images: None
        """What happens when a batch is submitted or its result requested, by its number, from 1, and its size."""

    def submit(self, backbone: Backbone, images: torch.Tensor):
        self.submitted += 1
        number, copy = self.submitted, images.clone()

        def result():
            return self._do("result", number, len(copy)) or backbone.embed(copy)

        self._do("submit", number, len(images))
        return result

    def _do(self, when: str, number: int, images: int) -> None:
        self.events.append((when, number))
        if error := self.fails(when, number, images):
            raise error


@pytest.fixture
def late(tmp_path, monkeypatch) -> Late:
    """Makes the CPU such a device."""
    device = Late()
    monkeypatch.setattr(throughput, "user_cache", lambda: tmp_path / "user-cache")
    monkeypatch.setattr(Backbone, "computes_ahead", True)
    monkeypatch.setattr(Backbone, "submit", lambda backbone, images: device.submit(backbone, images))
    return device


def test_one_batch_is_under_way_while_the_next_is_submitted(gallery, tmp_path, tiny, late) -> None:
    extract(gallery, [tiny], tmp_path / "store", batch_size=8, **_QUIET)
    order = [("submit", 1), ("submit", 2), ("result", 1), ("submit", 3), ("result", 2), ("result", 3)]
    assert late.events == order


def test_late_results_make_the_same_cache_of_several_backbones(
    gallery, tmp_path, tiny, tiny_convnet, monkeypatch, late
) -> None:
    """Some images are bad, some equal."""
    source = gallery.source(2).path
    for row in (3, 9):
        gallery.source(row).path.write_bytes(source.read_bytes())
    gallery.source(5).path.write_bytes(b"")
    made = []
    for ahead in (True, False):
        monkeypatch.setattr(Backbone, "computes_ahead", ahead)
        store = tmp_path / str(ahead)
        with pytest.raises(QuarantineError, match="1 of 22 images"):
            extract(gallery, [tiny, tiny_convnet], store, batch_size=4, **_QUIET)
        made.append(sorted(find_caches(store, gallery.name), key=lambda cache: cache.spec.fingerprint))
    for one, other in zip(*made, strict=True):
        assert one.info["content"] == other.info["content"]
        for pooling in one.poolings:
            np.testing.assert_allclose(one.load(pooling), other.load(pooling), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("when", ["submit", "result"])
def test_an_out_of_memory_with_a_batch_under_way_halves_and_loses_nothing(gallery, tmp_path, tiny, late, when) -> None:
    [plain] = extract(gallery, [tiny], tmp_path / "plain", **_QUIET)
    # The memory shrinks while the second batch of eight is under way.
    error = torch.OutOfMemoryError("CUDA out of memory")
    late.fails = lambda now, number, images: error if now == when and number >= 2 and images > 3 else None
    [cache] = extract(gallery, [tiny], tmp_path / "store", batch_size=8, **_QUIET)
    assert cache.info["throughput"]["batch_size"] <= 4
    np.testing.assert_allclose(cache.load("cls"), plain.load("cls"), rtol=1e-4, atol=1e-5)


def test_a_memory_that_does_not_hold_one_image_ends_the_run_and_keeps_what_was_done(
    gallery, tmp_path, tiny, monkeypatch, late
) -> None:
    embed, error = type(tiny).embed, torch.OutOfMemoryError("CUDA out of memory")
    late.fails = lambda now, number, images: error if now == "submit" and number == 3 else None

    def full(self, images):
        if late.submitted >= 3 and late.events[-1] == ("result", 2):
            raise error
        return embed(self, images)

    monkeypatch.setattr(type(tiny), "embed", full)
    with pytest.raises(BackboneError, match="does not hold even one image"):
        extract(gallery, [tiny], tmp_path / "store", batch_size=4, **_QUIET)
    with CacheDraft.open(tmp_path / "store", gallery.name, tiny.spec) as draft:
        assert len(draft.known()) == 4


@pytest.mark.parametrize("when", ["submit", "result"])
def test_an_error_that_comes_late_keeps_nothing_of_its_batch(gallery, tmp_path, tiny, late, when) -> None:
    """A CUDA error is seen by whatever call comes next; here it is the second batch's."""
    lost = RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be reported")
    number = {"submit": 3, "result": 2}[when]
    late.fails = lambda now, at, images: lost if (now, at) == (when, number) else None
    with pytest.raises(WorkerError, match=r"stopped working \(CUDA error: an illegal memory access"):
        extract(gallery, [tiny], tmp_path / "store", batch_size=4, **_QUIET)
    with CacheDraft.open(tmp_path / "store", gallery.name, tiny.spec) as draft:
        assert len(draft.known()) == 4
    late.fails = lambda now, at, images: None
    [cache] = extract(gallery, [tiny], tmp_path / "store", batch_size=4, **_QUIET)
    assert len(cache) == 22


def test_the_size_grows_by_batches_that_are_waited_for(gallery_of, tmp_path, tiny, monkeypatch, late) -> None:
    monkeypatch.setattr(throughput, "batch_sizes", lambda device: (4, 8))
    embed, sizes = type(tiny).embed, []
    monkeypatch.setattr(type(tiny), "embed", lambda self, images: sizes.append(len(images)) or embed(self, images))
    monkeypatch.setattr("medprobe.extract.engine.batch_sizes", lambda device: (4, 8))
    monkeypatch.setattr(throughput.time, "perf_counter", iter(range(10**6)).__next__)  # the larger, the faster
    [cache] = extract(gallery_of(60), [tiny], tmp_path / "store", **_QUIET)
    assert sizes[:4] == [4, 4, 8, 8]
    assert late.submitted == 5
    assert cache.info["throughput"]["batch_size"] == 8


def test_a_compiled_network_is_compiled_for_one_shape_until_memory_runs_out(tiny, monkeypatch) -> None:
    counter = CompileCounter()  # a backend that runs what torch has traced as it is
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    compiled = TorchEmbedder(tiny.vectors, torch.device("cpu"), "fp32", compiled=True)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (11, 3, 32, 32), dtype=np.uint8))
    expected = tiny.embed(images)["cls"]
    for part in (slice(0, 6), slice(6, 11), slice(3, 4)):
        np.testing.assert_allclose(compiled(images[part])["cls"], expected[part], rtol=1e-4, atol=1e-5)
    assert counter.frame_count == 1

    def full(images: torch.Tensor):
        raise torch.OutOfMemoryError("CUDA out of memory")

    run, compiled._run = compiled._run, full
    with pytest.raises(torch.OutOfMemoryError):
        compiled(images[:6])
    compiled._run = run
    assert compiled(images[:3])["cls"].shape == (3, 64)
    assert counter.frame_count == 2
