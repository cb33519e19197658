"""How DICOM pixels are coded: colours, palettes, compression, and what is refused."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from jpeg_ls import encode_array
from made_dicom import (
    FLAT,
    HTJ2K,
    NAME,
    RAMP,
    RGB,
    check,
    compressed,
    dataset,
    jpeg_of_flat,
    lossless_jpeg,
    read,
    spread,
    written,
)  # fmt: skip
from medprobe.base import ImageError
from medprobe.manifests.readers import codestreams, dicom_file
from PIL import Image
from pydicom import Dataset, uid
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder


def test_planes_and_wide_samples_become_rgb_of_8_bits(tmp_path: Path) -> None:
    planes = dataset(RGB, colours=True, PlanarConfiguration=1)
    planes.PixelData = RGB.transpose(2, 0, 1).tobytes()
    np.testing.assert_array_equal(read(written(tmp_path / "p.dcm", planes)), RGB)
    wide = dataset(RGB.astype(np.uint16) * 16 + 7, colours=True, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read(written(tmp_path / "w.dcm", wide)), RGB)


def test_colours_are_never_windowed(tmp_path: Path) -> None:
    path = written(tmp_path / "i.dcm", dataset(RGB, colours=True, WindowCenter=5, WindowWidth=10))
    for window in ("stored", "percentiles", (0, 4)):
        np.testing.assert_array_equal(read(path, window=window), RGB)


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


@pytest.mark.parametrize("segmented", [False, True], ids=["plain", "segmented"])
@pytest.mark.parametrize("bits", [8, 16])
def test_palettes_become_their_colours(tmp_path: Path, bits: int, segmented: bool) -> None:
    ramp = np.arange(100)
    entries = np.stack([ramp, 200 - ramp, ramp * 0 + 7], axis=1) * (1 if bits == 8 else 256)
    indices = np.random.default_rng(2).integers(0, 130, (6, 8), dtype=np.uint8)
    path = written(tmp_path / "i.dcm", _palette(dataset(indices), entries, 10, bits, segmented=segmented))
    expected = entries[np.clip(indices.astype(int) - 10, 0, 99)] >> (bits - 8)
    np.testing.assert_array_equal(read(path), expected)


def test_a_palette_may_have_more_entries_than_they_have_bits(tmp_path: Path) -> None:
    entries = np.arange(3000).reshape(1000, 3) % 256
    indices = np.random.default_rng(3).integers(0, 1100, (6, 8), dtype=np.uint16)
    path = written(tmp_path / "i.dcm", _palette(dataset(indices), entries, 0, 8))
    np.testing.assert_array_equal(read(path), entries[np.clip(indices, 0, 999)])


def test_a_palette_that_refers_to_itself_is_refused(tmp_path: Path) -> None:
    header = _palette(dataset(RGB[..., 0]), np.zeros((4, 3)), 0, 16)
    for colour in ("Red", "Green", "Blue"):
        delattr(header, f"{colour}PaletteColorLookupTableData")
        data = np.array([0, 1, 5, 2, 9, 0, 0], "<u2").tobytes()
        setattr(header, f"Segmented{colour}PaletteColorLookupTableData", data)
    with pytest.raises(ImageError, match="indirect"):
        read(written(tmp_path / "i.dcm", header))


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422", "YBR_FULL"])
@pytest.mark.parametrize("markers", [{"adobe": 1}, {"jfif": True}, {}], ids=str)
def test_a_marker_in_the_jpeg_is_believed_before_the_header(tmp_path: Path, photometric: str, markers: dict) -> None:
    header = dataset(FLAT, colours=True, PhotometricInterpretation=photometric)
    pixels = read(compressed(tmp_path / "i.dcm", header, [jpeg_of_flat(**markers)], uid.JPEGBaseline8Bit))
    if markers or photometric != "RGB":
        np.testing.assert_allclose(pixels.astype(int), FLAT, atol=3)
    else:
        # Nothing contradicts the header, so its word stands: these samples are called RGB.
        assert not np.allclose(pixels.astype(int), FLAT, atol=30)


def test_high_throughput_jpeg_2000_is_read(tmp_path: Path) -> None:
    values = (np.arange(120) * 37 % 4096).astype(np.uint16).reshape(12, 10)
    path = compressed(tmp_path / "i.dcm", dataset(values), [HTJ2K], uid.HTJ2KLossless)
    check(read(path, window=(2048, 4096)), spread(values, 0, 4096))


def test_frames_in_several_fragments_and_a_file_header_around_the_codestream_are_read(tmp_path: Path) -> None:
    values = (np.arange(120) * 37 % 4096).astype(np.uint16).reshape(12, 10)
    boxed = b"\x00\x00\x00\x0cjP  \r\n\x87\n" + struct.pack(">L4s", 0, b"jp2c") + HTJ2K
    header = dataset(np.stack([values, values]), frames=2)
    header.PixelData = encapsulate([boxed, HTJ2K], fragments_per_frame=3)
    path = written(tmp_path / "i.dcm", header, uid.HTJ2KLossless)
    for frame in range(2):
        check(read(path, frame, window=(2048, 4096)), spread(values, 0, 4096))


def test_a_file_that_is_tiff_and_dicom_is_read_as_dicom(tmp_path: Path) -> None:
    path = written(tmp_path / "i.tif", dataset(RGB[..., 0]))
    path.write_bytes(b"II*\0" + path.read_bytes()[4:])
    np.testing.assert_array_equal(read(path), RGB[..., 0])


def test_what_is_declared_too_large_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch) -> None:
    path = written(tmp_path / "i.dcm", dataset(RGB[..., 0]))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 119)
    monkeypatch.setattr(dicom_file.DicomFile, "frame", None)
    with pytest.raises(ImageError, match="more than 119 pixels"):
        read(path)


def test_a_file_that_inflates_without_end_is_refused(tmp_path: Path, monkeypatch) -> None:
    path = written(tmp_path / "i.dcm", dataset(np.zeros((800, 800), np.uint8)), uid.DeflatedExplicitVRLittleEndian)
    monkeypatch.setattr(dicom_file, "_MAX_INFLATED_BYTES", 500_000)
    with pytest.raises(ImageError, match="inflates"):
        read(path)


def _refusals(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that cannot be read, each with a part of the reason."""
    grey = RGB[..., 0]
    jpeg, whole = jpeg_of_flat(), written(folder / "whole.dcm", dataset(grey))
    (folder / "cut.dcm").write_bytes(whole.read_bytes()[:-40])
    (folder / "short.dcm").write_bytes(whole.read_bytes()[:200])
    short = dataset(grey)
    short.PixelData = grey.tobytes()[:-20]
    colours = {"colours": True, "PhotometricInterpretation": "YBR_FULL"}
    bare = dataset(grey)
    del bare.Rows
    report = dataset(grey)
    del report.PixelData
    deflated = written(folder / "d.dcm", dataset(grey), uid.DeflatedExplicitVRLittleEndian)
    deflated.write_bytes(deflated.read_bytes()[:-20])
    unknown = dataset(grey)
    made = {
        "no pixels": (report, None, "holds no pixels"),
        "fewer pixels": (short, None, "fewer pixels"),
        "no rows": (bare, None, "Rows"),
        "hsv": (dataset(RGB, colours=True, PhotometricInterpretation="HSV"), None, "HSV"),
        "unknown colours": (dataset(RGB, colours=True, PhotometricInterpretation=NAME), None, "unknown kind"),
        "one sample": (dataset(grey, PhotometricInterpretation="RGB"), None, "number of samples"),
        "odd bits": (dataset(grey, BitsAllocated=24), None, "number of bits"),
        "high bit": (dataset(grey, BitsStored=4), None, "lowest bit"),
        "signed colours": (dataset(RGB, colours=True, PixelRepresentation=1), None, "signed"),
        "wide ybr": (dataset(RGB.astype(np.uint16), **colours), None, "YBR"),
        "another size": (dataset(FLAT[1:], colours=True), jpeg, "another size"),
        "half a jpeg": (dataset(FLAT, colours=True), jpeg[: len(jpeg) // 2], "cut off|decoded|do not match"),
        "no jpeg": (dataset(FLAT, colours=True), b"\xff\xd8" + bytes(100), "do not match its header"),
    }
    for name, (header, frame, _) in made.items():
        target = folder / f"{name}.dcm"
        written(target, header) if frame is None else compressed(target, header, [frame], uid.JPEGBaseline8Bit)
    compressed(folder / "video.dcm", unknown, [b"\0\0"], uid.MPEG2MPML)
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
            read(path)
        told = f"{refusal.value} {refusal.value.__cause__}"
        assert NAME not in told, name
        assert str(tmp_path) not in told, name


def test_no_value_of_a_damaged_header_is_repeated(tmp_path: Path) -> None:
    header = dataset(RAMP, WindowCenter="11111", WindowWidth="11111", RescaleSlope="11111", RescaleIntercept="11111")
    header.NumberOfFrames = "11111"
    content = written(tmp_path / "i.dcm", header).read_bytes()
    places = [place for place in range(len(content)) if content.startswith(b"11111", place)]
    assert len(places) == 5
    for place in places:
        (tmp_path / "i.dcm").write_bytes(content[:place] + b"XSECR" + content[place + 5 :])
        with pytest.raises(ImageError) as refusal:
            read(tmp_path / "i.dcm", 0)
        assert "SECR" not in f"{refusal.value} {refusal.value.__cause__}"


def test_an_element_whose_type_does_not_fit_its_length_is_damage(tmp_path: Path) -> None:
    content = written(tmp_path / "i.dcm", dataset(RAMP)).read_bytes()
    assert b"\x02\x00\x10\x00UI" in content
    (tmp_path / "i.dcm").write_bytes(content.replace(b"\x02\x00\x10\x00UI", b"\x02\x00\x10\x00FD"))
    with pytest.raises(ImageError, match="damaged"):
        read(tmp_path / "i.dcm")


def test_a_decoder_that_is_not_installed_is_named(tmp_path: Path, monkeypatch) -> None:
    path = compressed(tmp_path / "i.dcm", dataset(RAMP[:12, :10]), [HTJ2K], uid.HTJ2KLossless)
    monkeypatch.delitem(get_decoder(uid.HTJ2KLossless)._available, "pylibjpeg")
    with pytest.raises(ImageError, match=r"pylibjpeg-openjpeg.*pip install 'pydicom>="):
        read(path)


def test_without_pydicom_the_extra_is_named(tmp_path: Path, monkeypatch) -> None:
    path = written(tmp_path / "i.dcm", dataset(RAMP))
    monkeypatch.setitem(sys.modules, "medprobe.manifests.readers.dicom_file", None)
    with pytest.raises(ImageError, match="pip install 'pydicom>="):
        read(path)


@pytest.mark.parametrize("kept", [0, 1, 20, 44])
def test_a_codestream_that_ends_early_is_refused(kept: int) -> None:
    for describe, whole in (
        (codestreams.describe_jpeg, jpeg_of_flat()),
        (codestreams.describe_jpeg2000, HTJ2K),
    ):
        with pytest.raises(ImageError, match=r"cut off|damaged"):
            describe(whole[:kept])


def test_a_deflated_file_is_the_same_as_an_uncompressed_one(tmp_path: Path) -> None:
    path = written(tmp_path / "d.dcm", dataset(RAMP), uid.DeflatedExplicitVRLittleEndian)
    assert zlib.crc32(read(path)) == zlib.crc32(read(written(tmp_path / "u.dcm", dataset(RAMP))))


_CUTS: dict[str, Callable[[bytes, int], bytes]] = {
    "cut, with an end marker": lambda frame, kept: frame[:kept] + b"\xff\xd9",
    "ends in zeros": lambda frame, kept: frame[:kept] + bytes(len(frame) - kept - 2) + b"\xff\xd9",
    "cut": lambda frame, kept: frame[:kept],
}


def _noisy(bits: int, *channels: int) -> np.ndarray:
    rng, shape = np.random.default_rng(0), (40, 48, *channels)
    return rng.integers(0, 2**bits, shape).astype(np.uint8 if bits <= 8 else np.uint16)


def _baseline(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "JPEG")
    return file.getvalue()


def _jpeg_ls(values: np.ndarray) -> bytes:
    return bytes(encode_array(values, interleave_mode=2 if values.ndim == 3 else None))


_FRAMES = {
    "baseline, grey": (_baseline, _noisy(8), uid.JPEGBaseline8Bit),
    "baseline, colour": (_baseline, _noisy(8, 3), uid.JPEGBaseline8Bit),
    "lossless, grey": (partial(lossless_jpeg, bits=8), _noisy(8), uid.JPEGLossless),
    "lossless, 16 bits": (partial(lossless_jpeg, bits=16), _noisy(16), uid.JPEGLosslessSV1),
    "lossless, colour": (partial(lossless_jpeg, bits=8), _noisy(8, 3), uid.JPEGLosslessSV1),
    "JPEG-LS": (_jpeg_ls, _noisy(16), uid.JPEGLSLossless),
    "JPEG-LS, colour": (_jpeg_ls, _noisy(8, 3), uid.JPEGLSLossless),
}


@pytest.mark.parametrize("kind", _FRAMES)
@pytest.mark.parametrize("cut", _CUTS)
def test_a_frame_without_some_of_its_data_is_refused(tmp_path: Path, kind: str, cut: str) -> None:
    encode, values, syntax = _FRAMES[kind]
    frame = encode(values)
    header = dataset(values, colours=values.ndim == 3)
    if values.ndim == 3 and syntax == uid.JPEGBaseline8Bit:
        header.PhotometricInterpretation = "YBR_FULL"
    pixels = read(compressed(tmp_path / "i.dcm", header, [frame], syntax), window=(32767.5, 65535))
    assert pixels.shape == values.shape
    for share in (0.4, 0.7, 0.95):
        path = compressed(tmp_path / "i.dcm", header, [_CUTS[cut](frame, int(len(frame) * share))], syntax)
        with pytest.raises(ImageError, match=r"cut off|damaged"):
            read(path)


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_sound_lossless_jpeg_is_read_whatever_its_predictor(tmp_path: Path, predictor: int, bits: int) -> None:
    values = _noisy(bits)
    values[:9] = 0  # the code of no difference, and differences of half the range
    values[9::2, ::3] = 2**bits - 1
    header = dataset(values, BitsStored=bits, HighBit=bits - 1)
    path = compressed(tmp_path / "i.dcm", header, [lossless_jpeg(values, bits, predictor)], uid.JPEGLossless)
    check(read(path, window=(2 ** (bits - 1) - 0.5, 2**bits - 1)), spread(values, 0, 2**bits - 1))


@pytest.mark.parametrize("padding", [b"\0", bytes(5)])
@pytest.mark.parametrize("kind", ["JPEG-LS", "lossless, 16 bits", "baseline, grey"])
def test_padding_before_the_end_marker_of_a_frame_costs_no_pixel(tmp_path: Path, kind: str, padding: bytes) -> None:
    encode, values, syntax = _FRAMES[kind]
    frame = encode(values)
    sound = read(compressed(tmp_path / "i.dcm", dataset(values), [frame], syntax))
    padded = compressed(tmp_path / "i.dcm", dataset(values), [frame[:-2] + padding + frame[-2:]], syntax)
    np.testing.assert_array_equal(read(padded), sound)
