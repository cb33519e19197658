"""What there is to know about images, each decoded once: a pandas table with a row per image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from ...base import ImageError
from ..readers import content_digest, read_image, reader_of
from ..readers.source import Source
from .burned_in_text import letters_in_a_row

PICTURE = 48
"""Pixels a side of the small picture that is kept of each image, to find copies by."""
BINS = 32
"""Bins of an intensity histogram; eight grey levels each."""


class Facts(NamedTuple):
    """About one image. If it could not be read, only `reason` and `missing` are set."""

    digest: str = ""
    """`content_digest` of the pixels, "" if they could not be read."""
    reason: str = ""
    """Why they could not be read, "" if they could."""
    missing: bool = False
    """The file does not exist."""
    stored: str = ""
    """Format and mode of the file, such as `JPEG L`, `PNG RGBA`, `npz grey`."""
    height: int = 0
    """Pixels, as read (upright)."""
    width: int = 0
    constant: bool = False
    """All pixels are the same."""
    letters: int = 0
    """Letters in the longest row of what looks like burned-in text, or 0."""
    picture: bytes = bytes(PICTURE**2)
    """uint8 (48, 48): the image in grey, squashed to a square."""
    histogram: bytes = bytes(4 * BINS)
    """uint32 (32,): pixels by grey level (luma of RGB), eight levels per bin."""
    bytes: int = 0
    """The size of the file, which may hold other samples too; 0 for a store that is a folder."""


_DTYPES = {"bytes": np.int64, "height": np.int32, "width": np.int32, "letters": np.uint16}
_DTYPES |= dict.fromkeys(("missing", "constant"), np.bool_)
_DTYPES |= dict.fromkeys(("digest", "reason", "stored", "picture", "histogram"), np.object_)


@dataclass(frozen=True, eq=False)
class ImageStats:
    """Statistics of N images, in the order of rows; each field of `Facts` is an attribute with N values.

    Examples:
        >>> from medprobe.manifests import manifest_image_stats
        >>> stats = manifest_image_stats(manifest, workers=1, show_progress=False)
        >>> len(stats), "width" in stats.table
        (60, True)
    """

    table: pd.DataFrame
    """N rows, a column per field of `Facts`."""

    def __len__(self) -> int:
        return len(self.table)

    def __getattr__(self, name: str) -> np.ndarray:
        if name not in Facts._fields:
            raise AttributeError(name)
        return self.table[name].to_numpy()

    @property
    def readable(self) -> np.ndarray:
        """(N,) bool: which images could be read."""
        return self.digest != ""

    @property
    def picture(self) -> np.ndarray:
        """(N, 48, 48) uint8: the images in grey, squashed to a square."""
        return np.frombuffer(b"".join(self.table["picture"]), np.uint8).reshape(-1, PICTURE, PICTURE)

    @property
    def histogram(self) -> np.ndarray:
        """(N, 32) uint32: pixels by grey level (luma of RGB), eight levels per bin."""
        return np.frombuffer(b"".join(self.table["histogram"]), np.uint32).reshape(-1, BINS)

    @classmethod
    def of(cls, facts: Sequence[Facts]) -> ImageStats:
        """The statistics of images whose facts are known."""
        return cls(pd.DataFrame(facts, columns=pd.Index(Facts._fields)).astype(_DTYPES))

    def take(self, rows: np.ndarray) -> ImageStats:
        """The same for some rows, in that order; `rows` as numpy indexes them."""
        return ImageStats(self.table.iloc[rows].reset_index(drop=True))


def facts_of(source: Source) -> Facts:
    """Decodes one image and looks at it; an image that cannot be read has a reason and nothing else."""
    try:
        pixels = read_image(source)
    except ImageError as error:
        return Facts(reason=str(error), missing=not os.path.exists(source.path))
    grey = Image.fromarray(pixels).convert("L")
    levels = np.array(grey.histogram(), np.uint32)
    # The linear filter blurs a little, so that a copy that was moved by half a pixel looks the same.
    picture = grey.resize((PICTURE, PICTURE), Image.Resampling.BILINEAR, reducing_gap=3)
    return Facts(
        digest=content_digest(pixels),
        stored=_stored_as(source, pixels),
        bytes=0 if source.path.is_dir() else source.path.stat().st_size,
        height=pixels.shape[0],
        width=pixels.shape[1],
        # Colours of one brightness are not one colour.
        constant=np.count_nonzero(levels) == 1 and bool((pixels == pixels[0, 0]).all()),
        letters=letters_in_a_row(grey),
        picture=picture.tobytes(),
        histogram=levels.reshape(BINS, -1).sum(axis=1, dtype=np.uint32).tobytes(),
    )


def _stored_as(source: Source, pixels: np.ndarray) -> str:
    """The format and mode of the file in a word or two, from its header alone."""
    name = reader_of(source.path).name
    if name != "image":
        return f"{name} {'grey' if pixels.ndim == 2 else 'RGB'}"
    with Image.open(source.path) as image:
        return f"{image.format} {image.mode}"
