"""What builders say of tables and folders that do not fit: what, where and what to do, and never whose it is."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from medprobe.manifests import BUILDERS, build_csv, build_folder, build_npz
from published_trees import refused

_COLUMNS = {"image_column": "file", "label_columns": ["dx"], "group_column": "who"}


@pytest.fixture
def cohort(tmp_path: Path, draw) -> Path:
    """Six images of three patients, and their table."""
    lines = ["file,dx,who"]
    for row in range(6):
        draw(tmp_path / "images" / f"{row}.png", row)
        lines.append(f"images/{row}.png,{'ab'[row % 2]},Kowalczyk{row // 2}")
    (tmp_path / "cohort.csv").write_text("\n".join([*lines, ""]))
    return tmp_path / "cohort.csv"


def test_a_missing_image_of_a_table_is_told_by_its_row_when_the_manifest_is_built(cohort: Path) -> None:
    (cohort.parent / "images" / "1.png").unlink()
    notices: list[str] = []
    assert len(build_csv(cohort, **_COLUMNS, notice=notices.append)) == 6
    (cohort.parent / "images" / "4.png").unlink()
    build_csv(cohort, **_COLUMNS, notice=notices.append)
    assert [notice.split(".")[0] for notice in notices] == [
        "1 image of 6 is missing: that of row 2 of the manifest",
        "2 images of 6 are missing: those of 2 rows (2, 5) of the manifest",
    ]


def test_images_are_there_whatever_holds_them(cohort: Path) -> None:
    with h5py.File(cohort.parent / "s.h5", "w") as file:
        file["images"] = np.zeros((1, 8, 8), np.uint8)
    (cohort.parent / "s.zarr").mkdir()
    cohort.write_text(cohort.read_text() + "s.h5#images,a,P\ns.zarr#images,b,Q\nimages/../images//0.png,b,R\n")
    notices: list[str] = []
    build_csv(cohort, **_COLUMNS, notice=notices.append)
    assert notices == []


def test_a_table_without_any_of_its_images_names_the_folder_and_the_options(cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    message = refused(
        lambda: build_csv(cohort, **_COLUMNS),
        f'none of its 6 images is in the folder "{tmp_path}"',
        'row 1, column "file"',
        'Is "file" the column of paths?',
        "--root",
    )
    assert "images/" not in message


def test_a_row_that_stands_twice_is_told_with_the_right_remedy(cohort: Path) -> None:
    cohort.write_text(cohort.read_text() + "images/0.png,a,Kowalczyk0\n")
    notices: list[str] = []
    refused(
        lambda: build_csv(cohort, **_COLUMNS, notice=notices.append),
        '2 rows (1, 7): the same value in column "file"; remove all but one, or name a column that '
        "distinguishes the rows with --id-column",
    )
    assert notices == []


def test_units_of_two_minds_are_told_by_column_and_rows(cohort: Path) -> None:
    message = refused(
        lambda: build_csv(cohort, **{**_COLUMNS, "unit_column": "who", "group_column": None}),
        '2 rows (1, 2): one unit in column "who", different labels (a, b)',
    )
    assert "Kowalczyk" not in message


def test_a_column_that_is_not_there_is_told_with_the_option_that_names_it(cohort: Path) -> None:
    options = {**_COLUMNS, "image_column": "fil", "label_columns": ["dxx"], "split_column": "set", "attributes": ["sx"]}
    refused(
        lambda: build_csv(cohort, **options),
        "cohort.csv: lacks 4 columns:",
        '--image-column: no column "fil". Did you mean "file"?',
        '--label-column: no column "dxx". Did you mean "dx"?',
        '--split-column: no column "set"',
        '--attribute: no column "sx"',
    )


def test_a_published_column_is_looked_for_by_its_name_and_no_option_is_spoken_of(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("id_code,diag\n1,0\n")
    message = refused(
        lambda: BUILDERS["aptos2019"].build(tmp_path),
        'no column "diagnosis"',
        "Columns must have their published names.",
    )
    assert "--" not in message


def test_one_class_alone_is_told_with_what_was_expected(cohort: Path, tmp_path: Path, draw) -> None:
    draw(tmp_path / "src" / "glioma" / "1.png", 0)
    refused(
        lambda: build_folder(tmp_path / "src"),
        'holds only one class, "glioma"; a task needs at least two classes',
        "SRC/CLASS/*.jpg or SRC/train/CLASS/*.jpg",
    )
    cohort.write_text(cohort.read_text().replace(",b,", ",a,"))
    refused(lambda: build_csv(cohort, **_COLUMNS), 'only one class, "a"', 'Is "dx" the column of labels?')


@pytest.mark.parametrize("builder", ["folder", "kermany-cxr", "glioma-mri", "aptos2019", "dicom"])
def test_a_folder_that_is_not_there_is_told_with_the_near_ones(tmp_path: Path, builder: str) -> None:
    if builder == "dicom":
        pytest.importorskip("pydicom")
    (tmp_path / "images").mkdir()
    (tmp_path / "t.csv").write_text("PatientID,dx\n1,a\n2,b\n")
    options = {"labels": tmp_path / "t.csv", "label_columns": ["dx"]} if builder == "dicom" else {}
    refused(
        lambda: BUILDERS[builder].build(tmp_path / "imags", **options),
        'imags: there is no such folder. Did you mean "images"?',
    )
    (tmp_path / "file").write_text("x")
    refused(lambda: BUILDERS[builder].build(tmp_path / "file", **options), "file: is a file; give the folder that")


@pytest.mark.parametrize(
    ("builder", "layout"),
    [
        ("kermany-cxr", "Expected chest_xray/train/NORMAL/*.jpeg and chest_xray/train/PNEUMONIA/*.jpeg"),
        ("ichallenge-amd", "Expected Training400/AMD/A0001.jpg and Training400/Non-AMD/N0001.jpg"),
        ("brain-tumor-mri", "Expected Training/CLASS/*.jpg and Testing/CLASS/*.jpg"),
    ],
)
@pytest.mark.parametrize("tree", [[], ["other/1.png"], ["train/1.png"]], ids=["empty", "other classes", "no classes"])
def test_a_set_of_class_folders_is_refused_with_its_own_layout(
    tmp_path: Path, draw, builder: str, layout: str, tree: list[str]
) -> None:
    for name in tree:
        draw(tmp_path / "set" / name, 0)
    (tmp_path / "set").mkdir(exist_ok=True)
    message = refused(lambda: BUILDERS[builder].build(tmp_path / "set"), layout)
    assert "SRC" not in message


def test_classes_that_no_sample_has_are_told(cohort: Path, tmp_path: Path, draw) -> None:
    draw(tmp_path / "src" / "a" / "1.png", 0)
    draw(tmp_path / "src" / "b" / "1.png", 1)
    np.savez(tmp_path / "t.npz", test_images=np.zeros((2, 4, 4), np.uint8), test_labels=np.array([0, 1]))
    for build in (
        lambda notice: build_csv(cohort, **_COLUMNS, classes=["a", "x", "b"], notice=notice),
        lambda notice: build_folder(tmp_path / "src", classes=["x", "a", "b"], notice=notice),
        lambda notice: build_npz(tmp_path / "t.npz", classes=["a", "b", "x"], notice=notice),
    ):
        notices: list[str] = []
        assert "x" in build(notices.append).card.classes
        assert 'No sample has the class "x"; it stays in the list of classes.' in notices


def test_more_names_than_columns_of_labels_are_refused(tmp_path: Path) -> None:
    labels = np.array([[1, 0], [0, 1]], np.uint8)
    np.savez(tmp_path / "t.npz", test_images=np.zeros((2, 4, 4), np.uint8), test_labels=labels)
    refused(
        lambda: build_npz(tmp_path / "t.npz", classes=["a", "b", "x"]), "has 2 labels per sample, but --classes names 3"
    )


def test_arrays_that_are_empty_are_refused(tmp_path: Path) -> None:
    empty = {"train_images": np.zeros((0, 4, 4), np.uint8), "train_labels": np.zeros(0, np.uint8)}
    np.savez(tmp_path / "e.npz", **empty)
    refused(lambda: build_npz(tmp_path / "e.npz"), "train_images holds no image; omit an empty split")


def test_a_column_that_is_no_split_is_told_without_what_stands_in_it(cohort: Path) -> None:
    message = refused(
        lambda: build_csv(cohort, **_COLUMNS, split_column="who"), 'column "who" has train, val or test in no row'
    )
    assert "Kowalczyk" not in message


def test_a_path_that_is_no_npz_file_is_told_with_the_near_ones(tmp_path: Path) -> None:
    np.savez(tmp_path / "pneumonia.npz", x=np.zeros(1))
    refused(lambda: build_npz(tmp_path / "pneumona.npz"), "there is no such file", 'Did you mean "pneumonia.npz"?')
    refused(lambda: build_npz(tmp_path), "is a folder; give an npz file")


@pytest.mark.parametrize(
    ("slices", "words"),
    [("midle", 'there are all, middle, every. Did you mean "middle"?'), ("middle:0", "a number of 1 or more")],
)
def test_slices_of_arrays_are_asked_for_without_an_axis(tmp_path: Path, slices: str, words: str) -> None:
    message = refused(lambda: build_npz(tmp_path / "t.npz", slices=slices), f"--slices {slices}: ", words)
    assert "axial" not in message
