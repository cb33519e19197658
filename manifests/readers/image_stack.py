"""What arrays of images in containers share: how an array is cut into frames, and which values become 0 to 255.

(N, H, W) and (N, H, W, 1) are N grey images and (N, H, W, 3) N colour ones. Any other (N, D, H, W) is N volumes of D
slices, whose frame is `volume * D + slice`. uint8 is taken as it is and bool becomes 0 and 255. Other whole and
floating-point numbers pass the manifest's reading: percentiles are of the one image, or of its volume where there are
volumes and the scope is `volume`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...base import ImageError
from ..schema.intensity_policy import IntensityPolicy
from .intensity import Bounds, chosen_bounds, to_8_bits
from .read_errors import SelectionError, chosen_frame, refuse_too_many
from .source import Source

_MOST_CHUNK_BYTES = 256 * 2**20
"""Of one chunk of an array: it is decoded whole, and a header may declare anything."""
_MOST_VOLUME_BYTES = 2**30
_MOST_CHUNKS, _MOST_VOLUME_CHUNKS = 10_000, 50_000
"""Of one image and of one volume: each chunk is a file or a look into an index, declared or not there."""
_NARROW = 4
"""No volume is as narrow as this: (N, H, W, 4) is an image with alpha or some other channels."""


@dataclass(frozen=True)
class Layout:
    """How an array of images is cut into frames."""

    count: int
    """Frames in all."""
    image: tuple[int, ...]
    """Shape of one frame: (H, W) or (H, W, 3)."""
    depth: int | None = None
    """Slices a volume; None where each frame is an image by itself."""

    @classmethod
    def of(cls, shape: tuple[int, ...], what: str) -> Layout:
        """The layout of an array of `shape`, called `what` in messages."""
        if len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3)):
            layout = cls(shape[0], shape[1:] if shape[-1] == 3 else shape[1:3])
        elif len(shape) == 4 and shape[3] > _NARROW:
            layout = cls(shape[0] * shape[1], shape[2:], shape[1])
        else:
            raise ImageError(
                f"{what} has shape {shape}; images are (N, H, W) or (N, H, W, 3), and volumes (N, D, H, W)"
            )
        refuse_too_many(math.prod(layout.image[:2]))
        return layout


@dataclass(eq=False)
class Stack:
    """An open array of images that reads a frame on request."""

    array: Any
    """Sliced as numpy's arrays are, mostly with a read at each slice: `h5py.Dataset`, `zarr.Array`."""
    layout: Layout
    what: str
    """The array's name, for messages."""
    chunk: tuple[int, ...] | None
    """Shape of what the array is cut into, if it is."""
    bounds: dict[tuple[int, tuple[float, float]], Bounds] = field(default_factory=dict)
    """Of volumes, by number and percentiles."""

    @classmethod
    def of(cls, array: Any, chunk: tuple[int, ...] | None, what: str) -> Stack:
        """Checks what an array declares, before any of it is read."""
        dtype = np.dtype(array.dtype)
        if dtype.kind not in "biuf" or dtype.itemsize > 16:
            raise ImageError(f"{what} holds {dtype}, which are not grey levels")
        layout = Layout.of(tuple(int(length) for length in array.shape), what)
        if chunk is not None and math.prod(chunk) * dtype.itemsize > _MOST_CHUNK_BYTES:
            raise ImageError(f"{what} has chunks of more than {_MOST_CHUNK_BYTES:,} bytes; save it in smaller ones")
        stack = cls(array, layout, what, chunk)
        if stack.chunks_below(1 if layout.depth is None else 2) > _MOST_CHUNKS:
            raise ImageError(f"{what} is cut into more than {_MOST_CHUNKS:,} chunks an image; save it in larger ones")
        return stack

    def chunks_below(self, leading: int) -> int:
        """Over how many chunks one entry of the first `leading` axes is spread."""
        if self.chunk is None:
            return 1
        lengths = zip(self.array.shape[leading:], self.chunk[leading:], strict=True)
        return math.prod(-(-int(length) // max(1, int(part))) for length, part in lengths)

    def pixels(self, source: Source) -> np.ndarray:
        """The requested frame: uint8, (H, W) or (H, W, 3)."""
        frame = chosen_frame(source.frame, self.layout.count)
        index = (frame,) if self.layout.depth is None else divmod(frame, self.layout.depth)
        values = np.array(self.array[index]).reshape(self.layout.image)
        if values.dtype.kind == "b":
            return values.astype(np.uint8) * np.uint8(255)
        if values.dtype == np.uint8:
            return values
        with np.errstate(all="ignore"):
            return to_8_bits(values, self._bounds(values, index, source.reading))

    def _bounds(self, values: np.ndarray, index: tuple[int, ...], reading: IntensityPolicy) -> Bounds:
        if self.layout.depth is None or reading.scope == "slice" or isinstance(reading.window, tuple):
            return chosen_bounds(values, reading)
        key = index[0], reading.percentiles
        if key not in self.bounds:
            size = self.layout.depth * values.nbytes
            if size > _MOST_VOLUME_BYTES or self.chunks_below(1) > _MOST_VOLUME_CHUNKS:
                raise ImageError(
                    f"{self.what} holds volumes of {size:,} bytes in {self.chunks_below(1):,} chunks, too much for "
                    "percentiles over a volume; set `window`, or `scope: slice`, under `reading` in the card"
                )
            self.bounds[key] = chosen_bounds(np.asarray(self.array[index[0]]), reading)
        return self.bounds[key]


def no_array(member: str) -> SelectionError:
    """Why a container has no array called `member`."""
    if not member:
        return SelectionError("holds arrays by name; write `#NAME` of one after the file's name in the column `path`")
    return SelectionError(f'has no array "{member}"')
