"""The verbs of `manifest`: build one from what there is, check it, show what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import manifest_build
from .console import remark, say, show_table
from .manifest_counts import tell_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..manifests import Finding, Manifest

app = typer.Typer(
    help="Build, check and show manifests: tables of images with their labels.",
    epilog="Example: `medprobe manifest check brain.parquet`",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.add_typer(manifest_build.app, name="build")

ManifestFile = Annotated[Path, typer.Argument(help="The table of a manifest (.parquet or .csv).", show_default=False)]


@app.command("check")
def check(
    manifest: ManifestFile,
    most: Annotated[int, typer.Option(min=1, help="Findings of one kind to list.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print every finding as JSON, with its sample ids.")] = False,
) -> None:
    """Looks for missing, damaged and repeated images, faulty labels, and leaks between splits.

    Ends with status 1 when there is an error, 0 when there are only warnings. docs/checks.md explains each code.

    Example: `medprobe manifest check brain.parquet`
    """
    from ..manifests import Manifest, check_manifest

    loaded = Manifest.load(manifest, strict=False)
    findings = check_manifest(loaded)
    if as_json:
        _tell_as_json(findings)
    else:
        _tell(loaded, findings, most)
    if any(found.severity == "error" for found in findings):
        raise typer.Exit(1)


@app.command("show")
def show(
    manifest: ManifestFile,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where the picture goes.", show_default="<manifest>-montage.png")
    ] = None,
    per_class: Annotated[int, typer.Option(min=1, max=40, help="Examples of each class.")] = 8,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Counts what is in a manifest, and draws examples of each class.

    Example: `medprobe manifest show brain.parquet`
    """
    from ..base import OutputError
    from ..manifests import Manifest, draw_montage

    place = out or manifest.with_name(f"{manifest.stem}-montage.png")
    if place.suffix.lower() != ".png":
        raise OutputError(f"{place}: --out must end in .png.")
    if out is not None and out.exists() and not overwrite:
        raise OutputError(f"{out}: is there already; choose another --out, or add --overwrite to replace it.")
    loaded = Manifest.load(manifest)
    tell_counts(loaded)
    picture = draw_montage(loaded, place, per_class=per_class)
    say(f"Examples of each class: {picture}")


def _tell(manifest: Manifest, findings: Sequence[Finding], most: int) -> None:
    """A table of codes with their numbers, then what was found under each."""
    from ..base import counted
    from ..manifests import CODES

    by_code: dict[str, list[Finding]] = {}
    for found in findings:
        by_code.setdefault(found.code, []).append(found)
    if not findings:
        say(f"{manifest.name}: {counted(len(manifest), 'image')} checked, nothing found.")
        return
    show_table(
        ["severity", "finding", "number", "meaning"],
        [[same[0].severity, code, f"{len(same):,}", CODES[code].meaning] for code, same in _errors_first(by_code)],
        right=["number"],
    )
    for code, same in _errors_first(by_code):
        say(f"{code}:")
        for found in same[:most]:
            say(_wrapped(found.message))
        if len(same) > most:
            say(f"  and {len(same) - most:,} more; --most {len(same)} or --json lists them")
        say("")
    errors = sum(found.severity == "error" for found in findings)
    said = f"{counted(errors, 'error')}, {counted(len(findings) - errors, 'warning')}"
    say(f"{manifest.name}: {counted(len(manifest), 'image')} checked, {said}.")
    remark("docs/checks.md says what each finding means and what to do about it.")


def _errors_first(by_code: dict[str, list[Finding]]) -> list[tuple[str, list[Finding]]]:
    return sorted(by_code.items(), key=lambda item: item[1][0].severity)


def _wrapped(text: str) -> str:
    """`text` indented, broken at blanks to 80 columns; a long path is not broken, so that it can be copied."""
    from textwrap import fill

    return fill(text, 80, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def _tell_as_json(findings: Sequence[Finding]) -> None:
    import json
    from dataclasses import asdict

    typer.echo(json.dumps([asdict(found) for found in findings], indent=1, ensure_ascii=False))
