"""A report as files: made whole in memory, then put beside its run all at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ...base import atomic_path, writing
from ..elements.table_formats import FORMATS
from .data import load_report_data
from .figures import FIGURES, draw_figures
from .page import render_page
from .tables import TABLES
from .verdict import Conclusion, conclude

_PAGE = "report.html"
_OURS = frozenset(
    [f"figures/{name}.{kind}" for name in FIGURES for kind in ("svg", "png")]
    + [f"tables/{name}.{kind}" for name in TABLES for kind in FORMATS]
)
"""Every file that some report writes beside its page."""


@dataclass(frozen=True, eq=False)
class Report:
    """A report that is not yet written.

    Examples:
        >>> from medprobe.report import make_report
        >>> report = make_report(folder / "run")
        >>> report.save(folder / "run").name
        'report.html'
    """

    verdict: Conclusion
    files: Mapping[str, bytes]
    """Contents by path within the run's folder."""

    def save(self, folder: Path | str) -> Path:
        """Writes every file into the run's folder, the page last; returns the page.

        Nothing of an older report is replaced before all of the new one is on the disk. What the older one had and
        this one has not is removed; whatever else lies there is left alone.

        Raises:
            OutputError: a file cannot be written; the older report is as it was.
        """
        folder = Path(folder)
        # Leaving the stack renames in the opposite order of entering, so the page goes in first and is renamed last.
        with ExitStack() as stack:
            for name in sorted(self.files, key=lambda name: name != _PAGE):
                stack.enter_context(atomic_path(folder / name)).write_bytes(self.files[name])
        for name in sorted(_OURS - set(self.files)):
            with writing(folder / name):
                (folder / name).unlink(missing_ok=True)
        return folder / _PAGE


def make_report(folders: Path | str | Sequence[Path | str], *, metric: str | None = None) -> Report:
    """Makes the report of a run, or of several of one data set as if they were one (`merge_runs`).

    Args:
        folders: what `medprobe probe` wrote; one or several.
        metric: the one to judge by; the run's own by default.

    Raises:
        ReportError: one is no run's folder, is damaged or incomplete, or has no such metric.
        MergeError: several cannot become one run.

    Examples:
        >>> from medprobe.report import make_report
        >>> report = make_report(folder / "run")
        >>> report.verdict.certainty, "report.html" in report.files
        ('open', True)
    """
    data = load_report_data(folders, metric)
    verdict, figures = conclude(data), draw_figures(data)
    tables = {name: table for name, build in TABLES.items() if (table := build(data)) is not None}
    files = {}
    for name, table in tables.items():
        files |= {f"tables/{name}.{kind}": render(table).encode() for kind, render in FORMATS.items()}
    for name, drawn in figures.items():
        files |= {f"figures/{name}.svg": drawn.svg, f"figures/{name}.png": drawn.png}
    files[_PAGE] = render_page(data, verdict, figures, tables).encode()
    return Report(verdict, files)
