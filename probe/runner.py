"""The probe stage: every probe on every set of features over every seed and budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..base import ProbeError
from ..base import progress as show_progress
from ..cache import EmbeddingCache
from ..evaluate.resampling.protocols import HOLDOUT
from ..evaluate.resampling.resample import check_seeds
from ..evaluate.resampling.train_size import budgets_of
from ..evaluate.results.run import Run
from ..evaluate.results.schemas import SystemKey
from ..manifests import Manifest
from ..manifests.validation.diagnostics import Diagnostic
from .data.features import backbone_labels, choose_poolings
from .data.probe_data import ProbeData
from .draws import Design
from .engines.parallel import Workers
from .engines.registry import Probe, resolve_probes
from .experiment import Experiment, choose_metric

Caches = EmbeddingCache | Sequence[EmbeddingCache]
External = tuple[Manifest, Caches]
"""A manifest to test on, and its caches."""


def run_probes(
    manifest: Manifest,
    caches: Caches,
    *,
    probes: str | Probe[Any] | Sequence[str | Probe[Any]] = ("logreg", "knn", "gbm"),
    protocol: str = "auto",
    seeds: int | Sequence[int] = 20,
    poolings: str | Sequence[str] | None = None,
    metric: str | None = None,
    fractions: tuple[float, float, float] = HOLDOUT,
    folds: int | None = None,
    shots: int | Sequence[int] = (),
    train_fraction: float | Sequence[float] = (),
    external: External | None = None,
    aggregation: str = "mean",
    refit: bool = True,
    keep_leaks: bool = False,
    drop_near: bool = False,
    n_jobs: int = -1,
    progress: bool = True,
) -> Run:
    """Fits every probe on every cache over every seed and budget and scores the test units.

    All use the same resamples, without what is known to leak. Groups that share an image are drawn as one. Where the
    test is fixed (`official`, `fixed`, `external`), training and validation units whose patient or pixels are in it are
    left out; every system is then fitted as published too, and `Run.scores_as_published` has those scores.

    Scores are bit-identical whatever `n_jobs` and the order of the manifest's rows, and in every run on one machine.
    Arguments that are lists also take a single value.

    Args:
        manifest: the data set.
        caches: embeddings of it; several of one backbone differ in their fingerprints.
        probes: names (`PROBES`), with settings such as `gbm:preset=lightgbm-defaults`, or configured probes.
        protocol: `official`, `fixed`, `holdout`, `kfold`, `external` or `auto`; see `draw_resamples`.
        seeds: how many (5 for 0 to 4), or which; one resample each, under `kfold` one repeat each.
        poolings: of those that the caches hold; all by default.
        metric: what hyper-parameters are chosen by; the card's primary metric by default.
        fractions: shares of train, val and test under `holdout`.
        folds: of `kfold`, which they select; 5 by default.
        shots: use only so many training units per class; a low-data curve, one budget each. No model is then
            fitted on val, even with `refit`.
        train_fraction: use only these fractions of train, up to 1; further budgets of the same curve.
        external: a manifest with the same classes and its caches. The first manifest is then trained on, whatever
            split it has, and all of this one is the test.
        aggregation: how the samples of a unit are combined: their vectors by `mean`, `max` or `concat` (by modality),
            or their `predictions`, the mean of their probabilities.
        refit: fit the chosen model again on train and val before the test.
        keep_leaks: leave nothing out and tie nothing; a patient on both sides of an official split is then an error
            (under `fixed` it stays in both).
        drop_near: treat near-duplicates as copies: images whose vectors are nearly the same in some cache, as
            `medprobe manifest check` finds them.
        n_jobs: threads; -1 for one on every core.
        progress: show a bar.

    Raises:
        ProbeError: something requested does not exist or cannot be done with these data.
        CacheError: a cache is damaged, does not hold the manifest's samples, or has no counterpart of the same spec
            among the external ones.
        ManifestError: the manifest is not sound.

    Examples:
        >>> from medprobe.probe import run_probes
        >>> run = run_probes(manifest, caches, probes=["logreg", "centroid"], seeds=2, n_jobs=1, progress=False)
        >>> run.scores[["backbone", "probe"]].drop_duplicates()
                  backbone     probe
        0    timm:resnet18  centroid
        44   timm:resnet18    logreg
        88   timm:resnet50  centroid
        132  timm:resnet50    logreg
    """
    chosen_by = choose_metric(manifest, metric)
    design = Design(
        protocol=_with_external(protocol, external),
        seeds=check_seeds(seeds),
        budgets=budgets_of(shots, train_fraction),
        fractions=fractions,
        folds=folds,
        keep_leaks=keep_leaks,
        drop_near=drop_near,
    )
    workers, caches = Workers(n_jobs), some_caches(manifest, caches)
    data = ProbeData.of(manifest, caches, aggregation)
    if external is not None:
        data = data.tested_on(external[0], _as_list(external[1]))
    resolved, features = resolve_probes(probes), choose_poolings(caches, poolings)
    experiment = Experiment.of(data, chosen_by, design, progress=progress)
    recorder, published = experiment.recorder(), None
    work = [(recorder, False, *one) for one in experiment.draws.clean]
    if experiment.draws.as_published is not None:
        published = experiment.recorder(keep_predictions=False)
        work += [(published, True, *one) for one in experiment.draws.as_published]
    labels = backbone_labels(caches)
    found: list[Diagnostic] = []
    fits = len(features) * len(resolved) * sum(len(resamples) for *_, resamples in work)
    with show_progress(f"Probing {manifest.name}", fits, unit="fits", enabled=progress) as bar:

        def probe_features(cache: int, pooling: str) -> None:
            X = data.features(cache, pooling)
            key = (manifest.card.name, labels[cache], caches[cache].spec.fingerprint, pooling)
            found.extend(experiment.feature_warnings(f"{labels[cache]}, {pooling}", X))
            for record, as_published, budget, resamples in work:
                # Val is far larger than a budget: fitted on both, all budgets would be much the same.
                task = experiment.task(X, resamples, refit=refit and budget.whole, as_published=as_published)
                for probe in resolved:
                    for result in probe.solve(task, workers):
                        record.add(SystemKey(*key, probe.name, budget.name), result)
                        bar.advance(note=f"{labels[cache]} {probe.name}")

        # In a function of its own, so that no name holds one matrix while the next is read.
        for cache, pooling in features:
            probe_features(cache, pooling)
    about = {"frozen": True, "aggregation": aggregation, "refit": refit and all(b.whole for b in design.budgets)}
    systems = {probe.name: {"label": probe.label, **about, "settings": probe.settings.facts()} for probe in resolved}
    return experiment.run(recorder, published, systems=systems, warnings=found)


def some_caches(manifest: Manifest, caches: Caches) -> list[EmbeddingCache]:
    """One cache of a manifest, or several, as a list.

    Raises:
        ProbeError: there are none.
    """
    listed = _as_list(caches)
    if not listed:
        raise ProbeError(
            f"{manifest.name}: no caches are given; `medprobe extract {manifest.path or 'MANIFEST'}` makes them."
        )
    return listed


def _as_list(caches: Caches) -> list[EmbeddingCache]:
    return [caches] if isinstance(caches, EmbeddingCache) else list(caches)


def _with_external(protocol: str, external: External | None) -> str:
    """The protocol, `external` where a manifest to test on is given.

    Raises:
        ProbeError: the two do not go together.
    """
    if external is None and protocol == "external":
        raise ProbeError("the protocol external needs a second manifest to test on: give it with --external.")
    if external is not None and protocol not in ("auto", "external"):
        raise ProbeError(f"an external manifest is the test, so the protocol cannot be {protocol}; remove one of them.")
    return protocol if external is None else "external"
