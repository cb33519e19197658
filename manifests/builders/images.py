"""Images that a table names: found in one of several folders, with or without a suffix."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from ...base import ManifestError, counted
from ..readers.source import Source
from ..schema.table_io import TEXT, as_codes, as_words
from ..validation.diagnostics import rows_in_words
from ..validation.faults import Faults
from .common import Notice
from .files import files_below, refuse_closed, walk

_SEVERAL = ("are", "those", "rows stay", "files")


def locate_images(
    names: pd.Series,
    root: Path,
    patterns: Sequence[str],
    *,
    where: str,
    first: str,
    notice: Notice,
    suffix: str,
    only_file: bool,
    flat: bool,
    remedy: str,
) -> pd.Series:
    """The path below `root` of each image.

    Each is looked for as `Lookup.find` does, the first of the folders first. An image that is nowhere keeps its name in
    the first folder, so that the checks report it; the rows of those are reported.

    Args:
        names: file names or relative paths.
        root: the folder that paths start from.
        patterns: of `Path.glob`, for folders below `root`, the one that the images are published in first; if none is
            there, `root` is searched.
        where: the table, for messages.
        first: what names the first image, such as `row 1, column "id"`, for messages: a name may be a patient's.
        notice: called with the rows whose images are missing.
        suffix: what a missing image's name ends in, if the name has no suffix.
        only_file: whether an image that is nowhere may be the one file below the first folder of its path, under any
            name, in one of the folders.
        flat: whether an image that is nowhere may be in one of the folders itself, or in `root`, without the folders of
            its path.
        remedy: what to do where not one is there.

    Raises:
        ManifestError: not one of the images is there, or folders cannot be read.
    """
    found = (folder for pattern in patterns for folder in sorted(root.glob(pattern)) if folder.is_dir())
    folders = list(dict.fromkeys(folder.relative_to(root).as_posix() for folder in found)) or [*patterns[:1], "."]
    if only_file or (flat and "." not in folders):
        folders.append(".")
    if only_file:
        walk(root, linked=1)  # names all folders that cannot be read
    lookup = Lookup(root, folders)
    paths, missing = [], []
    for row, text in enumerate(as_words(names.str.replace("\\", "/"))):
        name, member = _without_member(root, text)
        path = lookup.find(name) if name else None
        if path is None and name and flat:
            path = lookup.find(name.rpartition("/")[2])
        if path is None and name and only_file:
            path = _only_file(root, folders, name)
        if path is None:
            missing.append(row)
            path = name and (name if stem_of(name) != name else name + suffix)
        paths.append(path + member)
    refuse_closed(root, lookup.closed.values())
    # If images are next to the table, a missing one would be too.
    apart = len(missing) == len(paths) or (root / folders[0]).is_dir()
    for row in missing:
        paths[row] = paths[row] and prefix(folders[0] if apart else ".", "") + paths[row]
    if missing and len(missing) == len(paths):
        # One that is not there is called as it is published, and not after a patient.
        home = prefix(folders[0])
        first += "" if (root / home).is_dir() else f", in {home or root}, which is not there"
        raise ManifestError(f"{where}: {_none_there(len(paths), root, first, remedy)}")
    _report_missing(missing, len(paths), notice)
    return pd.Series(np.array(paths, object), dtype=TEXT)


def report_absent(paths: pd.Series, root: Path, *, column: str, faults: Faults, remedy: str, notice: Notice) -> None:
    """Reports the rows whose images are missing.

    Args:
        paths: as in a manifest, `#` before an array of a container; blank ones are another question.
        root: the folder that paths start from.
        column: what the table calls them.
        faults: of the table; receives an error if none of the images exists.
        remedy: what to do then.
        notice: called with the rows whose images are missing.

    Raises:
        ManifestError: folders cannot be read; all are listed.
    """
    lookup = Lookup(root)
    codes, texts = as_codes(paths)
    missing = np.array([text != "" and not lookup.has(_without_member(root, text)[0]) for text in texts], bool)
    refuse_closed(root, lookup.closed.values())
    if missing.any() and missing[texts != ""].all():
        row = int(np.flatnonzero(missing[codes])[0])
        faults.note(_none_there(len(paths), root, f'row {row + 1:,}, column "{column}"', remedy))
    else:
        _report_missing(np.flatnonzero(missing[codes]), len(paths), notice)


def _without_member(root: Path, text: str) -> tuple[str, str]:
    """The file that `text` names, and the array or axis in it with the `#` before it, "" where there is none."""
    member = Source.parse(root, text).member if "#" in text else None
    return (text, "") if member is None else (text.removesuffix(f"#{member}"), f"#{member}")


def _none_there(images: int, root: Path, first: str, remedy: str) -> str:
    """What to say where not one image is there, so that the folder or the column is likely wrong."""
    return (
        f'none of its {counted(images, "image")} is in the folder "{root}"; the first one looked for was that of '
        f"{first}. {remedy}"
    )


def _report_missing(missing: Sequence[int] | np.ndarray, images: int, notice: Notice) -> None:
    """Tells the rows whose images are missing; not by their names, which may be a patient's."""
    if len(missing) == 0:
        return
    are, those, rows_stay, files = ("is", "that", "row stays", "file") if len(missing) == 1 else _SEVERAL
    notice(
        f"{counted(len(missing), 'image')} of {images:,} {are} missing: {those} of {rows_in_words(missing)} of the "
        f"manifest. The {rows_stay}; `medprobe manifest check` names the {files}."
    )


