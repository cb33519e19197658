from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from medprobe.base import ManifestError
from medprobe.manifests import Manifest, build_csv, build_folder, build_npz, read_image
from medprobe.manifests.summary.counts import class_counts
from PIL import Image
from published_trees import refused


def test_class_folders_under_splits_give_every_image_its_class_and_split(class_folders: Path) -> None:
    manifest = build_folder(class_folders)
    counts = class_counts(manifest)
    assert counts.loc["cat"].to_dict() == {"train": 12, "test": 10, "total": 22}
    assert manifest.card.task == "binary"
    assert manifest.card.classes == ["cat", "dog"]
    row = manifest.table.set_index("sample_id").loc["train/cat/03.png"]
    assert (row["path"], row["label"], row["split"]) == ("train/cat/03.png", "cat", "train")
    assert read_image(manifest.source(0)).shape == (12, 10)


def test_class_folders_without_splits_give_no_split_column(class_folders: Path) -> None:
    manifest = build_folder(class_folders / "train")
    assert "split" not in manifest.table
    assert manifest.name == "train"
    assert class_counts(manifest).to_dict("list") == {"all": [12, 11]}


def test_other_spellings_of_splits_are_understood(tmp_path: Path, draw) -> None:
    for split in ("Training", "valid", "TESTING"):
        for name in "ab":
            draw(tmp_path / split / name / "1.png", 0)
    assert set(build_folder(tmp_path).table["split"]) == {"train", "val", "test"}


def test_what_is_left_out_is_told(class_folders: Path, draw) -> None:
    cat = class_folders / "train" / "cat"
    (cat / "Thumbs.db").write_bytes(b"\x01")
    (cat / "notes.txt").write_text("x")
    (cat / ".hidden.png").write_bytes(b"x")
    (cat / "loop").symlink_to(class_folders)
    (cat / "broken.jpg").write_text("no image, but the checks shall say so")
    draw(cat / "without_suffix", 99)
    draw(cat / "patient7" / "1.png", 98)
    draw(class_folders / "train" / "loose.png", 97)
    (class_folders / "train" / "mouse").mkdir()
    notices: list[str] = []
    manifest = build_folder(class_folders, notice=notices.append)
    expected = "\n".join(notices)
    for words in ("2 files that are not images: 1 .db, 1 .txt", "1 image outside the class folders", "mouse/ holds no",
                  "1 link to folders", "1 image in folders inside the class folders"):  # fmt: skip
        assert words in expected
    assert class_counts(manifest).loc["cat", "train"] == 12 + 3
    assert manifest.card.classes == ["cat", "dog"]


def test_numbered_classes_are_ordered_by_value_and_may_be_ordinal(tmp_path: Path, draw) -> None:
    for grade in ("10", "9", "2"):
        draw(tmp_path / grade / "1.png", 0)
    assert build_folder(tmp_path).card.classes == ["2", "9", "10"]
    ordinal = build_folder(tmp_path, task="ordinal", classes=["10", "9", "2"])
    assert (ordinal.card.task, ordinal.card.classes) == ("ordinal", ["10", "9", "2"])


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([], "no class folders in src"),
        (["a.png"], "no class folders in src"),
        (["train/a/1.png", "glioma/1.png"], "are mixed with others"),
        (["train/1.png"], "no class folders in train"),
    ],
)
def test_a_folder_of_another_layout_is_refused_with_the_right_one(tmp_path: Path, draw, tree, message: str) -> None:
    for name in tree:
        draw(tmp_path / "src" / name, 0)
    (tmp_path / "src").mkdir(exist_ok=True)
    with pytest.raises(ManifestError, match=message):
        build_folder(tmp_path / "src")


