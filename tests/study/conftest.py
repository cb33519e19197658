"""The folder of a study."""

from __future__ import annotations

from pathlib import Path

import pytest
from compiled_study import STUDY, save_manifest


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    save_manifest(folder / "brain.parquet")
    save_manifest(folder / "large.parquet", 20_000)
    save_manifest(folder / "plain.parquet", split=False)
    (folder / "scans" / "no").mkdir(parents=True)
    (folder / "scans" / "no" / "1.png").touch()
    (folder / "study.yaml").write_text(STUDY)
    return folder
