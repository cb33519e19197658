"""Fits the one model that is kept: on all that may be learnt from, chosen as each seed of a run chooses."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import numpy as np

from ..base import ProbeError, one_of
from ..base.text import counted
from ..cache import EmbeddingCache
from ..evaluate.metrics.registry import Metric
from ..evaluate.resampling.protocols import HOLDOUT, TRAIN, VAL, train_and_val
from ..evaluate.resampling.resample import Resample
from ..evaluate.resampling.train_size import budgets_of
from ..evaluate.statistics.temperature import fit_temperature
from ..manifests import Manifest
from ..probe import Probe, resolve_probes
from ..probe.data.features import choose_poolings
from ..probe.data.probe_data import ProbeData
from ..probe.draws import Design, Draws, leaks_of, require_all_classes
from ..probe.experiment import Experiment, choose_metric
from .estimators import FittedProbe
from .model import Model, ModelFacts
from .unusual import TrainingNeighbours

Part = Literal["train+val", "all"]
_LIBRARIES = ("medprobe", "numpy", "scikit-learn", "lightgbm")


def fit_model(
    manifest: Manifest,
    cache: EmbeddingCache,
    *,
    probe: str | Probe[Any] = "logreg",
    pooling: str | None = None,
    aggregation: str = "mean",
    metric: str | None = None,
    on: Part = "train+val",
    calibrate: bool = False,
    keep_leaks: bool = False,
    drop_near: bool = False,
    progress: bool = True,
) -> Model:
    """Fits one model as every seed of a run does, but on all units that may be learnt from.

    Hyper-parameters are chosen on val: the manifest's own, or a fifth of the groups, stratified by class. The chosen
    model is then fitted again on train and val. Under a manifest with a train, a val and a test this is the model that
    a run with the protocol `fixed` tests.

    Args:
        manifest: the data set.
        cache: its embeddings.
        probe: a name (`PROBES`), with settings such as `knn:k=[5,11]`, or a configured probe; not one of scikit-learn.
        pooling: of those of the cache; may be left out where there is one.
        aggregation: how the images of a unit are combined, as in `run_probes`.
        metric: what hyper-parameters are chosen by; the card's primary metric by default.
        on: `train+val`: all but the manifest's test, without what is known to leak from it; `all`: the test too.
        calibrate: scale the probabilities by a temperature that is fitted on val (Guo et al. 2017).
        keep_leaks: as in `run_probes`.
        drop_near: as in `run_probes`.
        progress: show a bar where near-duplicates are looked for.

    Raises:
        ProbeError: something requested does not exist or cannot be done with these data, or the probe cannot be saved.
        CacheError: the cache is damaged, was imported, so that new images cannot be embedded, or does not hold the
            manifest's samples.

    Examples:
        >>> from medprobe.model import fit_model
        >>> model = fit_model(manifest, caches[0], probe="centroid", calibrate=True, progress=False)
        >>> model.facts.fitted_on["units"], model.facts.temperature is None
        (60, False)
    """
    spec, chosen_by = cache.computed_with, choose_metric(manifest, metric)
    [resolved] = resolve_probes(probe)
    data = ProbeData.of(manifest, [cache], aggregation)
    pooling = _one_pooling(cache, pooling)
    learnt = _Learnt.of(data, chosen_by, on, keep_leaks=keep_leaks, drop_near=drop_near, progress=progress)
    task = learnt.experiment.task(data.features(0, pooling), [learnt.resample], refit=True)
    fitted = resolved.fit(task)
    facts = ModelFacts(
        spec=spec,
        pooling=pooling,
        stored=cache.info["dtypes"][pooling],
        reading=manifest.card.reading,
        task=task.task,
        classes=task.classes,
        aggregation=aggregation,
        modalities=() if data.modality is None else tuple(sorted(set(data.modality))),
        family=resolved.family,
        label=resolved.label,
        params=fitted.params,
        metric=chosen_by.name,
        temperature=fit_temperature(task.scored(task.resamples[0].val, fitted.val_proba)) if calibrate else None,
        fitted_on={**learnt.facts(on), "notes": [*fitted.notes, *data.all_skipped, *learnt.notes()]},
        versions={"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
    )
    rows = task.fitted_on(task.resamples[0])
    group = learnt.experiment.draws.units.group[data.row_units[rows]]
    return Model(
        facts,
        FittedProbe.of(resolved.family, fitted.estimator),
        TrainingNeighbours.of(task.X[rows], group),
        data.distinct_digests(learnt.chosen[data.all_sample_units]),
    )


def _one_pooling(cache: EmbeddingCache, pooling: str | None) -> str:
    found = [name for _, name in choose_poolings([cache], pooling)]
    if len(found) > 1:
        raise ProbeError(f"{cache.path.name}: has the poolings {one_of(found)}; a model reads one, so name it.")
    return found[0]


@dataclass(frozen=True, eq=False)
class _Learnt:
    """What the model learns from: the experiment, and its one resample, in units."""

    experiment: Experiment
    resample: Resample

    @classmethod
    def of(
        cls, data: ProbeData, metric: Metric, on: Part, *, keep_leaks: bool, drop_near: bool, progress: bool
    ) -> _Learnt:
        """Units whose patient or pixels are in the test are left out, and groups that share an image count as one.

        Raises:
            ProbeError: a class has too few groups, or nothing is left.
        """
        split = data.all_units.split
        divided = on == "train+val" and split is not None and bool(np.isin(split, ["val", "test"]).any())
        design = Design(
            protocol="fixed" if divided else "holdout",
            seeds=[0],
            budgets=budgets_of((), ()),
            fractions=HOLDOUT,
            folds=None,
            keep_leaks=keep_leaks,
            drop_near=drop_near,
        )
        leaks = leaks_of(data, design, progress=progress)
        units, classes = leaks.clean, list(data.manifest.card.classes)
        split = units.split if divided and units.split is not None else np.full(len(units), "train")
        with leaks.explained():
            if (split == "val").any():
                parts = np.select([split == "train", split == "val"], [TRAIN, VAL], -1)
            else:
                parts = train_and_val(units, split == "train", classes)
            train, val = (np.flatnonzero(parts == part) for part in (TRAIN, VAL))
            resample = Resample(0, train, val, np.empty(0, np.int64)).within(data.all_usable)
            require_all_classes(units, resample, classes, parts=("train", "val"))
        budgets = [(budget, [resample]) for budget in design.budgets]
        return cls(Experiment(data, metric, design, Draws(units, leaks, budgets, None)), resample)

    @property
    def chosen(self) -> np.ndarray:
        """(U,) bool: the units of train and val."""
        chosen = np.zeros(len(self.experiment.draws.units), bool)
        chosen[self.resample.train] = chosen[self.resample.val] = True
        return chosen

    def notes(self) -> list[str]:
        """What its network knows of it."""
        data, [cache] = self.experiment.data, self.experiment.data.caches
        images = cache.trained_on[cache.rows_of(data.sample_ids)][self.chosen[data.all_sample_units]]
        what = "settings that val chose and how unusual new images are rest on images that it knows"
        known = f"the network was fine-tuned on {images.sum():,} of the {len(images):,} images: {what}"
        return [known] if images.any() else []

    def facts(self, on: Part) -> dict[str, Any]:
        """What a reader must know of it, without ids and paths."""
        data, units, card = self.experiment.data, self.experiment.draws.units, self.experiment.data.manifest.card
        chosen = self.chosen
        per_class = units.classes_by_group(chosen, len(card.classes)).sum(axis=0)
        return {
            "dataset": card.name,
            "digest": data.manifest.digest,
            "license": card.license,
            "citation": card.citation,
            "on": on,
            "units": int(chosen.sum()),
            "groups": len(np.unique(units.group[chosen])),
            "units_per_class": dict(zip(card.classes, per_class.tolist(), strict=True)),
            "val_units": len(self.resample.val),
            "leaks": self.experiment.draws.leaks.facts(),
        }


def in_words(model: Model) -> str:
    """`Logistic regression (C=0.0231) on dinov2-s, cls: fitted on 600 units of brain`."""
    facts, fitted_on = model.facts, model.facts.fitted_on
    chosen = ", ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in facts.params.items()
    )
    return (
        f"{facts.label} ({chosen}) on {facts.spec.backbone}, {facts.pooling}: fitted on"
        f" {counted(fitted_on['units'], 'unit')} of {fitted_on['dataset']}"
    )
