"""The probe stage: every probe on every set of features over every seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..base import ProbeError, one_of, progress
from ..cache import EmbeddingCache
from ..manifests import Manifest, Units
from .block import Block
from .caveats import caveats
from .facts import gather_facts
from .features import Coverage, backbone_labels, choose_poolings, find_coverage, load_features
from .kind import ProbeKind
from .listing import find_probes
from .metrics import find_metric, metrics_for
from .records import Recorder
from .resampling import HOLDOUT, Resample, check_seeds, draw_resamples, resolve_protocol
from .results import Run
from .workers import JoblibWorkers

_MOST_CLASSES = 1000


@dataclass(frozen=True, eq=False)
class _Plan:
    """What will be run, with everything that can be wrong about it found out."""

    units: Units
    coverage: Coverage
    resamples: list[Resample]
    """In positions of the manifest's units."""
    features: list[tuple[int, str]]
    kinds: list[ProbeKind[Any]]


def run_probes(
    manifest: Manifest,
    caches: Sequence[EmbeddingCache],
    *,
    probes: Sequence[str | ProbeKind[Any]] = ("logreg", "knn", "gbm"),
    protocol: str = "auto",
    seeds: Sequence[int] = range(20),
    poolings: Sequence[str] | None = None,
    metric: str | None = None,
    fractions: tuple[float, float, float] = HOLDOUT,
    fusing: str = "mean",
    refit: bool = True,
    n_jobs: int = -1,
    progress: bool = True,
) -> Run:
    """Fits every probe on every cache over every seed and scores the test units.

    All see the same resamples. The scores are the same bits whatever `n_jobs`, the order of the manifest's rows, and
    however often it is run on one machine.

    Args:
        manifest: the data set.
        caches: embeddings of it; several of one backbone are told apart by their fingerprints.
        probes: names (`PROBES`), with settings such as `gbm:preset=lightgbm-defaults`, or configured probes.
        protocol: `official`, `holdout` or `auto`; see `draw_resamples`.
        seeds: one resample each.
        poolings: of those that the caches hold; all by default.
        metric: what hyper-parameters are chosen by; the card's primary metric by default.
        fractions: shares of train, val and test under `holdout`.
        fusing: how the samples of a unit become one vector: `mean`, `max` or `concat` (by modality).
        refit: fit the chosen model again on train and val before the test.
        n_jobs: processes; -1 for one on every core.
        progress: show a bar.

    Raises:
        ProbeError: something asked for does not exist or cannot be done with these data.
        CacheError: a cache is damaged, or does not hold the manifest's samples.
        ManifestError: the manifest is not sound.
    """
    chosen_by = find_metric(metric or manifest.card.primary_metric)
    if chosen_by not in metrics_for(manifest.card.task):
        raise ProbeError(f"{chosen_by.name} is not defined for a {manifest.card.task} task; choose another metric.")
    workers = JoblibWorkers(n_jobs)
    plan = _plan(manifest, caches, probes, protocol, seeds, poolings, fractions, fusing)
    labels = backbone_labels(caches)
    recorder = Recorder(manifest.card, resolve_protocol(protocol, plan.units), plan.units, plan.resamples)
    with _bar(manifest.name, plan, enabled=progress) as bar:
        for cache, pooling, X in _each_features(plan, caches, fusing):
            block = _block(manifest, plan, X, chosen_by.name, refit=refit)
            for kind in plan.kinds:
                system = (labels[cache], caches[cache].spec.fingerprint, pooling, kind.name)
                for outcome in kind.solve(block, workers):
                    recorder.add(system, block, outcome)
                    bar.advance(note=f"{labels[cache]} {kind.name}")
    facts = gather_facts(
        manifest,
        plan.units,
        plan.coverage,
        caches=list(zip(labels, caches, strict=True)),
        kinds=plan.kinds,
        metric=chosen_by.name,
        protocol=recorder.protocol,
        fractions=fractions,
        seeds=[resample.seed for resample in plan.resamples],
        fusing=fusing,
        refit=refit,
        warnings=[
            *plan.coverage.warnings,
            *caveats(manifest, plan.units, plan.coverage, caches[0], recorder.protocol),
        ],
    )
    return Run(recorder.scores(), recorder.predictions(), recorder.timings(), facts)


def _plan(
    manifest: Manifest,
    caches: Sequence[EmbeddingCache],
    probes: Sequence[str | ProbeKind[Any]],
    protocol: str,
    seeds: Sequence[int],
    poolings: Sequence[str] | None,
    fractions: tuple[float, float, float],
    fusing: str,
) -> _Plan:
    if not caches:
        raise ProbeError(f"{manifest.name}: no caches are given; `medprobe extract` makes them.")
    classes = manifest.card.classes
    if len(classes) > _MOST_CLASSES:
        raise ProbeError(
            f"{manifest.name}: {len(classes):,} classes. Is the label column one of ids? At most {_MOST_CLASSES:,} can"
            " be probed; name another label_column in the card."
        )
    kinds, checked, features = find_probes(probes), check_seeds(seeds), choose_poolings(caches, poolings)
    units = manifest.units()
    resamples = draw_resamples(units, checked, classes=classes, protocol=protocol, fractions=fractions)
    coverage = find_coverage(manifest, units, caches, fusing)
    resamples = [resample.within(coverage.usable) for resample in resamples]
    for resample in resamples:
        _require_all_classes(units, resample, classes)
    return _Plan(units, coverage, resamples, features, kinds)


def _require_all_classes(units: Units, resample: Resample, classes: list[str]) -> None:
    """A classifier cannot learn what it never sees, nor choose or be scored on nothing.

    Raises:
        ProbeError: names the seed, and the part or the classes.
    """
    for name in ("train", "val", "test"):
        if not len(getattr(resample, name)):
            raise ProbeError(
                f"seed {resample.seed}: no unit is left in {name}. Add cases, or use other fractions or another"
                " protocol."
            )
    y = units.y[resample.train]
    counts = y.sum(axis=0) if y.ndim == 2 else np.bincount(y, minlength=len(classes))
    absent = [f'"{classes[c]}"' for c in np.flatnonzero(counts == 0)]
    if absent:
        raise ProbeError(
            f"seed {resample.seed}: no training unit of {one_of(absent)} is left: its few cases are in one group or"
            " could not be embedded. Merge the class with another, take it out of the card and the table, or add cases."
        )


def _each_features(plan: _Plan, caches: Sequence[EmbeddingCache], fusing: str) -> Iterator[tuple[int, str, np.ndarray]]:
    """One matrix at a time, so that memory holds one however many backbones there are."""
    for cache, pooling in plan.features:
        yield cache, pooling, load_features(caches[cache], pooling, plan.coverage, fusing)


def _block(manifest: Manifest, plan: _Plan, X: np.ndarray, metric: str, *, refit: bool) -> Block:
    usable = plan.coverage.usable
    position = np.cumsum(usable) - 1
    return Block(
        X=X,
        y=plan.units.y[usable],
        resamples=tuple(resample.renumbered(position) for resample in plan.resamples),
        task=manifest.card.task,
        classes=tuple(manifest.card.classes),
        metric=find_metric(metric),
        refit=refit,
    )


def _bar(name: str, plan: _Plan, *, enabled: bool):
    fits = len(plan.features) * len(plan.kinds) * len(plan.resamples)
    return progress(f"Probing {name}", fits, unit="fits", enabled=enabled)
