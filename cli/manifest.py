"""The verbs of `manifest`: build one from what there is, check it, show what is in it, export it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import manifest_build, manifest_check, manifest_export
from .console import command, remark, say
from .manifest_counts import tell_counts, tell_more_counts

app = typer.Typer(
    help="Build, check, show and export manifests: tables of images with their labels.",
    epilog="Example: `medprobe manifest check brain.parquet`",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.add_typer(manifest_build.app, name="build")
app.command("check")(manifest_check.check)
app.add_typer(manifest_export.app, name="export")

ManifestFile = Annotated[Path, typer.Argument(help="The table of a manifest (.parquet or .csv).", show_default=False)]


@app.command("show")
def show(
    manifest: ManifestFile,
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
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Counts what is in a manifest (classes, splits, groups, attributes), and shows examples of each class.

    Example: `medprobe manifest show brain.parquet --out brain.html`
    """
    from ..base import OutputError
    from ..manifests import Manifest, draw_montage

    place = out or manifest.with_name(f"{manifest.stem}-montage.png")
    if place.suffix.lower() not in (".png", ".html"):
        raise OutputError(f"{place}: --out must end in .png or .html.")
    if out is not None and out.exists() and not overwrite:
        raise OutputError(f"{out}: is there already; choose another --out, or add --overwrite to replace it.")
    loaded = Manifest.load(manifest)
    tell_counts(loaded)
    tell_more_counts(loaded)
    if place.suffix.lower() == ".html":
        from ..report import write_manifest_page

        say(f"Page: {write_manifest_page(loaded, place, per_class=per_class)}")
    else:
        say(f"Examples of each class: {draw_montage(loaded, place, per_class=per_class)}")
        if out is None:
            page = manifest.with_name(f"{manifest.stem}.html")
            remark(
                f"For a page with sizes and grey levels as well: {command('manifest', 'show', manifest, '-o', page)}"
            )
