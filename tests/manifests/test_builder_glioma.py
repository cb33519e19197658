"""Gliomas: a folder a patient, a NIfTI file a sequence, a table of grades."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from medprobe.base import ManifestError
from medprobe.cache import CacheDraft, EmbeddingSpec, TransformSpec
from medprobe.manifests import BUILDERS, Manifest, read_image
from medprobe.manifests.readers import content_digest
from medprobe.probe.data.probe_data import ProbeData
from published_trees import refused

nibabel = pytest.importorskip("nibabel")
build_glioma = BUILDERS["glioma-mri"].build

_PATIENTS = {"G, 001": "II", "G, 002": "III", "G, 003": "IV", "G, 004": "II"}
_TUMOUR = {"G, 001": 3, "G, 002": 5, "G, 003": 8, "G, 004": 4}
"""The axial slice that shows most of it."""


def _volume(file: Path, values: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), file)


def _patient(folder: Path, seed: int, tumour: int) -> None:
    random = np.random.default_rng(seed)
    for sequence in ("t1", "t1ce", "t2", "flair"):
        _volume(folder / f"{folder.name}_{sequence}.nii.gz", random.integers(0, 900, (6, 7, 10)).astype(np.int16))
    mask = np.zeros((6, 7, 10), np.uint8)
    mask[2, 2, tumour - 1 : tumour + 2] = 1
    mask[2:4, 2:5, tumour] = 4
    _volume(folder / f"{folder.name}_seg.nii.gz", mask)


@pytest.fixture
def brats(tmp_path: Path) -> Path:
    """Four patients in BraTS's layout, and a table as a spreadsheet saves it: with a mark, and Windows line ends."""
    for seed, (name, grade) in enumerate(_PATIENTS.items()):
        _patient(tmp_path / "brats" / name, seed, _TUMOUR[name])
        (tmp_path / "brats" / name / "notes.txt").write_text(grade)
        (tmp_path / "brats" / name / f"._{name}_t1.nii.gz").write_bytes(b"\0\5\26\7")
    _write_grades(tmp_path / "brats", [f'"{name}",{grade} ,x' for name, grade in _PATIENTS.items()])
    (tmp_path / "brats" / "survival_info.csv").write_text("Brats20ID,Age\n1,50\n")
    return tmp_path / "brats"


def _write_grades(brats: Path, rows: list[str]) -> None:
    text = "\r\n".join(["\ufeffBraTS_2020_subject_ID,WHO grade,site", *rows, ""])
    (brats / "name_mapping.csv").write_text(text, encoding="utf-8", newline="")


def test_a_sample_is_a_slice_and_a_unit_is_a_patient_with_its_sequences(brats: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in brats.rglob("*") if path.is_file()}
    built = build_glioma(brats, sequences=["t1ce", "t2", "flair"], slices="axial:middle:2")
    manifest = Manifest.load(built.save(tmp_path / "out" / "glioma.parquet").path)
    assert len(manifest) == 4 * 3 * 2
    assert (manifest.card.task, manifest.card.classes) == ("ordinal", ["II", "III", "IV"])
    row = manifest.table.set_index("sample_id").loc["G, 002/t1ce/axial-004"]
    assert row["path"] == "G, 002/G, 002_t1ce.nii.gz#axial"
    assert (row["frame"], row["label"], row["modality"]) == (4, "III", "t1ce")
    units = manifest.units()
    assert units.unit_id.tolist() == units.group_id.tolist() == list(_PATIENTS)
    pixels = [read_image(source) for source in manifest.sources()]
    assert {picture.shape for picture in pixels} == {(7, 6)}
    assert len({content_digest(picture) for picture in pixels}) == len(pixels)
    assert {path: path.read_bytes() for path in brats.rglob("*") if path.is_file()} == before


