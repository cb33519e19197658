"""Files below a folder: listed, and read in threads. A folder that cannot be read is an error, never skipped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from errno import EACCES
from pathlib import Path
from typing import TypeVar

from ...base import ManifestError, counted, one_of, progress, usable_cores
from ...base.text import printable
from ..validation.diagnostics import refusal


def walk(root: Path, *, linked: int = 0, notice: Callable[[str], object] | None = None) -> list[tuple[Path, list[str]]]:
    """Every folder from `root` down, with the names of its files; without hidden ones.

    In the order of their names. Links to folders are followed `linked` levels below `root`; deeper ones are not, since
    one that leads up would never end; `notice` is called with their number.

    Raises:
        ManifestError: folders cannot be read (all are listed, by their path below `root`), names are not UTF-8, or
            there are named pipes, devices or sockets.
    """
    found: list[tuple[Path, list[str]]] = []
    closed: list[OSError] = []
    links: list[str] = []
    for here, names in folders_below(root, linked=linked, closed=closed.append, links=links):
        if not os.access(here, os.X_OK):
            closed.append(PermissionError(EACCES, "Permission denied", str(here)))
        else:
            _refuse_special_files(root, here)
        found.append((here, names))
    refuse_closed(root, closed)
    refuse_other_encodings(root, [(here / name).relative_to(root) for here, names in found for name in ("", *names)])
    if links and notice:
        notice(f"Did not follow {counted(len(links), 'link')} to folders.")
    return found


def folders_below(
    root: Path,
    *,
    linked: int = 0,
    closed: Callable[[OSError], object] | None = None,
    links: list[str] | None = None,
) -> Iterator[tuple[Path, list[str]]]:
    """What `walk` lists, whatever is wrong with it.

    `closed` gets the error of each folder that cannot be read, `links` the names of links that are not followed.
    """
    for place, folders, files in os.walk(root, onerror=closed, followlinks=True):
        here = Path(place)
        depth = len(here.relative_to(root).parts)
        visible = sorted(name for name in folders if not name.startswith("."))
        ends = [name for name in visible if depth >= linked and (here / name).is_symlink()]
        folders[:] = [name for name in visible if name not in ends]
        if links is not None:
            links += ends
        yield here, sorted(name for name in files if not name.startswith("."))


def files_below(root: Path) -> list[Path]:
    """Every file below `root` that is not hidden, in the order of their paths, as `walk` finds them."""
    return sorted(here / name for here, names in walk(root) for name in names)


def require_readable(folder: Path) -> None:
    """Makes sure that what is in a folder can be listed."""
    try:
        os.scandir(folder).close()
    except OSError as error:
        refuse_closed(folder, [error])


def _refuse_special_files(root: Path, folder: Path) -> None:
    with os.scandir(folder) as entries:
        # A link that leads nowhere is left for the checks to report.
        odd = [
            Path(entry.path).relative_to(root).as_posix()
            for entry in entries
            if not entry.name.startswith(".") and not (entry.is_file() or entry.is_dir()) and os.path.exists(entry.path)
        ]
    if odd:
        raise ManifestError(f"{root}: holds named pipes, devices or sockets ({one_of(odd)}); move them away.")


def refuse_other_encodings(root: Path, paths: Iterable[Path]) -> None:
    """Refuses `paths` below `root` that are not UTF-8, as a manifest stores them, and says how to rename them."""
    odd = [path.as_posix() for path in paths if not _is_text(path.as_posix())]
    if not odd:
        return
    remedy = "Rename them, for example with `convmv -r -f latin1 -t utf8 --notest FOLDER`"
    if _is_text(os.fsencode(odd[0]).decode(errors="surrogateescape")):
        remedy = "This shell's locale is not UTF-8: set LC_ALL=C.UTF-8"
    named = f"{counted(len(odd), 'path')} not in UTF-8, as a manifest needs: {one_of(odd, most=5)}"
    raise ManifestError(printable(f"{root}: {named}. {remedy}."))


def _is_text(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def refuse_closed(root: Path, errors: Iterable[OSError]) -> None:
    """Raises the errors of folders that could not be read, if any, by their path below `root`."""
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
