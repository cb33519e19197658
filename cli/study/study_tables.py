"""Tables of studies for the terminal: what is to be done, how far it is, what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...base import counted
from ...base.text import NONE, duration, one_of, size
from ..terminal.console import remark, say, show_table, wrapped

if TYPE_CHECKING:
    from ...study.workflow.failures import Failure
    from .study_options import Compiled

_MOST_FAILURES = 10
_MOST_RUNNING = 8


def show_plan(found: Compiled) -> None:
    """The jobs by kind with what the unfinished ones take, what is missing, and the notes of the study."""
    from ...study.plan import plan_notes
    from ...study.workflow.progress import plan_by_kind

    plans = plan_by_kind(found.jobs, found.out)
    rows = [
        (
            one.kind,
            f"{one.jobs:,}",
            f"{one.done:,}",
            duration(60 * one.minutes) if one.minutes else NONE,
            size(1e6 * one.memory_mb) if one.memory_mb else NONE,
            one.gpus or NONE,
            size(1e6 * one.disk_mb) if one.disk_mb else NONE,
        )
        for one in plans
    ]
    columns = ["jobs", "number", "done", "time", "memory", "GPUs", "disk"]
    total = sum(one.minutes for one in plans)
    title = f"Study {found.study.name}, results in {found.out}"
    if rows:
        show_table(columns, rows, title=title, right=columns[1:])
        spent = f"{duration(60 * total)} one job after another; memory and GPUs of the largest job."
        say(wrapped(f"Estimated for what is not done: {spent}"))
    else:
        say(f"{title}\nNo jobs: none of its data is there.")
    for note in plan_notes(found.study):
        say(wrapped(f"Note: {note}"))
    show_missing(found)


def show_missing(found: Compiled) -> None:
    """What the study leaves out because it is not there."""
    from ...study.plan import missing_data

    for one in missing_data(found.study, found.place):
        where = f" It is published at {one.published}" if one.published else ""
        remark(wrapped(f"{one.label} is left out: {one.place} does not exist.{where}"))


def show_status(found: Compiled) -> None:
    """By kind, how many jobs are in which state; which run, and which failed."""
    from ...study.workflow.folder_lock import is_held
    from ...study.workflow.progress import failures, states

    running = is_held(found.out)
    state = states(found.jobs, found.out, running=running)
    counts = Counter((job.kind, state[job.name]) for job in found.jobs)
    kinds = dict.fromkeys(job.kind for job in found.jobs)
    words = ("done", "running", "failed", "waiting")
    rows = [(kind, *(f"{counts[kind, word]:,}" for word in words)) for kind in kinds]
    title = f"Study {found.study.name}, {'which is running' if running else 'which is not running'}"
    show_table(["jobs", *words], rows, title=title, right=words)
    if names := [name for name, one in state.items() if one == "running"]:
        say(f"Running: {one_of(names, most=_MOST_RUNNING)}")
    show_failures(failures(found.jobs, found.out, running=running))


def show_failures(failed: Sequence[Failure]) -> None:
    """The failed jobs, each with the end of its log."""
    if not failed:
        return
    remark(f"\n{counted(len(failed), 'job')} failed:")
    for one in failed[:_MOST_FAILURES]:
        remark(f"\n{one.job.name}{f': {one.reason}' if one.reason else ''}")
        for line in one.last_lines:
            remark(f"  {line}")
        remark(f"  (log: {one.log if one.last_lines else one.log.with_name('snakemake.log')})")
    if len(failed) > _MOST_FAILURES:
        remark(f"\nand {one_of([one.job.name for one in failed[_MOST_FAILURES:]])}")
