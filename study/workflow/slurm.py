"""A study on Slurm: options of Snakemake's plugin, and jobs that a killed run left there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ...base.errors import StudyError

_JOBS = 100
"""That are submitted at once."""
_RETRIES = 2


def slurm_options(name: str | None, jobs: int | None) -> list[str]:
    """Options of Snakemake for a study of this name, with at most `jobs` submitted at once.

    Raises:
        StudyError: Slurm's commands are not here.
    """
    if shutil.which("sbatch") is None:
        raise StudyError(
            "--engine slurm: there is no sbatch on this machine; run the command on a login node of the cluster."
        )
    options = ["--executor", "slurm", "--jobs", str(jobs or _JOBS), "--latency-wait", "30"]
    # Not in the rules: the Snakemake that runs within each job would obey it too and repeat the repeats.
    options += ["--retries", str(_RETRIES)]
    options += ["--slurm-jobname-prefix", re.sub(r"[^A-Za-z0-9_-]", "-", name or "study")[:50]]
    options += ["--slurm-init-seconds-before-status-checks", "5", "--seconds-between-status-checks", "5"]
    if not _has_accounting():
        # The plugin asks `sacct` wherever it is installed, and would wait for an answer for ever.
        options += ["--slurm-status-command", "squeue", "--slurm-no-account"]
    return options


def _has_accounting() -> bool:
    with suppress(FileNotFoundError):
        query = subprocess.run(["sacct", "--noheader", "--allocations"], check=False, capture_output=True)
        return query.returncode == 0
    return False


def refuse_jobs_left(out: Path) -> None:
    """Jobs of a run that was killed go on, and would write the same files as those that are submitted again.

    Raises:
        StudyError: there are jobs of this folder of results.
    """
    if left := list(_jobs_in(out)):
        raise StudyError(
            f"{out}: jobs of an earlier run are still queued or running on Slurm: {', '.join(left)}. "
            f"Wait until they have ended, or end them: scancel {' '.join(left)}"
        )


def _jobs_in(out: Path) -> Iterator[str]:
    """The ids of this user's jobs whose working directory is `out`."""
    queue = subprocess.run(["squeue", "--me", "--noheader", "--format=%i %Z"], check=False, capture_output=True)
    for line in queue.stdout.decode("utf-8", "replace").splitlines():
        number, _, folder = line.partition(" ")
        with suppress(OSError):
            if Path(folder).samefile(out):
                yield number