def test_any_cohort_of_volumes_is_built_with_its_own_table(brats: Path) -> None:
    rows = [f"{number},{name!r},{'ab'[number % 2]}".replace("'", '"') for number, name in enumerate(_PATIENTS)]
    (brats / "findings.csv").write_text("\n".join(["n,case,diagnosis", *rows]))
    cohort = BUILDERS["nifti"].build(
        brats, label_column="diagnosis", sequences=["t1", "flair"], slices="axial:middle:1"
    )
    glioma = build_glioma(brats, sequences=["t1", "flair"], slices="axial:middle:1")
    assert (cohort.name, cohort.card.task, cohort.card.classes) == ("brats", "binary", ["a", "b"])
    assert cohort.table["label"].tolist() == ["a", "a", "b", "b"] * 2
    columns = ["sample_id", "path", "frame", "unit_id", "group_id", "modality"]
    assert cohort.table[columns].equals(glioma.table[columns])


def test_two_visits_of_one_patient_are_two_units_of_one_group(tmp_path: Path) -> None:
    names = ["BraTS-GLI-00001-000", "BraTS-GLI-00001-001", "BraTS-GLI-00002-000"]
    for seed, name in enumerate(names):
        _volume(tmp_path / "brats" / name / f"{name}-t1c.nii", np.random.default_rng(seed).random((6, 6, 6)))
    _write_grades(tmp_path / "brats", [f"{name},{grade}," for name, grade in zip(names, "343", strict=True)])
    units = build_glioma(tmp_path / "brats").units()
    assert units.unit_id.tolist() == names
    assert units.group_id[units.group].tolist() == ["BraTS-GLI-00001", "BraTS-GLI-00001", "BraTS-GLI-00002"]


def test_by_default_every_sequence_that_all_have_is_taken_and_no_mask(brats: Path) -> None:
    _volume(brats / "G, 001" / "G, 001_dwi.nii", np.ones((4, 4, 4), np.int16))
    notices: list[str] = []
    manifest = build_glioma(brats, notice=notices.append)
    assert sorted(set(manifest.table["modality"])) == ["flair", "t1", "t1ce", "t2"]
    assert "Took flair, t1, t1ce, t2, which every patient has; skipped 1 file that only one patient has." in notices


def test_the_slice_with_most_of_the_tumour_is_found_by_the_mask(brats: Path) -> None:
    manifest = build_glioma(brats, sequences=["t2"], slices="axial:largest-mask", mask="seg")
    assert dict(zip(manifest.table["unit_id"], manifest.table["frame"], strict=True)) == _TUMOUR


def test_a_pattern_names_a_sequence_where_a_word_would_not(brats: Path) -> None:
    for name in _PATIENTS:
        (brats / name / f"{name}_t1.nii.gz").rename(brats / name / f"{name}_Ax T1 post.nii.gz")
    manifest = build_glioma(brats, sequences=["*T1 post", "t2"], slices="sagittal:every:4")
    assert set(manifest.table["modality"]) == {"T1 post", "t2"}
    assert sorted(set(manifest.table["frame"])) == [0, 4]


def test_one_patient_that_lacks_a_sequence_is_refused_with_its_name(brats: Path) -> None:
    (brats / "G, 002" / "G, 002_flair.nii.gz").unlink()
    with pytest.raises(ManifestError, match=r"row 2 of name_mapping.csv: no file of flair in"):
        build_glioma(brats, sequences=["t2", "flair"])


def test_a_folder_without_any_table_is_refused_as_such(brats: Path) -> None:
    for table in brats.glob("*.csv"):
        table.unlink()
    with pytest.raises(ManifestError, match=r"found no .csv or .parquet file\. Name the table"):
        build_glioma(brats)