@pytest.fixture
def cohort(tmp_path: Path, draw) -> Path:
    """A table with every trap: a byte order mark, Windows line ends, a comma in a path, blanks, ids with zeros."""
    lines = ["\ufefffile,dx,patient,exam,set,sex,edema,mass"]
    for row in range(12):
        draw(tmp_path / "img" / f"a,{row:02d}.png", row)
        lines.append(
            f'"img/a,{row:02d}.png", {("nv", "mel")[row // 6]} ,00{row // 6},0{row // 3},'
            f"{('Training', 'test')[row // 6]},{'fm'[row // 6]},{row % 2},{row % 3 // 2}"
        )
    (tmp_path / "cohort.csv").write_text("\r\n".join(lines), encoding="utf-8", newline="")
    return tmp_path / "cohort.csv"


def test_a_table_becomes_a_manifest_with_units_groups_and_attributes(cohort: Path) -> None:
    manifest = build_csv(
        cohort,
        image_column="file",
        label_columns=["dx"],
        group_column="patient",
        unit_column="exam",
        split_column="set",
        attributes=["sex"],
    )
    units = manifest.units()
    assert units.group_id.tolist() == ["000", "001"]
    assert units.unit_id.tolist() == ["00", "01", "02", "03"]
    assert units.split is not None
    assert units.split.tolist() == ["train"] * 2 + ["test"] * 2
    assert [manifest.card.classes[code] for code in units.y] == ["nv"] * 2 + ["mel"] * 2
    assert units.attributes["sex"].tolist() == ["f"] * 2 + ["m"] * 2
    assert read_image(manifest.source(11)).shape == (12, 10)


def test_several_label_columns_make_a_multilabel_task(cohort: Path) -> None:
    manifest = build_csv(cohort, image_column="file", label_columns=["edema", "mass"])
    assert manifest.card.task == "multilabel"
    assert manifest.units().y.tolist() == [[row % 2, row % 3 // 2] for row in range(12)]
    assert class_counts(manifest)["all"].to_dict() == {"edema": 6, "mass": 4}


def test_a_parquet_table_gives_the_manifest_that_its_csv_gives(cohort: Path) -> None:
    parquet = cohort.with_suffix(".parquet")
    pd.read_csv(cohort, dtype=str, skipinitialspace=True).to_parquet(parquet)
    options = {"image_column": "file", "label_columns": ["dx"], "group_column": "patient", "split_column": "set"}
    assert build_csv(parquet, **options).digest == build_csv(cohort, **options).digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_column": "File", "group_column": "patients"}, 'no column "patients". Did you mean "patient"?'),
        ({"image_column": "File", "group_column": "patients"}, '"File". Did you mean "file"?'),
        (
            {"root": "img"},
            'none of its 12 images is in the folder "img"; the first one looked for was that of row 1, column "file"',
        ),
        ({"root": "nowhere"}, "does not exist"),
        ({"classes": ["mel"]}, "missing in --classes: nv"),
        (
            {"id_column": "patient"},
            '6 rows (1, 2, 3, ...): the same value in column "patient"; give each row an id of its own',
        ),
        ({"unit_column": "edema"}, '6 rows (1, 3, 5, ...): one unit in column "edema", different groups'),
        ({"label_columns": ["edema", "sex"]}, 'column "sex" holds "f", but a multilabel column holds 0 or 1'),
    ],
)
def test_a_table_that_does_not_fit_is_refused_in_the_words_of_its_owner(cohort, monkeypatch, change, message) -> None:
    monkeypatch.chdir(cohort.parent)
    options = {"image_column": "file", "label_columns": ["dx"], "group_column": "patient"}
    refused(lambda: build_csv(cohort.name, **{**options, **change}), message)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("img,dx\n1.png,a\n2.png,\n3.png,b\n", 'row 2: column "dx" is blank'),
        ("img,dx\n1.png,a\n,b\n", 'row 2: column "img" is blank'),
        ("img,dx\n1.png,0.0\n1.png,1.0\n", 'column "dx" holds decimal numbers (0.0, 1.0)'),
        ("img;dx\n1.png;a\n", "separated by semicolons"),
        ("img,dx\n", "no rows"),
    ],
)
def test_a_faulty_table_is_refused_naming_its_own_row_and_column(tmp_path: Path, draw, rows: str, message: str) -> None:
    draw(tmp_path / "1.png", 0)
    (tmp_path / "t.csv").write_text(rows)
    refused(lambda: build_csv(tmp_path / "t.csv", image_column="img", label_columns=["dx"]), message)


