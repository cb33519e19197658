from __future__ import annotations

import errno
import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
from medprobe.base import ImageError
from medprobe.manifests import read_image
from medprobe.manifests.readers import content_digest, npz
from medprobe.manifests.readers.read_errors import DamageAsImageError
from medprobe.manifests.readers.source import Source, source_stamp
from PIL import Image, features
from PIL.PngImagePlugin import PngImageFile

_NOISE = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)


def _read(path: Path, frame: int | None = None, member: str | None = None) -> np.ndarray:
    return read_image(Source(path, frame, member))


def _saved(folder: Path, image: Image.Image, name: str = "image.png", **options: object) -> Path:
    image.save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "webp"])
def test_lossless_formats_give_the_pixels_that_were_written(tmp_path: Path, suffix: str) -> None:
    if suffix == "webp" and not features.check("webp"):
        pytest.skip("this Pillow has no WebP")
    options = {"lossless": True} if suffix == "webp" else {}
    np.testing.assert_array_equal(_read(_saved(tmp_path, Image.fromarray(_NOISE), f"i.{suffix}", **options)), _NOISE)


def test_the_reader_is_chosen_by_content_not_by_name(tmp_path: Path) -> None:
    path = _saved(tmp_path, Image.fromarray(_NOISE)).rename(tmp_path / "scan.npz")
    np.testing.assert_array_equal(_read(path), _NOISE)


def test_grey_stays_grey(tmp_path: Path) -> None:
    np.testing.assert_array_equal(_read(_saved(tmp_path, Image.fromarray(_NOISE[..., 0]))), _NOISE[..., 0])


@pytest.mark.parametrize("mode", ["P", "CMYK", "YCbCr"])
def test_palette_and_other_colours_become_rgb(tmp_path: Path, mode: str) -> None:
    flat = Image.new("RGB", (6, 5), (200, 40, 90)).convert(mode, palette=Image.Palette.ADAPTIVE)
    path = _saved(tmp_path, flat, "i.png" if mode == "P" else "i.tif")
    pixels = _read(path)
    assert pixels.shape == (5, 6, 3)
    np.testing.assert_allclose(pixels, np.broadcast_to([200, 40, 90], (5, 6, 3)), atol=3)


def test_what_alpha_hides_is_black(tmp_path: Path) -> None:
    colours = np.dstack([_NOISE, np.where(np.arange(7) < 3, 0, 255)[None].repeat(9, 0).astype(np.uint8)])
    pixels = _read(_saved(tmp_path, Image.fromarray(colours, "RGBA")))
    assert not pixels[:, :3].any()
    np.testing.assert_array_equal(pixels[:, 3:], _NOISE[:, 3:])


def test_grey_with_alpha_stays_grey(tmp_path: Path) -> None:
    grey = np.dstack([_NOISE[..., 0], np.full((9, 7), 255, np.uint8)])
    np.testing.assert_array_equal(_read(_saved(tmp_path, Image.fromarray(grey, "LA"))), _NOISE[..., 0])


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_are_scaled_by_their_full_range(tmp_path: Path, suffix: str) -> None:
    wide = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    pixels = _read(_saved(tmp_path, Image.fromarray(wide), f"i.{suffix}"))
    assert pixels.dtype == np.uint8
    assert pixels.tolist() == [[0, 0, 1, 1, 128, 255]]


def test_one_bit_becomes_black_and_white(tmp_path: Path) -> None:
    assert _read(_saved(tmp_path, Image.fromarray(_NOISE[..., 0] > 127))).tolist() == [
        [255 if value > 127 else 0 for value in row] for row in _NOISE[..., 0]
    ]


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    # Between Pillow's limit and twice that, where Pillow itself only warns.
    with pytest.raises(ImageError, match="decompression bomb"):
        _read(_saved(tmp_path, Image.new("1", (10_000, 10_000))))
    assert not recwarn.list


