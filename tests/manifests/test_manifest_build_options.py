"""The options that all builders share: refused together and in words, and never silently without effect."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from medprobe.manifests import DatasetCard, Manifest


@pytest.fixture
def build(class_folders: Path, tmp_path: Path, medprobe: Callable) -> Callable:
    """`build(out, *options)`: a manifest of a table of the class folders with two images a patient, into `out`."""
    files = sorted(class_folders.rglob("*.png"))
    pd.DataFrame(
        {
            "file": [file.relative_to(tmp_path).as_posix() for file in files],
            "dx": [file.parent.name for file in files],
            "patient": [f"{file.parent.parent.name}-{number // 2}" for number, file in enumerate(files)],
            "part": [file.parent.parent.name for file in files],
        }
    ).to_csv(tmp_path / "list.csv", index=False)
    columns = ("--image-column", "file", "--label-column", "dx", "--group-column", "patient")
    return lambda out, *options: medprobe(
        "manifest", "build", "csv", tmp_path / "list.csv", *columns, "--out", tmp_path / out, *options
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--split", "grouped:70/15"), "--split grouped:70/15: the shares sum to 85, not to 100 (or 1)."),
        (("--split", "grouped:50/25/20"), "the shares sum to 95"),
        (("--split", "grouped:0.7/0.2"), "the shares sum to 0.9"),
        (("--split", "grouped:100/0"), "every part needs a share above 0"),
        (("--split", ""), 'unknown split ""; there are grouped:70/15/15'),
        (("--split", "huix2024"), 'unknown split "huix2024"; there are grouped:70/15/15'),
        (("--split", "grouped:80/20", "--split-column", "part"), "--split-column"),
        (("--window", "foo"), "--window foo: write stored, percentiles, percentiles:LOW,HIGH or CENTRE,WIDTH"),
        (("--window", "40"), "--window 40: must be stored, percentiles, or [centre, width]"),
        (("--window", "40,0"), "[centre, width] with a width above 0"),
        (("--window", "40,nan"), "--window 40,nan: must be stored"),
        (("--window", "percentiles:3"), "--window percentiles:3: must be two numbers from 0 to 100"),
        (("--window", "percentiles:3,2,1"), "--window percentiles:3,2,1: must be two numbers"),
        (("--window", "percentiles:9,3"), "two numbers from 0 to 100, the lower first"),
        (("--window", ""), "--window : write stored"),
        (("--task", "multi"), 'Did you mean "multilabel"'),
        (("--classes", "cat,,dog"), "--classes cat,,dog: a name is blank"),
        (("--name", "a/b"), '--name "a/b": a name becomes a folder'),
        (("--key", "nowhere/k"), "--key nowhere/k: the folder nowhere does not exist"),
        (("--key", "k", "--keep-ids"), "--keep-ids"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else "",
)
def test_a_wrong_option_is_one_clear_message_before_anything_is_made(build, tmp_path, options, expected) -> None:
    message = build("m.parquet", *options)
    assert message.status == 1
    assert message.err.startswith("error: ")
    assert expected in message.err
    for raw in ("Input should", "Field required", "Tuple", "Value error"):
        assert raw not in message.err
    assert {file.name for file in tmp_path.iterdir()} == {"list.csv", "pets"}


def test_a_manifest_that_is_there_is_not_replaced(build, tmp_path) -> None:
    assert build("m.parquet").status == 0
    before = (tmp_path / "m.parquet").read_bytes()
    message = build("m.parquet")
    assert (message.status, "m.parquet: exists already" in message.err) == (1, True)
    assert (tmp_path / "m.parquet").read_bytes() == before


def test_words_for_a_builders_own_options_are_refused_before_anything_is_read(tmp_path, medprobe) -> None:
    message = medprobe("manifest", "build", "glioma-mri", tmp_path / "nowhere", "--incomplete", "leave")
    assert message.status == 1
    assert '--incomplete: unknown word "leave"; there are refuse, leave-out.' in message.notes
    message = medprobe("manifest", "build", "chexpert", tmp_path / "nowhere", "--unit", "x")
    assert '--unit: unknown word "x"' in message.err


@pytest.mark.parametrize(
    ("words", "out", "reason"),
    [
        (("build", "csv", "list.csv"), "a:b.parquet", 'the name "a:b"'),
        (("build", "csv", "list.csv"), "no/x.parquet", "the folder no does"),
        (("check", "m.parquet"), "no/x.parquet", "the folder no does"),
    ],
)
def test_a_place_that_cannot_be_is_refused_before_anything_is_read(
    build, tmp_path, medprobe, monkeypatch, words, out, reason
) -> None:
    assert build("m.parquet").status == 0
    monkeypatch.chdir(tmp_path)
    columns = ("--image-column", "file", "--label-column", "dx")
    before = {file.name for file in tmp_path.iterdir()}
    (tmp_path / "list.csv").write_text("no table at all")
    message = medprobe(
        "manifest", *words, *(columns if "csv" in words else ("--fix", "group-duplicates")), "--out", out
    )
    assert message.status == 1
    assert reason in message.notes
    assert "--out" in message.err
    assert ("--name" in message.err) is (":" in out)
    assert {file.name for file in tmp_path.iterdir()} == before  # no folder, no survey


@pytest.mark.parametrize("shares", ["70/30", "0.7/0.3", "33.3/33.3/33.4", "0.5/0.25/0.25@3"])
def test_shares_that_sum_to_100_or_to_1_are_taken(build, tmp_path, shares) -> None:
    message = build("m.parquet", "--split", f"grouped:{shares}")
    assert message.status == 0, message.err
    assert len(set(Manifest.load(tmp_path / "m.parquet").table["split"])) == shares.count("/") + 1


def test_too_few_groups_for_the_parts_are_refused(build) -> None:
    message = build("m.parquet", "--group-column", "part", "--split", "grouped:70/15/15")
    assert message.status == 1
    assert "2 groups cannot fill train, val, test, nothing is left for val." in message.err


def test_a_split_that_takes_the_place_of_the_data_sets_own_is_told(class_folders, tmp_path, medprobe) -> None:
    command = ("manifest", "build", "folder", class_folders, "--out", tmp_path / "m.parquet")
    message = medprobe(*command, "--split", "grouped:80/20")
    assert message.status == 0, message.err
    expected = "--split grouped:80/20 replaces the split of the data set (23 in train, 20 in test)."
    assert expected in message.notes
    assert "replaces the split" not in medprobe(*command, "--overwrite").notes


def test_one_key_gives_a_patient_one_id_in_two_manifests(build, tmp_path) -> None:
    key = tmp_path / "shared.key"
    for out in ("a.parquet", "b.csv"):
        message = build(out, "--key", key)
        assert message.status == 0, message.err
        assert "shared.key" in message.notes
    build("c.parquet")
    first, second, other = (
        Manifest.load(tmp_path / out).table["group_id"] for out in ("a.parquet", "b.csv", "c.parquet")
    )
    assert first.tolist() == second.tolist()
    assert not set(first) & set(other)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [file.name for file in sorted(tmp_path.glob("*.key"))] == ["c.key", "shared.key"]


@pytest.mark.parametrize("content", [None, "", "00" * 31, "00" * 33, "zz" * 32, "é" * 64], ids=repr)
def test_a_file_that_is_no_key_is_refused_and_left_as_it_is(build, tmp_path, content) -> None:
    file = tmp_path / "file"
    file.mkdir() if content is None else file.write_text(content, encoding="utf-8")
    message = build("m.parquet", "--key", file)
    assert message.status == 1
    assert f"{file}: does not hold a key of 64 hexadecimal digits; name another file with --key" in message.err
    assert content is None or file.read_text(encoding="utf-8") == content
    assert not (tmp_path / "m.parquet").exists()


def test_a_damaged_key_beside_the_manifest_is_refused_where_it_will_be_used(build, tmp_path) -> None:
    (tmp_path / "m.key").write_text("")
    message = build("m.parquet")
    assert message.status == 1
    assert "m.key: does not hold a key of 64 hexadecimal digits" in message.err
    assert build("m.parquet", "--keep-ids").status == 0


def test_a_damaged_key_beside_the_manifest_stops_no_build_without_ids(class_folders, tmp_path, medprobe) -> None:
    (tmp_path / "m.key").write_text("")
    message = medprobe("manifest", "build", "folder", class_folders, "--out", tmp_path / "m.csv")
    assert message.status == 0, message.err
    assert (tmp_path / "m.key").read_text() == ""


@pytest.mark.parametrize("name", ["m.parquet", "m.yaml"])
def test_a_key_cannot_be_where_the_manifest_goes(build, tmp_path, name) -> None:
    message = build("m.parquet", "--key", tmp_path / name)
    assert message.status == 1
    assert f"--key {tmp_path / name}" in message.err


@pytest.mark.parametrize("options", [("--keep-ids",), ("--key", "other.key")], ids=" ".join)
def test_a_key_that_the_manifest_no_longer_has_stays_and_is_told(build, tmp_path, options, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "m.key exists" not in build("m.parquet").notes
    key = (tmp_path / "m.key").read_bytes()
    message = build("m.parquet", "--overwrite", *options)
    assert message.status == 0, message.err
    assert "m.key exists but is not the key of this manifest" in message.notes
    assert (tmp_path / "m.key").read_bytes() == key
    assert "m.key exists" not in build("m.parquet", "--overwrite").notes


def test_a_key_that_nothing_was_hashed_with_is_told_and_not_made(class_folders, tmp_path, medprobe) -> None:
    key = tmp_path / "shared.key"
    message = medprobe("manifest", "build", "folder", class_folders, "--key", key, "--out", tmp_path / "m.csv")
    assert message.status == 0, message.err
    assert f"there are no ids to hash, so {key} is not used." in message.notes
    assert not key.exists()


def test_several_missing_tables_end_no_line_with_a_blank(tmp_path, medprobe) -> None:
    (tmp_path / "empty").mkdir()
    message = medprobe("manifest", "build", "chexpert", tmp_path / "empty", "--out", tmp_path / "m.csv")
    assert message.status == 1
    assert f"error: {tmp_path / 'empty'}: there is no train.csv" in message.err


def test_a_check_says_how_to_have_its_first_finding_explained(build, class_folders, tmp_path, medprobe) -> None:
    build("m.parquet")
    next(class_folders.rglob("*.png")).unlink()
    message = medprobe("manifest", "check", tmp_path / "m.parquet")
    assert message.status == 1
    assert "medprobe manifest check --explain missing-file" in message.err


def test_a_path_that_no_file_can_have_is_a_finding(tmp_path, medprobe) -> None:
    (tmp_path / "m.csv").write_bytes(b"sample_id,path,label\na,1\x002.png,cat\n")
    DatasetCard(name="m", task="binary", classes=["cat", "dog"]).save(tmp_path / "m.yaml")
    message = medprobe("manifest", "check", tmp_path / "m.csv")
    assert message.status == 1
    assert "missing-file, 1 image." in message.out


def test_a_damaged_parquet_file_is_called_so(pets, medprobe) -> None:
    content = bytearray(pets.path.read_bytes())
    content[-600:-100] = bytes(byte ^ 0x5A for byte in content[-600:-100])
    pets.path.write_bytes(content)
    message = medprobe("manifest", "check", pets.path)
    assert message.status == 1
    assert "cannot be read: it is damaged, cut off or of another format; fetch it" in message.err


def test_a_name_of_a_class_may_hold_a_comma(build, tmp_path) -> None:
    listed = (tmp_path / "list.csv").read_text(encoding="utf-8")
    (tmp_path / "list.csv").write_text(listed.replace(",cat", ',"cat, tame"'), encoding="utf-8")
    message = build("m.csv", "--classes", 'dog, "cat, tame"')
    assert message.status == 0, message.err
    assert Manifest.load(tmp_path / "m.csv").card.classes == ["dog", "cat, tame"]


def test_an_attribute_that_repeats_hashed_ids_is_refused(build, tmp_path) -> None:
    message = build("m.csv", "--attribute", "patient")
    assert message.status == 1
    assert 'attribute "patient" repeats the column "group_id", whose ids become keyed hashes' in message.notes
    assert build("m.csv", "--attribute", "patient", "--keep-ids").status == 0


def test_a_key_that_others_can_read_is_told(build, tmp_path) -> None:
    key = tmp_path / "shared.key"
    assert "other users can read" not in build("a.csv", "--key", key).notes
    key.chmod(0o644)
    message = build("b.csv", "--key", key)
    assert "other users can read shared.key; run `chmod 600" in message.notes
    assert key.stat().st_mode & 0o777 == 0o644
