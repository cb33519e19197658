"""Frames that a table names, or does not name, are compared with the files when a manifest is built."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from medprobe.base import ImageError, ManifestError
from medprobe.manifests import BUILDERS, Source
from medprobe.manifests.readers import frame_count
from PIL import Image
from published_trees import refused

nibabel = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")
build_csv = BUILDERS["csv"].build
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

_PYDICOM = Path(pydicom.data.__file__).parent / "test_files"
_NIBABEL = Path(nibabel.__file__).parent / "tests" / "data"
_STACK = np.zeros((5, 8, 7), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One file of every format that holds several images."""
    shutil.copy(_PYDICOM / "rtdose.dcm", tmp_path / "dose.dcm")  # 15 frames
    shutil.copy(_NIBABEL / "anatomical.nii", tmp_path / "head.nii")
    pages = [Image.fromarray(page + 9) for page in _STACK]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    np.savez(tmp_path / "arrays.npz", images=_STACK, labels=np.zeros(5, np.int64))
    with h5py.File(tmp_path / "arrays.h5", "w") as file:
        file["scans"] = _STACK
    pages[0].save(tmp_path / "one.png")
    pages[0].save(tmp_path / "one.tif")
    return tmp_path


def _build(folder: Path, rows: list[tuple[str, object]], **options: object):
    table = folder / "labels.csv"
    labels = [f"class {number % 2}" for number in range(len(rows))]
    pd.DataFrame(rows, columns=["file", "slice"], dtype=object).assign(dx=labels).to_csv(table, index=False)
    return build_csv(table, image_column="file", label_columns=["dx"], **{"frame_column": "slice"} | options)


_LAST = {"dose.dcm": 14, "head.nii#axial": 24, "head.nii#sagittal": 32, "stack.tif": 4, "arrays.npz#images": 4,
         "arrays.h5#scans": 4}  # fmt: skip


@pytest.mark.parametrize("path", _LAST)
def test_the_last_frame_is_taken_and_the_next_or_none_refused_with_the_row(folder: Path, path: str) -> None:
    last = _LAST[path]
    manifest = _build(folder, [("one.png", ""), (path, last)])
    assert manifest.table["frame"].tolist()[1] == last
    with pytest.raises(ManifestError, match=f'row 2: column "slice": there is no frame {last + 1}; .* {last + 1} '):
        _build(folder, [("one.png", ""), (path, last + 1)])
    with pytest.raises(ManifestError, match=f'row 2: the file holds {last + 1} .* say which in column "slice"'):
        _build(folder, [("one.png", ""), (path, "")])


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("head.nii", 'column "file": a volume is cut along an axis; write `#axial`'),
        ("head.nii#axail", 'column "file": there is no axis "axail"'),
        ("head.nii#axial@3", 'column "file": has no volume 3'),
        ("arrays.npz#imagse", 'column "file": has no array "imagse"'),
        ("arrays.h5#scan", 'column "file": has no array "scan"'),
    ],
)
def test_arrays_and_axes_that_are_not_there_are_refused_with_the_row(folder: Path, path: str, message: str) -> None:
    refused(lambda: _build(folder, [("one.png", ""), (path, 0)]), f"row 2: {message}")


def test_all_rows_are_reported_together_and_without_a_column_of_frames_too(folder: Path) -> None:
    rows = [("one.png", ""), ("one.tif", ""), ("stack.tif", ""), ("dose.dcm", "")]
    refused(
        lambda: _build(folder, rows, frame_column=None),
        "2 errors",
        "row 3: the file holds 5 images; say which in a column that --frame-column names",
        "row 4: the file holds 15 images",
    )


def test_files_that_are_missing_or_damaged_are_left_to_the_checks(folder: Path) -> None:
    (folder / "cut.tif").write_bytes((folder / "stack.tif").read_bytes()[:20])
    rows = [("one.png", 0), ("cut.tif", 3), ("missing.tif", 3)]
    assert len(_build(folder, rows)) == 3


def test_a_number_that_is_no_frame_is_reported_as_such_alone(folder: Path) -> None:
    with pytest.raises(ManifestError, match='row 2: column "slice" must hold a whole number'):
        _build(folder, [("one.png", ""), ("stack.tif", -1)])


def test_counts_of_frames_are_those_of_pydicom_and_nibabel() -> None:
    counted = 0
    for file in sorted(_PYDICOM.glob("*.dcm")):
        try:
            count = frame_count(Source(file))
        except ImageError:
            continue
        assert count == int(pydicom.dcmread(file, force=True).get("NumberOfFrames") or 1), file.name
        counted += 1
    assert counted >= 60
    for name in (
        "anatomical.nii",
        "functional.nii",
        "example4d.nii.gz",
        "standard.nii.gz",
        "reoriented_anat_moved.nii",
    ):
        image = nibabel.load(_NIBABEL / name)
        sizes = nibabel.as_closest_canonical(image).shape
        number = "@0" if len(sizes) == 4 else ""
        axes = ("sagittal", "coronal", "axial")
        assert [frame_count(Source(_NIBABEL / name, member=axis + number)) for axis in axes] == list(sizes[:3])
