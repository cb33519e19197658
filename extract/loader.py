"""Decodes each image once and makes the inputs of all backbones from it, in worker processes, ahead of the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

from ..base import ImageError, WorkerError, usable_cores
from ..base.text import first_line
from ..cache import TransformSpec
from ..manifests import read_image
from ..manifests.readers import content_digest
from ..manifests.readers.source import Source

_AHEAD = 2
"""Batches that each worker keeps ready."""


def geometry(transform: TransformSpec) -> TransformSpec:
    """The part of a transform that is done before the device: those that differ in mean and std alone share it."""
    channels = len(transform.mean)
    return replace(transform, mean=(0.0,) * channels, std=(1.0,) * channels)


@dataclass(frozen=True)
class Decoded:
    """What became of a batch of rows: B of them were read, the others could not be."""

    rows: list[int]
    """(B,) rows of the manifest."""
    digests: list[str]
    """(B,) content digests."""
    inputs: dict[TransformSpec, torch.Tensor]
    """uint8 (B, 3, height, width) by geometry, in memory that a worker shares with this process."""
    failures: list[tuple[int, str]]
    """Rows that could not be read, each with its reason."""

    def keep(self, wanted: np.ndarray, transform: TransformSpec) -> torch.Tensor:
        """The inputs under `transform` of those images that `wanted` (bool, B) marks."""
        inputs = self.inputs[geometry(transform)]
        return inputs if wanted.all() else inputs[torch.from_numpy(wanted)]


class _Batches(Dataset[Decoded]):
    """The images of some rows, a batch at a time; one that cannot be read gives its reason instead of inputs."""

    def __init__(
        self, sources: Sequence[Source], rows: np.ndarray, geometries: Sequence[TransformSpec], batch_size: int
    ) -> None:
        self.sources, self.rows, self.geometries, self.batch_size = sources, rows, geometries, batch_size

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __getitem__(self, number: int) -> Decoded:
        rows = self.rows[number * self.batch_size : (number + 1) * self.batch_size].tolist()
        inputs: dict[TransformSpec, torch.Tensor] = {}
        done: list[int] = []
        digests: list[str] = []
        failures: list[tuple[int, str]] = []
        for row in rows:
            try:
                pixels = read_image(self.sources[row])
                # One that any geometry cannot take is at fault for all.
                digest, made = content_digest(pixels), {one: to_input(pixels, one) for one in self.geometries}
            except (ImageError, MemoryError) as error:
                reason = str(error) if isinstance(error, ImageError) else "needs more memory than there is"
                failures.append((row, reason))
                continue
            for one, values in made.items():
                if one not in inputs:
                    buffer = torch.empty((len(rows), *values.shape), dtype=torch.uint8)
                    # From a worker's shared memory the process that it works for reads without a copy.
                    inputs[one] = buffer.share_memory_() if get_worker_info() else buffer
                inputs[one][len(done)] = torch.from_numpy(values)
            done.append(row)
            digests.append(digest)
        return Decoded(done, digests, {one: batch[: len(done)] for one, batch in inputs.items()}, failures)


def decode(
    sources: Sequence[Source],
    rows: Sequence[int] | np.ndarray,
    transforms: Sequence[TransformSpec],
    *,
    batch_size: int,
    workers: int,
) -> Iterator[Decoded]:
    """Yields the images of `rows` in order, in batches of `batch_size`.

    A worker begins its next batch only when one of its two has been taken, so at most `2 * workers + 1` batches of
    inputs are in memory (with the one that is computed on), and one decoded image a worker. With 0 workers this process
    decodes. `sources` are of all rows of the manifest; each different geometry of `transforms` is made once.

    Raises:
        WorkerError: a worker was killed, most often for want of (shared) memory.
    """
    geometries = sorted({geometry(transform) for transform in transforms}, key=repr)
    batches = _Batches(sources, np.asarray(rows, dtype=np.int64), geometries, batch_size)
    workers = min(workers, len(batches))
    loader = DataLoader(
        batches,
        batch_size=None,
        shuffle=False,
        num_workers=workers,
        prefetch_factor=_AHEAD if workers else None,
        # fork shares the sources with the workers; they decode with Pillow and numpy and never touch torch's threads.
        multiprocessing_context="fork" if workers else None,
    )
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise WorkerError(
            f"a decoding process ended ({first_line(error)}), most often because memory, or shared memory (/dev/shm, "
            "small in containers), ran out. What is embedded is kept; run the same command again with fewer "
            "--workers or a smaller --batch-size, or with --workers 0, which needs no shared memory."
        ) from error


def default_workers(processes: int = 1) -> int:
    """Decoding processes for each of `processes` on the cores that may be used: all but one, which feeds the device."""
    return max(1, usable_cores() // processes - 1)


def to_input(pixels: np.ndarray, spec: TransformSpec) -> np.ndarray:
    """Brings to the network's colours and size with torchvision's `Resize` and `CenterCrop`, which fills with black.

    Scaling to 0..1 and normalising happen on the device (`Backbone.embed`), so that a quarter of the bytes travel.

    For a network of three channels a grey image fills all three. For one of a single channel, and for the red filters
    alone of one of three, an RGB image becomes its luma by ITU-R 601, (299 R + 587 G + 114 B) / 1000, as Pillow's mode
    L; a grey picture that was stored as RGB thus gives what it gives when it is stored as grey.

    From uint8 (H, W) grey or (H, W, 3) RGB it makes uint8 (C, height, width), C-contiguous and of its own memory.

    Raises:
        ImageError: its sides are so unequal that it would be huge before the crop.
    """
    image = Image.fromarray(pixels)
    if spec.colour != "rgb":
        image = image.convert("L")
    if isinstance(spec.resize_to, int):
        _require_bounded(image, spec.resize_to)
    resized = Resize(spec.resize_to, InterpolationMode(spec.interpolation))(image)
    array = np.asarray(CenterCrop(spec.size)(resized))
    channels = np.broadcast_to(array, (spec.channels, *array.shape)) if array.ndim == 2 else array.transpose(2, 0, 1)
    return np.array(channels, order="C")


def _require_bounded(image: Image.Image, short: int) -> None:
    """Refuses what would be larger than any image that is read at all: a line of 1 x 20,000 becomes 224 x 4,480,000.

    Resizing only what the crop keeps (Pillow's `box`) would do, but rounds otherwise than torchvision in most images.
    """
    limit = Image.MAX_IMAGE_PIXELS
    long = int(short * max(image.size) / min(image.size))
    if limit is not None and short * long > limit:
        raise ImageError(
            f"its {image.height:,} x {image.width:,} pixels become {long:,} along the long side when the short side is "
            f"the network's {short:,}, more than the {limit:,} pixels allowed; crop the image"
        )
