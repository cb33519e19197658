"""Jobs: commands of medprobe with the files that they read and write, and what they take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["build", "check", "extract", "probe", "finetune", "retrieve", "merge", "stats", "report"]


@dataclass(frozen=True)
class Needs:
    """What a job takes, by estimate or as the study says."""

    cores: int = 1
    memory_mb: int = 2000
    minutes: float = 1.0
    """Of one run, by estimate."""
    walltime: int = 10
    """Minutes that are requested for the first try."""
    gpus: int = 0
    disk_mb: int = 0
    """That its outputs take."""


@dataclass(frozen=True)
class Job:
    """One command. Paths are relative to the folder of the results, in which it runs.

    Examples:
        >>> from medprobe.study import Job
        >>> job = Job(kind="report", name="page", command=("medprobe", "report", "run"), inputs=("run/",), outputs=())
        >>> job.needs.cores, job.needs.memory_mb
        (1, 2000)
    """

    kind: Kind
    name: str
    """Unique, for people and log files: `probe-brain-official-dinov2-s-logreg-0-25`."""
    command: tuple[str, ...]
    """`medprobe` and its arguments; `{threads}` stands for the cores that the job gets."""
    inputs: tuple[str, ...]
    """Outputs of other jobs, or files of the user."""
    outputs: tuple[str, ...]
    """Files, and folders, which end in a slash. The name of each carries a key of all that it depends on. A file that
    ends in `.done` is empty; whoever runs the command makes it when it has succeeded."""
    needs: Needs = Needs()
