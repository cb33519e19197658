from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from medprobe.base import ManifestError
from medprobe.cache import CacheDraft, EmbeddingSpec, TransformSpec
from medprobe.manifests import Diagnostic, Manifest, build_folder, check_manifest
from medprobe.manifests.checks.near_search import FARTHEST, near_hashes
from PIL import Image

_SIDES = ("train", "test")


def _picture(seed: int) -> Image.Image:
    """Smooth blobs, 96 x 96, as `seed` decides: something that a thumbnail shows."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6), dtype=np.uint8)
    return Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """`train` and `test` of `ill` and `well`, 12 pictures each, every one another."""
    for number, (side, label) in enumerate((side, label) for side in _SIDES for label in ("ill", "well")):
        (tmp_path / "scans" / side / label).mkdir(parents=True)
        for count in range(12):
            _picture(100 * number + count).save(tmp_path / "scans" / side / label / f"{label}-{number}{count:02d}.png")
    return tmp_path / "scans"


def _found(manifest: Manifest, code: str, **given: object) -> list[Diagnostic]:
    return [one for one in check_manifest(manifest, progress=False, **given) if one.code == code]


def test_different_pictures_are_no_near_duplicates(scans: Path) -> None:
    assert _found(build_folder(scans), "near-duplicate") == []


@pytest.mark.parametrize(
    ("change", "suffix"),
    [
        (lambda image: image, "jpg"),
        (lambda image: image.resize((224, 224), Image.Resampling.BICUBIC), "png"),
        (lambda image: image.resize((48, 64)), "png"),
        (lambda image: image.point(lambda level: 20 + 0.7 * level), "png"),
        (lambda image: image.convert("RGB"), "jpg"),
    ],
    ids=["compressed", "enlarged", "squashed", "paler", "coloured"],
)
def test_a_copy_that_was_changed_a_little_is_found_across_the_split(scans: Path, change, suffix: str) -> None:
    change(_picture(0)).save(scans / "test" / "ill" / f"copy.{suffix}")
    (found,) = _found(build_folder(scans), "near-duplicate")
    assert found.samples == ("train/ill/ill-000.png", f"test/ill/copy.{suffix}")
    assert found.message.startswith(f"train/ill/ill-000.png (train) ~ test/ill/copy.{suffix} (test): correlation ")
    assert found.severity == "warning"


def test_near_duplicates_on_one_side_or_in_one_group_are_none(scans: Path) -> None:
    _picture(0).save(scans / "train" / "ill" / "copy.jpg")
    manifest = build_folder(scans)
    assert _found(manifest, "near-duplicate") == []
    unsplit = manifest.table.drop(columns="split")
    assert len(_found(Manifest(unsplit, manifest.card), "near-duplicate")) == 1
    patients = unsplit["sample_id"].replace("train/ill/copy.jpg", "train/ill/ill-000.png")
    assert _found(Manifest(unsplit.assign(group_id=patients), manifest.card), "near-duplicate") == []


def test_identical_and_nearly_blank_images_do_not_flood(scans: Path) -> None:
    for side in _SIDES:
        _picture(0).save(scans / side / "ill" / "same.png")
        for number in range(8):
            blank = np.full((96, 96), 10, np.uint8)
            blank[number, :3] = 40
            Image.fromarray(blank).save(scans / side / "well" / f"blank-{number}.png")
    assert _found(build_folder(scans), "near-duplicate") == []


def test_the_search_finds_every_pair_within_its_reach_and_no_other() -> None:
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**64, 300, dtype=np.uint64)
    # Relatives at every distance from 0 to 12 bits.
    relatives = hashes[:260].copy()
    for row in range(len(relatives)):
        for bit in random.choice(64, row % 13, replace=False):
            relatives[row] ^= np.uint64(1 << int(bit))
    every, part = np.concatenate([hashes, relatives]), random.integers(0, 2, 560)
    distance = np.array([[int(one ^ other).bit_count() for other in every] for one in every])
    one, other = np.nonzero(np.triu(distance <= FARTHEST, 1) & (part[:, None] != part))
    found = {tuple(pair) for pairs in near_hashes(every, part) for pair in pairs.tolist()}
    assert found == set(zip(one.tolist(), other.tolist(), strict=True))
    assert len(found) > 50


def test_embeddings_find_what_pixels_do_not(scans: Path) -> None:
    manifest = build_folder(scans)
    vectors = np.random.default_rng(0).standard_normal((len(manifest), 32)).astype(np.float32) + 5
    ids = list(manifest.sample_ids)
    one, other = ids.index("train/ill/ill-000.png"), ids.index("test/well/well-305.png")
    vectors[other] = vectors[one] + 0.01
    vectors[ids.index("train/well/well-100.png")] = np.nan
    (found,) = _found(manifest, "near-embedding", embeddings={"net": vectors})
    assert found.samples == (ids[one], ids[other])
    assert found.message.endswith("(net)")
    assert _found(manifest, "near-embedding", embeddings={"net": np.full_like(vectors, np.nan)}) == []


def test_embeddings_are_compared_across_groups_also_within_a_split(scans: Path) -> None:
    """Another protocol draws the split anew."""
    built = build_folder(scans)
    vectors = np.random.default_rng(0).standard_normal((len(built), 32)).astype(np.float32) + 5
    train = np.flatnonzero(built.table["split"] == "train")
    vectors[train[1]] = vectors[train[2]] = vectors[train[0]] + 0.01
    groups = built.sample_ids.copy()
    groups[train[1]] = groups[train[0]]
    manifest = Manifest(built.table.assign(group_id=groups), built.card)
    pairs = {found.samples for found in _found(manifest, "near-embedding", embeddings={"net": vectors})}
    ids = built.sample_ids[train]
    assert pairs == {(ids[0], ids[2]), (ids[1], ids[2])}


def test_embeddings_of_another_manifest_are_refused(scans: Path) -> None:
    with pytest.raises(ManifestError, match=r"48 samples"):
        check_manifest(build_folder(scans), embeddings={"net": np.zeros((3, 4))}, progress=False)


def test_the_command_compares_the_embeddings_of_every_cache_it_finds(scans: Path, tmp_path: Path, medprobe) -> None:
    manifest = build_folder(scans).save(tmp_path / "scans.parquet")
    ids = manifest.sample_ids[::-1][:-1]  # another order than the rows', and one sample is not embedded
    vectors = np.random.default_rng(0).standard_normal((len(ids), 16)).astype(np.float32)
    vectors[list(ids).index("train/ill/ill-003.png")] = vectors[list(ids).index("test/well/well-305.png")]
    squash = {"size": (8, 8), "resize": "squash", "resize_to": (8, 8), "interpolation": "bilinear"}
    transform = TransformSpec(**squash, mean=(0.0,) * 3, std=(1.0,) * 3)
    spec = EmbeddingSpec(
        backbone="timm:net", model="timm:net", weights_digest="0" * 64, transform=transform, poolings=("pooled",),
        precision="fp32",
    )  # fmt: skip
    stamps = np.arange(1, len(ids) + 1)
    with CacheDraft.open(tmp_path / "embeddings", manifest.name, spec) as draft:
        draft.append(ids, [f"{number:032x}" for number in stamps], stamps, {"pooled": vectors})
        draft.publish(ids, stamps=stamps, device="cpu")
    told = "train/ill/ill-003.png (train) ~ test/well/well-305.png (test): cosine 1.000"
    status, said, _ = medprobe("manifest", "check", manifest.path)
    assert (status, told in " ".join(said.split())) == (0, True)
    (tmp_path / "embeddings").rename(tmp_path / "elsewhere")
    assert "near-embedding" not in medprobe("manifest", "check", manifest.path).out
    assert "near-embedding" in medprobe("manifest", "check", manifest.path, "--cache", tmp_path / "elsewhere").out
    status, _, remarks = medprobe("manifest", "check", manifest.path, "--cache", tmp_path / "nowhere")
    assert (status, "holds no embeddings" in remarks) == (1, True)


@pytest.mark.realdata
def test_the_brain_images_have_near_duplicates_that_are_seen_as_such(realdata: Path) -> None:
    manifest = build_folder(realdata / "brain-mri")
    found = _found(manifest, "near-duplicate")
    assert len(found) == 32
    # One slice in two windows, told apart by no eye.
    assert ("train/notumor/Tr-no_0449.jpg", "test/notumor/Te-no_0256.jpg") in {one.samples for one in found}
