from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from medprobe.manifests import (
    DatasetCard,
    ImageStats,
    IntensityPolicy,
    Manifest,
    Source,
    build_folder,
    build_npz,
    manifest_image_stats,
)
from medprobe.manifests.image_stats import scan as surveying
from PIL import Image


def _same(one: ImageStats, other: ImageStats) -> bool:
    return one.table.equals(other.table)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], list[str]]:
    """`looked_at()`: the names of the files that workers have decoded since the last call."""
    log, look = tmp_path / "looked-at", surveying.facts_of

    def noted(source):
        with log.open("a") as file:
            file.write(f"{source.path.name}\n")
        return look(source)

    def names() -> list[str]:
        seen = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return seen

    monkeypatch.setattr(surveying, "facts_of", noted)
    return names


def test_a_survey_says_what_an_image_is(class_folders: Path, pets: Manifest) -> None:
    first = class_folders / "train/cat/00.png"
    Image.fromarray(np.arange(240, dtype=np.uint8).reshape(12, 20, 1).repeat(3, 2)).save(first, format="JPEG")
    seen = manifest_image_stats(pets, show_progress=False)
    row = list(pets.sample_ids).index("train/cat/00.png")
    assert (seen.height[row], seen.width[row], seen.stored[row]) == (12, 20, "JPEG RGB")
    assert seen.bytes[row] == first.stat().st_size
    assert seen.histogram[row].sum() == 240
    assert seen.histogram[row][0] == (np.asarray(Image.open(first).convert("L")) < 8).sum()
    assert (seen.picture[row].dtype, seen.picture[row].shape) == (np.uint8, (48, 48))
    assert list(seen.stored[row + 1 : row + 3]) == ["PNG L", "PNG L"]


def test_what_is_kept_does_not_say_where_the_images_are(pets: Manifest) -> None:
    pets.card.root = str(pets.root)
    manifest_image_stats(pets, show_progress=False)
    assert pets.path
    kept = pets.path.with_suffix(".survey").read_bytes()
    assert pets.root.name.encode() not in kept
    assert pq.read_schema(pets.path.with_suffix(".survey")).metadata[b"survey"]


def test_an_unchanged_image_is_never_decoded_again(pets: Manifest, looked_at: Callable[[], list[str]]) -> None:
    first = manifest_image_stats(pets, show_progress=False)
    assert len(looked_at()) == 43
    assert _same(manifest_image_stats(Manifest.load(pets.path), show_progress=False), first)
    assert looked_at() == []


