"""DICOM files made for one promise each."""

from __future__ import annotations

import base64
import io
import struct
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from medprobe.base import ImageError
from medprobe.manifests import Reading, Source, read_image
from medprobe.manifests.readers import dicom, dicom_codestream, dicom_file
from PIL import Image
from pydicom import Dataset, dcmwrite, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut, get_decoder
from pydicom.sequence import Sequence

_NAME = "PLANTED^NAME"
_RAMP = np.arange(-1024, 3072, dtype=np.int16).reshape(64, 64)


def _dataset(pixels: np.ndarray, *, colours: bool = False, frames: int = 0, **elements: object) -> Dataset:
    shape = pixels.shape[1:] if frames else pixels.shape
    header = Dataset()
    header.PatientName, header.PatientID, header.SOPClassUID = _NAME, _NAME, uid.SecondaryCaptureImageStorage
    header.Rows, header.Columns = shape[:2]
    header.SamplesPerPixel = 3 if colours else 1
    header.PhotometricInterpretation = "RGB" if colours else "MONOCHROME2"
    if colours:
        header.PlanarConfiguration = 0
    header.BitsAllocated = 8 * pixels.dtype.itemsize
    if frames:
        header.NumberOfFrames = frames
    if pixels.dtype.kind == "f":
        setattr(header, "FloatPixelData" if pixels.itemsize == 4 else "DoubleFloatPixelData", pixels.tobytes())
    else:
        header.BitsStored, header.HighBit = header.BitsAllocated, header.BitsAllocated - 1
        header.PixelRepresentation = int(pixels.dtype.kind == "i")
        header.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    for keyword, value in elements.items():
        setattr(header, keyword, value)
    return header


def _written(path: Path, header: Dataset, syntax: uid.UID = uid.ExplicitVRLittleEndian) -> Path:
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    if "PixelData" in header:
        header["PixelData"].VR = "OB" if syntax.is_encapsulated or header.BitsAllocated == 8 else "OW"
        header["PixelData"].is_undefined_length = syntax.is_encapsulated
    dcmwrite(path, header, enforce_file_format=True)
    return path


def _compressed(path: Path, header: Dataset, frames: list[bytes], syntax: uid.UID) -> Path:
    header.PixelData = encapsulate(frames)
    return _written(path, header, syntax)


def _read(path: Path, frame: int | None = None, **reading: object) -> np.ndarray:
    return read_image(Source(path, frame, reading=Reading(**reading)))


