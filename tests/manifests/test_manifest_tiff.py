from __future__ import annotations

import io
import struct
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tifffile
from medprobe.base import ImageError
from medprobe.manifests import IntensityPolicy, Source, read_image
from medprobe.manifests.readers.pillow import pixels_of
from PIL import Image
from PIL.TiffImagePlugin import STRIPBYTECOUNTS, STRIPOFFSETS

_RNG = np.random.default_rng(0)
_SHAPE = (19, 37)
_WINDOW = IntensityPolicy(window=(100.0, 4000.0))
_COLOURS = {"minisblack": 1, "miniswhite": 1, "palette": 1, "rgb": 3, "separated": 4}
_PALETTE = (_RNG.integers(0, 256, (3, 256)) * 257).astype(np.uint16)


def _stored(kind: str, bits: int, samples: int) -> np.ndarray:
    if kind == "f":
        return _RNG.normal(0, 2000, (*_SHAPE, samples)).astype(f"f{bits // 8}")
    low, high = (0, 2**bits) if kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1))
    whole = _RNG.integers(low, high, (*_SHAPE, samples), dtype=np.int64)
    return whole.astype(bool if bits == 1 else f"{kind}{bits // 8}")


def _expected(stored: np.ndarray, photometric: str, bits: int, alpha: str | None, reading: IntensityPolicy):
    """What the documented policy makes of the values that tifffile reads; None where their range is not known."""
    is_wide, count = stored.dtype.kind not in "bu" or bits > 16, _COLOURS[photometric]
    if count == 1 and photometric != "palette" and (is_wide or bits > 8) and reading is _WINDOW:
        grey = np.rint(np.clip((stored[..., 0].astype(float) + 1900) * 255 / 4000, 0, 255)).astype(np.uint8)
        return 255 - grey if photometric == "miniswhite" else grey
    if is_wide:
        return None
    values, full = stored[..., :count].astype(np.int64), 2**bits - 1
    if photometric == "palette":
        return (_PALETTE.T[values[..., 0]] >> 8).astype(np.uint8)
    as_bytes = values >> 8 if count > 1 and bits == 16 else np.floor(values * 255 / full + 0.5)
    if photometric == "separated":
        inks = Image.frombytes("CMYK", _SHAPE[::-1], as_bytes.astype(np.uint8).tobytes())
        return np.array(inks.convert("RGB"))
    if alpha == "unassalpha":
        as_bytes = np.rint(as_bytes * (stored[..., count:] >> max(0, bits - 8)) / 255)
    shown = (255 - as_bytes if photometric == "miniswhite" else as_bytes).astype(np.uint8)
    return shown if count > 1 else shown[..., 0]


def _written(path: Path, photometric: str, kind: str, bits: int, extra: str | None, **how) -> np.ndarray | None:
    """Writes a TIFF and returns what tifffile reads of it, (H, W, samples); None where tifffile cannot."""
    samples, planes = _COLOURS[photometric] + (extra is not None), how.pop("planes")
    stored = _stored(kind, bits, samples)
    if extra == "assocalpha":
        stored = np.minimum(stored, stored[..., -1:])
    if planes and samples == 1:
        return None
    values = stored[..., 0] if samples == 1 else stored.transpose(2, 0, 1).copy() if planes else stored
    try:
        tifffile.imwrite(
            path, values, photometric=photometric, metadata=None, rowsperstrip=None if how["tile"] else 7,
            extrasamples=[extra] if extra else None, colormap=_PALETTE if photometric == "palette" else None,
            planarconfig=None if samples == 1 else "separate" if planes else "contig", **how,
        )  # fmt: skip
        read = tifffile.imread(path)
    except ValueError:
        return None
    read = np.moveaxis(read, 0, -1) if planes else read
    return read[..., None] if read.ndim == 2 else read


