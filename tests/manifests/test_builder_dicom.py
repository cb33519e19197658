"""A tree of DICOM files and a table of labels."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from medprobe.base import ManifestError, OutputError
from medprobe.manifests import BUILDERS, Manifest, read_image
from published_trees import refused

pydicom = pytest.importorskip("pydicom")
from made_dicom import dataset, written  # noqa: E402  (needs pydicom)

build_dicom = BUILDERS["dicom"].build
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

_ROOT = "1.2.826.0.1.3680043.8.498"
_SEX = {"PAT0": "F", "PAT1": "M", "PAT2": ""}
_AGE = {"PAT0": "045Y", "PAT1": "018M", "PAT2": "old"}


def _study(patient: int, study: int) -> str:
    return f"{_ROOT}.{patient + 1}.{study + 1}"


def _image(patient: int, study: int, image: int) -> str:
    # Not below the study's id, as many archives number them.
    return f"{_ROOT}.77.{100 + 100 * patient + 10 * study + image}"


def _write(file: Path, patient: int, study: int, image: int, *, frames: int = 1, **elements: object) -> None:
    """A small file with pixels that its ids alone decide; `elements` are set over the others, None takes one away."""
    name, seed = f"PAT{patient}", 100 * patient + 10 * study + image
    pixels = np.random.default_rng(seed).integers(0, 256, (frames, 6, 5), np.uint8)
    made = dataset(pixels, frames=frames) if frames > 1 else dataset(pixels[0])
    elements = {
        "SOPInstanceUID": _image(patient, study, image), "StudyInstanceUID": _study(patient, study),
        "SeriesInstanceUID": f"{_study(patient, study)}.9", "PatientID": name, "PatientName": "SECRET^NAME",
        "PatientSex": _SEX[name], "PatientAge": _AGE[name], "Modality": ("CR", "DX")[image % 2], **elements,
    }  # fmt: skip
    for keyword, value in elements.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    file.parent.mkdir(parents=True, exist_ok=True)
    written(file, made)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Three patients, of whom the first has two studies; files under every sort of name, and others among them."""
    tree = tmp_path / "export"
    _write(tree / "a" / "one, first.dcm", 0, 0, 0)
    _write(tree / "a" / "IM0001", 0, 0, 1)
    _write(tree / "a" / "later.DCM", 0, 1, 0)
    _write(tree / "b" / "IM0001", 1, 0, 0, frames=3)
    _write(tree / "c" / "deep" / "x.jpg", 2, 0, 0)
    _write(tree / "c" / "report.dcm", 2, 0, 1, PixelData=None)
    (tree / "c" / "notes.txt").write_text("x")
    (tree / "c" / ".hidden.dcm").write_bytes(b"x")
    directory = Path(pydicom.data.__file__).parent / "test_files" / "dicomdirtests" / "DICOMDIR"
    shutil.copy(directory, tree / "DICOMDIR")
    return tree


def _labels(export: Path, rows: list[str], header: str = "StudyInstanceUID,finding,set") -> Path:
    """A table as a spreadsheet saves it: with a byte order mark, and Windows line ends."""
    table = export / "labels.csv"
    table.write_text("\r\n".join(["\ufeff" + header, *rows, ""]), encoding="utf-8", newline="")
    return table


_BY_STUDY = [f"{_study(0, 0)}, ill ,train", f"{_study(0, 1)},well,train", f"{_study(1, 0)},ill,test",
             f"{_study(2, 0)},well,test"]  # fmt: skip


