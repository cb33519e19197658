"""A study as plain sbatch scripts: arrays of jobs with dependencies, for those who cannot run Snakemake."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from graphlib import TopologicalSorter
from pathlib import Path

from ...base import atomic_path
from ...base.version import VERSION_VARIABLE, own_version
from ..jobs import Job
from ..schema import StudyFile
from .progress import jobs_to_do
from .snakefile import DONE, THREADS, log_of, partition_of

_LARGEST_ARRAY = 1000
"""Slurm refuses larger ones unless it is configured otherwise."""
_WRITTEN_IN_PIECES = {"stats", "report"}
"""Kinds of jobs whose folders are there before all files are in them. They are written beside their places, so that a
job which was killed leaves none that looks finished."""


def write_sbatch(jobs: Sequence[Job], study: StudyFile, out: Path, folder: Path) -> list[Path]:
    """Writes into `folder` a script per kind and step of the unfinished jobs, and `submit.sh`, which submits them.

    Raises:
        OutputError: nothing can be written there.
    """
    arrays = _arrays(jobs_to_do(jobs, out))
    files = [folder / f"{number:02d}-{array[0].kind}.sh" for number, array in enumerate(arrays, 1)]
    for array, file in zip(arrays, files, strict=True):
        _write(file, _script(array, study, out.resolve(), file.stem))
    _write(folder / "submit.sh", _submit(files, _dependencies(arrays)))
    return [*files, folder / "submit.sh"]


def _arrays(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs of one kind, partition and step, none of which needs another one of them; in an order that can be run."""
    producers = {path: job.name for job in jobs for path in job.outputs}
    needs = {job.name: {producers[path] for path in job.inputs if path in producers} for job in jobs}
    step: dict[str, int] = {}
    for name in TopologicalSorter(needs).static_order():
        step[name] = 1 + max((step[one] for one in needs[name]), default=0)
    groups: dict[tuple[int, str, int], list[Job]] = {}
    for job in sorted(jobs, key=lambda job: step[job.name]):
        groups.setdefault((step[job.name], job.kind, job.needs.gpus), []).append(job)
    return [
        group[start : start + _LARGEST_ARRAY]
        for group in groups.values()
        for start in range(0, len(group), _LARGEST_ARRAY)
    ]


def _dependencies(arrays: Sequence[Sequence[Job]]) -> list[list[int]]:
    """For each array the places of those whose outputs it reads."""
    place = {path: at for at, array in enumerate(arrays) for job in array for path in job.outputs}
    return [sorted({place[path] for job in array for path in job.inputs if path in place}) for array in arrays]


def _script(array: Sequence[Job], study: StudyFile, out: Path, name: str) -> str:
    options = {
        "job-name": f"{study.name or 'study'}-{name}",
        "array": f"0-{len(array) - 1}",
        "output": f"{name}.log",  # of the lines before the commands; each command has a log of its own
        "open-mode": "append",
        "cpus-per-task": max(job.needs.cores for job in array),
        "mem": f"{max(job.needs.memory_mb for job in array)}M",
        "time": max(job.needs.walltime for job in array),
        "partition": partition_of(array[0], study),
        "account": study.cluster.account,
        "gres": study.cluster.gpu if array[0].needs.gpus else None,
    }
    head = [f"#SBATCH --{key}={value}" for key, value in options.items() if value is not None]
    head += [f"#SBATCH {option}" for option in study.cluster.extra]
    body = ["set -e", *study.cluster.before, "set -euo pipefail"]
    body += [f"mkdir -p {shlex.quote(str(out / 'logs'))}", f"cd {shlex.quote(str(out))}"]
    body += [f"export {VERSION_VARIABLE}={own_version()}", "export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK", ""]
    body += ["case $SLURM_ARRAY_TASK_ID in"]
    for number, job in enumerate(array):
        body += [f"{number})  # {job.name}", *(f"    {line}" for line in _lines(job)), "    ;;"]
    return "\n".join(["#!/bin/bash", *head, "", *body, "esac", ""])


def _lines(job: Job) -> list[str]:
    folders = sorted({shlex.quote(str(Path(path).parent)) for path in job.outputs})
    is_there = " && ".join(f"[ -e {shlex.quote(path)} ]" for path in job.outputs)
    lines = [f"{is_there} && exit 0", f"mkdir -p {' '.join(folders)}"]  # submitted again, it does nothing
    words = [str(job.needs.cores) if word == THREADS else word for word in job.command]
    if job.kind in _WRITTEN_IN_PIECES:
        place = job.outputs[0].removesuffix("/")
        words = [word.replace(place, f"{place}.part") for word in words]
        before, after = [shlex.join(["rm", "-rf", f"{place}.part"])], [shlex.join(["mv", "-T", f"{place}.part", place])]
    else:
        before, after = [], [f"touch {shlex.quote(path)}" for path in job.outputs if path.endswith(DONE)]
    return [*lines, *before, f"{shlex.join(words)} > {shlex.quote(log_of(job))} 2>&1", *after]


def _submit(files: Sequence[Path], after: Sequence[Sequence[int]]) -> str:
    lines = ["#!/bin/bash", "# Submits all jobs; those that need others wait for them.", "set -euo pipefail"]
    lines += ['cd "$(dirname "$0")"', ""]
    for at, (file, needed) in enumerate(zip(files, after, strict=True), 1):
        ids = "".join(f":${{job{one + 1}%%;*}}" for one in needed)
        dependency = f" --dependency=afterok{ids} --kill-on-invalid-dep=yes" if ids else ""
        lines.append(f"job{at}=$(sbatch --parsable{dependency} {shlex.quote(file.name)})")
        lines.append(f'echo "{file.name}: ${{job{at}}}"')
    return "\n".join([*lines, ""])


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o755)