def test_a_changed_and_a_new_image_are_looked_at_and_no_other(
    pets: Manifest, class_folders: Path, looked_at: Callable[[], list[str]], draw
) -> None:
    before = manifest_image_stats(pets, show_progress=False)
    looked_at()
    draw(class_folders / "train/cat/03.png", 777)
    (class_folders / "train/cat/04.png").unlink()
    draw(class_folders / "train/cat/new.png", 778)
    grown = pets.table.iloc[::-1].reset_index(drop=True)
    grown.loc[len(grown)] = {**grown.iloc[0], "sample_id": "new", "path": "train/cat/new.png"}
    after = manifest_image_stats(Manifest(grown, pets.card, pets.path), show_progress=False)
    assert sorted(looked_at()) == ["03.png", "new.png"]
    rows = {path: row for row, path in enumerate(grown["path"])}
    assert after.missing[rows["train/cat/04.png"]]
    assert after.digest[rows["train/cat/03.png"]] != before.digest[list(pets.table["path"]).index("train/cat/03.png")]
    kept = [path for path in pets.table["path"] if path[-6:] not in ("03.png", "04.png")]
    places = [list(pets.table["path"]).index(path) for path in kept]
    assert _same(after.take(np.array([rows[path] for path in kept])), before.take(np.array(places)))


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "empty", "schema"])
def test_a_survey_that_cannot_be_trusted_is_made_again(
    pets: Manifest, looked_at: Callable[[], list[str]], damage: str
) -> None:
    file = pets.path.with_suffix(".survey")
    first = manifest_image_stats(pets, show_progress=False)
    whole = file.read_bytes()
    if damage == "cut":
        file.write_bytes(whole[: len(whole) // 2])
    elif damage == "flipped":
        middle = len(whole) // 3
        file.write_bytes(
            whole[:middle] + bytes(byte ^ 255 for byte in whole[middle : middle + 40]) + whole[middle + 40 :]
        )
    elif damage == "foreign":
        pq.write_table(pq.read_table(pets.path), file)
    elif damage == "empty":
        file.write_bytes(b"")
    else:
        table = pq.read_table(file)
        pq.write_table(
            table.replace_schema_metadata({"survey": table.schema.metadata[b"survey"].replace(b"1", b"0")}), file
        )
    looked_at()
    assert _same(manifest_image_stats(pets, show_progress=False), first)
    assert len(looked_at()) == 43
    manifest_image_stats(pets, show_progress=False)
    assert looked_at() == []


def test_another_reading_is_another_survey(pets: Manifest, looked_at: Callable[[], list[str]]) -> None:
    manifest_image_stats(pets, show_progress=False)
    looked_at()
    card = pets.card.model_copy(update={"reading": IntensityPolicy(window="percentiles")})
    manifest_image_stats(Manifest(pets.table, card, pets.path), show_progress=False)
    assert len(looked_at()) == 43


def test_another_root_is_another_survey(tmp_path: Path) -> None:
    """Two exports may hold files of one name, size and time."""
    seen = []
    for number, root in enumerate(("one", "two")):
        for place in ("a/1.bmp", "b/2.bmp"):
            path = tmp_path / root / place
            path.parent.mkdir(parents=True)
            Image.fromarray(np.random.default_rng(number).integers(0, 256, (9, 8), dtype=np.uint8)).save(path)
            os.utime(path, ns=(0, 0))
        manifest = build_folder(tmp_path / root, name="both").save(tmp_path / "both.parquet")
        seen.append(manifest_image_stats(manifest, show_progress=False))
    assert seen[0].bytes.tolist() == seen[1].bytes.tolist()
    assert not set(seen[0].digest) & set(seen[1].digest)


def _exchange(one: Path, other: Path) -> None:
    for source, target in ((one, one.with_name("between")), (other, one), (one.with_name("between"), other)):
        source.rename(target)


def _write_into_each_other(one: Path, other: Path) -> None:
    pair = one.read_bytes(), other.read_bytes()
    for file, content in zip((other, one), pair, strict=True):
        file.write_bytes(content)
        os.utime(file, ns=(0, 0))


@pytest.mark.parametrize("kind", ["files", "folders", "content", "links", "arrays"])
def test_files_of_one_size_and_time_that_are_exchanged_are_looked_at_again(tmp_path: Path, kind: str) -> None:
    """As after unpacking an archive with one time for all."""
    places = [tmp_path / "set" / name / ("t.npz" if kind == "arrays" else "1.bmp") for name in "ab"]
    for number, path in enumerate(places):
        path.parent.mkdir(parents=True)
        pixels = np.random.default_rng(number).integers(0, 256, (1, 9, 8), dtype=np.uint8)
        np.savez(path, t=pixels) if kind == "arrays" else Image.fromarray(pixels[0]).save(path)
        os.utime(path, ns=(0, 0))
        if kind == "links":
            path.rename(tmp_path / f"{number}.bmp")
            path.symlink_to(tmp_path / f"{number}.bmp")
    names = [f"{path.relative_to(tmp_path).as_posix()}{'#t' if kind == 'arrays' else ''}" for path in places]
    table = pd.DataFrame({"sample_id": ["0", "1"], "path": names, "frame": 0 if kind == "arrays" else pd.NA})
    card = DatasetCard(name="m", task="binary", classes=["n", "y"], root=str(tmp_path))
    manifest = Manifest(table.assign(label=["n", "y"]), card).save(tmp_path / "m.parquet")
    before = manifest_image_stats(manifest, show_progress=False).digest.tolist()
    if kind == "folders":
        _exchange(*(path.parent for path in places))
    elif kind == "content":
        _write_into_each_other(*places)
    else:
        _exchange(*places)
    assert manifest_image_stats(manifest, show_progress=False).digest.tolist() == before[::-1]


def test_a_name_that_no_file_can_have_is_a_missing_file_and_no_end(pets: Manifest) -> None:
    table = pets.table.copy()
    table.loc[0, "path"] = "x" * 300 + ".png"
    seen = manifest_image_stats(Manifest(table, pets.card, pets.path), show_progress=False)
    assert seen.missing.tolist() == [True] + [False] * 42
    assert "too long" in seen.reason[0]


def test_a_survey_that_was_stopped_goes_on_where_it_was(pets: Manifest, looked_at, monkeypatch) -> None:
    look_at = surveying.look_at

    def stopped(*arguments, **options):
        yield next(look_at(*arguments, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr(surveying, "look_at", stopped)
    with pytest.raises(KeyboardInterrupt):
        manifest_image_stats(pets, workers=1, show_progress=False)
    monkeypatch.setattr(surveying, "look_at", look_at)
    looked_at()
    manifest_image_stats(pets, show_progress=False)
    assert len(looked_at()) == 43 - 10  # the first chunk of ten was kept


def test_the_survey_file_holds_no_names(pets: Manifest, class_folders: Path, tmp_path: Path) -> None:
    (class_folders / "train/cat/00.png").rename(class_folders / "train/cat/Jane-Doe.png")
    table = pets.table.assign(path=pets.table["path"].str.replace("train/cat/00", "train/cat/Jane-Doe"))
    manifest_image_stats(Manifest(table, pets.card, pets.path), show_progress=False)
    file = pq.read_table(pets.path.with_suffix(".survey"))
    # Any three letters may occur in this many pixels.
    message = str(file.drop_columns(["picture"]).to_pydict()) + str(file.schema.metadata)
    assert not any(name in message for name in ("Jane", "train", "cat", str(tmp_path)))
    assert file.num_rows == 43


def test_frames_of_one_file_are_told_apart(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "t.npz", train_images=images, train_labels=np.arange(40) % 2)
    manifest = build_npz(tmp_path / "t.npz").save(tmp_path / "m.parquet")
    first = manifest_image_stats(manifest, show_progress=False)
    assert len(set(first.digest)) == 40
    assert set(first.stored) == {"npz grey"}
    assert _same(manifest_image_stats(manifest, show_progress=False), first)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_no_error(pets: Manifest) -> None:
    pets.path.parent.chmod(0o500)
    try:
        assert manifest_image_stats(pets, show_progress=False).readable.all()
    finally:
        pets.path.parent.chmod(0o700)


def test_a_place_that_cannot_be_written_keeps_nothing_and_says_nothing(pets: Manifest) -> None:
    pets.path.with_suffix(".survey").mkdir()
    assert manifest_image_stats(pets, show_progress=False).readable.all()
    assert list(pets.path.with_suffix(".survey").iterdir()) == []


def test_the_survey_of_an_unsaved_manifest_is_not_kept(class_folders: Path) -> None:
    assert manifest_image_stats(build_folder(class_folders), show_progress=False).readable.all()
    assert not list(class_folders.rglob("*.survey"))


def test_workers_see_what_this_process_sees(tmp_path: Path, draw) -> None:
    for number in range(70):
        draw(tmp_path / f"{number % 2}" / f"{number:02d}.png", number)
    (tmp_path / "0" / "00.png").write_text("no image")
    manifest = build_folder(tmp_path)
    here = manifest_image_stats(manifest, workers=0, show_progress=False)
    assert _same(manifest_image_stats(manifest, workers=2, show_progress=False), here)
    assert list(here.reason != "").count(True) == 1


def test_the_frames_of_a_file_go_to_one_worker(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.png", "b.png", "v.dcm", "w.dcm", "c.png")]
    sources = [Source(file, frame) for file in files for frame in (range(70) if file.suffix == ".dcm" else [None])]
    chunks = list(surveying._neighbours(sources, np.arange(len(sources)), 2))
    assert chunks == [[0, 1], [*range(2, 72)], [*range(72, 142)], [142]]