def test_studies_are_units_patients_are_groups_and_frames_are_samples(export: Path, tmp_path: Path) -> None:
    table = _labels(export, _BY_STUDY)
    before = {path: path.read_bytes() for path in export.rglob("*") if path.is_file()}
    notices: list[str] = []
    built = build_dicom(
        export, labels=table, label_columns=["finding"], attributes=["sex", "age"], split_column="set",
        notice=notices.append,
    )  # fmt: skip
    manifest = Manifest.load(built.save(tmp_path / "out" / "m.parquet").path)
    rows = manifest.table.set_index("path")
    assert len(manifest) == 3 + 3 + 1
    assert rows.loc["a/one, first.dcm", ["sample_id", "unit_id", "group_id", "label", "modality"]].tolist() == [
        _image(0, 0, 0), _study(0, 0), "PAT0", "ill", "CR"
    ]  # fmt: skip
    assert rows.loc["a/IM0001", "modality"] == "DX"
    assert rows.loc["b/IM0001", "sample_id"].tolist() == [f"{_image(1, 0, 0)}/{frame:04d}" for frame in range(3)]
    assert rows.loc["b/IM0001", "frame"].tolist() == [0, 1, 2]
    units = manifest.units()
    assert len(units) == 4
    assert units.group_id.tolist() == ["PAT0", "PAT1", "PAT2"]
    assert units.attributes["sex"].fillna("?").tolist() == ["F", "F", "M", "?"]
    assert units.attributes["age"].fillna(-1).tolist() == [45, 45, 1.5, -1]
    assert units.split is not None
    assert units.split.tolist() == ["train", "train", "test", "test"]
    assert manifest.card.task == "binary"
    assert not set(manifest.table) - {"sample_id", "path", "frame", "unit_id", "group_id", "modality", "label", "split",
                                      "sex", "age"}  # fmt: skip
    assert {read_image(source).shape for source in manifest.sources()} == {(6, 5)}
    assert "Skipped 1 DICOMDIR, 1 other file, 1 DICOM file without pixels." in notices
    assert {path: path.read_bytes() for path in export.rglob("*") if path.is_file()} == before


def test_attributes_are_read_only_when_asked_for(export: Path) -> None:
    manifest = build_dicom(export, labels=_labels(export, _BY_STUDY), label_columns=["finding"])
    assert not {"sex", "age"} & set(manifest.table)
    assert manifest.card.attributes == []


@pytest.mark.parametrize(
    ("header", "rows", "units"),
    [
        ("PatientID,finding", ["PAT0,ill", "PAT1,well", "PAT2,well"], [_study(0, 0), _study(0, 1)]),
        (
            "SOPInstanceUID,finding",
            [f"{_image(0, 0, 0)},ill", f"{_image(0, 0, 1)},well", f"{_image(0, 1, 0)},ill"],
            [_image(0, 0, 0), _image(0, 0, 1), _image(0, 1, 0)],
        ),
        (
            # The finest of several columns of ids is taken.
            "PatientID,StudyInstanceUID,finding",
            [f"PAT0,{_study(0, 0)},ill", f"PAT0,{_study(0, 1)},well"],
            [_study(0, 0), _study(0, 1)],
        ),
    ],
    ids=["by patient", "by image", "by study, with patients beside"],
)
def test_a_table_is_joined_on_the_ids_that_it_has(export: Path, header: str, rows: list[str], units: list[str]) -> None:
    manifest = build_dicom(export, labels=_labels(export, rows, header), label_columns=["finding"])
    assert [unit for unit in manifest.units().unit_id if unit in units] == units


def test_a_column_of_another_name_is_joined_by_its_content(export: Path) -> None:
    rows = ["PAT0,ill", "PAT1,well", "PAT2,well"]
    table = _labels(export, rows, "case,finding")
    manifest = build_dicom(export, labels=table, label_columns=["finding"], join="case", unit="patient")
    assert manifest.units().unit_id.tolist() == ["PAT0", "PAT1", "PAT2"]


def test_the_middle_frame_stands_for_a_file_of_several(export: Path) -> None:
    manifest = build_dicom(export, labels=_labels(export, _BY_STUDY), label_columns=["finding"], frames="middle")
    assert len(manifest) == 5
    assert manifest.table["frame"].dropna().tolist() == [1]


def test_several_label_columns_make_a_multilabel_task(export: Path) -> None:
    rows = [f"{_study(0, 0)},1,0", f"{_study(0, 1)},0.0,0", f"{_study(1, 0)},1,1"]
    table = _labels(export, rows, "StudyInstanceUID,edema,mass")
    manifest = build_dicom(export, labels=table, label_columns=["edema", "mass"])
    assert manifest.card.task == "multilabel"
    assert manifest.units().y.tolist() == [[1, 0], [0, 0], [1, 1]]


def test_what_has_no_partner_is_told_with_counts_and_without_ids(export: Path) -> None:
    notices: list[str] = []
    rows = [*_BY_STUDY[:2], f"{_ROOT}.404,ill,train", f"{_ROOT}.405,ill,train"]
    manifest = build_dicom(export, labels=_labels(export, rows), label_columns=["finding"], notice=notices.append)
    assert len(manifest) == 3
    assert "Skipped 2 images of 2 studies without a row in labels.csv." in notices
    assert "Without an image in labels.csv: 2 rows (3, 4)." in notices
    assert _ROOT not in "".join(notices)
    assert "PAT" not in "".join(notices)


