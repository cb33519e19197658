"""How DICOM values become grey: windows, tables, percentiles, frames."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from made_dicom import NAME, RAMP, check, dataset, read, spread, written
from medprobe.base import ImageError
from medprobe.manifests.readers import dicom, dicom_file
from pydicom import Dataset, uid
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("window", [(40, 400), (-600, 1500), (0.5, 1), ([100, 1], [50, 4000])])
def test_a_stored_window_of_every_function_gives_what_pydicom_shows(tmp_path: Path, function, window) -> None:
    header = dataset(RAMP, RescaleSlope=1, RescaleIntercept=-24, WindowCenter=window[0], WindowWidth=window[1])
    if function:
        header.VOILUTFunction = function
    pixels = read(written(tmp_path / "i.dcm", header))
    low, high = -(2**15) - 24, 2**15 - 1 - 24
    shown = apply_voi_lut(apply_modality_lut(RAMP, header), header)
    np.testing.assert_allclose(pixels, (shown - low) / (high - low) * 255, atol=0.51)
    assert len(np.unique(pixels)) > (1 if window[1] == 1 else 40)


def test_a_window_of_width_1_is_a_step(tmp_path: Path) -> None:
    pixels = read(written(tmp_path / "i.dcm", dataset(RAMP, WindowCenter=0.5, WindowWidth=1)))
    np.testing.assert_array_equal(pixels, np.where(RAMP <= 0, 0, 255))


def test_a_given_window_is_in_units_after_rescale(tmp_path: Path) -> None:
    path = written(
        tmp_path / "i.dcm", dataset(RAMP, RescaleSlope=2, RescaleIntercept=-100, WindowCenter=9, WindowWidth=9)
    )
    check(read(path, window=(40, 400)), spread(RAMP * 2.0 - 100, -160, 240))


@pytest.mark.parametrize("width", [0, -1, 0.5])
def test_a_window_without_width_counts_as_none(tmp_path: Path, width: float) -> None:
    path = written(tmp_path / "i.dcm", dataset(RAMP, WindowCenter=40, WindowWidth=width))
    check(read(path), spread(RAMP, *np.percentile(RAMP, (0.5, 99.5))))


def test_percentiles_pass_over_what_the_file_asks_for(tmp_path: Path) -> None:
    path = written(tmp_path / "i.dcm", dataset(RAMP, WindowCenter=40, WindowWidth=10))
    check(read(path, window="percentiles", percentiles=(10, 90)), spread(RAMP, *np.percentile(RAMP, (10, 90))))


def test_a_falling_slope_keeps_percentiles_in_order(tmp_path: Path) -> None:
    path = written(tmp_path / "i.dcm", dataset(RAMP, RescaleSlope=-0.5, RescaleIntercept=0))
    check(read(path), spread(RAMP * -0.5, *np.percentile(RAMP * -0.5, (0.5, 99.5))))


def test_padding_counts_in_no_percentile(tmp_path: Path) -> None:
    padded = RAMP.copy()
    padded[:32] = -2000
    rest = RAMP[32:]
    for elements in ({"PixelPaddingValue": -2000}, {"PixelPaddingValue": -2100, "PixelPaddingRangeLimit": -1900}):
        pixels = read(written(tmp_path / "i.dcm", dataset(padded, **elements)), percentiles=(1, 99))
        check(pixels[32:], spread(rest, *np.percentile(rest, (1, 99))))
    assert not read(written(tmp_path / "i.dcm", dataset(np.full_like(RAMP, 7), PixelPaddingValue=7))).any()


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    elements = {"WindowCenter": 40, "WindowWidth": 400}
    plain = read(written(tmp_path / "2.dcm", dataset(RAMP, **elements)))
    inverted = read(written(tmp_path / "1.dcm", dataset(RAMP, PhotometricInterpretation="MONOCHROME1", **elements)))
    np.testing.assert_array_equal(inverted, 255 - plain)


def _lut(first: int, entries: np.ndarray, bits: int, representation: str = "US") -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    item.add_new(
        "LUTData", representation, entries.tolist() if representation == "US" else entries.astype("<u2").tobytes()
    )
    return Sequence([item])


@pytest.mark.parametrize("representation", ["US", "OW"])
@pytest.mark.parametrize(("first", "bits"), [(-200, 12), (0, 8), (500, 16)])
def test_a_voi_lut_comes_before_the_window(tmp_path, representation, first, bits) -> None:
    entries = np.linspace(0, 2**bits - 1, 200 if bits == 8 else 700).astype(np.uint16)
    header = dataset(RAMP, VOILUTSequence=_lut(first, entries, bits, representation), WindowCenter=1, WindowWidth=1)
    pixels = read(written(tmp_path / "i.dcm", header))
    shown = entries[np.clip(RAMP.astype(int) - first, 0, len(entries) - 1)]
    np.testing.assert_array_equal(pixels, np.rint(shown / (2**bits - 1) * 255))
    # pydicom lets values of more than 8 bits wrap round in a table of 8.
    if bits > 8:
        np.testing.assert_array_equal(shown, apply_voi_lut(RAMP, header))


def test_a_modality_lut_comes_before_the_window(tmp_path: Path) -> None:
    entries = np.arange(1000, 0, -1).astype(np.uint16)
    header = dataset(RAMP, ModalityLUTSequence=_lut(-500, entries, 16), WindowCenter=500, WindowWidth=800)
    header.VOILUTFunction = "LINEAR_EXACT"
    path = written(tmp_path / "i.dcm", header)
    check(read(path), spread(apply_modality_lut(RAMP, header), 100, 900))


def test_an_unknown_window_function_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "i.dcm", dataset(RAMP, WindowCenter=1, WindowWidth=5, VOILUTFunction=NAME[:7]))
    with pytest.raises(ImageError, match=r"reading\.window") as refusal:
        read(path)
    assert NAME[:7] not in str(refusal.value)
    assert read(path, window=(0, 10)).any()


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
def test_values_of_every_type_are_read(tmp_path: Path, dtype: str, syntax: uid.UID) -> None:
    values = np.random.default_rng(0).normal(60, 20, (32, 31)).astype(dtype)
    path = written(tmp_path / "i.dcm", dataset(values), syntax)
    check(read(path, window="percentiles"), spread(values, *np.percentile(values, (0.5, 99.5))))


def test_8_bits_that_ask_for_nothing_are_greys(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(40, 90, (9, 8), np.uint8)
    np.testing.assert_array_equal(read(written(tmp_path / "i.dcm", dataset(values))), values)
    stretched = read(written(tmp_path / "r.dcm", dataset(values, RescaleSlope=3, RescaleIntercept=0)))
    assert stretched.max() == 255


def test_nothing_that_is_not_finite_counts(tmp_path: Path) -> None:
    values = np.linspace(0, 100, 64, dtype=np.float32).reshape(8, 8)
    values[0, :3] = np.nan, np.inf, -np.inf
    pixels = read(written(tmp_path / "i.dcm", dataset(values)), percentiles=(0, 100))
    assert pixels[0, :3].tolist() == [0, 255, 0]
    assert pixels[-1, -1] == 255


def test_unused_high_bits_are_no_part_of_a_value(tmp_path: Path) -> None:
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    path = written(tmp_path / "i.dcm", dataset(values | 0x5000, BitsStored=12, HighBit=11))
    check(read(path, window=(2048, 4096)), spread(values, 0, 4096))


def _volume(tmp_path: Path, syntax: uid.UID = uid.ExplicitVRLittleEndian) -> tuple[Path, np.ndarray]:
    stack = np.stack([RAMP // (1 + number) for number in range(5)])
    return written(tmp_path / "v.dcm", dataset(stack, frames=5), syntax), stack


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian])
def test_percentiles_are_taken_over_all_frames_or_over_one(tmp_path: Path, syntax: uid.UID) -> None:
    path, stack = _volume(tmp_path, syntax)
    for frame in (4, 0, 2):
        whole = spread(stack[frame], *np.percentile(stack, (0.5, 99.5)))
        check(read(path, frame), whole)
        single = spread(stack[frame], *np.percentile(stack[frame], (0.5, 99.5)))
        check(read(path, frame, scope="slice"), single)


def test_the_percentiles_of_a_file_are_sought_once_and_anew_when_it_changes(tmp_path: Path, monkeypatch) -> None:
    path, _ = _volume(tmp_path)
    decoded = []
    real = dicom_file.DicomFile.frame
    monkeypatch.setattr(dicom_file.DicomFile, "frame", lambda file, index: decoded.append(index) or real(file, index))
    for frame in range(5):
        read(path, frame)
    assert len(decoded) == 5 + 5
    other = np.stack([RAMP // 3] * 6)
    written(path, dataset(other, frames=6))
    check(read(path, 1), spread(other[1], *np.percentile(other, (0.5, 99.5))))


def test_of_many_frames_some_stand_for_all(tmp_path: Path, monkeypatch) -> None:
    path, stack = _volume(tmp_path)
    monkeypatch.setattr(dicom, "_MOST_FRAMES", 3)
    check(read(path, 1), spread(stack[1], *np.percentile(stack[[0, 2, 4]], (0.5, 99.5))))


def _group(**elements: object) -> Sequence:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return Sequence([item])


def test_functional_groups_of_a_frame_come_before_those_that_all_share(tmp_path: Path) -> None:
    stack = np.stack([RAMP, RAMP])
    shared, own = Dataset(), Dataset()
    shared.PixelValueTransformationSequence = _group(RescaleSlope=2, RescaleIntercept=5, RescaleType="US")
    shared.FrameVOILUTSequence = _group(WindowCenter=50, WindowWidth=100, VOILUTFunction="LINEAR_EXACT")
    own.FrameVOILUTSequence = _group(WindowCenter=500, WindowWidth=300, VOILUTFunction="LINEAR_EXACT")
    header = dataset(stack, frames=2, SharedFunctionalGroupsSequence=Sequence([shared]))
    header.PerFrameFunctionalGroupsSequence = Sequence([Dataset(), own])
    path = written(tmp_path / "i.dcm", header)
    check(read(path, 0), spread(RAMP * 2.0 + 5, 0, 100))
    check(read(path, 1), spread(RAMP * 2.0 + 5, 350, 650))


def test_threads_read_what_one_reads(tmp_path: Path) -> None:
    path, _ = _volume(tmp_path)
    alone = [read(path, frame) for frame in range(5)]
    path.touch()  # so that nothing of it is remembered
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda number: read(path, number % 5), range(100)))
    for number, pixels in enumerate(together):
        np.testing.assert_array_equal(pixels, alone[number % 5])


@pytest.mark.parametrize(
    ("centre", "width"), [("40,5", "400,25"), (" 40,5 \\80,5", "400,25\\1,0"), ("4,05e1", "+400,25")]
)
def test_a_decimal_comma_is_a_decimal_point(tmp_path: Path, centre: str, width: str) -> None:
    right = read(written(tmp_path / "i.dcm", dataset(RAMP, WindowCenter=40.5, WindowWidth=400.25)))
    header = dataset(RAMP, WindowCenter="11111111111111", WindowWidth="22222222222222")
    content = written(tmp_path / "i.dcm", header).read_bytes()
    content = content.replace(b"1" * 14, centre.ljust(14).encode()).replace(b"2" * 14, width.ljust(14).encode())
    (tmp_path / "i.dcm").write_bytes(content)
    np.testing.assert_array_equal(read(tmp_path / "i.dcm"), right)


@pytest.mark.parametrize("number", ["1,234,5", "1.234,5", "forty"])
def test_what_is_no_number_is_not_read_as_one(tmp_path: Path, number: str) -> None:
    path = written(tmp_path / "i.dcm", dataset(RAMP, RescaleSlope="11111111111111", RescaleIntercept=0))
    path.write_bytes(path.read_bytes().replace(b"1" * 14, number.ljust(14).encode()))
    with pytest.raises(ImageError, match="RescaleSlope is not a number"):
        read(path)
