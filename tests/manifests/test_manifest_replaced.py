"""What `--overwrite` may replace: a manifest, and no other file of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from medprobe.base import OutputError
from medprobe.manifests import DatasetCard, Manifest
from medprobe.manifests.manifest import refuse_existing
from published_trees import aptos2019


@contextmanager
def _untouched(folder: Path) -> Iterator[None]:
    """Holds that no file is another than it was, and none is new."""

    def now() -> dict[Path, bytes]:
        return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    before = now()
    yield
    assert now() == before


@pytest.fixture
def table(class_folders: Path, tmp_path: Path) -> Path:
    """A table of the class folders, as a user keeps it."""
    files = sorted(class_folders.rglob("*.png"))
    rows = [(file.relative_to(tmp_path).as_posix(), file.parent.name) for file in files]
    pd.DataFrame(rows, columns=["file", "dx"]).to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path / "labels.csv"


_COLUMNS = ("--image-column", "file", "--label-column", "dx")


@pytest.mark.parametrize("beside", ["", "not: a card\n", "name: x\ntask: binary\nclasses: [cat, dog]\n"], ids=repr)
def test_a_table_that_is_no_manifest_is_never_replaced(class_folders, table, tmp_path, medprobe, beside) -> None:
    if beside:
        table.with_suffix(".yaml").write_text(beside)
    with _untouched(tmp_path):
        message = medprobe("manifest", "build", "folder", class_folders, "--out", table, "--overwrite")
        assert message.status == 1
        assert "labels.csv: exists already and is not a manifest" in message.err
        assert "choose another --out, or move it away." in message.notes


def test_a_yaml_file_that_is_no_card_is_never_replaced(class_folders, tmp_path, medprobe) -> None:
    (tmp_path / "m.yaml").write_text("services: [web]\n")
    with _untouched(tmp_path):
        message = medprobe("manifest", "build", "folder", class_folders, "--out", tmp_path / "m.csv", "--overwrite")
        assert message.status == 1
        assert "m.yaml: exists already and is not a manifest" in message.err


def test_the_tables_of_a_published_data_set_are_never_replaced(tmp_path, medprobe) -> None:
    tree = aptos2019(tmp_path / "apt")
    with _untouched(tmp_path):
        message = medprobe("manifest", "build", "aptos2019", tree.src, "--out", tree.file, "--overwrite")
        assert message.status == 1
        assert f"{tree.table}: exists already and is not a manifest" in message.err


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize(
    ("words", "option"), [(("dicom",), "--labels"), (("glioma-mri",), "--labels"), (("csv",), "")], ids=str
)
def test_what_an_option_names_is_never_replaced_even_beside_a_card(
    table, tmp_path, medprobe, words, option, linked
) -> None:
    DatasetCard(name="x", task="binary", classes=["cat", "dog"]).save(table.with_suffix(".yaml"))
    out = tmp_path / "other.csv" if linked else table
    if linked:
        out.symlink_to(table)
    named = (tmp_path, option, table) if option else (table,)
    columns = {"dicom": ("--label-column", "dx"), "csv": _COLUMNS}.get(words[0], ())
    with _untouched(tmp_path):
        message = medprobe("manifest", "build", *words, *named, *columns, "--out", out, "--overwrite")
        assert message.status == 1
        what = option or "what the manifest is built from"
        assert f"{out.name}: this is " in message.err
        assert what in message.err


def test_a_fix_replaces_a_manifest_alone(pets: Manifest, table, tmp_path, medprobe) -> None:
    words = ("manifest", "check", pets.path, "--fix", "group-duplicates", "--overwrite", "--out")
    with _untouched(tmp_path):
        message = medprobe(*words, table)
        assert message.status == 1
        assert "labels.csv: exists already and is not a manifest" in message.err


def test_a_manifest_is_replaced_when_asked_whatever_rows_it_has(pets: Manifest, tmp_path) -> None:
    assert pets.path
    with pytest.raises(OutputError, match="add --overwrite"):
        refuse_existing(pets.path)
    pets.table.assign(label="unknown").to_parquet(pets.path)
    refuse_existing(pets.path, overwrite=True)
    pets.path.unlink()
    refuse_existing(pets.path, overwrite=True)  # a card alone is a manifest's
    refuse_existing(tmp_path / "new.csv")


def _with_words(card: Path, **fields: str) -> None:
    DatasetCard.load(card).model_copy(update=fields).save(card)


@pytest.fixture
def building(class_folders: Path, tmp_path: Path, medprobe: Callable) -> Callable:
    """`building(folder)`: the notes of a build of a folder of classes into one and the same manifest."""

    def build(folder: Path) -> str:
        message = medprobe("manifest", "build", "folder", folder, "--out", tmp_path / "m.parquet", "--overwrite")
        assert message.status == 0, message.err
        return message.notes

    return build


def test_what_people_wrote_into_a_card_stays_with_its_data(building, class_folders, tmp_path) -> None:
    building(class_folders)
    card = tmp_path / "m.yaml"
    _with_words(card, license="CC0-1.0", description="Pets.")
    assert "taken over" not in building(class_folders)
    assert (DatasetCard.load(card).license, DatasetCard.load(card).description) == ("CC0-1.0", "Pets.")
    (tmp_path / "link").symlink_to(class_folders)
    building(tmp_path / "link")
    assert DatasetCard.load(card).license == "CC0-1.0"


def test_what_people_wrote_of_other_data_is_not_taken_over_and_that_is_told(building, class_folders, tmp_path) -> None:
    building(class_folders)
    card = tmp_path / "m.yaml"
    _with_words(card, license="CC0-1.0", description="Pets.")
    expected = "license, description of the replaced m.yaml were not kept"
    assert expected in building(class_folders / "train")
    assert (DatasetCard.load(card).license, DatasetCard.load(card).description) == ("", "")


def test_a_card_is_never_taken_from_the_table_of_the_other_suffix(class_folders, tmp_path, medprobe) -> None:
    build = ("manifest", "build", "folder", class_folders, "--overwrite", "--out")
    assert medprobe(*build, tmp_path / "m.parquet", "--window", "300,200").status == 0
    with _untouched(tmp_path):
        message = medprobe(*build, tmp_path / "m.csv")
        assert message.status == 1
        assert "its card would be m.yaml, which is that of m.parquet; choose another --out." in message.notes
    assert medprobe(*build, tmp_path / "m.parquet").status == 0
