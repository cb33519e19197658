"""The verb `probe`: from caches to scores, with how sure they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..terminal.console import command, remark, say, show_table


def _show_settings(asked: bool) -> None:
    """What can follow the name of a probe, and exit."""
    if not asked:
        return
    from ...probe import PROBES

    for kind in PROBES.values():
        rows = [
            (setting.name, setting.default, setting.meaning + (f" ({setting.choices})" if setting.choices else ""))
            for setting in kind.described
        ]
        title = f"{kind.family}: {kind.family_label}"
        show_table(["setting", "default", "what it does"], rows, title=title, whole=["setting"])
    say("As in  --probe knn:k=[5,11],weights=uniform")
    raise typer.Exit


if TYPE_CHECKING:
    from ...probe import Probe


def probe(
    manifest: Annotated[Path, typer.Argument(help="The manifest (.parquet or .csv).")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the results, e.g. runs/brain.")],
    backbone: Annotated[
        list[str] | None, typer.Option("--backbone", help="Only this backbone; may be repeated. [default: all cached]")
    ] = None,
    pooling: Annotated[
        list[str] | None, typer.Option("--pooling", help="Only this pooling; may be repeated. [default: all cached]")
    ] = None,
    probe: Annotated[
        list[str] | None,
        typer.Option(
            "--probe",
            help="logreg, knn, gbm or centroid, with settings (--settings lists them) as in gbm:rounds=100; may be"
            " repeated. [default: the first three]",
        ),
    ] = None,
    grid_of_c: Annotated[
        str | None,
        typer.Option(
            "--C", help="Grid of logreg: values such as 0.01,1,100, or logspace:-4:3:12. [default: the latter]"
        ),
    ] = None,
    stop_path: Annotated[
        bool | None,
        typer.Option(
            "--stop-path/--full-path", help="End logreg's path over C once values are worse on val. [default: so]"
        ),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="official keeps the manifest's test; holdout draws one a seed; kfold tests every fold once a seed;"
            " external tests on another manifest; auto: external with --external, kfold with --folds, else official if"
            " the manifest has train and test, else holdout."
        ),
    ] = "auto",
    seeds: Annotated[str, typer.Option(help="A number of resamples, or a list such as 3,5,7.")] = "20",
    folds: Annotated[int | None, typer.Option(help="Folds of the protocol kfold, which this asks for.")] = None,
    shots: Annotated[
        str | None,
        typer.Option(help="Cut train down to so many units of each class, e.g. 1,5,10,50: a low-data curve."),
    ] = None,
    train_fraction: Annotated[
        str | None, typer.Option(help="Cut train down to these shares of it, e.g. 0.01,0.1,1; may go with --shots.")
    ] = None,
    external: Annotated[
        Path | None,
        typer.Option(help="Test on the whole of this manifest, of the same classes, and train on the first."),
    ] = None,
    external_cache: Annotated[
        Path | None,
        typer.Option(help="The store of the external caches. [default: embeddings/ beside the external manifest]"),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="What hyper-parameters are chosen by. [default: the card's primary metric]")
    ] = None,
    aggregation: Annotated[
        str,
        typer.Option(
            help="How the images of a unit become one: their vectors by mean, max or concat (by modality), or their"
            " predictions by the mean."
        ),
    ] = "mean",
    refit: Annotated[
        bool,
        typer.Option(
            "--refit/--no-refit", help="Fit the chosen model on train and val; never where train is cut down."
        ),
    ] = True,
    jobs: Annotated[
        int, typer.Option("--jobs", help="Processes, or threads for logreg and knn; -1 for one on every core.")
    ] = -1,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="The store of caches. [default: embeddings/ beside the manifest]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run that is there.")] = False,
    settings: Annotated[
        bool,
        typer.Option(
            "--settings", callback=_show_settings, is_eager=True, help="List the settings of every probe and exit."
        ),
    ] = False,
) -> None:
    """Fits probes on cached embeddings over many seeds and says which backbone wins, and how surely.

    Example: `medprobe probe brain.parquet --probe logreg --probe knn --seeds 20 --out runs/brain`
    """
    from ...cache import default_store, find_caches
    from ...evaluate import check_output_dir, parse_fractions, parse_seeds, parse_shots
    from ...manifests import Manifest
    from ...probe import run_probes
    from .summary import show_summary

    chosen = parse_seeds(seeds)
    few = parse_shots(shots) if shots is not None else []
    shares = parse_fractions(train_fraction) if train_fraction is not None else []
    _refuse_store_alone(external, external_cache)
    kinds = _asked(probe or ["logreg", "knn", "gbm"], C=grid_of_c, stop_path=stop_path)
    check_output_dir(out, overwrite=overwrite)
    samples = Manifest.load(manifest)
    caches = find_caches(cache or default_store(manifest), samples.name, backbone or None)
    tested = None
    if external:
        others = Manifest.load(external)
        tested = others, find_caches(external_cache or default_store(external), others.name, backbone or None)
    run = run_probes(
        samples,
        caches,
        probes=kinds,
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
        n_jobs=jobs,
    )
    run.save(out, overwrite=overwrite)
    show_summary(run)
    remark(f"\nSaved: {out}")
    say(f"Next:  {command('report', out)}")


def _asked(names: list[str], **path: Any) -> list[Probe[Any]]:
    """The probes by their names, `logreg` with those settings of its `path` that were given (are not None)."""
    from ...probe import resolve_probes, set_params

    given = {setting: value for setting, value in path.items() if value is not None}
    return set_params(resolve_probes(names), "logreg", given) if given else resolve_probes(names)


def _refuse_store_alone(external: Path | None, store: Path | None) -> None:
    from ...base import ProbeError

    if store and not external:
        raise ProbeError("--external-cache is the store of an external manifest: give that with --external.")
