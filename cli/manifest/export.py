"""`medprobe manifest export FORMAT`: a manifest told in the words of others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..terminal.console import remark, say

if TYPE_CHECKING:
    from ...manifests import Manifest, Publication

ManifestFile = Annotated[Path, typer.Argument(help="The table of a manifest (.parquet or .csv).", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")]


def croissant(
    manifest: ManifestFile,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Where the file goes.", show_default="<manifest>.croissant.json"),
    ] = None,
    url: Annotated[str, typer.Option(help="Page of the data set.", show_default=False)] = "",
    creator: Annotated[
        list[str] | None,
        typer.Option(help="Person who made it. Repeat it for several.", show_default=False),
    ] = None,
    organization: Annotated[
        list[str] | None,
        typer.Option(help="Organisation that made it. Repeat it for several.", show_default=False),
    ] = None,
    published: Annotated[str, typer.Option(help="Day of publication, YYYY-MM-DD.", show_default=False)] = "",
    version: Annotated[str, typer.Option(help="Version, MAJOR.MINOR.PATCH.", show_default=False)] = "",
    with_ids: Annotated[
        bool, typer.Option("--with-ids", help="Describe the columns of unit and group ids too.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Describes a manifest as an MLCommons Croissant 1.0 file (JSON-LD), which catalogues and loaders read.

    Example: `medprobe manifest export croissant brain.parquet --version 1.0.0`
    """
    from ...base import OutputError
    from ...manifests import Manifest, Publication, write_croissant

    publication = Publication(
        url=url, creators=creator or (), organizations=organization or (), published=published, version=version
    )
    publication.require_sound()
    place = out or manifest.with_name(f"{manifest.stem}.croissant.json")
    if place.suffix.lower() not in (".json", ".jsonld"):
        raise OutputError(f"{place}: --out must end in .json or .jsonld.")
    if place.exists() and not overwrite:
        raise OutputError(f"{place}: is there already; choose another --out, or add --overwrite to replace it.")
    loaded = Manifest.load(manifest)
    write_croissant(loaded, place, publication=publication, with_ids=with_ids)
    say(f"Wrote {place}.")
    _tell_what_lacks(loaded, publication, manifest.with_suffix(".yaml"))


def _tell_what_lacks(manifest: Manifest, publication: Publication, card: Path) -> None:
    """Names what Croissant asks for and neither card nor options said."""
    fields = [field for field in ("license", "citation", "description") if not getattr(manifest.card, field)]
    given = {
        "--url": publication.url,
        "--creator": publication.creators or publication.organizations,
        "--published": publication.published,
        "--version": publication.version,
    }
    options = [option for option, value in given.items() if not value]
    if fields:
        lines = ", ".join(f"`{field}: ...`" for field in fields)
        remark(f"note: a published data set has a {', '.join(fields)}; write {lines} into {card}, and export again.")
    if options:
        remark(f"note: for publication Croissant also asks for {', '.join(options)}.")


FORMATS = {"croissant": croissant}
"""Every format, by the word that follows `export`. A further one is one function and one line here."""

app = typer.Typer(
    help="Describe a manifest in a format that others read.",
    epilog="Example: `medprobe manifest export croissant brain.parquet`",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
for _name, _export in FORMATS.items():
    app.command(_name)(_export)


@app.callback()
def _formats() -> None:
    """Keeps `export` a group of its own while it has a single format."""
