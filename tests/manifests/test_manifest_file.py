from __future__ import annotations

import pickle
import shutil
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from medprobe.base import ManifestError, OutputError
from medprobe.manifests import DatasetCard, Manifest, Source
from medprobe.manifests.manifest import refuse_existing
from medprobe.manifests.validation.diagnostics import leaves_root
from published_trees import refused

_CARD = DatasetCard(name="toy", task="multiclass", classes=["a", "b", "1"])
_ROWS = {"sample_id": ["s1", "s2", "s3"], "path": ["1.png", "2.png", "3.png"], "label": ["a", "b", "1"]}


def _toy(card: DatasetCard = _CARD, **columns: object) -> Manifest:
    return Manifest(pd.DataFrame({**_ROWS, **columns}), card)


def _write(folder: Path, table: str, **card: object) -> Path:
    (folder / "toy.csv").write_text(table, encoding="utf-8", newline="")
    (folder / "toy.yaml").write_text(yaml.safe_dump({**_CARD.model_dump(), **card}), encoding="utf-8")
    return folder / "toy.csv"


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("line", ["sep={}\r\n", "sep={}\n", '"sep={}"\r\n', "SEP={}\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_line_in_which_excel_declares_the_separator_is_read(tmp_path, start, line, separator) -> None:
    declared = start + line.format(separator)
    table = "sample_id,path,label\ns1,1.png,a\ns2,2.png,b\n".replace(",", separator)
    loaded = Manifest.load(_write(tmp_path, declared + table))
    assert loaded.table["label"].tolist() == ["a", "b"]
    longer = _write(tmp_path, f"{declared}{table}s3{separator}3.png{separator}a{separator}a\n")
    with pytest.raises(ManifestError, match="row 3 has 4 fields, the header 3"):
        Manifest.load(longer)


# Any text but lone surrogates, which no file can hold, and blanks alone, which are no id.
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12).filter(
    lambda text: text.strip() != ""
)
_NAME = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=12).filter(
    lambda text: text.strip() != ""
)


