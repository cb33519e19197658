"""Files that are there whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b, file_digest
from pathlib import Path

from .errors import FolderGoneError, MedprobeError, OutputError
from .text import did_you_mean, first_line

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder, then run the same command again",
    errno.EDQUOT: "your disk quota is used up; free some space or choose another folder",
    errno.EFBIG: "it would be larger than this system lets a file be (ulimit -f); raise the limit",
    errno.EIO: "the disk reports an input/output error; check the disk or choose another folder",
    errno.EACCES: "no permission to write there; choose another folder",
    errno.EPERM: "no permission to write there; choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOTDIR: "a file is where a folder is needed; choose another path",
    errno.EEXIST: "a file is where a folder is needed; choose another path",
    errno.ENAMETOOLONG: "the name is too long for this file system; choose a shorter one",
    errno.EISDIR: "a folder is where the file should go; choose another path",
}

_MACHINE = blake2b(platform.node().encode(), digest_size=3).hexdigest()
_TEMPORARY = re.compile(r"\.(?P<target>.+)\.medprobe-(?P<machine>[0-9a-f]{6})[0-9a-f]{6}\.(?P<kind>tmp|old)(\..+)?")
_ABANDONED_AFTER_S = 24 * 3600
_TRIES = 5


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turns an operating-system error met while writing `target` into an `OutputError` that says what to do.

    h5py raises a bare `OSError` or `RuntimeError` whose text carries the errno, so that text is read too.

    Examples:
        >>> from medprobe.base import writing
        >>> with writing(folder / "notes.txt"):
        ...     _ = (folder / "notes.txt").write_text("20 seeds")
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        missing = error.filename if isinstance(error, FileNotFoundError) else None
        if missing and Path(missing).parent == target.parent:  # not a file elsewhere that was to be read
            raise FolderGoneError(
                f"{target}: cannot be written: the folder is gone, or takes no files; choose another folder."
            ) from error
        number = getattr(error, "errno", None)
        found = [reason for code, reason in _REASONS.items() if code == number or f"errno = {code}," in str(error)]
        if not found:
            raise
        raise OutputError(f"{target}: cannot be written: {found[0]}.") from error


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yields a new, empty file next to `target`; on success its content becomes `target` in one rename.

    The file is fsynced before the rename and the folder after it, so a crash leaves the old `target` or the new one.
    On any error the temporary file is removed and `target` is untouched. What killed processes left is removed first.

    Raises:
        OutputError: the folder cannot be made or written.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with atomic_path(Path(folder) / "run.json") as temporary:
        ...         _ = temporary.write_text("{}")
        ...     (Path(folder) / "run.json").read_text()
        '{}'
    """
    with writing(target), temporary_path(target) as temporary:
        yield temporary
        fsync(temporary)
        temporary.replace(target)
        fsync(target.parent)


@contextmanager
def atomic_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yields a temporary folder next to `target`; on success it becomes `target` in one rename.

    What is in it is fsynced first. Where a folder of that name is there already, that one
    stays, or with `replace` makes room. On any error the temporary folder is removed. What killed processes left is
    removed first.

    Raises:
        OutputError: the folder cannot be made or written.

    Examples:
        >>> from medprobe.base import atomic_folder
        >>> with atomic_folder(folder / "tables") as draft:
        ...     _ = (draft / "scores.csv").write_text("accuracy")
        >>> [file.name for file in (folder / "tables").iterdir()]
        ['scores.csv']
    """
    with writing(target), temporary_path(target, is_folder=True) as temporary:
        yield temporary
        for path in (*temporary.rglob("*"), temporary):
            fsync(path)
        try:
            temporary.rename(target)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST} or not target.is_dir():
                raise
            if replace:
                _replace_folder(target, temporary)
        fsync(target.parent)
        sweep(target.parent)  # an older folder that a killed process moved away may go now


@contextmanager
def temporary_path(target: Path, *, is_folder: bool = False, mode: int = 0o666) -> Iterator[Path]:
    """Yields a new, empty file (or folder) next to `target` that is removed at the end, unless it was renamed.

    This process holds a lock on it, by which `sweep` knows that it is in use.

    Raises:
        OutputError: the folder cannot be made.
        OSError: nothing can be made in it.
    """
    make_folder(target.parent)
    sweep(target.parent)
    temporary, descriptor = _make_locked(target, None if is_folder else mode)
    try:
        yield temporary
    finally:
        if is_folder:
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
        os.close(descriptor)


def _hidden(name: str, kind: str) -> str:
    return f".{name}.medprobe-{_MACHINE}{secrets.token_hex(3)}.{kind}"


def _make_locked(target: Path, mode: int | None) -> tuple[Path, int]:
    """A new file (without a mode: folder) next to `target`, and the descriptor that holds its lock."""
    while True:
        try:
            if mode is None:
                path = target.with_name(_hidden(target.name, "tmp"))
                path.mkdir()
                descriptor = os.open(path, os.O_RDONLY)
            else:
                # Ends in the target's own suffix, because some writers choose a format by it.
                path = target.with_name(_hidden(target.stem, "tmp") + target.suffix)
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
            lock(descriptor, wait=True)
            if path.exists():
                return path, descriptor
            os.close(descriptor)  # another process swept it before it was locked
        except FileNotFoundError:
            if not target.parent.is_dir():
                raise


def sweep(folder: Path) -> None:
    """Removes the temporary files and folders that killed processes of this package left in `folder`.

    One is left by a dead process when nobody holds its lock. Where locks do not show that (it was made on another
    machine, or the file system has none), when nothing has changed in it for a day.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(".")]
        for found in filter(None, map(_TEMPORARY.fullmatch, names)):
            path = folder / found[0]
            # An older folder that was to be replaced is kept until there is a new one in its place.
            if found["kind"] == "tmp" or (folder / found["target"]).exists():
                with suppress(OSError):
                    _remove_if_abandoned(path, made_here=found["machine"] == _MACHINE)


