"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import FolderGoneError, OutputError

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder, then run the same command again",
    errno.EDQUOT: "your disk quota is used up; free some space or choose another folder",
    errno.EFBIG: "it would be larger than this system lets a file be (ulimit -f); raise the limit",
    errno.EIO: "the disk reports an input/output error; check the disk or choose another folder",
    errno.EACCES: "no permission to write there; choose another folder",
    errno.EPERM: "no permission to write there; choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOTDIR: "a file stands where a folder is needed; choose another path",
    errno.EEXIST: "a file stands where a folder is needed; choose another path",
    errno.ENAMETOOLONG: "the name is too long for this file system; choose a shorter one",
    errno.EISDIR: "a folder stands where the file should go; choose another path",
}


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
    """Yields a temporary path next to `target`; on success its content becomes `target` in one rename.

    The file is fsynced before the rename and the folder after it, so a crash leaves the old `target` or the new one.
    On any error the temporary file is removed and `target` is untouched.

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
    with writing(target):
        make_folder(target.parent)
        # Ends in the target's own suffix, because some writers choose a format by it.
        temporary = target.with_name(f".{target.stem}.{uuid.uuid4().hex[:8]}.tmp{target.suffix}")
        try:
            yield temporary
            fsync(temporary)
            temporary.replace(target)
            fsync(target.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yields a temporary folder next to `target`; on success it becomes `target` in one rename.

    Its files, which must lie in it directly, are fsynced first. Where a folder of that name is there already, that one
    stays, or with `replace` makes room. On any error the temporary folder is removed.

    Raises:
        OutputError: the folder cannot be made or written.

    Examples:
        >>> from medprobe.base import atomic_folder
        >>> with atomic_folder(folder / "tables") as draft:
        ...     _ = (draft / "scores.csv").write_text("accuracy")
        >>> [file.name for file in (folder / "tables").iterdir()]
        ['scores.csv']
    """
    with writing(target):
        make_folder(target.parent)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
        temporary.mkdir()
        try:
            yield temporary
            for path in (*temporary.iterdir(), temporary):
                fsync(path)
            try:
                temporary.rename(target)
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST} or not target.is_dir():
                    raise
                if replace:
                    _replace_folder(target, temporary)
            fsync(target.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _replace_folder(target: Path, new: Path) -> None:
    # A full folder cannot be replaced in one step; were we killed between these two, both would still be there.
    old = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.old")
    target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it.

    Raises:
        OutputError: nothing can be made there.
        OSError: as `writing` understands it.
    """
    for _ in range(5):
        # Another process may remove an empty folder at the very moment in which one is made inside it.
        with suppress(FileNotFoundError):
            folder.mkdir(parents=True, exist_ok=True)
            return
    raise OutputError(f"{folder}: cannot be made on this file system; choose another folder.")


def fsync(path: Path) -> None:
    """Makes what a file holds, or a rename inside a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def user_cache() -> Path:
    """The user's cache folder for medprobe (`$XDG_CACHE_HOME/medprobe` on Linux); may not exist yet."""
    from platformdirs import user_cache_path

    return user_cache_path("medprobe", appauthor=False)
