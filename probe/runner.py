"""The probe stage: every probe on every set of features over every seed and budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..base import ProbeError, one_of, progress
from ..cache import EmbeddingCache
from ..evaluate.metrics.registry import find_metric, metrics_for
from ..evaluate.resampling.protocols import HOLDOUT, settings_of
from ..evaluate.resampling.resample import Resample, check_seeds, draw_resamples, resolve_protocol
from ..evaluate.resampling.train_size import Budget, budgets_of, subsample_train
from ..evaluate.results.recorder import Recorder
from ..evaluate.results.run import Run
from ..evaluate.results.schemas import SystemKey
from ..manifests import Manifest, Units
from .data.data_warnings import data_warnings
from .data.features import backbone_labels, choose_poolings, on_columns
from .data.fusion import PREDICTIONS
from .data.probe_data import ProbeData, SplitSource, align_classes, concat_units, matched, require_same_modalities
from .data.subgroup_labels import subgroups_of
from .engines.parallel import JoblibWorkers
from .engines.probe import Probe
from .engines.registry import resolve_probes
from .engines.task import ProbeTask
from .run_info import run_info

_MOST_CLASSES = 1000

Caches = EmbeddingCache | Sequence[EmbeddingCache]
External = tuple[Manifest, Caches]
"""A manifest to test on, and its caches."""


@dataclass(frozen=True, eq=False)
class _Plan:
    """What will be run, with everything that can be wrong about it found out."""

    cohort: ProbeData
    protocol: str
    drawn: list[Resample]
    """In positions of the cohort's units."""
    budgets: list[tuple[Budget, list[Resample]]]
    """Each with what it leaves of `drawn`."""
    features: list[tuple[int, str]]
    kinds: list[Probe[Any]]

    def blocks(
        self, X: np.ndarray, metric: str, *, aggregation: str, refit: bool
    ) -> Iterator[tuple[Budget, ProbeTask]]:
        """What is asked of one matrix, a block a budget."""
        cohort, card = self.cohort, self.cohort.sides[0].manifest.card
        unit = np.flatnonzero(cohort.usable)
        unit = unit[cohort.row_unit] if aggregation == PREDICTIONS else unit
        for budget, resamples in self.budgets:
            yield (
                budget,
                ProbeTask(
                    X=X,
                    y=cohort.units.y[unit],
                    resamples=tuple(resample.rows(unit) for resample in resamples),
                    task=card.task,
                    classes=tuple(card.classes),
                    metric=find_metric(metric),
                    # Val is far larger than a budget: fitted on both, all budgets would be much the same.
                    refit=refit and budget.whole,
                    unit=unit,
                ),
            )

    @property
    def fits(self) -> int:
        """How many outcomes there will be."""
        return len(self.features) * len(self.kinds) * sum(len(resamples) for _, resamples in self.budgets)


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
    n_jobs: int = -1,
    progress: bool = True,
) -> Run:
    """Fits every probe on every cache over every seed and budget and scores the test units.

    All see the same resamples. The scores are the same bits whatever `n_jobs`, the order of the manifest's rows, and
    however often it is run on one machine. Where there may be several of something, one may stand there by itself.

    Args:
        manifest: the data set.
        caches: embeddings of it; several of one backbone are told apart by their fingerprints.
        probes: names (`PROBES`), with settings such as `gbm:preset=lightgbm-defaults`, or configured probes.
        protocol: `official`, `holdout`, `kfold`, `external` or `auto`; see `draw_resamples`.
        seeds: how many (5 for 0 to 4), or which; one resample each, under `kfold` one repeat each.
        poolings: of those that the caches hold; all by default.
        metric: what hyper-parameters are chosen by; the card's primary metric by default.
        fractions: shares of train, val and test under `holdout`.
        folds: of `kfold`, which they ask for; 5 by default.
        shots: units of each class that train is cut down to; a low-data curve, one budget each. No model is fitted on
            val then, whatever `refit` says.
        train_fraction: shares that train is cut down to, up to 1; further budgets of the same curve.
        external: a manifest with the same classes and its caches. The first manifest is then trained on, whatever
            split it has, and the whole of this one is the test.
        aggregation: how the samples of a unit become one: their vectors by `mean`, `max` or `concat` (by modality), or
            their `predictions` by the mean of their probabilities.
        refit: fit the chosen model again on train and val before the test.
        n_jobs: processes, or threads for logreg and knn; -1 for one on every core.
        progress: show a bar.

    Raises:
        ProbeError: something asked for does not exist or cannot be done with these data.
        CacheError: a cache is damaged, does not hold the manifest's samples, or has no counterpart of the same spec
            among the external ones.
        ManifestError: the manifest is not sound.
    """
    chosen_by = find_metric(metric or manifest.card.primary_metric)
    if chosen_by not in metrics_for(manifest.card.task):
        raise ProbeError(f"{chosen_by.name} is not defined for a {manifest.card.task} task; choose another metric.")
    workers = JoblibWorkers(n_jobs)
    budgets = budgets_of(shots, train_fraction)
    caches, seeds = _listed(caches), check_seeds(seeds)
    plan = _plan(
        _cohort(manifest, caches, external, aggregation),
        probes=probes,
        protocol=_with_external(protocol, external),
        fractions=fractions,
        folds=folds,
        seeds=seeds,
        budgets=budgets,
        poolings=poolings,
    )
    labels = backbone_labels(caches)
    subgroups, dropped = subgroups_of(plan.cohort.units)
    recorder, columns = Recorder(manifest.card, plan.protocol, plan.cohort.units), []
    with _bar(manifest.name, plan, enabled=progress) as bar:

        def probe_features(cache: int, pooling: str) -> None:
            X = plan.cohort.features(cache, pooling, aggregation)
            key = (manifest.card.name, labels[cache], caches[cache].spec.fingerprint, pooling)
            columns.extend(on_columns(f"{labels[cache]}, {pooling}", X))
            for budget, block in plan.blocks(X, chosen_by.name, aggregation=aggregation, refit=refit):
                for kind in plan.kinds:
                    for result in kind.solve(block, workers):
                        recorder.add(SystemKey(*key, kind.name, budget.name), result)
                        bar.advance(note=f"{labels[cache]} {kind.name}")

        # In a function of its own, so that no name holds one matrix while the next is read.
        for cache, pooling in plan.features:
            probe_features(cache, pooling)
    facts = run_info(
        plan.cohort,
        kinds=plan.kinds,
        metric=chosen_by.name,
        protocol=plan.protocol,
        settings=settings_of(plan.protocol, fractions, folds),
        seeds=seeds,
        budgets=budgets,
        aggregation=aggregation,
        refit=refit,
        warnings=data_warnings(plan.cohort, plan.protocol, attributes=dropped, columns=columns),
    )
    return Run(recorder.scores(), recorder.predictions(), recorder.timings(), subgroups, facts)


