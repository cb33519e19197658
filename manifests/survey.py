"""Looks at every image once: can it be read, what is its digest, and what else do checks and pages need to know?"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import cast

import numpy as np

from ..base import WorkerError, progress, usable_cores
from .manifest import Manifest
from .perceptual_hash import THUMBNAIL
from .source import Source
from .survey_facts import BINS, Facts, facts_of

_FEW = 1000
"""Images that threads have read before processes would have started."""
_CHUNK = 32
"""Images per task: neighbours stay together, so that an array is read in order."""


@dataclass(frozen=True, eq=False)
class Survey:
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
    def blank(cls, count: int) -> Survey:
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

    def take(self, rows: np.ndarray) -> Survey:
        """The same of some rows, in that order; `rows` as numpy indexes them."""
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def put(self, rows: np.ndarray, other: Survey) -> None:
        """Writes what `other` has seen into `rows`."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(other, field.name)

    def _note(self, rows: np.ndarray, seen: Sequence[Facts]) -> None:
        for name, values in zip(Facts._fields, zip(*seen, strict=True), strict=True):
            array = getattr(self, name)
            array[rows] = values if array.ndim == 1 else np.stack(values)


def survey_manifest(manifest: Manifest, *, workers: int | None = None, show_progress: bool = True) -> Survey:
    """What there is to know of every image of a manifest, each decoded once and never again while it is unchanged.

    What was seen is kept beside the manifest (`<stem>.survey`, docs/formats.md), by the time and size of each file; a
    manifest that was not saved, or lies in a folder that cannot be written, is looked at anew each time.

    Args:
        manifest: may have been loaded with `strict=False`.
        workers: threads, or processes for many files; default one per core.
        show_progress: show a bar while images are decoded.

    Returns:
        N rows, as the manifest has them.
    """
    from .survey_file import SurveyFile

    file = SurveyFile.of(manifest)
    survey, known = file.recall()
    new = np.flatnonzero(~known)
    sources = manifest.sources()
    try:
        for rows, seen in _looks(sources, new, workers, show_progress):
            survey._note(rows, seen)
    finally:
        # Kept even when the user stops in the middle: what was seen need not be seen again.
        if len(new):
            file.keep(survey)
    return survey


def keep_survey(manifest: Manifest, survey: Survey) -> None:
    """Keeps what is known already of the images of a saved manifest, so that the next survey need not look."""
    from .survey_file import SurveyFile

    SurveyFile.of(manifest).keep(survey)


def survey_images(sources: Sequence[Source], *, workers: int | None = None, show_progress: bool = True) -> Survey:
    """Decodes and describes every image; keeps nothing.

    Args:
        sources: where the images are.
        workers: threads, or processes for many files; default one per core.
        show_progress: show a bar.
    """
    survey = Survey.blank(len(sources))
    for rows, seen in _looks(sources, np.arange(len(sources)), workers, show_progress):
        survey._note(rows, seen)
    return survey


def _looks(
    sources: Sequence[Source], rows: np.ndarray, workers: int | None, show_progress: bool
) -> Iterator[tuple[np.ndarray, list[Facts]]]:
    """The facts of `rows`, a chunk of neighbours at a time, in order."""
    if len(rows) == 0:
        return
    chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
    workers = min(workers or usable_cores(), len(chunks))
    # Looking for text keeps Python's lock, so threads gain nothing; but processes take a second to start, and each
    # would hold an array of its own of a file of many frames.
    look = _in_threads if len(rows) < _FEW or workers == 1 or _share_files(sources, rows) else _in_processes
    with progress("Reading images", len(rows), unit="images", enabled=show_progress) as bar:
        parts = ([sources[int(row)] for row in chunk] for chunk in chunks)
        for chunk, seen in zip(chunks, look(parts, workers), strict=True):
            yield chunk, seen
            bar.advance(len(seen))


def _share_files(sources: Sequence[Source], rows: np.ndarray) -> bool:
    """Whether some of the images, asked here and there, are frames of a file."""
    return any(sources[int(row)].frame is not None for row in rows[:: -(-len(rows) // 100)])


def _in_threads(parts: Iterable[list[Source]], workers: int) -> Iterator[list[Facts]]:
    with ThreadPoolExecutor(workers) as pool, warnings.catch_warnings(action="ignore"):
        # A window of tasks rather than one for each of ten million images at once.
        waiting = iter(parts)
        while window := list(islice(waiting, 64)):
            yield from pool.map(_facts_of_all, window)


def _in_processes(parts: Iterable[list[Source]], workers: int) -> Iterator[list[Facts]]:
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    pool = Parallel(n_jobs=workers, pre_dispatch="4*n_jobs", return_as="generator")
    try:
        yield from cast("Iterator[list[Facts]]", pool(delayed(_facts_in_process)(part) for part in parts))
    except TerminatedWorkerError as error:
        raise WorkerError(
            "a process that read images ended before its work was done, most likely for want of memory; what was seen "
            "is kept, so run the same command again. If it ends there too, an image that was not reached does it."
        ) from error


def _facts_in_process(sources: Sequence[Source]) -> list[Facts]:
    with warnings.catch_warnings(action="ignore"):
        return _facts_of_all(sources)


def _facts_of_all(sources: Sequence[Source]) -> list[Facts]:
    return [facts_of(source) for source in sources]
