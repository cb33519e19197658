"""Files below a folder: listed, and read in threads. A folder that cannot be read is an error, never skipped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from errno import EACCES
from pathlib import Path
from typing import TypeVar

from ...base import ManifestError, progress, usable_cores
from ..validation.diagnostics import refusal


def walk(root: Path, *, linked: int = 0) -> list[tuple[Path, list[str]]]:
    """Every folder from `root` down, with the names of its files; without hidden ones.

    In the order of their names. Links to folders are followed `linked` levels below `root`; deeper ones are not, since
    one that leads up would never end.

    Raises:
        ManifestError: folders cannot be read; all are listed, by their path below `root`.
    """
    found: list[tuple[Path, list[str]]] = []
    closed: list[OSError] = []
    for place, folders, files in os.walk(root, onerror=closed.append, followlinks=True):
        here = Path(place)
        if not os.access(here, os.X_OK):
            closed.append(PermissionError(EACCES, "Permission denied", place))
        depth = len(here.relative_to(root).parts)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and (depth < linked or not (here / name).is_symlink())
        )
        found.append((here, sorted(name for name in files if not name.startswith("."))))
    refuse_closed(root, closed)
    return found


def files_below(root: Path) -> list[Path]:
    """Every file below `root` that is not hidden, in the order of their paths; links to folders are not followed.

    Raises:
        ManifestError: folders cannot be read; all are listed.
    """
    return sorted(here / name for here, names in walk(root) for name in names)


def require_readable(folder: Path) -> None:
    """Makes sure that what is in a folder can be listed.

    Raises:
        ManifestError: it cannot.
    """
    try:
        os.scandir(folder).close()
    except OSError as error:
        refuse_closed(folder, [error])


def refuse_closed(root: Path, errors: Iterable[OSError]) -> None:
    """Raises the errors of folders that could not be read, if any.

    Raises:
        ManifestError: there are; all folders are listed, by the path below `root`.
    """
    messages = set()
    for error in errors:
        below = Path(error.filename).relative_to(root).as_posix()
        place = "the folder itself" if below == "." else f"{below}/"
        reason = error.strerror or type(error).__name__
        messages.add(f"{place}: cannot be read ({reason}); fix its permissions or move it away")
    if messages:
        raise ManifestError(refusal(str(root), sorted(messages)))


Item = TypeVar("Item")
Answer = TypeVar("Answer")
_PER_CORE = 4
"""Threads, which mostly wait."""
_SHOWN_FROM = 100
"""Fewer files are read before a bar would be seen."""


def read_all(read: Callable[[Item], Answer], items: Sequence[Item], what: str) -> list[Answer]:
    """`read` of each item (a file), in their order, in threads and with a progress bar that says `what` is done."""
    answers = []
    with (
        ThreadPoolExecutor(_PER_CORE * usable_cores()) as pool,
        progress(what, len(items), unit="files", enabled=len(items) >= _SHOWN_FROM) as bar,
    ):
        for answer in pool.map(read, items):
            answers.append(answer)
            bar.advance()
    return answers
