from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
from medprobe.base import ImageError, ManifestError
from medprobe.manifests import IntensityPolicy, build_npz, read_image
from medprobe.manifests.readers import image_stack as stacks
from medprobe.manifests.readers.source import Source, source_stamp

_RNG = np.random.default_rng(0)
_GREY = _RNG.integers(0, 256, (5, 9, 7), dtype=np.uint8)
_COLOUR = _RNG.integers(0, 256, (5, 9, 7, 3), dtype=np.uint8)
_VOLUMES = _RNG.normal(size=(3, 4, 9, 7)).astype(np.float32) * np.array([1, 10, 100], np.float32)[:, None, None, None]


def _hdf5(folder: Path, array: np.ndarray, **options: object) -> Path:
    with h5py.File(folder / "stack.h5", "w") as file:
        file.create_dataset("group/images", data=array, **options)
    return folder / "stack.h5"


def _zarr(folder: Path, array: np.ndarray, version: int) -> Path:
    group = zarr.open_group(folder / "stack.zarr", mode="w", zarr_format=version)
    group.create_array("group/images", data=array, chunks=(2, *array.shape[1:]))
    return folder / "stack.zarr"


@pytest.fixture(params=["hdf5", "zarr2", "zarr3"])
def stored(request: pytest.FixtureRequest, tmp_path: Path):
    """`stored(array)`: writes it as `group/images` of a container, whose path it gives."""
    kind = request.param
    return lambda array: _hdf5(tmp_path, array) if kind == "hdf5" else _zarr(tmp_path, array, int(kind[-1]))


def _read(
    path: Path, frame: int | None, reading: IntensityPolicy | None = None, member: str = "group/images"
) -> np.ndarray:
    return read_image(Source.parse(path.parent, f"{path.name}#{member}", frame, reading or IntensityPolicy()))


@pytest.mark.parametrize("array", [_GREY, _COLOUR, _GREY[..., None]], ids=["grey", "colour", "one channel"])
def test_8_bits_come_out_as_they_went_in(stored, array: np.ndarray) -> None:
    path = stored(array)
    for frame in (0, 4, 2):
        np.testing.assert_array_equal(
            _read(path, frame), array[frame].reshape(_COLOUR[0].shape[: 2 + (array is _COLOUR)])
        )


def test_other_numbers_are_windowed_by_image_or_by_volume(stored) -> None:
    path = stored(_VOLUMES)
    between = {"percentiles": (0.0, 100.0)}
    for frame, volume in ((0, 0), (5, 1), (11, 2)):
        values, whole = _VOLUMES[volume, frame % 4].astype(float), _VOLUMES[volume].astype(float)
        for scope, over in (("volume", whole), ("slice", values)):
            expected = np.rint((values - over.min()) / (over.max() - over.min()) * 255)
            np.testing.assert_allclose(_read(path, frame, IntensityPolicy(scope=scope, **between)), expected, atol=1)
    assert _read(path, 0, IntensityPolicy(window=(0.0, 1e-9))).tolist() == ((_VOLUMES[0, 0] > 0) * 255).tolist()


def test_images_that_are_no_volumes_are_windowed_one_by_one(stored) -> None:
    path = stored(np.arange(3 * 81 * 2, dtype=np.int16).reshape(3, 9, 18))
    assert {tuple(_read(path, frame).reshape(-1)[[0, -1]]) for frame in range(3)} == {(0, 255)}


def test_bools_are_black_and_white(stored) -> None:
    np.testing.assert_array_equal(_read(stored(_GREY > 127), 1), (_GREY[1] > 127) * np.uint8(255))


def test_without_a_name_the_message_says_what_to_write(stored) -> None:
    path = stored(_GREY)
    with pytest.raises(ImageError, match="write `#NAME` of one") as refused:
        read_image(Source(path, 0))
    assert path.name not in str(refused.value)  # it goes into pages, and a file may be called after a patient
    with pytest.raises(ImageError, match='no array "group/image"'):
        _read(path, 0, member="group/image")


def test_an_impossible_frame_or_array_is_refused_with_a_reason(stored) -> None:
    path = stored(_GREY)
    with pytest.raises(ImageError, match="no frame 5"):
        _read(path, 5)
    with pytest.raises(ImageError, match="say which"):
        _read(path, None)
    for array, words in ((np.zeros((4, 4)), "shape"), (np.zeros((2, 4, 4), complex), "grey")):
        with pytest.raises(ImageError, match=words):
            _read(stored(array), 0)


def test_a_chunk_that_is_too_large_is_refused_before_it_is_read(stored, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(_VOLUMES)
    if path.suffix == ".h5":
        path = _hdf5(path.parent, _VOLUMES, chunks=(3, 4, 9, 7))
    monkeypatch.setattr(stacks, "_MOST_CHUNK_BYTES", 1000)
    with pytest.raises(ImageError, match="chunks of more than"):
        read_image(Source(path, 0, "group/images"))


def test_an_image_in_too_many_chunks_is_refused_before_it_is_read(stored, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(_GREY)
    if path.suffix == ".h5":
        path = _hdf5(path.parent, _GREY, chunks=(5, 1, 1))
    monkeypatch.setattr(stacks, "_MOST_CHUNKS", 0)
    with pytest.raises(ImageError, match="chunks an image"):
        read_image(Source(path, 0, "group/images"))


def test_threads_and_forked_processes_read_what_one_thread_reads(stored) -> None:
    path = stored(_GREY)
    expected = [_read(path, frame) for frame in range(5)]
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda frame: _read(path, frame % 5), range(200)))
    assert all((pixels == expected[number % 5]).all() for number, pixels in enumerate(seen))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert all(
            (a == b).all() for a, b in zip(pool.starmap(_read, [(path, n) for n in range(5)]), expected, strict=True)
        )