def test_patients_that_lack_a_sequence_are_refused_all_at_once_or_left_out(brats: Path) -> None:
    (brats / "G, 002" / "G, 002_flair.nii.gz").unlink()
    (brats / "G, 004" / "G, 004_t2.nii.gz").unlink()
    options = {"sequences": ["t2", "flair"]}
    refusal = refused(
        lambda: build_glioma(brats, **options), "2 errors", "row 2 of name_mapping.csv: no file of flair",
        "row 4 of name_mapping.csv: no file of t2", "--incomplete leave-out",
    )  # fmt: skip
    assert "G, 00" not in refusal
    notices: list[str] = []
    manifest = build_glioma(brats, **options, incomplete="leave-out", notice=notices.append)
    assert sorted(set(manifest.table["unit_id"])) == ["G, 001", "G, 003"]
    assert any(
        "Skipped 2 of 4 patients that lack a sequence: 2 rows (2, 4) of name_mapping.csv" in notice
        for notice in notices
    )


@pytest.mark.parametrize(
    ("rows", "messages"),
    [
        (['"G, 001",II,x', '"G, 002",,x', '"G, 001",III,x'], ["row 2: ", "WHO grade", "is blank", "rows (1, 3)"]),
        (["P1,II,x", "P2,III,x"], ["none of 4 folders is named", "--patient-column"]),
        (['"G, 001",II,x', '"G, 002",II,x'], ["at least two classes"]),
    ],
)
def test_a_faulty_table_is_refused_with_its_rows_and_columns(brats: Path, rows: list[str], messages: list[str]) -> None:
    _write_grades(brats, rows)
    refused(lambda: build_glioma(brats, sequences=["t2"]), *messages)


def test_patients_without_a_row_and_rows_without_a_patient_are_told(brats: Path) -> None:
    _write_grades(brats, ['"G, 001",II,x', '"G, 003",IV,x', "G 099,II,x"])
    notices: list[str] = []
    manifest = build_glioma(brats, sequences=["t2"], notice=notices.append)
    assert sorted(set(manifest.table["unit_id"])) == ["G, 001", "G, 003"]
    assert "Skipped 1 patient without a folder: row 3 of name_mapping.csv." in notices
    assert any("Skipped 2 folders without a row in name_mapping.csv" in notice for notice in notices)
    assert "G, 0" not in "".join(notices)


def test_files_that_are_no_volumes_are_refused_all_at_once(brats: Path) -> None:
    (brats / "G, 001" / "G, 001_t2.nii.gz").write_text("no volume")
    whole = brats / "G, 003" / "G, 003_flair.nii.gz"
    whole.write_bytes(whole.read_bytes()[:40])
    shutil.copy(brats / "G, 002" / "G, 002_t2.nii.gz", brats / "G, 002" / "G, 002_t2_again.nii.gz")
    refused(
        lambda: build_glioma(brats, sequences=["t2", "flair"]),
        "row 2 of name_mapping.csv: the patient's folder has 2 files of t2",
    )
    (brats / "G, 002" / "G, 002_t2_again.nii.gz").unlink()
    refused(
        lambda: build_glioma(brats, sequences=["t2", "flair"]),
        "2 errors",
        "row 1 of name_mapping.csv: t2: ",
        "row 3 of name_mapping.csv: flair: ",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slices": "middle:5"}, "name the axis"),
        ({"slices": "axial:largest-mask"}, "name the mask files with --mask"),
        ({"incomplete": "skip"}, '--incomplete: unknown word "skip"'),
        ({"mask": "seg"}, "only --slices axial:largest-mask uses a mask"),
        ({"sequences": ["t1c"]}, 'no patient has a file named t1c. Did you mean "t1ce"'),
        ({"sequences": ["t1c"]}, "flair (4 of 4), seg (4 of 4)"),
        ({"mask": "sge", "slices": "axial:largest-mask"}, "no patient has a file named sge"),
        ({"label_column": "grad"}, 'no table here has a column "grad"; found name_mapping.csv, survival_info.csv'),
        ({"label_column": "WHO grad"}, 'Did you mean "WHO grade"? Name the table with --labels'),
        ({"patient_column": "subject"}, 'no column "subject"'),
    ],
)
def test_what_is_asked_amiss_is_told(brats: Path, options: dict, message: str) -> None:
    refused(lambda: build_glioma(brats, **options), message)


