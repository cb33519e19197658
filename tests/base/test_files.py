from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
from medprobe.base import OutputError, atomic_path, writing


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
