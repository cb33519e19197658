"""Whatever images are in a folder, as units: files, DICOM series and films, NIfTI volumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from medprobe.base import ManifestError
from medprobe.manifests import BUILDERS, IntensityPolicy, Manifest, read_image
from medprobe.manifests.builders.any_images import build_any
from PIL import Image

pydicom = pytest.importorskip("pydicom")
nibabel = pytest.importorskip("nibabel")
from made_dicom import dataset, written  # noqa: E402  (needs pydicom)

_AXIAL = [1.0, 0, 0, 0, 1, 0]


def _ids(number: int, series: str = "1.3.1", patient: str = "P0") -> dict[str, object]:
    made = {"SOPInstanceUID": f"1.9.{number}", "StudyInstanceUID": f"1.2.{patient[1:]}", "SeriesInstanceUID": series}
    return {**made, "PatientID": patient, "Modality": "CT"}


def _film(file: Path, order: list[int], number: int = 100, **elements: object) -> None:
    """An enhanced file of several frames whose greys tell at which position each is."""
    groups = []
    for place in order:
        group, position = pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = [0, 0, 2.5 * place]
        group.PlanePositionSequence = [position]
        groups.append(group)
    shared, plane = pydicom.Dataset(), pydicom.Dataset()
    plane.ImageOrientationPatient = _AXIAL
    shared.PlaneOrientationSequence = [plane]
    pixels = np.repeat(np.array(order, np.uint8), 16).reshape(len(order), 4, 4)
    about = {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": groups}
    elements = {**_ids(number, "1.3.7"), **about, **elements}
    written(file, dataset(pixels, frames=len(order), **elements))


def _any(path: Path, notices: list[str] | None = None, **options: object) -> Manifest:
    given = {"slices": "axial:middle:3", "frames": "all", "reading": IntensityPolicy(), **options}
    return build_any(path, notice=([] if notices is None else notices).append, **given)


def _greys(manifest: Manifest) -> list[int]:
    return [int(read_image(manifest.source(row))[0, 0]) for row in range(len(manifest))]


def test_a_mixed_folder_gives_a_unit_for_each_file_series_and_volume(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "photo.png")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "ct").mkdir()
    for number in range(4):
        place = {"ImagePositionPatient": [0, 0, -number], "ImageOrientationPatient": _AXIAL}
        pixels = np.full((4, 4), 100 * (number + 1), np.uint16) + np.arange(4, dtype=np.uint16)
        written(tmp_path / "ct" / f"IM{number}", dataset(pixels, **_ids(number), **place))
    _film(tmp_path / "film.dcm", [2, 0, 1])
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).random((5, 5, 7)), np.eye(4)), tmp_path / "head.nii.gz")
    whole = written(tmp_path / "bad.dcm", dataset(np.zeros((64, 64), np.uint8), **_ids(50, "1.3.9"))).read_bytes()
    (tmp_path / "bad.dcm").write_bytes(whole[:-2000])
    notices: list[str] = []
    manifest = _any(tmp_path, notices)
    table = manifest.table
    units = table.groupby("unit_id", sort=False).size().to_dict()
    assert units == {"photo.png": 1, "bad.dcm": 1, "ct/IM0": 4, "film.dcm": 3, "head.nii.gz": 3}
    assert table.loc[table["unit_id"] == "ct/IM0", "window"].nunique() == 1
    assert table.loc[table["unit_id"] == "ct/IM0", "path"].tolist() == [f"ct/IM{n}" for n in (3, 2, 1, 0)]
    assert table.loc[table["unit_id"] == "film.dcm", "frame"].tolist() == [1, 2, 0]
    assert any("1 .txt" in notice for notice in notices)
    middle = _any(tmp_path, frames="middle").table
    assert middle.loc[middle["unit_id"] == "ct/IM0", "path"].tolist() == ["ct/IM2"]
    fixed = _any(tmp_path, reading=IntensityPolicy(window=(40, 400))).table
    assert "window" not in fixed


def test_one_file_is_a_manifest_too_and_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    _film(tmp_path / "film", [1, 0])
    assert _greys(_any(tmp_path / "film")) == [0, 1]
    with pytest.raises(ManifestError, match="no such file or folder"):
        _any(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match="holds no images"):
        _any(tmp_path / "empty")


def test_a_film_without_ids_has_its_frames(tmp_path: Path) -> None:
    written(tmp_path / "film", dataset(np.zeros((3, 8, 8), np.uint8), frames=3))
    assert _any(tmp_path / "film").table["frame"].tolist() == [0, 1, 2]


def test_frames_of_an_enhanced_file_are_in_the_order_of_their_positions(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    _film(tmp_path / "tree" / "film", [3, 0, 4, 1, 2])
    build = BUILDERS["dicom"].build
    assert _greys(build(tmp_path / "tree", unlabelled=True)) == [0, 1, 2, 3, 4]
    assert _greys(build(tmp_path / "tree", unlabelled=True, frames="middle:3")) == [1, 2, 3]


def test_enhanced_files_of_one_slice_are_in_the_order_of_their_positions(tmp_path: Path) -> None:
    for place in (3, 0, 2, 1):
        _film(tmp_path / f"IM{(place * 3) % 4}", [place], number=place, SeriesInstanceUID="1.3.8")
    manifest = _any(tmp_path)
    assert manifest.table["unit_id"].nunique() == 1
    assert _greys(manifest) == [0, 1, 2, 3]


def test_a_dicom_tree_without_labels_has_its_units_and_patients(tmp_path: Path) -> None:
    for number in range(4):
        ids = _ids(number, f"1.3.{number}", f"P{number // 2}")
        if number == 3:
            ids |= {"PatientID": "", "StudyInstanceUID": "1.2.77"}
        written(tmp_path / f"IM{number}", dataset(np.full((4, 4), number, np.uint8), **ids))
    build = BUILDERS["dicom"].build
    manifest = build(tmp_path, unlabelled=True)
    assert manifest.card.task is None
    assert manifest.table["group_id"].tolist() == ["P0", "P0", "P1", "1.2.77"]
    assert manifest.table["unit_id"].nunique() == 3
    with pytest.raises(ManifestError, match="--unlabelled images have no --join"):
        build(tmp_path, unlabelled=True, join="PatientID")
    with pytest.raises(ManifestError, match="add --unlabelled"):
        build(tmp_path)
