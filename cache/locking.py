"""Several processes, one cache: who may finish it, whose temporary file is still being written, what a dead one left.

All locks are advisory `flock`s and only spare work: without them (some network file systems) every result is the same,
because names are unique, renames are atomic, and the finaliser looks again right before its own.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import h5py

from ..base import CacheError, atomic_path
from ..base.files import make_folder
from .hdf5 import hdf5_into

_ABANDONED_AFTER_S = 24 * 3600
_TRIES = 5
_T = TypeVar("_T")


@contextmanager
def new_file(target: Path, *, before_rename: Callable[[Path], None] | None = None) -> Iterator[h5py.File]:
    """Writes `target` as HDF5: temporary name, fsync, `before_rename(temporary)`, rename, fsync of the folder.

    Raises:
        OutputError: the folder or the file cannot be written.
        FileNotFoundError: another process took the temporary file for abandoned (no working locks); write it again.
    """
    with ExitStack() as until_renamed, atomic_path(target) as temporary:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        until_renamed.callback(os.close, descriptor)
        _lock(descriptor, wait=False)
        with hdf5_into(descriptor) as file:
            yield file
        if before_rename is not None:
            before_rename(temporary)


def again(work: Callable[[], _T], what: Path) -> _T:
    """Runs `work`, again when a file or folder vanished under it because another process finished meanwhile.

    Raises:
        CacheError: it keeps happening.
    """
    for attempt in range(_TRIES):
        try:
            return work()
        except FileNotFoundError:
            time.sleep(0.05 * attempt)
    raise CacheError(
        f"{what}: files vanish while it is written; is another process cleaning this folder? Run it again."
    )


def sweep(folder: Path, stem: str = "") -> None:
    """Removes temporary files that a killed process left in `folder` (those of `stem` only, where given)."""
    for path in folder.glob(f".{stem}*.tmp.h5"):
        with suppress(OSError):
            if _abandoned(path):
                path.unlink()


def _abandoned(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR)
    try:
        free = _lock(descriptor, wait=False)
        if free is None:
            return time.time() - os.fstat(descriptor).st_mtime > _ABANDONED_AFTER_S
        return free
    finally:
        os.close(descriptor)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds the lock file `path`, waiting for it; removes it and its folder (when empty) at the end."""
    descriptor = again(lambda: _acquire(path), path)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
            path.parent.rmdir()
        os.close(descriptor)


def _acquire(path: Path) -> int:
    """A descriptor that holds the lock of the file that `path` names now, not of one that was removed while waiting."""
    while True:
        make_folder(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        _lock(descriptor, wait=True)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)


def _lock(descriptor: int, *, wait: bool) -> bool | None:
    """True: held now; False: another process holds it; None: this file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
