"""What there is to know of one image, from one decoding."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

import numpy as np
from PIL import Image

from ...base import ImageError
from ..readers import READERS, content_digest, read_image
from ..readers.source import Source
from .burned_in_text import letters_in_a_row
from .perceptual_hash import THUMBNAIL, perceptual_hash

BINS = 32
"""Of an intensity histogram; eight grey levels each."""


class Facts(NamedTuple):
    """Of one image; `ImageStats` has the same fields as arrays, and says what each is."""

    digest: str = ""
    reason: str = ""
    missing: bool = False
    stored: str = ""
    bytes: int = 0
    height: int = 0
    width: int = 0
    constant: bool = False
    letters: int = 0
    hash: int = 0
    thumbnail: np.ndarray = np.zeros((THUMBNAIL, THUMBNAIL), np.uint8)
    histogram: np.ndarray = np.zeros(BINS, np.uint32)


def facts_of(source: Source) -> Facts:
    """Decodes one image and looks at it; an image that cannot be read has a reason and nothing else."""
    try:
        pixels = read_image(source)
    except ImageError as error:
        return Facts(reason=str(error), missing=not os.path.exists(source.path))
    grey = Image.fromarray(pixels).convert("L")
    levels = np.array(grey.histogram(), np.uint32)
    looks, thumbnail = perceptual_hash(grey)
    return Facts(
        digest=content_digest(pixels),
        stored=_stored_as(source, pixels),
        bytes=_size_of(source),
        height=pixels.shape[0],
        width=pixels.shape[1],
        # Colours of one brightness are not one colour.
        constant=np.count_nonzero(levels) == 1 and bool((pixels == pixels[0, 0]).all()),
        letters=letters_in_a_row(grey),
        hash=looks,
        thumbnail=thumbnail,
        histogram=levels.reshape(BINS, -1).sum(axis=1, dtype=np.uint32),
    )


def _stored_as(source: Source, pixels: np.ndarray) -> str:
    """The format and mode of the file in a word or two, from its header alone."""
    colours = "grey" if pixels.ndim == 2 else "RGB"
    if source.path.is_dir():
        return f"{source.path.suffix.removeprefix('.')} {colours}"
    with source.path.open("rb") as file:
        head = file.read(512)
    name = next((reader.name for reader in READERS if reader.recognises(head)), "")
    if name != "image":
        return f"{name} {colours}"
    with Image.open(source.path) as image:
        return f"{image.format} {image.mode}"


def _size_of(source: Source) -> int:
    status = source.path.stat()
    return 0 if stat.S_ISDIR(status.st_mode) else status.st_size
