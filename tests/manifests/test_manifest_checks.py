from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from medprobe.manifests import CODES, DatasetCard, Manifest, build_folder, build_npz, check_manifest
from medprobe.report import draw_montage
from PIL import Image

_ROOT = Path(__file__).resolve().parents[2]


def _codes(manifest: Manifest) -> Counter[str]:
    return Counter(found.code for found in check_manifest(manifest, progress=False))


def test_a_sound_manifest_has_no_findings(pets: Manifest) -> None:
    assert check_manifest(pets, progress=False) == []


def test_identical_pixels_across_splits_are_found_whatever_the_file(class_folders: Path) -> None:
    Image.open(class_folders / "train/cat/00.png").save(class_folders / "test/cat/copy.bmp")
    (found,) = check_manifest(build_folder(class_folders), progress=False)
    assert (found.code, found.severity) == ("pixels-across-splits", "error")
    assert found.samples == ("train/cat/00.png", "test/cat/copy.bmp")
    assert found.message == "train/cat/00.png (train) = test/cat/copy.bmp (test)"


def test_identical_pixels_inside_a_split_or_under_two_labels_are_warnings(class_folders: Path) -> None:
    shutil.copy(class_folders / "train/cat/00.png", class_folders / "train/cat/again.png")
    shutil.copy(class_folders / "test/cat/00.png", class_folders / "test/dog/cat.png")
    findings = check_manifest(build_folder(class_folders), progress=False)
    assert {(found.code, found.severity) for found in findings} == {
        ("pixels-repeated", "warning"),
        ("pixels-two-labels", "warning"),
    }
    assert {found.samples for found in findings if found.code == "pixels-repeated"} == {
        ("train/cat/00.png", "train/cat/again.png"),
        ("test/cat/00.png", "test/dog/cat.png"),
    }


