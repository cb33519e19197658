"""Everything that is wrong with a table is reported at once, counted, and in the words of its owner."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from folder_trees import make
from medprobe.manifests import BUILDERS, Manifest, build_csv, build_folder, build_npz
from medprobe.manifests.builders import medmnist_facts
from published_trees import TREES, refused, write


def test_columns_that_are_called_like_others_of_ours_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", ["path,file,dx", "1,a.png,x", "1,b.png,y", "2,,x"])
    (tmp_path / "a.png").write_bytes(b"x")
    message = refused(
        lambda: build_csv(tmp_path / "t.csv", image_column="file", id_column="path", label_columns=["dx"])
    ).splitlines()
    assert message[1].startswith('  2 rows (1, 2): the same value in column "path"')
    assert message[2].startswith('  row 3: column "file" is blank')


def test_as_many_faults_are_counted_when_a_table_is_built_from_as_when_it_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    ids = [f"i{row}" for row in range(1000)] + [f"i{row}" for row in range(300)]
    labels = [""] * 500 + ["x", "y"] * 400
    table = pd.DataFrame({"sample_id": ids, "path": "a.png", "label": labels})
    table.to_csv(tmp_path / "m.csv", index=False)
    (tmp_path / "m.yaml").write_text("name: m\ntask: binary\nclasses: [x, y]\nroot: .\n")
    columns = {"image_column": "path", "id_column": "sample_id", "label_columns": ["label"]}
    built = refused(lambda: build_csv(tmp_path / "m.csv", **columns))
    loaded = refused(lambda: Manifest.load(tmp_path / "m.csv"))
    assert ": 800 errors:" in built
    assert ": 800 errors:" in loaded


def test_faults_of_a_published_table_are_counted_by_row_and_by_repeated_value(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", ["id_code,diagnosis", *(f"a{row % 300},{row % 2 * 9}" for row in range(600))])
    assert ": 600 errors:" in refused(lambda: BUILDERS["aptos2019"].build(tmp_path))


def test_all_that_is_wrong_with_a_table_is_told_at_once(tmp_path: Path) -> None:
    tree = make("csv", tmp_path / "set")
    rows = ["/elsewhere/x.png,a,P8,train", "../y.png,b,P9,trian", "scans/0.png,,P0,trian", "scans/0.png,a,P0,"]
    write(tree.file, [*tree.file.read_text().splitlines(), *rows])
    message = refused(lambda: tree.build(classes=["a", "c"]))
    assert message.startswith(f"{tree.file}: 8 errors:")
    for words in (
        '2 rows (7, 8): column "file" leaves the card\'s root; set `root` to a folder above all images',
        "(--root names it)",
        '2 rows (8, 9): column "set" holds "trian"; write train, val or test',
        'Did you mean "train',
        'row 10: column "set" holds nothing',
        'row 9: column "dx" is blank',
        '3 rows (1, 9, 10): the same value in column "file"',
        "holds classes that are missing in --classes: b.",
    ):
        assert words in message
    assert "elsewhere" not in message


def test_one_class_alone_hides_no_other_fault(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", ["file,dx", "a.png,tumour", "b.png,", "c.png,"])
    message = refused(lambda: build_csv(tmp_path / "t.csv", image_column="file", label_columns=["dx"]))
    assert ": 4 errors:" in message
    for words in ("none of its 3 images", 'only one class, "tumour"', '2 rows (2, 3): column "dx" is blank'):
        assert words in message


def test_words_of_a_split_are_told_beside_the_other_faults_of_every_table(tmp_path: Path) -> None:
    tree = TREES["mimic-cxr"](tmp_path / "mimic")
    tree.change("validate", "hold-out", "mimic-cxr-2.0.0-split.csv")
    tree.blank(1, "study_id")
    message = refused(tree.build)
    assert 'mimic-cxr-2.0.0-split.csv, row 5: column "split" holds "hold-out"' in message
    assert 'mimic-cxr-2.0.0-metadata.csv, row 1: column "study_id" is blank' in message
    dicom = make("dicom", tmp_path / "dicom")
    head, *rows = dicom.file.read_text().splitlines()
    write(dicom.file, [f"{head},set", f"{rows[0]},tset", *(f"{row},train" for row in rows[1:])])
    dicom.blank(2, "finding")
    message = refused(lambda: dicom.build(split_column="set"))
    assert 'row 1: column "set" holds "tset"' in message
    assert 'row 2: column "finding" is blank' in message


def test_all_lists_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    tree = TREES["nih-cxr14"](tmp_path / "nih")
    for name in ("train_val_list.txt", "test_list.txt"):
        (tree.src / name).write_bytes(b"\xff\xfe\0")
    message = refused(tree.build)
    assert message.count("cannot be read as a list of names") == 2


def test_wrong_labels_of_arrays_are_told_for_all_rows_and_splits(tmp_path: Path) -> None:
    images = np.zeros((4, 6, 6), np.uint8)
    labels = {"train_labels": np.array([0, -1, 1, -7]), "test_labels": np.array([0, 1, -2, 1])}
    np.savez(tmp_path / "t.npz", train_images=images, test_images=images, **labels)
    message = refused(lambda: build_npz(tmp_path / "t.npz"))
    assert ": 3 errors:" in message
    assert "train_labels, 2 rows (2, 4): holds -7, -1, but a class is 0 or more" in message
    assert "test_labels, row 3: holds -2" in message


def test_shapes_that_do_not_go_together_are_told_beside_the_others(tmp_path: Path) -> None:
    images = np.zeros((2, 6, 6), np.uint8)
    labels = {"train_labels": np.array([0, 1]), "test_labels": np.array([[0, 1], [1, 0]])}
    np.savez(tmp_path / "t.npz", train_images=images.astype(float), test_images=images, **labels)
    message = refused(lambda: build_npz(tmp_path / "t.npz"))
    assert "train_images holds float64" in message
    assert "labels per sample differ between the splits: train_labels 1, test_labels 2" in message


def test_labels_without_a_column_are_one_fault_and_a_linked_file_is_found(tmp_path: Path) -> None:
    file = _set(tmp_path / "x", "t.npz", {"train": 4, "test": 4}, labels=0)
    assert "train_labels has shape (4, 0)" in refused(lambda: build_npz(file))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "linked.npz").symlink_to(_set(tmp_path / "x", "u.npz", {"train": 4, "test": 4}))
    built = build_npz(tmp_path / "a" / "linked.npz")
    assert built.root == tmp_path
    assert built.table["path"].iloc[0] == "a/linked.npz#train_images"


def _set(file: Path, name: str, splits: dict[str, int], labels: int = 1) -> Path:
    arrays = {}
    for split, count in splits.items():
        arrays[f"{split}_images"] = np.zeros((count, 2, 2), np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count * labels).reshape(count, labels) % 2).astype(np.uint8)
    np.savez(file.with_name(name), **arrays)
    return file.with_name(name)


@pytest.mark.parametrize("name", ["retinamnist.npz", "RetinaMNIST_64.npz"])
def test_arrays_of_a_published_set_have_its_classes_and_task(tmp_path: Path, name: str) -> None:
    notices: list[str] = []
    file = _set(tmp_path / "x", name, {"train": 1080, "val": 120, "test": 400})
    card = build_npz(file, notice=notices.append).card
    facts = medmnist_facts.all_sets()["retinamnist"]
    assert (card.classes, card.task) == (facts.classes, "ordinal")
    assert "RetinaMNIST" in notices[0]
    assert "0, 1, 2, 3, 4" in notices[0]
    assert "ordinal" in notices[0]
    given = build_npz(file, classes=list("abcde"), task="multiclass", notice=notices.append).card
    assert (given.classes, given.task) == (list("abcde"), "multiclass")
    assert build_npz(file, classes=list("abcdef")).card.task == "multiclass"


def test_arrays_of_a_published_set_with_several_labels_have_their_names(tmp_path: Path) -> None:
    file = _set(tmp_path / "x", "chestmnist_128.npz", {"val": 11219}, labels=14)
    card = build_npz(file).card
    assert (card.classes, card.task) == (medmnist_facts.all_sets()["chestmnist"].classes, "multilabel")


@pytest.mark.parametrize(
    ("name", "splits", "labels"),
    [
        ("breast.npz", {"train": 546, "val": 78, "test": 156}, 1),
        ("breastmnist.npz", {"train": 546, "val": 78, "test": 156}, 2),
    ],
    ids=["another name", "several labels"],
)
def test_other_arrays_are_not_taken_for_a_published_set(
    tmp_path: Path, name: str, splits: dict[str, int], labels: int
) -> None:
    notices: list[str] = []
    assert build_npz(_set(tmp_path / "x", name, splits, labels), notice=notices.append).card.classes == ["0", "1"]
    assert notices == []


@pytest.mark.realdata
def test_pneumoniamnist_as_an_npz_file_has_its_classes_named(realdata: Path) -> None:
    notices: list[str] = []
    manifest = build_npz(realdata / "pneumoniamnist.npz", notice=notices.append)
    assert (manifest.card.classes, manifest.card.task) == (["normal", "pneumonia"], "binary")
    assert "PneumoniaMNIST" in notices[0]


def test_patients_that_lack_a_sequence_are_counted_one_by_one(tmp_path: Path) -> None:
    tree = make("glioma-mri", tmp_path / "set")
    for number in (0, 2):
        (tree.src / tree.images[number]).unlink()
    assert ", 2 rows (1, 3) of grades.csv: no file of t2" in refused(tree.build)
    (tree.src / "P2" / "b_t2.nii").write_bytes((tree.src / tree.images[1]).read_bytes())
    assert ": 3 errors:" in refused(tree.build)


def _table_of_ages(folder: Path, draw, ages: list[str]) -> Path:
    rows = [f"{draw(folder / f'{row}.png', row).name},{age},p{row}" for row, age in enumerate(ages)]
    write(folder / "t.csv", ["file,age,who", *rows])
    return folder / "t.csv"


@pytest.mark.parametrize("form", ["{}", "-{}", "{}.0", "{}.5"])
def test_many_numbers_as_labels_are_refused_unless_a_task_is_named(form: str, tmp_path: Path, draw) -> None:
    table = _table_of_ages(tmp_path, draw, [form.format(20 + age) for age in range(21)])
    options = {"image_column": "file", "label_columns": ["age"], "group_column": "who"}
    message = refused(lambda: build_csv(table, **options))
    assert "has 21 different numbers as labels" in message
    assert "Is a score or a measurement meant" in message
    assert "binary, multiclass, ordinal and multilabel" in message
    assert "--task multiclass" in message
    if "." not in form:
        assert build_csv(table, **options, task="ordinal").card.task == "ordinal"
        few = _table_of_ages(tmp_path, draw, [form.format(age % 20) for age in range(40)])
        assert len(build_csv(few, **options).card.classes) == 20


def test_class_folders_named_by_many_numbers_may_be_patients_and_are_refused_too(tmp_path: Path, draw) -> None:
    for number in range(21):
        draw(tmp_path / "set" / f"{number:03d}" / "1.png", number)
    assert ": has 21 different numbers as labels" in refused(lambda: build_folder(tmp_path / "set"))
    assert len(build_folder(tmp_path / "set", task="multiclass").card.classes) == 21


def test_a_column_that_is_label_and_group_is_refused(tmp_path: Path, draw) -> None:
    table = _table_of_ages(tmp_path, draw, ["1", "2", "1", "2"])
    message = refused(lambda: build_csv(table, image_column="file", label_columns=["age"], group_column="age"))
    assert 'column "age" is the label and the group too' in message
