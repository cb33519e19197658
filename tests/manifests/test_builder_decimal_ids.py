"""A patient is one, whether a table calls it 3 or 3.0, and a message says what was done."""

from __future__ import annotations

import re
from pathlib import Path

import folder_trees
import pandas as pd
import pytest
from medprobe.base import ManifestError
from medprobe.manifests import BUILDERS, Manifest


def _table(tmp_path: Path, draw, ids: list[object], suffix: str = ".csv", column: str = "patient") -> Path:
    for row in range(len(ids)):
        draw(tmp_path / f"{row}.png", row)
    table = pd.DataFrame({"file": [f"{row}.png" for row in range(len(ids))], "dx": ["x", "y"] * (len(ids) // 2)})
    table[column] = ids
    path = tmp_path / f"t{suffix}"
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    return path


def _built(table: Path, **options: object) -> tuple[Manifest, str]:
    notices: list[str] = []
    manifest = BUILDERS["csv"].build(table, image_column="file", label_columns=["dx"], **options, notice=notices.append)
    return manifest, " ".join(notices)


@pytest.mark.parametrize("option", ["group_column", "unit_column"])
@pytest.mark.parametrize(
    ("ids", "suffix", "read", "noted"),
    [
        (["3", "x.0", "3.0", "4"], ".csv", ["3", "x.0", "3.0", "4"], ""),
        (["3", "4", "3.0", "4.00"], ".csv", ["3", "4", "3", "4"], "2 rows and are .* which makes 4 ids 2"),
        (["3.0", "4.0", "5.0", "6.0"], ".csv", ["3", "4", "5", "6"], r'4 rows and are read as whole numbers .*"\)\.'),
        ([3.0, 4.0, 5.0, 6.0], ".parquet", ["3", "4", "5", "6"], "4 rows and are"),
        (["3.5", "4.0", "3.0", "3"], ".csv", ["3.5", "4.0", "3.0", "3"], ""),
        (["03", "4", "3", "4"], ".csv", ["03", "4", "3", "4"], ""),
    ],
)
def test_whole_numbers_are_read_without_a_point(tmp_path, draw, option, ids, suffix, read, noted) -> None:
    manifest, notices = _built(_table(tmp_path, draw, ids, suffix), **{option: "patient"})
    assert manifest.table[{"group_column": "group_id", "unit_column": "unit_id"}[option]].tolist() == read
    assert re.search(f'column "patient": ids end in ".0" in {noted}', notices) if noted else "ids end" not in notices


def test_a_unit_whose_two_spellings_have_two_labels_is_refused(tmp_path, draw) -> None:
    with pytest.raises(ManifestError, match="label"):
        _built(_table(tmp_path, draw, ["3", "3.0", "4", "5"]), unit_column="patient")


@pytest.mark.parametrize("again", [[3.0, 4.0, 5.0, 6.0], [3, 4, 5, 6], ["a3", "a4", "a5", "a6"]])
def test_an_attribute_that_repeats_the_ids_in_decimals_is_refused(tmp_path, draw, medprobe, again) -> None:
    table = _table(tmp_path, draw, ["3.0", "4.0", "5.0", "6.0"])
    pd.read_csv(table, dtype=str).assign(again=again).to_csv(table, index=False)
    columns = ("--image-column", "file", "--label-column", "dx", "--group-column", "patient", "--attribute", "again")
    ended = medprobe("manifest", "build", "csv", table, *columns, "--out", tmp_path / "m.parquet")
    assert ended.status == (again[0] in (3, 3.0))
    assert ('attribute "again" repeats the column "group_id"' in ended.notes) == bool(ended.status)


def test_the_command_says_it_and_makes_one_patient_of_two(tmp_path, draw, medprobe) -> None:
    table = _table(tmp_path, draw, ["3", "4", "3.0", "4.0"])
    columns = ("--image-column", "file", "--label-column", "dx", "--group-column", "patient")
    ended = medprobe("manifest", "build", "csv", table, *columns, "--out", tmp_path / "m.parquet")
    assert ended.status == 0, ended.err
    assert 'ids end in ".0" in 2 rows' in ended.notes
    assert Manifest.load(tmp_path / "m.parquet").table["group_id"].nunique() == 2


@pytest.mark.parametrize("name", ["dicom", "glioma-mri", "mimic-cxr"])
def test_a_table_of_decimal_ids_finds_what_is_called_by_whole_numbers(tmp_path: Path, name: str) -> None:
    tree = folder_trees.make(name, tmp_path / "src")
    if name == "mimic-cxr":
        expected = tree.build().table
        for number in range(4):
            old = f"{10000032 + number},{50414267 + number},"
            tree.change(old, old.replace(",", ".0,"), "mimic-cxr-2.0.0-chexpert.csv")
        # One of the rows with and one without a point, in the table of images too.
        tree.change(f",{10000032},", f",{10000032}.0,")
    else:
        digits = str.maketrans({"P": "7"})
        tree.file.write_text(re.sub(r"^P(\d)", r"7\1.0", tree.file.read_text(), flags=re.MULTILINE))
        for path in sorted(tree.src.rglob("*P[0-9]*"), reverse=True):
            path.rename(path.with_name(path.name.translate(digits)))
        for path in tree.src.rglob("*.dcm"):
            import pydicom

            header = pydicom.dcmread(path)
            header.PatientID = header.PatientID.translate(digits)
            header.save_as(path)
    notices: list[str] = []
    made = tree.build(notice=notices.append).table
    assert 'ids end in ".0"' in " ".join(notices)
    if name == "mimic-cxr":
        pd.testing.assert_frame_equal(made, expected)
    else:
        assert sorted(set(made["group_id"])) == [f"7{number + (name == 'glioma-mri')}" for number in range(4)]
