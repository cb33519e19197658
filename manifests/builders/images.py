"""Images that a table names: which files they are, in one of several folders, with or without a suffix."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ...base import ManifestError, counted
from ..readers.source import Source
from ..schema.columns import TEXT, as_codes, as_words
from ..validation.faults import Faults
from ..validation.finding import rows_in_words
from .common import Notice
from .lookup import Lookup, prefix, stem_of
from .walk import files_below

_SEVERAL = ("are", "those", "rows stay", "files")


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
    first: str,
    notice: Notice,
    suffix: str = "",
    elsewhere: Callable[[str], str | None] | None = None,
    remedy: str = "Unpack the images there, or give the folder that holds both table and images.",
) -> pd.Series:
    """The path below `root` of each image.

    Each is looked for as `Lookup.find` does, the first of the folders first. An image that is nowhere keeps its name in
    the first folder, so that the checks report it; the rows of those are told.

    Args:
        names: file names or relative paths.
        root: the folder that paths start from.
        folders: where to look, relative to `root`.
        where: the table, for messages.
        first: what names the first image, such as `row 1, column "id"`, for messages: a name may be a patient's.
        notice: told which rows' are missing.
        suffix: what a missing image's name ends in, if the name has no suffix.
        elsewhere: a last place to look, given the name.
        remedy: what to do where not one is there.

    Raises:
        ManifestError: not one of the images is there, or folders cannot be read.
    """
    lookup = Lookup(root, folders)
    paths, missing = [], []
    for row, name in enumerate(as_words(names.str.replace("\\", "/"))):
        path = (lookup.find(name) or (elsewhere(name) if elsewhere else None)) if name else None
        if path is None:
            missing.append(row)
            path = name and (name if stem_of(name) != name else name + suffix)
        paths.append(path)
    lookup.refuse_closed()
    # Where images lie beside the table, a missing one would too.
    apart = len(missing) == len(paths) or (root / folders[0]).is_dir()
    for row in missing:
        paths[row] = paths[row] and prefix(folders[0] if apart else ".", "") + paths[row]
    if missing and len(missing) == len(paths):
        # One that is not there is called as it is published, and not after a patient.
        first += "" if (root / folders[0]).is_dir() else f", in {prefix(folders[0])}, which is not there,"
        raise ManifestError(f"{where}: {_none_there(len(paths), root, first, remedy)}")
    _tell_of_missing(missing, len(paths), notice)
    return pd.Series(np.array(paths, object), dtype=TEXT)


def find_images(paths: pd.Series, root: Path, *, column: str, faults: Faults, remedy: str, notice: Notice) -> pd.Series:
    """`paths` as the images are called on disk, which `Lookup.find` may know in other letters; others as they are.

    Args:
        paths: as in a manifest, `#` before an array of a container; blank ones are another question.
        root: the folder that paths start from.
        column: what the table calls them.
        faults: of the table; noted is that not one of the images is there.
        remedy: what to do then.
        notice: told which rows' are missing.

    Raises:
        ManifestError: folders cannot be read; all are told.
    """
    lookup = Lookup(root)
    codes, texts = as_codes(paths)
    found = [_find(lookup, text) if text else "" for text in texts]
    lookup.refuse_closed()
    missing = np.array([path is None for path in found], bool)
    if missing.any() and missing[texts != ""].all():
        row = int(np.flatnonzero(missing[codes])[0])
        faults.note(_none_there(len(paths), root, f'row {row + 1:,}, column "{column}"', remedy))
    else:
        _tell_of_missing(np.flatnonzero(missing[codes]), len(paths), notice)
    renamed = [text if path is None else path for path, text in zip(found, texts, strict=True)]
    if renamed == list(texts):
        return paths
    return pd.Series(np.array(renamed, object)[codes], paths.index, dtype=TEXT).mask(paths.isna())


def _find(lookup: Lookup, text: str) -> str | None:
    """`text` with the file as it is called on disk; None where there is none."""
    source = Source.parse(lookup.root, text)
    member = "" if source.member is None else f"#{source.member}"
    name = text.removesuffix(member)
    # Asked of the disk as well: some file systems know a name in other letters.
    if lookup.has(name) or os.path.exists(source.path):
        return text
    found = lookup.find(name)
    return None if found is None else found + member


def _none_there(images: int, root: Path, first: str, remedy: str) -> str:
    """What to say where not one image is there, so that the folder or the column is likely wrong."""
    return (
        f'not one of its {counted(images, "image")} is in the folder "{root}", where that of {first} was looked for '
        f"first. {remedy}"
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
    if not (root / folder).is_dir():
        return None
    files = files_below(root / folder)
    return files[0].relative_to(root).as_posix() if len(files) == 1 else None
