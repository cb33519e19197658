"""The command `run`: what a study compares, from its file to its reports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ...base import counted
from ...base.errors import StudyError
from ..finetune import TRY_AGAIN
from ..terminal.console import remark, say
from ..terminal.signals import stop_signals
from .study_options import Settings, StudyPath, compiled, study_command
from .study_tables import show_failures, show_missing, show_plan

if TYPE_CHECKING:
    from ...study.workflow.engine import StudyRun
    from .study_options import Compiled


def run(
    study: StudyPath,
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- OPTIONS OF SNAKEMAKE]", help="As in -- --executor kubernetes", show_default=False),
    ] = None,
    setting: Settings = None,
    engine: Annotated[
        Literal["local", "slurm"],
        typer.Option(metavar="local | slurm", help="Run jobs on this machine, or submit them."),
    ] = "local",
    profile: Annotated[
        Path | None, typer.Option(help="Folder with a profile of Snakemake, instead of --engine.", show_default=False)
    ] = None,
    cores: Annotated[
        int | None,
        typer.Option(min=1, help="Cores to use; on a cluster, jobs at once. [default: all; on a cluster 100]"),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be done, and exit.")] = False,
    graph: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the graph of the jobs (.mmd), and exit.", show_default=False),
    ] = None,
) -> None:
    """Runs a study: builds, checks, embeds, fits, merges, compares and reports what its file names.

    What is done already is kept: the same command goes on after an interruption, and after a change of the file does
    what has changed.

    Examples: `medprobe run brain.yaml --plan`; `medprobe run brain.yaml --set probe.seeds=100`;
    `medprobe run brain.yaml --engine slurm`
    """
    from ...study.workflow.engine import StudyInterrupted, run_study
    from ...study.workflow.graph import write_graph

    found = compiled(study, setting, forget_lost=not plan and graph is None)
    if graph is not None:
        write_graph(found.jobs, graph)
        remark(f"Saved: {graph}")
    if plan:
        show_plan(found)
    if found.jobs and (plan or graph is not None):
        return
    words = [*(["--engine", engine] if engine != "local" else []), *(["--profile", str(profile)] if profile else [])]
    words += [*(["--cores", str(cores)] if cores else []), *(["--", *options] if options else [])]
    again = study_command("run", study, setting, *words)
    if not plan:
        show_missing(found)
    if not found.jobs:
        raise StudyError(
            f"{study}: nothing can be run, as none of its data is there. Put a data set where it was looked for, or"
            " name the folder that holds it with --set data_root=FOLDER."
        )
    try:
        with stop_signals() as should_stop:
            result = run_study(
                found.jobs,
                found.study,
                found.out,
                engine=engine,
                profile=profile,
                cores=cores,
                options=options or (),
                should_stop=should_stop,
            )
    except (KeyboardInterrupt, StudyInterrupted) as error:
        remark(f"stopped, and its jobs with it; what they finished is kept. Go on with:  {again}")
        raise typer.Exit(130 if isinstance(error, KeyboardInterrupt) else TRY_AGAIN) from None
    _show_end(found, result, again)


def _show_end(found: Compiled, result: StudyRun, again: str) -> None:
    if result.done or not result.unfinished:
        say(
            f"{counted(result.done, 'job')} done."
            if result.done
            else f"Nothing to do: all {len(found.jobs):,} jobs are done."
        )
    for link in result.links:
        if link.parent.name == "reports":
            say(f"Report:  {link / 'report.html'}")
    if result.links:
        say(f"Results: {found.out / 'results'}")
    if not result.status:
        return
    show_failures(result.failures)
    if result.message:
        remark("Snakemake ended with an error:\n  " + "\n  ".join(result.message))
    remark(
        f"\n{result.unfinished:,} of {len(found.jobs):,} jobs are not done. Fix what failed, and go on with:  {again}"
    )
    raise typer.Exit(1)
