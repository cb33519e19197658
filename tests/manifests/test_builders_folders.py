"""The published sets that come as class folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from medprobe.manifests import BUILDERS, Manifest, build_folder, check_manifest, read_image
from medprobe.manifests.summary.counts import class_counts
from published_trees import refused

build_kermany = BUILDERS["kermany-cxr"].build
build_amd = BUILDERS["ichallenge-amd"].build
build_brain = BUILDERS["brain-tumor-mri"].build

_KERMANY = {
    "train/NORMAL": ["IM-0115-0001", "IM-0129-0001", "NORMAL2-IM-0383-0001", "IM-0429-0001", "IM-0429-0001-0002"],
    "train/PNEUMONIA": [
        "person1_bacteria_1",
        "person1_bacteria_2",
        "person1008_bacteria_2939",
        "person1008_virus_1691",
    ],
    "val/NORMAL": ["NORMAL2-IM-1427-0001"],
    "val/PNEUMONIA": ["person1946_bacteria_4874"],
    "test/NORMAL": ["IM-0001-0001", "NORMAL2-IM-0129-0001"],
    "test/PNEUMONIA": ["person1_virus_6", "person1_virus_7", "person100_bacteria_475"],
}


def _before(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def chest_xray(tmp_path: Path, draw) -> Path:
    """`chest_xray` as the published archive unpacks: with a copy of itself and a Mac's remnants inside."""
    seed = 0
    for folder, names in _KERMANY.items():
        for name in names:
            seed += 1
            draw(tmp_path / "chest_xray" / folder / f"{name}.jpeg", seed)
            draw(tmp_path / "chest_xray" / "chest_xray" / folder / f"{name}.jpeg", seed)
            mac = tmp_path / "chest_xray" / "__MACOSX" / "chest_xray" / folder / f"._{name}.jpeg"
            mac.parent.mkdir(parents=True, exist_ok=True)
            mac.write_bytes(b"\0\5\26\7")
        (tmp_path / "chest_xray" / folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    return tmp_path / "chest_xray"


@pytest.mark.parametrize("above", [False, True], ids=["given itself", "given the folder above"])
def test_kermany_has_its_splits_and_no_image_twice(chest_xray: Path, tmp_path: Path, above: bool) -> None:
    notices: list[str] = []
    before = _before(tmp_path)
    built = build_kermany(chest_xray.parent if above else chest_xray, notice=notices.append)
    manifest = Manifest.load(built.save(tmp_path / "out" / "kermany.parquet").path)
    assert class_counts(manifest).to_dict("index") == {
        "NORMAL": {"train": 5, "val": 1, "test": 2, "total": 8},
        "PNEUMONIA": {"train": 4, "val": 1, "test": 3, "total": 8},
    }
    assert (manifest.card.task, manifest.card.classes) == ("binary", ["NORMAL", "PNEUMONIA"])
    assert all(read_image(source).shape == (12, 10) for source in manifest.sources())
    expected = "\n".join(notices)
    assert "Skipped the folder __MACOSX/" in expected
    assert "Skipped the folder chest_xray/" in expected
    assert before.items() <= _before(tmp_path).items()


def test_a_kermany_patient_is_a_number_within_its_series(chest_xray: Path) -> None:
    manifest = build_kermany(chest_xray)
    groups = manifest.table.set_index("sample_id")["group_id"]
    assert groups["train/PNEUMONIA/person1_bacteria_1.jpeg"] == groups["train/PNEUMONIA/person1_bacteria_2.jpeg"]
    assert groups["train/PNEUMONIA/person1_bacteria_1.jpeg"] != groups["test/PNEUMONIA/person1_virus_6.jpeg"]
    assert (
        groups["train/PNEUMONIA/person1008_virus_1691.jpeg"] != groups["train/PNEUMONIA/person1008_bacteria_2939.jpeg"]
    )
    assert groups["train/NORMAL/IM-0129-0001.jpeg"] == "IM-0129"
    assert groups["test/NORMAL/NORMAL2-IM-0129-0001.jpeg"] == "NORMAL2-IM-0129"
    assert groups["train/NORMAL/IM-0429-0001-0002.jpeg"] == groups["train/NORMAL/IM-0429-0001.jpeg"]
    assert "group-across-splits" not in {found.code for found in check_manifest(manifest)}


def test_kermany_under_the_names_of_mendeley_keeps_a_child_of_two_causes_together(tmp_path: Path, draw) -> None:
    for path in ("NORMAL/NORMAL-11-0001", "PNEUMONIA/BACTERIA-7-0001", "PNEUMONIA/VIRUS-7-0002"):
        draw(tmp_path / "train" / f"{path}.jpeg", 0)
    manifest = build_kermany(tmp_path)
    assert manifest.table["group_id"].tolist() == ["11", "7", "7"]
    assert manifest.table["label"].tolist() == ["NORMAL", "PNEUMONIA", "PNEUMONIA"]


def test_kermany_files_of_other_names_are_refused_all_at_once(chest_xray: Path, draw) -> None:
    draw(chest_xray / "train" / "NORMAL" / "person5_bacteria_17.jpeg", 90)
    draw(chest_xray / "test" / "PNEUMONIA" / "scan, left.jpeg", 91)
    refused(
        lambda: build_kermany(chest_xray),
        "2 errors",
        "train/NORMAL/person5_bacteria_17.jpeg is in NORMAL, but its name means BACTERIA",
        "test/PNEUMONIA/scan, left.jpeg names no patient",
    )


def test_kermany_from_the_command_line_hides_who_is_whom(chest_xray: Path, tmp_path: Path, medprobe) -> None:
    message = medprobe("manifest", "build", "kermany-cxr", chest_xray, "--out", tmp_path / "k.csv")
    assert message.status == 0, message.err
    manifest = Manifest.load(tmp_path / "k.csv")
    assert len(manifest) == 16
    assert manifest.table["group_id"].nunique() == 13
    assert (
        not manifest.table[["sample_id", "group_id"]].map(lambda name: "person" in name or "IM-" in name).any(axis=None)
    )


@pytest.fixture
def training400(tmp_path: Path, draw) -> Path:
    for number in range(3):
        draw(tmp_path / "Training400" / "AMD" / f"A{number + 1:04d}.jpg", number)
    for number in range(5):
        draw(tmp_path / "Training400" / "Non-AMD" / f"N{number + 1:04d}.jpg", 10 + number)
    draw(tmp_path / "Training400" / "Disc_Masks" / "A0001.bmp", 99)
    (tmp_path / "Training400" / "Fovea_location.xlsx").write_bytes(b"PK\3\4")
    (tmp_path / "Training400" / "AMD" / "Thumbs.db").write_bytes(b"\xd0\xcf")
    return tmp_path / "Training400"


@pytest.mark.parametrize("above", [False, True], ids=["given itself", "given the folder above"])
def test_ichallenge_amd_takes_photographs_and_leaves_masks(training400: Path, tmp_path: Path, above: bool) -> None:
    notices: list[str] = []
    built = build_amd(training400.parent if above else training400, notice=notices.append)
    manifest = Manifest.load(built.save(tmp_path / "out" / "amd.parquet").path)
    assert (manifest.card.task, manifest.card.classes) == ("binary", ["Non-AMD", "AMD"])
    assert class_counts(manifest)["all"].to_dict() == {"Non-AMD": 5, "AMD": 3}
    assert all(read_image(source).shape == (12, 10) for source in manifest.sources())
    expected = "\n".join(notices)
    for words in ("Skipped the folder Disc_Masks/", "1 .db"):
        assert words in expected


def test_an_amd_photograph_in_the_other_folder_is_refused(training400: Path, draw) -> None:
    draw(training400 / "AMD" / "N0006.jpg", 50)
    draw(training400 / "Non-AMD" / "A0004.jpg", 51)
    refused(
        lambda: build_amd(training400),
        "AMD/N0006.jpg is in AMD, but its name means Non-AMD",
        "Non-AMD/A0004.jpg is in Non-AMD, but its name means AMD",
    )


def test_ichallenge_amd_from_the_command_line(training400: Path, tmp_path: Path, medprobe) -> None:
    message = medprobe(
        "manifest",
        "build",
        "ichallenge-amd",
        training400,
        "--split",
        "grouped:60/40",
        "--out",
        tmp_path / "amd.parquet",
    )
    assert message.status == 0, message.err
    assert set(Manifest.load(tmp_path / "amd.parquet").table["split"]) == {"train", "test"}


@pytest.mark.parametrize(("train", "test"), [("Training", "Testing"), ("train", "test")])
def test_brain_tumor_mri_takes_either_spelling_and_says_that_no_patient_is_named(
    tmp_path: Path, draw, train: str, test: str
) -> None:
    for folder in (train, test):
        for number, name in enumerate(("glioma", "meningioma", "notumor", "pituitary")):
            draw(tmp_path / "set" / folder / name / f"Te-{name[:2]}, {number}.jpg", number)
    draw(tmp_path / "set" / train / "leftovers" / "1.jpg", 9)
    notices: list[str] = []
    manifest = Manifest.load(build_brain(tmp_path / "set", notice=notices.append).save(tmp_path / "b.csv").path)
    assert class_counts(manifest)["total"].tolist() == [2, 2, 2, 2]
    assert manifest.card.license == "CC0 1.0"
    assert read_image(manifest.source(0)).shape == (12, 10)
    assert any("names no patients" in notice for notice in notices)
    assert any(f"Skipped the folder {train}/leftovers/" in notice for notice in notices)


def test_a_class_without_a_folder_is_refused_with_the_near_ones(tmp_path: Path, draw, medprobe) -> None:
    for name in ("glioma_tumor", "meningioma", "notumor", "pituitary"):
        draw(tmp_path / "set" / "Training" / name / "1.jpg", 0)
    message = medprobe("manifest", "build", "brain-tumor-mri", tmp_path / "set", "--out", tmp_path / "b.csv")
    assert message.status == 1
    assert 'there is no folder glioma/. Did you mean "glioma_tumor"?' in message.err
    assert not (tmp_path / "b.csv").exists()


@pytest.mark.realdata
def test_brain_tumor_mri_is_what_its_folders_are(realdata: Path) -> None:
    manifest = build_brain(realdata / "brain-mri")
    assert manifest.digest == build_folder(realdata / "brain-mri").digest
    assert class_counts(manifest).sum().to_dict() == {"train": 600, "test": 300, "total": 900}
