from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from medprobe.manifests import DatasetCard, Diagnostic, Manifest, build_folder, check_manifest
from PIL import Image


def _found(manifest: Manifest, code: str) -> list[Diagnostic]:
    return [one for one in check_manifest(manifest, progress=False) if one.code == code]


def _named(paths: list[str], tmp_path: Path, **columns: object) -> Manifest:
    """A manifest of files that are not there: names alone matter."""
    table = pd.DataFrame({"sample_id": paths, "path": paths, "label": ["a", "b"] * (len(paths) // 2), **columns})
    return Manifest(table, DatasetCard(name="t", task="binary", classes=["a", "b"], root=str(tmp_path)))


@pytest.mark.parametrize(
    "paths",
    [
        [f"P{patient:03d}_{image}.png" for patient in range(10) for image in (1, 2)],
        [f"person{patient}_{kind}_{image}.jpeg" for patient in range(10) for kind in ("virus",) for image in (4, 9)],
        [f"{patient}_{eye}.png" for patient in range(10, 20) for eye in ("left", "right")],
        [f"{patient:03d}{image}.png" for patient in range(10) for image in "ab"],
        [f"{'train' if image else 'test'}/{patient:08d}_{image:03d}.png" for patient in range(10) for image in (0, 1)],
        [f"case{patient}/{image}.png" for patient in range(10) for image in (1, 2)],
        [f"pat {patient} ({image}).png" for patient in range(10) for image in (1, 2)],
    ],
    ids=["number", "kermany", "eyes", "letter", "across-folders", "folder-a-patient", "brackets"],
)
def test_names_of_several_images_a_patient_are_told(paths: list[str], tmp_path: Path) -> None:
    (found,) = _found(_named(paths, tmp_path), "no-groups")
    assert "20 images of 20" in found.message
    assert set(found.samples) == set(paths)
    assert _found(_named(paths, tmp_path, group_id="g"), "no-groups") == []
    units = [path[:-6] + path[-4:] for path in paths]
    if len(set(units)) == 10:
        assert _found(_named(paths, tmp_path, unit_id=units), "no-groups") == []


@pytest.mark.parametrize(
    "paths",
    [
        [f"{number:04d}.png" for number in range(20)],
        [f"Tr-gl_{number:04d}.jpg" for number in range(20)],
        [f"train/scan ({number}).jpg" for number in range(20)],
        [f"ISIC_{number:07d}_downsampled.jpg" for number in range(20)],
        [f"covid19_{number:04d}.jpg" for number in range(20)],
        [f"fold{number % 5}/{number:04d}.jpg" for number in range(20)],
        [f"NORMAL2-IM-{number:04d}-0001.jpeg" for number in range(20)],
        ["volume.nii#axial"] * 20,
    ],
    ids=["plain", "class", "brackets", "isic", "class-with-number", "folds", "one-a-patient", "frames"],
)
def test_plainly_numbered_names_are_not(paths: list[str], tmp_path: Path) -> None:
    assert _found(_named(paths, tmp_path), "no-groups") == []


@pytest.mark.realdata
def test_the_names_of_the_brain_images_and_their_labels_are_no_ids(realdata: Path) -> None:
    codes = {one.code for one in check_manifest(build_folder(realdata / "brain-mri"), progress=False)}
    assert codes == {"pixels-across-splits", "near-duplicate", "format-tells-class"}


@pytest.mark.parametrize(("classes", "told"), [(12, True), (9, False)])
def test_nearly_as_many_labels_as_units_look_like_ids(tmp_path: Path, classes: int, told: bool) -> None:
    names = [f"c{number:02d}" for number in range(classes)]
    table = pd.DataFrame({"path": [f"{number}.png" for number in range(20)]})
    table = table.assign(sample_id=table["path"], label=[names[number % classes] for number in range(20)])
    manifest = Manifest(table, DatasetCard(name="t", task="multiclass", classes=names, root=str(tmp_path)))
    found = _found(manifest, "label-like-id")
    assert bool(found) is told
    assert all('column "label"' in one.message for one in found)


def test_a_class_that_is_stored_otherwise_is_told_with_how(class_folders: Path) -> None:
    for file in class_folders.rglob("dog/*.png"):
        Image.open(file).convert("RGB").save(file)
    told = {one.message.split('"')[1]: one.message for one in _found(build_folder(class_folders), "format-tells-class")}
    assert set(told) == {"cat", "dog"}
    assert "AUC 1.00" in told["dog"]
    assert re.search(r"mostly by: (stored as|file size)", told["dog"])


def test_a_class_of_larger_images_is_told_with_its_size(class_folders: Path, draw) -> None:
    for number, file in enumerate(class_folders.rglob("dog/*.png")):
        draw(file, 1000 + number, (12, 30))
    messages = [one.message for one in _found(build_folder(class_folders), "format-tells-class")]
    assert any(
        'class "dog"' in message and ("mostly by: width" in message or "file size" in message) for message in messages
    )


def test_what_one_patient_has_in_common_tells_no_class(class_folders: Path, draw) -> None:
    # Each patient has a size of its own, which says nothing about a patient who was not seen.
    manifest = build_folder(class_folders)
    table = manifest.table.drop(columns="split")
    patients = [f"{label}{row % 2}" for row, label in enumerate(table["label"])]
    for number, (path, patient) in enumerate(zip(table["path"], patients, strict=True)):
        draw(manifest.root / path, 2000 + number, (12, 10 + 3 * ["cat0", "dog0", "cat1", "dog1"].index(patient)))
    assert _found(Manifest(table.assign(group_id=patients), manifest.card), "format-tells-class") == []


def test_a_multilabel_set_is_asked_label_by_label(class_folders: Path) -> None:
    folder = build_folder(class_folders)
    for file in class_folders.rglob("dog/*.png"):
        Image.open(file).convert("RGB").save(file)
    dogs = (folder.table["label"] == "dog").astype(int)
    chance = np.random.default_rng(0).integers(0, 2, len(dogs))
    table = folder.table.drop(columns=["label", "split"]).assign(barks=dogs, old=chance)
    card = DatasetCard(name="t", task="multilabel", classes=["barks", "old"], root=str(folder.root))
    assert [one.message.split('"')[1] for one in _found(Manifest(table, card), "format-tells-class")] == ["barks"]


def test_warnings_count_where_they_are_asked_to(class_folders: Path, tmp_path: Path, medprobe) -> None:
    shutil.copy(class_folders / "train/cat/00.png", class_folders / "train/cat/01.png")
    manifest = build_folder(class_folders).save(tmp_path / "m.parquet").path
    assert medprobe("manifest", "check", manifest).status == 0
    assert medprobe("manifest", "check", manifest, "--strict").status == 1
