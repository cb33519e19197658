"""What every builder of a published data set promises, on a small tree in the layout of each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from medprobe.base import ManifestError
from medprobe.manifests import BUILDERS, Manifest, check_manifest, read_image
from published_trees import TREES, Tree, refused

_TABLES = [name for name in TREES if name != "ddsm-lists"]


@pytest.fixture(params=TREES)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    return TREES[request.param](tmp_path / "published")


@pytest.fixture(params=_TABLES)
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    """The sets whose rows stand in a table."""
    return TREES[request.param](tmp_path / "published")


def test_the_manifest_loads_and_checks_and_its_images_read(tree: Tree, tmp_path: Path) -> None:
    notices: list[str] = []
    built = tree.build(notice=notices.append)
    manifest = Manifest.load(built.save(tmp_path / "elsewhere" / "m.parquet").path or "")
    assert len(manifest) == tree.rows == len(set(manifest.sample_ids))
    assert not any("missing" in notice for notice in notices)
    assert [source.path for source in manifest.sources()] == [tree.src / image for image in tree.images]
    assert all(read_image(source).shape == (9, 8, 3) for source in manifest.sources())
    codes = {finding.code for finding in check_manifest(manifest, progress=False)}
    # The published tables of CBIS-DDSM have patients on both sides, which the tree repeats.
    assert codes <= {"rare-class", "absent-class", "unit-two-attributes"} | (
        {"group-across-splits"} if tree.builder == "cbis-ddsm" else set()
    )
    assert manifest.card.license
    assert manifest.card.citation


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tree: Tree) -> None:
    plain = tree.build()
    for file in (*tree.src.glob("*.csv"), *tree.src.glob("*/*.csv"), *tree.src.rglob("*.txt")):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert tree.build().digest == plain.digest


def test_a_missing_image_is_told_without_its_name_and_its_row_stays_for_the_check_to_report(tree: Tree) -> None:
    whole = tree.build()
    (tree.src / tree.images[1]).unlink()
    notices: list[str] = []
    manifest = tree.build(notice=notices.append)
    assert manifest.digest == whole.digest
    [message] = [notice for notice in notices if "missing" in notice]
    assert message == (
        f"1 image of {tree.rows} is missing: that of row 2 of the manifest. The row stays; "
        "`medprobe manifest check` names the file."
    )
    findings = check_manifest(manifest, progress=False)
    assert [finding.code for finding in findings].count("missing-file") == 1


def test_without_any_image_there_is_no_manifest(tree: Tree) -> None:
    for image in tree.images:
        (tree.src / image).unlink()
    message = refused(tree.build, f'none of its {tree.rows} images is in the folder "{tree.src}"')
    assert not any(Path(image).stem in message for image in tree.images)
    assert "Unpack the images there, or " in message
    assert ("--root" in message) == (tree.builder == "mimic-cxr")


@pytest.mark.parametrize(
    ("name", "folder", "first"),
    [
        ("aptos2019", "train_images/", 'row 1, column "id_code"'),
        ("isic2019", "ISIC_2019_Training_Input/", 'row 1, column "image"'),
        ("ham10000", "HAM10000_images_part_1/", 'row 1, column "image_id"'),
        ("isic2018", "ISIC2018_Task3_Training_Input/", 'row 1, column "image"'),
        ("ddsm-lists", "ddsm_raw/", 'row 1, column "name"'),
        ("nih-cxr14", "images_001/images/", 'row 1, column "Image Index"'),
    ],
)
def test_a_folder_of_images_that_is_not_there_is_named(tmp_path: Path, name: str, folder: str, first: str) -> None:
    tree = TREES[name](tmp_path / "published")
    for image in tree.images:
        (tree.src / image).unlink()
    for place in sorted(tree.src.rglob("*/"), reverse=True):
        if not any(place.iterdir()):
            place.rmdir()
    with pytest.raises(ManifestError, match=f"that of {first}, in {folder}, which is not there"):
        tree.build()


def test_images_beside_the_table_are_found_and_a_missing_one_is_looked_for_there(tmp_path: Path) -> None:
    tree = TREES["aptos2019"](tmp_path)
    for image in tree.images:
        (tree.src / image).rename(tree.src / Path(image).name)
    (tree.src / "train_images").rmdir()
    (tree.src / Path(tree.images[2]).name).unlink()
    notices: list[str] = []
    assert tree.build(notice=notices.append).table["path"].tolist() == [Path(image).name for image in tree.images]
    assert ["1 image of 10 is missing: that of row 3 of the manifest." in notice for notice in notices] == [True]


_WHO = {"aptos2019": "id_code", "isic2019": "image", "ham10000": "image_id", "isic2018": "image", "chexpert": "Path",
        "nih-cxr14": "Image Index", "mimic-cxr": "dicom_id"}  # fmt: skip


@pytest.mark.parametrize("name", _WHO)
def test_a_row_that_stands_twice_is_told_without_who_it_is_of(tmp_path: Path, name: str) -> None:
    tree = TREES[name](tmp_path / "published")
    column = _WHO[name]
    tree.repeat_row(2)
    head, _, row, *_ = tree.file.read_text(encoding="utf-8").splitlines()
    value = row.split(",")[head.split(",").index(column)]
    message = refused(tree.build)
    assert re.search(rf'2 rows \(2, \d+\): the same value in column "{column}"', message)
    assert value not in message


def test_another_suffix_still_leads_to_the_image(tree: Tree) -> None:
    image = tree.src / tree.images[1]
    renamed = image.with_name(image.stem + ".PNG")
    image.rename(renamed)
    assert tree.build().source(1).path == renamed


def test_a_missing_table_is_named(table: Tree) -> None:
    file = table.src / (table.table if "/" not in table.table else "ISIC2018_Task3_Training_LesionGroupings.csv")
    file.rename(file.with_name("x" + file.name))
    refused(table.build, f"there is no {file.name}" if table.table == file.name else file.name)


def test_the_folder_above_is_told_from_the_folder_of_the_data_set(table: Tree) -> None:
    if "/" not in table.table:
        with pytest.raises(ManifestError, match="give the folder that holds the data set"):
            BUILDERS[table.builder].build(table.src.parent)
    with pytest.raises(ManifestError, match="give the folder that it is in"):
        BUILDERS[table.builder].build(table.file)
    with pytest.raises(ManifestError, match="there is no such folder"):
        BUILDERS[table.builder].build(table.src / "nowhere")


def test_a_missing_column_is_told_with_the_near_ones(table: Tree) -> None:
    table.change(table.label, table.label + "x")
    refused(table.build, f'no column "{table.label}". Did you mean "{table.label}x"')


def test_a_row_that_stands_twice_and_a_blank_label_are_told_together(table: Tree) -> None:
    if table.builder != "cbis-ddsm":
        table.repeat_row(2)
    table.blank(1, table.label)
    message = refused(table.build, f'row 1: column "{table.label}" is blank')
    if table.builder != "cbis-ddsm":
        last = len(table.file.read_text(encoding="utf-8").splitlines()) - 1
        assert f"2 rows (2, {last}): the same value" in message
        assert "2 errors" in message or "3 errors" in message


def test_nothing_of_the_data_set_is_changed(tree: Tree) -> None:
    before = {path: path.read_bytes() for path in tree.src.rglob("*") if path.is_file()}
    tree.build()
    assert {path: path.read_bytes() for path in tree.src.rglob("*") if path.is_file()} == before


def test_the_command_line_hides_ids_and_keeps_them_when_asked(tree: Tree, tmp_path: Path, medprobe) -> None:
    raw = tree.build()
    hidden = medprobe("manifest", "build", tree.builder, tree.src, "--out", tmp_path / "hidden.parquet")
    kept = medprobe("manifest", "build", tree.builder, tree.src, "--keep-ids", "--out", tmp_path / "kept.parquet")
    assert (hidden.status, kept.status) == (0, 0)
    assert Manifest.load(tmp_path / "kept.parquet").digest == raw.digest
    columns = [name for name in ("group_id", "unit_id") if name in raw.table]
    masked = Manifest.load(tmp_path / "hidden.parquet").table
    for name in columns:
        assert masked[name].nunique() == raw.table[name].nunique()
        assert not set(masked[name]) & set(raw.table[name])
    assert (tmp_path / "hidden.key").exists() == bool(columns)
