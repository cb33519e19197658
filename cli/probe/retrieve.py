"""The command `retrieve`: a search for similar images, from caches to scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ...base import OutputError, atomic_path
from ..terminal.console import command, remark, say, wrapped
from .cache_options import Backbones, Poolings, Records, Store, caches_of

if TYPE_CHECKING:
    from ...evaluate import Run


def retrieve(
    manifest: Annotated[
        Path, typer.Argument(help="The manifest (.parquet or .csv); with train and test, unless it is unlabelled.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results, e.g. runs/brain-retrieval.")],
    backbone: Backbones = None,
    pooling: Poolings = None,
    record: Records = None,
    k: Annotated[str, typer.Option(help="Numbers of nearest images that are looked at.")] = "1,3,5",
    similarity: Annotated[
        Literal["cosine", "euclidean"], typer.Option(help="By what images are near each other.")
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

    Unlabelled images have no scores: the nearest ones of each (the largest k) are listed in OUT/nearest.csv.

    Example: `medprobe retrieve brain.parquet --out runs/brain-retrieval`

    Example: `medprobe retrieve brain.parquet --backbone dinov2-s --k 1,5,10 --similarity euclidean --out runs/near`

    Example: `medprobe retrieve brain.parquet --record dinov2.json --record resnet.json --out runs/two`
    """
    from ...evaluate.resampling.train_size import parse_numbers
    from ...evaluate.results.run import check_output_dir
    from ...manifests import Manifest
    from ...probe import nearest_images
    from ...probe import retrieve as search

    ks = parse_numbers(k, int, "--k", "whole numbers such as 1,3,5")
    samples = Manifest.load(manifest)
    caches = caches_of(samples, manifest, cache, backbones=backbone, poolings=pooling, records=record)
    if samples.card.task is None:
        place = _place_of_table(out, overwrite=overwrite)
        of_all = {"similarity": similarity, "same_group": same_group, "poolings": pooling or None}
        with atomic_path(place) as temporary:
            nearest_images(samples, caches, k=max(ks), **of_all).to_csv(temporary, index=False)
        say(f"Saved: {place}")
        remark(wrapped(f"{samples.name} is unlabelled, so there are no scores: accuracy, vote and mAP need labels."))
        return
    check_output_dir(out, overwrite=overwrite)
    run = search(samples, caches, k=ks, similarity=similarity, same_group=same_group, poolings=pooling or None)
    run.save(out, overwrite=overwrite)
    _show(run)
    remark(f"\nSaved: {out}")
    say(f"Next:  {command('report', out)}")


def _place_of_table(out: Path, *, overwrite: bool) -> Path:
    """The file of the nearest images in the folder `out`, which may hold nothing else."""
    place = out / "nearest.csv"
    if out.exists() and (not out.is_dir() or {path.name for path in out.iterdir()} - {place.name}):
        raise OutputError(f"{out}: is not an empty folder; choose another --out.")
    if place.exists() and not overwrite:
        raise OutputError(f"{place}: exists already; choose another --out, or add --overwrite to replace it.")
    return place


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
