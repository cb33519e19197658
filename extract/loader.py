"""Decodes each image once and makes the inputs of all backbones from it, in worker processes, ahead of the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import gcd
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from ..base import ImageError, usable_cores
from ..cache import TransformSpec
from ..cache.spec import Interpolation
from ..manifests import Source, content_digest, read_image
from ..manifests.readers.worker_pool import look_at


@dataclass(frozen=True, eq=False)
class OwnInput:
    """What an encoder with a preprocessing of its own is given."""

    make: Callable[[np.ndarray], np.ndarray]
    """From uint8 (H, W) or (H, W, 3) to an array of `shape` and `dtype`; raises ImageError."""
    shape: tuple[int, int, int]
    """Channels, height and width."""
    dtype: np.dtype

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """The input that one image becomes; ImageError where it cannot be made, or is of another shape than others."""
        made = self.make(pixels)
        if (made.shape, made.dtype) != (self.shape, self.dtype):
            raise ImageError(
                f"`preprocess` gave {made.dtype} {made.shape}, and {self.dtype} {self.shape} for another image; resize "
                "to one size"
            )
        return made


Input = TransformSpec | OwnInput
"""How pixels become the input of a network."""


def geometry(transform: Input) -> Input:
    """The part of a transform that is done before the device: those that differ in mean and std alone share it."""
    if isinstance(transform, OwnInput):
        return transform
    channels = len(transform.mean)
    return replace(transform, mean=(0.0,) * channels, std=(1.0,) * channels)


@dataclass(frozen=True)
class Decoded:
    """What became of a batch of rows: B of them were read, the others could not be."""

    rows: list[int]
    """(B,) rows of the manifest."""
    digests: list[str]
    """(B,) content digests."""
    inputs: dict[Input, torch.Tensor]
    """(B, C, height, width) by geometry, uint8 or the type of an `OwnInput`, in memory that a worker shares with this
    process."""
    failures: list[tuple[int, str]]
    """Rows that could not be read, each with its reason."""

    def keep(self, wanted: np.ndarray, transform: Input) -> torch.Tensor:
        """The inputs under `transform` of those images that `wanted` (bool, B) marks."""
        inputs = self.inputs[geometry(transform)]
        return inputs if wanted.all() else inputs[torch.from_numpy(wanted)]


def decode(
    sources: Sequence[Source],
    rows: Sequence[int] | np.ndarray,
    transforms: Sequence[Input],
    *,
    batch_size: int,
    workers: int,
) -> Iterator[Decoded]:
    """Yields the images of `rows` in order, in batches of `batch_size`.

    Each is decoded in one of `workers` processes (`look_at` has the rules), or with 0 in this one; each different
    geometry of `transforms` is made once. `sources` are of all rows of the manifest.

    Raises:
        WorkerError: a worker could not be started.
    """
    # Wider numbers first, so that they are aligned in memory.
    geometries = sorted({geometry(one) for one in transforms}, key=lambda one: (-_item_size(one), repr(one)))
    shapes = [input_bytes(one) for one in geometries]
    chunks = ([int(row) for row in rows[start : start + batch_size]] for start in range(0, len(rows), batch_size))
    for chunk in look_at(partial(_make_inputs, geometries), sources, chunks, workers=workers, shapes=shapes):
        outcomes = list(zip(chunk.rows, chunk.results, strict=True))
        failures = [(row, str(result)) for row, result in outcomes if isinstance(result, ImageError)]
        read = {row: result for row, result in outcomes if not isinstance(result, ImageError)}
        made = [not isinstance(result, ImageError) for result in chunk.results]
        pairs = zip(geometries, chunk.arrays, strict=True)
        inputs = {one: torch.from_numpy(_typed(array[made] if failures else array, one)) for one, array in pairs}
        yield Decoded(list(read), list(read.values()), inputs, failures)


def _item_size(one: Input) -> int:
    return one.dtype.itemsize if isinstance(one, OwnInput) else 1


def input_bytes(one: Input) -> tuple[int, int, int]:
    """The shape of one image's input in bytes."""
    if isinstance(one, OwnInput):
        return (*one.shape[:2], one.shape[2] * one.dtype.itemsize)
    return (one.channels, *one.size)


def _typed(array: np.ndarray, one: Input) -> np.ndarray:
    """Bytes as the numbers that they are."""
    return array.view(one.dtype) if isinstance(one, OwnInput) else array


def _make_inputs(geometries: Sequence[Input], source: Source, *inputs: np.ndarray) -> str:
    """Fills the inputs of one image, and returns its content digest."""
    pixels = read_image(source)
    # One that any geometry cannot take is at fault for all.
    for one, values in zip(geometries, inputs, strict=True):
        _typed(values, one)[...] = input_of(pixels, one)
    return content_digest(pixels)


