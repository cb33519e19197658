from __future__ import annotations

import errno
import gzip
import os
import tracemalloc
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from medprobe.base import ImageError
from medprobe.manifests import IntensityPolicy, SliceChoice, Source, read_image
from medprobe.manifests.readers import nifti
from nibabel.orientations import inv_ornt_aff

_AS_IT_IS = IntensityPolicy(window=(127.5, 255.0))
"""0 becomes 0 and 255 becomes 255."""
_NOISE = np.random.default_rng(0).integers(0, 256, (5, 6, 7)).astype(np.int16)
_TURNS = [
    np.array(list(zip(axes, flips, strict=True)))
    for axes in permutations(range(3))
    for flips in product((1, -1), repeat=3)
]


def _saved(path: Path, values: np.ndarray = _NOISE, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
    return path


def _read(path: Path, cut: str, frame: int | None = 0, reading: IntensityPolicy = _AS_IT_IS) -> np.ndarray:
    return read_image(Source.parse(path.parent, f"{path.name}#{cut}", frame, reading))


def _refusal(path: Path, cut: str = "axial", frame: int | None = 0) -> str:
    with pytest.raises(ImageError) as refusal:
        _read(path, cut, frame)
    assert str(path.parent) not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize("turn", _TURNS, ids=str)
def test_slices_are_those_of_nibabels_canonical_volume_however_it_is_stored(tmp_path: Path, turn: np.ndarray) -> None:
    path = _saved(tmp_path / "v.nii", affine=inv_ornt_aff(turn, _NOISE.shape) * [[2], [3], [1.5], [1]])
    canonical = nib.as_closest_canonical(nib.load(path)).get_fdata()
    for axis, number in (("sagittal", 0), ("coronal", 1), ("axial", 2)):
        assert nifti.slice_count(path, axis) == canonical.shape[number]
        for frame in (0, canonical.shape[number] - 1):
            plane = np.take(canonical, frame, axis=number)
            np.testing.assert_array_equal(_read(path, axis, frame), np.rot90(plane, 2).T)


@pytest.mark.parametrize(
    ("axis", "frame", "row", "column"), [("axial", 6, 0, 0), ("coronal", 5, 0, 0), ("sagittal", 4, 0, 0)]
)
def test_the_voxel_at_the_right_the_front_and_the_top_is_above_on_the_left(tmp_path, axis, frame, row, column) -> None:
    values = np.zeros((5, 6, 7), np.int16)
    values[-1, -1, -1] = 255
    pixels = _read(_saved(tmp_path / "v.nii", values), axis, frame)
    assert pixels[row, column] == 255
    assert np.count_nonzero(pixels) == 1
    assert pixels.shape == {"axial": (6, 5), "coronal": (7, 5), "sagittal": (7, 6)}[axis]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", [np.uint8, ">i2", np.uint32, np.float32, np.float64])
def test_every_kind_of_file_gives_the_same_slice(tmp_path: Path, suffix: str, kind, dtype) -> None:
    nib.save(kind(_NOISE.astype(dtype), np.eye(4)), tmp_path / f"v{suffix}")
    np.testing.assert_array_equal(_read(tmp_path / f"v{suffix}", "axial", 3), np.rot90(_NOISE[..., 3], 2).T)


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    path = _saved(tmp_path / "v.nii.gz").rename(tmp_path / "v.nii")
    assert _read(path, "axial").shape == (6, 5)
    (tmp_path / "t.nii.gz").write_bytes(gzip.compress(b"patient,label\n" * 100))
    assert "not an image" in _refusal(tmp_path / "t.nii.gz")


def test_slope_and_intercept_come_before_the_window(tmp_path: Path) -> None:
    image = nib.Nifti1Image(_NOISE, np.eye(4))
    image.header.set_slope_inter(2.0, -1000.0)
    nib.save(image, tmp_path / "v.nii")
    window = IntensityPolicy(window=(127.5 * 2 - 1000, 510.0))
    np.testing.assert_array_equal(_read(tmp_path / "v.nii", "axial", 2, window), np.rot90(_NOISE[..., 2], 2).T)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_percentiles_are_of_the_volume_or_of_the_slice(tmp_path: Path, suffix: str) -> None:
    values = np.stack([np.arange(30).reshape(5, 6) * scale for scale in (1.0, 10.0)], axis=2)
    values[0, 0, 0] = np.nan
    path = _saved(tmp_path / f"v{suffix}", values)
    by_volume = _read(path, "axial", 0, IntensityPolicy(percentiles=(0, 100)))
    assert by_volume.max() == round(29 / 290 * 255)
    assert _read(path, "axial", 1, IntensityPolicy(percentiles=(0, 100))).max() == 255
    assert _read(path, "axial", 0, IntensityPolicy(percentiles=(0, 100), scope="slice")).max() == 255


def test_the_fourth_dimension_is_named_after_at(tmp_path: Path) -> None:
    series = np.stack([_NOISE, _NOISE[::-1]], axis=3)
    for suffix in (".nii", ".nii.gz"):
        path = _saved(tmp_path / f"v{suffix}", series)
        for number in (1, 0, 1):
            expected = np.rot90(series[:, :, 4, number], 2).T
            np.testing.assert_array_equal(_read(path, f"axial@{number}", 4), expected)
        assert "holds 2 volumes" in _refusal(path)
        assert "no volume 2" in _refusal(path, "axial@2")
    assert _read(_saved(tmp_path / "one.nii", _NOISE[..., None]), "axial").shape == (6, 5)


def test_rgb_volumes_are_colour(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    packed = colours.view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    pixels = _read(_saved(tmp_path / "v.nii.gz", packed), "coronal", 2)
    np.testing.assert_array_equal(pixels, np.rot90(colours[:, 2], 2).transpose(1, 0, 2))


def test_what_cannot_be_read_is_refused_with_a_reason(tmp_path: Path) -> None:
    path = _saved(tmp_path / "v.nii")
    with pytest.raises(ImageError, match="not a NIfTI"):
        nifti.slice_count(Path(__file__), "axial")
    assert 'no axis "axail"' in _refusal(path, "axail")
    assert "no frame 7" in _refusal(path, frame=7)
    assert "7 axial slices; say which" in _refusal(path, frame=None)
    assert "not an index" in _refusal(path, "axial@x")
    with pytest.raises(ImageError, match=r"write `#axial` after its name"):
        read_image(Source(path, 0))
    nib.save(nib.Nifti1Pair(_NOISE, np.eye(4)), tmp_path / "p.img")
    with pytest.raises(ImageError, match="pair"):
        read_image(Source(tmp_path / "p.hdr", 0, "axial"))
    assert "not grey levels" in _refusal(_saved(tmp_path / "c.nii", _NOISE.astype(np.complex64)))
    content = bytearray(path.read_bytes())
    content[296:312] = bytes(16)  # srow_y
    (tmp_path / "d.nii").write_bytes(content)
    assert "degenerate" in _refusal(tmp_path / "d.nii")
    with pytest.raises(ImageError, match="no finite value"):
        _read(_saved(tmp_path / "n.nii", np.full((2, 2, 2), np.nan)), "axial", 0, IntensityPolicy())


def test_files_that_are_cut_off_or_whose_checksum_is_wrong_are_refused(tmp_path: Path) -> None:
    for suffix in (".nii", ".nii.gz"):
        whole = _saved(tmp_path / f"v{suffix}").read_bytes()
        (tmp_path / f"c{suffix}").write_bytes(whole[:-20])
        assert "cut off" in _refusal(tmp_path / f"c{suffix}")
    (tmp_path / "w.nii.gz").write_bytes(whole[:-6] + bytes(byte ^ 1 for byte in whole[-6:-4]) + whole[-4:])
    assert "damaged" in _refusal(tmp_path / "w.nii.gz")


def test_a_size_that_the_file_cannot_hold_is_refused_before_memory_is_taken(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(nifti.np, "empty", lambda *_: pytest.fail("memory was taken"))
    header = nib.Nifti1Header()
    header.set_data_shape((5000, 5000, 5000))
    header.set_data_offset(352)
    for name, content in (("v.nii", header.binaryblock), ("v.nii.gz", gzip.compress(header.binaryblock))):
        (tmp_path / name).write_bytes(content + bytes(4000))
        assert "cut off" in _refusal(tmp_path / name)
    monkeypatch.setattr(nifti, "MOST_BYTES", 100)
    assert "too large" in _refusal(_saved(tmp_path / "l.nii.gz"))


def test_a_volume_is_decoded_once_for_all_its_slices_and_a_damaged_one_too(tmp_path: Path, monkeypatch) -> None:
    opened = []
    real = nifti._stored
    monkeypatch.setattr(nifti, "_stored", lambda *a: opened.append(a) or real(*a))
    path = _saved(tmp_path / "v.nii.gz")
    (tmp_path / "c.nii.gz").write_bytes(path.read_bytes()[:-20])
    for frame in range(5):
        _read(path, "sagittal", frame, IntensityPolicy())
        _refusal(tmp_path / "c.nii.gz", frame=frame)
    assert len(opened) == 2
    _saved(path, _NOISE + 1)
    assert _read(path, "sagittal", 0)[-1, -1] == min(255, _NOISE[0, 0, 0] + 1)


def test_a_disk_that_failed_is_read_again(tmp_path: Path, monkeypatch) -> None:
    path, real = _saved(tmp_path / "v.nii.gz"), nifti._stored

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(nifti, "_stored", fail)
    assert os.strerror(errno.EIO) in _refusal(path)
    monkeypatch.setattr(nifti, "_stored", real)
    assert _read(path, "axial").shape == (6, 5)


def test_a_slice_of_a_large_volume_takes_the_memory_of_a_slice(tmp_path: Path) -> None:
    path = _saved(tmp_path / "v.nii", np.zeros((200, 200, 200), np.int16), np.diag([-1, -1, 1, 1]))
    tracemalloc.start()
    for axis in ("axial", "coronal", "sagittal"):
        _read(path, axis, 100)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6 < path.stat().st_size


def test_the_mask_chooses_the_slice_with_its_largest_part(tmp_path: Path) -> None:
    mask = np.zeros((5, 6, 7), np.uint8)
    mask[1:3, 2, 4], mask[1:4, 2:4, 5] = 1, 2
    path = _saved(tmp_path / "m.nii.gz", mask, np.diag([-1, -1, 1, 1]))
    areas = nifti.mask_areas(path, "axial")
    assert areas.tolist() == [0, 0, 0, 0, 2, 6, 0]
    assert SliceChoice.parse("axial:largest-mask").frames(nifti.slice_count(path, "axial"), areas) == [5]
    # Stored from front to back: counted from behind.
    assert nifti.mask_areas(path, "coronal").tolist() == [0, 0, 3, 5, 0, 0]


def test_without_nibabel_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _saved(tmp_path / "v.nii")
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    assert "pip install 'pydicom>=" in _refusal(path)
