"""The jobs of a study as a graph, in Mermaid's language or as SVG: one box per job, or per kind if there are many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from ...base import atomic_path, counted
from ...base.errors import StudyError
from ..jobs import Job

_MOST_JOBS = 60
"""Jobs of which each has a box of its own."""


def write_graph(jobs: Sequence[Job], path: Path) -> None:
    """Writes the graph of the jobs; the suffix chooses between Mermaid (.mmd) and SVG (.svg).

    Raises:
        StudyError: it is another suffix.
        OutputError: the file cannot be written.
    """
    draw = {".mmd": _mermaid, ".svg": _svg}.get(path.suffix)
    if draw is None:
        raise StudyError(f"{path}: a graph is written as Mermaid (.mmd) or SVG (.svg); choose one of these suffixes.")
    text = draw(*_boxes(jobs))
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


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


def _mermaid(texts: dict[str, str], pairs: Sequence[tuple[str, str]]) -> str:
    number = {name: f"j{at}" for at, name in enumerate(texts)}
    lines = ["flowchart LR", *(f'    {number[name]}["{text}"]' for name, text in texts.items())]
    return "\n".join([*lines, *(f"    {number[one]} --> {number[two]}" for one, two in pairs), ""])


def _svg(texts: dict[str, str], pairs: Sequence[tuple[str, str]]) -> str:
    """Boxes in columns from left to right, each one column behind the last that it needs."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    column = _columns(texts, pairs)
    taken: Counter[int] = Counter()
    place: dict[str, tuple[float, float]] = {}
    for name in texts:
        place[name] = (4.0 * column[name], -0.5 * taken[column[name]])
        taken[column[name]] += 1
    with rc_context({"svg.hashsalt": "medprobe", "svg.fonttype": "none"}):
        figure = Figure(figsize=(4 * len(taken), 0.5 * max(taken.values()) + 0.5))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(-2, 4 * len(taken) - 2)
        axes.set_ylim(-0.5 * max(taken.values()), 0.5)
        for one, two in pairs:
            arrow = {"arrowstyle": "->", "color": "0.6", "shrinkA": 2, "shrinkB": 2}
            (x, y), (x2, y2) = place[one], place[two]
            axes.annotate("", xy=(x2 - 1.7, y2), xytext=(x + 1.7, y), arrowprops=arrow)
        for name, text in texts.items():
            style = {"boxstyle": "round", "facecolor": "white", "edgecolor": "0.4"}
            axes.text(*place[name], text, ha="center", va="center", fontsize=7, bbox=style)
        drawn = StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()


def _columns(texts: dict[str, str], pairs: Sequence[tuple[str, str]]) -> dict[str, int]:
    column = dict.fromkeys(texts, 0)
    for _ in range(len(texts)):  # as many rounds as the longest way has steps
        before = dict(column)
        for one, two in pairs:
            column[two] = max(column[two], column[one] + 1)
        if column == before:
            break
    return column