def _read_or_refused(path: Path, reading: IntensityPolicy) -> np.ndarray | None:
    """The pixels as integers; None where the file is refused as one of a kind that is not supported."""
    try:
        return read_image(Source(path, reading=reading)).astype(int)
    except ImageError as refusal:
        if "not supported" in str(refusal) or "range is not known" in str(refusal):
            return None
        raise


@pytest.mark.parametrize("photometric", _COLOURS)
@pytest.mark.parametrize(
    ("kind", "bits"),
    [("u", 1), ("u", 8), ("i", 8), ("u", 16), ("i", 16), ("u", 32), ("i", 32), ("f", 16), ("f", 32), ("f", 64)],
)  # fmt: skip
def test_a_tiff_has_the_pixels_that_its_header_declares_or_is_refused(tmp_path, photometric, kind, bits) -> None:
    extras = [None, "unspecified", "unassalpha", "assocalpha"] if (kind, bits) in (("u", 8), ("u", 16)) else [None]
    ways = product(extras, (False, True), (None, "zlib", "lzma"), "<>", (None, (16, 16)))
    path, read = tmp_path / "i.tif", 0
    for extra, planes, compression, order, tile in ways:
        how = {"planes": planes, "compression": compression, "byteorder": order, "tile": tile}
        stored = _written(path, photometric, kind, bits, extra, **how)
        for reading in (IntensityPolicy(), _WINDOW) if stored is not None else ():
            pixels = _read_or_refused(path, reading)
            if pixels is None:
                continue
            read += 1
            expected = _expected(stored, photometric, bits, extra, reading)
            assert expected is not None, (how, extra)
            assert pixels.shape == expected.shape
            # Alpha takes two roundings.
            assert np.abs(pixels - expected).max() <= (2 if extra == "assocalpha" else 1), (how, extra)
    if (kind, bits) in (("u", 8), ("u", 16)) and (photometric != "palette" or bits == 8):
        assert read >= 20