def test_files_that_cannot_be_used_are_refused_all_at_once(export: Path) -> None:
    shutil.copy(export / "a" / "IM0001", export / "b" / "copy.dcm")
    _write(export / "d" / "nobody.dcm", 1, 1, 1, PatientID="")
    _write(export / "d" / "many.dcm", 1, 1, 2, NumberOfFrames=99999999)
    refused(
        lambda: build_dicom(export, labels=_labels(export, _BY_STUDY), label_columns=["finding"]),
        "3 errors",
        "b/copy.dcm: has the SOPInstanceUID of a/IM0001; keep one of the two",
        "d/nobody.dcm: its header has no PatientID; if patients are named in the table",
        "d/many.dcm: it declares more frames than it can hold",
    )


@pytest.fixture
def faulty(export: Path) -> Path:
    """A tree with one file of every fault, and a copy that comes before what it was copied from."""
    shutil.copy(export / "a" / "IM0001", export / "a" / "A copy.dcm")
    _write(export / "d" / "nobody.dcm", 1, 1, 1, PatientID="")
    _write(export / "d" / "whole.dcm", 1, 1, 2)
    (export / "d" / "cut.dcm").write_bytes((export / "d" / "whole.dcm").read_bytes()[:-9])
    (export / "d" / "whole.dcm").unlink()
    return export


_FAULTS = {
    "a/IM0001": "has the SOPInstanceUID of a/A copy.dcm; keep one of the two",
    "d/cut.dcm": "the file is cut off; fetch it again or move it away",
}


def test_faulty_files_are_skipped_on_request_and_listed_with_all_others(faulty: Path, tmp_path: Path, medprobe) -> None:
    table = _labels(faulty, _BY_STUDY[:3])
    command = ("manifest", "build", "dicom", faulty, "--labels", table, "--label-column", "finding")
    skipped = faulty / "skipped.csv"
    refused = medprobe(*command, "--out", tmp_path / "m.csv", "--skipped", skipped)
    assert refused.status == 1
    assert not (tmp_path / "m.csv").exists()
    reasons = pd.read_csv(skipped).set_index("path")["reason"].to_dict()
    assert reasons.items() >= _FAULTS.items()
    assert "no PatientID" in reasons["d/nobody.dcm"]
    again = medprobe(*command, "--out", tmp_path / "m.csv", "--skipped", skipped, "--skip-faulty")
    assert "skipped.csv: exists already" in again.err
    skipped.unlink()
    built = medprobe(*command, "--out", tmp_path / "m.csv", "--skipped", skipped, "--skip-faulty")
    assert built.status == 0, built.err
    assert "Skipped 3 faulty files." in built.notes
    reasons |= {"DICOMDIR": "DICOMDIR", "c/notes.txt": "other file", "c/report.dcm": "DICOM file without pixels",
                "c/deep/x.jpg": "no row in labels.csv"}  # fmt: skip
    assert pd.read_csv(skipped).set_index("path")["reason"].to_dict() == reasons
    manifest = Manifest.load(tmp_path / "m.csv")
    assert set(manifest.table["path"]) == {"a/A copy.dcm", "a/one, first.dcm", "a/later.DCM", "b/IM0001"}
    files = {path.relative_to(faulty).as_posix() for path in faulty.rglob("*") if path.is_file()}
    assert files - set(manifest.table["path"]) - set(reasons) == {"labels.csv", "skipped.csv", "c/.hidden.dcm"}


def test_all_faulty_files_are_in_the_table_however_many_a_message_lists(export: Path, tmp_path: Path) -> None:
    for number in range(14):
        (export / f"broken {number}").write_bytes((export / "a" / "IM0001").read_bytes()[: -9 - number])
    skipped = tmp_path / "skipped.csv"
    options = {"labels": _labels(export, _BY_STUDY), "label_columns": ["finding"]}
    with pytest.raises(ManifestError, match="and 4 more"):
        build_dicom(export, **options, skipped=skipped)
    assert pd.read_csv(skipped)["path"].str.startswith("broken").sum() == 14


