"""Series of DICOM files with a slice each: their order, and which slices are taken."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from medprobe.manifests import BUILDERS, IntensityPolicy, Manifest, read_image

pydicom = pytest.importorskip("pydicom")
dicomwrappers = pytest.importorskip("nibabel.nicom.dicomwrappers")
from made_dicom import dataset, written  # noqa: E402  (needs pydicom)

build_dicom = BUILDERS["dicom"].build
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

_AXIAL = [1.0, 0, 0, 0, 1, 0]


def _slice(file: Path, grey: int, patient: str = "P0", **elements: object) -> None:
    """A CT slice of one grey level and with its own window, so that pixels tell which slice it is."""
    ids = {"SOPInstanceUID": pydicom.uid.generate_uid(), "StudyInstanceUID": f"1.2.{patient[1]}", "PatientID": patient}
    others = {"SeriesInstanceUID": "1.3.1", "Modality": "CT", **elements}
    file.parent.mkdir(parents=True, exist_ok=True)
    written(file, dataset(np.full((4, 4), grey, np.uint8), **ids, **others))


def _built(tree: Path, patients: Sequence[str] = ("P0", "P1"), **options: object) -> Manifest:
    table = tree.parent / "labels.csv"
    rows = {"PatientID": patients, "finding": [f"class {number % 2}" for number in range(len(patients))]}
    pd.DataFrame(rows).to_csv(table, index=False)
    return build_dicom(tree, labels=table, label_columns=["finding"], **options)


def _greys(manifest: Manifest, patient: str = "P0") -> list[int]:
    rows = np.flatnonzero(manifest.table["group_id"] == patient)
    return [int(read_image(manifest.source(int(row)))[0, 0]) for row in rows]


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A tree with a second patient, since a task has two classes."""
    _slice(tmp_path / "tree" / "z" / "other", 200, "P1", InstanceNumber=1)
    return tmp_path / "tree"


@pytest.mark.parametrize("turn", ["axial", "oblique", "upside down"])
def test_slices_are_in_order_of_position_whatever_files_and_instances_are_called(other: Path, turn: str) -> None:
    random = np.random.default_rng(0)
    axes = np.linalg.qr(random.normal(size=(3, 3)))[0][:2] if turn == "oblique" else np.reshape(_AXIAL, (2, 3))
    if turn == "upside down":
        axes = axes[::-1]
    normal = np.cross(axes[0], axes[1])
    for number, name in enumerate(random.permutation(12)):
        # Positions may shift within the plane, as with a tilted gantry.
        at = -30 + 2.5 * number * normal + 0.7 * number * axes[0]
        place = {"ImagePositionPatient": np.round(at, 4).tolist(), "InstanceNumber": int(random.integers(99))}
        _slice(other / f"IM{name:02d}", number, ImageOrientationPatient=np.round(axes, 6).ravel().tolist(), **place)
    assert _greys(_built(other)) == list(range(12))
    assert _greys(_built(other, frames="middle:3")) == [4, 5, 6]
    assert _greys(_built(other, frames="every:5")) == [0, 5, 10]


def test_slices_at_one_position_stay_together_in_order_of_instance(other: Path) -> None:
    for number in range(6):  # three positions with two echoes each
        elements = {"ImagePositionPatient": [0, 0, 5.0 * (number % 3)], "InstanceNumber": number // 3}
        _slice(other / f"IM{5 - number}", number, ImageOrientationPatient=_AXIAL, **elements)
    assert _greys(_built(other)) == [0, 3, 1, 4, 2, 5]
    assert _greys(_built(other, frames="middle")) == [1, 4]


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"ImagePositionPatient": [0, 0, 1.0]},
        {"ImagePositionPatient": "", "ImageOrientationPatient": _AXIAL},
        {"ImagePositionPatient": [0, 0, 1.0], "ImageOrientationPatient": [0] * 6},
        {"ImagePositionPatient": [0, 1.0], "ImageOrientationPatient": _AXIAL},
    ],
    ids=["neither", "no orientation", "blank position", "no normal", "two numbers"],
)
def test_slices_without_a_position_are_in_order_of_instance_with_a_message(other: Path, elements: dict) -> None:
    for number in range(3):
        _slice(other / f"IM{2 - number}", number, InstanceNumber=number, **elements)
    notices: list[str] = []
    manifest = _built(other, notice=notices.append)
    assert _greys(manifest) == [0, 1, 2]
    assert any("1 series of slices cannot be sorted by position" in notice for notice in notices)
    assert _greys(_built(other, frames="middle")) == [1]


def test_scouts_in_several_orientations_are_in_order_of_instance(other: Path) -> None:
    for number, axes in enumerate([_AXIAL, [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1]]):
        place = {"ImagePositionPatient": [0, 0, -number], "ImageOrientationPatient": axes}
        _slice(other / f"IM{2 - number}", number, InstanceNumber=number, **place)
    assert _greys(_built(other)) == [0, 1, 2]