def test_blank_slices_of_one_unit_are_no_repetition(tmp_path: Path) -> None:
    images = np.zeros((40, 4, 4), np.uint8)
    images[:, 0, 0] = 1 + np.arange(40) // 2
    np.savez(tmp_path / "t.npz", train_images=images, train_labels=np.arange(40) // 20)
    manifest = build_npz(tmp_path / "t.npz")
    assert _codes(manifest) == {"pixels-repeated": 20}
    units = manifest.table.assign(unit_id=(np.arange(40) // 2).astype(str))
    assert _codes(Manifest(units, manifest.card)) == {}


def test_every_broken_image_is_named_with_its_reason(class_folders: Path, tmp_path: Path) -> None:
    manifest = build_folder(class_folders).save(tmp_path / "m.csv")
    (class_folders / "train/cat/00.png").unlink()
    (class_folders / "train/cat/01.png").write_bytes(b"")
    (class_folders / "train/cat/02.png").write_text("hello")
    whole = (class_folders / "train/cat/03.png").read_bytes()
    (class_folders / "train/cat/03.png").write_bytes(whole[: len(whole) // 2])
    findings = {found.samples[0][-6:-4]: found for found in check_manifest(manifest, progress=False)}
    assert {name: found.code for name, found in findings.items()} == {
        "00": "missing-file",
        "01": "unreadable-image",
        "02": "unreadable-image",
        "03": "unreadable-image",
    }
    for name, reason in {"01": "0 bytes", "02": "text file", "03": "cut off"}.items():
        assert reason in findings[name].message
        assert str(tmp_path) not in findings[name].message


def test_a_group_on_both_sides_of_a_split_is_an_error(pets: Manifest) -> None:
    groups = pets.table["sample_id"].str.replace(r".*/cat/.*", "tom", regex=True)
    (found,) = check_manifest(Manifest(pets.table.assign(group_id=groups), pets.card, pets.path), progress=False)
    assert (found.code, found.severity, len(found.samples)) == ("group-across-splits", "error", 22)
    assert 'group "tom"' in found.message


@pytest.mark.parametrize(
    ("path", "outside"),
    [
        ("/etc/passwd", True),
        ("../x.png", True),
        ("a/../../x.png", True),
        ("C:\\x.png", True),
        ("..\\x.png", True),
        ("a/../x.png", False),
        ("a..b/x..png", False),
    ],
)
def test_a_path_out_of_the_root_is_an_error(tmp_path: Path, path: str, outside: bool) -> None:
    table = pd.DataFrame({"sample_id": ["s"], "path": [path], "label": ["a"]})
    card = DatasetCard(name="t", task="binary", classes=["a", "b"], root=str(tmp_path))
    assert ("path-outside-root" in _codes(Manifest(table, card))) is outside


def test_a_class_with_under_ten_units_is_a_warning(pets: Manifest) -> None:
    table = pets.table[(pets.table["label"] == "cat") | (pets.table.index < 3)]
    card = pets.card.model_copy(update={"classes": ["cat", "dog", "mouse"], "task": "multiclass"})
    units = table.assign(unit_id=[f"u{row // 3}" for row in range(len(table))])
    findings = check_manifest(Manifest(units.drop(columns="split"), card, pets.path), progress=False)
    rare = {re.search(r'"(\w+)" has (\d+)', found.message).groups() for found in findings if found.code == "rare-class"}
    assert rare == {("cat", "8"), ("dog", "0"), ("mouse", "0")}


def test_all_faults_of_a_table_and_its_images_are_reported_together(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(
        "sample_id,path,label,split,unit_id,group_id,sex,frame,window\n"
        "a,no.png,x,train,u1,g1,f,,\n"
        "a,,X,train,u1,g2,m,,\n"
        ",t.png,,tain,u2,g1,f,,\n"
        "d,../t.png,y,test,u2,g1,f,z,40\n"
    )
    (tmp_path / "t.png").write_text("text")
    (tmp_path / "m.yaml").write_text("name: m\ntask: binary\nclasses: [x, y]\nattributes: [sex]\n")
    found = set(_codes(Manifest.load(tmp_path / "m.csv", strict=False)))
    table = {code for code, kind in CODES.items() if kind.severity == "error"}
    assert found == table - {"empty-manifest", "pixels-across-splits", "source-error"} | {
        "unit-two-attributes", "rare-class", "absent-class",
    }  # fmt: skip


def test_every_code_has_its_section_in_the_docs() -> None:
    text = (_ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    assert re.findall(r"^### `([\w-]+)`", text, re.MULTILINE) == list(CODES)
    for code, kind in CODES.items():
        section = text.split(f"### `{code}`")[1].split("###")[0]
        assert section.strip().startswith(kind.severity.capitalize()), code


def test_a_montage_shows_every_class_and_survives_broken_images(class_folders: Path, tmp_path: Path) -> None:
    manifest = build_folder(class_folders)
    for path in (class_folders / "train" / "cat").iterdir():
        path.write_bytes(b"")
    picture = np.asarray(Image.open(draw_montage(manifest, tmp_path / "m.png", per_class=12)).convert("RGB"))
    assert picture.shape[2] == 3
    assert picture.std() > 30
    again = draw_montage(manifest, tmp_path / "again.png", per_class=12)
    assert again.read_bytes() == (tmp_path / "m.png").read_bytes()


def test_check_ends_with_1_on_errors_and_0_on_warnings(medprobe, class_folders: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.parquet"
    assert medprobe("manifest", "build", "folder", class_folders, "--out", out)[0] == 0
    assert medprobe("manifest", "check", out)[:2] == (0, "m: 43 images checked, nothing found.\n")
    shutil.copy(class_folders / "train/cat/00.png", class_folders / "train/cat/01.png")
    status, refusal, _ = medprobe("manifest", "check", out)
    assert (status, "train/cat/00.png = train/cat/01.png" in refusal) == (0, True)
    shutil.copy(class_folders / "train/cat/05.png", class_folders / "test/cat/01.png")
    status, refusal, _ = medprobe("manifest", "check", out)
    assert status == 1
    assert "pixels-across-splits" in refusal
    assert max(map(len, refusal.splitlines())) <= 80
    status, refusal, _ = medprobe("manifest", "check", out, "--json")
    assert status == 1
    assert {found["code"] for found in json.loads(refusal)} == {"pixels-across-splits", "pixels-repeated"}
    saved = tmp_path / "found.json"
    status, _, remarks = medprobe("manifest", "check", out, "--save", saved)
    assert (status, "--allow pixels-across-splits" in remarks, saved.exists()) == (1, True, False)
    assert medprobe("manifest", "check", out, "--save", saved, "--allow", "pixels-across-splits")[0] == 0
    assert {found["code"] for found in json.loads(saved.read_text())} == {"pixels-across-splits", "pixels-repeated"}
    assert 'unknown code "pixel"' in medprobe("manifest", "check", out, "--allow", "pixel")[2]


def test_building_and_showing_tell_counts_and_never_overwrite_unasked(medprobe, class_folders: Path, tmp_path) -> None:
    out = tmp_path / "m.csv"
    words = ("manifest", "build", "folder", class_folders, "--out", out)
    status, refusal, _ = medprobe(*words, "--name", "Pets at home")
    assert status == 0
    assert re.search(r"cat +12 +10 +22", refusal)
    assert refusal.startswith("Pets at home (binary): 43 images in 2 classes")
    before = out.read_bytes()
    status, _, remarks = medprobe(*words)
    assert (status, "--overwrite" in remarks) == (1, True)
    assert medprobe(*words, "--overwrite")[0] == 0
    assert out.read_bytes() == before
    status, refusal, _ = medprobe("manifest", "show", out)
    assert status == 0
    assert "m-montage.png" in refusal.replace("\n", "")
    assert Image.open(tmp_path / "m-montage.png").format == "PNG"


def test_the_command_line_builds_from_tables_and_arrays(medprobe, class_folders: Path, tmp_path: Path) -> None:
    table = build_folder(class_folders).table.assign(patient=range(43))
    table.to_csv(tmp_path / "labels.csv", index=False)
    words = ("manifest", "build", "csv", tmp_path / "labels.csv", "--image-column", "path", "--label-column", "label")
    options = ("--group-column", "patient", "--split-column", "split", "--root", class_folders)
    status, refusal, _ = medprobe(*words, *options, "--out", tmp_path / "out.csv")
    assert (status, "43 groups" in refusal) == (0, True)
    status, _, remarks = medprobe(*words, "--out", tmp_path / "labels.csv", "--overwrite")
    assert (status, "never replaced" in remarks) == (1, True)
    status, _, remarks = medprobe(*words, *options, "--task", "ordnal", "--out", tmp_path / "o.csv")
    assert (status, 'Did you mean "ordinal"' in remarks) == (1, True)
    np.savez(tmp_path / "a.npz", train_images=np.zeros((3, 4, 4), np.uint8), train_labels=np.array([0, 1, 1]))
    status, refusal, _ = medprobe(
        "manifest", "build", "npz", tmp_path / "a.npz", "--classes", "x, y", "--out", tmp_path / "a.csv"
    )
    assert (status, bool(re.search(r"y +2", refusal))) == (0, True)


@pytest.mark.realdata
def test_the_ten_leaks_of_the_brain_images_are_found_and_no_more(medprobe, realdata: Path, tmp_path: Path) -> None:
    out = tmp_path / "brain.parquet"
    assert medprobe("manifest", "build", "folder", realdata / "brain-mri", "--out", out)[0] == 0
    status, refusal, _ = medprobe("manifest", "check", out)
    assert status == 1
    # A pair may take two lines of 80 columns.
    pairs = re.findall(r"(train/\S+) \(train\) = (test/\S+)\s+\(test\)", refusal)
    assert len(set(pairs)) == 10
    for one, other in pairs:
        pixels = [np.asarray(Image.open(realdata / "brain-mri" / name)) for name in (one, other)]
        np.testing.assert_array_equal(*pixels)
    assert "pixels-across-splits, 10 sets of identical images." in refusal
    assert "errors of 1 kind in 20 images" in refusal


def test_a_montage_replaces_nothing_that_it_was_not_told_to(pets, tmp_path, medprobe) -> None:
    before = pets.path.read_bytes()
    for place in (pets.path, pets.source(0).path):
        status, _, expected = medprobe("manifest", "show", pets.path, "--out", place)
        assert status == 1
        assert ".png" in expected or "--overwrite" in expected
    assert pets.path.read_bytes() == before
    for _ in range(2):
        assert medprobe("manifest", "show", pets.path).status == 0


def test_a_table_in_utf_16_is_one_clear_line(tmp_path, medprobe) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("file,dx\na.png,cat\n", encoding="utf-16")
    words = ("--image-column", "file", "--label-column", "dx", "--out", tmp_path / "m.parquet")
    status, _, expected = medprobe("manifest", "build", "csv", table, *words)
    assert status == 1
    assert "save it as CSV (UTF-8)" in expected