def test_folders_of_grades_may_stand_above_the_patients(brats: Path) -> None:
    for name, grade in _PATIENTS.items():
        (brats / ("LGG" if grade == "II" else "HGG")).mkdir(exist_ok=True)
        (brats / name).rename(brats / ("LGG" if grade == "II" else "HGG") / name)
    _write_grades(brats, [f'"{name}",{"LGG" if grade == "II" else "HGG"},x' for name, grade in _PATIENTS.items()])
    manifest = build_glioma(brats, sequences=["t2"])
    assert (manifest.card.task, manifest.card.classes) == ("binary", ["LGG", "HGG"])
    assert manifest.table["path"].iloc[0] == "LGG/G, 001/G, 001_t2.nii.gz#axial"


def test_the_sequences_of_a_patient_are_fused_side_by_side(brats: Path, tmp_path: Path) -> None:
    manifest = build_glioma(brats, sequences=["t1ce", "t2", "flair"], slices="axial:middle:3")
    spec = EmbeddingSpec(
        backbone="timm:resnet18",
        model="resnet18",
        weights_digest="0" * 64,
        transform=TransformSpec(
            size=(8, 8), resize="short-side", resize_to=8, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3
        ),
        poolings=("mean",),
        precision="fp32",
    )
    ids = manifest.sample_ids
    vectors = np.array([[read_image(source).mean(), read_image(source).std()] for source in manifest.sources()])
    vectors = vectors.astype(np.float32)
    with CacheDraft.open(tmp_path / "cache", manifest.name, spec) as draft:
        stamps = manifest.stamps()[0]
        draft.append(ids, np.array([f"{row:032x}" for row in range(len(ids))]), stamps, {"mean": vectors})
        cache = draft.publish(ids, stamps=stamps, device="cpu")
    units = manifest.units()
    fused = ProbeData.of(manifest, [cache], "concat").load(cache, "mean")
    assert fused.shape == (4, 3 * 2)
    for row, patient in enumerate(units.unit_id):
        for place, sequence in enumerate(("flair", "t1ce", "t2")):
            of_both = ((manifest.table["unit_id"] == patient) & (manifest.table["modality"] == sequence)).to_numpy(bool)
            assert of_both.sum() == 3
            np.testing.assert_allclose(fused[row, place * 2 : place * 2 + 2], vectors[of_both].mean(axis=0), rtol=1e-6)


def test_glioma_from_the_command_line_hides_the_patients(brats: Path, tmp_path: Path, medprobe) -> None:
    refusal = medprobe(
        *("manifest", "build", "glioma-mri", brats, "--sequence", "t1ce", "--sequence", "t2"),
        *("--slices", "axial:largest-mask", "--mask", "seg", "--task", "multiclass", "--out", tmp_path / "g.csv"),
    )
    assert refusal.status == 0, refusal.err
    manifest = Manifest.load(tmp_path / "g.csv")
    assert (len(manifest), manifest.card.task) == (8, "multiclass")
    assert "G, 00" not in "".join(manifest.sample_ids) + "".join(manifest.units().group_id)
    assert read_image(manifest.source(0)).shape == (7, 6)


def test_any_cohort_is_built_from_the_command_line(brats: Path, tmp_path: Path, medprobe) -> None:
    words = ("--label-column", "WHO grade", "--sequence", "t2", "--slices", "axial:middle:1", "--keep-ids")
    refusal = medprobe("manifest", "build", "nifti", brats, *words, "--out", tmp_path / "n.csv")
    assert refusal.status == 0, refusal.err
    manifest = Manifest.load(tmp_path / "n.csv")
    assert (manifest.table["unit_id"].tolist(), manifest.card.task) == (list(_PATIENTS), "multiclass")