def test_radiographs_of_a_series_are_no_slices(other: Path) -> None:
    for number in range(3):
        _slice(other / f"IM{2 - number}", number, InstanceNumber=number, Modality="DX")
    assert _greys(_built(other, frames="middle")) == [2, 1, 0]


_BARE = {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "RescaleSlope": 2, "RescaleIntercept": -1000}


def _bare_series(tree: Path, factors: Sequence[int]) -> list[np.ndarray]:
    """A series without windows whose slices have ever wider values, in Hounsfield units."""
    stored = [np.random.default_rng(number).integers(0, 100 * factor, (4, 4)) for number, factor in enumerate(factors)]
    for number, values in enumerate(stored):
        place = {"ImagePositionPatient": [0, 0, number], "ImageOrientationPatient": _AXIAL}
        _slice(tree / f"IM{number}", 0, PixelData=values.astype("<u2").tobytes(), **_BARE, **place)
    return [values * 2.0 - 1000 for values in stored]


def test_slices_without_a_window_get_the_percentiles_of_their_series(other: Path, tmp_path: Path) -> None:
    values = np.stack(_bare_series(other, [1, 2, 30]))
    notices: list[str] = []
    manifest = Manifest.load(_built(other, notice=notices.append).save(tmp_path / "out" / "m.csv").path)
    low, high = np.percentile(values, (0.5, 99.5))
    rows = np.flatnonzero(manifest.table["group_id"] == "P0")
    windows = manifest.table["window"].iloc[rows]
    assert windows.nunique() == 1
    centre, width = map(float, windows.iloc[0].split(","))
    assert [centre - width / 2, centre + width / 2] == pytest.approx([low, high], abs=1e-3)
    wanted = np.rint(np.clip((values - low) / (high - low), 0, 1) * 255)
    read = np.stack([read_image(manifest.source(int(row))) for row in rows])
    assert np.abs(read - wanted).max() <= 1
    assert any("1 series has a file for each slice and no window" in notice for notice in notices)
    assert manifest.table["window"].isna().sum() == 1


@pytest.mark.parametrize("reading", [IntensityPolicy(window=(40, 400)), IntensityPolicy(scope="slice")])
def test_no_series_gets_a_window_where_one_is_given_or_slices_are_apart(other: Path, reading) -> None:
    _bare_series(other, [1, 2])
    assert "window" not in _built(other, reading=reading).table


def test_another_window_of_a_row_is_another_image_to_caches_and_surveys(other: Path) -> None:
    _bare_series(other, [1, 2])
    manifest = _built(other)
    changed = manifest.table.assign(window=["0,400", None, None])
    without = manifest.table.drop(columns="window")
    stamps, others, plain = (Manifest(table, manifest.card).stamps()[0] for table in (manifest.table, changed, without))
    assert (stamps != others).tolist() == [True, True, False]
    assert (others == plain).tolist() == [False, True, True]


@pytest.mark.parametrize("window", ["40", "40,0", "a,b", "40,400,2", "nan,3"])
def test_a_window_that_is_none_is_an_error_with_its_row(other: Path, window: str) -> None:
    _bare_series(other, [1, 2])
    manifest = _built(other)
    faults = Manifest(manifest.table.assign(window=[None, window, "40,400"]), manifest.card).faults
    assert [(fault.code, fault.rows.tolist()) for fault in faults] == [("bad-window", [2])]


def test_pydicoms_series_are_in_the_order_that_nibabel_gives_their_slices(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(Path(pydicom.data.__file__).parent / "test_files" / "dicomdirtests", tree)
    files = [file for file in tree.rglob("*") if file.is_file() and pydicom.misc.is_dicom(file)]
    headers = {file: pydicom.dcmread(file) for file in files if "DICOMDIR" not in file.name}
    manifest = _built(tree, sorted({str(header.PatientID) for header in headers.values()}))
    series: dict[tuple[str, str], list[float]] = {}
    for path in manifest.table["path"]:
        header = headers[tree / path]
        if "ImageOrientationPatient" in header:
            # Its normal points from head to feet in axial slices, the other way from GDCM's.
            place = -round(float(dicomwrappers.Wrapper(header).slice_indicator), 3)
            series.setdefault((header.SeriesInstanceUID, str(header.ImageOrientationPatient)), []).append(place)
    # Scouts in other orientations are series of their own kind.
    stacks = [places for (uid, _), places in series.items() if [one for one, _ in series].count(uid) == 1]
    assert sorted(map(len, stacks))[-2:] == [4, 5]
    assert [places == sorted(places) for places in stacks] == [True] * len(stacks)
