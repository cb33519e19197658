"""One experiment: what its systems are fitted and tested on, whatever fits them, and how results become a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..base import ProbeError
from ..evaluate.metrics.registry import Metric, find_metric, primary_metric
from ..evaluate.resampling.protocols import learnable
from ..evaluate.resampling.resample import Resample, resolve_protocol
from ..evaluate.results.recorder import Recorder
from ..evaluate.results.run import Run
from ..manifests import Manifest
from ..manifests.validation.diagnostics import Diagnostic
from .data.feature_warnings import feature_warnings
from .data.probe_data import ProbeData
from .data.subgroup_labels import subgroups_of
from .draws import Design, Draws, draw
from .engines.task import ProbeTask
from .run_info import data_warnings, run_info

_MOST_CLASSES = 1000


@dataclass(frozen=True, eq=False)
class Experiment:
    """The data of a run with its metric, its protocol and the resamples that every system sees."""

    data: ProbeData
    metric: Metric
    """What chooses on val."""
    design: Design
    """Its protocol resolved."""
    draws: Draws

    @classmethod
    def of(cls, data: ProbeData, metric: Metric, design: Design, *, progress: bool = False) -> Experiment:
        """Draws the resamples; the metric is one of `choose_metric`.

        Raises:
            ProbeError: the protocol is impossible with these data.
        """
        design = replace(design, protocol=resolve_protocol(design.protocol, data.all_units, design.folds))
        return cls(data, metric, design, draw(data, design, progress=progress))

    def recorder(self, *, keep_predictions: bool = True) -> Recorder:
        """What collects the results of all systems, or of all systems as published."""
        return Recorder(
            self.data.manifest.card, self.design.protocol, self.draws.units, keep_predictions=keep_predictions
        )

    def task(
        self, X: np.ndarray, resamples: Sequence[Resample], *, refit: bool, as_published: bool = False
    ) -> ProbeTask:
        """What is solved with one matrix of features, (R, D) with a row per `data.row_units`; resamples in units."""
        unit, card = self.data.row_units, self.data.manifest.card
        units = self.draws.leaks.published if as_published else self.draws.units
        return ProbeTask(
            X=X,
            y=self.draws.units.y[unit],
            resamples=tuple(resample.rows(unit) for resample in resamples),
            task=card.require_task("probing"),
            classes=tuple(card.classes),
            metric=self.metric,
            refit=refit,
            unit=unit,
            learnable=learnable(units, self.design.protocol)[unit],
        )

    def feature_warnings(self, name: str, X: np.ndarray) -> list[Diagnostic]:
        """Warnings about the features called `name`; X and the others are as in `task` and in `feature_warnings`."""
        unit = self.data.row_units
        learnt = learnable(self.draws.units, self.design.protocol)[unit]
        return feature_warnings(name, X, learnt, self.data.row_digests)

    def run(
        self,
        recorder: Recorder,
        published: Recorder | None = None,
        *,
        systems: Mapping[str, Mapping[str, Any]],
        libraries: Iterable[str] = (),
        warnings: Iterable[Diagnostic] = (),
    ) -> Run:
        """The run of what was recorded; `systems` and `libraries` are as in `run_info`, `warnings` are further ones."""
        subgroups, skipped = subgroups_of(self.draws.units)
        found = data_warnings(self.data, self.design.protocol, self.draws, attributes=skipped)
        info = run_info(
            self.data,
            self.design,
            self.draws.leaks,
            systems=systems,
            metric=self.metric.name,
            warnings=[*found, *warnings],
            libraries=libraries,
        )
        tables = recorder.scores(), recorder.predictions(), recorder.timings(), subgroups
        test_scores = published and published.scores().query("split == 'test'").reset_index(drop=True)
        return Run(*tables, info, test_scores, recorder.epochs(), recorder.retrieved())


def choose_metric(manifest: Manifest, metric: str | None) -> Metric:
    """The metric that chooses on val: the card's primary one by default.

    Raises:
        ManifestError: there are no labels, or the card names no metric of its task.
        ProbeError: there is no such metric, it is not defined for the task, or the classes are too many to be classes.
    """
    card = manifest.card
    own = primary_metric(card)  # of a card that names none, no run is begun
    chosen = find_metric(metric, card.task) if metric else own
    if len(card.classes) > _MOST_CLASSES:
        raise ProbeError(
            f"{manifest.name}: {len(card.classes):,} classes. Is the label column one of ids? At most"
            f" {_MOST_CLASSES:,} are possible; name another label_column in the card."
        )
    return chosen
