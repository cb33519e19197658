"""The command `retrieve`: a search for similar images, from caches to scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..terminal.console import command, remark, say
from .cache_options import Backbones, Poolings, Records, Store, caches_of

if TYPE_CHECKING:
    from ...evaluate import Run


def retrieve(
    manifest: Annotated[Path, typer.Argument(help="The manifest (.parquet or .csv), with train and test.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the results, e.g. runs/brain-retrieval.")],
    backbone: Backbones = None,
    pooling: Poolings = None,
    record: Records = None,
    k: Annotated[str, typer.Option("--k", help="Numbers of nearest images that are looked at.")] = "1,3,5",
    similarity: Annotated[
        Literal["cosine", "euclidean"], typer.Option("--similarity", help="By what images are near each other.")
    ] = "cosine",
    same_group: Annotated[
        bool,
        typer.Option(
            "--same-group", help="Also find images of the query's own patient (group), which are otherwise passed over."
        ),
    ] = False,
    cache: Store = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing run.")] = False,
) -> None:
    """Searches train for the images nearest to each image of test, and scores their classes.

    The scores are accuracy@k (one of the nearest k has the query's class), vote@k (most of them have it) and mAP@k, in
    both its definitions. The result is a run as that of `medprobe probe`: `report`, `stats` and `merge` read it.

    Example: `medprobe retrieve brain.parquet --out runs/brain-retrieval`

    Example: `medprobe retrieve brain.parquet --backbone dinov2-s --k 1,5,10 --similarity euclidean --out runs/near`

    Example: `medprobe retrieve brain.parquet --record dinov2.json --record resnet.json --out runs/two`
    """
    from ...evaluate.resampling.train_size import parse_numbers
    from ...evaluate.results.run import check_output_dir
    from ...manifests import Manifest
    from ...probe import retrieve as search

    ks = parse_numbers(k, int, "--k", "whole numbers such as 1,3,5")
    samples = Manifest.load(manifest)
    caches = caches_of(samples, manifest, cache, backbones=backbone, poolings=pooling, records=record)
    check_output_dir(out, overwrite=overwrite)
    run = search(samples, caches, k=ks, similarity=similarity, same_group=same_group, poolings=pooling or None)
    run.save(out, overwrite=overwrite)
    _show(run)
    remark(f"\nSaved: {out}")
    say(f"Next:  {command('report', out)}")


def _show(run: Run) -> None:
    """Prints the run as `probe` does, with accuracy at each k, and every score of the largest k beside it."""
    from ...report.elements.table import Table, decimal, words
    from ...report.run.data import report_data
    from .summary import show, show_summary

    show_summary(run)
    data = report_data(run)
    last = max(run.info["probes"][data.probes[0]]["settings"]["k"])
    shown = [metric for metric in data.metrics if metric.name.endswith(f"_at_{last}") or "accuracy" in metric.name]
    names = {"backbone": words("label")}
    cells = names | {metric.label: decimal(f"{metric.name}_mean") for metric in shown}
    say("")
    show(Table.of("", "", data.all_metrics, cells, len(names)))
