"""pydicom's own test files: every one with pixels reads right or is refused with a reason."""

from __future__ import annotations

import importlib.util
import logging.handlers
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from medprobe.base import ImageError
from medprobe.manifests import IntensityPolicy, Source, read_image
from medprobe.manifests.readers import dicom
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array

_ROOT = Path(__file__).resolve().parents[2]
_DATA = Path(pydicom.__file__).parent / "data"
_FILES = _DATA / "test_files"
_SPEC = importlib.util.spec_from_file_location("dicom_files", _ROOT / "benchmarks" / "dicom_files.py")
dicom_files = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(dicom_files)
_ROWS = list(dicom_files.rows())


def _read(name: str, frame: int | None = None, **reading: object) -> np.ndarray:
    return read_image(Source(_FILES / name, frame, reading=IntensityPolicy(**reading)))


def _image_or_reason(path: Path, frame: int | None = None) -> np.ndarray | str:
    try:
        pixels = read_image(Source(path, frame))
    except ImageError as error:
        return str(error)
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 2 or pixels.shape[2] == 3
    return pixels


def test_the_table_of_docs_formats_is_what_the_reader_does() -> None:
    message, done = dicom_files.table_of_page().splitlines(), dicom_files.table().splitlines()
    if message[0] != done[0]:
        # Another pydicom ships other files: those that both have are compared.
        names = {line.split("|")[1] for line in message[2:]} & {line.split("|")[1] for line in done[2:]}
        message, done = ([line for line in lines[2:] if line.split("|")[1] in names] for lines in (message, done))
    assert done == message, "python benchmarks/dicom_files.py --update"


def test_every_dicom_file_gives_an_image_or_a_reason_and_no_warning(
    recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
) -> None:
    heard = logging.handlers.BufferingHandler(10_000)
    logging.getLogger().addHandler(heard)
    outcomes = [_image_or_reason(path) for path in dicom_files.dicom_files()]
    reasons = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert 30 < len(reasons) < len(outcomes) - 90
    assert not [reason for reason in reasons if str(_DATA) in reason]
    assert not recwarn.list
    logging.getLogger().removeHandler(heard)
    assert not heard.buffer
    assert capfd.readouterr() == ("", "")


def test_only_dicom_is_recognised_as_dicom() -> None:
    for path in dicom_files.dicom_files():
        if path.name in {row[0] for row in _ROWS}:
            assert dicom.recognises(path.read_bytes()[:512]) is (path.name != "no_meta.dcm"), path.name
    others = [*_ROOT.glob("docs/images/*"), *_ROOT.glob("*/*.py"), *_DATA.rglob("*.icc"), *_DATA.rglob("*.gz")]
    others += [path for path in sys.modules["numpy"].__path__ for path in Path(path).rglob("*.so")]
    assert len(others) > 50
    assert not [path for path in others if dicom.recognises(path.read_bytes()[:512])]
    rng = np.random.default_rng(0)
    assert not any(dicom.recognises(rng.bytes(512)) for _ in range(10_000))
    assert not any(dicom.recognises(start + rng.bytes(508)) for start in (b"\x02\0\0\0", b"\x08\0\5\0") * 2_000)


@pytest.mark.parametrize(
    "names",
    [
        "MR_small MR_small_RLE MR_small_bigendian MR_small_expb MR_small_implicit MR_small_padded",
        "MR_small MR_small_jp2klossless MR_small_jpeg_ls_lossless",
        "SC_rgb_rle SC_rgb_rle_16bit SC_rgb_rle_32bit SC_rgb_jpeg_gdcm SC_rgb_gdcm_KY",
        "SC_rgb_small_odd SC_rgb_small_odd_big_endian",
        "rtdose_1frame rtdose_expb_1frame rtdose_rle_1frame",
        "liver_1frame liver_expb_1frame",
        "SC_rgb_jpeg SC_rgb_jpeg_dcmd SC_jpeg_no_color_transform",
        "SC_rgb_jpeg_app14_dcmd SC_jpeg_no_color_transform_2",
    ],
)
def test_a_picture_is_the_same_under_every_lossless_transfer_syntax(names: str) -> None:
    first, *others = (_read(f"{name}.dcm") for name in names.split())
    assert others
    for other in others:
        np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize("names", ["rtdose rtdose_expb rtdose_rle", "SC_rgb_rle_2frame SC_rgb_rle_16bit_2frame"])
