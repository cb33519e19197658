"""A folder that cannot be read ends a build, all such folders named; its images would be missed in silence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import folder_trees
import pytest
from medprobe.base import ManifestError
from published_trees import refused

_CLOSED = {
    "folder": ["test/a", "train/b"],
    "brain-tumor-mri": ["Training/notumor", "Testing/glioma"],
    "dicom": ["export"],
    "glioma-mri": ["P1", "P3"],
    "aptos2019": ["train_images"],
    "nih-cxr14": ["images_001/images"],
    "csv": ["scans"],
}


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Folders that the operating system will not list; root, as whom tests may run, could read any other."""
    folders: set[Path] = set()
    scandir = os.scandir

    def refusing(path: str | Path = ".") -> Iterator[os.DirEntry[str]]:
        if Path(path) in folders:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    return folders


@pytest.mark.parametrize("name", _CLOSED)
def test_every_folder_that_cannot_be_read_is_named(tmp_path: Path, closed: set[Path], name: str) -> None:
    tree = folder_trees.make(name, tmp_path / "src")
    tree.build()
    closed |= {tree.src / folder for folder in _CLOSED[name]}
    notices: list[str] = []
    why = "cannot be read (Permission denied); fix its permissions or move it away"
    refused(lambda: tree.build(notice=notices.append), *(f"{folder}/: {why}" for folder in _CLOSED[name]))
    assert notices == []


def test_the_folder_that_was_given_may_be_the_one(tmp_path: Path, closed: set[Path]) -> None:
    for name in ("folder", "aptos2019"):
        tree = folder_trees.make(name, tmp_path / name)
        closed.add(tree.src)
        with pytest.raises(ManifestError, match="the folder itself: cannot be read"):
            tree.build()
