"""Looks at every image once: can it be read, and what is its digest?"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ..base import ImageError, progress, usable_cores
from .readers import content_digest, read_image
from .source import Source

_CHUNK = 32
"""Images per task: neighbours stay together, so that an array is read in order."""


@dataclass(frozen=True, eq=False)
class Survey:
    """What was seen of the images of N samples, in the order of rows."""

    digest: np.ndarray
    """(N,) object array: `content_digest` of the pixels, "" where they could not be read."""
    reason: np.ndarray
    """(N,) object array: why they could not be read, "" where they could."""
    missing: np.ndarray
    """(N,) bool: the file is not there."""


def survey_images(sources: Sequence[Source], *, workers: int | None = None, show_progress: bool = True) -> Survey:
    """Decodes and digests every image.

    Args:
        sources: where the images are.
        workers: threads; default one per core. Threads do, because decoding and hashing leave Python's lock alone.
        show_progress: show a bar.
    """
    count = len(sources)
    digest, reason = np.full(count, "", object), np.full(count, "", object)
    missing = np.zeros(count, bool)
    starts = range(0, count, _CHUNK)
    with (
        # Pillow warns of odd tags in files that it reads all the same; entered here once, because it is process-wide.
        warnings.catch_warnings(action="ignore"),
        ThreadPoolExecutor(workers or usable_cores()) as pool,
        progress("Reading images", count, unit="images", enabled=show_progress) as bar,
    ):
        # A window of tasks rather than one for each of ten million images at once.
        window = 64 * _CHUNK
        for begin in range(0, count, window):
            parts = [sources[start : start + _CHUNK] for start in starts[begin // _CHUNK : (begin + window) // _CHUNK]]
            for number, seen in enumerate(pool.map(_look_at, parts)):
                rows = slice(begin + number * _CHUNK, begin + number * _CHUNK + len(seen))
                digest[rows], reason[rows], missing[rows] = zip(*seen, strict=True)
                bar.advance(len(seen))
    return Survey(digest, reason, missing)


def _look_at(sources: Sequence[Source]) -> list[tuple[str, str, bool]]:
    return [_look_at_one(source) for source in sources]


def _look_at_one(source: Source) -> tuple[str, str, bool]:
    try:
        return content_digest(read_image(source)), "", False
    except ImageError as error:
        return "", str(error), not source.path.exists()
