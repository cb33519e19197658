"""Keyed ids: which of them tell who is who, and a key that is whole and one, whatever happens while it is made."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pandas as pd
import pytest
from medprobe.base import ManifestError
from medprobe.manifests import DatasetCard, Manifest
from medprobe.manifests.pseudonyms import Pseudonyms, columns_with_ids


def _identifying(sample: str, path: str, group: str) -> list[str]:
    table = pd.DataFrame({"sample_id": [sample], "path": [path], "label": ["a"], "group_id": [group]})
    return columns_with_ids(Manifest(table, DatasetCard(name="t", task="binary", classes=["a", "b"])))


@pytest.mark.parametrize(
    ("sample", "path", "group"),
    [
        ("Kowalczyk00_0", "sc/Kowalczyk00_0.png", "kowalczyk00"),
        ("KOWALCZYK-07", "x.png", "Kowalczyk_7"),
        ("anna kowalczyk 7 left", "x.png", "Kowalczyk, Anna"),
        ("Mu\u0308ller_1", "x.png", "M\u00dcLLER"),
        ("annakim1", "x.png", "Kim"),
        ("201901237712", "x.png", "7712"),
        ("s1_0", "x.png", "1"),
        ("scan-7-0", "x.png", "007"),
        ("Kowalczyk-7700-31-0", "a/Kowalczyk-7700-31-0.png", "MRN-7700-31"),
        ("kowalczyk.png", "a/Kowalczyk.PNG", "Kowalczyk00"),
        ("Doe/1.png", "doe/1.png", "P-9"),
        ("张伟_1", "x.png", "张伟"),
    ],
)
def test_a_sample_id_that_tells_its_group_in_any_spelling_is_identifying(sample, path, group) -> None:
    assert _identifying(sample, path, group) == ["group_id", "sample_id"]


@pytest.mark.parametrize(
    ("sample", "path", "group"),
    [
        ("s10", "x.png", "1"),
        ("s1234", "x.png", "123"),
        ("ISIC_0000001", "t/ISIC_0000001.jpg", "HAM_0000118"),
        ("scan0", "Kowalczyk00/scan0.png", "kowalczyk00"),
        ("img-31", "img-31.png", "MRN-77-31"),
        ("annabel", "x.png", "An"),
        ("a", "x.png", "__"),
        ("a", "x.png", ""),
    ],
)
def test_a_sample_id_that_is_like_its_group_by_chance_is_left(sample, path, group) -> None:
    assert _identifying(sample, path, group) == ["group_id"]


def test_builds_at_once_hash_with_one_key(tmp_path: Path) -> None:
    for number in range(20):
        start = Barrier(8)

        def make(_: int, file: Path = tmp_path / f"{number}.key", start: Barrier = start) -> bytes:
            start.wait()
            return Pseudonyms.at(file).key

        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(make, range(8)))) == 1
    assert {file.suffix for file in tmp_path.iterdir()} == {".key"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}


def test_an_interrupt_leaves_no_half_of_a_key(tmp_path: Path, monkeypatch) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Pseudonyms.at(tmp_path / "m.key")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
    assert Pseudonyms.at(tmp_path / "m.key") == Pseudonyms.at(tmp_path / "m.key")


def test_a_drive_that_knows_no_links_gets_a_key_too(tmp_path: Path, monkeypatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    made = Pseudonyms.at(tmp_path / "m.key")
    assert Pseudonyms.at(tmp_path / "m.key") == made
    assert [file.name for file in tmp_path.iterdir()] == ["m.key"]


def test_a_killed_build_leaves_a_whole_key_or_none_and_the_next_one_nothing_else(
    tmp_path: Path, killed_at_each_step
) -> None:
    file = tmp_path / "keys" / "m.key"

    def prepare() -> None:
        shutil.rmtree(file.parent, ignore_errors=True)
        file.parent.mkdir()

    for _ in killed_at_each_step(file.parent, prepare, lambda: Pseudonyms.at(file)):
        before = file.read_bytes() if file.exists() else b""
        key = Pseudonyms.at(file).key
        assert before.decode().strip() in ("", key.hex())
        assert file.stat().st_mode & 0o777 == 0o600
        Pseudonyms.at(file.with_name("other.key"))
        assert {path.name for path in file.parent.iterdir()} == {"m.key", "other.key"}


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero"), lambda path: path.symlink_to("not-mounted.key")],
)
def test_what_is_no_regular_file_is_no_key_and_is_not_waited_for(tmp_path: Path, make) -> None:
    make(tmp_path / "m.key")
    with pytest.raises(ManifestError, match="does not hold a key"):
        Pseudonyms.at(tmp_path / "m.key")


def test_sample_ids_that_hold_a_uid_are_hashed_in_any_manifest(tmp_path: Path, draw, medprobe) -> None:
    uid = "1.2.826.0.1.3680043.8.498"
    for number in range(2):
        draw(tmp_path / f"{uid}.{number}.png", number)
    rows = pd.DataFrame({"file": [f"{uid}.{number}.png" for number in range(2)], "dx": ["a", "b"]})
    rows.to_csv(tmp_path / "t.csv", index=False)
    refusal = medprobe("manifest", "build", "csv", tmp_path / "t.csv", "--image-column", "file", "--label-column", "dx",
                    "--out", tmp_path / "m.csv")  # fmt: skip
    assert refusal.status == 0, refusal.err
    assert uid not in "".join(Manifest.load(tmp_path / "m.csv").sample_ids)
