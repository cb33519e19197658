"""What the commands about a manifest say in a terminal: in lines that fit, with counts that mean one thing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from medprobe.cache import CacheDraft, EmbeddingSpec, TransformSpec, default_store, find_caches
from medprobe.manifests import CODES, DatasetCard, Manifest, build_folder, check_manifest
from PIL import Image
from rich.cells import cell_len

_LONG = ("Enlarged Cardiomediastinum with further words", "Pleural_Thickening", "Consolidation of the left lower lobe")
_WIDE = tuple(f"分類名称その{number}・とても長い名前" for number in range(20))
_PATH = "a-folder-named-after-the-hospital/another-folder-that-is-not-short-at-all/{}/view_frontal_of_the_chest.png"


def _manifest(draw: Callable, folder: Path, table: pd.DataFrame, **card) -> Path:
    """Saves a manifest of noise, every third image twice, one damaged and one missing."""
    for row, path in enumerate(table["path"]):
        draw(folder / path, row // 3 * 3 if row % 3 == 1 else row)
    (folder / table["path"].iloc[-1]).unlink()
    (folder / table["path"].iloc[-4]).write_bytes(b"\x89PNG\r\n\x1a\n")
    saved = Manifest(table, DatasetCard.of("card", root=str(folder), **card)).save(folder / "m.parquet")
    assert saved.path
    return saved.path


def _of_labels_with_long_names(draw: Callable, folder: Path) -> Path:
    rows = range(30)
    paths = [_PATH.format(row) for row in rows]
    labels = {name: [int(row % (2 + place) == 0) for row in rows] for place, name in enumerate(_LONG)}
    table = pd.DataFrame({
        "sample_id": paths, "path": paths, **labels, "unit_id": [f"exam-{row}" for row in rows],
        "group_id": [f"patient-{row // 2:030d}" for row in rows], "split": ["train", "val", "test"] * 10,
        "sex": ["f", "m", None] * 10, "age": [30.5 + row for row in rows], "smoker": [0.0, 1.0, None] * 10,
        "site of acquisition": [f"Sankt Zosimus Klinik für Radiologie und Nuklearmedizin {row % 4}" for row in rows],
    })  # fmt: skip
    attributes = ["sex", "age", "smoker", "site of acquisition"]
    return _manifest(draw, folder, table, name="chest radiographs of three hospitals and of one more",
                     task="multilabel", classes=list(_LONG), attributes=attributes)  # fmt: skip


def _of_twenty_classes(draw: Callable, folder: Path) -> Path:
    paths = [f"画像/患者さん{row // 2:04d}/胸部レントゲン写真の非常に長いファイル名{row:04d}.png" for row in range(40)]
    table = pd.DataFrame({
        "sample_id": paths, "path": paths, "label": [_WIDE[row % 20] for row in range(40)],
        "split": ["train", "test"] * 20, "性別": ["男", "女"] * 20, "grade": [1, 2, 3, 4] * 10,
    })  # fmt: skip
    return _manifest(draw, folder, table, name="二十の分類", task="multiclass", classes=list(_WIDE),
                     attributes=["性別", "grade"])  # fmt: skip


@pytest.mark.parametrize(("make", "names_patients"), [(_of_labels_with_long_names, True), (_of_twenty_classes, False)])
def test_every_line_fits_the_terminal_or_is_one_word_and_damage_is_shown(
    make, names_patients: bool, draw, tmp_path, medprobe
) -> None:
    table = make(draw, tmp_path)
    for command, columns in product(("show", "check"), (80, 60)):
        message = medprobe("manifest", command, table, columns=columns)
        if command == "show":
            assert "error: 2 images could not be read: the file is damaged: " in " ".join(message.out.split())
            assert ("no-patients" in message.out) is not names_patients
        for line in f"{message.out}{message.err}".splitlines():
            is_command = line.startswith("  medprobe ")  # to be pasted into a shell
            one_word = len(line.split()) == 1
            assert cell_len(line) <= columns or one_word or is_command, line
    # What names things is whole, so that it can be searched for and copied.
    expected = message.out
    assert all(re.search(rf"{code} +\d+ ", expected) for code in ("pixels-across-splits", "unreadable-image"))


def test_building_tells_what_fits_the_terminal(tmp_path: Path, draw, medprobe) -> None:
    ids = [f"a-patient-of-a-hospital-with-a-long-name-{row // 2:06d}" for row in range(40)]
    rows = pd.DataFrame({"file": [draw(tmp_path / f"{n}.png", n).name for n in range(40)], "who": ids})
    rows.assign(dx=[_LONG[n % 2] for n in range(40)]).to_csv(tmp_path / "t.csv", index=False)
    words = ("--image-column", "file", "--label-column", "dx", "--group-column", "who", "--out", tmp_path / "m.parquet")
    message = medprobe("manifest", "build", "csv", tmp_path / "t.csv", *words)
    assert message.status == 0
    lines = [line for line in f"{message.out}{message.err}".splitlines() if str(tmp_path) not in line]
    assert max(map(cell_len, lines)) <= 80
    assert "ids of patients (groups)" in " ".join(message.err.split())


def test_one_of_a_thing_is_told_in_the_singular_and_numbers_as_they_are(tmp_path: Path, draw, medprobe) -> None:
    table = pd.DataFrame({
        "sample_id": list("abcd"), "path": [draw(tmp_path / f"{n}.png", n).name for n in range(4)],
        "label": ["x", "y"] * 2, "unit_id": ["u1", "u2", "u3", "u4"], "group_id": ["p1", "p2", "p3", "p3"],
        "site": ["here", "here", "here", None], "stage": [0.0, 1.0, 0.0, None],
    })  # fmt: skip
    card = DatasetCard.of("card", name="m", task="binary", classes=["x", "y"], attributes=["site", "stage"])
    message = medprobe("manifest", "show", Manifest(table, card).save(tmp_path / "m.csv").path).out
    assert "site: 1 different value, 1 unit without a value" in message
    assert re.search(r"^ 0 +2 +2 +0 $", message, re.MULTILINE)
    assert not re.search(r"(?<!\d)0\.0", message)


def test_show_counts_millions_without_opening_them(pets: Manifest, medprobe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medprobe.cli.manifest.app._READ_BY_DEFAULT", 42)
    message = medprobe("manifest", "show", pets.path)
    assert message.status == 0
    assert "the 43 images were not read" in message.out
    assert pets.path
    assert not pets.path.with_suffix(".survey").exists()


def test_show_leaves_a_picture_that_is_there_as_it_is(pets: Manifest, medprobe) -> None:
    assert pets.path
    picture = pets.path.with_name("pets-montage.png")
    picture.write_bytes(b"mine")
    message = medprobe("manifest", "show", pets.path)
    assert (message.status, picture.read_bytes()) == (0, b"mine")
    assert "--overwrite" in message.err
    assert "Examples:" not in message.out
    assert medprobe("manifest", "show", pets.path, "--overwrite").status == 0
    assert Image.open(picture).format == "PNG"


def test_a_fix_with_nothing_to_do_writes_nothing_and_ends_as_the_check_does(pets: Manifest, tmp_path, medprobe) -> None:
    new = tmp_path / "new.parquet"
    for fix in ("drop-duplicates", "group-duplicates"):
        words = ("manifest", "check", pets.path, "--fix", fix, "--out", new)
        message = medprobe(*words)
        assert (message.status, "nothing to do" in message.err) == (0, True)
        assert list(tmp_path.glob("new.*")) == []
    pets.source(0).path.unlink()
    assert medprobe(*words).status == 1
    assert list(tmp_path.glob("new.*")) == []


def test_a_fixed_manifest_keeps_the_name_and_so_its_embeddings(class_folders: Path, tmp_path: Path, medprobe) -> None:
    shutil.copy(class_folders / "train/cat/00.png", class_folders / "test/cat/copy.png")
    old = build_folder(class_folders, name="Pets at home").save(tmp_path / "old.parquet")
    vectors = np.random.default_rng(0).standard_normal((len(old), 16)).astype(np.float32)
    _embed(old, tmp_path / "embeddings", vectors, size=8, poolings=("cls",))
    fewer = tmp_path / "fewer.parquet"
    message = medprobe("manifest", "check", old.path, "--fix", "drop-duplicates", "--out", fewer)
    assert message.status == 0
    assert Manifest.load(fewer).name == "Pets at home"
    assert "embeddings are in" not in message.notes
    fixed = Manifest.load(fewer)
    [cache] = find_caches(default_store(fewer), fixed.name)
    kept = old.table["sample_id"].isin(fixed.sample_ids).to_numpy()
    assert kept.sum() == len(old) - 1
    np.testing.assert_array_equal(cache.load("cls", rows=cache.rows_of(fixed.sample_ids)), vectors[kept])
    (tmp_path / "elsewhere").mkdir()
    elsewhere = tmp_path / "elsewhere" / "fewer.parquet"
    message = medprobe("manifest", "check", old.path, "--fix", "drop-duplicates", "--out", elsewhere)
    assert f"add --cache {tmp_path / 'embeddings'} to use them" in message.notes


def test_findings_count_the_images_that_they_are_about(class_folders: Path, tmp_path: Path, medprobe) -> None:
    for copy in ("01", "02", "03"):
        shutil.copy(class_folders / "train/cat/00.png", class_folders / f"train/cat/{copy}.png")
    built = build_folder(class_folders)
    table = built.table.copy()
    dogs = table.index[table["label"] == "dog"]
    table.loc[dogs[:4], "label"] = ["Dog", "Dog", "mouse", "Dog"]
    table.loc[dogs[4:6], "frame"] = -1
    table.loc[dogs[6], "path"] = "nowhere.png"
    table.to_csv(tmp_path / "m.csv", index=False)
    built.card.save(tmp_path / "m.yaml")
    message = medprobe("manifest", "check", tmp_path / "m.csv")
    counts = dict(re.findall(r"^ \w+ +([\w-]+) +([\d,]+) ", message.out, re.MULTILINE))
    assert counts == {"unknown-label": "4", "bad-frame": "2", "missing-file": "1", "pixels-repeated": "4"}
    assert "unknown-label, 4 images. " in message.out
    assert "pixels-repeated, 1 set of identical images. " in message.out
    assert "errors of 3 kinds in 7 images, warnings of 1 kind in 4 images" in " ".join(message.out.split())
    for found in json.loads(medprobe("manifest", "check", tmp_path / "m.csv", "--json").out):
        assert len(found["rows"]) == len(found["samples"])
        assert [table["sample_id"][row - 1] for row in found["rows"]] == found["samples"]


def test_findings_that_are_not_told_one_by_one_still_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medprobe.manifests.validation.diagnostics.MOST", 2)
    rows = range(12)
    table = pd.DataFrame({
        "sample_id": [f"s{row // 2}" for row in rows], "path": [f"{row}.png" for row in rows],
        "label": [f"label {row // 2}" for row in rows], "group_id": [f"g{row // 2}" for row in rows],
        "split": ["train", "test"] * 6,
    })  # fmt: skip
    card = DatasetCard(name="m", task="binary", classes=["a", "b"], root=str(tmp_path))
    findings = check_manifest(Manifest(table, card), progress=False)
    for code, things in {"duplicate-id": 6, "unknown-label": 12, "missing-file": 12, "group-across-splits": 6}.items():
        of_code = [found for found in findings if found.code == code]
        assert len(of_code) == 3
        assert sum(found.count for found in of_code) == things, code
        assert sorted(row for found in of_code for row in found.rows) == list(range(1, 13)), code


def test_what_is_not_told_is_counted_by_things(tmp_path: Path, medprobe) -> None:
    table = pd.DataFrame({"sample_id": [f"s{row}" for row in range(450)], "path": "no.png", "label": "a"})
    table.to_csv(tmp_path / "m.csv", index=False)
    DatasetCard(name="m", task="binary", classes=["a", "b"]).save(tmp_path / "m.yaml")
    message = medprobe("manifest", "check", tmp_path / "m.csv", "--most", 1)
    assert "missing-file, 450 images. " in message.out
    assert "and 449 more; --most 201 lists more, --json all" in message.out


def test_groups_that_tie_copies_are_not_taken_for_patients(tmp_path: Path, medprobe) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (49, 16, 16), np.uint8)
    (tmp_path / "images").mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image if number else pixels[48]).save(tmp_path / f"images/P{number // 2:04d}_{number % 2}.png")
    names = sorted(place.name for place in (tmp_path / "images").iterdir())
    pd.DataFrame({"sample_id": names, "path": names, "label": ["a", "b"] * 24 + ["a"]}).to_csv(
        tmp_path / "m.csv", index=False
    )
    DatasetCard(name="m", task="binary", classes=["a", "b"], root="images").save(tmp_path / "m.yaml")
    fixed = tmp_path / "fixed.csv"
    message = medprobe("manifest", "check", tmp_path / "m.csv", "--fix", "group-duplicates", "--out", fixed)
    assert "no-groups" in message.out
    assert DatasetCard.load(fixed.with_suffix(".yaml")).groups == "copies"
    shown = medprobe("manifest", "show", fixed).out
    assert "no-patients" in shown
    assert "Groups (copies of an image)" in shown
    again = medprobe("manifest", "check", fixed, "--fix", "group-duplicates", "--out", tmp_path / "again.csv")
    assert "there is nothing to do" in again.notes


def _embed(manifest: Manifest, store: Path, vectors: np.ndarray, *, size: int, poolings: tuple[str, ...]) -> str:
    """Publishes a cache of one backbone; returns its fingerprint."""
    transform = TransformSpec(size=(size, size), resize="squash", resize_to=(size, size), interpolation="bilinear",
                              mean=(0.0,) * 3, std=(1.0,) * 3)  # fmt: skip
    spec = EmbeddingSpec(backbone="timm:net", model="timm:net", weights_digest="0" * 64, transform=transform,
                         poolings=poolings, precision="fp32")  # fmt: skip
    stamps = np.arange(1, len(vectors) + 1)
    with CacheDraft.open(store, manifest.name, spec) as draft:
        digests = [f"{number:032x}" for number in stamps]
        draft.append(manifest.sample_ids, digests, stamps, dict.fromkeys(poolings, vectors))
        draft.publish(manifest.sample_ids, stamps=stamps, device="cpu")
    return spec.fingerprint


def test_every_cache_of_a_backbone_is_compared_and_named_with_its_pooling(pets: Manifest, tmp_path, medprobe) -> None:
    """Two sizes of one backbone are two caches: neither takes the place of the other."""
    random, store = np.random.default_rng(0), tmp_path / "embeddings"
    ids = list(pets.sample_ids)
    prints = []
    for size, pair in ((8, ("train/cat/01.png", "test/dog/03.png")), (16, ("train/cat/02.png", "test/dog/04.png"))):
        vectors = random.standard_normal((len(ids), 16)).astype(np.float32)
        both = ("train/cat/05.png", "test/cat/06.png")
        for one, other in (pair, both):
            vectors[ids.index(one)] = vectors[ids.index(other)]
        prints.append(_embed(pets, store, vectors, size=size, poolings=("cls", "mean")))
    message = medprobe("manifest", "check", pets.path)
    expected, remarks = (" ".join(text.split()) for text in (message.out, message.err))
    for fingerprint in prints:
        assert f"timm:net@{fingerprint}, cls" in expected
        assert f"timm:net@{fingerprint}, cls" in remarks
    assert "test/dog/03.png (test): cosine 1.000" in expected
    assert "test/dog/04.png (test): cosine 1.000" in expected
    assert re.search(r"test/cat/06.png \(test\): cosine 1.000 \(\S+ cls, and close by 1 other cache\)", expected)
    assert "near-embedding, 3 pairs." in expected


def test_no_absolute_path_is_told_of_an_image_that_is_outside_the_root(tmp_path: Path, medprobe) -> None:
    hidden = tmp_path / "Dr_Zieglmaier" / "scan.png"
    table = pd.DataFrame({"sample_id": ["a", "b"], "path": [str(hidden), "../Dr_Zieglmaier/other.png"], "label": "x"})
    (tmp_path / "in").mkdir()
    table.to_csv(tmp_path / "in" / "m.csv", index=False)
    (tmp_path / "in" / "m.yaml").write_text("name: m\ntask: binary\nclasses: [x, y]\n")
    for words in ((), ("--json",)):
        message = medprobe("manifest", "check", tmp_path / "in" / "m.csv", *words)
        assert message.status == 1
        assert "path-outside-root" in message.out
        assert "Zieglmaier" not in message.out
    assert ".../scan.png" in medprobe("manifest", "check", tmp_path / "in" / "m.csv").out


def test_findings_name_files_to_the_terminal_and_rows_in_json(pets: Manifest, tmp_path: Path, medprobe) -> None:
    hashed = pets.table.assign(sample_id=[f"{row:04x}" for row in range(len(pets))])
    path = Manifest(hashed, pets.card, pets.path).save(tmp_path / "hashed.parquet").path
    pets.source(7).path.unlink()
    name = hashed["path"][7]
    message = medprobe("manifest", "check", path).out
    assert f'row 8 (sample_id "0007"): the file does not exist ({name})' in message
    [found] = json.loads(medprobe("manifest", "check", path, "--json").out)
    assert (found["rows"], found["samples"]) == ([8], ["0007"])
    assert name not in json.dumps(found)


def test_what_to_do_is_told_beside_what_was_found(pets: Manifest, class_folders: Path, medprobe) -> None:
    shutil.copy(class_folders / "train/cat/00.png", class_folders / "test/cat/01.png")
    message = " ".join(medprobe("manifest", "check", pets.path).out.split())
    assert CODES["pixels-across-splits"].remedy in message
    assert all(kind.remedy.endswith(".") for kind in CODES.values())
