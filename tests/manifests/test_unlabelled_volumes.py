"""NIfTI volumes without a table of labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from medprobe.base import ManifestError
from medprobe.manifests import BUILDERS, Manifest

nibabel = pytest.importorskip("nibabel")
build = BUILDERS["nifti"].build


def _volume(file: Path, slices: int = 9) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).random((6, 6, slices)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), file)


def _units(manifest: Manifest) -> dict[str, list[str]]:
    return {unit: sorted({*rows["modality"]}) for unit, rows in manifest.table.groupby("unit_id")}


@pytest.mark.parametrize("inside", ["", "anat/"])
@pytest.mark.parametrize("above", ["", "siteA/"])
def test_a_folder_is_a_patient(tmp_path: Path, above: str, inside: str) -> None:
    for patient in ("p1", "p2"):
        for sequence in ("t1", "flair", "seg"):
            _volume(tmp_path / f"{above}{patient}/{inside}{patient}_{sequence}.nii.gz")
    manifest = build(tmp_path, unlabelled=True, slices="axial:middle:3")
    assert manifest.card.task is None
    assert "label" not in manifest.table
    assert _units(manifest) == {"p1": ["flair", "t1"], "p2": ["flair", "t1"]}
    assert len(manifest) == 12


def test_without_folders_a_volume_is_a_patient(tmp_path: Path) -> None:
    for name in ("a", "b"):
        _volume(tmp_path / f"{name}.nii")
    assert _units(build(tmp_path, unlabelled=True)) == {"a": ["volume"], "b": ["volume"]}


def test_a_patient_without_a_folder_inside_is_beside_those_that_have_one(tmp_path: Path) -> None:
    for file in ("p1/anat/t1.nii", "p2/anat/t1.nii", "p2/func/bold.nii", "p3/t1.nii"):
        _volume(tmp_path / file)
    assert _units(build(tmp_path, unlabelled=True)) == {name: ["t1"] for name in ("p1", "p2", "p3")}


@pytest.mark.parametrize(
    "files",
    [
        ("a/p1/t1.nii", "b/p1/t1.nii", "b/p2/t1.nii"),
        ("p1/v1/anat/t1.nii", "p1/v2/anat/t1.nii", "p2/v1/anat/t1.nii"),
    ],
)
def test_two_patients_are_never_taken_for_one(tmp_path: Path, files: tuple[str, ...]) -> None:
    for file in files:
        _volume(tmp_path / file)
    for sequences in ([], ["t1"]):
        with pytest.raises(ManifestError, match="unclear which folders are patients"):
            build(tmp_path, unlabelled=True, sequences=sequences)


def test_the_one_volume_of_each_patient_may_have_any_name(tmp_path: Path) -> None:
    for file in ("p1/anat/x.nii", "p2/anat/y.nii", "p3/z.nii"):
        _volume(tmp_path / file)
    with pytest.raises(ManifestError, match=r'--sequence "\*"'):
        build(tmp_path, unlabelled=True)
    assert len(_units(build(tmp_path, unlabelled=True, sequences=["*"]))) == 3


def test_what_is_no_cohort_is_refused(tmp_path: Path, medprobe) -> None:
    with pytest.raises(ManifestError, match=r"holds no \.nii"):
        build(tmp_path, unlabelled=True)
    _volume(tmp_path / "p1" / "p1_t1.nii")
    _volume(tmp_path / "p2" / "p2_t2.nii")
    with pytest.raises(ManifestError, match="--unlabelled volumes have no --label-column"):
        build(tmp_path, unlabelled=True, label_column="x")
    with pytest.raises(ManifestError, match="no sequence that all 2 patients have"):
        build(tmp_path, unlabelled=True)
    with pytest.raises(ManifestError, match="patient 1 in the order of names: no file of t2"):
        build(tmp_path, unlabelled=True, sequences=["t2"])
    with pytest.raises(ManifestError, match="add --unlabelled"):
        build(tmp_path)
    with pytest.raises(ManifestError, match="`medprobe manifest build nifti`"):
        BUILDERS["folder"].build(tmp_path, unlabelled=True)
    _volume(tmp_path / "c.nii")
    with pytest.raises(ManifestError, match="both volumes and folders"):
        build(tmp_path, unlabelled=True)
    assert "graded" not in medprobe("manifest", "build", "glioma-mri", "--help").out
