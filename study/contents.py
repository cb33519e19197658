"""Digests of the files that a study reads, for the keys of its results: tables by content, others by size and time."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from ..manifests import Source
from ..manifests.builders.files import folders_below

_TABLES = (".csv", ".csv.gz", ".tsv", ".xlsx", ".json", ".parquet", ".txt")
_LARGE = 100_000_000
"""Bytes; larger files count by size and time."""
_LINKED = 2
"""Levels at which builders follow links to folders, at most."""
_MADE = {"Snakefile", "study.yaml"}
"""Files in the results of every study."""


class Listing(NamedTuple):
    """What is below a folder."""

    digest: str
    files: int


def content(path: Path) -> str:
    """Of a file, its content; of a large one and of all that is below a folder, size and time."""
    try:
        if path.is_file() and path.stat().st_size <= _LARGE:
            return blake2b(path.read_bytes(), digest_size=8).hexdigest()
    except OSError:
        pass  # what reads it reports it
    return state(path)


def state(path: str | Path) -> str:
    """Size and time of a file, and of all files below a folder; empty if it is absent."""
    try:
        facts = os.stat(path)  # noqa: PTH116  (quicker, for there may be millions)
    except (OSError, ValueError):
        return ""
    return listing(Path(path)).digest if stat.S_ISDIR(facts.st_mode) else f"{facts.st_size}-{facts.st_mtime_ns}"


def listing(folder: Path, left_out: Iterable[Path] = ()) -> Listing:
    """The files below a folder that builders may read; links to folders are followed as builders do.

    What cannot be read is left to the builder, which may not need it. Files and folders in `left_out` do not count, and
    results of studies never do.
    """
    places, root = list(folders_below(folder, linked=_LINKED)), folder.resolve()
    results = (here for here, names in places if _MADE.issubset(names))
    others = {path.resolve() for path in (*left_out, *results)} - {root}
    others = [path for path in others if path.is_relative_to(root)]
    hasher, count = blake2b(digest_size=8), 0
    for here, names in places:
        real = here.resolve() if others else here
        if any(real.is_relative_to(other) for other in others):
            continue
        kept = [name for name in names if not others or real / name not in others]
        for name in kept:
            known = content(here / name) if name.lower().endswith(_TABLES) else state(f"{here}/{name}")
            hasher.update(os.fsencode(f"{name}\0{known}\0"))
        hasher.update(os.fsencode(f"{here.relative_to(folder)}\0{len(kept)}\0") if kept else b"")
        count += len(kept)
    return Listing(hasher.hexdigest(), count)


def images_digest(root: Path, paths: Iterable[str]) -> str:
    """Size and time of each image file of a table, as one digest; those that are absent are left to the checks."""
    # A path is slow to make, and only texts with # may name an array in a file.
    files = dict.fromkeys(Source.parse(root, text).path if "#" in text else f"{root}/{text}" for text in paths)
    return blake2b("\0".join(map(state, files)).encode(), digest_size=8).hexdigest()
