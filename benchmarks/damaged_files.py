"""Small sound files for every reader, and ways to damage them.

A seed is what a reader can read; `damaged` makes another of it by flipped bits, extreme numbers, cuts, inserted and
missing blocks, and another file's suffix. The same seed and number give the same damage.
"""

from __future__ import annotations

import io
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from medprobe.base import ImageError
from medprobe.manifests import IntensityPolicy, Source, read_image
from PIL import Image, features

_SUFFIXES = (".png", ".jpg", ".tif", ".npz", ".nii", ".nii.gz", ".h5", ".dcm", ".zarr", ".txt", "")
_NUMBERS = (0, 1, -1, 2**31 - 1, -(2**31), 2**32 - 1, 2**16, 2**15 - 1, 2**63 - 1, 255)
_AS_STORED, _PERCENTILES = IntensityPolicy(), IntensityPolicy(window="percentiles")
_MOST_BYTES = 150_000
"""Of a seed: in larger files most damage is in pixels, where it is found soon or not at all."""


@dataclass(frozen=True)
class Seed:
    """A file, or the files of a folder, and what of it is read."""

    name: str
    files: Mapping[str, bytes]
    """By path below the folder; one file under the empty path."""
    member: str | None = None
    frame: int | None = None
    reading: IntensityPolicy = _AS_STORED

    def written(self, place: Path) -> Source:
        """Writes it at `place`, where nothing is, and says how it is read."""
        for below, content in self.files.items():
            file = place / below if below else place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return Source(place, self.frame, self.member, self.reading)


def seeds(reader: str) -> list[Seed]:
    """The sound files of the reader called `reader`; none where what makes them is not installed."""
    with tempfile.TemporaryDirectory() as folder:
        return [seed for seed in _MADE[reader](Path(folder)) if sum(map(len, seed.files.values())) <= _MOST_BYTES]


def damaged(seed: Seed, rng: np.random.Generator) -> tuple[Seed, str]:
    """`seed` with one to three kinds of damage in one of its files, and the suffix to write it under."""
    below = str(rng.choice(sorted(seed.files)))
    content = seed.files[below]
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        content = _DAMAGES[rng.integers(len(_DAMAGES))](content, rng)
    files = {**seed.files, below: content}
    if below and rng.random() < 0.03:
        del files[below]
    suffix = Path(seed.name).suffix if rng.random() < 0.8 else str(rng.choice(_SUFFIXES))
    return replace(seed, files=files), suffix


def _place(length: int, rng: np.random.Generator) -> int:
    """Where to damage: in the first bytes, where headers are, as often as anywhere."""
    return int(rng.integers(min(length, 512) if rng.random() < 0.5 else length))


def _flipped(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.integers(1, 20) if content else 0):
        changed[_place(len(content), rng)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _with_number(content: bytes, rng: np.random.Generator) -> bytes:
    """A number of the file made extreme: digits in a text, else two to eight bytes in either order."""
    number = _NUMBERS[rng.integers(len(_NUMBERS))]
    digits = list(re.finditer(rb"\d+", content)) if content.isascii() else []
    if digits:
        match = digits[rng.integers(len(digits))]
        return content[: match.start()] + str(number).encode() + content[match.end() :]
    width = int(rng.choice([2, 4, 8]))
    raw = (number % 2 ** (8 * width)).to_bytes(width, "little" if rng.random() < 0.5 else "big")
    place = _place(max(1, len(content)), rng)
    return content[:place] + raw + content[place + width :]


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: _place(len(content) + 1, rng)]


def _inserted(content: bytes, rng: np.random.Generator) -> bytes:
    place, length = _place(len(content) + 1, rng), int(2 ** rng.uniform(0, 12))
    block = [bytes(length), b"\xff" * length, rng.bytes(length), content[place : place + length]][rng.integers(4)]
    return content[:place] + block + content[place:]


def _shortened(content: bytes, rng: np.random.Generator) -> bytes:
    place = _place(len(content) + 1, rng)
    return content[:place] + content[place + int(2 ** rng.uniform(0, 12)) :]


_DAMAGES = (_flipped, _flipped, _with_number, _with_number, _cut, _inserted, _shortened)


