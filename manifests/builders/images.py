"""Images that a table names: which files they are, in one of several folders, with or without a suffix."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from ...base import ManifestError, counted, one_of
from ..tables import TEXT, as_words
from .common import Notice

_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".dcm")
"""Of single images; where one name stands under several, the first is taken."""
_FOLDERS_KEPT = 1024
"""Listings of folders kept at a time: rows of one folder mostly stand together, and a data set may have 200,000."""

Listing = tuple[frozenset[str], dict[str, str]]
"""The names in a folder, and the name of the image that each folded stem belongs to."""


def find_folders(root: Path, *patterns: str) -> list[str]:
    """The folders below `root` that `patterns` (of `Path.glob`) match, in the order of the patterns; "." if none."""
    found = (folder for pattern in patterns for folder in sorted(root.glob(pattern)) if folder.is_dir())
    return list(dict.fromkeys(folder.relative_to(root).as_posix() for folder in found)) or ["."]


def locate_images(
    names: pd.Series,
    root: Path,
    folders: Sequence[str] = (".",),
    *,
    where: str,
    notice: Notice,
    suffix: str = "",
    elsewhere: Callable[[str], str | None] | None = None,
) -> pd.Series:
    """The path below `root` of each image.

    A name is taken as it stands if there is such a file in one of the folders, the first of them first; else a file of
    the same stem in any capital letters under another image's suffix, or none in the name. An image that is nowhere
    keeps its name in the first folder, so that the checks report it; the number of those is told.

    Args:
        names: file names or relative paths.
        root: the folder that paths start from.
        folders: where to look, relative to `root`.
        where: the table, for messages.
        notice: told how many are missing.
        suffix: what a missing image's name ends in, if the name has no suffix.
        elsewhere: a last place to look, given the name.

    Raises:
        ManifestError: not one of the images is there.
    """
    lookup = _Lookup(root, folders)
    paths, missing = [], []
    for row, name in enumerate(as_words(names.str.replace("\\", "/"))):
        path = (lookup.find(name) or (elsewhere(name) if elsewhere else None)) if name else None
        if path is None:
            missing.append(row)
            path = name and _prefix(folders[0], "") + (name if _stem(name) != name else name + suffix)
        paths.append(path)
    if len(missing) == len(paths):
        raise ManifestError(
            f'{where}: not one of its {counted(len(paths), "image")} is there; the first would be "{paths[0]}" in the '
            f'folder "{root}". Looked in {one_of(folders, most=6)}; unpack the images there.'
        )
    if missing:
        notice(
            f"{counted(len(missing), 'image')} of {len(paths):,} {'is' if len(missing) == 1 else 'are'} missing, the "
            f'first is "{paths[missing[0]]}"; the rows stay, and `medprobe manifest check` lists them.'
        )
    return pd.Series(np.array(paths, object), dtype=TEXT)


def only_file_below(root: Path, folder: str) -> str | None:
    """The path below `root` of the one file somewhere in `folder`; None where there is none, or are several."""
    files = [file for file in (root / folder).rglob("*") if file.is_file() and not file.name.startswith(".")]
    return files[0].relative_to(root).as_posix() if len(files) == 1 else None


class _Lookup:
    """Finds files by name in folders whose listings are read once."""

    def __init__(self, root: Path, folders: Sequence[str]) -> None:
        self._listing = lru_cache(_FOLDERS_KEPT)(lambda place: _listing(root / place))
        self._places = lru_cache(_FOLDERS_KEPT)(lambda above: tuple(_prefix(folder, above) for folder in folders))

    def find(self, name: str) -> str | None:
        """The path below the root, or None."""
        above, _, file = name.rpartition("/")
        places = self._places(above)
        # The exact name first, in all folders: another folder may hold a copy in another format.
        for place in places:
            if file in self._listing(place)[0]:
                return place + file
        stem = _stem(file).casefold()
        found = (place + self._listing(place)[1][stem] for place in places if stem in self._listing(place)[1])
        return next(found, None)


def _listing(folder: Path) -> Listing:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.is_dir())
    except OSError:
        return frozenset(), {}
    images = [(_SUFFIXES.index(suffix.lower()), name) for name in names if (suffix := name[len(_stem(name)) :])]
    # The first suffix last, where it takes the place of the others.
    images = [name for _, name in sorted(images, reverse=True) if not name.startswith(".")]
    return frozenset(names), {_stem(name).casefold(): name for name in images}


def _stem(name: str) -> str:
    """`name` without an image's suffix; a name may hold dots of its own."""
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and (dot + suffix).lower() in _SUFFIXES else name


def _prefix(*folders: str) -> str:
    """What a file's name is put behind: `images/part_1/`, or nothing for the root itself."""
    place = PurePosixPath(*folders).as_posix()
    return "" if place == "." else f"{place}/"
