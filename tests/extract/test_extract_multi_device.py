"""Several devices in one command, here processes on the CPU: the same cache; one that dies costs its own share."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from medprobe.base import BackboneError, QuarantineError, WorkerError
from medprobe.cache import CacheDraft, EmbeddingCache, find_caches, verify_cache
from medprobe.extract import extract, extract_on
from medprobe.extract.device import choose_device, choose_devices, is_lost
from medprobe.extract.multi_device import Loaded
from medprobe.manifests import Manifest

_RECIPE = {
    "name": "timm:test_vit@random",
    "poolings": ["cls", "mean"],
    "image_size": 32,
    "precision": "fp32",
    "runtime": "torch",
}


def _children() -> list[Any]:
    return multiprocessing.active_children()


_QUIET = {"show_progress": False, "workers": 0}


@pytest.mark.slow
def test_two_devices_make_the_cache_that_one_makes(gallery, tmp_path, tiny, capsys) -> None:
    gallery.source(5).path.write_bytes(b"")
    with pytest.raises(QuarantineError):
        extract(gallery, [tiny], tmp_path / "one", **_QUIET)
    told: list[Loaded] = []
    with pytest.raises(QuarantineError, match="1 of 22 images"):
        extract_on(["cpu", "cpu"], gallery, [_RECIPE], tmp_path / "two", on_loaded=told.extend, **_QUIET)
    [one], [two] = (find_caches(tmp_path / name, gallery.name) for name in ("one", "two"))
    assert [loaded.spec for loaded in told] == [tiny.spec] == [two.spec]
    assert verify_cache(two.path) == []
    assert two.quarantine == one.quarantine
    assert two.sample_ids.tolist() == one.sample_ids.tolist()
    np.testing.assert_allclose(two.load("cls"), one.load("cls"), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_each_device_reports_what_it_took_from_another_data_set(gallery, tmp_path, tiny) -> None:
    [one] = extract(gallery, [tiny], tmp_path / "store", **_QUIET)
    notices: list[str] = []
    other = Manifest(gallery.table, gallery.card.model_copy(update={"name": "other"}), gallery.path)
    [two] = extract_on(["cpu", "cpu"], other, [_RECIPE], tmp_path / "store", notice=notices.append, **_QUIET)
    name = _RECIPE["name"]
    assert notices == [f"cpu: {name}: 11 of 11 vectors were taken from {gallery.name} (equal pixels)"] * 2
    np.testing.assert_array_equal(two.load("cls"), one.load("cls"))


@pytest.mark.slow
def test_a_device_that_disappears_costs_its_share_and_what_was_published_stays(gallery_of, tmp_path, tiny) -> None:
    store = tmp_path / "store"
    [before] = extract(gallery_of(8), [tiny], store, **_QUIET)
    grown, was = gallery_of(60), before.load("cls")

    def kill_the_other(_: object) -> None:
        [*_, last] = sorted(_children(), key=lambda process: process.pid or 0)
        last.kill()

    with pytest.raises(WorkerError, match=r"cpu: its process was ended by SIGKILL.*\n.*same command again"):
        extract_on(["cpu", "cpu"], grown, [_RECIPE], store, on_loaded=kill_the_other, **_QUIET)
    now = EmbeddingCache.open(before.path)
    np.testing.assert_array_equal(now.load("cls"), was)
    assert not _children()
    with CacheDraft.open(store, grown.name, tiny.spec) as draft:
        assert len(draft.known()) >= 30
    [cache] = extract(grown, [tiny], store, **_QUIET)
    assert len(cache) == 60


@pytest.mark.slow
def test_what_no_device_can_do_is_told_once(gallery, tmp_path) -> None:
    with pytest.raises(BackboneError, match="Did you mean") as fault:
        extract_on(["cpu", "cpu"], gallery, [{**_RECIPE, "poolings": ["clss"]}], tmp_path / "store", **_QUIET)
    assert str(fault.value).count("clss") == 1
    assert not (tmp_path / "store").exists()


class _ByDevice:
    """A precision that is another in the second process: what stands here for two GPUs that choose differently."""

    def __reduce__(self):
        return eval, ("'bf16' if __import__('multiprocessing').current_process().name.endswith(':0') else 'fp32'",)


@pytest.mark.slow
def test_devices_that_would_make_different_caches_are_refused_before_anything_is_embedded(gallery, tmp_path) -> None:
    recipe = {**_RECIPE, "precision": _ByDevice()}
    with pytest.raises(
        WorkerError, match=r"torch in (fp32|bf16), cpu.* with torch in .*give --runtime and --precision"
    ):
        extract_on(["cpu", "cpu:0"], gallery, [recipe], tmp_path / "store", **_QUIET)
    assert not (tmp_path / "store").exists()
    assert not _children()


_SAME_SHARD = """
import sys
from medprobe.extract import extract, load_backbone
from medprobe.manifests import Manifest
options = {"poolings": ["cls", "mean"], "image_size": 32, "precision": "fp32", "runtime": "torch", "device": "cpu"}
backbone = load_backbone("timm:test_vit@random", **options)
print("ready", flush=True)
sys.stdin.readline()
extract(Manifest.load(sys.argv[1]), [backbone], sys.argv[2], batch_size=2, workers=0, shard=(1, 1), show_progress=False)
"""


@pytest.mark.slow
def test_one_shard_given_to_two_processes_by_mistake_does_no_harm(gallery_of, tmp_path) -> None:
    manifest = gallery_of(60)
    words = [sys.executable, "-c", _SAME_SHARD, str(manifest.path), str(tmp_path / "store")]
    both = [subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    assert [process.communicate()[0] for process in both] == [b"", b""]
    assert [process.returncode for process in both] == [0, 0]
    [cache] = find_caches(tmp_path / "store", manifest.name)
    assert verify_cache(cache.path) == []
    assert cache.sample_ids.tolist() == manifest.sample_ids.tolist()
    assert [found.name for found in cache.path.parent.iterdir()] == [cache.path.name]


def test_all_gpus_are_taken_where_there_are_several_unless_openvino_is_asked_for(monkeypatch) -> None:
    for count, devices in ((0, ["cpu"]), (1, ["cuda"]), (3, ["cuda:0", "cuda:1", "cuda:2"])):
        monkeypatch.setattr("torch.cuda.is_available", lambda count=count: count > 0)
        monkeypatch.setattr("torch.cuda.device_count", lambda count=count: count)
        assert choose_devices("auto") == devices
        assert choose_devices("auto", "torch") == devices
        assert choose_device("auto", "torch").type == devices[0].split(":")[0]
        assert choose_devices("auto", "openvino") == ["cpu"] == [str(choose_device("auto", "openvino"))]
    assert choose_devices("cuda:2, cuda:0") == ["cuda:2", "cuda:0"]
    with pytest.raises(BackboneError, match="no cuda:3 here"):
        choose_devices("cuda:0,cuda:3")


def test_a_gpu_that_fails_is_told_apart_from_a_full_one_and_what_was_embedded_stays(
    gallery, tmp_path, tiny, monkeypatch
) -> None:
    assert is_lost(RuntimeError("CUDA error: unspecified launch failure"))
    assert not is_lost(RuntimeError("CUDA error: out of memory"))
    embed, done = type(tiny).embed, []

    def falling_off_the_bus(self, images):
        if len(done) == 3:
            raise RuntimeError("CUDA error: GPU is lost\nCompile with TORCH_USE_CUDA_DSA")
        done.append(len(images))
        return embed(self, images)

    monkeypatch.setattr(type(tiny), "embed", falling_off_the_bus)
    with pytest.raises(WorkerError, match=r"stopped working \(CUDA error: GPU is lost\).*same command again"):
        extract(gallery, [tiny], tmp_path / "store", batch_size=4, **_QUIET)
    with CacheDraft.open(tmp_path / "store", gallery.name, tiny.spec) as draft:
        assert len(draft.known()) == 12
