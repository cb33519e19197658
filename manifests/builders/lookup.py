"""Files that are looked for by name, however the name is written on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from .walk import refuse_closed

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".dcm", ".gif", ".jp2", ".pgm", ".ppm", ".pnm",
)  # fmt: skip
"""Of single images; where one name stands under several, the first is taken."""
_FOLDERS_KEPT = 1024
"""Listings of folders kept at a time: rows of one folder mostly stand together, and a data set may have 200,000."""


class Lookup:
    """Finds files in folders below `root` whose listings are read once."""

    def __init__(self, root: Path, folders: Sequence[str] = (".",)) -> None:
        self.root = root
        self._folders = folders
        self._closed: dict[str, OSError] = {}
        self._listing = lru_cache(_FOLDERS_KEPT)(self._list)
        self._places = lru_cache(_FOLDERS_KEPT)(self._list_places)

    def has(self, name: str) -> bool:
        """Whether a file or folder is called so, to the letter, in the first of the folders."""
        above, _, last = name.rpartition("/")
        listing = self._listing(prefix(self._folders[0], above))
        return last in listing.files or last in listing.folders

    def find(self, name: str) -> str | None:
        """The path below the root, or None.

        A name is taken as it stands if there is such a file in one of the folders; else in other capital letters or
        another Unicode form; else under another image's suffix. Folders in the name may be written otherwise too.
        """
        above, _, file = name.rpartition("/")
        places = self._places(above)
        # One question of all folders before the next: another folder may hold a copy in another format.
        for place in places:
            if file in self._listing(place).files:
                return place + file
        for place in places:
            if same := self._listing(place).by_name.get(_folded(file)):
                return place + same
        stem = _folded(stem_of(file))
        return next((place + same for place in places if (same := self._listing(place).by_stem.get(stem))), None)

    def refuse_closed(self) -> None:
        """Goes on only if all folders that were looked into could be read.

        Raises:
            ManifestError: some could not; all are told.
        """
        refuse_closed(self.root, self._closed.values())

    def _list(self, place: str) -> _Listing:
        try:
            with os.scandir(self.root / place) as entries:
                return _Listing((entry.name, entry.is_dir()) for entry in entries)
        except (FileNotFoundError, NotADirectoryError, ValueError):  # the last of a NUL in the name
            pass
        except OSError as error:
            self._closed[place] = error
        return _Listing(())

    def _list_places(self, above: str) -> tuple[str, ...]:
        return tuple(prefix(self._as_written(PurePosixPath(folder, above).as_posix())) for folder in self._folders)

    def _as_written(self, folder: str) -> str:
        """`folder` as it is called on disk; one that is not there as it is given."""
        if os.path.isdir(self.root / folder):
            return folder
        above, _, last = folder.rpartition("/")
        above = prefix(self._as_written(above)) if above else ""
        return above + (self._listing(above).by_folder.get(_folded(last)) or last)


class _Listing:
    """What one folder holds."""

    def __init__(self, entries: Iterable[tuple[str, bool]]) -> None:
        listed = sorted(entries)
        self.files = frozenset(name for name, is_folder in listed if not is_folder)
        self.folders = frozenset(name for name, is_folder in listed if is_folder)

    @cached_property
    def by_name(self) -> dict[str, str]:
        """Files by their folded name."""
        return {_folded(name): name for name in sorted(self.files, reverse=True)}

    @cached_property
    def by_stem(self) -> dict[str, str]:
        """Images by their folded name without the suffix."""
        suffixes = {name: name[len(stem_of(name)) :].lower() for name in self.files if not name.startswith(".")}
        images = sorted((IMAGE_SUFFIXES.index(suffix), name) for name, suffix in suffixes.items() if suffix)
        # The first suffix last, where it takes the place of the others.
        return {_folded(stem_of(name)): name for _, name in reversed(images)}

    @cached_property
    def by_folder(self) -> dict[str, str | None]:
        """Folders by their folded name; None where several have it."""
        found: dict[str, str | None] = {}
        for name in self.folders:
            found[_folded(name)] = None if _folded(name) in found else name
        return found


def stem_of(name: str) -> str:
    """`name` without an image's suffix; a name may hold dots of its own."""
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and (dot + suffix).lower() in IMAGE_SUFFIXES else name


def prefix(*folders: str) -> str:
    """What a file's name is put behind: `images/part_1/`, or nothing for the root itself."""
    place = PurePosixPath(*folders).as_posix()
    return "" if place == "." else f"{place}/"


def _folded(name: str) -> str:
    """What names have in common that differ in capital letters or in how accents are encoded."""
    return normalize("NFC", normalize("NFC", name).casefold())
