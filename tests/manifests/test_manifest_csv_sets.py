"""Published sets whose tables have several rows, or several files, for an image."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from csv_trees import CSV_TREES, eyepacs, messidor2, pad_ufes20, padchest, rsna_pneumonia, vindr_cxr
from medprobe.base import ManifestError
from medprobe.manifests import Manifest, read_image


@pytest.mark.parametrize("name", CSV_TREES)
def test_a_small_tree_in_the_published_layout_is_built_by_the_command_and_its_images_read(
    tmp_path: Path, name: str, medprobe
) -> None:
    tree = CSV_TREES[name](tmp_path / "published")
    ran = medprobe("manifest", "build", name, tree.src, "--keep-ids", "--out", tmp_path / "m.parquet")
    assert ran.status == 0, ran.err
    manifest = Manifest.load(tmp_path / "m.parquet")
    assert len(manifest) == tree.rows == manifest.table["sample_id"].nunique()
    assert [source.path for source in manifest.sources()] == [tree.src / image for image in tree.images]
    assert {read_image(source).shape for source in manifest.sources()} == {tree.shape}
    assert manifest.card.license
    assert manifest.card.citation


def test_a_radiograph_of_rsna_with_several_boxes_is_one_row_and_nih_names_its_patient(tmp_path: Path) -> None:
    tree = rsna_pneumonia(tmp_path)
    manifest = tree.build()
    assert manifest.table["label"].tolist() == [
        "no pneumonia", "pneumonia", "no pneumonia", "pneumonia", "no pneumonia", "no pneumonia",
    ]  # fmt: skip
    assert manifest.table["group_id"].tolist() == [
        "00000001",
        "00000001",
        "00000002",
        "00000002",
        "00000003",
        "00000003",
    ]
    assert manifest.table["finding"].tolist()[:3] == ["Normal", "Lung Opacity", "No Lung Opacity / Not Normal"]
    (tmp_path / "pneumonia-challenge-dataset-mappings_2018.json").unlink()
    notices: list[str] = []
    assert "group_id" not in tree.build(notice=notices.append).table
    assert notices[0] == (
        "There is no pneumonia-challenge-dataset-mappings_2018.json, which names the patient of each radiograph."
    )


def test_a_mapping_of_rsna_that_is_no_list_of_records_is_refused(tmp_path: Path) -> None:
    tree = rsna_pneumonia(tmp_path)
    mapping = tmp_path / "pneumonia-challenge-dataset-mappings_2018.json"
    for wrong in ("[1, 2", "3", '["a"]', "{}"):
        mapping.write_text(wrong)
        with pytest.raises(ManifestError, match=mapping.name):
            tree.build()


@pytest.mark.parametrize(
    ("agreement", "seen"),
    [
        ("majority", {"a1": {"Cardiomegaly"}, "b2": {"No finding"}}),
        ("any", {"a1": {"Cardiomegaly", "Edema", "Pleural effusion"}, "b2": {"Cardiomegaly"}}),
        ("all", {"a1": set(), "b2": {"No finding"}}),
    ],
)
def test_readers_of_vindr_are_merged_as_many_as_must_agree(tmp_path: Path, agreement: str, seen: dict) -> None:
    manifest = vindr_cxr(tmp_path).build(agreement=agreement)
    table = manifest.table.set_index("sample_id")
    found = {image: {name for name in manifest.card.classes if table.loc[image, name]} for image in table.index}
    assert found == {
        **seen,
        "c3": {"Other disease"},
        "d4": {"No finding"},
        "e5": {"Cardiomegaly"},
        "f6": {"No finding"},
    }
    assert table["split"].tolist() == ["train"] * 4 + ["test"] * 2


def test_vindr_without_its_test_table_has_no_split(tmp_path: Path) -> None:
    tree = vindr_cxr(tmp_path)
    (tmp_path / "annotations/image_labels_test.csv").unlink()
    assert "split" not in tree.build().table


def test_padchest_reads_lists_and_skips_rows_that_say_nothing(tmp_path: Path) -> None:
    notices: list[str] = []
    tree = padchest(tmp_path)
    manifest = tree.build(notice=notices.append)
    table = manifest.table
    assert table["group_id"].tolist() == ["P1", "P1", "P2", "P3", "P5"]
    labels = {name: table[name].tolist() for name in ("cardiomegaly", "pleural effusion", "double J stent", "NSG tube")}
    assert labels == {
        "cardiomegaly": [1, 1, 0, 0, 0],
        "pleural effusion": [1, 1, 0, 0, 0],
        "double J stent": [0, 0, 0, 1, 0],
        "NSG tube": [0, 0, 0, 0, 1],
    }
    assert table[manifest.card.classes].iloc[2].sum() == 0
    assert [int(notice.split()[1]) for notice in notices if notice.startswith("Skipped")] == [1, 1, 1, 1, 1, 1]
    assert "1 label is no class: a label of a later release" in notices[0]
    assert table["published_row"].tolist() == [1, 2, 3, 6, 9]
    assert table["unit_id"].nunique() == 4
    assert tree.build(unit="image").card.attributes == ["sex", "labelled_by", "projection"]


def test_padchest_by_study_keeps_only_what_physicians_labelled_of_frontal_views(tmp_path: Path) -> None:
    tree = padchest(tmp_path)
    manifest = tree.build(physician_only=True, frontal_only=True, labels=["cardiomegaly"])
    assert manifest.table["unit_id"].tolist() == ["P1/S1", "P5/S8"]
    assert manifest.table["cardiomegaly"].tolist() == [1, 0]


def test_padchest_may_lie_in_one_folder(tmp_path: Path) -> None:
    tree = padchest(tmp_path)
    (tmp_path / "images-224").mkdir()
    for image in tree.images:
        (tmp_path / image).rename(tmp_path / "images-224" / Path(image).name)
    assert {Path(path).parent.name for path in tree.build().table["path"]} == {"images-224"}


def test_both_eyes_of_eyepacs_are_one_patient_and_each_has_its_grade(tmp_path: Path) -> None:
    tree = eyepacs(tmp_path)
    table = tree.build().table
    assert table["group_id"].tolist() == ["10", "10", "13", "13", "1", "1", "2", "2"]
    assert table["eye"].tolist() == ["left", "right"] * 4
    assert table["label"].tolist()[:4] == ["No DR", "Mild", "Moderate", "Severe"]
    assert table["split"].tolist() == ["train"] * 4 + ["test"] * 4
    (tmp_path / "retinopathy_solution.csv").unlink()
    assert tree.build().table.columns.tolist() == ["sample_id", "path", "label", "group_id", "eye"]
    tree.change("10_left", "10_middle")
    with pytest.raises(ManifestError, match="row 1"):
        tree.build()


def test_ungradable_photographs_of_messidor_are_skipped_and_pairs_are_groups(tmp_path: Path) -> None:
    notices: list[str] = []
    tree = messidor2(tmp_path)
    manifest = tree.build(notice=notices.append)
    table = manifest.table
    assert table["label"].tolist() == ["No DR", "Mild", "Moderate", "Severe", "Proliferative DR", "No DR"]
    assert manifest.card.task == "ordinal"
    groups = table["group_id"]
    assert groups[0] == groups[1]
    assert groups[3] == groups[4]
    assert groups.nunique() == 4
    assert notices[0] == "Skipped 1 image: they are not gradable."
    (tmp_path / "messidor-2.csv").unlink()
    assert "group_id" not in tree.build().table


def test_a_gradable_photograph_without_a_grade_is_skipped_with_another_reason(tmp_path: Path) -> None:
    tree = messidor2(tmp_path)
    tree.change("IM000004.jpg,4.0", "IM000004.jpg,")
    tree.change("PP.png,0.0", "PP.png,7")
    with pytest.raises(ManifestError, match='row 1: column "adjudicated_dr_grade" holds "7"'):
        tree.build()
    tree.change("PP.png,7", "PP.png,0.0")
    assert len(tree.build()) == 5


def test_a_patient_of_pad_ufes_has_several_lesions_and_a_lesion_several_photographs(tmp_path: Path) -> None:
    tree = pad_ufes20(tmp_path)
    by_image, by_lesion = tree.build(), tree.build(unit="lesion")
    assert by_image.table["group_id"].nunique() == 3
    assert "unit_id" not in by_image.table
    assert by_lesion.table["unit_id"].tolist()[1:4] == ["PAT_46_881", "PAT_46_881", "PAT_46_882"]
    assert by_lesion.units().unit_id.shape == (5,)
    assert pd.isna(by_image.table["sex"].iloc[0])
    assert by_image.table["age"].tolist() == [8, 55, 55, 55, 55, 55]