def _remove_if_abandoned(path: Path, *, made_here: bool) -> None:
    is_folder = path.is_dir() and not path.is_symlink()
    descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        free = lock(descriptor, wait=False)
        if free is None or not made_here:
            free = free is not False and time.time() - os.fstat(descriptor).st_mtime > _ABANDONED_AFTER_S
        if free:
            shutil.rmtree(path) if is_folder else path.unlink()
    finally:
        os.close(descriptor)


def lock(descriptor: int, *, wait: bool, shared: bool = False) -> bool | None:
    """Locks an open file for this process. True: held now; False: another holds it; None: there are no locks here."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _replace_folder(target: Path, new: Path) -> None:
    """Puts `new` in the place of `target`, in one step where the system can exchange two folders."""
    exchange = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    here, exchanged = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if exchange and exchange(here, os.fsencode(new), here, os.fsencode(target), exchanged) == 0:
        return
    # Were we killed between these two, both folders would still be there.
    old = target.with_name(_hidden(target.name, "old"))
    target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it; raises OutputError, or an OSError that `writing` understands."""
    for _ in range(_TRIES):
        # Another process may remove an empty folder at the very moment in which one is made inside it.
        with suppress(FileNotFoundError):
            if not folder.is_dir():
                make_folder(folder.parent)
                folder.mkdir(exist_ok=True)
                with suppress(PermissionError):  # a folder in which one may write but which one may not list
                    fsync(folder.parent)
            return
    raise OutputError(f"{folder}: cannot be made on this file system; choose another folder.")


def read_text(path: Path, failure: type[MedprobeError], missing: str) -> str:
    """The UTF-8 text of a file.

    Raises:
        MedprobeError: a `failure`: there is no such file (`missing` says in a sentence what to do), or it is no file,
            or cannot be read.
    """
    try:
        if path.exists() and not path.is_file():  # a named pipe would be waited for
            raise failure(f"{path}: is {'a folder' if path.is_dir() else 'not a file'}; name a file. {missing}")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        near = did_you_mean(path.name, (file.name for file in path.parent.glob("*") if file.suffix == path.suffix))
        raise failure(f"{path}: there is no such file.{near} {missing}") from error
    except UnicodeDecodeError as error:
        raise failure(f"{path}: is not UTF-8 text; save it as UTF-8.") from error
    except (OSError, ValueError) as error:  # the latter of a path with a NUL
        raise failure(f"{path}: cannot be read: {getattr(error, 'strerror', None) or first_line(error)}.") from error


def fsync(path: Path) -> None:
    """Makes what a file holds, or a rename inside a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_state(status: os.stat_result) -> tuple[int, int, int, int]:
    """Size, time, time of change and inode of a file: another when its content may be another.

    Files that exchange their names may have one size and time, as after unpacking; they keep their inodes. A new
    content of the same size, under a time that was set back, has another time of change.
    """
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def user_cache() -> Path:
    """The user's cache folder for medprobe (`$XDG_CACHE_HOME/medprobe` on Linux); may not exist yet."""
    from platformdirs import user_cache_path

    return user_cache_path("medprobe", appauthor=False)