@pytest.mark.parametrize("shape", [(9, 8), (9, 8, 3)], ids=["grey", "rgb"])
def test_an_npz_file_becomes_a_manifest_and_stays_where_it_is(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, *shape), dtype=np.uint8)
    labels = np.array([[2], [0], [1], [2], [0], [1], [0]])
    train = {"train_images": images[:4], "train_labels": labels[:4]}
    np.savez_compressed(tmp_path / "toy.npz", **train, test_images=images[4:], test_labels=labels[4:, 0])
    manifest = Manifest.load(
        build_npz(tmp_path / "toy.npz", classes=["a", "b", "c"]).save(tmp_path / "m" / "t.csv").path
    )
    assert manifest.table["sample_id"].tolist()[3:5] == ["train/0003", "test/0000"]
    assert manifest.table["label"].tolist() == ["c", "a", "b", "c", "a", "b", "a"]
    for row, pixels in enumerate(images):
        np.testing.assert_array_equal(read_image(manifest.source(row)), pixels)
    assert class_counts(manifest).to_numpy().tolist() == [[1, 2, 3], [1, 1, 2], [2, 0, 2]]


def test_npz_labels_of_several_columns_are_multilabel(tmp_path: Path) -> None:
    labels = np.array([[1, 0, 1], [0, 0, 0]], np.uint8)
    np.savez(tmp_path / "t.npz", val_images=np.zeros((2, 4, 4), np.uint8), val_labels=labels)
    manifest = build_npz(tmp_path / "t.npz")
    assert manifest.card.task == "multilabel"
    np.testing.assert_array_equal(manifest.units().y, labels)