def _spread(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """The greys before rounding."""
    return np.clip((values.astype(float) - low) / (high - low), 0, 1) * 255


def _check(pixels: np.ndarray, greys: np.ndarray) -> None:
    np.testing.assert_allclose(pixels, greys, rtol=0, atol=0.5 + 1e-6)


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("window", [(40, 400), (-600, 1500), (0.5, 1), ([100, 1], [50, 4000])])
def test_a_stored_window_of_every_function_gives_what_pydicom_shows(tmp_path: Path, function, window) -> None:
    header = _dataset(_RAMP, RescaleSlope=1, RescaleIntercept=-24, WindowCenter=window[0], WindowWidth=window[1])
    if function:
        header.VOILUTFunction = function
    pixels = _read(_written(tmp_path / "i.dcm", header))
    low, high = -(2**15) - 24, 2**15 - 1 - 24
    shown = apply_voi_lut(apply_modality_lut(_RAMP, header), header)
    np.testing.assert_allclose(pixels, (shown - low) / (high - low) * 255, atol=0.51)
    assert len(np.unique(pixels)) > (1 if window[1] == 1 else 40)


def test_a_window_of_width_1_is_a_step(tmp_path: Path) -> None:
    pixels = _read(_written(tmp_path / "i.dcm", _dataset(_RAMP, WindowCenter=0.5, WindowWidth=1)))
    np.testing.assert_array_equal(pixels, np.where(_RAMP <= 0, 0, 255))


def test_a_given_window_is_in_units_after_rescale(tmp_path: Path) -> None:
    path = _written(
        tmp_path / "i.dcm", _dataset(_RAMP, RescaleSlope=2, RescaleIntercept=-100, WindowCenter=9, WindowWidth=9)
    )
    _check(_read(path, window=(40, 400)), _spread(_RAMP * 2.0 - 100, -160, 240))


@pytest.mark.parametrize("width", [0, -1, 0.5])
def test_a_window_without_width_counts_as_none(tmp_path: Path, width: float) -> None:
    path = _written(tmp_path / "i.dcm", _dataset(_RAMP, WindowCenter=40, WindowWidth=width))
    _check(_read(path), _spread(_RAMP, *np.percentile(_RAMP, (0.5, 99.5))))


def test_percentiles_pass_over_what_the_file_asks_for(tmp_path: Path) -> None:
    path = _written(tmp_path / "i.dcm", _dataset(_RAMP, WindowCenter=40, WindowWidth=10))
    _check(_read(path, window="percentiles", percentiles=(10, 90)), _spread(_RAMP, *np.percentile(_RAMP, (10, 90))))


def test_a_falling_slope_keeps_percentiles_in_order(tmp_path: Path) -> None:
    path = _written(tmp_path / "i.dcm", _dataset(_RAMP, RescaleSlope=-0.5, RescaleIntercept=0))
    _check(_read(path), _spread(_RAMP * -0.5, *np.percentile(_RAMP * -0.5, (0.5, 99.5))))


def test_padding_counts_in_no_percentile(tmp_path: Path) -> None:
    padded = _RAMP.copy()
    padded[:32] = -2000
    rest = _RAMP[32:]
    for elements in ({"PixelPaddingValue": -2000}, {"PixelPaddingValue": -2100, "PixelPaddingRangeLimit": -1900}):
        pixels = _read(_written(tmp_path / "i.dcm", _dataset(padded, **elements)), percentiles=(1, 99))
        _check(pixels[32:], _spread(rest, *np.percentile(rest, (1, 99))))
    assert not _read(_written(tmp_path / "i.dcm", _dataset(np.full_like(_RAMP, 7), PixelPaddingValue=7))).any()


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    elements = {"WindowCenter": 40, "WindowWidth": 400}
    plain = _read(_written(tmp_path / "2.dcm", _dataset(_RAMP, **elements)))
    inverted = _read(_written(tmp_path / "1.dcm", _dataset(_RAMP, PhotometricInterpretation="MONOCHROME1", **elements)))
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
    header = _dataset(_RAMP, VOILUTSequence=_lut(first, entries, bits, representation), WindowCenter=1, WindowWidth=1)
    pixels = _read(_written(tmp_path / "i.dcm", header))
    shown = entries[np.clip(_RAMP.astype(int) - first, 0, len(entries) - 1)]
    np.testing.assert_array_equal(pixels, np.rint(shown / (2**bits - 1) * 255))
    # pydicom lets values of more than 8 bits wrap round in a table of 8.
    if bits > 8:
        np.testing.assert_array_equal(shown, apply_voi_lut(_RAMP, header))


def test_a_modality_lut_comes_before_the_window(tmp_path: Path) -> None:
    entries = np.arange(1000, 0, -1).astype(np.uint16)
    header = _dataset(_RAMP, ModalityLUTSequence=_lut(-500, entries, 16), WindowCenter=500, WindowWidth=800)
    header.VOILUTFunction = "LINEAR_EXACT"
    path = _written(tmp_path / "i.dcm", header)
    _check(_read(path), _spread(apply_modality_lut(_RAMP, header), 100, 900))


def test_an_unknown_window_function_is_refused(tmp_path: Path) -> None:
    path = _written(tmp_path / "i.dcm", _dataset(_RAMP, WindowCenter=1, WindowWidth=5, VOILUTFunction=_NAME[:7]))
    with pytest.raises(ImageError, match=r"reading\.window") as refusal:
        _read(path)
    assert _NAME[:7] not in str(refusal.value)
    assert _read(path, window=(0, 10)).any()


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
def test_values_of_every_type_are_read(tmp_path: Path, dtype: str, syntax: uid.UID) -> None:
    values = np.random.default_rng(0).normal(60, 20, (32, 31)).astype(dtype)
    path = _written(tmp_path / "i.dcm", _dataset(values), syntax)
    _check(_read(path, window="percentiles"), _spread(values, *np.percentile(values, (0.5, 99.5))))


def test_8_bits_that_ask_for_nothing_are_greys(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(40, 90, (9, 8), np.uint8)
    np.testing.assert_array_equal(_read(_written(tmp_path / "i.dcm", _dataset(values))), values)
    stretched = _read(_written(tmp_path / "r.dcm", _dataset(values, RescaleSlope=3, RescaleIntercept=0)))
    assert stretched.max() == 255


def test_nothing_that_is_not_finite_counts(tmp_path: Path) -> None:
    values = np.linspace(0, 100, 64, dtype=np.float32).reshape(8, 8)
    values[0, :3] = np.nan, np.inf, -np.inf
    pixels = _read(_written(tmp_path / "i.dcm", _dataset(values)), percentiles=(0, 100))
    assert pixels[0, :3].tolist() == [0, 255, 0]
    assert pixels[-1, -1] == 255


def test_unused_high_bits_are_no_part_of_a_value(tmp_path: Path) -> None:
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    path = _written(tmp_path / "i.dcm", _dataset(values | 0x5000, BitsStored=12, HighBit=11))
    _check(_read(path, window=(2048, 4096)), _spread(values, 0, 4096))


def _volume(tmp_path: Path, syntax: uid.UID = uid.ExplicitVRLittleEndian) -> tuple[Path, np.ndarray]:
    stack = np.stack([_RAMP // (1 + number) for number in range(5)])
    return _written(tmp_path / "v.dcm", _dataset(stack, frames=5), syntax), stack


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian])
def test_percentiles_are_taken_over_all_frames_or_over_one(tmp_path: Path, syntax: uid.UID) -> None:
    path, stack = _volume(tmp_path, syntax)
    for frame in (4, 0, 2):
        whole = _spread(stack[frame], *np.percentile(stack, (0.5, 99.5)))
        _check(_read(path, frame), whole)
        single = _spread(stack[frame], *np.percentile(stack[frame], (0.5, 99.5)))
        _check(_read(path, frame, scope="slice"), single)


def test_the_percentiles_of_a_file_are_sought_once_and_anew_when_it_changes(tmp_path: Path, monkeypatch) -> None:
    path, _ = _volume(tmp_path)
    decoded = []
    real = dicom_file.DicomFile.frame
    monkeypatch.setattr(dicom_file.DicomFile, "frame", lambda file, index: decoded.append(index) or real(file, index))
    for frame in range(5):
        _read(path, frame)
    assert len(decoded) == 5 + 5
    other = np.stack([_RAMP // 3] * 6)
    _written(path, _dataset(other, frames=6))
    _check(_read(path, 1), _spread(other[1], *np.percentile(other, (0.5, 99.5))))


def test_of_many_frames_some_stand_for_all(tmp_path: Path, monkeypatch) -> None:
    path, stack = _volume(tmp_path)
    monkeypatch.setattr(dicom, "_MOST_FRAMES", 3)
    _check(_read(path, 1), _spread(stack[1], *np.percentile(stack[[0, 2, 4]], (0.5, 99.5))))


def _group(**elements: object) -> Sequence:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return Sequence([item])


def test_functional_groups_of_a_frame_come_before_those_that_all_share(tmp_path: Path) -> None:
    stack = np.stack([_RAMP, _RAMP])
    shared, own = Dataset(), Dataset()
    shared.PixelValueTransformationSequence = _group(RescaleSlope=2, RescaleIntercept=5, RescaleType="US")
    shared.FrameVOILUTSequence = _group(WindowCenter=50, WindowWidth=100, VOILUTFunction="LINEAR_EXACT")
    own.FrameVOILUTSequence = _group(WindowCenter=500, WindowWidth=300, VOILUTFunction="LINEAR_EXACT")
    header = _dataset(stack, frames=2, SharedFunctionalGroupsSequence=Sequence([shared]))
    header.PerFrameFunctionalGroupsSequence = Sequence([Dataset(), own])
    path = _written(tmp_path / "i.dcm", header)
    _check(_read(path, 0), _spread(_RAMP * 2.0 + 5, 0, 100))
    _check(_read(path, 1), _spread(_RAMP * 2.0 + 5, 350, 650))


_RGB = np.random.default_rng(1).integers(0, 256, (10, 12, 3), dtype=np.uint8)


def test_planes_and_wide_samples_become_rgb_of_8_bits(tmp_path: Path) -> None:
    planes = _dataset(_RGB, colours=True, PlanarConfiguration=1)
    planes.PixelData = _RGB.transpose(2, 0, 1).tobytes()
    np.testing.assert_array_equal(_read(_written(tmp_path / "p.dcm", planes)), _RGB)
    wide = _dataset(_RGB.astype(np.uint16) * 16 + 7, colours=True, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(_read(_written(tmp_path / "w.dcm", wide)), _RGB)


def test_colours_are_never_windowed(tmp_path: Path) -> None:
    path = _written(tmp_path / "i.dcm", _dataset(_RGB, colours=True, WindowCenter=5, WindowWidth=10))
    for window in ("stored", "percentiles", (0, 4)):
        np.testing.assert_array_equal(_read(path, window=window), _RGB)


def _palette(header: Dataset, entries: np.ndarray, first: int, bits: int, *, segmented: bool = False) -> Dataset:
    header.PhotometricInterpretation = "PALETTE COLOR"
    for number, colour in enumerate(("Red", "Green", "Blue")):
        setattr(header, f"{colour}PaletteColorLookupTableDescriptor", [len(entries), first, bits])
        keyword = f"{'Segmented' if segmented else ''}{colour}PaletteColorLookupTableData"
        data = entries[:, number].astype(f"<u{bits // 8}")
        if segmented:
            # The first entry by itself, then a line to the last.
            data = np.array([0, 1, data[0], 1, len(data) - 1, data[-1]], data.dtype)
        setattr(header, keyword, data.tobytes())
    return header


@pytest.mark.parametrize("segmented", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_palettes_become_their_colours(tmp_path: Path, bits: int, segmented: bool) -> None:
    ramp = np.arange(100)
    entries = np.stack([ramp, 200 - ramp, ramp * 0 + 7], axis=1) * (1 if bits == 8 else 256)
    indices = np.random.default_rng(2).integers(0, 130, (6, 8), dtype=np.uint8)
    path = _written(tmp_path / "i.dcm", _palette(_dataset(indices), entries, 10, bits, segmented=segmented))
    expected = entries[np.clip(indices.astype(int) - 10, 0, 99)] >> (bits - 8)
    np.testing.assert_array_equal(_read(path), expected)


def test_a_palette_that_refers_to_itself_is_refused(tmp_path: Path) -> None:
    header = _palette(_dataset(_RGB[..., 0]), np.zeros((4, 3)), 0, 16)
    for colour in ("Red", "Green", "Blue"):
        delattr(header, f"{colour}PaletteColorLookupTableData")
        data = np.array([0, 1, 5, 2, 9, 0, 0], "<u2").tobytes()
        setattr(header, f"Segmented{colour}PaletteColorLookupTableData", data)
    with pytest.raises(ImageError, match="indirect"):
        _read(_written(tmp_path / "i.dcm", header))


_FLAT = np.broadcast_to(np.array([200, 60, 20], np.uint8), (16, 16, 3))


def _jpeg(*, adobe: int | None = None, jfif: bool = False) -> bytes:
    """A JPEG of `_FLAT` in YCbCr that says so in the way that is asked for."""
    file = io.BytesIO()
    Image.fromarray(_FLAT).save(file, "JPEG", quality=95, subsampling=0)
    whole = file.getvalue()
    (length,) = struct.unpack_from(">H", whole, 4)
    said = b"" if adobe is None else b"\xff\xee\x00\x0eAdobe\x00\x64" + bytes([0, 0, 0, 0, adobe])
    return whole[:2] + said + (whole[2:] if jfif else whole[4 + length :])


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422", "YBR_FULL"])
@pytest.mark.parametrize("markers", [{"adobe": 1}, {"jfif": True}, {}], ids=str)
def test_a_marker_in_the_jpeg_is_believed_before_the_header(tmp_path: Path, photometric: str, markers: dict) -> None:
    header = _dataset(_FLAT, colours=True, PhotometricInterpretation=photometric)
    pixels = _read(_compressed(tmp_path / "i.dcm", header, [_jpeg(**markers)], uid.JPEGBaseline8Bit))
    if markers or photometric != "RGB":
        np.testing.assert_allclose(pixels.astype(int), _FLAT, atol=3)
    else:
        # Nothing contradicts the header, so its word stands: these samples are called RGB.
        assert not np.allclose(pixels.astype(int), _FLAT, atol=30)


_HTJ2K = base64.b85decode(
    "|4;u>04YEK0000A0000C00000000000000A0000C0000000000009pH0sl|{2mk^A000XAQUDA90ssL31q1{@0smY86Cj9?kdTm&kdTm&kdTmwh"
    "=~7W02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00000p8x^>lfVEbQ}YD}bN~Rr024p}6F>kG037}T2Xp}5_5+7>009Sd0KfnfKmZd!01|*EmjM"
    "fO03YuFA~XQr0Ect{zyK8x00mS40Wkl6-~k8XbpU|&+4sOQ0sgiC|9^o5bO68rE8qYYga86?NCZLtN0879@&fnZi+KPW#YWiZjo#?=97c2j?6?5`f"
    "A#@_bpZd_"
)
"""`arange(120).reshape(12, 10) * 37 % 4096` in 16 bits, losslessly compressed by OpenJPH."""


def test_high_throughput_jpeg_2000_is_read(tmp_path: Path) -> None:
    values = (np.arange(120) * 37 % 4096).astype(np.uint16).reshape(12, 10)
    path = _compressed(tmp_path / "i.dcm", _dataset(values), [_HTJ2K], uid.HTJ2KLossless)
    _check(_read(path, window=(2048, 4096)), _spread(values, 0, 4096))


def test_frames_in_several_fragments_and_a_file_header_around_the_codestream_are_read(tmp_path: Path) -> None:
    values = (np.arange(120) * 37 % 4096).astype(np.uint16).reshape(12, 10)
    boxed = b"\x00\x00\x00\x0cjP  \r\n\x87\n" + struct.pack(">L4s", 0, b"jp2c") + _HTJ2K
    header = _dataset(np.stack([values, values]), frames=2)
    header.PixelData = encapsulate([boxed, _HTJ2K], fragments_per_frame=3)
    path = _written(tmp_path / "i.dcm", header, uid.HTJ2KLossless)
    for frame in range(2):
        _check(_read(path, frame, window=(2048, 4096)), _spread(values, 0, 4096))


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_a_file_without_its_mark_is_known_by_its_first_elements(tmp_path: Path, syntax: uid.UID) -> None:
    big = not syntax.is_little_endian
    header = _dataset(_RAMP.astype(">i2") if big else _RAMP, SpecificCharacterSet="ISO_IR 100")
    path = _written(tmp_path / "i.dcm", header, syntax)
    expected = _spread(_RAMP, *np.percentile(_RAMP, (0.5, 99.5)))
    _check(_read(path), expected)
    dcmwrite(
        path, header, implicit_vr=syntax.is_implicit_VR, little_endian=not big, force_encoding=True, overwrite=True
    )
    content = path.read_bytes()
    start = content.find(b"\x00\x08\x00\x05" if big else b"\x08\x00\x05\x00")
    path.write_bytes(content[start:])
    assert not content[start:].startswith(b"DICM")
    _check(_read(path), expected)


def test_a_file_that_is_tiff_and_dicom_is_read_as_dicom(tmp_path: Path) -> None:
    path = _written(tmp_path / "i.tif", _dataset(_RGB[..., 0]))
    path.write_bytes(b"II*\0" + path.read_bytes()[4:])
    np.testing.assert_array_equal(_read(path), _RGB[..., 0])


def test_what_is_declared_too_large_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch) -> None:
    path = _written(tmp_path / "i.dcm", _dataset(_RGB[..., 0]))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 119)
    monkeypatch.setattr(dicom_file.DicomFile, "frame", None)
    with pytest.raises(ImageError, match="more than 119 pixels"):
        _read(path)


def test_a_file_that_inflates_without_end_is_refused(tmp_path: Path, monkeypatch) -> None:
    path = _written(tmp_path / "i.dcm", _dataset(np.zeros((800, 800), np.uint8)), uid.DeflatedExplicitVRLittleEndian)
    monkeypatch.setattr(dicom_file, "_MOST_INFLATED", 500_000)
    with pytest.raises(ImageError, match="inflates"):
        _read(path)


def _refusals(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that cannot be read, each with a part of the reason."""
    grey = _RGB[..., 0]
    jpeg, whole = _jpeg(), _written(folder / "whole.dcm", _dataset(grey))
    (folder / "cut.dcm").write_bytes(whole.read_bytes()[:-40])
    (folder / "short.dcm").write_bytes(whole.read_bytes()[:200])
    short = _dataset(grey)
    short.PixelData = grey.tobytes()[:-20]
    colours = {"colours": True, "PhotometricInterpretation": "YBR_FULL"}
    bare = _dataset(grey)
    del bare.Rows
    report = _dataset(grey)
    del report.PixelData
    deflated = _written(folder / "d.dcm", _dataset(grey), uid.DeflatedExplicitVRLittleEndian)
    deflated.write_bytes(deflated.read_bytes()[:-20])
    unknown = _dataset(grey)
    made = {
        "no pixels": (report, None, "holds no pixels"),
        "fewer pixels": (short, None, "fewer pixels"),
        "no rows": (bare, None, "Rows"),
        "hsv": (_dataset(_RGB, colours=True, PhotometricInterpretation="HSV"), None, "HSV"),
        "unknown colours": (_dataset(_RGB, colours=True, PhotometricInterpretation=_NAME), None, "unknown kind"),
        "one sample": (_dataset(grey, PhotometricInterpretation="RGB"), None, "number of samples"),
        "odd bits": (_dataset(grey, BitsAllocated=24), None, "number of bits"),
        "high bit": (_dataset(grey, BitsStored=4), None, "lowest bit"),
        "signed colours": (_dataset(_RGB, colours=True, PixelRepresentation=1), None, "signed"),
        "wide ybr": (_dataset(_RGB.astype(np.uint16), **colours), None, "YBR"),
        "another size": (_dataset(_FLAT[1:], colours=True), jpeg, "another size"),
        "half a jpeg": (_dataset(_FLAT, colours=True), jpeg[: len(jpeg) // 2], "cut off|decoded|not what"),
        "no jpeg": (_dataset(_FLAT, colours=True), b"\xff\xd8" + bytes(100), "not what its header says"),
    }
    for name, (header, frame, _) in made.items():
        target = folder / f"{name}.dcm"
        _written(target, header) if frame is None else _compressed(target, header, [frame], uid.JPEGBaseline8Bit)
    _compressed(folder / "video.dcm", unknown, [b"\0\0"], uid.MPEG2MPML)
    return {
        **{name: (folder / f"{name}.dcm", reason) for name, (_, _, reason) in made.items()},
        "cut": (folder / "cut.dcm", "cut off"),
        "short": (folder / "short.dcm", "holds no pixels|cut off"),
        "deflated": (deflated, "cut off"),
        "video": (folder / "video.dcm", "MPEG2"),
    }


def test_what_cannot_be_read_is_refused_with_a_reason_that_repeats_no_header_and_no_folder(tmp_path: Path) -> None:
    for name, (path, reason) in _refusals(tmp_path).items():
        with pytest.raises(ImageError, match=reason) as refusal:
            _read(path)
        told = f"{refusal.value} {refusal.value.__cause__}"
        assert _NAME not in told, name
        assert str(tmp_path) not in told, name


def test_no_value_of_a_damaged_header_is_repeated(tmp_path: Path) -> None:
    header = _dataset(_RAMP, WindowCenter="11111", WindowWidth="11111", RescaleSlope="11111", RescaleIntercept="11111")
    header.NumberOfFrames = "11111"
    content = _written(tmp_path / "i.dcm", header).read_bytes()
    places = [place for place in range(len(content)) if content.startswith(b"11111", place)]
    assert len(places) == 5
    for place in places:
        (tmp_path / "i.dcm").write_bytes(content[:place] + b"XSECR" + content[place + 5 :])
        with pytest.raises(ImageError) as refusal:
            _read(tmp_path / "i.dcm", 0)
        assert "SECR" not in f"{refusal.value} {refusal.value.__cause__}"


def test_a_decoder_that_is_not_installed_is_named(tmp_path: Path, monkeypatch) -> None:
    path = _compressed(tmp_path / "i.dcm", _dataset(_RAMP[:12, :10]), [_HTJ2K], uid.HTJ2KLossless)
    monkeypatch.delitem(get_decoder(uid.HTJ2KLossless)._available, "pylibjpeg")
    with pytest.raises(ImageError, match=r"pylibjpeg-openjpeg.*medprobe\[medical\]"):
        _read(path)


def test_without_pydicom_the_extra_is_named(tmp_path: Path, monkeypatch) -> None:
    path = _written(tmp_path / "i.dcm", _dataset(_RAMP))
    monkeypatch.setitem(sys.modules, "medprobe.manifests.readers.dicom_file", None)
    with pytest.raises(ImageError, match=r'pip install "medprobe\[medical\]"'):
        _read(path)


def test_threads_read_what_one_reads(tmp_path: Path) -> None:
    path, _ = _volume(tmp_path)
    alone = [_read(path, frame) for frame in range(5)]
    dicom._MEMO.clear()
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda number: _read(path, number % 5), range(100)))
    for number, pixels in enumerate(together):
        np.testing.assert_array_equal(pixels, alone[number % 5])


@pytest.mark.parametrize("kept", [0, 1, 20, 44])
def test_a_codestream_that_ends_early_is_refused(kept: int) -> None:
    for describe, whole in ((dicom_codestream.describe_jpeg, _jpeg()), (dicom_codestream.describe_jpeg2000, _HTJ2K)):
        with pytest.raises(ImageError, match=r"cut off|damaged"):
            describe(whole[:kept])


def test_a_deflated_file_is_the_same_as_an_uncompressed_one(tmp_path: Path) -> None:
    path = _written(tmp_path / "d.dcm", _dataset(_RAMP), uid.DeflatedExplicitVRLittleEndian)
    assert zlib.crc32(_read(path)) == zlib.crc32(_read(_written(tmp_path / "u.dcm", _dataset(_RAMP))))
