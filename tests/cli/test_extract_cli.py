"""`medprobe extract`, as a user meets it, faults included."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from medprobe.base import CacheError
from medprobe.cache import CacheDraft, EmbeddingCache, find_caches
from medprobe.extract import Backbone, load_backbone
from medprobe.manifests import Manifest, build_folder
from PIL import Image

_TINY = ("-b", "timm:test_vit@random", "--image-size", "32", "--workers", "0", "--runtime", "torch")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A manifest of eight small images of two classes."""
    for number in range(8):
        path = tmp_path / "pets" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (20, 24), dtype=np.uint8)).save(path)
    build_folder(tmp_path / "pets").save(tmp_path / "pets.parquet")
    return tmp_path / "pets.parquet"


def test_extract_tells_what_it_does_where_it_went_and_what_is_next(medprobe, pets) -> None:
    said = medprobe("extract", pets, *_TINY, "--pooling", "cls", "--pooling", "mean")
    assert said.status == 0, said.err
    assert "timm:test_vit@random: cls 64-d, mean 64-d at 32x32 px" in said.err
    [path] = (pets.parent / "embeddings" / "pets").glob("*.h5")
    assert path.name in said.out
    assert f"medprobe probe {pets}" in said.out
    assert len(EmbeddingCache.open(path)) == 8


@pytest.mark.parametrize(
    "command", [("extract", *_TINY), ("manifest", "check"), ("manifest", "show", "-o", "pets.html")]
)
def test_a_misspelt_metric_of_the_card_is_refused_before_anything_is_done(medprobe, pets, command) -> None:
    with pets.with_suffix(".yaml").open("a") as card:
        card.write("primary_metric: roc_acu\n")
    refusal = medprobe(*command, pets)
    assert refusal.status == 1
    assert 'Did you mean "roc_auc"?' in " ".join(refusal.err.split())
    assert not (pets.parent / "embeddings").exists()


def test_a_manifest_that_does_not_exist_is_reported_before_torch_is_imported(tmp_path) -> None:
    run = (
        "from medprobe.cli.app import app; app(['extract', 'absent.parquet', '-b', 'dinov2-s'], standalone_mode=False)"
    )
    code = f"import sys\ntry: {run}\nexcept Exception as error: print(error, 'torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.stdout == "absent.parquet: does not exist. False\n", ended.stderr


def test_backbones_of_one_run_may_have_poolings_of_their_own(medprobe, pets) -> None:
    others = ("--image-size", "32", "--workers", "0", "--runtime", "torch", "--pooling", "mean")
    backbones = ("-b", "timm:test_vit@random[cls, cls@1]", "-b", "timm:test_resnet@random[stage2]")
    said = medprobe("extract", pets, *backbones, "-b", "timm:test_vit2@random", *others)
    assert said.status == 0, said.err
    poolings = {cache.spec.backbone: cache.spec.poolings for cache in find_caches(pets.parent / "embeddings", "pets")}
    assert poolings == {
        "timm:test_vit@random": ("cls", "cls@1"),
        "timm:test_resnet@random": ("stage2",),
        "timm:test_vit2@random": ("mean",),
    }


def test_a_run_that_had_nothing_to_do_says_so(medprobe, pets) -> None:
    first = medprobe("extract", pets, *_TINY)
    again = medprobe("extract", pets, *_TINY)
    assert "complete before this run" not in first.out
    assert "8 rows, cls 64-d, complete before this run" in again.out