def _broken(folder: Path) -> dict[str, tuple[Path, str]]:
    whole = io.BytesIO()
    Image.fromarray(np.tile(_NOISE, (20, 20, 1))).save(whole, "JPEG")
    files = {
        "empty.jpg": (b"", "empty"),
        "text.jpg": (b"patient,label\n", "text file"),
        "zeros.png": (bytes(100), "only zeros"),
        "noise.png": (bytes(range(256)), "not an image"),
        "half.jpg": (whole.getvalue()[: len(whole.getvalue()) // 2], "cut off"),
    }
    for name, (content, _) in files.items():
        (folder / name).write_bytes(content)
    (folder / "folder.png").mkdir()
    reasons = {name: (folder / name, reason) for name, (_, reason) in files.items()}
    return reasons | {
        "missing": (folder / "missing.png", "missing"),
        "folder": (folder / "folder.png", "a folder"),
    }


def test_what_is_no_image_is_refused_with_a_reason_that_names_no_folder(tmp_path: Path) -> None:
    for path, reason in _broken(tmp_path).values():
        with pytest.raises(ImageError, match=reason) as refusal:
            _read(path)
        assert str(tmp_path) not in str(refusal.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("whole_bytes", [0, 2**20], ids=["streamed", "kept whole"])
def test_frames_of_an_array_come_out_in_any_order(tmp_path: Path, monkeypatch, save, whole_bytes: int) -> None:
    stack = np.random.default_rng(1).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
    save(tmp_path / "a.npz", train_images=stack)
    monkeypatch.setattr(npz, "_WHOLE_BYTES", whole_bytes)
    for frame in (0, 1, 2, 5, 3, 0):
        np.testing.assert_array_equal(_read(tmp_path / "a.npz", frame, "train_images"), stack[frame])


def test_frames_read_in_order_open_the_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((50, 4, 4), np.uint8))
    opened = []
    real = npz._member
    monkeypatch.setattr(npz, "_member", lambda *a: opened.append(a) or real(*a))
    for frame in range(50):
        _read(tmp_path / "a.npz", frame, "x")
    assert len(opened) == 1


def test_a_changed_npz_file_is_read_anew(tmp_path: Path) -> None:
    for value in (1, 2):
        np.savez(tmp_path / "a.npz", x=np.full((1, 2, value), value, np.uint8))
        assert _read(tmp_path / "a.npz", 0, "x")[0, 0] == value


@pytest.mark.parametrize(
    ("array", "frame", "member", "reason"),
    [
        (np.zeros((2, 3, 3), np.uint8), 2, "x", "no frame 2"),
        (np.zeros((2, 3, 3), np.uint8), 0, "y", 'no array "y"'),
        (np.zeros((2, 3, 3), np.uint8), None, "x", "frame"),
        (np.zeros((2, 3, 3), np.uint8), 0, None, "there are x"),
        (np.zeros((2, 3, 3)), 0, "x", "float64"),
        (np.zeros((2, 3, 3, 4), np.uint8), 0, "x", "shape"),
        (np.array([{}], object), 0, "x", "object|damaged"),
    ],
)
def test_an_impossible_frame_of_an_npz_file_is_refused_with_a_reason(tmp_path, array, frame, member, reason) -> None:
    np.savez(tmp_path / "a.npz", x=array)
    with pytest.raises(ImageError, match=reason):
        _read(tmp_path / "a.npz", frame, member)


def test_the_digest_tells_shape_and_content_apart_but_not_files(tmp_path: Path) -> None:
    png, bmp = (_read(_saved(tmp_path, Image.fromarray(_NOISE), name)) for name in ("i.png", "i.bmp"))
    assert content_digest(png) == content_digest(bmp)
    assert len(content_digest(png)) == 32
    assert content_digest(png) != content_digest(np.ascontiguousarray(png.transpose(1, 0, 2)))
    assert content_digest(png[..., 0]) == content_digest(png[..., 0].copy())


def test_the_stamp_changes_when_a_file_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "i.png"
    path.write_bytes(b"one")
    before = source_stamp(path)
    assert 0 <= before < 2**64
    assert source_stamp(path) == before
    path.write_bytes(b"three")
    assert source_stamp(path) != before
    with pytest.raises(ImageError, match="missing"):
        source_stamp(tmp_path / "none.png")


def test_a_disk_that_fails_is_not_called_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the libraries raise then carries the operating system's number."""
    failing = OSError(errno.EIO, os.strerror(errno.EIO))
    with pytest.raises(ImageError, match=re.escape(os.strerror(errno.EIO))), DamageAsImageError():
        raise failing
    Image.new("L", (8, 8)).save(tmp_path / "a.png")

    def fail(*_: object, **__: object) -> None:
        raise failing

    monkeypatch.setattr(PngImageFile, "load", fail)
    with pytest.raises(ImageError, match=re.escape(os.strerror(errno.EIO))):
        read_image(Source(tmp_path / "a.png"))