def _only_file(root: Path, folders: Sequence[str], name: str) -> str | None:
    """The path of the one file below the first folder of `name`, in the first of `folders` where there is one."""
    for place in (root / folder / name.split("/")[0] for folder in folders):
        files = files_below(place) if place.is_dir() else []
        if len(files) == 1:
            return files[0].relative_to(root).as_posix()
    return None


IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".dcm", ".dicom", ".gif", ".jp2", ".pgm", ".ppm", ".pnm",
)  # fmt: skip
"""Of single images; the first of several files with the same stem is taken."""
_FOLDERS_KEPT = 1024
"""Listings of folders kept at a time: rows of a folder are mostly consecutive, and a data set may have 200,000."""


class Lookup:
    """Finds files in folders below `root` whose listings are read once."""

    def __init__(self, root: Path, folders: Sequence[str] = (".",)) -> None:
        self.root = root
        self._folders = folders
        self.closed: dict[str, OSError] = {}
        """The folders that could not be read."""
        self._listing = lru_cache(_FOLDERS_KEPT)(self._list)

    def has(self, name: str) -> bool:
        """Whether there is a file or folder called so in the first of the folders."""
        above, _, last = name.rpartition("/")
        # Looked up on the disk as well: some file systems know a name in other letters.
        return last in self._listing(prefix(self._folders[0], above))[0] or os.path.exists(self.root / name)

    def find(self, name: str) -> str | None:
        """The path below the root of a file of this name in one of the folders, else with an image's suffix, or None.

        All folders are looked into under the name before any is under another suffix, as it may hold a copy.
        """
        above, _, file = name.rpartition("/")
        listings = [(place, *self._listing(place)) for place in (prefix(folder, above) for folder in self._folders)]
        named = (place + file for place, _, files, _ in listings if file in files)
        alike = (place + by_stem[stem_of(file)] for place, _, _, by_stem in listings if stem_of(file) in by_stem)
        return next(named, None) or next(alike, None)

    def _list(self, place: str) -> tuple[frozenset[str], frozenset[str], dict[str, str]]:
        """What a folder holds: names, those of files, and the images by stem, of several the one with the first suffix.

        A zarr store is a folder, but no image is found by the name of one.
        """
        names, files = [], []
        try:
            with os.scandir(self.root / place) as entries:
                for entry in entries:
                    names.append(entry.name)
                    files += [] if entry.is_dir() else [entry.name]
        except (FileNotFoundError, NotADirectoryError, ValueError):  # the last of a NUL in the name
            pass
        except OSError as error:
            self.closed[place] = error
        images = [name for name in sorted(files) if stem_of(name) != name and not name.startswith(".")]
        images.sort(key=lambda name: IMAGE_SUFFIXES.index(name[len(stem_of(name)) :].lower()), reverse=True)
        return frozenset(names), frozenset(files), {stem_of(name): name for name in images}


def stem_of(name: str) -> str:
    """`name` without an image's suffix; a name may hold dots of its own."""
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and (dot + suffix).lower() in IMAGE_SUFFIXES else name


def prefix(*folders: str) -> str:
    """What a file's name is put behind: `images/part_1/`, or nothing for the root itself."""
    place = PurePosixPath(*folders).as_posix()
    return "" if place == "." else f"{place}/"