@pytest.mark.parametrize("name", ["labels.csv", "skipped.txt", "nowhere/skipped.csv"])
def test_a_table_of_skipped_files_replaces_nothing(export: Path, name: str) -> None:
    table = _labels(export, _BY_STUDY)
    before = table.read_bytes()
    with pytest.raises(OutputError, match=name):
        build_dicom(export, labels=table, label_columns=["finding"], skipped=export / name)
    assert table.read_bytes() == before


def test_patients_may_be_named_in_the_table_where_the_files_name_none(export: Path) -> None:
    for file in ("one, first.dcm", "IM0001", "later.DCM"):
        header = pydicom.dcmread(export / "a" / file)
        header.PatientID = ""
        header.save_as(export / "a" / file)
    rows = [f"{_study(0, 0)},ill,K1", f"{_study(0, 1)},well,K1", f"{_study(1, 0)},ill,K2"]
    table = _labels(export, rows, "StudyInstanceUID,finding,who")
    manifest = build_dicom(export, labels=table, label_columns=["finding"], group_column="who")
    assert manifest.units().group_id.tolist() == ["K1", "K2"]


@pytest.mark.parametrize(
    ("header", "rows", "options", "message"),
    [
        ("StudyInstanceUID,finding", [f"{_study(0, 0)},", f"{_study(0, 1)},b"], {}, 'row 1: column "finding" is blank'),
        ("StudyInstanceUID,finding", [f"{_study(0, 0)},a", f"{_study(0, 0)},a"], {}, "2 rows (1, 2): the same value"),
        ("StudyInstanceUID,finding", ["9.9.9.9.9.9,a", "9.9,b"], {}, "has no id in common with the 5 images"),
        ("study,finding", [f"{_study(0, 0)},a"], {}, "no column is named SOPInstanceUID, StudyInstanceUID, PatientID"),
        ("PatientID,finding", ["PAT0,a"], {"join": "patient"}, 'no column "patient". Did you mean "PatientID"?'),
        ("PatientID,finding", ["PAT0,a", "PAT1,b"], {"attributes": ["name"]}, '--attribute: unknown word "name"'),
        ("PatientID,finding", ["PAT0,1", "PAT1,ill"], {"task": "multilabel"}, 'column "finding" holds "ill"'),
        ("PatientID,finding", ["PAT0,a", "PAT1,b"], {"unit": "exam"}, '--unit: unknown word "exam"'),
        (
            "PatientID,finding",
            ["PAT0,a", "PAT1,b"],
            {"frames": "axial:all"},
            '--frames axial:all: unknown choice "axial"',
        ),
        ("PatientID,finding,set", ["PAT0,a,train", "PAT1,b,tset"], {"split_column": "set"}, 'Did you mean "test"'),
    ],
)
def test_what_is_asked_or_written_amiss_is_told(export: Path, header, rows, options, message) -> None:
    refused(
        lambda: build_dicom(export, labels=_labels(export, rows, header), **{"label_columns": ["finding"], **options}),
        message,
    )


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("PatientID,finding", ["PAT0,a", "PAT1,b", "PAT1,b"]),
        ("StudyInstanceUID,finding", [f"{_study(0, 0)},a", f"{_study(1, 0)},b", f"{_study(1, 0)},b"]),
        ("SOPInstanceUID,finding", [f"{_image(0, 0, 0)},a", f"{_image(0, 0, 1)},b", f"{_image(0, 0, 1)},b"]),
    ],
)
def test_ids_that_stand_twice_are_told_by_rows_alone(export: Path, header: str, rows: list[str]) -> None:
    refusal = refused(
        lambda: build_dicom(export, labels=_labels(export, rows, header), label_columns=["finding"]),
        f'2 rows (2, 3): the same value in column "{header.split(",")[0]}"',
    )
    assert "PAT" not in refusal
    assert _ROOT not in refusal


def test_a_patient_of_two_labels_is_told_by_the_rows_of_the_table(export: Path) -> None:
    table = _labels(export, _BY_STUDY)
    refusal = refused(lambda: build_dicom(export, labels=table, label_columns=["finding"], unit="patient"))
    assert refusal == (
        f'{table}, 2 rows (1, 2): are of one patient and differ in column "finding"; give --unit study, or fix them.'
    )


def test_a_study_of_two_patients_is_told_by_its_files(export: Path) -> None:
    _write(export / "d" / "other.dcm", 1, 0, 1, PatientID="PAT9")
    refusal = refused(
        lambda: build_dicom(export, labels=_labels(export, _BY_STUDY), label_columns=["finding"]),
        "b/IM0001, d/other.dcm have one StudyInstanceUID and different PatientIDs",
    )
    assert "PAT1" not in refusal
    assert _ROOT not in refusal