@pytest.mark.parametrize(
    "options",
    [
        ("-b", "timm:test_vit2@random", "--pooling", "mean"),
        ("--resize", "48", "--resize-mode", "squash", "--interpolation", "nearest", "--grey", "red-filters"),
        ("--normalization", "dataset", "--precision", "bf16", "--pooling", "cls@1+mean"),
        ("--normalization", "0.0000012/0.99999999"),
    ],
)
def test_probe_gives_the_commands_that_take_over_the_vectors_of_another_set(
    medprobe, pets, monkeypatch, options
) -> None:
    assert medprobe("extract", pets, *_TINY, *options).status == 0
    other = build_folder(pets.parent / "pets")
    ids = [f"other {row}" for row in range(8)]
    card = other.card.model_copy(update={"name": "other"})
    Manifest(other.table.assign(sample_id=ids), card).save(pets.with_name("other.parquet"))
    words = ("--probe", "centroid", "--seeds", 2, "--out", pets.with_name("run"))
    run = ("probe", pets.with_name("other.parquet"), *words)
    ended = medprobe(*run)
    assert ended.status == 1
    assert "To take the vectors of equal pixels from pets" in ended.err
    assert "--backbone NAME" not in ended.err
    commands = [shlex.split(line)[1:] for line in ended.err.splitlines() if line.startswith("  medprobe extract")]
    assert commands
    monkeypatch.setattr(Backbone, "embed", None)
    for words in commands:
        ended = medprobe(*words, "--workers", 0)
        assert ended.status == 0, ended.err
        assert "8 of 8 vectors were taken from pets (equal pixels)" in ended.err
    store = pets.parent / "embeddings"
    specs, taken = ({cache.spec for cache in find_caches(store, name)} for name in ("pets", "other"))
    assert specs == taken
    assert medprobe(*run).status == 0


def test_what_is_not_as_requested_is_a_note_without_its_place_in_the_code(medprobe, pets, monkeypatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setenv("XDG_CACHE_HOME", str(pets))  # a file, so that nothing can be kept in it
    ended = medprobe("extract", pets, *_TINY[:-1], "openvino")
    assert ended.status == 0, ended.err
    assert "note: the converted network cannot be kept (" in " ".join(ended.err.split())
    assert "on_openvino.py" not in ended.err


def test_openvino_is_not_given_the_gpu_that_auto_would_take(medprobe, pets, monkeypatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    said = medprobe("extract", pets, *_TINY[:-1], "openvino", "--dry-run")
    assert said.status == 0, said.err
    assert "openvino" in said.err
    assert "on cpu" in said.err


def test_a_new_cache_beside_one_that_was_computed_otherwise_is_said(medprobe, pets) -> None:
    assert "note:" not in medprobe("extract", pets, *_TINY, "--precision", "fp32").err
    assert "note:" not in medprobe("extract", pets, *_TINY, "--precision", "fp32").err
    said = medprobe("extract", pets, *_TINY, "--precision", "bf16").err
    assert "--runtime torch --precision fp32" in said


def test_bad_images_end_in_a_status_and_a_list_and_the_rest_is_published(medprobe, pets) -> None:
    (pets.parent / "pets" / "cat" / "2.png").write_text("dear diary")
    (pets.parent / "pets" / "dog" / "5.png").unlink()
    said = medprobe("extract", pets, *_TINY)
    assert said.status == 1
    assert "error: 2 of 8 images could not be embedded" in said.err
    assert "cat/2.png: a text file, not an image" in said.err
    assert "dog/5.png: the file is missing" in said.err
    [path] = (pets.parent / "embeddings" / "pets").glob("*.h5")
    assert len(EmbeddingCache.open(path)) == 6
    allowed = medprobe("extract", pets, *_TINY, "--allow-unreadable", "--record", pets.parent / "record.json")
    assert allowed.status == 0
    assert "2 of 8 images could not be embedded" in allowed.err
    assert (pets.parent / "record.json").exists()


def test_shards_run_apart_and_the_last_one_publishes(medprobe, pets) -> None:
    first = medprobe("extract", pets, *_TINY, "--shard", "1/2")
    assert first.status == 0
    assert "shard 1/2 is done" in first.err
    assert not list((pets.parent / "embeddings" / "pets").glob("*.h5"))
    assert medprobe("extract", pets, *_TINY, "--shard", "2/2").status == 0
    [path] = (pets.parent / "embeddings" / "pets").glob("*.h5")
    assert EmbeddingCache.open(path).sample_ids.tolist() == [
        f"{'cat' if n % 2 == 0 else 'dog'}/{n}.png" for n in (0, 2, 4, 6, 1, 3, 5, 7)
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("-b", "efficientnet-lit0"), 'Did you mean "efficientnet-lite0"'),
        (("-b", "timm:resnet5@random"), 'Did you mean "resnet50'),
        (("-b", "timm:test_vit@nowhere.pth"), "nowhere.pth: no such file or folder of weights"),
        (("-b", "timm:test_vit@random", "--pooling", "clss"), 'Did you mean "cls"'),
        (("-b", "timm:test_vit@random", "--image-size", "33"), "multiple of 16, such as 32 or 48"),
        (("-b", "timm:test_vit@random", "--crop", "40"), "timm:test_vit@random: this architecture cuts"),
        (("-b", "timm:xcit_nano_12_p16_224@random", "--crop", "256"), "224 x 224 pixels only"),
        (("-b", "timm:crossvit_tiny_240@random"), "ends in several branches"),
        (("-b", "timm:test_vit@random", "--crop", "64", "--resize", "48"), "48 px are smaller than the crop of 64 px"),
        (("-b", "xrv-densenet121@random", "--grey", "red-filters"), "sees one channel and has no red filters"),
        (("-b", "timm:test_vit@random", "--device", "cuda:7"), "there is no cuda:7 here"),
        (("-b", "timm:test_vit@random", "--device", "gpu"), "gpu"),
    ],
)
def test_what_cannot_be_extracted_is_one_clear_line(medprobe, pets, words, expected) -> None:
    said = medprobe("extract", pets, *words)
    assert said.status == 1
    assert expected in said.err
    assert "Traceback" not in said.err
    assert not (pets.parent / "embeddings").exists()


