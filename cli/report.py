"""The command `report`: a page, figures and tables from a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .terminal.console import say


def report(
    run: Annotated[list[Path], typer.Argument(help="Run folder, e.g. runs/brain; several of one data set are merged.")],
    metric: Annotated[str | None, typer.Option(help="Metric to report. [default: the run's primary metric]")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report; needed for several runs. [default: the run's]")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Writes one self-contained page, figures (PNG, SVG) and tables (CSV, Markdown, LaTeX) into a run's folder.

    Example: `medprobe report runs/brain --metric balanced_accuracy`

    Example: `medprobe report runs/brain-frozen runs/brain-fine-tuned --out reports/brain`
    """
    from ..base import OutputError
    from ..report import make_report

    if out is None and len(run) > 1:
        raise OutputError("a report of several runs belongs to none of their folders: choose one with --out.")
    if out is not None and (out / "run.json").exists() and [out] != run:
        raise OutputError(f"{out}: is a run of its own, whose report this is not; choose another --out.")
    made = make_report(run, metric=metric)
    page = made.save(out or run[0])
    say("\n".join(made.verdict.lines))
    say(f"\nReport:   {page}\nFigures:  {page.parent / 'figures'}\nTables:   {page.parent / 'tables'}")
    if show:
        typer.launch(page.resolve().as_uri())
