"""The commands of `manifest`: build, check, show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ...base import OutputError, counted
from ..terminal.console import command, remark, say, wrapped
from . import build as manifest_build
from . import check as manifest_check
from .counts import tell_counts, tell_more_counts

if TYPE_CHECKING:
    from ...manifests import ImageStats, Manifest

_READ_BY_DEFAULT = 50_000
"""Images up to which `show` also reads each; the result is kept for `check`."""


class _Commands(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return ["build", "check", "show"]


app = typer.Typer(
    cls=_Commands,
    help="Builds, checks and shows manifests: tables of images with their labels.",
    epilog="Example: `medprobe manifest check brain.parquet`",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.add_typer(manifest_build.app, name="build")
app.command("check")(manifest_check.check)


@app.command("show")
def show(
    manifest: manifest_check.ManifestFile,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="A .png for a picture of examples; a .html for one page with examples, counts, sizes and grey levels.",
            show_default="<manifest>-montage.png",
        ),
    ] = None,
    per_class: Annotated[int, typer.Option(min=1, max=40, help="Examples of each class.")] = 8,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Counts what is in a manifest (classes, splits, groups, attributes), and shows examples of each class.

    Example: `medprobe manifest show brain.parquet --out brain.html`
    """
    from ...manifests import Manifest, manifest_image_stats
    from ...report import draw_montage, write_manifest_page

    place = out or manifest.with_name(f"{manifest.stem}-montage.png")
    if place.suffix.lower() not in (".png", ".html"):
        raise OutputError(f"{place}: --out must end in .png or .html.")
    kept = place.exists() and not overwrite
    if kept and out is not None:
        raise OutputError(f"{out}: exists already; choose another --out, or add --overwrite to replace it.")
    loaded = Manifest.load(manifest)
    tell_counts(loaded)
    tell_more_counts(loaded)
    is_page = place.suffix.lower() == ".html"
    stats = manifest_image_stats(loaded) if is_page or len(loaded) <= _READ_BY_DEFAULT else None
    _print_warnings(loaded, stats)
    if kept:
        remark(wrapped(f"{place} exists already and was not changed; add --overwrite to replace it."))
    elif is_page:
        say(wrapped(f"Page: {write_manifest_page(loaded, place, stats=stats, per_class=per_class)}"))
    else:
        say(wrapped(f"Examples: {draw_montage(loaded, place, per_class=per_class)}"))
    if out is None:
        page = manifest.with_name(f"{manifest.stem}.html")
        remark("For a page with sizes and grey levels as well:")
        remark(f"  {command('manifest', 'show', manifest, '-o', page)}")


def _print_warnings(manifest: Manifest, stats: ImageStats | None) -> None:
    """Prints what a reader must know before relying on the counts; without `stats`, that the images were not read."""
    from ...manifests.summary.warnings import manifest_warnings
    from ...manifests.validation.diagnostics import by_severity

    for problem in by_severity(manifest_warnings(manifest, stats)):
        say(wrapped(f"{problem.severity}: {problem}"))
    if stats is None:
        images = counted(len(manifest), "image")
        say(wrapped(f"note: the {images} were not read; `medprobe manifest check` reads them."))
