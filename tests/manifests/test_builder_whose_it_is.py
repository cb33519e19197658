"""Messages of builders in which a patient's name could stand and does not, and what they say instead."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import folder_trees
import pytest
from medprobe.base import ManifestError
from medprobe.manifests import BUILDERS
from medprobe.manifests.builders.images import Lookup
from published_trees import refused


@pytest.mark.parametrize("name", ["aptos2019", "isic2019", "ham10000", "chexpert", "nih-cxr14", "mimic-cxr"])
def test_a_wrong_folder_is_not_listed(tmp_path: Path, name: str) -> None:
    (tmp_path / "DOE_JOHN").mkdir()
    (tmp_path / "DOE_JANE.png").touch()
    message = refused(lambda: BUILDERS[name].build(tmp_path))
    assert "DOE" not in message
    assert "there is no" in message


def test_folders_where_classes_should_be_are_counted(tmp_path: Path, draw) -> None:
    draw(tmp_path / "DOE_JOHN" / "1.png", 0)
    for name in ("brain-tumor-mri", "ichallenge-amd", "kermany-cxr"):
        message = refused(partial(BUILDERS[name].build, tmp_path))
        assert "DOE" not in message
        assert "there is 1 folder where the classes should be" in message


@pytest.mark.parametrize("gap", ["Training/notumor", "Testing/glioma"])
def test_a_class_that_one_part_lacks_is_refused(tmp_path: Path, gap: str) -> None:
    tree = folder_trees.make("brain-tumor-mri", tmp_path / "src")
    (tree.src / gap).rename(tmp_path / "elsewhere")
    part, name = gap.split("/")
    assert f"there is no folder {name}/ in {part}/" in refused(lambda: BUILDERS["brain-tumor-mri"].build(tree.src))


def test_a_folder_with_the_name_of_an_image_is_not_taken_for_it(tmp_path: Path, draw) -> None:
    draw(tmp_path / "p1.png", 0)
    draw(tmp_path / "p1" / "other.png", 0)
    assert Lookup(tmp_path).find("p1") == "p1.png"
    assert Lookup(tmp_path).has("p1")


def test_a_table_of_another_labeller_is_not_taken_for_a_misspelt_one(tmp_path: Path) -> None:
    tree = folder_trees.make("mimic-cxr", tmp_path / "src")
    for file in tree.src.glob("*negbio*"):
        file.unlink()
    message = refused(lambda: BUILDERS["mimic-cxr"].build(tree.src, labeller="negbio"))
    assert "negbio" in message
    assert "Did you mean" not in message


def test_missing_images_are_not_told_of_a_table_that_is_refused(tmp_path: Path) -> None:
    tree = folder_trees.make("csv", tmp_path / "src")
    (tree.src / tree.images[0]).unlink()
    tree.repeat_row(3)
    notices: list[str] = []
    with pytest.raises(ManifestError):
        tree.build(notice=notices.append)
    assert notices == []


@pytest.mark.parametrize(("separator", "message"), [(";", "semicolons"), ("\t", "tabs")])
def test_another_separator_is_seen_also_where_fields_hold_commas(tmp_path: Path, separator: str, message: str) -> None:
    tree = folder_trees.make("csv", tmp_path / "src")
    lines = tree.file.read_text().replace(",", separator).splitlines()
    tree.file.write_text("\n".join([*lines, separator.join(["scans/0.png", "a, or b", "P9", "train"])]))
    with pytest.raises(ManifestError, match=f"separated by {message}.*; save it with commas"):
        tree.build()


def test_ages_that_nobody_reaches_are_left_blank_and_counted(tmp_path: Path) -> None:
    tree = folder_trees.make("nih-cxr14", tmp_path / "src")
    before = tree.build().table["age"]
    cells = tree.file.read_text().splitlines()[1].split(",")
    place = tree.file.read_text().splitlines()[0].split(",").index("Patient Age")
    tree.change(",".join(cells), ",".join([*cells[:place], "411Y", *cells[place + 1 :]]))
    notices: list[str] = []
    after = tree.build(notice=notices.append).table["age"]
    assert notices == ["1 age above 120 years was removed."]
    assert after.isna().tolist() == [True, *before.isna().tolist()[1:]]


def _patients(tmp_path: Path, patients: list[str], groups: str) -> tuple[str, list[str]]:
    """What is refused, and in which words, of four files of `patients` whose rows are in `groups`."""
    made = pytest.importorskip("made_dicom")
    import numpy as np

    rows = ["SOPInstanceUID,dx,who"]
    for number, (patient, group) in enumerate(zip(patients, groups, strict=True)):
        ids = {"PatientID": patient, "StudyInstanceUID": f"1.2.{number}", "SOPInstanceUID": f"1.4.{number}"}
        made.written(tmp_path / f"{number}.dcm", made.dataset(np.zeros((4, 4), np.uint8), Modality="DX", **ids))
        rows.append(f"1.4.{number},{'ab'[number % 2]},{group}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    notices: list[str] = []
    options = {"labels": tmp_path / "labels.csv", "label_columns": ["dx"], "group_column": "who"}
    try:
        BUILDERS["dicom"].build(tmp_path, **options, notice=notices.append)
    except ManifestError as error:
        return str(error), notices
    return "", notices


def test_a_patient_of_the_files_in_several_groups_is_refused_by_rows(tmp_path: Path) -> None:
    message, _ = _patients(tmp_path, ["DOE", "DOE", "ROE", "POE"], "ABCD")
    assert '2 rows (1, 2): are of one PatientID and 2 groups of column "who"' in message
    assert "DOE" not in message


def test_one_patient_in_all_files_is_nobody(tmp_path: Path) -> None:
    message, notices = _patients(tmp_path, ["ANON"] * 4, "AABC")
    assert message == ""
    assert notices == ['All files have the same PatientID; groups are taken from column "who".']


def test_faults_are_told_in_the_order_of_rows(tmp_path: Path) -> None:
    tree = folder_trees.make("aptos2019", tmp_path / "src")
    lines = tree.file.read_text().splitlines()
    lines[2], lines[3] = "x,9", ",1"
    tree.file.write_text("\n".join(lines))
    message = refused(lambda: BUILDERS["aptos2019"].build(tree.src))
    assert message.index("row 2:") < message.index("row 3:")
