"""The fine-tuning stage: every backbone in every mode over every seed, on the resamples of the frozen probes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from hashlib import blake2b
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ..base import counted
from ..base import progress as show_progress
from ..base.errors import FinetuneError, TrainingError
from ..base.text import number
from ..evaluate.resampling.protocols import HOLDOUT
from ..evaluate.resampling.resample import check_seeds
from ..evaluate.resampling.train_size import budgets_of
from ..evaluate.results.fit_result import FitResult
from ..evaluate.results.run import Run
from ..evaluate.results.schemas import SystemKey
from ..extract import Backbone, choose_devices
from ..extract.loader import default_workers
from ..manifests import Manifest
from ..probe.data.features import PREDICTIONS, backbone_labels
from ..probe.data.probe_data import ProbeData
from ..probe.draws import Design
from ..probe.experiment import Experiment, choose_metric
from .embeddings import embeddings_of, load_trainable
from .fitting import Cell, Plan, is_failed
from .network.classifier import make_classifier
from .network.modes import Mode
from .processes import fit_cells
from .systems import FineTuning
from .training.checkpoint import Interrupted
from .training.losses import make_loss
from .training.recipe import Recipe, candidates
from .training.start import check_start
from .training.stepper import training_precision
from .work_folder import WorkFolder, check_place, work_folder_of

Backbones = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]


def run_finetune(
    manifest: Manifest,
    backbones: Backbones,
    modes: str | Sequence[str] = "full",
    *,
    store: Path | str,
    recipe: Recipe | str = "default",
    search: str | None = None,
    protocol: str = "auto",
    seeds: int | Sequence[int] = 3,
    fractions: tuple[float, float, float] = HOLDOUT,
    folds: int | None = None,
    shots: int | Sequence[int] = (),
    train_fraction: float | Sequence[float] = (),
    metric: str | None = None,
    keep_leaks: bool = False,
    drop_near: bool = False,
    device: str = "auto",
    workers: int | None = None,
    activations_gb: float | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
    keep_weights: bool = False,
    tensorboard: Path | None = None,
    progress: bool = True,
    notice: Callable[[str], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Trains every backbone in every mode on every resample, and scores the test units.

    The resamples are those of `run_probes` under the same arguments, and the rows of a backbone are named by the cache
    that its probes use (one is made where there is none), so that the runs of both can be merged and compared. The
    epoch is chosen on val, and nothing is fitted on val; images of a unit are combined by the mean of their
    probabilities. What leaks from the test is left out, and nothing is trained with it: there are no scores as
    published.

    Args:
        manifest: the data set.
        backbones: names as for `load_backbone`, or its arguments, `name` and others; one or several.
        modes: what is trained: `linear`, `mlp`, `partial:2`, `lora:8`, `bitfit`, `full`, ...; one or several.
        store: the folder of caches.
        recipe: the settings of the training, or the name of a recipe.
        search: a grid of settings, from which is chosen on val for every resample: `lr=1e-4,1e-3 layer_decay=0.65,1`.
        protocol: as for `run_probes`, but not `external`.
        seeds: as for `run_probes`; each also draws every random number of its trainings.
        fractions: as for `run_probes`.
        folds: as for `run_probes`.
        shots: as for `run_probes`.
        train_fraction: as for `run_probes`.
        metric: what the best epoch is best in; the card's primary metric by default.
        keep_leaks: as for `run_probes`.
        drop_near: as for `run_probes`.
        device: `auto`, `cpu`, `cuda:1` ..., or several, separated by commas: a process each, which share the cells.
        workers: decoding processes of each device; the default divides the cores.
        activations_gb: disk space in `store` for activations of frozen parts; 0 keeps none.
        out: the run's folder. Until it is complete, what is finished is kept beside it, in `OUT.partial`, from where
            the same call continues after whatever ended it.
        overwrite: replace a run in `out`, and remove the unfinished work of another configuration.
        keep_weights: keep the trained networks, in `out/weights`.
        tensorboard: a folder to write curves to.
        progress: show a bar.
        notice: called with what a reader of the log should know.
        should_stop: looked at after every step; once it is true, `Interrupted` is raised.

    Raises:
        Interrupted: `should_stop` was true; what is finished is kept.
        FinetuneError: a mode, a recipe or a setting does not exist or cannot be used with a backbone.
        TrainingError: no training came to a good epoch.
        ProbeError: the protocol is impossible with these data.
        BackboneError, WeightsError: a backbone cannot be had.
        CacheError, ManifestError: a cache is damaged, the manifest is not sound.
        OutputError: something is in the way of `out`, or it cannot be written.
        WorkerError: a process was killed; what is finished is kept.

    Examples:
        >>> from medprobe.finetune import run_finetune
        >>> run = run_finetune(
        ...     manifest,
        ...     {"name": "timm:test_vit@random", "image_size": 32},
        ...     "partial:1",
        ...     store=folder / "fine-tuned",
        ...     recipe=Recipe.named("default").changed(epochs=1),
        ...     seeds=1,
        ...     device="cpu",
        ...     workers=0,
        ...     progress=False,
        ... )
        >>> run.scores["probe"].unique().tolist()
        ['finetune:partial:1:epochs=1']
    """
    chosen_by = choose_metric(manifest, metric)
    if protocol == "external":
        raise FinetuneError("networks are not tested on a second manifest yet: use official, holdout or kfold.")
    design = Design(
        protocol=protocol,
        seeds=check_seeds(seeds),
        budgets=budgets_of(shots, train_fraction),
        fractions=fractions,
        folds=folds,
        keep_leaks=keep_leaks,
        drop_near=drop_near,
    )
    ways, loading = _ways(modes, recipe, search), _listed(backbones)
    if keep_weights and out is None:
        raise FinetuneError("weights are kept in the folder of the run; give `out`.")
    if tensorboard is not None and find_spec("tensorboard") is None:
        raise FinetuneError("TensorBoard is not installed: pip install tensorboard, or leave --tensorboard out.")
    if out is not None:
        check_place(Path(out), overwrite=overwrite)
    devices = choose_devices(device)
    if len({torch.device(one).type for one in devices}) > 1:
        raise FinetuneError(f"{', '.join(devices)}: results differ between CPUs and GPUs; name devices of one kind.")
    workers = default_workers(len(devices)) if workers is None else workers

    def stop() -> None:
        if should_stop():
            raise Interrupted

    loaded = [load_trainable(manifest, one, devices[0]) for one in loading]
    _introduce(loaded, ways, manifest, notice)
    how = {"device": devices[0], "workers": workers, "show_progress": progress, "notice": notice, "stop": stop}
    pairs = zip(loaded, loading, strict=True)
    caches = [embeddings_of(manifest, backbone, one, Path(store), **how) for backbone, one in pairs]
    experiment = Experiment.of(ProbeData.of(manifest, caches, PREDICTIONS), chosen_by, design, progress=progress)
    cells = _cells(experiment, [backbone.spec.poolings[0] for backbone in loaded], ways)
    del loaded  # each process loads what it trains
    precision = training_precision(ways[0].recipe, torch.device(devices[0]))
    facts = {way.name: way.facts(precision=precision) for way in ways}
    libraries = list(dict.fromkeys(library for way in ways for library in way.mode.libraries))
    with ExitStack() as stack:
        work = None
        if out is not None:
            config = _config(experiment, facts, libraries, device=torch.device(devices[0]).type)
            work = stack.enter_context(closing(WorkFolder(work_folder_of(Path(out)), config, overwrite=overwrite)))
        fits = work and work.fits
        plan = Plan(experiment, loading, Path(store), activations_gb, workers, fits, keep_weights, tensorboard)
        recorder, failures = experiment.recorder(), []
        for cell, result in _results(plan, cells, devices, progress, notice, should_stop):
            recorder.add(cell.key, result)
            failures += [result.notes[0]] if is_failed(result) else []
        if len(failures) == len(cells):
            if work is not None:
                work.remove()  # there is nothing in it to go on from
            raise TrainingError(f"no training came to a good epoch; the first: {failures[0]}.")
        run = experiment.run(recorder, systems=facts, libraries=libraries)
        if work is not None and out is not None:
            kept = [work.fits.weights(cell.folder) for cell in cells] if keep_weights else []
            work.publish(run, Path(out), overwrite=overwrite, weights=[one for one in kept if one.is_dir()])
    return run


