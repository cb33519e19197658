"""The system of a run that is kept: the best by the run's metric, fitted on the data that the run was made of."""

from __future__ import annotations

import warnings
from pathlib import Path

from ..base import MedprobeWarning, ProbeError
from ..base.text import listed
from ..cache import find_caches
from ..cache.spec import IMPORTED
from ..evaluate import Run
from ..evaluate.resampling.train_size import FULL_TRAIN
from ..evaluate.results.schemas import SystemKey
from ..evaluate.statistics.summary import systems_by_score
from ..manifests import Manifest
from ..probe import PROBES
from .fitting import Part, fit_model
from .model import Model


def fit_run(
    run: Run,
    manifest: Manifest,
    store: Path | str,
    *,
    backbone: str | None = None,
    pooling: str | None = None,
    probe: str | None = None,
    on: Part | None = None,
    calibrate: bool = False,
    progress: bool = True,
) -> Model:
    """Fits the best of a run's systems, with its grid, aggregation and treatment of leaks; see `fit_model`.

    Best is the highest mean of the run's metric over its test parts, of the systems that were fitted on all of train
    and can be saved; a fine-tuned network is a model already, see `load_model`.

    Args:
        run: the results.
        manifest: the data set that the run was made of.
        store: the folder of its caches.
        backbone: only systems of this name, as the run has it.
        pooling: likewise.
        probe: likewise.
        on: as in `fit_model`; by default `train+val`, and `all` where the run was tested on another data set.
        calibrate: as in `fit_model`.
        progress: as in `fit_model`.

    Raises:
        ReportError: the run was made with another manifest.
        ProbeError: no system has these names, or none of these can be saved.
        CacheError: the embeddings are gone.

    Examples:
        >>> from medprobe.model import fit_run
        >>> model = fit_run(run, manifest, folder / "embeddings", progress=False)
        >>> model.facts.spec.backbone, model.facts.family
        ('timm:resnet50', 'centroid')
    """
    run.units_of(manifest)
    ranked = systems_by_score(run, backbone=backbone, pooling=pooling, probe=probe)
    if ranked[0].budget != FULL_TRAIN:
        raise ProbeError("no system of the run was fitted on all of train.")
    fitting = list(filter(_can_be_saved, ranked))
    if fitting[:1] != ranked[:1]:
        best = ranked[0]
        why = (
            f"the best system, {best.probe} on {best.backbone}, cannot be fitted: a model has one of the probes"
            f" {listed(list(PROBES))} on embeddings that medprobe has computed. A fine-tuned network that `medprobe"
            " finetune --keep-weights` has kept is a model as it is: `medprobe predict RUN/weights/NAME`."
        )
        if not fitting:
            raise ProbeError(why)
        warnings.warn(f"{why} The best one that can be fitted is taken.", MedprobeWarning, stacklevel=2)
    system = fitting[0]
    about, leaks = run.info["probes"][system.probe], run.info["leaks"]
    family = PROBES[system.probe.partition(":")[0]]
    known = type(family.settings).model_fields
    chosen = family.configured(**{key: one for key, one in about["settings"].items() if key in known})
    name = next(one["spec"]["backbone"] for one in run.info["caches"] if one["fingerprint"] == system.fingerprint)
    [cache] = find_caches(store, manifest.name, [f"{name}@{system.fingerprint}"], manifest=manifest)
    return fit_model(
        manifest,
        cache,
        probe=chosen,
        pooling=system.pooling,
        aggregation=about["aggregation"],
        metric=run.primary_metric,
        on=on or ("all" if run.info["external"] else "train+val"),
        calibrate=calibrate,
        keep_leaks=leaks["kept"],
        drop_near=not leaks["kept"] and leaks["near"],
        progress=progress,
    )


def _can_be_saved(system: SystemKey) -> bool:
    """Whether a model can have the probe of a system, and embed new images for it."""
    return system.probe.partition(":")[0] in PROBES and not system.backbone.startswith(IMPORTED)
