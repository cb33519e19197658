"""One run of a study per folder of results: who runs there, and locks that a killed Snakemake left."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...base.errors import StudyError
from ...base.files import lock, make_folder, writing
from ...base.version import VERSION_VARIABLE


@contextmanager
def only_run(out: Path) -> Iterator[int]:
    """Holds `out` for one run, and removes the lock of a Snakemake that was killed there.

    Yields the descriptor of the lock: a process that inherits it holds the folder as long as it lives.

    Raises:
        StudyError: another process runs a study there, or may do so on another machine.
        OutputError: nothing can be written there.
    """
    path = out / ".snakemake" / "medprobe.lock"
    with writing(path):
        make_folder(path.parent)
        file = path.open("a+", encoding="utf-8")
    with file:
        file.seek(0)
        process, _, host = file.read().strip().partition(" ")
        free = lock(file.fileno(), wait=False) is not False
        alive = running_in(out)
        if not free and not (alive and _has_ended(process, host)):
            raise StudyError(f"{out}: process {process} on {host} runs a study there; wait until it has ended.")
        if alive:
            raise StudyError(f"{out}: process {alive} runs jobs of a study there; wait until it has ended, or stop it.")
        left = list((out / ".snakemake" / "locks").glob("*.lock"))
        if left and host and host != platform.node():
            unlock = shlex.join(["snakemake", "--unlock", "--cores", "1", "--directory", str(out)])
            raise StudyError(
                f"{out}: is locked by process {process} on {host}. If that has ended, remove the lock with "
                f"`{unlock} --snakefile {shlex.quote(str(out / 'Snakefile'))}`."
            )
        for one in left:
            one.unlink(missing_ok=True)
        file.truncate(0)
        file.write(f"{os.getpid()} {platform.node()}")
        file.flush()
        yield file.fileno()


def _has_ended(process: str, host: str) -> bool:
    return host == platform.node() and not Path("/proc", process).exists()


def is_held(out: Path) -> bool:
    """Whether a run of the study in `out` goes on, here or on a machine that shares the folder and its locks."""
    if running_in(out) is not None:
        return True
    with suppress(OSError), (out / ".snakemake" / "medprobe.lock").open("rb") as file:
        # Shared, so that a run which begins at this moment is not refused for it.
        return lock(file.fileno(), wait=False, shared=True) is False
    return False


def running_in(out: Path) -> int | None:
    """The id of a process of this machine that is Snakemake or one of its jobs in `out`."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # of other users, or ended meanwhile
            if entry.name != str(os.getpid()) and (entry / "cwd").samefile(out) and _is_of_a_run(entry):
                return int(entry.name)
    return None


def _is_of_a_run(entry: Path) -> bool:
    words = (entry / "cmdline").read_bytes().split(b"\0")
    is_snakemake = words[1:3] == [b"-m", b"snakemake"] or any(
        Path(os.fsdecode(w)).name == "snakemake" for w in words[:2]
    )
    return is_snakemake or f"{VERSION_VARIABLE}=".encode() in (entry / "environ").read_bytes()
