"""The commands `status` and `study`: how far a study is, a file to start from, scripts for a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..terminal.console import command, remark, say
from .study_options import Settings, StudyPath, compiled
from .study_tables import show_status

app = typer.Typer(
    help="Writes study files and what belongs to them.\n\nExample: `medprobe study init brain.parquet`",
    no_args_is_help=True,
)


def status(study: StudyPath, setting: Settings = None) -> None:
    """Shows how far a study is, from any shell: what is done, what runs, what failed and why.

    Example: `medprobe status brain.yaml`
    """
    show_status(compiled(study, setting))


@app.command()
def init(
    manifests: Annotated[
        list[Path], typer.Argument(metavar="MANIFEST...", help="Manifests (.parquet or .csv).", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The study file.")] = Path("study.yaml"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Writes a study file in which every key has a comment.

    Example: `medprobe study init brain.parquet chest.parquet --out brain-and-chest.yaml`
    """
    import os

    from ...base import OutputError, atomic_path
    from ...manifests import Manifest
    from ...study.template import study_template

    if out.exists() and not overwrite:
        raise OutputError(f"{out}: exists; choose another --out, or add --overwrite.")
    for path in manifests:
        Manifest.load(path).card.require_task("a study")
        if out.absolute() == path.absolute().with_suffix(".yaml"):
            raise OutputError(f"{out}: is the dataset card of {path}; choose another --out.")
    relative = [os.path.relpath(path, out.absolute().parent) for path in manifests]
    with atomic_path(out) as temporary:
        temporary.write_text(study_template(relative, str(out)), encoding="utf-8")
    remark(f"Saved: {out}")
    say(f"Next:  {command('run', out, '--plan')}")


@app.command()
def schema() -> None:
    """Prints the JSON Schema of study files, from which editors complete keys and show what they mean.

    Example: `medprobe study schema > study.schema.json`, and in the first line of a study file
    `# yaml-language-server: $schema=study.schema.json`
    """
    import json

    from ...study import StudyFile

    typer.echo(json.dumps(StudyFile.model_json_schema(), indent=2))


@app.command()
def sbatch(
    study: StudyPath,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the scripts, e.g. jobs.", show_default=False)],
    setting: Settings = None,
) -> None:
    """Writes plain sbatch scripts of what is to be done: arrays of jobs with dependencies, and one that submits them.

    Example: `medprobe study sbatch brain.yaml --out jobs`, then `jobs/submit.sh`
    """
    from ...study.workflow.sbatch import write_sbatch

    found = compiled(study, setting, forget_lost=True)
    files = write_sbatch(found.jobs, found.study, found.out, out)
    if len(files) == 1:
        say(f"Nothing to do: all {len(found.jobs):,} jobs are done.")
    else:
        say(f"Next:  {files[-1]}")
