"""What a manifest needs of a DICOM header, read from whole and from damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from medprobe.manifests.builders.dicom_tree import headers
from medprobe.manifests.builders.files import files_below

pydicom = pytest.importorskip("pydicom")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def test_every_file_that_pydicom_ships_is_told_apart(tmp_path: Path) -> None:
    tree = Path(pydicom.data.__file__).parent / "test_files"
    found = {file.name: headers.read_header(file, ("sex", "age")) for file in files_below(tree)}
    assert {type(header) for header in found.values()} == {dict, headers.Skipped, str}
    assert [found["CT_small.dcm"][name] for name in ("modality", "sex", "age")] == ["CT", "O", 0.0]
    assert found["SC_rgb_rle_2frame.dcm"]["frames"] == 2
    assert found["rtplan.dcm"] == found["reportsi.dcm"] == headers.NO_PIXELS
    assert found["DICOMDIR"] == headers.DICOMDIR
    assert found["README.txt"] == headers.OTHER_KIND
    assert "no PatientID" in found["ExplVR_BigEnd.dcm"]


def test_damaged_headers_end_in_a_reason_and_never_in_a_crash(tmp_path: Path) -> None:
    headers.require_pydicom()
    tree, random = Path(pydicom.data.__file__).parent / "test_files", np.random.default_rng(0)
    for name in ("CT_small.dcm", "MR_small_implicit.dcm", "image_dfl.dcm", "ExplVR_BigEnd.dcm", "no_meta.dcm"):
        whole = np.frombuffer((tree / name).read_bytes(), np.uint8)
        for _ in range(60):
            damaged = whole[: random.integers(1, len(whole))].copy() if random.random() < 0.3 else whole.copy()
            damaged[random.integers(0, min(len(damaged), 2500), 8)] = random.integers(0, 256, 8, np.uint8)
            (tmp_path / "x").write_bytes(damaged.tobytes())
            assert isinstance(headers.read_header(tmp_path / "x", ("sex", "age")), dict | headers.Skipped | str)
