"""Which row of a file belongs to which sample of a manifest: by sample id or by path, by position on request alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

import numpy as np

from ...base import CacheError, counted, one_of
from ...manifests import Manifest
from ...manifests.schema.table_io import as_words, column_of
from ..index import NOWHERE, positions_in, unique_index
from .contents import Contents
from .layouts import PARTS


def rows_by_name(manifest: Manifest, names: np.ndarray, where: str) -> tuple[np.ndarray, str]:
    """The row of each of the N samples, (N,) int64 and `NOWHERE` where there is none, and how they were matched.

    Names are taken for sample ids, paths, or paths without suffixes, whichever finds most samples. A path matches when
    it ends as the manifest's does, or the other way round, by whole folders.

    Raises:
        CacheError: no name is of a sample, or several rows are of one (says which).
    """
    paths = [path.replace("\\", "/") for path in as_words(column_of(manifest.table, "path"))]
    given = [name.replace("\\", "/") for name in names]
    ways: dict[str, Callable[[], np.ndarray]] = {
        "sample id": lambda: positions_in(unique_index(manifest.sample_ids), names),
        "path": lambda: _by_path(paths, given),
        "path without suffix": lambda: _by_path([_stem(path) for path in paths], given),
    }
    best, how = np.full(len(names), NOWHERE), ""
    for way, find in ways.items():
        sample = find()
        if (sample != NOWHERE).sum() > (best != NOWHERE).sum():
            best, how = sample, way
        if (best != NOWHERE).all() or len(np.unique(best[best != NOWHERE])) == len(manifest):
            break
    if not how:
        raise CacheError(
            f"{where}: none of its {len(names):,} rows is named as a sample of {manifest.name}: they are called"
            f" {one_of(map(repr, names), most=2)}, samples are called {one_of(map(repr, manifest.sample_ids), most=2)}"
            f" and have paths such as {paths[0]!r}. Name rows by sample id or by path, in a column or array sample_id."
        )
    _require_once(manifest, best, where)
    rows = np.full(len(manifest), NOWHERE, np.int64)
    found = np.flatnonzero(best != NOWHERE)
    rows[best[found]] = found
    return rows, how


def rows_in_order(manifest: Manifest, contents: Contents, where: str) -> np.ndarray:
    """The row of each of the N samples, (N,) int64, by position; where the file has parts, within each part.

    Raises:
        CacheError: the counts differ, or the file's class numbers contradict the manifest's labels.
    """
    if contents.parts is None:
        if len(contents) != len(manifest):
            raise CacheError(
                f"{where}: has {counted(len(contents), 'row')}, the manifest {counted(len(manifest), 'sample')}: their"
                " order does not tell which is which. Name the rows by sample id or path."
            )
        rows = np.arange(len(manifest))
    else:
        rows = _in_order_of_parts(manifest, contents.parts, where)
    _require_same_classes(manifest, contents.targets, rows, where)
    return rows


def _by_path(paths: list[str], names: list[str]) -> np.ndarray:
    """The sample of each name: its path is the end of the name, or the name that of exactly one path.

    A path of several samples (the frames of one file) names none of them.
    """
    ends: dict[tuple[str, ...], int] = {}
    whole: dict[tuple[str, ...], int] = {}
    for row, path in enumerate(paths):
        parts = PurePosixPath(path).parts
        whole[parts] = NOWHERE if parts in whole else row
        for start in range(1, len(parts)):
            end = parts[start:]
            ends[end] = NOWHERE if end in ends else row
    depths = sorted({len(parts) for parts in whole}, reverse=True)

    def sample_of(name: str) -> int:
        parts = PurePosixPath(name).parts
        for depth in depths:
            if depth <= len(parts) and (row := whole.get(parts[-depth:])) is not None:
                return row
        return ends.get(parts, NOWHERE)

    return np.array([sample_of(name) for name in names], np.int64)


def _stem(path: str) -> str:
    """A path without the suffixes of its file's name: `a/b.nii.gz` becomes `a/b`."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{name.partition('.')[0] or name}"


def _require_once(manifest: Manifest, sample: np.ndarray, where: str) -> None:
    found = np.flatnonzero(sample != NOWHERE)
    twice = np.flatnonzero(np.bincount(sample[found], minlength=len(manifest)) > 1)
    if len(twice):
        lines = []
        for one in twice[:3]:
            rows = np.flatnonzero(sample == one)
            lines.append(f"{manifest.sample_ids[one]!r} (rows {' and '.join(f'{row + 1:,}' for row in rows[:2])})")
        raise CacheError(
            f"{where}: {counted(len(twice), 'sample')} of the manifest with several rows, e.g. {one_of(lines)}. Keep"
            " one row of each."
        )


def _in_order_of_parts(manifest: Manifest, parts: np.ndarray, where: str) -> np.ndarray:
    if "split" not in manifest.table:
        raise CacheError(
            f"{where}: its rows are in order within train, val and test; the manifest has no column split."
        )
    split = as_words(column_of(manifest.table, "split"))
    if "test" not in parts and "val" not in split:
        parts = np.where(parts == "val", "test", parts)  # earlier versions of CLIP_benchmark
    rows = np.full(len(manifest), NOWHERE, np.int64)
    for part in PARTS:
        ours, theirs = np.flatnonzero(split == part), np.flatnonzero(parts == part)
        if len(ours) != len(theirs):
            raise CacheError(
                f"{where}: has {counted(len(theirs), 'row')} of {part}, the manifest has {len(ours):,}; both must have"
                " the same images in the same order."
            )
        rows[ours] = theirs
    return rows


def _require_same_classes(manifest: Manifest, targets: np.ndarray | None, rows: np.ndarray, where: str) -> None:
    """Class numbers that go with other labels now and then show that the order is another."""
    if targets is None or manifest.card.task in (None, "multilabel"):
        return
    labels = as_words(column_of(manifest.table, manifest.card.label_column))
    pairs = {*zip(labels, targets[rows].tolist(), strict=True)}
    if len(pairs) > min(len({label for label, _ in pairs}), len({number for _, number in pairs})):
        raise CacheError(
            f"{where}: its class numbers do not go with the manifest's labels (a label has several numbers, or a number"
            " several labels), so that its rows are in another order than the manifest's. Sort one as the other."
        )
