"""Images that a table names: which files they are, in one of several folders, with or without a suffix."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from ...base import ManifestError, counted
from ..finding import rows_in_words
from ..source import Source
from ..tables import TEXT, as_codes, as_words
from .common import Notice
from .faults import Faults

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".dcm", ".gif", ".jp2", ".pgm", ".ppm", ".pnm",
)  # fmt: skip
"""Of single images; where one name stands under several, the first is taken."""
_FOLDERS_KEPT = 1024
"""Listings of folders kept at a time: rows of one folder mostly stand together, and a data set may have 200,000."""

_SEVERAL = ("are", "those", "rows stay", "files")

Listing = tuple[frozenset[str], dict[str, str]]
"""The names in a folder, and the name of the image that each folded stem belongs to."""


def find_folders(root: Path, home: str, *patterns: str) -> list[str]:
    """The folders below `root` that images are looked for in.

    Args:
        root: the folder that paths start from.
        home: the folder that the images are published in.
        patterns: of `Path.glob`, for folders that they may also be in.

    Returns:
        Those that there are, in the order of the patterns; where there are none, `home` and `root` itself.
    """
    found = (folder for pattern in (home, *patterns) for folder in sorted(root.glob(pattern)) if folder.is_dir())
    return list(dict.fromkeys(folder.relative_to(root).as_posix() for folder in found)) or [home, "."]


def locate_images(
    names: pd.Series,
    root: Path,
    folders: Sequence[str] = (".",),
    *,
    where: str,
    notice: Notice,
    suffix: str = "",
    elsewhere: Callable[[str], str | None] | None = None,
    remedy: str = "Unpack the images there, or give the folder that holds both table and images.",
) -> pd.Series:
    """The path below `root` of each image.

    A name is taken as it stands if there is such a file in one of the folders, the first of them first; else a file of
    the same stem in any capital letters under another image's suffix, or none in the name. An image that is nowhere
    keeps its name in the first folder, so that the checks report it; the rows of those are told.

    Args:
        names: file names or relative paths.
        root: the folder that paths start from.
        folders: where to look, relative to `root`.
        where: the table, for messages.
        notice: told which rows' are missing.
        suffix: what a missing image's name ends in, if the name has no suffix.
        elsewhere: a last place to look, given the name.
        remedy: what to do where not one is there.

    Raises:
        ManifestError: not one of the images is there.
    """
    lookup = _Lookup(root, folders)
    paths, missing = [], []
    for row, name in enumerate(as_words(names.str.replace("\\", "/"))):
        path = (lookup.find(name) or (elsewhere(name) if elsewhere else None)) if name else None
        if path is None:
            missing.append(row)
            path = name and (name if _stem(name) != name else name + suffix)
        paths.append(path)
    # Where images lie beside the table, a missing one would too.
    apart = len(missing) == len(paths) or (root / folders[0]).is_dir()
    for row in missing:
        paths[row] = paths[row] and _prefix(folders[0] if apart else ".", "") + paths[row]
    found = pd.Series(np.array(paths, object), dtype=TEXT)
    if missing and len(missing) == len(found):
        raise ManifestError(f"{where}: {_none_there(found, root, remedy)}")
    _tell_of_missing(missing, len(found), notice)
    return found


def look_for_images(paths: pd.Series, root: Path, *, faults: Faults, remedy: str, notice: Notice) -> None:
    """Tells which of the images that `paths` name below `root` are not there.

    Args:
        paths: as in a manifest, `#` before an array of a container; blank ones are another question.
        root: the folder that paths start from.
        faults: of the table; noted is that not one of the images is there.
        remedy: what to do then.
        notice: told which rows' are missing.
    """
    names_in = lru_cache(_FOLDERS_KEPT)(_names_in)

    def is_there(text: str) -> bool:
        path = Source.parse(root, text).path
        # Asked by name as well: some file systems know a name in other letters. A zarr store is a folder.
        return path.name in names_in(path.parent) or os.path.exists(path)  # noqa: PTH110  (a NUL in it is no error)

    codes, texts = as_codes(paths)
    missing = np.array([bool(text) and not is_there(text) for text in texts], bool)
    if missing.any() and missing[texts != ""].all():
        faults.note(_none_there(paths, root, remedy))
    else:
        _tell_of_missing(np.flatnonzero(missing[codes]), len(paths), notice)


def _none_there(paths: pd.Series, root: Path, remedy: str) -> str:
    """What to say where not one image is there, so that the folder or the column is likely wrong."""
    # One path is told, although it may hold a patient's name: what is wrong with a folder is not seen without.
    first = next((path for path in as_words(paths) if path), "")
    return (
        f'not one of its {counted(len(paths), "image")} is in the folder "{root}"; the first would be "{first}". '
        f"{remedy}"
    )


def _tell_of_missing(missing: Sequence[int] | np.ndarray, images: int, notice: Notice) -> None:
    """Tells the rows whose images are missing; not by their names, which may be a patient's."""
    if len(missing) == 0:
        return
    are, those, rows_stay, files = ("is", "that", "row stays", "file") if len(missing) == 1 else _SEVERAL
    notice(
        f"{counted(len(missing), 'image')} of {images:,} {are} missing: {those} of {rows_in_words(missing)} of the "
        f"manifest. The {rows_stay}, and `medprobe manifest check` names the {files}."
    )


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


def _names_in(folder: Path) -> frozenset[str]:
    """The names of files and folders in a folder; none where it cannot be read."""
    try:
        return frozenset(os.listdir(folder))  # noqa: PTH208  (names are all that is wanted)
    except (OSError, ValueError):
        return frozenset()


def _listing(folder: Path) -> Listing:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.is_dir())
    except OSError:
        return frozenset(), {}
    images = [(IMAGE_SUFFIXES.index(suffix.lower()), name) for name in names if (suffix := name[len(_stem(name)) :])]
    # The first suffix last, where it takes the place of the others.
    images = [name for _, name in sorted(images, reverse=True) if not name.startswith(".")]
    return frozenset(names), {_stem(name).casefold(): name for name in images}


def _stem(name: str) -> str:
    """`name` without an image's suffix; a name may hold dots of its own."""
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and (dot + suffix).lower() in IMAGE_SUFFIXES else name


def _prefix(*folders: str) -> str:
    """What a file's name is put behind: `images/part_1/`, or nothing for the root itself."""
    place = PurePosixPath(*folders).as_posix()
    return "" if place == "." else f"{place}/"