def _listed(caches: Caches) -> list[EmbeddingCache]:
    return [caches] if isinstance(caches, EmbeddingCache) else list(caches)


def _cohort(
    manifest: Manifest, caches: Sequence[EmbeddingCache], external: External | None, aggregation: str
) -> ProbeData:
    """The units to be probed, and which of them all caches cover."""
    if not caches:
        raise ProbeError(f"{manifest.name}: no caches are given; `medprobe extract` makes them.")
    if len(manifest.card.classes) > _MOST_CLASSES:
        raise ProbeError(
            f"{manifest.name}: {len(manifest.card.classes):,} classes. Is the label column one of ids? At most"
            f" {_MOST_CLASSES:,} can be probed; name another label_column in the card."
        )
    trained = SplitSource.of(manifest, caches, aggregation)
    if external is None:
        return ProbeData((trained,), trained.units)
    other, its_caches = external
    tested = SplitSource.of(align_classes(manifest, other), matched(caches, _listed(its_caches)), aggregation)
    if aggregation == "concat":
        require_same_modalities(trained, tested)
    return ProbeData((trained, tested), concat_units(trained.units, tested.units))


def _plan(
    cohort: ProbeData,
    *,
    probes: str | Probe[Any] | Sequence[str | Probe[Any]],
    protocol: str,
    fractions: tuple[float, float, float],
    folds: int | None,
    seeds: Sequence[int],
    budgets: list[Budget],
    poolings: str | Sequence[str] | None,
) -> _Plan:
    trained, units = cohort.sides[0], cohort.units
    classes = trained.manifest.card.classes
    kinds, features = resolve_probes(probes), choose_poolings(trained.caches, poolings)
    protocol = resolve_protocol(protocol, units, folds)
    resamples = draw_resamples(units, seeds, classes=classes, protocol=protocol, fractions=fractions, folds=folds)
    drawn = [resample.within(cohort.usable) for resample in resamples]
    for resample in drawn:
        _require_all_classes(units, resample, classes)
    cut = [(budget, subsample_train(units, drawn, budget, classes=classes)) for budget in budgets]
    return _Plan(cohort, protocol, drawn, cut, features, kinds)


def _with_external(protocol: str, external: External | None) -> str:
    """The protocol, `external` where a manifest to test on is given.

    Raises:
        ProbeError: the two do not go together.
    """
    if external is None:
        if protocol == "external":
            raise ProbeError("the protocol external needs a second manifest to test on: give it with --external.")
        return protocol
    if protocol not in ("auto", "external"):
        raise ProbeError(
            f"an external manifest is the test, so the protocol cannot be {protocol}; leave one of them out."
        )
    return "external"


def _require_all_classes(units: Units, resample: Resample, classes: list[str]) -> None:
    """A classifier cannot learn what it never sees, nor choose or be scored on nothing.

    Raises:
        ProbeError: names the seed, and the part or the classes.
    """
    for name in ("train", "val", "test"):
        if not len(getattr(resample, name)):
            raise ProbeError(
                f"{resample.words}: no unit is left in {name}. Add cases, or use other fractions, other folds or"
                " another protocol."
            )
    y = units.y[resample.train]
    counts = y.sum(axis=0) if y.ndim == 2 else np.bincount(y, minlength=len(classes))
    absent = [f'"{classes[c]}"' for c in np.flatnonzero(counts == 0)]
    if absent:
        raise ProbeError(
            f"{resample.words}: no training unit of {one_of(absent)} is left: its few cases are in one group or"
            " could not be embedded. Merge the class with another, take it out of the card and the table, or add cases."
        )


def _bar(name: str, plan: _Plan, *, enabled: bool):
    return progress(f"Probing {name}", plan.fits, unit="fits", enabled=enabled)
