"""The `medprobe` command: its subcommands, its global options, and how errors are shown."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import suppress
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..base.errors import MedprobeError, MedprobeWarning
from ..base.text import first_line, printable
from ..base.version import refuse_other_version
from . import backbones, cache, demo, doctor, errors, extract, finetune, fit, predict, report
from .manifest import app as manifest
from .map import map_
from .probe import app as probe
from .probe import merge, retrieve, stats
from .study import app as study
from .study import run as study_run
from .terminal.console import remark, wrapped

_UsageError: Any = typer.BadParameter.__bases__[0]
"""Of click, which newer versions of typer hold under another name."""
_AROUND = 60
"""Characters of a text that are shown around one that is not UTF-8."""
_WORKFLOW = (
    *("manifest", "extract", "cache", "probe", "retrieve", "errors", "map", "finetune", "merge", "stats", "report"),
    *("fit", "predict"),
    *("run", "status", "study", "backbones", "doctor", "demo"),
)


class _Commands(TyperGroup):
    """The commands in the order of use; reports options that are not a number or not a choice in plain words."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=_WORKFLOW.index)

    def invoke(self, ctx: Any) -> Any:
        from ..base.pydantic_messages import fault_in_words

        try:
            return super().invoke(ctx)
        except _UsageError as error:
            # Newer versions of typer validate with pydantic and repeat its message.
            if faults := getattr(error.__cause__, "errors", None):
                error.message = f"{fault_in_words(faults()[0])}."
            error.message = printable(error.message)
            raise


app = typer.Typer(
    name="medprobe",
    cls=_Commands,
    help="Finds out which pretrained vision backbone to use for a medical-imaging task, with which probe, "
    "and how sure the answer is.",
    epilog="Start with `medprobe demo`, then `medprobe manifest build folder MY_IMAGES --out my.parquet`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(manifest.app, name="manifest")
app.add_typer(cache.app, name="cache")
app.add_typer(study.app, name="study")
for run in (
    *(extract.extract, probe.probe, retrieve.retrieve, errors.errors, finetune.finetune, merge.merge, stats.stats),
    *(report.report, fit.fit, predict.predict),
    *(study_run.run, study.status, backbones.backbones, doctor.doctor, demo.demo),
):
    app.command()(run)
app.command("map")(map_)


def _version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        typer.echo(f"medprobe {version('medprobe')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Takes the options that all commands share; `main` reads --debug."""
    refuse_other_version()


def main() -> None:
    """Runs the command line.

    An error becomes one message and exit status 1. Status 2 is for usage errors: a missing or misspelt command,
    argument or option, or a value of the wrong type (not a number, out of bounds, not one of the choices). Ctrl-C ends
    with status 130.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # results must not be lost to a terminal that is not UTF-8

    shown: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
        if str(message) in shown:
            return
        shown.add(str(message))
        if issubclass(category, MedprobeWarning):
            remark(wrapped(f"note: {message}"))  # without the place in the code
        else:
            remark(warnings.formatwarning(message, category, *place[:2]).rstrip())

    warnings.showwarning = show
    # Of its own processes, which nothing here uses.
    warnings.filterwarnings("ignore", message=".*joblib will operate in serial mode")
    try:
        app()
    except (MedprobeError, OSError, UnicodeEncodeError) as error:
        if "--debug" in sys.argv[1:]:
            raise
        text = str(error)
        if isinstance(error, UnicodeEncodeError):
            around = error.object[max(0, error.start - _AROUND) : error.end + _AROUND]
            text = f'"{around}": a path or a name that is not UTF-8; rename it, or choose another.'
        elif not isinstance(error, MedprobeError):
            # What no module could foresee (a name that is too long, a disk that went away) still ends in one line.
            where = f"{error.filename}: " if error.filename else ""
            text = f"{where}{error.strerror or first_line(error)}"
        remark(f"error: {text}")
        sys.exit(1)
    except SystemExit as end:
        if end.code == 130:
            with suppress(OSError):  # who read it may have received Ctrl-C too
                sys.stdout.flush()
            os._exit(130)  # the interpreter would wait for threads, and a fit may take minutes
        raise
