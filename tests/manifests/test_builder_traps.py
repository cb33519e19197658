"""What spoils tables and folders everywhere: each trap is set for every builder that can fall into it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from folder_trees import ALL, CLASS_FOLDERS, FREE_NAMES, OWN_TABLES, make
from medprobe.base import ManifestError
from medprobe.manifests import Manifest, read_image
from published_trees import Tree, refused


def _saved(tree: Tree, tmp_path: Path) -> Manifest:
    """The tree's manifest as it comes back from a CSV file, where a comma would tell."""
    return Manifest.load(tree.build().save(tmp_path / "out, here" / "m.csv").path or "")


def _reads(tree: Tree, manifest: Manifest) -> None:
    assert [source.path for source in manifest.sources()] == [tree.src / image for image in tree.images]
    assert {read_image(source).shape for source in manifest.sources()} == {tree.shape}


@pytest.mark.parametrize("name", ALL)
def test_a_comma_and_a_blank_in_the_name_of_the_folder_are_no_trouble(tmp_path: Path, name: str) -> None:
    plain = make(name, tmp_path / "plain").build()
    tree = make(name, tmp_path / "set, as downloaded" / "v 1, new")
    manifest = _saved(tree, tmp_path)
    assert manifest.digest == plain.digest
    _reads(tree, manifest)


@pytest.mark.parametrize("name", FREE_NAMES)
def test_a_comma_and_a_blank_in_the_names_of_images_are_no_trouble(tmp_path: Path, name: str) -> None:
    tree = make(name, tmp_path / "published")
    for row in (0, 1):
        tree.rename_image(row, ", left")
    manifest = _saved(tree, tmp_path)
    assert sum(", left" in path for path in manifest.table["path"]) == 2
    _reads(tree, manifest)


@pytest.mark.parametrize("name", OWN_TABLES)
def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path, name: str) -> None:
    tree = make(name, tmp_path / "set")
    plain = tree.build()
    tree.file.write_bytes(b"\xef\xbb\xbf" + tree.file.read_bytes().replace(b"\n", b"\r\n"))
    assert tree.build().digest == plain.digest


@pytest.mark.parametrize("name", OWN_TABLES)
def test_a_row_that_stands_twice_and_a_blank_label_are_told_together(tmp_path: Path, name: str) -> None:
    tree = make(name, tmp_path / "set")
    tree.repeat_row(2)
    tree.blank(1, tree.label)
    last = len(tree.file.read_text().splitlines()) - 1
    message = refused(
        tree.build,
        ": 2 errors:",
        f'row 1: column "{tree.label}" is blank',
        f"2 rows (2, {last}): the same value in column",
    )
    assert not re.search(r"\bP\d\b", message)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("csv", "1 image of 6 is missing: that of row 2"),
        ("dicom", "Without an image in labels.csv: row 2."),
        ("glioma-mri", "Skipped 1 of 4 patients that lack a sequence: row 2 of grades.csv."),
    ],
)
def test_a_missing_image_is_told_by_its_row(tmp_path: Path, name: str, expected: str) -> None:
    tree = make(name, tmp_path / "set")
    (tree.src / tree.images[1]).unlink()
    if name == "glioma-mri":
        tree.options["incomplete"] = "leave-out"
    notices: list[str] = []
    tree.build(notice=notices.append)
    assert any(expected in notice for notice in notices)
    assert not any(tree.images[1] in notice for notice in notices)


@pytest.mark.parametrize("name", [name for name in CLASS_FOLDERS if name != "folder"])
def test_a_class_without_a_folder_is_named(tmp_path: Path, name: str) -> None:
    tree = make(name, tmp_path / "set, new")
    gone = Path(tree.images[0]).parent.name
    for folder in [folder for folder in tree.src.rglob("*/") if folder.name == gone]:
        folder.rename(folder.with_name(f"x, {gone}"))
    with pytest.raises(ManifestError, match=f"there is no folder {gone}/"):
        tree.build()


def test_class_folders_may_have_commas_and_blanks_in_their_names(tmp_path: Path) -> None:
    tree = make("folder", tmp_path / "set")
    for split in ("train", "test"):
        (tree.src / split / "b").rename(tree.src / split / "b, severe")
    tree.images = [image.replace("/b/", "/b, severe/") for image in tree.images]
    manifest = _saved(tree, tmp_path)
    assert manifest.card.classes == ["a", "b, severe"]
    _reads(tree, manifest)