def _picture(*shape: int) -> np.ndarray:
    """Smooth with a little noise, so that every coder has something to do."""
    rng = np.random.default_rng(0)
    waves = sum(np.sin(np.indices(shape)[axis] / (3 + axis)) for axis in range(len(shape)))
    return (127 + 30 * waves + rng.normal(0, 4, shape)).clip(0, 255).astype(np.uint8)


def _ordinary(_: Path) -> Iterator[Seed]:
    grey, colour = Image.fromarray(_picture(40, 52)), Image.fromarray(_picture(40, 52, 3))
    wide = Image.fromarray(_picture(40, 52).astype(np.uint16) * 200)
    kinds: list[tuple[str, Image.Image, dict[str, object]]] = [
        ("grey.png", grey, {}),
        ("colour.png", colour, {}),
        ("wide.png", wide, {}),
        ("palette.png", colour.quantize(16), {"transparency": 3}),
        ("bits.png", grey.convert("1"), {}),
        ("alpha.png", colour.convert("RGBA"), {}),
        ("grey.jpg", grey, {}),
        ("colour.jpg", colour, {}),
        ("progressive.jpg", colour, {"progressive": True}),
        ("cmyk.jpg", colour.convert("CMYK"), {}),
        ("colour.bmp", colour, {}),
        ("palette.bmp", colour.quantize(16), {}),
        ("colour.ppm", colour, {}),
        ("colour.gif", colour, {}),
        ("plain.tif", colour, {}),
        ("float.tif", grey.convert("F"), {}),
        *((f"{kind}.tif", colour, {"compression": kind}) for kind in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")),
        *((f"{kind}.tif", grey.convert("1"), {"compression": kind}) for kind in ("group3", "group4", "packbits")),
        ("pages.tif", grey, {"save_all": True, "append_images": [grey, grey]}),
        *(
            [("lossy.webp", colour, {}), ("lossless.webp", colour, {"lossless": True})]
            if features.check("webp")
            else []
        ),
        *([("colour.jp2", colour, {}), ("grey.j2k", grey, {})] if features.check("jpg_2000") else []),
    ]
    for name, image, options in kinds:
        file = io.BytesIO()
        image.save(file, Image.registered_extensions()[Path(name).suffix], **options)
        reading = _PERCENTILES if name == "float.tif" else _AS_STORED
        yield Seed(name, {"": file.getvalue()}, frame=1 if name == "pages.tif" else None, reading=reading)


def _npz(_: Path) -> Iterator[Seed]:
    for name, array in (
        ("grey", _picture(6, 20, 24)),
        ("rgb", _picture(4, 20, 24, 3)),
        ("volume", _picture(3, 9, 8, 7)),
    ):
        for save in (np.savez, np.savez_compressed):
            file = io.BytesIO()
            save(file, train_images=array, train_labels=np.zeros(len(array)))
            yield Seed(f"{name}.npz", {"": file.getvalue()}, "train_images", 3)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive, archive.open("x.npy", "w") as member:
        np.save(member, np.asfortranarray(_picture(4, 10, 12)))  # pyright: ignore[reportArgumentType]
    yield Seed("lzma.npz", {"": file.getvalue()}, "x", 3)


def _nifti(folder: Path) -> Iterator[Seed]:
    try:
        import nibabel as nib
    except ImportError:
        return
    affine = np.array([[0, -2, 0, 5], [1.5, 0, 0, 3], [0, 0.1, 3, 1], [0, 0, 0, 1.0]])
    volume = _picture(14, 16, 12)
    colours = _picture(14, 16, 12, 3).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    scaled = nib.Nifti1Image(volume.astype(np.int16), affine)
    scaled.header.set_slope_inter(0.5, -100)
    images = {
        "int": scaled,
        "float": nib.Nifti1Image(volume.astype(np.float32), affine),
        "big": nib.Nifti1Image(volume.astype(">i4"), affine, nib.Nifti1Header(endianness=">")),
        "colour": nib.Nifti1Image(colours, affine),
        "series": nib.Nifti1Image(_picture(8, 9, 7, 5).astype(np.uint16), affine),
        "second": nib.Nifti2Image(volume.astype(np.float64), affine),
    }
    for name, image in images.items():
        for suffix in (".nii", ".nii.gz"):
            nib.save(image, folder / f"{name}{suffix}")
            content = (folder / f"{name}{suffix}").read_bytes()
            yield Seed(f"{name}{suffix}", {"": content}, "coronal@3" if name == "series" else "axial", 5)


def _hdf5(folder: Path) -> Iterator[Seed]:
    grey, volume = _picture(6, 20, 24), _picture(3, 9, 12, 11).astype(np.float32)
    kinds: dict[str, tuple[np.ndarray, dict[str, object]]] = {
        "plain": (grey, {}),
        "gzip": (grey, {"chunks": (2, 20, 24), "compression": "gzip", "shuffle": True, "fletcher32": True}),
        "lzf": (_picture(4, 20, 24, 3), {"chunks": (1, 20, 24, 3), "compression": "lzf"}),
        "volume": (volume, {"chunks": (1, 3, 12, 11), "compression": "gzip"}),
        "scaled": (grey.astype(np.int16), {"chunks": (1, 20, 24), "scaleoffset": 0}),
        "growing": (grey, {"chunks": (1, 20, 24), "maxshape": (None, 20, 24)}),
    }
    for format_ in ("earliest", "latest"):
        for name, (array, options) in kinds.items():
            file = folder / f"{format_}-{name}.h5"
            with h5py.File(file, "w", libver=format_) as opened:
                opened.create_dataset("group/images", data=array, **options)  # pyright: ignore[reportArgumentType]
                opened["group"].attrs["note"] = "made to be damaged"
                opened["labels"] = np.zeros(len(array))
            yield Seed(file.name, {"": file.read_bytes()}, "group/images", 3)


def _zarr(folder: Path) -> Iterator[Seed]:
    try:
        import zarr
        from zarr import codecs
    except ImportError:
        return
    grey, volume = _picture(6, 20, 24), _picture(3, 9, 12, 11).astype(np.float32)
    third: dict[str, tuple[np.ndarray, dict[str, object]]] = {
        "zstd": (grey, {"chunks": (2, 20, 24)}),
        "blosc": (volume, {"chunks": (1, 3, 12, 11), "compressors": codecs.BloscCodec(cname="lz4", shuffle="shuffle")}),
        "gzip": (grey.astype(np.int16), {"chunks": (1, 10, 24), "compressors": codecs.GzipCodec()}),
        "plain": (grey, {"chunks": (6, 20, 24), "compressors": None}),
        "shards": (grey, {"chunks": (1, 20, 24), "shards": (3, 20, 24)}),
    }
    second = {name: third[name] for name in ("zstd", "plain")} | {"blosc": (volume, {"chunks": (1, 3, 12, 11)})}
    for format_, kinds in ((2, second), (3, third)):
        for name, (array, options) in kinds.items():
            store = folder / f"{name}{format_}.zarr"
            zarr.open_group(store, mode="w", zarr_format=format_).create_array("a/images", data=array, **options)
            files = {
                file.relative_to(store).as_posix(): file.read_bytes() for file in store.rglob("*") if file.is_file()
            }
            yield Seed(store.name, files, "a/images", 3)
            shutil.rmtree(store)


def _dicom(_: Path) -> Iterator[Seed]:
    """The test files that come with pydicom, those that are read and small."""
    try:
        from pydicom import data
    except ImportError:
        return
    for file in sorted((Path(data.__file__).parent / "test_files").glob("*.dcm")):
        if file.stat().st_size <= _MOST_BYTES:
            for frame in (None, 0):
                try:
                    read_image(Source(file, frame))
                except ImageError:
                    continue
                yield Seed(file.name, {"": file.read_bytes()}, frame=frame)
                break


_MADE: dict[str, Callable[[Path], Iterator[Seed]]] = {
    "image": _ordinary,
    "npz": _npz,
    "nifti": _nifti,
    "hdf5": _hdf5,
    "zarr": _zarr,
    "dicom": _dicom,
}
"""By the names of `READERS`."""
