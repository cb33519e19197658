"""`--record` of `extract` and `probe`: exactly these caches, whatever else is in a shared folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import Medprobe, assert_refused
from medprobe.cache import EmbeddingCache, read_records, write_record
from medprobe.evaluate import Run
from medprobe.manifests import Manifest, build_folder
from PIL import Image

_TINY = ("--image-size", 32, "--workers", 0, "--runtime", "torch")
_QUICK = ("--probe", "centroid", "--seeds", 1, "--jobs", 1)


def _pets(folder: Path, start: int = 0) -> Path:
    """A manifest of eight small images of two classes; no caches. Another `start`, other images of the same names."""
    for number in range(start, start + 8):
        path = folder / "pets" / ("cat", "dog")[number % 2] / f"{number - start}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (20, 24), dtype=np.uint8)).save(path)
    build_folder(folder / "pets").save(folder / "pets.parquet")
    return folder / "pets.parquet"


def test_extract_records_each_backbone_in_the_order_given(tmp_path: Path, medprobe: Medprobe) -> None:
    store, records = tmp_path / "store", [tmp_path / name / "record.json" for name in ("one", "two")]
    backbones = ("-b", "timm:test_vit@random[mean,cls]", "-b", "timm:test_resnet@random")
    table = _pets(tmp_path)
    manifest, words = Manifest.load(table), ("extract", table, *backbones, *_TINY, "--cache", store)
    for record in records:
        words += ("--record", record)
    assert medprobe(*words, "--dry-run")[0] == 0
    assert medprobe(*words, "--shard", "1/2")[0] == 0
    assert not any(record.exists() for record in records)
    assert medprobe(*words, "--shard", "2/2")[0] == 0
    [vit], [resnet] = (read_records([record], store, manifest) for record in records)
    assert (vit.spec.backbone, vit.poolings) == ("timm:test_vit@random", ("mean", "cls"))
    assert resnet.spec.backbone == "timm:test_resnet@random"

    before = [record.read_bytes() for record in records]
    for record in records:
        record.unlink()
    assert medprobe(*words)[0] == 0  # there is nothing to embed, and the records are written again
    assert [record.read_bytes() for record in records] == before


def test_a_cache_with_quarantined_images_has_a_record(tmp_path: Path, medprobe: Medprobe) -> None:
    manifest = _pets(tmp_path)
    (tmp_path / "pets" / "cat" / "2.png").write_bytes(b"not an image")
    record, words = tmp_path / "record.json", ("-b", "timm:test_vit2@random", *_TINY)
    assert medprobe("extract", manifest, *words, "--record", record)[0] == 1
    [cache] = read_records([record], tmp_path / "embeddings", Manifest.load(manifest))
    assert len(cache) == 7


def test_vectors_of_another_data_set_of_the_same_name_are_never_read(tmp_path: Path, medprobe: Medprobe) -> None:
    backbone, store = ("-b", "timm:test_vit@random", *_TINY), ("--cache", tmp_path / "store")
    ours, theirs = _pets(tmp_path / "ours"), _pets(tmp_path / "theirs", start=8)
    record, out = tmp_path / "record.json", tmp_path / "run"
    probe = ("probe", ours, *_QUICK, "--record", record, *store, "--out", out)
    assert medprobe("extract", ours, *backbone, *store, "--record", record)[0] == 0
    assert medprobe("extract", theirs, *backbone, *store)[0] == 0
    assert_refused(*medprobe(*probe), out, str(record), "another data set of this name", "Extract again")
    assert medprobe("extract", ours, *backbone, *store, "--record", record)[0] == 0
    assert medprobe(*probe)[0] == 0


@pytest.mark.parametrize("records", [("a",), ("a", "a"), ("a", "b", "c")])
def test_a_backbone_without_a_record_of_its_own_is_refused_at_once(
    tmp_path: Path, medprobe: Medprobe, records: tuple[str, ...]
) -> None:
    words = [word for name in records for word in ("--record", tmp_path / name)]
    refused = medprobe("extract", "pets.parquet", "-b", "x", "-b", "y", "--cache", tmp_path / "store", *words)
    assert_refused(*refused, tmp_path / "store", "for 2 backbones; give one file for each --backbone")


@pytest.fixture(scope="module")
def recorded(study_of, cache_of, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A manifest with three caches, of which one is of two poolings and has a record; and the record."""
    study = study_of(tmp_path_factory.mktemp("recorded"))
    X = np.random.default_rng(0).standard_normal((120, 4))
    two = cache_of(study.folder / "embeddings", "cohort", study.manifest.sample_ids, {"cls": X, "mean": 2 * X})
    write_record(two, study.manifest, study.folder / "two.json")
    write_record(study.caches[0], study.manifest, study.folder / "net-0.json")
    return study.table, study.folder / "two.json"


def test_probe_reads_the_recorded_caches_and_all_their_poolings_alone(
    recorded: tuple[Path, Path], tmp_path: Path, medprobe: Medprobe
) -> None:
    table, record = recorded
    status, _, message = medprobe("probe", table, *_QUICK, "--record", record, "--out", tmp_path / "run")
    assert status == 0, message
    run = Run.load(tmp_path / "run")
    assert set(zip(run.scores["backbone"], run.scores["pooling"], strict=True)) == {
        ("timm:resnet18", "cls"),
        ("timm:resnet18", "mean"),
    }
    both = ("--record", record.with_name("net-0.json"), "--record", record)
    assert medprobe("probe", table, *_QUICK, *both, "--out", tmp_path / "both")[0] == 0
    named = ("--backbone", "timm:resnet18", "--backbone", "net-0")
    assert medprobe("probe", table, *_QUICK, *named, "--out", tmp_path / "named")[0] == 0
    scores = [(tmp_path / name / "scores.parquet").read_bytes() for name in ("both", "named")]
    assert scores[0] == scores[1]


def test_of_an_external_manifest_the_caches_of_the_same_specs_are_tested(
    recorded: tuple[Path, Path], tmp_path: Path, medprobe: Medprobe, study_of
) -> None:
    abroad = study_of(tmp_path / "abroad", name="abroad", seed=1)
    (EmbeddingCache.open(abroad.caches[1].path).path).write_bytes(b"damaged, and not requested")
    words = ("probe", recorded[0], *_QUICK, "--record", recorded[1].with_name("net-0.json"))
    status, _, message = medprobe(*words, "--external", abroad.table, "--out", tmp_path / "run")
    assert status == 0, message
    assert set(Run.load(tmp_path / "run").scores["backbone"]) == {"net-0"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--backbone", "net-0"), "leave out --backbone and --pooling"),
        (("--pooling", "cls"), "leave out --backbone and --pooling"),
        (("--cache", "elsewhere"), "is not in elsewhere"),
        (("--record", "absent.json"), "absent.json: is not a record of a cache (No such file"),
    ],
)
def test_records_that_cannot_be_followed_are_one_line(
    recorded: tuple[Path, Path], tmp_path: Path, medprobe: Medprobe, words: tuple[str, ...], message: str
) -> None:
    out = tmp_path / "run"
    refused = medprobe("probe", recorded[0], *_QUICK, "--record", recorded[1], *words, "--out", out)
    assert_refused(*refused, out, message)