@given(
    ids=st.lists(_TEXT, min_size=1, max_size=8, unique=True),
    classes=st.lists(_NAME, min_size=2, max_size=4, unique=True),
    paths=_TEXT.filter(lambda path: not leaves_root(path)),
    frames=st.booleans(),
    suffix=st.sampled_from([".csv", ".parquet"]),
    data=st.data(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_saved_is_loaded_whatever_the_format_and_the_text(
    tmp_path: Path, ids, classes, paths, frames, suffix, data
) -> None:
    labels = data.draw(st.lists(st.sampled_from(classes), min_size=len(ids), max_size=len(ids)))
    table = pd.DataFrame({"sample_id": ids, "path": paths, "label": labels, "group_id": labels})
    if frames:
        table["frame"] = [None, *range(1, len(ids))]
    written = Manifest(table, DatasetCard(name="toy", task="multiclass", classes=classes))
    loaded = Manifest.load(written.save(tmp_path / f"toy{suffix}").path)
    assert loaded.table.astype(object).where(loaded.table.notna(), None).to_dict("list") == {
        name: [None if pd.isna(cell) else cell for cell in column] for name, column in table.to_dict("list").items()
    }
    assert loaded.digest == written.digest
    assert loaded.card.classes == classes


def test_text_that_looks_like_something_else_stays_text(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        "sample_id,path,label,group_id,unit_id\n001,a.png,NA,1e5,007\n002,b.png,None,nan,true\n003,c.png,1,1.0,2020-01-01\n",
        classes=["NA", "None", "1"],
    )
    table = Manifest.load(path).table
    assert table["sample_id"].tolist() == ["001", "002", "003"]
    assert table["label"].tolist() == ["NA", "None", "1"]
    assert table["group_id"].tolist() == ["1e5", "nan", "1.0"]
    assert table["unit_id"].tolist() == ["007", "true", "2020-01-01"]


def test_whole_numbers_in_a_parquet_file_are_labels_and_ids(tmp_path: Path) -> None:
    table = pd.DataFrame({"sample_id": [7, 8], "path": ["a", "b"], "label": [0, 1]})
    table.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.yaml").write_text("name: t\ntask: binary\nclasses: [0, 1]\n")
    manifest = Manifest.load(tmp_path / "t.parquet")
    assert manifest.sample_ids.tolist() == ["7", "8"]
    assert manifest.units().y.tolist() == [0, 1]


def test_a_byte_order_mark_windows_line_ends_and_quoted_commas_do_no_harm(tmp_path: Path) -> None:
    path = _write(tmp_path, '\ufeffsample_id,path,label\r\ns1,"a,b.png",a\r\ns2,"c ""d"".png",b\r\n')
    assert Manifest.load(path).table["path"].tolist() == ["a,b.png", 'c "d".png']


_FAULTS = [
    ({"sample_id": ["s1", "s1", "s3"]}, '2 rows (1, 2): the same value in column "sample_id"'),
    ({"sample_id": ["s1", None, "s3"]}, 'row 2: column "sample_id" is blank'),
    ({"sample_id": ["s1", "  ", "s3"]}, 'column "sample_id" is blank'),
    ({"path": ["1", "", "3"]}, 'row 2: column "path" is blank'),
    ({"label": ["a", None, "b"]}, 'column "label" is blank'),
    ({"label": ["a", "A", "b"]}, 'row 2: column "label" holds "A"'),
    ({"label": ["a", "A", "b"]}, 'Did you mean "a"? Classes are case-sensitive'),
    ({"label": ["a", "1.0", "b"]}, 'written as a decimal number; write "1"'),
    ({"split": ["train", "Train", "test"]}, 'column "split" holds "Train"; write train, val or test. Did you mean'),
    ({"split": ["train", None, "test"]}, 'column "split" holds nothing'),
    ({"frame": [0, -1, 2]}, 'column "frame" must hold a whole number'),
    ({"frame": [0, 0.5, 2]}, 'column "frame" must hold a whole number'),
    ({"group_id": ["p", "p", ""]}, 'column "group_id" is blank'),
    ({"unit_id": ["u", "u", "v"]}, '2 rows (1, 2): one unit in column "unit_id", different labels (a, b)'),
]


@pytest.mark.parametrize(("columns", "message"), _FAULTS, ids=[message for _, message in _FAULTS])
def test_a_faulty_table_is_refused_naming_row_and_column(tmp_path: Path, columns: dict, message: str) -> None:
    path = _write(tmp_path, pd.DataFrame({**_ROWS, **columns}).to_csv(index=False))
    refusal = refused(lambda: Manifest.load(path), message)
    assert refusal.startswith(f"{path}, ")


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    path = _write(tmp_path, "sample_id,path,label\ns1,a,x\ns1,,a\n,b,\n")
    refused(lambda: Manifest.load(path), "blank", "the same value", 'holds "x"', 'column "path"', "5 errors")


def test_faults_that_are_too_many_to_be_told_one_by_one_are_counted(tmp_path: Path) -> None:
    rows = "".join(f"s{row % 300},{row},a\n" for row in range(600))
    refusal = refused(lambda: Manifest.load(_write(tmp_path, f"sample_id,path,label\n{rows}")))
    first, *_, last = refusal.splitlines()
    assert first.endswith(": 300 errors:")
    assert last == "  and 290 more"


def test_a_faulty_manifest_is_never_saved(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="the same value"):
        _toy(sample_id=["s", "s", "t"]).save(tmp_path / "toy.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("toy.csv", b"", "Empty CSV file"),
        ("toy.csv", b"sample_id,path\nx,y\n", '"label" is missing'),
        ("toy.csv", b"sample_id,path,labels\nx,y,a\n", 'Did you mean "labels"'),
        ("toy.csv", b"sample_id,path,label,label\nx,y,a,a\n", "two columns are named label"),
        ("toy.csv", b"sample_id,path,label\nx,a,b.png,a\n", "row 1 has 4 fields, the header 3"),
        ("toy.csv", "sample_id,path,label\nx,é.png,a\n".encode("latin-1"), "not UTF-8"),
        ("toy.csv", b"sample_id,path,label\n", "the table has no rows"),
        ("toy.parquet", b"PAR1 is not enough", "cut off or of another format"),
    ],
)
def test_a_damaged_table_is_refused_with_what_to_do(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    _write(tmp_path, "")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError, match=message):
        Manifest.load(tmp_path / name)


def test_a_missing_table_or_card_is_named(tmp_path: Path) -> None:
    path = _write(tmp_path, "sample_id,path,label\nx,y,a\n")
    with pytest.raises(ManifestError, match=r"does not exist. Did you mean \"toy.csv\""):
        Manifest.load(tmp_path / "toys.csv")
    with pytest.raises(ManifestError, match="Name the table, not its card"):
        Manifest.load(tmp_path / "toy.yaml")
    (tmp_path / "toy.yaml").unlink()
    with pytest.raises(ManifestError, match="there is no such file"):
        Manifest.load(path)


def test_the_root_is_relative_to_the_card_so_that_the_whole_folder_can_move(tmp_path: Path) -> None:
    images = tmp_path / "study" / "images"
    images.mkdir(parents=True)
    card = _CARD.model_copy(update={"root": str(images)})
    saved = _toy(card).save(tmp_path / "study" / "tables" / "toy.csv")
    assert saved.card.root == "../images"
    assert str(tmp_path) not in (tmp_path / "study" / "tables" / "toy.yaml").read_text()
    (tmp_path / "study").rename(tmp_path / "moved")
    moved = Manifest.load(tmp_path / "moved" / "tables" / "toy.csv")
    assert moved.source(0) == Source(tmp_path / "moved" / "images" / "1.png")


def test_sources_are_absolute_picklable_and_know_frames_and_arrays(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    manifest = _toy(path=["a.png", "sub/b.NPZ#train_images", "c#d.png"], frame=[None, 4, None])
    sources = manifest.sources()
    assert list(sources) == [
        Source(tmp_path / "a.png"),
        Source(tmp_path / "sub/b.NPZ", 4, "train_images"),
        Source(tmp_path / "c#d.png"),
    ]
    assert list(pickle.loads(pickle.dumps(sources))) == list(sources)
    assert sources[1:] == list(sources)[1:]
    assert manifest.source(1) == sources[1]


def test_saving_refuses_to_overwrite_when_told_so(tmp_path: Path) -> None:
    saved = _toy().save(tmp_path / "toy.csv")
    with pytest.raises(OutputError, match="--overwrite"):
        saved.save(tmp_path / "toy.csv", overwrite=False)
    (tmp_path / "toy.csv").unlink()
    with pytest.raises(OutputError, match=r"toy\.yaml"):
        saved.save(tmp_path / "toy.csv", overwrite=False)


_CHANGES = [
    {"label": ["b", "b", "1"]},
    {"sample_id": ["s1", "s2", "s4"]},
    {"split": ["train", "train", "test"]},
    {"group_id": ["p", "p", "q"]},
    {"unit_id": ["u1", "u2", "u3"]},
    {"modality": ["t1", "t1", "t2"]},
    {"frame": [0, 1, 1]},
    {"path": ["a.npz#images", "b.png", "c.png"]},
]


@given(st.permutations(range(3)))
@settings(max_examples=6)
def test_the_digest_does_not_depend_on_the_order_of_rows(order: list[int]) -> None:
    table = _toy(split=["train", "val", "test"]).table
    assert Manifest(table.iloc[order], _CARD).digest == Manifest(table, _CARD).digest


@pytest.mark.parametrize("change", _CHANGES, ids=lambda change: next(iter(change)))
def test_the_digest_changes_with_anything_a_probe_sees(change: dict) -> None:
    assert _toy(**change).digest != _toy().digest


def test_the_digest_does_not_depend_on_paths_or_attributes() -> None:
    card = _CARD.model_copy(update={"attributes": ["sex"]})
    assert _toy(card, path=["x", "y", "z"], sex=["f", "m", "f"]).digest == _toy().digest


def test_multilabel_columns_may_be_numbers_booleans_or_their_text() -> None:
    card = DatasetCard(name="toy", task="multilabel", classes=["x", "y", "z"])
    manifest = _toy(card, x=[1, 0, 1], y=[True, False, False], z=["1", "0", "1.0"])
    assert manifest.units().y.tolist() == [[1, 1, 1], [0, 0, 0], [1, 0, 1]]
    assert manifest.units().y.dtype == np.int8
    with pytest.raises(ManifestError, match='column "x" holds "-1"'):
        _toy(card, x=[1, 0, -1], y=0, z=0).units()
    with pytest.raises(ManifestError, match='column "x" is blank'):
        _toy(card, x=[1, 0, None], y=0, z=0).units()


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize("change", ["both", "table", "card", "new"])
def test_a_killed_save_leaves_the_older_manifest_or_the_new_one(
    tmp_path: Path, suffix: str, change: str, killed_at_each_step
) -> None:
    path = tmp_path / "m" / f"toy{suffix}"
    old = _toy()
    new = _toy(
        card=_CARD if change == "table" else _CARD.model_copy(update={"classes": ["1", "b", "a"], "license": "CC0"}),
        **({} if change == "card" else {"label": ["b", "b", "a"]}),
    )

    def prepare() -> None:
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir()
        if change != "new":
            old.save(path)

    new.save(path)
    whole = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    outcomes = set()
    for step in killed_at_each_step(path.parent, prepare, lambda: new.save(path)):
        copy = shutil.copytree(path.parent, tmp_path / f"seen {step}")
        try:
            refuse_existing(copy / path.name)
        except OutputError:
            loaded = Manifest.load(copy / path.name)
            outcomes.add(loaded.digest)
            assert (loaded.digest, loaded.card.license) in {(one.digest, one.card.license) for one in (old, new)}
        else:
            assert change == "new"
        new.save(path)  # the same command again
        assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == whole
    assert new.digest in outcomes


def test_a_save_that_another_process_completes_by_loading_it_succeeds(tmp_path: Path, monkeypatch) -> None:
    save, path = DatasetCard.save, tmp_path / "toy.csv"

    def then_load(card: DatasetCard, file: Path) -> None:
        save(card, file)
        Manifest.load(path)

    monkeypatch.setattr(DatasetCard, "save", then_load)
    assert Manifest.load(_toy().save(path).path).digest == _toy().digest


def test_a_save_that_fails_after_one_that_was_killed_leaves_what_that_one_saved(tmp_path: Path, monkeypatch) -> None:
    path, killed = tmp_path / "toy.csv", _toy(label=["b", "b", "a"])
    _toy(card=_CARD.model_copy(update={"license": "CC0"})).save(path)
    older = path.read_bytes()
    killed.save(path)
    card = blake2b(path.with_suffix(".yaml").read_bytes(), digest_size=6).hexdigest()
    path.rename(tmp_path / f".toy.medprobe-{card}.next.csv")
    path.write_bytes(older)

    def refuse(card: DatasetCard, file: Path) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr(DatasetCard, "save", refuse)
    with pytest.raises(OutputError):
        _toy(label=["a", "b", "b"], card=_CARD.model_copy(update={"license": "MIT"})).save(path)
    assert Manifest.load(path).digest == killed.digest


def test_a_save_that_was_killed_is_read_in_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch) -> None:
    new = _toy(label=["b", "b", "a"])
    _toy(card=_CARD.model_copy(update={"license": "CC0"})).save(tmp_path / "toy.parquet")
    replace, calls = Path.replace, []

    def refused(path: Path, target: Path) -> Path:
        if ".next." in path.name and "tmp" not in path.name:
            calls.append(path)
            raise PermissionError(13, "Permission denied")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(OutputError):
        new.save(tmp_path / "toy.parquet")
    assert Manifest.load(tmp_path / "toy.parquet").digest == new.digest
    monkeypatch.undo()
    assert Manifest.load(tmp_path / "toy.parquet").digest == new.digest
    assert sorted(file.name for file in tmp_path.iterdir()) == ["toy.parquet", "toy.yaml"]


def test_a_flipped_byte_among_the_values_of_a_parquet_table_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "toy.parquet"
    many = 400
    table = pd.DataFrame({"sample_id": [f"s{i}" for i in range(many)], "path": "1.png", "label": ["a", "b"] * 200})
    table["value"] = np.random.default_rng(0).random(many)
    Manifest(table, _CARD).save(path)
    whole = path.read_bytes()
    at = len(whole) // 2
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(ManifestError, match="cannot be read: it is damaged"):
        Manifest.load(path)
