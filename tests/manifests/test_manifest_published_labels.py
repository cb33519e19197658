"""Labels, groups and options of each published data set."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from medprobe.manifests import read_image
from published_trees import (
    CHEST,
    aptos2019,
    cbis_ddsm,
    chexpert,
    ddsm_lists,
    draw,
    ham10000,
    isic2018,
    isic2019,
    mimic_cxr,
    nih_cxr14,
    refused,
)


def test_aptos_grades_are_ordered_and_judged_by_quadratic_kappa(tmp_path: Path) -> None:
    manifest = aptos2019(tmp_path).build()
    assert manifest.card.classes == ["No DR", "Mild", "Moderate", "Severe", "Proliferative DR"]
    assert (manifest.card.task, manifest.card.primary_metric) == ("ordinal", "quadratic_kappa")
    assert manifest.table["label"].tolist() == manifest.card.classes * 2


def test_aptos_tells_every_faulty_grade_with_its_row(tmp_path: Path) -> None:
    tree = aptos2019(tmp_path)
    tree.change("000000000002,2", "000000000002,7")
    tree.change("000000000005,0", "000000000005,mild")
    refused(
        tree.build, 'row 3: column "diagnosis" holds "7"', 'row 6: column "diagnosis" holds "mild"', "one of 0, 1, 2"
    )


def test_a_comma_in_the_name_of_an_image_is_no_trouble(tmp_path: Path) -> None:
    tree = aptos2019(tmp_path)
    tree.change("000000000003", '"0,3"')
    (tmp_path / tree.images[3]).rename(tmp_path / "train_images" / "0,3.png")
    manifest = tree.build()
    assert manifest.table["sample_id"].iloc[3] == "0,3"
    assert read_image(manifest.source(3)).shape == (9, 8, 3)


def test_isic_2019_groups_by_lesion_and_an_image_without_one_is_alone(tmp_path: Path) -> None:
    notices: list[str] = []
    manifest = isic2019(tmp_path).build(notice=notices.append)
    assert manifest.card.classes == ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC"]
    assert manifest.table["label"].tolist()[:4] == ["NV", "NV", "BCC", "AK"]
    groups = manifest.table["group_id"].tolist()
    assert groups[:4] == ["BCN_0000000", "BCN_0000000", "BCN_0000001", "ISIC_0000003"]
    assert manifest.table.iloc[1][["sex", "age", "anatomical_site"]].tolist() == ["female", 5, "anterior torso"]
    assert "1 of 12 images have no lesion_id" in notices[0]


def test_isic_2019_refuses_rows_without_one_class_all_at_once(tmp_path: Path) -> None:
    tree = isic2019(tmp_path)
    zeros = ",".join(["0.0"] * 9)
    nv, bcc, ak = (",".join(str(float(place == chosen)) for place in range(9)) for chosen in (1, 2, 3))
    tree.change(f"ISIC_0000000,{nv}", f"ISIC_0000000,{zeros}")
    tree.change(f"ISIC_0000002,{bcc}", f"ISIC_0000002,{zeros[:-3]}1.0")
    tree.change(f"ISIC_0000003,{ak}", f"ISIC_0000003,1.0{ak[3:]}")
    tree.change("ISIC_0000004,0.0", "ISIC_0000004,nought")
    tree.change("ISIC_0000005", "ISIC_9999999", "ISIC_2019_Training_Metadata.csv")
    refused(
        tree.build,
        "5 errors",
        "row 1: no class is 1",
        "row 3: the label is UNK",
        "row 4: several classes are 1",
        'row 5: column "MEL" holds "nought"',
        "row 6: no row of ISIC_2019_Training_Metadata.csv describes the image",
    )


def test_isic_2019_finds_the_images_where_the_study_had_them(tmp_path: Path) -> None:
    tree = isic2019(tmp_path)
    (tmp_path / "ISIC_2019_Training_Input").rename(tmp_path / "train")
    assert tree.build().source(0).path == tmp_path / "train" / "ISIC_0000000.jpg"


def test_ham10000_and_isic_2018_are_the_same_images_labels_and_lesions(tmp_path: Path) -> None:
    ham, isic = ham10000(tmp_path / "a").build(), isic2018(tmp_path / "b").build()
    assert ham.card.classes == isic.card.classes == ["mel", "nv", "bcc", "akiec", "bkl", "df", "vasc"]
    assert ham.table["group_id"].equals(isic.table["group_id"])
    assert ham.table["sample_id"].equals(isic.table["sample_id"])
    assert isic.table["label"].tolist() == [name for name in isic.card.classes for _ in range(2)]
    assert ham.card.attributes == ["sex", "age", "anatomical_site"]
    assert ham.table["age"].isna().tolist() == [row == 5 for row in range(14)]


def test_ham10000_may_lie_in_one_folder(tmp_path: Path) -> None:
    tree = ham10000(tmp_path)
    (tmp_path / "images").mkdir()
    for image in tree.images:
        shutil.move(tmp_path / image, tmp_path / "images")
    for part in ("1", "2"):
        (tmp_path / f"HAM10000_images_part_{part}").rmdir()
    notices: list[str] = []
    assert tree.build(notice=notices.append).source(13).path.parent == tmp_path / "images"
    assert notices == []


def test_ham10000_names_the_near_class(tmp_path: Path) -> None:
    tree = ham10000(tmp_path)
    tree.change(",bkl,", ",BKL,")
    refused(tree.build, 'row 1: column "dx" holds "BKL"', 'Did you mean "bkl"?')


def _by_study(manifest, label: str) -> dict[str, int]:
    return dict(zip(manifest.units().unit_id, manifest.units().y[:, manifest.card.classes.index(label)], strict=True))


@pytest.mark.parametrize(("uncertain", "unsure"), [("zeros", 0), ("ones", 1), ("ignore", None)])
def test_uncertain_labels_follow_the_policy(tmp_path: Path, uncertain: str, unsure: int | None) -> None:
    manifest = chexpert(tmp_path).build(uncertain=uncertain, valid="none")
    # By the number of the patient modulo three, edema is certain, absent or uncertain.
    by_patient = {study[:12]: value for study, value in _by_study(manifest, "Edema").items()}
    wanted = [0, unsure, 1, 0, unsure, 1]
    assert by_patient == {f"patient{n:05d}": value for n, value in enumerate(wanted, 1) if value is not None}
    assert manifest.card.classes == list(CHEST)


def test_no_finding_is_what_is_left_when_no_label_is_1(tmp_path: Path) -> None:
    tree = chexpert(tmp_path)
    zeros = _by_study(tree.build(valid="none"), "No Finding")
    assert zeros["patient00001/study2"] == 1  # edema 0, nothing else
    assert zeros["patient00001/study1"] == 0  # a fracture
    assert zeros["patient00002/study2"] == 1  # uncertain became 0
    assert _by_study(tree.build(valid="none", uncertain="ones"), "No Finding")["patient00002/study2"] == 0


def test_no_finding_is_uncertain_where_another_label_is(tmp_path: Path) -> None:
    manifest = chexpert(tmp_path).build(valid="none", uncertain="ignore", labels=["No Finding", "Fracture"])
    studies = _by_study(manifest, "No Finding")
    assert "patient00002/study2" not in studies
    assert studies["patient00002/study1"] == 0  # the fracture is certain, so there is a finding
    assert manifest.card.classes == ["No Finding", "Fracture"]


def test_labels_that_were_not_chosen_leave_no_row_out(tmp_path: Path) -> None:
    manifest = chexpert(tmp_path).build(valid="none", uncertain="ignore", labels=["Fracture"])
    assert len(manifest) == 6 * 3
    assert "published_row" not in manifest.table


def test_chexpert_keeps_studies_and_patients_together_and_valid_apart(tmp_path: Path) -> None:
    tree = chexpert(tmp_path)
    manifest = tree.build()
    assert manifest.table["split"].tolist() == ["train"] * 18 + ["val"] * 6
    assert manifest.units().unit_id.tolist()[:2] == ["patient00001/study1", "patient00001/study2"]
    assert manifest.units().group_id.tolist()[-1] == "patient64542"
    assert set(tree.build(valid="test").table["split"]) == {"train", "test"}
    alone = tree.build(valid="none")
    assert "split" not in alone.table
    assert len(alone) == 18
    by_image = tree.build(unit="image")
    assert "unit_id" not in by_image.table
    assert by_image.card.attributes == ["sex", "age", "view", "projection"]


def test_rows_left_out_are_told_and_the_others_say_where_they_stood(tmp_path: Path) -> None:
    notices: list[str] = []
    manifest = chexpert(tmp_path).build(frontal_only=True, valid="none", notice=notices.append)
    assert set(manifest.table["view"]) == {"Frontal"}
    assert manifest.table["published_row"].tolist() == [row for row in range(1, 19) if row % 3 != 2]
    assert notices == ["Skipped 6 images: the view is lateral."]


def test_chexpert_tells_the_faults_of_both_tables(tmp_path: Path) -> None:
    tree = chexpert(tmp_path)
    tree.change("patient00002/study2/view1", "patientX/study2/view1")
    tree.change("Lateral,,", "lateral,,")
    tree.change(",1.0", ",2.0", "valid.csv")
    refused(
        tree.build,
        "train.csv: 2 errors",
        'row 2: column "Frontal/Lateral" holds "lateral"',
        'row 4: column "Path": it must end in patient00001/study1/view1_frontal.jpg or the like',
        'valid.csv, row 3: column "Fracture" holds "2.0"; it must be one of 0, 1, -1',
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"uncertain": "zeroes"}, '--uncertain: unknown word "zeroes"; there are zeros, ones, ignore'),
        ({"labels": ["Oedema"]}, '--label: unknown label "Oedema"'),
        ({"labels": ["Oedema"]}, 'Did you mean "Edema"?'),
        ({"valid": "validation"}, "--valid: unknown word"),
        ({"unit": "patient"}, "--unit: unknown word"),
    ],
)
def test_an_unknown_option_is_refused_with_the_near_ones(tmp_path: Path, options: dict, message: str) -> None:
    tree = chexpert(tmp_path)
    refused(lambda: tree.build(**options), message)


def test_mimic_images_have_the_labels_of_their_study_and_the_published_split(tmp_path: Path) -> None:
    manifest = mimic_cxr(tmp_path).build()
    units = manifest.units()
    assert units.unit_id.tolist() == [str(50414267 + patient) for patient in range(4)]
    assert units.group_id.tolist() == [str(10000032 + patient) for patient in range(4)]
    assert units.split is not None
    assert units.split.tolist() == ["train", "train", "val", "test"]
    assert list(_by_study(manifest, "Edema").values()) == [1, 0, 0, 0]


def test_mimic_tables_may_be_packed_and_the_images_elsewhere(tmp_path: Path) -> None:
    plain = mimic_cxr(tmp_path / "plain")
    packed = mimic_cxr(tmp_path / "packed", ".gz")
    (tmp_path / "packed" / "files").rename(tmp_path / "files")
    assert packed.build(root=tmp_path).digest == plain.build().digest
    assert plain.build(labeller="negbio").digest == plain.build().digest


def test_mimic_leaves_out_what_was_asked_and_studies_without_labels(tmp_path: Path) -> None:
    tree = mimic_cxr(tmp_path)
    labels = tmp_path / "mimic-cxr-2.0.0-chexpert.csv"
    kept = [line for line in labels.read_text().splitlines() if "50414270" not in line]
    labels.write_text("\n".join(kept) + "\n")
    notices: list[str] = []
    manifest = tree.build(frontal_only=True, uncertain="ignore", unit="image", notice=notices.append)
    assert manifest.table["group_id"].tolist() == ["10000032", "10000034"]
    assert set(manifest.table["view"]) == {"PA"}
    assert notices == [
        "Skipped 2 images: their study has no labels.",
        "Skipped 2 images: a chosen label is uncertain.",
        "Skipped 2 images: the view is not AP or PA.",
    ]


def test_mimic_tables_that_disagree_are_refused(tmp_path: Path) -> None:
    tree = mimic_cxr(tmp_path)
    tree.change("10000033,", "10000099,", "mimic-cxr-2.0.0-chexpert.csv")
    splits = tmp_path / "mimic-cxr-2.0.0-split.csv"
    splits.write_text("\n".join(splits.read_text().splitlines()[:-1]) + "\n")
    refused(tree.build, "2 rows (3, 4): mimic-cxr-2.0.0-chexpert.csv has another subject_id for the study_id",
             "row 8: no row of mimic-cxr-2.0.0-split.csv has the image's split")  # fmt: skip


def test_nih_findings_become_columns_and_ages_become_years(tmp_path: Path) -> None:
    manifest = nih_cxr14(tmp_path).build()
    assert len(manifest.card.classes) == 14
    assert manifest.table["Cardiomegaly"].tolist() == [1, 1, 0] * 3
    assert manifest.table["Emphysema"].tolist() == [0, 1, 0] * 3
    assert manifest.table[manifest.card.classes].sum(axis=1).tolist() == [1, 2, 0] * 3
    assert manifest.table["age"].tolist() == [58] * 3 + [1] * 3 + [57] * 3
    assert manifest.table["split"].tolist() == ["train"] * 6 + ["test"] * 3
    assert manifest.table["group_id"].tolist() == ["1"] * 3 + ["2"] * 3 + ["3"] * 3


def test_nih_tells_unknown_findings_and_images_outside_the_lists_together(tmp_path: Path) -> None:
    tree = nih_cxr14(tmp_path)
    tree.change("Cardiomegaly|Emphysema", "Cardiomegaly|Emphysemia")
    tree.change("No Finding", "No Finding|Mass")
    tree.change("00000002_000.png\n", "", "train_val_list.txt")
    tree.change("00000003_000.png", "00000003_000.png\n00000001_000.png", "test_list.txt")
    refused(
        tree.build,
        "4 errors",
        'row 2: column "Finding Labels" holds unknown label "Emphysemia"',
        'row 3: "No Finding" together with another label',
        "row 1: the image is in both train_val_list.txt and test_list.txt",
        "row 4: the image is in neither train_val_list.txt nor test_list.txt",
    )


def test_nih_reads_the_release_of_2020_with_all_images_in_one_folder(tmp_path: Path) -> None:
    tree = nih_cxr14(tmp_path)
    before = tree.build()
    tree.change("Patient Gender", "Patient Sex")
    tree.file.rename(tmp_path / "Data_Entry_2017_v2020.csv")
    for image in tree.images:
        draw(tmp_path / "images" / Path(image).name)
    for part in ("001", "002"):
        shutil.rmtree(tmp_path / f"images_{part}")
    manifest = tree.build()
    assert manifest.digest == before.digest
    assert manifest.table["sex"].tolist() == ["M"] * 9
    assert manifest.source(0).path.parent == tmp_path / "images"


def test_a_mammogram_is_one_row_with_its_worst_pathology(tmp_path: Path) -> None:
    notices: list[str] = []
    manifest = cbis_ddsm(tmp_path).build(notice=notices.append)
    table = manifest.table.set_index("sample_id")
    assert table.loc["P_00002_RIGHT_CC", "label"] == "malignant"
    # Benign among the masses of train, malignant among the calcifications of test.
    assert table.loc["P_00003_LEFT_CC", ["label", "split", "abnormality"]].tolist() == [
        "malignant",
        "test",
        "mass+calc",
    ]
    assert table.loc["P_00001_RIGHT_CC", ["label", "split", "density"]].tolist() == ["benign", "train", "3"]
    assert notices[0].startswith("1 group is in train of one table and in test of another")


def test_cbis_ddsm_may_be_judged_by_breast_or_by_one_kind_of_abnormality(tmp_path: Path) -> None:
    tree = cbis_ddsm(tmp_path)
    tree.change(",MLO,1,mass,OVAL,ROUND,4,MALIGNANT", ",MLO,1,mass,OVAL,ROUND,4,BENIGN")
    units = tree.build(unit="breast").units()
    assert len(units) == 7
    assert units.y[units.unit_id.tolist().index("P_00001_LEFT")] == 1
    masses = tree.build(kinds=["mass"]).table
    assert masses["sample_id"].tolist() == [
        "P_00001_LEFT_CC", "P_00001_LEFT_MLO", "P_00002_RIGHT_CC", "P_00003_LEFT_CC", "P_00010_LEFT_CC"
    ]  # fmt: skip
    assert masses.set_index("sample_id").loc["P_00003_LEFT_CC", ["label", "split"]].tolist() == ["benign", "train"]


def test_cbis_ddsm_takes_converted_images_at_the_published_path(tmp_path: Path) -> None:
    tree = cbis_ddsm(tmp_path)
    shutil.rmtree(tmp_path / "CBIS-DDSM")
    folder = "Mass-Training_P_00001_LEFT_CC/1.3.6.1.4.1.9590.100.1.2.1/1.3.6.1.4.1.9590.100.1.2.0"
    draw(tmp_path / folder / "000000.png")
    draw(tmp_path / folder / "000001.png")
    assert tree.build().source(0).path == tmp_path / folder / "000000.png"


def test_cbis_ddsm_tells_unknown_pathologies_of_all_tables(tmp_path: Path) -> None:
    tree = cbis_ddsm(tmp_path)
    tree.change("BENIGN_WITHOUT_CALLBACK", "BENIGN_WITHOUT_CALL")
    tree.change(",MLO,", ",ML,", "calc_case_description_train_set.csv")
    refused(tree.build, 'row 5: column "pathology" holds "BENIGN_WITHOUT_CALL"',
             'Did you mean "BENIGN_WITHOUT_CALLBACK"', 'row 1: column "image view" holds "ML"')  # fmt: skip


def test_ddsm_lists_give_class_case_and_split_by_file_name(tmp_path: Path) -> None:
    manifest = ddsm_lists(tmp_path).build()
    assert (manifest.card.task, manifest.card.classes) == ("binary", ["normal", "abnormal"])
    assert manifest.table["label"].tolist() == ["normal", "normal", *["abnormal"] * 2, "normal", "abnormal", "normal"]
    assert manifest.table["split"].tolist() == ["train"] * 3 + ["val"] * 2 + ["test"] * 2
    assert manifest.table["group_id"].tolist()[:4] == ["A_0002", "A_0002", "C_0128", "C_0029"]


def test_ddsm_lists_with_other_names_are_refused_by_list_and_line(tmp_path: Path) -> None:
    tree = ddsm_lists(tmp_path)
    tree.change("cancer_05", "tumour_05")
    twice = "normal_01-A_0002_1.LEFT_CC.LJPEG.1.jpg"
    tree.change("benign_01", f"{twice}\nbenign_01", "ddsm_raw_image_lists/val.txt")
    refused(
        tree.build,
        'train.txt, row 3: column "name": it must begin with normal, benign or cancer',
        'val.txt, row 1: the value in column "name" is in another file too',
    )


def test_ddsm_lists_without_cases_say_that_no_patients_are_known(tmp_path: Path) -> None:
    tree = ddsm_lists(tmp_path)
    for split in ("train", "val", "test"):
        names = (tmp_path / "ddsm_raw_image_lists" / f"{split}.txt").read_text().split()
        for name in names:
            plain = name.replace("_1.", "-").replace("-A_", "-").replace("-B_", "-").replace("-C_", "-")
            tree.change(name, plain, f"ddsm_raw_image_lists/{split}.txt")
            (tmp_path / "ddsm_raw" / name).rename(tmp_path / "ddsm_raw" / plain)
    notices: list[str] = []
    assert "group_id" not in tree.build(notice=notices.append).table
    assert "no patients are kept together" in notices[0]


def test_ddsm_lists_keep_no_patients_together_if_one_image_has_no_case(tmp_path: Path) -> None:
    tree = ddsm_lists(tmp_path)
    name = (tmp_path / "ddsm_raw_image_lists" / "train.txt").read_text().split()[0]
    tree.change(name, "Normal_x.jpg", "ddsm_raw_image_lists/train.txt")
    (tmp_path / "ddsm_raw" / name).rename(tmp_path / "ddsm_raw" / "Normal_x.jpg")
    notices: list[str] = []
    built = tree.build(notice=notices.append)
    assert "group_id" not in built.table
    assert built.table["label"].iloc[0] == "normal"
    assert any("no patients are kept together" in notice for notice in notices)


def test_nothing_but_what_the_manifest_needs_is_kept(tmp_path: Path) -> None:
    columns = set(mimic_cxr(tmp_path).build().table.columns) - set(CHEST)
    assert columns == {"sample_id", "path", "unit_id", "group_id", "split", "view"}
