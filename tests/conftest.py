"""What every room's tests share: where the real images are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real images and embeddings; skips where it is absent."""
    folder = Path(os.environ.get("MEDPROBE_TEST_DATA", _ROOT.parent / "shared" / "data"))
    if not (folder / "brain-mri").is_dir():
        pytest.skip(f"real data are not at {folder}; set MEDPROBE_TEST_DATA")
    return folder