def _tiff_of_packed_bits(values: np.ndarray, bits: int, photometric: int, order: str) -> bytes:
    """A grey TIFF whose samples of fewer or more than 8 bits follow each other without gaps, rows at whole bytes."""
    as_bits = values[..., None] >> np.arange(bits)[::-1] & 1
    rows = np.packbits(as_bits.reshape(len(values), -1).astype(np.uint8), axis=1).tobytes()
    if bits == 16 and order == "II":
        rows = values.astype("<u2").tobytes()
    height, width = values.shape
    entries = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8 + 6 + 12 * 9, 277: 1, 278: height}
    entries[279] = len(rows)
    kind = "<" if order == "II" else ">"
    header = struct.pack(f"{kind}2sHLH", order.encode(), 42, 8, len(entries))
    fields = b"".join(struct.pack(f"{kind}HHLL", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    return header + fields + bytes(4) + rows


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 10, 12, 16])
def test_grey_has_the_full_range_of_the_bits_that_its_header_declares(tmp_path, bits, photometric, order) -> None:
    values = np.array([[0, 1, 2**bits // 2, 2**bits - 2, 2**bits - 1]] * 2)
    (tmp_path / "i.tif").write_bytes(_tiff_of_packed_bits(values, bits, photometric, order))
    expected = np.rint(values * 255 / (2**bits - 1))
    pixels = _read_or_refused(tmp_path / "i.tif", IntensityPolicy())
    if pixels is None:
        assert bits > 8
    else:
        assert np.abs(pixels - (expected if photometric else 255 - expected)).max() <= 1


@pytest.mark.parametrize("kind", ["float16", "float64", "int8", "uint64", "complex64"])
def test_a_sound_tiff_of_another_kind_is_not_called_damaged(tmp_path: Path, kind: str) -> None:
    tifffile.imwrite(tmp_path / "i.tif", np.ones(_SHAPE, kind))
    with pytest.raises(ImageError, match="a kind of TIFF that is not supported") as refusal:
        read_image(Source(tmp_path / "i.tif"))
    assert "damaged" not in str(refusal.value)
    damaged = bytearray((tmp_path / "i.tif").read_bytes())
    damaged[4:8] = b"\xff\xff\xff\x7f"  # where its header would be
    (tmp_path / "i.tif").write_bytes(damaged)
    with pytest.raises(ImageError, match="damaged"):
        read_image(Source(tmp_path / "i.tif"))


def test_a_page_of_another_kind_does_not_concern_the_others(tmp_path: Path) -> None:
    grey = _stored("u", 16, 1)[..., 0]
    with tifffile.TiffWriter(tmp_path / "i.tif") as pages:
        for page in (_stored("u", 8, 3), grey.astype(np.float16), grey):
            pages.write(page, photometric="rgb" if page.ndim == 3 else "miniswhite")
    assert read_image(Source(tmp_path / "i.tif", 0)).shape == (*_SHAPE, 3)
    np.testing.assert_array_equal(read_image(Source(tmp_path / "i.tif", 2)), 255 - (grey.astype(int) + 128) // 257)
    for frame, reason in ((1, "16 bits, floating-point"), (None, "holds 3 images"), (3, "no frame 3")):
        with pytest.raises(ImageError, match=reason):
            read_image(Source(tmp_path / "i.tif", frame))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_white_as_0_is_inverted_in_an_image_that_pillow_has_opened_too(tmp_path: Path, kind: type) -> None:
    stored = np.arange(0, 250, 10).reshape(5, 5).astype(kind)
    tifffile.imwrite(tmp_path / "i.tif", stored, photometric="miniswhite")
    with Image.open(tmp_path / "i.tif") as image:
        pixels = pixels_of(image)
    np.testing.assert_array_equal(pixels, read_image(Source(tmp_path / "i.tif")))
    assert pixels[0, 0] == 255


@pytest.mark.parametrize(("order", "is_read"), [("<", True), (">", False)])
def test_bigtiff_is_read_or_refused_by_name(tmp_path: Path, order: str, is_read: bool) -> None:
    colours = _stored("u", 8, 3)
    tifffile.imwrite(tmp_path / "i.tif", colours, photometric="rgb", bigtiff=True, byteorder=order)
    if is_read:
        np.testing.assert_array_equal(read_image(Source(tmp_path / "i.tif")), colours)
    else:
        with pytest.raises(ImageError, match="BigTIFF in big-endian"):
            read_image(Source(tmp_path / "i.tif"))


@pytest.mark.parametrize(
    ("compression", "mode"),
    [("tiff_lzw", "RGB"), ("tiff_adobe_deflate", "RGB"), ("zstd", "L"), ("lzma", "L"), ("jpeg", "L"), ("jpeg", "RGB"),
     ("jpeg", "CMYK"), ("jpeg", "YCbCr"), ("group3", "1"), ("group4", "1")],
)  # fmt: skip
def test_compressed_pixels_of_a_tiff_that_end_in_zeros_are_refused(tmp_path: Path, compression: str, mode: str) -> None:
    noise = Image.fromarray(_RNG.integers(0, 256, (90, 120, 3), dtype=np.uint8)).convert(mode)
    written = io.BytesIO()
    noise.save(written, "TIFF", compression=compression)
    whole = written.getvalue()
    (tmp_path / "i.tif").write_bytes(whole)
    assert read_image(Source(tmp_path / "i.tif")).shape[:2] == (90, 120)
    with Image.open(tmp_path / "i.tif") as image:
        start, size = image.tag_v2[STRIPOFFSETS][-1], image.tag_v2[STRIPBYTECOUNTS][-1]
    for kept in (size // 8, size // 2, size * 9 // 10):
        changed = whole[: start + kept] + bytes(size - kept) + whole[start + size :]
        (tmp_path / "i.tif").write_bytes(changed)
        with pytest.raises(ImageError, match=r"cut off|damaged"):
            read_image(Source(tmp_path / "i.tif"))
