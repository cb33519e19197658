"""What one system of a run predicted for each unit, over all resamples that tested it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..base import ReportError
from ..evaluate import Run, SystemKey, predictions_by_system
from ..evaluate.results.predictions import ResamplePredictions
from ..manifests import Manifest
from ..probe.data.probe_data import align_classes

NOT_TESTED = "not tested"


@dataclass(frozen=True, eq=False)
class Judged:
    """Predictions for n units by models that were not fitted on them; of a multilabel task for one of its labels."""

    classes: Sequence[str]
    """C; `no` and `yes` for one label of a multilabel task."""
    unit: np.ndarray
    """(n,) position in the run's units, ascending."""
    y: np.ndarray
    """(n,) int64: position in `classes`."""
    proba: np.ndarray
    """(n, C) float64: mean over the resamples that tested the unit."""
    predicted: np.ndarray
    """(n,) int64: the class that these means make the likeliest."""
    tested: np.ndarray
    """(n,) int64: in how many resamples the unit was tested."""
    wrong: np.ndarray
    """(n,) int64: in how many of them it was wrong."""

    @classmethod
    def of(
        cls, classes: Sequence[str], unit: np.ndarray, y: np.ndarray, proba: np.ndarray, predicted: np.ndarray
    ) -> Judged:
        """Sums up R predictions, those of one resample after those of another: (R,) each, and `proba` (R, C)."""
        found, first, place, tested = np.unique(unit, return_index=True, return_inverse=True, return_counts=True)
        sums = np.stack([np.bincount(place, column, len(found)) for column in proba.T], axis=1)
        wrong = np.bincount(place, predicted != y, len(found)).astype(np.int64)
        return cls(classes, found, y[first], sums / tested[:, None], sums.argmax(axis=1), tested, wrong)


def judge(run: Run, system: SystemKey) -> dict[str, Judged]:
    """What `system` predicted for the test units of all resamples.

    Returns:
        One entry, under the name ""; for a multilabel task one per label, under its name.
    """
    resamples: list[ResamplePredictions] = predictions_by_system(run)[system]
    unit = np.concatenate([one.unit for one in resamples])
    y, proba, predicted = (
        np.concatenate([getattr(one.scored, name) for one in resamples]) for name in ("y", "proba", "predicted")
    )
    if run.task != "multilabel":
        return {"": Judged.of(run.classes, unit, y, proba, predicted)}
    return {
        name: Judged.of(("no", "yes"), unit, y[:, k], np.stack([1 - proba[:, k], proba[:, k]], axis=1), predicted[:, k])
        for k, name in enumerate(run.classes)
    }


def manifests_of_run(run: Run, manifest: Manifest, external: Manifest | None) -> tuple[Manifest, ...]:
    """The manifests whose units are those of the run, one after the other, with the classes in one order.

    Raises:
        ReportError: the run was made with others, or the external one is missing or one too many.
        ProbeError: the two do not go together.
    """
    manifests: tuple[Manifest, ...] = (manifest,) if external is None else (manifest, align_classes(manifest, external))
    if external is None and (tested := run.info["external"]):
        raise ReportError(f'the run was tested on "{tested["name"]}": give its manifest too (--external).')
    for place, one in enumerate(manifests):
        run.units_of(one, external=place > 0)
    return manifests


def outcomes(run: Run, system: SystemKey, units: slice) -> np.ndarray:
    """(U,) object array of str: how often each of these units of the run was predicted wrongly, in words.

    A multilabel unit counts once per label.
    """
    parts = judge(run, system).values()
    table = pd.concat([pd.DataFrame({"unit": one.unit, "tested": one.tested, "wrong": one.wrong}) for one in parts])
    counts = table.groupby("unit").sum().reindex(range(units.start, units.stop), fill_value=0)
    tested, wrong = counts["tested"].to_numpy(), counts["wrong"].to_numpy()
    words = np.full(len(counts), "sometimes wrong", dtype=object)
    words[wrong == 0] = "always right"
    words[wrong == tested] = "always wrong"
    words[tested == 0] = NOT_TESTED
    return words
