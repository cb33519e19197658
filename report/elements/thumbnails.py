"""Small pictures of a manifest's images, through its readers, and how a page shows them."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterable

import numpy as np
from PIL import Image

from ...base import usable_cores
from ...manifests import Manifest, Source, read_image
from ...manifests.readers.worker_pool import look_at

TILE = 120
"""Pixels of the longer side."""
_AT_ONCE = 8
"""Images that a worker takes at a time."""


def thumbnails(manifest: Manifest, rows: Iterable[int]) -> dict[int, Image.Image]:
    """The images at `rows`, grey or RGB, the longer side `TILE` pixels; without those that cannot be read."""
    chosen = np.unique(np.fromiter(rows, np.int64))
    _, reasons = Manifest(manifest.table.iloc[chosen], manifest.card, manifest.path).stamps()
    readable = chosen[reasons == ""].tolist()
    chunks = [readable[start : start + _AT_ONCE] for start in range(0, len(readable), _AT_ONCE)]
    tiles: dict[int, Image.Image] = {}
    for chunk in look_at(_tile, manifest.sources(), chunks, workers=usable_cores()):
        pairs = zip(chunk.rows, chunk.results, strict=True)
        tiles.update((row, tile) for row, tile in pairs if isinstance(tile, Image.Image))
    return tiles


def _tile(source: Source) -> Image.Image:
    image = Image.fromarray(read_image(source))
    scale = TILE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    # Enlarged pixels stay square, so that a 28-px image looks like one.
    return image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST)


def png_in_base64(tile: Image.Image) -> str:
    """A picture as the page holds it."""
    buffer = io.BytesIO()
    tile.save(buffer, format="PNG", optimize=True)
    return b64encode(buffer.getvalue()).decode()
