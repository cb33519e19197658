"""The command `report`: a page, figures and tables from a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .terminal.console import say


def report(
    run: Annotated[Path, typer.Argument(help="Run folder written by `medprobe probe`, e.g. runs/brain.")],
    metric: Annotated[
        str | None, typer.Option("--metric", help="Metric to report. [default: the run's primary metric]")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Writes one self-contained page, figures (PNG, SVG) and tables (CSV, Markdown, LaTeX) into a run's folder.

    Example: `medprobe report runs/brain --metric balanced_accuracy`
    """
    from ..report import make_report

    made = make_report(run, metric=metric)
    page = made.save(run)
    say("\n".join(made.verdict.lines))
    say(f"\nReport:   {page}\nFigures:  {page.parent / 'figures'}\nTables:   {page.parent / 'tables'}")
    if show:
        typer.launch(page.resolve().as_uri())
