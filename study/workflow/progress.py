"""What is done, runs or has failed of a study, read from its files alone."""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..jobs import Job, Kind
from .failures import Failure, last_lines, reasons
from .snakefile import log_of

State = Literal["done", "running", "failed", "waiting"]


@dataclass(frozen=True)
class KindPlan:
    """The jobs of one kind: how many there are, and what those take that are still to be done."""

    kind: Kind
    jobs: int
    done: int
    minutes: float
    """Of all of them, one after another."""
    memory_mb: int
    """Of the largest."""
    gpus: int
    """Of the largest."""
    disk_mb: int
    """Of all of them."""


def states(jobs: Iterable[Job], out: Path, *, running: bool) -> dict[str, State]:
    """The state of each job by its name, of all or some of a study.

    `running` is whether a run goes on; without one, what was begun was interrupted, and waits.
    """
    begun, failed = _begun(out), reasons(out).keys()
    return {job.name: _state(job, out, begun, failed, running=running) for job in jobs}


def _state(job: Job, out: Path, begun: Set[str], failed: Set[str], *, running: bool) -> State:
    if any(path.removesuffix("/") in begun for path in job.outputs):
        return "running" if running else "waiting"
    if all((out / path).exists() for path in job.outputs):
        return "done"
    return "failed" if job.name in failed else "waiting"


def failures(jobs: Sequence[Job], out: Path, *, running: bool) -> list[Failure]:
    """The jobs that failed in the last run; arguments as for `states`."""
    state, why = states(jobs, out, running=running), reasons(out)
    return [
        Failure(job, out / log_of(job), last_lines(out / log_of(job)), why[job.name])
        for job in jobs
        if state[job.name] == "failed"
    ]


def _begun(out: Path) -> set[str]:
    """The outputs that Snakemake marks as incomplete: begun, and neither finished nor failed.

    A marker is a file whose name is the output in base64; names too long for the file system go over folders, each of
    which begins with an @.
    """
    top = out / ".snakemake" / "incomplete"
    found = set()
    for folder, _, files in os.walk(top):
        start = "".join(part.removeprefix("@") for part in Path(folder).relative_to(top).parts)
        for name in files:
            with suppress(ValueError):  # a file that is no marker
                found.add(urlsafe_b64decode(start + name).decode())
    return found


def jobs_to_do(jobs: Sequence[Job], out: Path) -> list[Job]:
    """The jobs that Snakemake will run, in their order.

    Those whose results are missing, what these need that is missing, and what is made from what is made again.
    """
    state = states(jobs, out, running=False)
    producers = {path: job for job in jobs for path in job.outputs}
    consumers: dict[str, list[Job]] = {}
    for job in jobs:
        for path in job.inputs:
            consumers.setdefault(path, []).append(job)
    missing = [job for job in jobs if state[job.name] != "done"]
    stack = [job for job in missing if not any(path in consumers for path in job.outputs)]
    found: set[str] = set()
    while stack:
        job = stack.pop()
        if job.name not in found:
            found.add(job.name)
            needed = [producers[path] for path in job.inputs if path in producers]
            stack += [one for one in needed if state[one.name] != "done"]
            stack += [one for path in job.outputs for one in consumers.get(path, [])]
    return [job for job in jobs if job.name in found]


def plan_by_kind(jobs: Sequence[Job], out: Path) -> list[KindPlan]:
    """The jobs by kind, in the order of the first of each, with what the unfinished ones take by estimate."""
    state, to_do = states(jobs, out, running=False), {job.name for job in jobs_to_do(jobs, out)}
    plans: list[KindPlan] = []
    kinds: dict[Kind, None] = dict.fromkeys(job.kind for job in jobs)
    for kind in kinds:
        own = [job for job in jobs if job.kind == kind]
        needs = [job.needs for job in own if job.name in to_do]
        plans.append(
            KindPlan(
                kind=kind,
                jobs=len(own),
                done=sum(state[job.name] == "done" for job in own),
                minutes=sum(one.minutes for one in needs),
                memory_mb=max((one.memory_mb for one in needs), default=0),
                gpus=max((one.gpus for one in needs), default=0),
                disk_mb=sum(one.disk_mb for one in needs),
            )
        )
    return plans
