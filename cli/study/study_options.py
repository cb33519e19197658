"""What the commands of studies share: their arguments, and the study with its jobs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..terminal.console import command

if TYPE_CHECKING:
    from ...study import Job, StudyFile

StudyPath = Annotated[
    str, typer.Argument(metavar="STUDY", help="The study file (.yaml), or preset:NAME.", show_default=False)
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Changes a key of the study, e.g. probe.seeds=200; may be repeated."
    ),
]


@dataclass(frozen=True)
class Compiled:
    """A study and its jobs."""

    study: StudyFile
    place: Path
    """What its paths are relative to."""
    out: Path
    """The folder of results."""
    jobs: list[Job]


def compiled(path: str, settings: list[str] | None, *, forget_lost: bool = False) -> Compiled:
    """Reads a study and finds its jobs.

    With `forget_lost` it removes records of caches that are gone or of other images by now: they are made again.

    Raises:
        MedprobeError: it cannot be read or compiled.
    """
    from ...study import compile_study, load_study
    from ...study.data_sets import results_folder, store_folder
    from ...study.loading import study_place
    from ...study.workflow.results import forget_lost_caches

    study, place = load_study(path, settings or ()), study_place(path)
    out, jobs = results_folder(study, place), compile_study(study, place)
    if forget_lost and forget_lost_caches(jobs, out, store_folder(study, place)):
        jobs = compile_study(study, place)  # what is there decides what is one job
    return Compiled(study, place, out, jobs)


def study_command(verb: str, path: str, settings: list[str] | None, *further: str) -> str:
    """A command on this study as one may paste it into a shell."""
    return command(verb, path, *(word for one in settings or () for word in ("--set", one)), *further)