def test_an_npz_file_in_another_layout_is_refused_with_all_that_is_wrong(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", train_images=np.zeros((3, 4, 4)), train_labels=np.zeros(2), test_images=np.zeros(3))
    words = "train_images holds float64", "train_labels holds float64", "3 images, train_labels 2", "test_labels is"
    refused(lambda: build_npz(tmp_path / "t.npz"), *words)
    np.savez(tmp_path / "u.npz", train_images=np.zeros((2, 4, 4), np.uint8), train_labels=np.array([[0, 1], [2, 0]]))
    with pytest.raises(ManifestError, match="train_labels, row 2: holds 2, but a label of several is 0 or 1"):
        build_npz(tmp_path / "u.npz")
    (tmp_path / "v.npz").write_bytes((tmp_path / "u.npz").read_bytes()[:200])
    with pytest.raises(ManifestError, match="cut off"):
        build_npz(tmp_path / "v.npz")


def test_builders_leave_what_they_read_as_it_was(class_folders: Path, cohort: Path) -> None:
    before = {path: path.read_bytes() for path in cohort.parent.rglob("*") if path.is_file()}
    build_folder(class_folders)
    build_csv(cohort, image_column="file", label_columns=["dx"])
    assert {path: path.read_bytes() for path in cohort.parent.rglob("*") if path.is_file()} == before


def test_without_out_a_manifest_is_named_after_its_source(class_folders, tmp_path, medprobe, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert medprobe("manifest", "build", "folder", "pets").status == 0
    assert Manifest.load(tmp_path / "pets.parquet").name == "pets"
    again = medprobe("manifest", "build", "folder", "pets")
    assert again.status == 1
    assert "--overwrite" in again.err


def test_absolute_paths_below_the_root_are_kept_from_there(tmp_path: Path) -> None:
    images = [tmp_path / "images" / f"{number}.png" for number in range(4)]
    for path in images:
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)
    table = pd.DataFrame({"file": [*map(str, images[:3]), "images\\3.png"], "dx": list("abab")})
    table.to_csv(tmp_path / "t.csv", index=False)
    manifest = build_csv(tmp_path / "t.csv", image_column="file", label_columns=["dx"])
    assert manifest.table["path"].tolist() == [f"images/{number}.png" for number in range(4)]
    assert manifest.table["sample_id"].tolist() == manifest.table["path"].tolist()


def test_absolute_paths_that_lead_elsewhere_are_refused_with_their_rows(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    table = pd.DataFrame({"file": ["a.png", str(tmp_path / "b.png"), "C:/c.png"], "dx": list("aba")})
    table.to_csv(tmp_path / "below" / "t.csv", index=False)
    with pytest.raises(ManifestError, match=r"2 rows \(2, 3\).*--root"):
        build_csv(tmp_path / "below" / "t.csv", image_column="file", label_columns=["dx"])


def test_a_table_may_name_arrays_of_hdf5_and_zarr(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8), dtype=np.uint8)
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["images"] = pixels
    zarr = pytest.importorskip("zarr")
    zarr.open_group(tmp_path / "s.zarr", mode="w").create_array("images", data=pixels)
    for stack in ("s.h5", "s.zarr"):
        rows = {"id": list("wxyz"), "file": f"{stack}#images", "n": range(4), "dx": list("abab")}
        pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
        columns = {"image_column": "file", "label_columns": ["dx"], "id_column": "id", "frame_column": "n"}
        manifest = build_csv(tmp_path / "t.csv", **columns)
        np.testing.assert_array_equal(read_image(manifest.source(2)), pixels[2])
        without = build_csv(tmp_path / "t.csv", **{**columns, "id_column": None})
        assert without.sample_ids[2] == f"{stack}#images/0002"


def test_ids_made_of_paths_and_frames_are_hidden_where_patients_are_named(tmp_path: Path, medprobe) -> None:
    with h5py.File(tmp_path / "Smith.h5", "w") as file:
        file["images"] = np.zeros((4, 8, 8), np.uint8)
    rows = {"file": "Smith.h5#images", "n": range(4), "dx": list("abab"), "who": list("PQRS")}
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    asked = ("--image-column", "file", "--label-column", "dx", "--frame-column", "n", "--group-column", "who")
    refusal = medprobe("manifest", "build", "csv", tmp_path / "t.csv", *asked, "--out", tmp_path / "m.parquet")
    assert refusal.status == 0, refusal.err
    ids = Manifest.load(tmp_path / "m.parquet").sample_ids
    assert len(set(ids)) == 4
    assert not any("Smith" in name for name in ids)


def test_an_order_of_classes_that_is_only_alphabetical_is_told(tmp_path: Path) -> None:
    page = Image.fromarray(np.zeros((4, 4), np.uint8))
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page, page])
    pd.DataFrame({"file": "a.tif", "n": range(3), "dx": ["low", "medium", "high"]}).to_csv(tmp_path / "t.csv")
    columns = {"image_column": "file", "label_columns": ["dx"], "frame_column": "n", "task": "ordinal"}
    expected: list[str] = []
    build_csv(tmp_path / "t.csv", **columns, notice=expected.append)
    build_csv(tmp_path / "t.csv", **columns, classes=["low", "medium", "high"], notice=expected.append)
    assert len(expected) == 1
    assert "high, low, medium" in expected[0]


def test_class_folders_may_hold_dicom_under_any_name(tmp_path: Path) -> None:
    data = pytest.importorskip("pydicom.data")
    small = (Path(data.__file__).parent / "test_files" / "CT_small.dcm").read_bytes()
    for place in ("a/IM1", "b/IM1.dcm"):
        (tmp_path / place).parent.mkdir()
        (tmp_path / place).write_bytes(small)
    assert build_folder(tmp_path).table["sample_id"].tolist() == ["a/IM1", "b/IM1.dcm"]
