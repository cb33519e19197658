"""What was seen of the images of a manifest, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from .compute import BINS, Facts
from .perceptual_hash import THUMBNAIL


@dataclass(frozen=True, eq=False)
class ImageStats:
    """What was seen of the images of N samples, in the order of rows.

    Where an image could not be read, only `reason` and `missing` say something; all else is 0, False or "".
    """

    digest: np.ndarray
    """(N,) object array: `content_digest` of the pixels, "" where they could not be read."""
    reason: np.ndarray
    """(N,) object array: why they could not be read, "" where they could."""
    missing: np.ndarray
    """(N,) bool: the file is not there."""
    stored: np.ndarray
    """(N,) object array: format and mode of the file in words, such as `JPEG L`, `PNG RGBA`, `npz grey`."""
    bytes: np.ndarray
    """(N,) int64: the size of the file, which may hold other samples too; 0 for a store that is a folder."""
    height: np.ndarray
    """(N,) int32: pixels, as read (upright)."""
    width: np.ndarray
    """(N,) int32: pixels."""
    constant: np.ndarray
    """(N,) bool: all pixels are the same."""
    letters: np.ndarray
    """(N,) uint16: letters in the longest row of what looks like burned-in text; 0 where nothing does."""
    hash: np.ndarray
    """(N,) uint64: `perceptual_hash`, near-equal (in bits) for copies that were compressed again or resized."""
    thumbnail: np.ndarray
    """(N, 16, 16) uint8: the image in grey, squashed to a square."""
    histogram: np.ndarray
    """(N, 32) uint32: pixels by grey level (luma of RGB), eight levels a bin."""

    def __len__(self) -> int:
        return len(self.digest)

    @property
    def readable(self) -> np.ndarray:
        """(N,) bool: which images could be read."""
        return self.digest != ""

    @classmethod
    def blank(cls, count: int) -> ImageStats:
        """A survey of `count` images of which nothing is known yet."""
        shapes = {"thumbnail": (count, THUMBNAIL, THUMBNAIL), "histogram": (count, BINS)}
        dtypes = {
            **dict.fromkeys(("digest", "reason", "stored"), object),
            **dict.fromkeys(("missing", "constant"), bool),
            **dict.fromkeys(("height", "width"), np.int32),
            "bytes": np.int64,
            "letters": np.uint16,
            "hash": np.uint64,
            "thumbnail": np.uint8,
            "histogram": np.uint32,
        }
        arrays = {name: np.zeros(shapes.get(name, count), dtype) for name, dtype in dtypes.items()}
        for name in ("digest", "reason", "stored"):
            arrays[name].fill("")
        return cls(**arrays)

    def take(self, rows: np.ndarray) -> ImageStats:
        """The same of some rows, in that order; `rows` as numpy indexes them."""
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def put(self, rows: np.ndarray, other: ImageStats) -> None:
        """Writes what `other` has seen into `rows`."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(other, field.name)

    def note(self, rows: np.ndarray, seen: Sequence[Facts]) -> None:
        """Writes the facts of single images into `rows`."""
        for name, values in zip(Facts._fields, zip(*seen, strict=True), strict=True):
            array = getattr(self, name)
            array[rows] = values if array.ndim == 1 else np.stack(values)
