"""Sound ordinary files have Pillow's pixels, and files that lack some are refused: nothing is filled up."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from jpeg_ls import encode_array
from made_dicom import lossless_jpeg
from medprobe.base import ImageError
from medprobe.manifests import IntensityPolicy, Source, read_image
from medprobe.manifests.readers.pillow import pixels_of
from PIL import Image, ImageOps

_ROWS, _COLUMNS = np.mgrid[0:93, 0:131]
_SMOOTH = np.stack([_COLUMNS, _ROWS * 2, _ROWS + _COLUMNS], -1) % 256
_PHOTO = (_SMOOTH * 0.8 + np.random.default_rng(0).normal(20, 9, (93, 131, 3))).clip(0, 255).astype(np.uint8)
_JPEGS = {
    "grey": ("L", {}),
    "colour": ("RGB", {}),
    "4:4:4": ("RGB", {"subsampling": 0, "quality": 95}),
    "4:2:2": ("RGB", {"subsampling": 1}),
    "progressive": ("RGB", {"progressive": True}),
    "restarts": ("RGB", {"restart_marker_blocks": 3}),
    "own tables": ("L", {"optimize": True}),
    "four inks": ("CMYK", {}),
}


def _jpeg(kind: str) -> bytes:
    mode, options = _JPEGS[kind]
    written = io.BytesIO()
    Image.fromarray(_PHOTO).convert(mode).save(written, "JPEG", **options)
    return written.getvalue()


def _read(folder: Path, content: bytes, **how) -> np.ndarray:
    (folder / "i").write_bytes(content)
    return read_image(Source(folder / "i", **how))


def _as_pillow(content: bytes) -> np.ndarray:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    return np.array(image if image.mode == "L" else image.convert("RGB"))


@pytest.mark.parametrize("kind", _JPEGS)
@pytest.mark.parametrize("draft", [None, 40])
def test_a_sound_jpeg_has_pillows_pixels(tmp_path: Path, kind: str, draft: int | None) -> None:
    content = _jpeg(kind)
    image = Image.open(io.BytesIO(content))
    if draft:
        image.draft(None, (draft, draft))
    expected = np.array(image if image.mode == "L" else image.convert("RGB"))
    np.testing.assert_array_equal(_read(tmp_path, content, reading=IntensityPolicy(draft=draft)), expected)


def test_a_jpeg_with_unusual_sampling_has_pillows_pixels(tmp_path: Path) -> None:
    written = io.BytesIO()
    Image.fromarray(_PHOTO).convert("CMYK").save(written, "JPEG", subsampling=1)
    np.testing.assert_array_equal(_read(tmp_path, written.getvalue()), _as_pillow(written.getvalue()))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_every_orientation_is_applied(tmp_path: Path, orientation: int, form: str, mode: str) -> None:
    exif, written = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(_PHOTO).convert(mode).save(written, form, exif=exif)
    np.testing.assert_array_equal(_read(tmp_path, written.getvalue()), _as_pillow(written.getvalue()))


_DAMAGES: dict[str, Callable[[bytes, int], bytes]] = {
    "cut": lambda whole, kept: whole[:kept],
    "cut, with an end marker": lambda whole, kept: whole[:kept] + b"\xff\xd9",
    "ends in zeros": lambda whole, kept: whole[:kept] + bytes(len(whole) - kept),
    "ends in zeros, with an end marker": lambda whole, kept: whole[:kept] + bytes(len(whole) - kept - 2) + b"\xff\xd9",
    "ends in ones": lambda whole, kept: whole[:kept] + b"\xff" * (len(whole) - kept),
    "a block is missing": lambda whole, kept: whole[:kept] + whole[kept + 512 :],
    "a block is zeros": lambda whole, kept: whole[:kept] + bytes(512) + whole[kept + 512 :],
}


@pytest.mark.parametrize("kind", _JPEGS)
@pytest.mark.parametrize("damage", _DAMAGES)
def test_a_jpeg_without_some_of_its_data_is_refused(tmp_path: Path, kind: str, damage: str) -> None:
    whole = _jpeg(kind)
    for share in (0.3, 0.6, 0.85):
        with pytest.raises(ImageError, match=r"cut off|damaged"):
            _read(tmp_path, _DAMAGES[damage](whole, int(len(whole) * share)))


@pytest.mark.parametrize("kind", _JPEGS)
@pytest.mark.parametrize(
    ("before", "after"),
    [(b"", b"maker's notes" * 50), (b"", bytes(700)), (b"\x7f", b""), (bytes(11), b""), (bytes(2000), b""),
     (b"\x55" * 300, b""), (b"padding", b"x")],
)  # fmt: skip
def test_bytes_around_the_end_marker_cost_no_pixel(tmp_path: Path, kind: str, before: bytes, after: bytes) -> None:
    whole = _jpeg(kind)
    np.testing.assert_array_equal(_read(tmp_path, whole[:-2] + before + whole[-2:] + after), _read(tmp_path, whole))


def test_padding_is_looked_for_in_a_time_that_grows_with_the_file(tmp_path: Path) -> None:
    # Segments of zeros as cameras reserve them: a search from each of their bytes would take minutes.
    segment = b"\xff\xe9\xff\xff" + bytes(65533)
    whole = _jpeg("grey")
    padded = whole[:2] + 3 * segment + whole[2:-2] + bytes(2000) + whole[-2:]
    start = time.process_time()
    np.testing.assert_array_equal(_read(tmp_path, padded), _read(tmp_path, whole))
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"\x00\x3f\x00", b"\x00\x00\x00"), (b"JFIF\x00\x01", b"JFIF\x00\x07"), (b"\xff\xdb", b"junk\xff\xdb")],
    ids=["parameters of the scan", "revision", "bytes between segments"],
)
def test_an_odd_header_that_costs_no_pixel_is_read(tmp_path: Path, old: bytes, new: bytes) -> None:
    whole = _jpeg("grey")
    np.testing.assert_array_equal(_read(tmp_path, whole.replace(old, new, 1)), _as_pillow(whole))


@pytest.mark.parametrize("form", ["PNG", "GIF", "WEBP", "JPEG2000"])
@pytest.mark.parametrize("damage", ["cut", "ends in zeros", "ends in ones"])
def test_other_compressed_files_without_some_of_their_data_are_refused(tmp_path, form: str, damage: str) -> None:
    written = io.BytesIO()
    Image.fromarray(_PHOTO).save(written, form)
    whole = written.getvalue()
    for share in (0.3, 0.6, 0.85):
        with pytest.raises(ImageError):
            _read(tmp_path, _DAMAGES[damage](whole, int(len(whole) * share)))


def test_a_webp_of_one_colour_is_sound_although_it_ends_in_zeros(tmp_path: Path) -> None:
    written = io.BytesIO()
    Image.new("RGB", (2500, 2500)).save(written, "WEBP")
    assert written.getvalue().endswith(bytes(64))
    assert not _read(tmp_path, written.getvalue()).any()


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">L", len(content)) + name + content + struct.pack(">L", zlib.crc32(name + content))


def _png(depth: int, colour: int, rows: np.ndarray, transparent: tuple[int, ...], width: int) -> bytes:
    head = struct.pack(">LLBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    key = struct.pack(f">{len(transparent)}H", *transparent)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(name, content) for name, content in ((b"IHDR", head), (b"tRNS", key), (b"IDAT", data), (b"IEND", b""))
    )


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("position", [0, 1, -1])
def test_the_transparent_grey_of_a_png_is_black(tmp_path: Path, depth: int, position: int) -> None:
    levels = np.arange(2**depth) if depth < 8 else np.linspace(0, 2**depth - 1, 16).astype(int)
    levels = np.tile(levels, 16 // len(levels))
    bits = (levels[:, None] >> np.arange(depth)[::-1] & 1).astype(np.uint8)
    rows = np.stack([np.packbits(bits.reshape(-1))] * 2)
    expected = np.rint(np.where(levels == levels[position], 0, levels) * 255 / (2**depth - 1))
    pixels = _read(tmp_path, _png(depth, 0, rows, (levels[position],), 16))
    np.testing.assert_array_equal(pixels, np.stack([expected] * 2))
    with Image.open(tmp_path / "i") as opened:
        np.testing.assert_array_equal(pixels_of(opened), pixels)


def test_a_transparent_colour_of_16_bits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="not supported"):
        _read(tmp_path, _png(16, 2, np.zeros((2, 24), ">u2"), (300, 300, 300), 8))


def _exif(*entries: tuple[int, int, int, bytes], more: bytes = b"") -> bytes:
    """The Exif block of `entries` (tag, type, count, value or its offset), orientation 6 among them."""
    both = sorted([(0x0112, 3, 1, struct.pack("<HH", 6, 0)), *entries])
    fields = b"".join(struct.pack("<HHL", *entry[:3]) + entry[3] for entry in both)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(both)) + fields + bytes(4) + more


_AFTER = struct.pack("<L", 8 + 2 + 24 + 4)
_BAD_TAGS = {
    "resolution of -1/0": _exif((0x011A, 10, 1, _AFTER), more=struct.pack("<ll", -1, 0)),
    "negative short": _exif((0x0213, 8, 1, struct.pack("<hh", -5, 0))),
    "number out of range": _exif((0x0128, 3, 1, struct.pack("<L", 0xFFFF))),
    "text as number": _exif((0x011A, 2, 4, b"abc\0")),
    "value beyond the end": _exif((0x010F, 2, 900, struct.pack("<L", 70_000))),
    "unknown type": _exif((0x0131, 77, 1, bytes(4))),
    "many of them": _exif((0x9286, 7, 0xFFFFFFF, _AFTER)),
    "exposure by zero": _exif((0x829A, 5, 1, _AFTER), more=struct.pack("<LL", 1, 0)),
}


@pytest.mark.filterwarnings("ignore:.*EXIF")
@pytest.mark.parametrize("tag", _BAD_TAGS)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_bad_exif_tag_does_no_harm_to_a_sound_photograph(tmp_path: Path, tag: str, form: str) -> None:
    written = io.BytesIO()
    Image.fromarray(_PHOTO[..., 0]).save(
        written, form, exif=_BAD_TAGS[tag], **({"lossless": True} if form == "WEBP" else {})
    )
    plain = io.BytesIO()
    Image.fromarray(_PHOTO[..., 0]).save(plain, form, **({"lossless": True} if form == "WEBP" else {}))
    np.testing.assert_array_equal(_read(tmp_path, written.getvalue()), np.rot90(_as_pillow(plain.getvalue()), -1))


def test_an_unreadable_exif_block_leaves_the_photograph_as_stored(tmp_path: Path) -> None:
    written = io.BytesIO()
    Image.fromarray(_PHOTO).save(written, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert _read(tmp_path, written.getvalue()).shape == _PHOTO.shape


@pytest.mark.parametrize(
    ("content", "reason"),
    [(lossless_jpeg(np.arange(99).reshape(9, 11), 12), "a JPEG of 12 bits"),
     (bytes(encode_array(_PHOTO[..., 0].copy())), "a JPEG-LS, which is not supported")],
    ids=["12 bits", "JPEG-LS"],
)  # fmt: skip
def test_a_sound_jpeg_of_another_kind_is_not_called_damaged(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        _read(tmp_path, content)
    with pytest.raises(ImageError, match=r"cut off|damaged"):
        _read(tmp_path, content[: len(content) // 9])


def test_every_picture_of_a_jpeg_of_several_is_read(tmp_path: Path) -> None:
    first, second = Image.fromarray(_PHOTO), Image.fromarray(_PHOTO[::-1].copy())
    written = io.BytesIO()
    first.save(written, "MPO", save_all=True, append_images=[second])
    opened = Image.open(written)
    for frame in (None, 0, 1):
        opened.seek(frame or 0)
        np.testing.assert_array_equal(_read(tmp_path, written.getvalue(), frame=frame), np.array(opened))
