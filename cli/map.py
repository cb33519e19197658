"""The command `map`: a picture of embedding space."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from .probe.cache_options import Store, caches_of
from .terminal.console import remark, say


def map_(
    manifest: Annotated[Path, typer.Argument(help="The manifest (.parquet or .csv), with or without labels.")],
    out: Annotated[Path, typer.Option(help="Folder for figures, page and coordinates, e.g. maps/brain.")],
    cache: Store = None,
    backbone: Annotated[
        str | None, typer.Option("--backbone", "-b", help="Whose embeddings; needed where several are cached.")
    ] = None,
    pooling: Annotated[str | None, typer.Option(help="Pooling. [default: the cache's first]")] = None,
    method: Annotated[
        Literal["pca", "tsne", "umap"], typer.Option(help="How vectors become points; umap is an extra.")
    ] = "pca",
    color: Annotated[
        list[str] | None,
        typer.Option(
            help="class, split, error (with --run) or a column of the manifest such as site; may be repeated."
            " [default: all of these, of the columns the card's attributes]"
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Run folder: color by how often its best system here was wrong.")
    ] = None,
    neighbours: Annotated[
        int | None, typer.Option(help="Perplexity of t-SNE [default: 30], neighbours of UMAP [default: 15].")
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Units to draw; of more, this many at random.")] = 5000,
    seed: Annotated[int, typer.Option(min=0, help="Of that draw, and of the method.")] = 0,
) -> None:
    """Draws the units of a manifest as points, near each other where their embeddings are.

    Writes a PNG and an SVG per colouring, map.html (a point shows its file under the pointer) and coordinates.csv.

    Example: `medprobe map brain.parquet --out maps/brain`

    Example: `medprobe map brain.parquet --backbone dinov2-s --method tsne --color class --color site --out maps/brain`
    """
    from ..base import ProbeError, one_of
    from ..evaluate import Run
    from ..explore import make_map
    from ..manifests import Manifest
    from ..probe.data.features import backbone_labels

    samples = Manifest.load(manifest)
    caches = caches_of(
        samples, manifest, cache, backbones=[backbone] if backbone else None, poolings=None, records=None
    )
    if len(caches) > 1:
        names = one_of([f"--backbone {name}" for name in backbone_labels(caches)])
        raise ProbeError(f"{samples.name}: a map is of one cache, and there are several: choose one of {names}.")
    drawn = make_map(
        samples,
        caches[0],
        pooling=pooling,
        method=method,
        color=color,
        run=None if run is None else Run.load(run),
        neighbours=neighbours,
        most=most,
        seed=seed,
    )
    folder = drawn.save(out)
    if len(drawn.points) < drawn.total:
        remark(f"{len(drawn.points):,} of {drawn.total:,} units are drawn (--most).")
    say(f"Page:         {folder / 'map.html'}\nCoordinates:  {folder / 'coordinates.csv'}")
    say(f"Figures:      {folder} ({', '.join(drawn.colours)}, PNG and SVG)")
    remark("Page and coordinates name files: keep them where the images are.")
