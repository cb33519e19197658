"""The command `probe`: from caches to scores and their intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..terminal.console import command, remark, say, show_table
from .cache_options import Backbones, Poolings, Records, Store, caches_of


def _show_settings(requested: bool) -> None:
    """What can follow the name of a probe, and exit."""
    if not requested:
        return
    from ...probe import PROBES

    for one in PROBES.values():
        rows = [
            (setting.name, setting.default, setting.meaning + (f" ({setting.choices})" if setting.choices else ""))
            for setting in one.described
        ]
        title = f"{one.family}: {one.family_label}"
        show_table(["setting", "default", "what it does"], rows, title=title, whole=["setting"])
    say("As in  --probe knn:k=[5,11],weights=uniform")
    say("Any scikit-learn classifier:  --probe sklearn:sklearn.svm.SVC:C=[1,10]")
    raise typer.Exit


def probe(
    manifest: Annotated[Path, typer.Argument(help="The manifest (.parquet or .csv).")],
    out: Annotated[Path, typer.Option(help="Folder for the results, e.g. runs/brain.")],
    backbone: Backbones = None,
    pooling: Poolings = None,
    record: Records = None,
    probe: Annotated[
        list[str] | None,
        typer.Option(
            help="logreg, knn, gbm or centroid, with settings (--settings lists them) as in gbm:rounds=100, or"
            " sklearn:CLASS, any scikit-learn classifier such as sklearn.svm.SVC; may be repeated."
            " [default: logreg, knn, gbm]"
        ),
    ] = None,
    grid_of_c: Annotated[
        str | None,
        typer.Option(
            "--C",
            help="Grid of logreg: values such as 0.01,1,100, or logspace:LO:HI:N, N values from 10^LO to 10^HI."
            " [default: logspace:-4:3:12]",
        ),
    ] = None,
    stop_path: Annotated[
        bool | None,
        typer.Option(
            "--stop-path/--full-path",
            help="Stop logreg's path over C once larger values are worse on val. [default: --stop-path]",
        ),
    ] = None,
    protocol: Annotated[
        Literal["auto", "official", "fixed", "holdout", "kfold", "external"],
        typer.Option(
            metavar="auto | official | fixed | holdout | kfold | external",
            help="official keeps the manifest's test; fixed its train and val too, whole; holdout draws one per seed;"
            " kfold tests every fold once per seed; external tests on another manifest; auto: external with"
            " --external, kfold with --folds, else official if the manifest has train and test, else holdout.",
        ),
    ] = "auto",
    seeds: Annotated[
        str,
        typer.Option(
            help="A number of resamples, a block such as 20:40 (20 to 39), or a list such as 3,5,7 or 0:10,50:60."
        ),
    ] = "20",
    folds: Annotated[
        int | None, typer.Option(help="Number of folds; selects the protocol kfold. [default: 5 under kfold]")
    ] = None,
    shots: Annotated[
        str | None, typer.Option(help="Use only N training units per class, e.g. 1,5,10,50: a low-data curve.")
    ] = None,
    train_fraction: Annotated[
        str | None,
        typer.Option(help="Use only these fractions of train, e.g. 0.01,0.1,1; can be combined with --shots."),
    ] = None,
    external: Annotated[
        Path | None,
        typer.Option(help="Train on MANIFEST and test on all of this one, which must have the same classes."),
    ] = None,
    external_cache: Annotated[
        Path | None,
        typer.Option(help="Folder of the external caches. [default: embeddings/ next to the external manifest]"),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="Metric that selects hyper-parameters and ranks backbones, e.g. roc_auc."
            " [default: the card's primary metric]"
        ),
    ] = None,
    aggregation: Annotated[
        Literal["mean", "max", "concat", "predictions"],
        typer.Option(
            metavar="mean | max | concat | predictions",
            help="How the images of a unit are combined: mean, max or concat (by modality) of their vectors, or the"
            " mean of their predictions.",
        ),
    ] = "mean",
    refit: Annotated[
        bool,
        typer.Option(
            "--refit/--no-refit",
            help="Fit the chosen model again on train and val; never with --shots or --train-fraction.",
        ),
    ] = True,
    keep_leaks: Annotated[
        bool,
        typer.Option(
            "--keep-leaks",
            help="Train on units whose patient or pixels are in the test too, and let a seed divide copies.",
        ),
    ] = False,
    drop_near: Annotated[
        bool,
        typer.Option(
            "--drop-near", help="Treat near-duplicates as copies: images with nearly the same embedding in some cache."
        ),
    ] = False,
    jobs: Annotated[int, typer.Option(help="Threads; -1 for one per core.")] = -1,
    cache: Store = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing run.")] = False,
    settings: Annotated[
        bool,
        typer.Option(
            "--settings", callback=_show_settings, is_eager=True, help="List the settings of every probe and exit."
        ),
    ] = False,
) -> None:
    """Fits probes on cached embeddings over many seeds and compares the backbones.

    Example: `medprobe probe brain.parquet --probe logreg --probe knn --seeds 20 --out runs/brain`
    """
    from ...base import ProbeError
    from ...cache import default_store, find_caches
    from ...evaluate.metrics.registry import find_metric
    from ...evaluate.resampling.resample import parse_seeds
    from ...evaluate.resampling.train_size import parse_numbers
    from ...evaluate.results.run import check_output_dir
    from ...manifests import Manifest
    from ...probe import resolve_probes, run_probes, set_params
    from .summary import show_summary

    chosen = parse_seeds(seeds)
    few = [] if shots is None else parse_numbers(shots, int, "--shots", "whole numbers such as 1,5,10,50")
    like = "shares such as 0.01,0.1,1"
    shares = [] if train_fraction is None else parse_numbers(train_fraction, float, "--train-fraction", like)
    if external_cache and not external:
        raise ProbeError(
            "--external-cache is the folder of an external manifest's caches: name that manifest with --external."
        )
    probes = resolve_probes(probe or ["logreg", "knn", "gbm"])
    path = {name: value for name, value in {"C": grid_of_c, "stop_path": stop_path}.items() if value is not None}
    if path:
        probes = set_params(probes, "logreg", path)
    if metric is not None:
        find_metric(metric)
    samples = Manifest.load(manifest)
    samples.card.require_task("probing")
    caches = caches_of(samples, manifest, cache, backbones=backbone, poolings=pooling, records=record)
    check_output_dir(out, overwrite=overwrite)
    tested = None
    if external:
        others = Manifest.load(external)
        others.card.require_task("testing on it")
        store = external_cache or default_store(external)
        names = [one.spec.backbone for one in caches] if record else backbone or None
        tested = others, find_caches(store, others.name, names, manifest=others)
    run = run_probes(
        samples,
        caches,
        probes=probes,
        protocol=protocol,
        seeds=chosen,
        folds=folds,
        shots=few,
        train_fraction=shares,
        external=tested,
        poolings=pooling or None,
        metric=metric,
        aggregation=aggregation,
        refit=refit,
        keep_leaks=keep_leaks,
        drop_near=drop_near,
        n_jobs=jobs,
    )
    run.save(out, overwrite=overwrite)
    show_summary(run)
    remark(f"\nSaved: {out}")
    say(f"Next:  {command('report', out)}")
