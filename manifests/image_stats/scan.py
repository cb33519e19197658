"""Looks at every image once: can it be read, what is its digest, and what else do checks and pages need to know?"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import cast

import numpy as np

from ...base import WorkerError, progress, usable_cores
from ..manifest import Manifest
from ..readers.source import Source
from .compute import Facts, facts_of
from .store import SurveyFile
from .table import ImageStats

_FEW = 1000
"""Images that threads have read before processes would have started."""
_CHUNK = 32
"""Images per task: neighbours stay together, so that an array is read in order."""


def manifest_image_stats(manifest: Manifest, *, workers: int | None = None, show_progress: bool = True) -> ImageStats:
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
    file = SurveyFile.of(manifest)
    survey, known = file.recall()
    new = np.flatnonzero(~known)
    sources = manifest.sources()
    try:
        for rows, seen in _looks(sources, new, workers, show_progress):
            survey.note(rows, seen)
    finally:
        # Kept even when the user stops in the middle: what was seen need not be seen again.
        if len(new):
            file.keep(survey)
    return survey


def store_image_stats(manifest: Manifest, survey: ImageStats) -> None:
    """Keeps what is known already of the images of a saved manifest, so that the next survey need not look."""
    SurveyFile.of(manifest).keep(survey)


def compute_image_stats(
    sources: Sequence[Source], *, workers: int | None = None, show_progress: bool = True
) -> ImageStats:
    """Decodes and describes every image; keeps nothing.

    Args:
        sources: where the images are.
        workers: threads, or processes for many files; default one per core.
        show_progress: show a bar.
    """
    survey = ImageStats.blank(len(sources))
    for rows, seen in _looks(sources, np.arange(len(sources)), workers, show_progress):
        survey.note(rows, seen)
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

    pool = Parallel(n_jobs=workers, return_as="generator")
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
