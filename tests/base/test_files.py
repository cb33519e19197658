from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

import pytest
from medprobe.base import OutputError, atomic_path, files, writing
from medprobe.base.files import sweep, temporary_path


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        temporary.write_text(f"half {1 / 0}")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_a_successful_write_replaces_the_old_file_and_makes_folders(tmp_path: Path) -> None:
    target = tmp_path / "new" / "table.csv"
    for text in ("one", "two"):
        with atomic_path(target) as temporary:
            assert temporary.suffix == ".csv"
            temporary.write_text(text)
    assert target.read_text() == "two"
    assert len(list(target.parent.iterdir())) == 1


def test_a_file_where_a_folder_is_needed_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with (
        pytest.raises(OutputError, match="choose another path"),
        atomic_path(tmp_path / "taken" / "x.csv") as temporary,
    ):
        temporary.write_text("")


def test_a_folder_that_takes_no_files_is_told_without_a_temporary_name(tmp_path: Path) -> None:
    target = tmp_path / "gone" / "x.csv"

    def write() -> None:
        with atomic_path(target) as temporary:
            shutil.rmtree(target.parent)
            temporary.write_text("")

    with pytest.raises(OutputError) as refusal:
        write()
    assert str(refusal.value).startswith(f"{target}: cannot be written: the folder is gone, or takes no files")
    assert ".medprobe-" not in str(refusal.value)
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "y.csv"):
        (tmp_path / "elsewhere" / "read").read_text()


def test_a_full_disk_is_an_output_error_that_says_so() -> None:
    with (
        pytest.raises(OutputError, match="disk is full"),
        writing(Path("/dev/full")),
        Path("/dev/full").open("wb", 0) as full,
    ):
        full.write(b"x")


def test_hdf5_errors_are_read_by_their_text(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="disk is full"), writing(tmp_path):
        raise OSError(f"Can't synchronously write data (file write failed: errno = {errno.ENOSPC}, error message = '')")


def test_other_errors_pass_through(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="something else"), writing(tmp_path):
        raise OSError("something else")


@pytest.mark.parametrize("is_folder", [False, True])
def test_what_is_not_locked_is_swept_and_what_is_locked_or_of_another_machine_is_not(
    tmp_path: Path, is_folder: bool
) -> None:
    with temporary_path(tmp_path / "scores.csv", is_folder=is_folder) as living:
        machine, draw = re.search("medprobe-(.{6})(.{6})[.]", living.name).groups()  # pyright: ignore[reportOptionalMemberAccess]
        dead, elsewhere, old = (
            living.with_name(living.name.replace(machine + draw, hexdigits))
            for hexdigits in (f"{machine}000000", "000000000000", "000000000001")
        )
        for left in (dead, elsewhere, old):
            left.mkdir() if is_folder else left.touch()
        os.utime(old, (0, 0))
        theirs = [
            tmp_path / name for name in (".scores.csv.tmp", ".scores.0123abcd.tmp.csv", "medprobe-000000000000.tmp")
        ]
        for path in theirs:
            path.touch()
        sweep(tmp_path)
        assert {*tmp_path.iterdir()} == {living, elsewhere, *theirs}
    sweep(tmp_path)
    assert {*tmp_path.iterdir()} == {elsewhere, *theirs}


def test_where_there_are_no_locks_only_what_has_not_changed_for_a_day_is_swept(tmp_path: Path, monkeypatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with temporary_path(tmp_path / "a.csv") as living:
        sweep(tmp_path)
        assert living.exists()
        os.utime(living, (0, 0))
        sweep(tmp_path)
        assert not living.exists()


def test_a_temporary_file_that_is_swept_before_it_is_locked_is_made_again(tmp_path: Path, monkeypatch) -> None:
    lock, swept = files.lock, []

    def late(descriptor: int, *, wait: bool) -> bool | None:
        if not swept:
            swept.extend(tmp_path.iterdir())
            swept[0].unlink()
        return lock(descriptor, wait=wait)

    monkeypatch.setattr(files, "lock", late)
    with atomic_path(tmp_path / "a.csv") as temporary:
        temporary.write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert swept


def test_a_link_with_the_name_of_a_temporary_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "data").touch()
    with temporary_path(tmp_path / "a", is_folder=True) as living:
        link = living.with_name(re.sub("[0-9a-f]{6}[.]tmp", "000000.tmp", living.name))
    link.symlink_to(tmp_path / "precious")
    sweep(tmp_path)
    assert (tmp_path / "precious" / "data").exists()