def _results(
    plan: Plan,
    cells: Sequence[Cell],
    devices: Sequence[str],
    progress: bool,
    notice: Callable[[str], None],
    should_stop: Callable[[], bool],
) -> Iterator[tuple[Cell, FitResult]]:
    """Every cell with its result: those that are finished first, then the others as they are done."""
    found = {cell: plan.finished(cell) for cell in cells}
    finished = [(cell, result) for cell, result in found.items() if result is not None]
    to_do = [cell for cell, result in found.items() if result is None]
    if finished and to_do:
        notice(f"{len(finished):,} of {counted(len(cells), 'training')} are finished")
    yield from finished
    left = {cell.name: cell.how.epochs for cell in to_do}
    """Epochs that a cell may still have."""
    metric = plan.experiment.metric.name
    title = f"Fine-tuning {plan.experiment.data.manifest.name}"
    with show_progress(title, sum(left.values()), unit="epochs", enabled=progress) as bar:

        def advance(cell: Cell, curve: Mapping[str, Any]) -> None:
            left[cell.name] -= 1
            pace = f"{curve['images_per_s']:,.0f} images/s"
            bar.advance(note=f"{cell.name}: {metric} {number(curve['val_metric'])} on val, {pace}")

        how = {"on_epoch": advance, "notice": notice, "should_stop": should_stop}
        for cell, result in fit_cells(plan, to_do, devices, **how):
            bar.advance(left.pop(cell.name))  # those after an early end
            yield cell, result


