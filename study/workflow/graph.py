"""The jobs of a study as a graph in Mermaid's language: one box per job, or per kind if there are many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ...base import atomic_path, counted
from ...base.errors import StudyError
from ..jobs import Job

_MOST_JOBS = 60
"""Jobs of which each has a box of its own."""


def write_graph(jobs: Sequence[Job], path: Path) -> None:
    """Writes the graph of the jobs.

    Raises:
        StudyError: the suffix is another than Mermaid's.
        OutputError: the file cannot be written.
    """
    if path.suffix != ".mmd":
        raise StudyError(f"{path}: a graph is written in Mermaid's language; choose the suffix .mmd.")
    texts, pairs = _boxes(jobs)
    number = {name: f"j{at}" for at, name in enumerate(texts)}
    lines = ["flowchart LR", *(f'    {number[name]}["{text}"]' for name, text in texts.items())]
    lines += [f"    {number[one]} --> {number[two]}" for one, two in pairs]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _boxes(jobs: Sequence[Job]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """The text of each box, and the pairs of boxes of which the second needs the first."""
    box = {job.name: job.name if len(jobs) <= _MOST_JOBS else job.kind for job in jobs}
    producers = {path: job.name for job in jobs for path in job.outputs}
    pairs = {(box[producers[path]], box[job.name]): None for job in jobs for path in job.inputs if path in producers}
    counts = Counter(box.values())
    texts = {
        name: name if len(jobs) <= _MOST_JOBS else f"{name}: {counted(count, 'job')}" for name, count in counts.items()
    }
    return texts, [pair for pair in pairs if pair[0] != pair[1]]