@pytest.mark.parametrize("kind", ["soft", "external", "storage", "virtual"])
def test_hdf5_files_that_lead_elsewhere_are_refused(tmp_path: Path, kind: str) -> None:
    other = _hdf5(tmp_path, _GREY)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        if kind == "soft":
            file["x"], file["images"] = _GREY, h5py.SoftLink("/x")
        elif kind == "external":
            file["images"] = h5py.ExternalLink(other.name, "/group/images")
        elif kind == "storage":
            (tmp_path / "raw").write_bytes(_GREY.tobytes())
            file.create_dataset("images", _GREY.shape, np.uint8, external=[(str(tmp_path / "raw"), 0, _GREY.nbytes)])
        else:
            layout = h5py.VirtualLayout(_GREY.shape, np.uint8)
            layout[:] = h5py.VirtualSource(other, "group/images", _GREY.shape)
            file.create_virtual_dataset("images", layout)
    with pytest.raises(ImageError, match=r"another place|other files"):
        _read(tmp_path / "a.h5", 0, member="images")


def test_zarr_codecs_that_could_run_code_are_refused_before_they_are_made(tmp_path: Path) -> None:
    path = _zarr(tmp_path, _GREY, 2)
    described = path / "group" / "images" / ".zarray"
    metadata = json.loads(described.read_text())
    described.write_text(json.dumps({**metadata, "dtype": "|O", "filters": [{"id": "pickle"}]}))
    with pytest.raises(ImageError, match="pickle"):
        _read(path, 0)
    with pytest.raises(ImageError, match="not the name of an array"):
        _read(path, 0, member="../stack.zarr/group/images")


def test_the_stamp_of_a_store_changes_with_any_file_below(tmp_path: Path) -> None:
    path = _zarr(tmp_path, _GREY, 3)
    before = source_stamp(path)
    assert source_stamp(path) == before
    chunk = next(file for file in path.rglob("*") if file.is_file() and file.name != "zarr.json")
    chunk.write_bytes(chunk.read_bytes() + b"\0")
    assert source_stamp(path) != before


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="a folder"):
        read_image(Source(tmp_path, 0))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("whole", [True, False])
def test_frames_of_npz_volumes_count_through_all_slices(tmp_path, monkeypatch, order: str, whole: bool) -> None:
    monkeypatch.setattr("medprobe.manifests.readers.npz._WHOLE_BYTES", 2**20 if whole else 0)
    volumes = _RNG.integers(0, 256, (3, 4, 9, 7), dtype=np.uint8)
    np.savez_compressed(tmp_path / "v.npz", train_images=np.asarray(volumes, order=order))
    for frame in (0, 5, 11, 2):
        np.testing.assert_array_equal(
            _read(tmp_path / "v.npz", frame, member="train_images"), volumes[divmod(frame, 4)]
        )


@pytest.fixture
def volumes(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A file of 3 + 2 volumes of 4 slices, labels 0 1 2, 1 0."""
    images = _RNG.integers(0, 256, (5, 4, 9, 7), dtype=np.uint8)
    arrays = {"train_images": images[:3], "test_images": images[3:]}
    labels = {"train_labels": np.array([[0], [1], [2]]), "test_labels": np.array([[1], [0]])}
    np.savez(tmp_path / "v.npz", **arrays, **labels)
    return tmp_path / "v.npz", images


@pytest.mark.parametrize(("slices", "kept"), [("all", [0, 1, 2, 3]), ("middle:2", [1, 2]), ("every:3", [0, 3])])
def test_a_volume_of_an_npz_file_is_a_unit_and_its_slices_are_rows(volumes, slices: str, kept: list[int]) -> None:
    path, images = volumes
    manifest = build_npz(path, slices=slices)
    assert len(manifest) == 5 * len(kept)
    assert len(manifest.units()) == 5
    assert manifest.table["sample_id"].iloc[len(kept)] == f"train/0001/{kept[0]}"
    assert manifest.table["label"].tolist() == np.repeat(["0", "1", "2", "1", "0"], len(kept)).tolist()
    expected = images[:, kept].reshape(-1, 9, 7)
    for row, pixels in enumerate(expected):
        np.testing.assert_array_equal(read_image(manifest.source(row)), pixels)


def test_a_choice_of_slices_that_means_nothing_is_refused(volumes, tmp_path: Path) -> None:
    for slices in ("axial:all", "largest-mask"):
        with pytest.raises(ManifestError, match="unknown choice"):
            build_npz(volumes[0], slices=slices)
    np.savez(tmp_path / "i.npz", val_images=_GREY, val_labels=np.arange(5) % 2)
    with pytest.raises(ManifestError, match="images, not volumes"):
        build_npz(tmp_path / "i.npz", slices="middle:2")


@pytest.mark.parametrize("size", [28, 64, 128, 224])
def test_every_size_of_medmnist_is_read(tmp_path: Path, size: int) -> None:
    volume = _RNG.integers(0, 256, (2, size, size, size), dtype=np.uint8)
    np.savez(tmp_path / "m.npz", test_images=volume, test_labels=np.array([0, 1]))
    manifest = build_npz(tmp_path / "m.npz", slices="middle:1")
    np.testing.assert_array_equal(read_image(manifest.source(1)), volume[1, (size - 1) // 2])
