"""Runs a study: writes its Snakefile, starts Snakemake on it, and shows how far it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from subprocess import Popen
from typing import Literal

import yaml

from ...base import counted, one_of, progress, usable_cores
from ...base.errors import StudyError
from ...base.files import make_folder
from ...base.progress import Bar
from ...base.text import install_command
from ..jobs import Job
from ..schema import StudyFile
from .failures import SNAKEMAKE_LOG, Failure, last_lines
from .folder_lock import only_run
from .progress import failures, jobs_to_do, states
from .results import link_results
from .slurm import refuse_jobs_left, slurm_options
from .snakefile import WRITTEN_BY, log_of, write_own, write_snakefile

_LOOK_EVERY_S = 0.5
_STOP_WITHIN_S = 60.0
_SNAKEMAKE = [sys.executable, "-m", "snakemake", "--snakefile", "Snakefile", "--keep-going", "--rerun-incomplete"]
# What a job depends on is in the names of its outputs, so no other trigger is to run it again.
_SNAKEMAKE += ["--rerun-triggers", "software-env"]


@dataclass(frozen=True)
class StudyRun:
    """How a run of a study ended."""

    done: int
    """Jobs that it finished."""
    failures: tuple[Failure, ...]
    unfinished: int
    """Jobs that are still to be done, the failed ones included."""
    status: int
    """Exit status of Snakemake."""
    message: tuple[str, ...]
    """The end of Snakemake's own log if it failed and no job's log says why."""
    links: tuple[Path, ...]
    """The newest results, under plain names."""


class StudyInterrupted(BaseException):
    """The run was stopped by a signal, and its jobs with it."""


def run_study(
    jobs: Sequence[Job],
    study: StudyFile,
    out: Path,
    *,
    engine: Literal["local", "slurm"] = "local",
    profile: Path | None = None,
    cores: int | None = None,
    options: Sequence[str] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> StudyRun:
    """Runs what is missing of a study with Snakemake, in the folder of results `out`.

    Args:
        jobs: those of the study.
        study: the study, which is written to `study.yaml` there.
        out: the folder of results, made if there is none.
        engine: `local` runs jobs on this machine, `slurm` submits them.
        profile: a profile of Snakemake, which chooses the engine instead.
        cores: of this machine; by default all. With a cluster, jobs that are submitted at once.
        options: further options of Snakemake, which go before these.
        should_stop: whether to stop the jobs and end, such as after SIGTERM.

    Raises:
        StudyError: Snakemake or Slurm is not installed, or another run of a study goes on there.
        OutputError: the folder cannot be written.
        StudyInterrupted: it was to stop, or Ctrl-C was pressed. The jobs have ended.
    """
    if find_spec("snakemake") is None:
        raise StudyError(f"a study needs Snakemake, which is not installed: {install_command('study')}")
    make_folder(out / "logs")
    with only_run(out) as held:
        words = [*_SNAKEMAKE, *_engine_options(engine, profile, cores, study.name, options)]
        if engine == "slurm" and profile is None:
            refuse_jobs_left(out)
        head = f"# The study as it was run. {WRITTEN_BY}; its paths are those of the study file.\n"
        given = study.model_dump(mode="json", exclude_defaults=True)
        write_own(out / "study.yaml", head + yaml.safe_dump(given, sort_keys=False, allow_unicode=True))
        write_snakefile(jobs, study, out)
        to_do = jobs_to_do(jobs, out)
        for job in to_do:
            (out / log_of(job)).unlink(missing_ok=True)  # so that one that does not begin has none of an earlier run
        status = 0
        if to_do or options:  # else Snakemake would take its seconds to find nothing
            status = _snakemake(words, options, to_do, study, out, held, should_stop)
        state = states(to_do, out, running=False)
        failed = tuple(failures(to_do, out, running=False))
        return StudyRun(
            done=sum(one == "done" for one in state.values()),
            failures=failed,
            unfinished=sum(one != "done" for one in state.values()),
            status=status,
            message=last_lines(out / SNAKEMAKE_LOG, 30) if status and not failed else (),
            links=tuple(link_results(jobs, out)),
        )


def _engine_options(
    engine: Literal["local", "slurm"], profile: Path | None, cores: int | None, name: str | None, options: Sequence[str]
) -> list[str]:
    """Raises StudyError: the engine is not on this machine."""
    if profile is not None:
        return ["--profile", str(profile.resolve()), *(["--cores", str(cores)] if cores else [])]
    if engine == "slurm":
        return slurm_options(name, cores)
    if any(option.partition("=")[0] in ("--executor", "-e", "--profile") for option in options):
        return ["--cores", str(cores)] if cores else []  # what this machine has is no limit elsewhere
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000
    limits = [f"mem_mb={memory_mb}", *(["gpu_jobs=1"] if _has_gpu() else [])]
    return ["--cores", str(cores or usable_cores()), "--resources", *limits]


def _has_gpu() -> bool:
    """Whether jobs that run networks would share a GPU of this machine; torch would take seconds to find out."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/kfd").exists()


def _snakemake(
    words: Sequence[str],
    options: Sequence[str],
    to_do: Sequence[Job],
    study: StudyFile,
    out: Path,
    held: int,
    should_stop: Callable[[], bool],
) -> int:
    """Runs Snakemake until it ends, with one display of all jobs; its exit status. Exceptions end it and its jobs."""
    title = f"Study {study.name}" if study.name else "Study"
    with (out / SNAKEMAKE_LOG).open("wb") as log, progress(title, len(to_do), unit="jobs") as bar:
        # Options such as --dry-run are for what Snakemake prints.
        process = Popen(
            [*words, *options],
            cwd=out,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=None if options else log,
            stderr=log,
            pass_fds=[held],  # the lock of the folder
            process_group=0,  # which is ended as a whole, and only once
            preexec_fn=_restore_sigint,
        )
        try:
            return _watched(process, to_do, out, bar, should_stop)
        except BaseException:
            _stop(process)
            raise


def _environment() -> dict[str, str]:
    """Has this environment's `medprobe` first on the path."""
    # Were this a job of Slurm, what that says of it is not true of jobs that are submitted from it.
    own = {name for name in os.environ if name.startswith("SLURM_")} - {"SLURM_CONF"}
    environment = {name: value for name, value in os.environ.items() if name not in own}
    here = str(Path(sys.executable).parent)
    return {**environment, "PATH": os.pathsep.join([here, os.environ.get("PATH", os.defpath)])}


def _restore_sigint() -> None:
    """The children of a command that a shell started in the background would ignore SIGINT, as it does."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _watched(process: Popen[bytes], to_do: Sequence[Job], out: Path, bar: Bar, should_stop: Callable[[], bool]) -> int:
    shown = 0
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_LOOK_EVERY_S)
        if should_stop():
            raise StudyInterrupted
        state = states(to_do, out, running=True)
        done = sum(one == "done" for one in state.values())
        bar.advance(max(0, done - shown), note=_note(to_do, state))
        shown = max(shown, done)


def _note(jobs: Sequence[Job], state: Mapping[str, str]) -> str:
    """`3 running (probe, extract), 1 failed`."""
    kinds = Counter(job.kind for job in jobs if state[job.name] == "running")
    failed = sum(one == "failed" for one in state.values())
    running = f"{kinds.total()} running ({one_of(kinds)})" if kinds else "none running"
    return f"{running}, {counted(failed, 'job')} failed" if failed else running


def _stop(process: Popen[bytes]) -> None:
    """Ends Snakemake and its jobs as Ctrl-C would, and kills them after `_STOP_WITHIN_S`."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            process.wait(_STOP_WITHIN_S)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
