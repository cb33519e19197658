"""The Snakefile of a study: one explicit rule per job, which people can read, change and run without this package."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from ...base import OutputError, atomic_path, counted
from ...base.version import VERSION_VARIABLE, own_version
from ..jobs import Job
from ..schema import StudyFile

THREADS = "{threads}"
"""The word of a command that stands for the cores that the job gets."""
DONE = ".done"
"""End of the outputs that are empty files, which whoever runs the command makes after it."""
_SHORT = {"check", "merge", "stats", "report"}
"""Kinds of jobs that run where Snakemake does, not on a node of a cluster, if they take at most `_SHORT_MINUTES`."""
_SHORT_MINUTES = 2
WRITTEN_BY = "Written by medprobe"
"""In the first line of files that may be written again."""
_HEAD = '''\
# {title}: {jobs}. {written_by} {version}; `medprobe run` writes it again.
#
# By hand, in this folder:  snakemake --cores 4 --keep-going --rerun-incomplete
# On a Slurm cluster:       snakemake --executor slurm --jobs 100 --retries 2 --keep-going --rerun-incomplete

shell.prefix({prefix})


def raised(first):
    """Memory and walltime of a job, doubled on each further try."""
    return lambda wildcards, attempt: first * 2 ** (attempt - 1)


rule all:
    input:
{results}
    localrule: True
'''


def write_snakefile(jobs: Sequence[Job], study: StudyFile, out: Path) -> Path:
    """Writes `Snakefile` into the folder of results, which is the working directory of its rules.

    The bytes follow from the jobs, the study and the version of medprobe.

    Raises:
        OutputError: the file cannot be written, or the user has another one there.
    """
    read = {path for job in jobs for path in job.inputs}
    head = _HEAD.format(
        title=f"Study {study.name}" if study.name else "Study",
        jobs=counted(len(jobs), "job"),
        written_by=WRITTEN_BY,
        version=own_version(),
        prefix=_literal(_prefix(study.cluster.before)),
        results=_items(path for job in jobs for path in job.outputs if path not in read),
    )
    return write_own(out / "Snakefile", "\n\n".join([head, *(_rule(job, study) for job in jobs)]))


def write_own(path: Path, text: str) -> Path:
    """Writes a file that an earlier run may have written, and nobody else.

    Raises:
        OutputError: it cannot be written, or what is there was not written by this program.
    """
    with suppress(FileNotFoundError), path.open(encoding="utf-8", errors="replace") as there:
        if WRITTEN_BY not in there.readline():
            raise OutputError(f"{path}: is not of an earlier run; choose another folder for the results (out).")
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def log_of(job: Job) -> str:
    """Where the output and the errors of a job's command go, relative to the folder of results."""
    return f"logs/{job.name}.log"


def partition_of(job: Job, study: StudyFile) -> str | None:
    """The partition of a cluster that a job goes to."""
    return (study.cluster.gpu_partition if job.needs.gpus else None) or study.cluster.partition


def _prefix(before: Sequence[str]) -> str:
    """The lines of shell before every command. Lines of the study come before `set -u`, which they may not expect."""
    lines = [*before, "set -euo pipefail", f"export {VERSION_VARIABLE}={own_version()}"]
    return "set -e\n" + _escaped("\n".join(lines)) + "\n"


def _rule(job: Job, study: StudyFile) -> str:
    # Snakemake reads braces in names of files as wildcards; outputs have none, and what is in a user's file is in keys.
    inputs = [path for path in job.inputs if not set("{}") & set(path)]
    lines = ["rule:", f"    name: {_literal(job.name)}"]
    if inputs:
        lines += ["    input:", _items(inputs)]
    lines += ["    output:", _outputs(job.outputs), "    log:", _items([log_of(job)])]
    if job.kind in _SHORT and job.needs.minutes <= _SHORT_MINUTES:
        lines.append("    localrule: True")
    # The longest first, so that no core is left with one of them at the end.
    lines.append(f"    priority: {round(60 * job.needs.minutes)}")
    lines += [f"    threads: {job.needs.cores}", "    resources:", *_resources(job, study)]
    lines += ["    shell:", *_command(job.command)]
    return "\n".join(lines) + "\n"


def _resources(job: Job, study: StudyFile) -> list[str]:
    values = {"mem_mb": f"raised({job.needs.memory_mb})", "runtime": f"raised({job.needs.walltime})"}
    quality = [option.removeprefix("--qos=") for option in study.cluster.extra if option.startswith("--qos=")]
    extra = [option for option in study.cluster.extra if not option.startswith("--qos=")]
    texts = {
        "slurm_partition": partition_of(job, study),
        "slurm_account": study.cluster.account,
        "qos": quality[-1] if quality else None,  # which Snakemake refuses among the others
        "slurm_extra": shlex.join(extra),
        "gres": study.cluster.gpu if job.needs.gpus else None,
    }
    values |= {name: _literal(text) for name, text in texts.items() if text}
    if job.kind in ("extract", "finetune"):
        values["gpu_jobs"] = "1"  # on a machine with GPUs such jobs run one after another, each with all GPUs
    return [f"        {name}={value}," for name, value in values.items()]


def _command(words: Sequence[str]) -> list[str]:
    """The command with an option per line."""
    lines = [""]
    for place, word in enumerate(words):
        if place > 1 and re.match(r"--?[A-Za-z]", word):
            lines.append("")
        lines[-1] += " " * (place > 0) + (word if word == THREADS else _escaped(shlex.quote(word)))
    return [f"        {_literal(line)}" for line in [*lines, " > {log:q} 2>&1"]]


def _items(paths: Iterable[str]) -> str:
    """A line for each path."""
    return "\n".join(f"        {_literal(path.removesuffix('/'))}," for path in paths)


def _outputs(paths: Iterable[str]) -> str:
    """As `_items`; folders are marked, and Snakemake makes what ends in `.done` after the command."""
    flags = [("directory" * path.endswith("/") or "touch" * path.endswith(DONE), path) for path in paths]
    literals = [(flag, _literal(path.removesuffix("/"))) for flag, path in flags]
    return "\n".join(f"        {flag}({literal})," if flag else f"        {literal}," for flag, literal in literals)


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _literal(text: str) -> str:
    """`text` as Python writes it, in double quotes."""
    return json.dumps(text, ensure_ascii=False)
