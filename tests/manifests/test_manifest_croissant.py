"""The Croissant file: valid to `mlcroissant`, true to the manifest, and silent about patients."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pandas as pd
import pytest
from medprobe.base import ManifestError, OutputError
from medprobe.manifests import DatasetCard, Manifest, Publication, write_croissant

mlcroissant = pytest.importorskip("mlcroissant")

_PUBLISHED = Publication(
    url="https://example.org/toy",
    creators=("A. Doe",),
    organizations=("Clinic",),
    published="2024-05-31",
    version="1.0.0",
)


@pytest.fixture
def cohort(draw, tmp_path: Path) -> Manifest:
    """Eight images in folders below `images`, with everything that a manifest may have; not saved."""
    rows = []
    for number in range(8):
        path = f"{'ab'[number % 2]}/Meier {number}.{'png' if number else 'PNG'}"
        draw(tmp_path / "images" / path, number)
        rows.append(
            {
                "sample_id": f"s{number}", "path": path, "diagnosis at exit": ("no", "yes")[number % 2],
                "split": ("train", "train", "val", "test")[number // 2], "group_id": f"p{number // 2}",
                "age": None if number == 3 else 40.5 + number, "sex": ("f", "m")[number // 4], "smoker": number > 4,
                "frame": 0, "left alone": "x",
            }
        )  # fmt: skip
    card = DatasetCard.of(
        "card", name="toy set", task="binary", classes=["no", "yes"], label_column="diagnosis at exit",
        attributes=["age", "sex", "smoker"], root=str(tmp_path / "images"), license="CC-BY-4.0", citation="Doe 2024",
        description="Scans with “quotes”.",
    )  # fmt: skip
    return Manifest(pd.DataFrame(rows), card)


def _validated(path: Path, caplog: pytest.LogCaptureFixture):
    """The data set as `mlcroissant` reads it, which warns of nothing."""
    with caplog.at_level(logging.WARNING):
        dataset = mlcroissant.Dataset(jsonld=str(path))
    issues = dataset.metadata.ctx.issues
    assert (issues.errors, issues.warnings) == (set(), set())
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
    return dataset


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_mlcroissant_validates_the_file_and_reads_every_record(cohort, tmp_path, caplog, suffix) -> None:
    manifest = cohort.save(tmp_path / f"toy.{suffix}")
    dataset = _validated(write_croissant(manifest, tmp_path / "toy.croissant.json", publication=_PUBLISHED), caplog)
    records = list(dataset.records("samples"))
    assert len(records) == 8
    assert records[3] == {
        "samples/sample_id": b"s3", "samples/path": b"b/Meier 3.png", "samples/diagnosis%20at%20exit": b"yes",
        "samples/split": b"train", "samples/frame": 0, "samples/age": None, "samples/sex": b"f",
        "samples/smoker": False,
    }  # fmt: skip
    assert records[7]["samples/age"] == 47.5
    assert records[7]["samples/smoker"] is True
    assert [record["classes/name"] for record in dataset.records("classes")] == ["no", "yes"]
    assert [record["splits/name"] for record in dataset.records("splits")] == ["train", "val", "test"]
    metadata = dataset.metadata
    assert (metadata.name, metadata.cite_as, metadata.version) == ("toy set", "Doe 2024", "1.0.0")
    assert metadata.license == ["https://spdx.org/licenses/CC-BY-4.0.html"]
    assert "Scans with “quotes”." in str(metadata.description)


def test_labels_of_a_multilabel_set_are_columns_of_whole_numbers(tmp_path, caplog) -> None:
    table = pd.DataFrame(
        {"sample_id": ["a", "b"], "path": ["a.png", "b.png"], "Pleural Effusion": [1, 0], "Ödem/x": [0, 1]}
    )
    card = DatasetCard.of(
        "card", name="chest", task="multilabel", classes=["Pleural Effusion", "Ödem/x"], root=str(tmp_path),
        license="restricted to members", citation="none",
    )  # fmt: skip
    manifest = Manifest(table, card).save(tmp_path / "chest.csv")
    dataset = _validated(write_croissant(manifest, tmp_path / "chest.json", publication=_PUBLISHED), caplog)
    records = list(dataset.records("samples"))
    assert [list(record.values())[2:] for record in records] == [[1, 0], [0, 1]]
    assert dataset.metadata.license == ["restricted to members"]


def test_the_patterns_of_files_find_the_images_and_name_no_folder_of_theirs(cohort, tmp_path) -> None:
    manifest = cohort.save(tmp_path / "toy.parquet")
    text = write_croissant(manifest, tmp_path / "toy.json").read_text()
    [files] = [part for part in json.loads(text)["distribution"] if part["@type"] == "cr:FileSet"]
    assert files["encodingFormat"] == "image/png"
    found = {file for pattern in files["includes"] for file in tmp_path.glob(pattern)}
    assert found == {manifest.source(row).path for row in range(8)}
    assert "Meier" not in text
    assert str(tmp_path) not in text


def test_ids_of_patients_are_described_only_when_asked_for(cohort, tmp_path) -> None:
    manifest = cohort.save(tmp_path / "toy.parquet")
    assert "group_id" not in write_croissant(manifest, tmp_path / "without.json").read_text()
    assert '"column": "group_id"' in write_croissant(manifest, tmp_path / "with.json", with_ids=True).read_text()


def test_a_file_from_which_the_table_cannot_be_named_is_refused(cohort, tmp_path) -> None:
    manifest = cohort.save(tmp_path / "tables" / "toy.parquet")
    assert json.loads(write_croissant(manifest, tmp_path / "toy.json").read_text())["distribution"][0][
        "contentUrl"
    ] == ("tables/toy.parquet")
    with pytest.raises(OutputError, match=r"goes beside toy\.parquet"):
        write_croissant(manifest, tmp_path / "elsewhere" / "toy.json")
    with pytest.raises(ManifestError, match="save the manifest first"):
        write_croissant(cohort, tmp_path / "unsaved.json")


def test_images_that_lie_elsewhere_are_not_described_as_if_they_lay_here(cohort, tmp_path) -> None:
    manifest = cohort.save(tmp_path / "tables" / "toy.parquet")
    made = json.loads(write_croissant(manifest, tmp_path / "tables" / "toy.json").read_text())
    assert [part["@type"] for part in made["distribution"]] == ["cr:FileObject"]


def test_all_that_is_wrong_with_a_publication_is_told_at_once(cohort, tmp_path) -> None:
    manifest = cohort.save(tmp_path / "toy.parquet")
    faulty = Publication(url="example.org", published="31.5.2024", version="1")
    with pytest.raises(ManifestError) as told:
        write_croissant(manifest, tmp_path / "toy.json", publication=faulty)
    for word in ('"example.org"', '"31.5.2024"', '"1"'):
        assert word in str(told.value)
    assert not (tmp_path / "toy.json").exists()


def test_export_says_what_a_published_set_lacks_and_replaces_nothing_unasked(cohort, tmp_path, medprobe) -> None:
    manifest = cohort.save(tmp_path / "toy.parquet")
    said = medprobe("manifest", "export", "croissant", manifest.path, "--version", "1.0.0")
    assert said.status == 0, said.err
    assert (tmp_path / "toy.croissant.json").exists()
    assert "asks for --url, --creator, --published." in said.err
    assert "`license" not in said.err  # the card has one
    assert medprobe("manifest", "export", "croissant", manifest.path).status == 1
    assert medprobe("manifest", "export", "croissant", manifest.path, "--overwrite").status == 0
    assert medprobe("manifest", "export", "croissant", manifest.path, "--out", tmp_path / "toy.txt").status == 1


def test_who_made_it_is_a_person_or_an_organisation_as_was_said(cohort, tmp_path, medprobe) -> None:
    manifest = cohort.save(tmp_path / "toy.parquet")
    people = ("--creator", "A. Doe", "--creator", "B. Roe", "--organization", "Clinic")
    said = medprobe("manifest", "export", "croissant", manifest.path, *people)
    assert said.status == 0, said.err
    assert "--creator" not in said.err
    creators = json.loads((tmp_path / "toy.croissant.json").read_text())["creator"]
    kinds = [(one["@type"], one["name"]) for one in creators]
    assert kinds == [("sc:Person", "A. Doe"), ("sc:Person", "B. Roe"), ("sc:Organization", "Clinic")]
    alone = medprobe("manifest", "export", "croissant", manifest.path, "--organization", "Clinic", "--overwrite")
    assert "--creator" not in alone.err
    assert medprobe("manifest", "export", "croissant", manifest.path, "--creator", " ", "--overwrite").status == 1


def test_what_the_card_lacks_is_told_with_the_file_to_write_it_into(cohort, tmp_path, medprobe) -> None:
    card = cohort.card.model_copy(update={"license": "", "citation": ""})
    manifest = Manifest(cohort.table, card).save(tmp_path / "toy.parquet")
    said = medprobe("manifest", "export", "croissant", manifest.path)
    assert f"write `license: ...`, `citation: ...` into {tmp_path / 'toy.yaml'}, and export again." in said.err


def test_wrong_options_are_told_before_a_file_that_is_there(cohort, tmp_path, medprobe) -> None:
    manifest = cohort.save(tmp_path / "toy.parquet")
    (tmp_path / "toy.croissant.json").touch()
    said = medprobe("manifest", "export", "croissant", manifest.path, "--version", "1")
    assert 'the version "1" is not MAJOR.MINOR.PATCH' in said.err