def _ways(modes: str | Sequence[str], recipe: Recipe | str, search: str | None) -> list[FineTuning]:
    """Each mode once, under the recipe or those of the search."""
    recipe = Recipe.named(recipe) if isinstance(recipe, str) else recipe
    recipes = candidates(recipe, search) if search else [recipe]
    parsed = dict.fromkeys(Mode.parse(mode) for mode in ([modes] if isinstance(modes, str) else modes))
    if not parsed:
        raise FinetuneError("no mode is named; give at least one, such as full or partial:2.")
    return [FineTuning(mode, recipe, recipes) for mode in parsed]


def _listed(backbones: Backbones) -> list[dict[str, Any]]:
    """The arguments of `load_backbone` for each."""
    several = [backbones] if isinstance(backbones, str | Mapping) else backbones
    loading = [{"name": one} if isinstance(one, str) else dict(one) for one in several]
    if not loading:
        raise FinetuneError("no backbone is named; give at least one.")
    return loading


def _introduce(
    backbones: Sequence[Backbone], ways: Sequence[FineTuning], manifest: Manifest, notice: Callable[[str], None]
) -> None:
    """Reports what is trained, and finds what cannot be before any work is done."""
    for way in ways:
        for recipe in way.candidates:
            check_start(way.mode, recipe)
    y = manifest.units().y
    outputs = max(
        make_loss(recipe, manifest.card.require_task("fine-tuning"), y).outputs for recipe in ways[0].candidates
    )
    for backbone in backbones:
        for way in ways:
            network = make_classifier(backbone, way.mode, outputs)
            count, whole = network.trained_parameters(), sum(one.numel() for one in network.parameters())
            notice(f"{backbone.name}, {way.mode.name}: trains {count:,} of {whole:,} parameters")
            for note in network.notes:
                notice(f"note: {backbone.name}, {way.mode.name}: {note}")


def _cells(experiment: Experiment, poolings: Sequence[str], ways: Sequence[FineTuning]) -> list[Cell]:
    """Every backbone in every mode under every budget and resample, in that order."""
    caches, name = experiment.data.caches, experiment.data.manifest.card.name
    return [
        Cell(SystemKey(name, label, cache.spec.fingerprint, pooling, way.name, budget.name), place, way, resample)
        for place, (label, cache, pooling) in enumerate(zip(backbone_labels(caches), caches, poolings, strict=True))
        for way in ways
        for budget, resamples in experiment.draws.clean
        for resample in resamples
    ]


def _config(experiment: Experiment, facts: Mapping[str, Any], libraries: Sequence[str], device: str) -> dict[str, Any]:
    """All that decides a fit but its seed."""
    data, manifest = experiment.data, experiment.data.manifest
    images = blake2b(data.all_digests.tobytes(), digest_size=16)
    images.update("\n".join(data.sample_ids).encode())
    return {
        "dataset": {"name": manifest.name, "digest": manifest.digest, "images": images.hexdigest()},
        "backbones": [cache.spec.fingerprint for cache in data.caches],
        "modes and recipes": dict(facts),
        "protocol": {"name": experiment.design.protocol, **experiment.design.settings},
        "metric": experiment.metric.name,
        "budgets": [budget.name for budget in experiment.design.budgets],
        "leaks": experiment.draws.leaks.facts(),
        "device": device,
        "versions": {name: version(name) for name in ("medprobe", "numpy", *libraries)},
    }
