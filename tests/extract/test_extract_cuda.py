"""On a GPU, where there is one: the vectors of the CPU, whatever is under way, and whatever memory there is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from medprobe.base import QuarantineError
from medprobe.cache import find_caches, verify_cache
from medprobe.extract import Backbone, extract, extract_on, load_backbone, throughput
from medprobe.extract.device import choose_precision

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

_QUIET = {"show_progress": False, "workers": 0}
_NETWORKS = ("timm:test_vit@random", "timm:test_efficientnet@random", "timm:test_resnet@random")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(throughput, "user_cache", lambda: tmp_path / "user-cache")


def _load(name: str, device: str = "cuda", precision: str = "fp32", **options) -> Backbone:
    return load_backbone(name, device=device, precision=precision, runtime="torch", **{"image_size": 64, **options})


def _images(count: int, side: int = 64) -> torch.Tensor:
    coarse = np.random.default_rng(0).integers(0, 256, (count, 3, 4, 4), dtype=np.uint8)
    return torch.from_numpy(coarse.repeat(side // 4, axis=2).repeat(side // 4, axis=3))


def _vectors(backbone: Backbone, images: torch.Tensor) -> np.ndarray:
    return np.hstack(list(backbone.embed(images).values()))


def _furthest(a: np.ndarray, b: np.ndarray) -> float:
    """Largest distance of two vectors, as a share of their length."""
    return float((np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1)).max())


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", 1e-4), ("bf16", 0.05)])
@pytest.mark.parametrize("name", _NETWORKS)
def test_vectors_are_those_of_the_cpu_in_fp32(name, precision, allowed) -> None:
    """TF32 would be off by about 1e-3."""
    images = _images(20)
    expected = _vectors(_load(name, "cpu"), images)
    found = _vectors(_load(name, precision=precision), images)
    print(f"{name} {precision}: {_furthest(found, expected):.1e}")
    assert _furthest(found, expected) <= allowed


def test_auto_is_bf16() -> None:
    assert choose_precision("auto", torch.device("cuda")) == "bf16"


@pytest.mark.parametrize("name", _NETWORKS)
def test_a_compiled_network_gives_the_same_for_full_and_smaller_batches(name) -> None:
    images = _images(24)
    expected = _vectors(_load(name), images)
    compiled = _load(name, compiled=True)
    for part in (slice(0, 16), slice(16, 24), slice(3, 4)):
        assert _furthest(_vectors(compiled, images[part]), expected[part]) <= 1e-4


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_batches_under_way_do_not_overwrite_each_other(precision) -> None:
    """Forty batches are submitted before the first result is looked at, each from memory that is used again."""
    backbone, images = _load(_NETWORKS[1], precision=precision), _images(40 * 64)
    memory, pending = torch.empty_like(images[:64]), []
    for batch in images.split(64):
        memory.copy_(batch)
        pending.append(backbone.submit(memory))
    for batch, result in zip(images.split(64), pending, strict=True):
        assert _furthest(np.hstack(list(result().values())), _vectors(backbone, batch)) <= 1e-5


@pytest.mark.parametrize("workers", [0, 2])
def test_a_cache_is_that_of_the_cpu(gallery, tmp_path, workers) -> None:
    """Several backbones; some images are equal, one is bad."""
    source = gallery.source(2).path
    for row in (3, 9):
        gallery.source(row).path.write_bytes(source.read_bytes())
    gallery.source(5).path.write_bytes(b"")
    for device in ("cpu", "cuda"):
        backbones = [_load(name, device) for name in _NETWORKS[:2]]
        with pytest.raises(QuarantineError, match="1 of 22 images"):
            extract(gallery, backbones, tmp_path / device, batch_size=4, **{**_QUIET, "workers": workers})
    pairs = zip(*(find_caches(tmp_path / device, gallery.name) for device in ("cpu", "cuda")), strict=True)
    for one, other in pairs:
        assert verify_cache(other.path) == []
        assert one.spec == other.spec
        assert one.info["content"] == other.info["content"]
        for pooling in one.poolings:
            assert _furthest(other.load(pooling), one.load(pooling)) <= 1e-4


def test_where_memory_runs_out_batches_are_halved_and_nothing_is_lost(gallery, tmp_path) -> None:
    backbone = _load(_NETWORKS[1], image_size=512)
    [plain] = extract(gallery, [backbone], tmp_path / "plain", batch_size=1, **_QUIET)

    def peak(count: int) -> int:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        backbone.embed(_images(count, 512))
        return torch.cuda.max_memory_reserved()

    few, most = peak(4), peak(22)
    torch.cuda.empty_cache()
    limit = few + (most - few) / 3
    torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(0).total_memory)
    try:
        [cache] = extract(gallery, [backbone], tmp_path / "store", batch_size=22, **_QUIET)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert cache.info["throughput"]["batch_size"] < 22
    assert _furthest(cache.load("pooled"), plain.load("pooled")) <= 1e-4


def test_two_processes_on_one_gpu_make_the_cache_that_one_makes(gallery, tmp_path) -> None:
    recipe = {"name": _NETWORKS[0], "image_size": 64, "precision": "fp32", "runtime": "torch"}
    [one] = extract(gallery, [load_backbone(**recipe, device="cuda")], tmp_path / "one", **_QUIET)
    [two] = extract_on(["cuda:0", "cuda:0"], gallery, [recipe], tmp_path / "two", **{**_QUIET, "workers": 1})
    assert two.sample_ids.tolist() == one.sample_ids.tolist()
    assert _furthest(two.load("cls"), one.load("cls")) <= 1e-4