def test_so_is_every_frame(names: str) -> None:
    count = int(pydicom.dcmread(_FILES / f"{names.split()[0]}.dcm").NumberOfFrames)
    frames = [[_read(f"{name}.dcm", frame) for frame in range(count)] for name in names.split()]
    for other in frames[1:]:
        np.testing.assert_array_equal(other, frames[0])
    assert not np.array_equal(frames[0][0], frames[0][-1])


_BARS = {
    5: (255, 0, 0),
    15: (255, 128, 128),
    25: (0, 255, 0),
    35: (128, 255, 128),
    45: (0, 0, 255),
    55: (128, 128, 255),
    65: (0, 0, 0),
    75: (64, 64, 64),
    85: (192, 192, 192),
    95: (255, 255, 255),
}
"""The test picture `SC_rgb`: ten bars, by the row through their middle."""


@pytest.mark.parametrize("name", [row[0] for row in _ROWS if row[4].endswith("100 x 100 x 3")])
def test_colours_are_those_of_the_test_picture(name: str) -> None:
    pixels = _read(name, 0)
    lossy = any(word in name for word in ("dcmtk", "lossy", "ybr"))
    for row, colour in _BARS.items():
        np.testing.assert_allclose(pixels[row, 50].astype(int), colour, atol=6 if lossy else 0)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("examples_rgb_color", (240, 320)), ("examples_jpeg2k", (480, 640)), ("ExplVR_BigEnd", (60, 80))],
)
def test_rgb_of_8_bits_is_what_pydicom_decodes(name: str, shape: tuple[int, int]) -> None:
    np.testing.assert_array_equal(_read(f"{name}.dcm"), pixel_array(_FILES / f"{name}.dcm"))
    assert _read(f"{name}.dcm").shape == (*shape, 3)


def test_every_frame_of_a_ybr_film_is_what_pydicom_decodes() -> None:
    film = pixel_array(_FILES / "examples_ybr_color.dcm", decoding_plugin="pillow")
    for frame in (0, 7, 29):
        np.testing.assert_array_equal(_read("examples_ybr_color.dcm", frame), film[frame])


def _shown_by_pydicom(path: Path) -> np.ndarray:
    """As pydicom shows a file of a linear window, spread over 0 to 255."""
    header = pydicom.dcmread(path)
    shown = apply_voi_lut(apply_modality_lut(header.pixel_array, header), header)
    header.WindowCenter, header.WindowWidth = 0, 1
    ends = apply_voi_lut(np.array([-1e9, 1e9]), header)
    grey = np.rint((shown - ends[0]) / (ends[1] - ends[0]) * 255)
    return 255 - grey if header.PhotometricInterpretation == "MONOCHROME1" else grey


def _windowed() -> list[Path]:
    readable = {row[0] for row in _ROWS if "refused" not in row[4]}
    files = [path for path in dicom_files.dicom_files() if path.name in readable]
    return [path for path in files if "WindowCenter" in pydicom.dcmread(path, stop_before_pixels=True)]


@pytest.mark.parametrize("path", _windowed(), ids=lambda path: path.name)
def test_a_stored_window_gives_what_pydicom_shows(path: Path) -> None:
    # pydicom rounds at another place, so a value halfway between two greys may fall to either.
    np.testing.assert_allclose(read_image(Source(path)).astype(int), _shown_by_pydicom(path), atol=1)


def test_a_palette_gives_what_pydicom_shows() -> None:
    header = pydicom.dcmread(_FILES / "examples_palette.dcm")
    shown = apply_color_lut(header.pixel_array, header)
    high_byte = shown if shown.dtype == np.uint8 else shown >> 8
    np.testing.assert_array_equal(_read("examples_palette.dcm"), high_byte)


def test_percentiles_of_a_dose_are_taken_over_all_its_frames_or_over_each() -> None:
    dose = pixel_array(_FILES / "rtdose.dcm").astype(float)
    for scope, values in (("volume", dose), ("slice", dose[3])):
        low, high = np.percentile(values, (2, 98))
        expected = np.rint(np.clip((dose[3] - low) / (high - low), 0, 1) * 255)
        np.testing.assert_array_equal(_read("rtdose.dcm", 3, percentiles=(2, 98), scope=scope), expected)


def test_masks_of_one_bit_become_black_and_white() -> None:
    mask = pixel_array(_FILES / "liver_1frame.dcm")
    np.testing.assert_array_equal(_read("liver_1frame.dcm"), mask * 255)


def test_a_film_is_refused_without_a_frame_and_beyond_its_last() -> None:
    with pytest.raises(ImageError, match=r"holds 30 images.*frame"):
        _read("examples_ybr_color.dcm")
    with pytest.raises(ImageError, match="no frame 30"):
        _read("examples_ybr_color.dcm", 30)