def default_workers(processes: int = 1) -> int:
    """Decoding processes for each of `processes` on the cores that may be used: all but one, which feeds the device."""
    return max(1, usable_cores() // processes - 1)


def input_of(pixels: np.ndarray, how: Input) -> np.ndarray:
    """The network's input (C, height, width) of an image, uint8 (H, W) or (H, W, 3); ImageError where it has none."""
    return how(pixels) if isinstance(how, OwnInput) else to_input(pixels, how)


def to_input(pixels: np.ndarray, spec: TransformSpec) -> np.ndarray:
    """Brings to the network's colours and size, with the pixels of torchvision's `Resize` and `CenterCrop` of Pillow.

    Scaling to 0..1 and normalising happen on the device (`Backbone.embed`), so that a quarter of the bytes travel.

    For a network of three channels a grey image fills all three. For one of a single channel, and for the red filters
    alone of one of three, an RGB image becomes its luma by ITU-R 601, (299 R + 587 G + 114 B) / 1000, as Pillow's mode
    L; a grey picture that was stored as RGB thus gives what it gives when it is stored as grey.

    From uint8 (H, W) grey or (H, W, 3) RGB it makes uint8 (C, height, width), C-contiguous and of its own memory.

    Raises:
        ImageError: its sides are so unequal that it would be huge before the crop.
    """
    if pixels.ndim == 3 and _is_grey(pixels):
        pixels = pixels[..., 0]  # whose channels are alike, each of which is resized by itself
    return to_channels(to_size(to_colour(pixels, spec), spec), spec)


def _is_grey(pixels: np.ndarray) -> bool:
    """Whether an RGB image has three equal channels; the middle row alone tells most that have not."""
    return all(
        (part[..., 0] == part[..., 1]).all() and (part[..., 0] == part[..., 2]).all()
        for part in (pixels[len(pixels) // 2], pixels)
    )


def to_colour(pixels: np.ndarray, spec: TransformSpec) -> Image.Image:
    """The first step of `to_input`: grey where the network sees no colour."""
    image = Image.fromarray(pixels)
    return image if spec.colour == "rgb" else image.convert("L")


def to_size(image: Image.Image, spec: TransformSpec) -> Image.Image:
    """The second step of `to_input`; its errors are."""
    if isinstance(spec.resize_to, int):
        _require_bounded(image, spec.resize_to)
        short = min(image.size)
        sizes = [spec.resize_to if side == short else int(spec.resize_to * side / short) for side in image.size]
    else:
        sizes = spec.resize_to[::-1]
    axes = [_Axis(*lengths) for lengths in zip(image.size, sizes, spec.size[::-1], strict=True)]
    if any(axis.side != axis.resized for axis in axes):
        image = _resized(image, axes, spec.interpolation)
    left, top = (axis.first if made == axis.resized else 0 for axis, made in zip(axes, image.size, strict=True))
    height, width = spec.size
    return image.crop((left, top, left + width, top + height))


class _Axis(NamedTuple):
    """An axis of an image, in pixels: its length, that which it is resized to, and how many of those are kept."""

    side: int
    resized: int
    kept: int

    @property
    def first(self) -> int:
        """The first pixel that is kept, negative where more are kept than there are."""
        spare = self.resized - self.kept
        return round(spare / 2) if spare >= 0 else -(-spare // 2)

    @property
    def part(self) -> tuple[float, float]:
        """Where the part begins and ends that becomes what is kept."""
        scale = self.side / self.resized
        return self.first * scale, (self.first + self.kept) * scale

    @property
    def is_exact(self) -> bool:
        """Whether the places of its new pixels are binary fractions that Pillow does not round."""
        steps = self.resized // gcd(self.side, self.resized)
        return steps.bit_count() == 1 and self.side * steps < 2**24


def _resized(image: Image.Image, axes: Sequence[_Axis], interpolation: Interpolation) -> Image.Image:
    """The image with each axis resized, to what is kept of it or to the whole.

    Pillow can resize a part of an image (`box`), but mostly rounds positions otherwise than in the whole: an axis is
    cropped here only where that cannot change a bit, as on any side that becomes 256 pixels.
    """
    cropped = [interpolation != "nearest" and axis.kept < axis.resized and axis.is_exact for axis in axes]
    wholes = [axis.resized for axis in axes]
    sizes = [axis.kept if crops else axis.resized for axis, crops in zip(axes, cropped, strict=True)]
    if _is_wide(image, sizes) != _is_wide(image, wholes):
        cropped, sizes = [False, False], wholes
    (left, right), (top, bottom) = (
        axis.part if crops else (0, axis.side) for axis, crops in zip(axes, cropped, strict=True)
    )
    width, height = sizes
    return image.resize((width, height), Image.Resampling[interpolation.upper()], (left, top, right, bottom))


def _is_wide(image: Image.Image, sizes: Sequence[int]) -> bool:
    """Whether Pillow 13 resizes rows before columns, which decides what it rounds in between."""
    width, height = (side - size for side, size in zip(image.size, sizes, strict=True))
    return height <= 0 or height <= 2 * width


def to_channels(image: Image.Image, spec: TransformSpec) -> np.ndarray:
    """The last step of `to_input`: as many channels as the network sees, which come first."""
    array = np.asarray(image)
    channels = np.broadcast_to(array, (spec.channels, *array.shape)) if array.ndim == 2 else array.transpose(2, 0, 1)
    return np.array(channels, order="C")


def _require_bounded(image: Image.Image, short: int) -> None:
    """Refuses what would be larger than any image that is read at all: a line of 1 x 20,000 becomes 224 x 4,480,000."""
    limit = Image.MAX_IMAGE_PIXELS
    long = int(short * max(image.size) / min(image.size))
    if limit is not None and short * long > limit:
        raise ImageError(
            f"its {image.height:,} x {image.width:,} pixels become {long:,} along the long side when the short side is "
            f"the network's {short:,}, more than the {limit:,} pixels allowed; crop the image"
        )
