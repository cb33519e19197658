"""Manifests without labels: how they are built and saved, and what is known of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from medprobe.base import ManifestError
from medprobe.manifests import (
    DatasetCard,
    Manifest,
    attribute_counts,
    build_csv,
    build_folder,
    check_manifest,
    drop_duplicates,
    manifest_image_stats,
    resplit,
)
from medprobe.report import draw_montage, write_manifest_page
from published_trees import refused


@pytest.fixture
def scans(tmp_path: Path, draw) -> Manifest:
    """24 images of eight patients, of which two are identical, with an attribute and no labels; saved."""
    for number in range(24):
        draw(tmp_path / "scans" / f"{number:02d}.png", number % 23)
    rows = [
        {"image": f"{number:02d}.png", "patient": f"p{number // 3}", "sex": "fm"[number % 2]} for number in range(24)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    options = {"image_column": "image", "group_column": "patient", "attributes": ["sex"]}
    return build_csv(tmp_path / "rows.csv", **options, root=tmp_path / "scans").save(tmp_path / "scans.csv")


def test_a_flat_folder_has_its_images_by_name(tmp_path: Path, draw) -> None:
    for number in range(3):
        draw(tmp_path / "flat" / f"{number}.png", number)
    (tmp_path / "flat" / "notes.txt").write_text("seen by nobody")
    notices: list[str] = []
    built = build_folder(tmp_path / "flat", unlabelled=True, notice=notices.append)
    assert built.sample_ids.tolist() == ["0.png", "1.png", "2.png"]
    assert list(built.table) == ["sample_id", "path"]
    assert len(notices) == 1
    assert "1 .txt" in notices[0]


def test_class_folders_without_labels_have_the_ids_and_the_split_that_they_have_with_them(class_folders: Path) -> None:
    with_labels, without = build_folder(class_folders), build_folder(class_folders, unlabelled=True)
    pd.testing.assert_frame_equal(with_labels.table.drop(columns="label"), without.table)
    assert (without.card.task, without.card.classes, without.card.primary_metric) == (None, [], "")
    assert without.digest != with_labels.digest


def test_an_image_outside_the_folders_of_splits_means_that_there_is_no_split(class_folders: Path) -> None:
    shutil.copy(class_folders / "train" / "cat" / "00.png", class_folders / "one.png")
    built = build_folder(class_folders, unlabelled=True)
    assert (len(built), "split" in built.table) == (44, False)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_is_saved_is_what_is_loaded(scans: Manifest, tmp_path: Path, suffix: str) -> None:
    saved = scans.save(tmp_path / f"again{suffix}")
    loaded = Manifest.load(tmp_path / f"again{suffix}")
    assert loaded.card == saved.card
    assert loaded.digest == scans.digest
    lines = {line.partition(":")[0] for line in (tmp_path / "again.yaml").read_text().splitlines()}
    assert lines & {"task", "classes", "label_column", "primary_metric"} == set()


def test_units_have_no_label(scans: Manifest) -> None:
    assert scans.units().y.tolist() == [-1] * 24


def test_a_table_may_keep_a_column_of_labels_that_its_card_does_not_name(scans: Manifest, tmp_path: Path) -> None:
    table = scans.table.assign(label=["", *["x"] * 23])
    Manifest(table, scans.card).save(tmp_path / "kept.parquet")
    loaded = Manifest.load(tmp_path / "kept.parquet")
    assert loaded.digest == scans.digest


def test_checks_find_what_concerns_images_and_nothing_of_labels(scans: Manifest) -> None:
    assert [found.code for found in check_manifest(scans, progress=False)] == ["pixels-repeated"]


def test_a_split_is_drawn_over_groups(scans: Manifest) -> None:
    split = resplit(scans, "grouped:50/25/25", {}).table["split"]
    assert split.value_counts().to_dict() == {"train": 12, "val": 6, "test": 6}
    assert (split.groupby(scans.group_ids.to_numpy()).nunique() == 1).all()


def test_a_copy_is_dropped(scans: Manifest) -> None:
    fixed = drop_duplicates(scans, manifest_image_stats(scans, workers=1, show_progress=False)).manifest
    assert (len(fixed), fixed.card.task) == (23, None)


def test_attributes_are_counted_over_all(scans: Manifest) -> None:
    [counts] = attribute_counts(scans)
    assert counts.values is not None
    assert counts.values.to_dict() == {"units": {"f": 12, "m": 12}}


def test_the_page_and_the_picture_show_examples_of_all(scans: Manifest, tmp_path: Path) -> None:
    page = write_manifest_page(scans, tmp_path / "scans.html", per_class=3).read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") + page.count("data:image/png") == 3
    assert "24 images" in page
    assert 'id="classes"' not in page
    assert draw_montage(scans, tmp_path / "scans.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": ["a", "b"]}, "classes: a card with classes needs the field `task`"),
        ({"primary_metric": "roc_auc"}, "primary_metric: a card with a primary metric needs the field `task`"),
        ({"task": "binary"}, 'the key "classes" is missing'),
        ({"task": "multilabel", "classes": []}, 'the key "classes" is missing'),
    ],
)
def test_a_card_has_task_and_classes_or_neither(fields: dict, message: str) -> None:
    refused(lambda: DatasetCard.of("card", name="scans", **fields), message)


@pytest.mark.parametrize("option", [{"task": "binary"}, {"classes": ["a", "b"]}])
def test_builders_refuse_a_task_or_classes_without_labels(scans: Manifest, tmp_path: Path, option: dict) -> None:
    with pytest.raises(ManifestError, match="--task"):
        build_folder(tmp_path / "scans", unlabelled=True, **option)
    with pytest.raises(ManifestError, match="--task"):
        build_csv(tmp_path / "rows.csv", image_column="image", root=tmp_path / "scans", **option)


def test_a_folder_without_images_or_classes_is_refused(tmp_path: Path, draw) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(ManifestError, match="holds no images"):
        build_folder(tmp_path / "none", unlabelled=True)
    draw(tmp_path / "flat" / "1.png", 1)
    with pytest.raises(ManifestError, match="add --unlabelled"):
        build_folder(tmp_path / "flat")


def test_what_needs_labels_says_how_they_are_added() -> None:
    with pytest.raises(ManifestError, match=r"probing needs labels.*--label-column COLUMN --name 'my scans'"):
        DatasetCard(name="my scans").require_task("probing")
    assert DatasetCard(name="x", task="binary", classes=["a", "b"]).require_task("probing") == "binary"


def test_shuffled_rows_draw_the_same_split(scans: Manifest) -> None:
    drawn = resplit(scans, "grouped:50/50", {}).table.set_index("sample_id")["split"]
    order = np.random.default_rng(0).permutation(len(scans))
    again = resplit(Manifest(scans.table.iloc[order], scans.card, scans.path), "grouped:50/50", {}).table
    assert again.set_index("sample_id")["split"].loc[drawn.index].equals(drawn)