@pytest.mark.parametrize(
    ("option", "value", "status", "expected"),
    [
        ("--shard", "3/2", 1, "error: --shard 3/2: is not a shard; write 1/4"),
        ("--shard", "half", 1, "error: --shard half: is not a shard"),
        ("--batch-size", "0", 2, "'--batch-size': must be at least 1, not \"0\"."),
        ("--workers", "-1", 2, "'--workers': must be at least 0, not \"-1\"."),
        ("--workers", "all", 2, "'--workers': must be a whole number, not \"all\"."),
        ("--precision", "fp8", 2, "'--precision': 'fp8' is not one of 'auto', 'fp32', 'bf16'."),
    ],
)
def test_impossible_options_are_refused_with_what_is_possible(medprobe, pets, option, value, status, expected) -> None:
    said = medprobe("extract", pets, *_TINY, option, value)
    assert said.status == status
    assert expected in " ".join(said.err.replace("│", "").split())


def test_a_manifest_that_is_not_there_and_a_store_that_cannot_be_are_told(medprobe, pets) -> None:
    said = medprobe("extract", pets.with_name("pet.parquet"), *_TINY)
    assert said.status == 1
    assert "pet.parquet" in said.err
    (pets.parent / "file").touch()
    said = medprobe("extract", pets, *_TINY, "--cache", pets.parent / "file")
    assert said.status == 1
    assert "a file is where a folder is needed" in said.err


def test_a_task_of_a_job_array_is_a_shard(medprobe, pets, monkeypatch) -> None:
    for name, value in {"ID": 12, "MIN": 10, "MAX": 14, "STEP": 2}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    said = medprobe("extract", pets, *_TINY, "--shard", "slurm")
    assert said.status == 0, said.err
    with CacheDraft.open(pets.parent / "embeddings", "pets", _spec()) as draft:
        assert sorted(draft.known()) == ["cat/2.png", "dog/1.png", "dog/7.png"]  # rows 1, 4, 7
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID")
    said = medprobe("extract", pets, *_TINY, "--shard", "slurm")
    assert said.status == 1
    assert "not part of a job array" in " ".join(said.err.replace("│", "").split())


def test_an_array_whose_tasks_are_not_evenly_spaced_is_refused(medprobe, pets, monkeypatch) -> None:
    for name, value in {"ID": 3, "MIN": 1, "MAX": 7, "STEP": 2, "COUNT": 3}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    said = medprobe("extract", pets, *_TINY, "--shard", "slurm")
    assert said.status == 1
    assert "not evenly spaced" in " ".join(said.err.replace("│", "").split())