_GREYS = {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "Modality": "CT"}


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, True),
        ({"WindowCenter": 40, "WindowWidth": 400}, False),
        ({"Modality": "DX"}, False),
        ({"NumberOfFrames": 2}, False),
        ({"BitsStored": 8, "HighBit": 7}, False),
        ({"BitsStored": 8, "HighBit": 7, "RescaleSlope": 2, "RescaleIntercept": -5}, True),
        ({"WindowCenter": 40, "WindowWidth": 0}, True),
    ],
    ids=["bare", "window", "radiograph", "frames", "8 bits", "8 bits rescaled", "no width"],
)
def test_series_whose_slices_would_be_stretched_one_by_one_are_told_of(
    tmp_path: Path, elements: dict, expected: bool
) -> None:
    rows = []
    for patient in range(2):
        for image in range(3):
            pixels = np.random.default_rng(image).integers(0, 200, (elements.get("NumberOfFrames", 1), 6, 5), np.uint16)
            values = {**_GREYS, **elements, "PixelData": pixels.tobytes()}
            _write(tmp_path / "tree" / f"{patient}{image}.dcm", patient, 0, image, **values)
        rows.append(f"PAT{patient},{'ab'[patient]}")
    notices: list[str] = []
    table = _labels(tmp_path, rows, "PatientID,finding")
    build_dicom(tmp_path / "tree", labels=table, label_columns=["finding"], notice=notices.append)
    for words in ("2 series have a file for each slice and no window", "--window CENTRE,WIDTH"):
        assert sum(words in notice for notice in notices) == expected


@pytest.mark.parametrize(
    ("window", "expected"), [((), True), (("--window", "percentiles"), True), (("--window", "40,400"), False)], ids=str
)
def test_stretched_slices_are_not_told_of_where_a_window_is_given(tmp_path: Path, medprobe, window, expected) -> None:
    for patient in range(2):
        for image in range(2):
            values = {**_GREYS, "PixelData": np.full((6, 5), image + patient, np.uint16).tobytes()}
            _write(tmp_path / "tree" / f"{patient}{image}.dcm", patient, 0, image, **values)
    table = _labels(tmp_path, ["PAT0,a", "PAT1,b"], "PatientID,finding")
    columns = ("--labels", table, "--label-column", "finding", "--out", tmp_path / "m.csv")
    refusal = medprobe("manifest", "build", "dicom", tmp_path / "tree", *columns, *window)
    assert refusal.status == 0, refusal.err
    assert ("2 series have a file for each slice and no window" in refusal.notes) is expected


def test_the_help_names_the_choices_of_units_and_frames(medprobe) -> None:
    refusal = " ".join(medprobe("manifest", "build", "dicom", "--help").out.replace("│", " ").split())
    assert "image, study or patient" in refusal
    assert "all, middle, middle:N" in refusal


def test_a_tree_without_images_is_refused_with_what_it_holds(tmp_path: Path, export: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "x.txt").write_text("x")
    with pytest.raises(ManifestError, match="holds no DICOM images, only 1 other file"):
        build_dicom(tmp_path / "empty", labels=_labels(export, _BY_STUDY), label_columns=["finding"])


def test_from_the_command_line_no_uid_or_patient_is_left_in_any_id(export: Path, tmp_path: Path, medprobe) -> None:
    table = _labels(export, _BY_STUDY)
    command = ("manifest", "build", "dicom", export, "--labels", table, "--label-column", "finding")
    refusal = medprobe(*command, "--attribute", "age", "--frames", "middle:2", "--out", tmp_path / "m.csv")
    assert refusal.status == 0, refusal.err
    manifest = Manifest.load(tmp_path / "m.csv")
    ids = manifest.table[["sample_id", "unit_id", "group_id"]].to_csv()
    assert _ROOT not in ids
    assert "PAT" not in ids
    assert "ids of patients (groups), units and images were replaced" in " ".join(refusal.err.split())
    assert "SECRET" not in (tmp_path / "m.csv").read_text() + refusal.out + refusal.err
    again = medprobe(*command, "--frames", "middle:2", "--out", tmp_path / "n.csv", "--keep-ids")
    assert again.status == 0
    assert _ROOT in (tmp_path / "n.csv").read_text()
