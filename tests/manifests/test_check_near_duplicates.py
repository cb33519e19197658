from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from medprobe.base import ManifestError
from medprobe.base.progress import Bar
from medprobe.cache import CacheDraft, EmbeddingSpec, TransformSpec
from medprobe.manifests import (
    Diagnostic,
    Manifest,
    build_folder,
    check_manifest,
    group_duplicates,
    manifest_image_stats,
)
from medprobe.manifests.checks.near_duplicates import near_pairs
from medprobe.manifests.checks.near_search import near_pictures
from PIL import Image, ImageEnhance, ImageOps
from scipy.ndimage import gaussian_filter

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


_KINDS: dict[str, tuple[Callable[[Image.Image], Image.Image], str]] = {
    "mirrored": (ImageOps.mirror, "mirrored"),
    "top to bottom": (ImageOps.flip, "mirrored top to bottom"),
    "90": (lambda image: image.rotate(90), "turned by 90 degrees"),
    "180": (lambda image: image.rotate(180), "turned by 180 degrees"),
    "270": (lambda image: image.rotate(270), "turned by 90 degrees"),
    "transposed": (lambda image: image.transpose(Image.Transpose.TRANSPOSE), "turned by 90 degrees and mirrored"),
    "transverse": (lambda image: image.transpose(Image.Transpose.TRANSVERSE), "turned by 90 degrees and mirrored"),
    "cropped at each side": (lambda image: ImageOps.crop(image, round(0.05 * image.width)), "cropped"),
    "cropped in a corner": (lambda image: image.crop((0, 0, *(round(0.95 * side) for side in image.size))), "cropped"),
    "brighter": (lambda image: ImageEnhance.Brightness(image).enhance(1.2), ""),
    "darker": (lambda image: ImageEnhance.Brightness(image).enhance(0.8), ""),
    "more contrast": (lambda image: ImageEnhance.Contrast(image).enhance(1.2), ""),
    "less contrast": (lambda image: ImageEnhance.Contrast(image).enhance(0.8), ""),
    "half the size": (lambda image: image.resize((image.width // 2, image.height // 2)), "resized"),
    "compressed": (lambda image: _compressed(image, 30), ""),
    "turned and cropped": (lambda image: ImageOps.crop(image.rotate(90), 8), "turned by 90 degrees, cropped"),
    "mirrored and half": (lambda image: ImageOps.mirror(image).resize((80, 80)), "mirrored, resized"),
    "cropped and brighter": (lambda image: ImageEnhance.Brightness(ImageOps.crop(image, 8)).enhance(1.2), "cropped"),
    "mirrored and compressed": (lambda image: _compressed(ImageOps.mirror(image), 30), "mirrored"),
}


def _compressed(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def _texture(seed: int) -> Image.Image:
    """Detail of every size, 160 x 160, as `seed` decides."""
    random = np.random.default_rng(seed)
    layers = [random.standard_normal((side, side)).astype(np.float32) * 12 for side in (4, 8, 16, 32)]
    pixels = sum(np.asarray(Image.fromarray(layer).resize((160, 160), Image.Resampling.BICUBIC)) for layer in layers)
    return Image.fromarray(np.clip(110 + pixels, 0, 255).astype(np.uint8))


def _across(tmp_path: Path, scans: list[Image.Image], copies: list[Image.Image]) -> Manifest:
    """The scans in train, two of which the copies of the first in test."""
    for side, images in (("train", scans), ("test", copies)):
        for number, image in enumerate(images):
            place = tmp_path / side / "ab"[number % 2] / f"{number:03d}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            image.save(place)
    return build_folder(tmp_path)


def test_a_copy_in_disguise_is_found_and_its_disguise_named(tmp_path: Path) -> None:
    scans, kinds = [_texture(seed) for seed in range(12)], list(_KINDS.values())
    copies = [change(scan) for change, _ in kinds for scan in scans[:4]]
    expected = {(number % 4, number): kinds[number // 4][1] for number in range(len(copies))}
    assert _pairs_found(_across(tmp_path, scans, copies)) == expected


@pytest.mark.realdata
def test_a_scan_in_disguise_is_found_among_scans_that_look_alike(tmp_path: Path, realdata: Path) -> None:
    scans = [Image.open(file) for file in sorted((realdata / "brain-mri/train/pituitary").iterdir())[:40]]
    copies = [change(scan) for change, _ in _KINDS.values() for scan in scans[:4]]
    found = _pairs_found(_across(tmp_path, scans, copies))
    assert set(found) == {(number % 4, number) for number in range(len(copies))}


def _pairs_found(manifest: Manifest) -> dict[tuple[int, int], str]:
    """The numbers of the scan and the copy of each near-duplicate, and how they differ, by the message."""
    stats, split = manifest_image_stats(manifest, show_progress=False), manifest.table["split"].to_numpy()
    pairs = near_pairs((split == "test").astype(np.int64), stats=stats)
    number = manifest.table["path"].str.extract(r"(\d+)\.png")[0].astype(int).to_numpy()
    assert all(split[row] != split[other] for row, other in zip(pairs["row"], pairs["other"], strict=True))
    return {
        tuple(number[row] for row in sorted((row, other), key=lambda row: split[row] == "test")): kind
        for row, other, kind in zip(pairs["row"], pairs["other"], pairs["kind"], strict=True)
    }


def test_the_correlation_is_that_of_the_details_of_two_pictures() -> None:
    random = np.random.default_rng(0)
    pictures = np.stack([np.asarray(_texture(seed).resize((48, 48))) for seed in range(4)])
    noisy = np.clip(pictures + random.normal(0, 3, pictures.shape), 0, 255).astype(np.uint8)
    both = np.concatenate([pictures, noisy[:, ::-1]])
    details = [gaussian_filter(one.astype(float), 0.5) - 0.95 * gaussian_filter(one.astype(float), 2) for one in both]
    seen = set()
    for found in near_pictures(both, np.arange(8) // 4, 0.5, Bar()):
        assert (found.orientation == 2).all()
        for pair, correlation in zip(np.sort(found.pairs, axis=1).tolist(), found.correlation, strict=True):
            expected = np.corrcoef(details[pair[0]].ravel(), details[pair[1]][::-1].ravel())[0, 1]
            assert correlation == pytest.approx(expected, abs=0.01)
            assert expected < 0.99
            seen.add(tuple(pair))
    assert seen == {(row, row + 4) for row in range(4)}


def _fundus(seed: int) -> Image.Image:
    """A bright disc with an optic disc on one side and smooth texture: nothing is shared but the round frame."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    side = random.choice([-1, 1]) * (0.45 + 0.06 * random.standard_normal())
    pixels = 90 + 15 * random.standard_normal() + 20 * (1 - x**2 - y**2) - 30 * np.exp(-(x**2 + y**2) / 0.05)
    pixels += (60 + 15 * random.standard_normal()) * np.exp(-((x - side) ** 2 + y**2) / 0.02)
    for width, height in ((1.5, 8), (5, 6)):
        texture = gaussian_filter(random.standard_normal(x.shape), width)
        pixels += height * texture / texture.std()
    return Image.fromarray(np.where(x**2 + y**2 > 0.9, 0, np.clip(pixels, 0, 255)).astype(np.uint8))


def test_a_frame_that_all_images_share_makes_no_copies_of_them() -> None:
    scans = [_fundus(seed) for seed in range(120)]
    images = [*scans, *(ImageOps.mirror(ImageOps.crop(scan, 4)) for scan in scans[:20])]
    pictures = np.stack([np.asarray(image.resize((48, 48), Image.Resampling.BILINEAR)) for image in images])
    blocks = near_pictures(pictures, np.arange(140), 0.955, Bar())
    found = {tuple(sorted(pair)) for block in blocks for pair in block.pairs.tolist()}
    assert found == {(row, row + 120) for row in range(20)}


def test_two_images_are_enough_and_a_family_may_be_all_there_is(tmp_path: Path) -> None:
    scan = _texture(0)
    two = _across(tmp_path / "two", [scan, ImageOps.mirror(scan)], [])
    unsplit = Manifest(two.table.drop(columns="split"), two.card)
    assert len(_found(unsplit, "near-duplicate")) == 1
    family = [change(scan) for change, words in _KINDS.values() if "cropped" not in words]
    found = _found(_across(tmp_path / "family", [scan] * 3, family), "near-duplicate")
    assert len(found) == 3 * len(family)


def test_images_of_stripes_bars_and_single_pixels_are_compared_without_an_error(tmp_path: Path) -> None:
    stripes = [Image.fromarray(np.tile(np.uint8([[30], [200]]), (24, 48))).rotate(90 * turn) for turn in range(2)]
    slopes = [Image.linear_gradient("L"), Image.radial_gradient("L").resize((400, 3)), Image.new("L", (1, 1), 9)]
    manifest = _across(tmp_path, [*stripes, *slopes], [_compressed(image, 50) for image in (*stripes, *slopes)])
    assert {one.samples[0][-7:] for one in _found(manifest, "near-duplicate")} >= {"002.png", "003.png"}


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


def test_every_pair_and_every_set_of_copies_is_listed(scans: Path, tmp_path: Path) -> None:
    manifest = build_folder(scans)
    kind = np.arange(len(manifest)) % 2
    vectors = np.random.default_rng(0).standard_normal((2, 32))[kind].astype(np.float32)
    found = _found(manifest, "near-embedding", embeddings={"net": vectors})
    assert len(found) == sum(one.count for one in found) == 288
    assert all(len(one.samples) == 2 for one in found)
    (tmp_path / "copies").mkdir()
    for number in range(2 * 201):
        pixels = np.random.default_rng(number // 2).integers(0, 256, (4, 4), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "copies" / f"{number}.png")
    found = _found(build_folder(tmp_path / "copies", unlabelled=True), "pixels-repeated")
    assert [len(one.samples) for one in found] == [2] * 201


def test_embeddings_do_not_repeat_what_pixels_have_found(scans: Path) -> None:
    ImageOps.mirror(_picture(0)).save(scans / "test" / "ill" / "copy.png")
    manifest = build_folder(scans)
    vectors = np.random.default_rng(0).standard_normal((len(manifest), 32)).astype(np.float32)
    ids = list(manifest.sample_ids)
    vectors[ids.index("test/ill/copy.png")] = vectors[ids.index("train/ill/ill-000.png")]
    assert len(_found(manifest, "near-duplicate")) == 1
    assert _found(manifest, "near-embedding", embeddings={"net": vectors}) == []


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
    expected = "train/ill/ill-003.png (train) ~ test/well/well-305.png (test): cosine 1.000"
    status, refusal, _ = medprobe("manifest", "check", manifest.path)
    assert (status, expected in " ".join(refusal.split())) == (0, True)
    (tmp_path / "embeddings").rename(tmp_path / "elsewhere")
    assert "near-embedding" not in medprobe("manifest", "check", manifest.path).out
    assert "near-embedding" in medprobe("manifest", "check", manifest.path, "--cache", tmp_path / "elsewhere").out
    status, _, remarks = medprobe("manifest", "check", manifest.path, "--cache", tmp_path / "nowhere")
    assert (status, "holds no embeddings" in remarks) == (1, True)


@pytest.mark.realdata
def test_the_brain_images_have_near_duplicates_that_are_seen_as_such(realdata: Path) -> None:
    manifest = build_folder(realdata / "brain-mri")
    found = _found(manifest, "near-duplicate")
    assert sum(one.count for one in found) == pytest.approx(114, abs=2)
    # One slice in two windows, told apart by no eye.
    assert ("train/notumor/Tr-no_0449.jpg", "test/notumor/Te-no_0256.jpg") in {one.samples for one in found}
    # The set was made larger by mirrored and turned copies, on both sides of its split.
    assert sum("mirrored" in one.message or "turned by 180" in one.message for one in found) > 80


@pytest.mark.realdata
def test_scans_mirrored_or_turned_into_the_other_part_are_found_and_tied(realdata: Path, tmp_path: Path) -> None:
    files = sorted((realdata / "brain-mri/train").rglob("*.jpg"))[::15]
    scans = [Image.open(file) for file in files]
    changes = [ImageOps.mirror, lambda image: image.rotate(90)]
    copies = [changes[number % 2](scan) for number, scan in enumerate(scans)]
    manifest = _across(tmp_path, scans, [*copies, _texture(0), _texture(1)])
    found = _found(manifest, "near-duplicate")
    assert {(one.samples[0][-7:], one.samples[1][-7:]) for one in found} == {(f"{n:03d}.png",) * 2 for n in range(40)}
    assert {one.message.partition(" (test): ")[2] for one in found} == {
        "correlation 1.000 (mirrored)",
        "correlation 1.000 (turned by 90 degrees)",
    }
    fixed = group_duplicates(manifest, manifest_image_stats(manifest, show_progress=False))
    assert _found(fixed.manifest, "near-duplicate") == []
    groups = fixed.manifest.table.set_index("sample_id")["group_id"]
    assert all(groups[one.samples[0]] == groups[one.samples[1]] for one in found)
    assert list(fixed.manifest.table.loc[fixed.manifest.table["split"] == "test", "sample_id"].str[-7:]) == [
        "040.png",
        "041.png",
    ]
