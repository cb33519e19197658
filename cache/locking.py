"""Several processes, one cache: who may finish it, and work that is done again where another process came first.

All locks are advisory `flock`s and only spare work: without them (some network file systems) every result is the same,
because names are unique, renames are atomic, and the finaliser looks again right before its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import h5py

from ..base import CacheError, atomic_path
from ..base.files import lock, make_folder
from .hdf5 import GoneError, hdf5_into

_TRIES = 5
_T = TypeVar("_T")


@contextmanager
def new_file(target: Path, *, before_rename: Callable[[Path], None] | None = None) -> Iterator[h5py.File]:
    """Writes `target` as HDF5: temporary name, fsync, `before_rename(temporary)`, rename, fsync of the folder.

    Raises:
        OutputError: the folder or the file cannot be written.
        FileNotFoundError: another process took the temporary file for abandoned (no working locks); write it again.
    """
    with atomic_path(target) as temporary:
        with temporary.open("r+b", buffering=0) as opened, hdf5_into(opened.fileno()) as file:
            yield file
        if before_rename is not None:
            before_rename(temporary)


def again(work: Callable[[], _T], what: Path) -> _T:
    """Runs `work`, again where a file vanished under it because another process finished; CacheError in the end."""
    for attempt in range(_TRIES):
        try:
            return work()
        except (FileNotFoundError, GoneError):
            time.sleep(0.05 * attempt)
    raise CacheError(
        f"{what}: files vanish while it is written; is another process cleaning this folder? Run it again."
    )


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
        lock(descriptor, wait=True)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)