def test_a_dry_run_tells_what_is_to_do_and_writes_nothing(medprobe, pets) -> None:
    said = medprobe("extract", pets, *_TINY, "--dry-run", "--normalization", "dataset")
    assert said.status == 0, said.err
    assert "normalization of pets" in said.err
    assert "To decode: 8 images, each once" in said.out
    assert "from 8 images" in said.out
    assert _line(said.out, "timm:test_vit@random")[1:4] == ["8", "0", "8"]
    assert not (pets.parent / "embeddings").exists()
    medprobe("extract", pets, *_TINY, "--shard", "1/2")
    (pets.parent / "pets" / "dog" / "3.png").unlink()  # of the second shard
    before = sorted((pets.parent / "embeddings").rglob("*"))
    said = medprobe("extract", pets, *_TINY, "--dry-run")
    assert _line(said.out, "timm:test_vit@random")[1:4] == ["8", "4", "3"]
    assert "To decode: 3 images" in said.out
    assert "from 3 images" in said.out
    assert "1 file;" in said.err
    assert sorted((pets.parent / "embeddings").rglob("*")) == before


def _line(text: str, start: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.strip().startswith(start))


@pytest.mark.slow
def test_two_devices_are_one_command(medprobe, pets) -> None:
    said = medprobe("extract", pets, *_TINY, "--device", "cpu,cpu")
    assert said.status == 0, said.err
    assert "timm:test_vit@random: cls 64-d at 32x32 px" in said.err
    assert "on cpu, cpu" in said.err
    [path] = (pets.parent / "embeddings" / "pets").glob("*.h5")
    assert path.name in said.out
    assert len(EmbeddingCache.open(path)) == 8


def _spec():
    return load_backbone("timm:test_vit@random", image_size=32, runtime="torch").spec


def test_one_of_several_specs_is_named_by_its_fingerprint(medprobe, pets) -> None:
    for size in (32, 48):
        medprobe("extract", pets, *_TINY[:2], "--image-size", size, "--workers", 0, "--runtime", "torch")
    store, name = pets.parent / "embeddings", "timm:test_vit@random"
    assert len(find_caches(store, "pets", [name])) == 2
    [found] = find_caches(store, "pets", [f"{name}@{_spec().fingerprint}"])
    assert found.spec == _spec()
    with pytest.raises(CacheError, match=_spec().fingerprint):
        find_caches(store, "pets", [f"{name}@000000000000"])


def test_a_requested_preprocessing_becomes_part_of_the_cache(medprobe, pets) -> None:
    options = ("--resize", 40, "--crop", 32, "--resize-mode", "squash", "--interpolation", "bilinear")
    said = medprobe("extract", pets, *_TINY[:2], *options, "--grey", "red-filters", *_TINY[4:])
    assert said.status == 0, said.err
    assert medprobe("extract", pets, *_TINY).status == 0
    made = {cache.spec.transform.colour: cache.spec for cache in find_caches(pets.parent / "embeddings", "pets")}
    own, requested = made["rgb"].transform, made["red-filters"].transform
    assert (own.resize, own.interpolation) == ("short-side", "bicubic")
    assert (requested.resize, requested.resize_to, requested.size) == ("squash", (40, 40), (32, 32))
    assert (requested.interpolation, requested.mean) == ("bilinear", own.mean[:1])


@pytest.mark.parametrize(("asked", "mean"), [("dataset", None), ("0.286/0.267", 0.286)])
def test_a_normalization_is_told_and_becomes_part_of_the_cache(medprobe, pets, asked, mean) -> None:
    said = medprobe("extract", pets, *_TINY, "--normalization", asked)
    assert said.status == 0, said.err
    [cache] = find_caches(pets.parent / "embeddings", "pets")
    found = cache.spec.transform.mean
    if mean is None:
        pixels = [np.asarray(Image.open(path)) for path in (pets.parent / "pets").glob("*/*.png")]
        assert found == pytest.approx((np.mean(pixels) / 255,) * 3, abs=0.01)
        assert f"normalization of pets: {found[0]:.3f},{found[1]:.3f}" in said.err
        red = medprobe("extract", pets, *_TINY, "--normalization", asked, "--grey", "red-filters", "--dry-run")
        assert f"normalization of pets: {found[0]:.3f}/" in red.err
    else:
        assert found == (mean,) * 3


def test_a_normalization_that_cannot_be_is_one_clear_line(medprobe, pets) -> None:
    said = medprobe("extract", pets, *_TINY, "--normalization", "imagenet")
    assert said.status == 1
    assert 'error: "imagenet" is not a normalization; use model, dataset, or numbers' in said.err
