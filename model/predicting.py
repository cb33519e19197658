"""Predictions for a whole manifest: embedded as the training images were, aggregated by unit, as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..base import ProbeError, QuarantineError, one_of
from ..cache import EmbeddingCache, EmbeddingSpec
from ..cache.index import digest_keys
from ..cache.spec import published_path
from ..manifests import IntensityPolicy, Manifest
from ..probe.data.features import PREDICTIONS, aggregate
from ..probe.data.probe_data import ProbeData
from .model import Model

if TYPE_CHECKING:
    from ..extract import Backbone
    from ..extract.multi_device import Loaded

FAR = 99.0
"""Percentile from which an image counts as far from the training images."""
_SUSPICIOUS = 0.2
"""Share of far units from which something is likely wrong; of images like the training images it is 0.01."""
_SHOWN = 5
"""Units whose names a warning has."""


def predict_manifest(
    model: Model,
    manifest: Manifest,
    store: Path | str,
    *,
    workers: int | None = None,
    batch_size: int | None = None,
    show_progress: bool = True,
    on_loaded: Callable[[Sequence[Any]], None] = lambda _: None,
) -> pd.DataFrame:
    """Predicts every unit of a manifest, with labels or without.

    Images are embedded into a cache in `store`, as `extract` does it: what is there is not embedded again, and a run
    that was killed goes on where it was. Stored values become pixels as the model's `reading` says, not the card's.

    Args:
        model: which.
        manifest: what to predict; units are combined by the model's aggregation.
        store: the folder of caches.
        workers: as in `extract`.
        batch_size: as in `extract`.
        show_progress: as in `extract`.
        on_loaded: called with what each device has loaded, before anything is embedded.

    Returns:
        One row per unit, in the order of their ids: `unit_id` (`sample_id` where the manifest has no such column),
        `predicted` (the class; for multilabel those from 0.5, joined by semicolons), `unusual` (0 to 100: percentage of
        training units that are no further from their neighbours; a fine-tuned network has no such column), `trained_on`
        (whether the model was fitted on equal pixels; missing where that is not known), `p_CLASS` for every class
        (float32), and `problem`, why there is no prediction, or which images it lacks; "" where it is whole.

    Raises:
        ProbeError: the manifest has other modalities than the model.
        BackboneError, WeightsError: the backbone cannot be had as it was.
        CacheError, OutputError, WorkerError: as in `extract`; or no image could be embedded.

    Examples:
        >>> from medprobe.extract import extract, load_backbone
        >>> from medprobe.model import fit_model, predict_manifest
        >>> backbone = load_backbone("timm:test_vit@random", device="cpu", runtime="torch")
        >>> [cache] = extract(manifest, [backbone], folder / "store", workers=0, show_progress=False)
        >>> model = fit_model(manifest, cache, progress=False)
        >>> table = predict_manifest(model, manifest, folder / "store", workers=0, show_progress=False)
        >>> len(table), list(table.columns)
        (60, ['sample_id', 'predicted', 'unusual', 'trained_on', 'p_benign', 'p_malignant', 'problem'])
    """
    manifest = _read_as_training_images(manifest, model.facts.reading)
    options = {"workers": workers, "batch_size": batch_size, "show_progress": show_progress}
    cache = _embedded(model, manifest, Path(store), on_loaded, options)
    data, units = ProbeData.of(manifest, [cache], model.facts.aggregation), manifest.units()
    _require_same_modalities(model, data)
    table = pd.DataFrame({"unit_id" if "unit_id" in manifest.table else "sample_id": units.unit_id})
    proba, far = np.full((len(units), len(model.classes)), np.nan), np.full(len(units), np.nan)
    proba[data.usable], far[data.usable] = _predicted(model, data)
    done = data.usable
    table["predicted"] = np.where(done, model.named(np.nan_to_num(proba)), "")
    if model.neighbours is not None:
        table["unusual"] = far.round(2)
    table["trained_on"] = _trained_on(model, data)
    for name, column in zip(model.classes, proba.T, strict=True):
        table[f"p_{name}"] = column.astype(np.float32)
    table["problem"] = _problems(manifest, cache, done)
    return table


def _read_as_training_images(manifest: Manifest, reading: IntensityPolicy) -> Manifest:
    """The manifest under the model's intensity policy, which decides whether rows have windows of their own.

    Raises:
        ProbeError: they have such as another policy makes.
    """
    table, where = manifest.table, manifest.path or manifest.name
    if manifest.card.reading != reading:
        has_windows, paths = "window" in table, table["path"].astype(str).str.lower()
        of_series = not (isinstance(reading.window, tuple) or reading.scope == "slice")
        if of_series and (has_windows or paths.str.endswith((".dcm", ".dicom")).any()):
            what = "its column window was made" if has_windows else "its series were listed"
            raise ProbeError(
                f"{where}: {what} under another intensity policy (the card's `reading`) than that of the model. Build"
                " the manifest again with the same options, or predict the folder of the images."
            )
        table = table.drop(columns="window", errors="ignore")
    return Manifest(table, manifest.card.model_copy(update={"reading": reading}), manifest.path)


def _embedded(
    model: Model, manifest: Manifest, store: Path, on_loaded: Callable[[Sequence[Any]], None], options: dict[str, Any]
) -> EmbeddingCache:
    """The cache of the manifest under the model's spec."""
    from ..extract import choose_devices, extract, extract_on
    from ..extract.same_spec import recipe_of, require_same

    facts, specs = model.facts, list[EmbeddingSpec]()
    devices = choose_devices(model.device, facts.spec.runtime)

    def check(loaded: Sequence[Backbone | Loaded]) -> None:
        specs.extend(one.spec for one in loaded)
        require_same(facts.spec, specs)
        on_loaded(loaded)

    try:
        if len(devices) == 1 or model.network is not None:
            check([model.backbone])
            return extract(manifest, [model.backbone], store, **options)[0]
        recipe = recipe_of(facts.spec, facts.reading, backbone=model.backbone_name)
        return extract_on(devices, manifest, [recipe], store, on_loaded=check, **options)[0]
    except QuarantineError:
        # What could be embedded is published; each image that could not has its reason in the table.
        return EmbeddingCache.open(published_path(store, manifest.name, specs[0]))


def _predicted(model: Model, data: ProbeData) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (U, C) and percentiles (U,) of the usable units; of several rows of one the largest percentile.

    Without training neighbours a percentile is NaN.
    """
    X = data.features(0, model.facts.pooling, learnt=False)
    proba = model.probe.predict_proba(X)
    far = np.full(len(X), np.nan) if model.neighbours is None else model.neighbours.percentiles(X)
    if model.facts.aggregation == PREDICTIONS:
        count = int(data.usable.sum())
        proba = aggregate(proba, data.unit, count).astype(np.float64)
        far = aggregate(far[:, None], data.unit, count, how="max")[:, 0]
    return model.calibrated(proba), far


def _trained_on(model: Model, data: ProbeData) -> pd.Series:
    """(U,) nullable: whether the model or its network was trained on an image of each unit; missing without vectors."""
    found = pd.Series(pd.NA, np.arange(len(data.units)), "boolean")
    [cache] = data.caches
    seen = np.isin(digest_keys(data.all_digests), digest_keys(model.trained_on))
    seen |= cache.trained_on[cache.rows_of(data.sample_ids)]
    found[data.usable] = np.bincount(data.unit, seen, int(data.usable.sum())) > 0
    return found


def _require_same_modalities(model: Model, data: ProbeData) -> None:
    if model.facts.aggregation != "concat":
        return
    ours = set() if data.modality is None else set(data.modality)
    if ours != set(model.facts.modalities):
        raise ProbeError(
            f"{data.manifest.name}: has the modalities {one_of(sorted(ours)) or 'none'}, and the model combines"
            f" {one_of(model.facts.modalities)}; give images of the same ones."
        )


def _problems(manifest: Manifest, cache: EmbeddingCache, done: np.ndarray) -> np.ndarray:
    """Why units have no prediction, or one without some of their images, (U,) object; "" where it is whole."""
    units, reasons = manifest.units(), cache.quarantine
    problems = np.full(len(done), "", object)
    problems[~done] = "it has no image that could be embedded"
    bad = np.array([sample in reasons for sample in manifest.sample_ids], bool)
    images, lost = (np.bincount(rows, minlength=len(done)) for rows in (units.sample_unit, units.sample_unit[bad]))
    for row in np.flatnonzero(bad)[::-1]:  # the first of a unit is what stays
        unit, reason = units.sample_unit[row], reasons[str(manifest.sample_ids[row])]
        problems[unit] = f"without {lost[unit]:,} of {images[unit]:,} images: {reason}" if done[unit] else reason
    return problems


def trained_on_in_words(table: pd.DataFrame) -> str:
    """Which units the model was fitted on, and what that means; "" where none is."""
    names = table.iloc[:, 0][table["trained_on"].fillna(False).astype(bool)]
    if names.empty:
        return ""
    return (
        f"the model was fitted on images of {len(names):,} of {len(table):,}, so that their probabilities are too good"
        f" (column trained_on): {one_of(names, most=_SHOWN)}."
    )


def predicted_units(table: pd.DataFrame) -> pd.Series:
    """Which units of a table of `predict_manifest` have a prediction, bool."""
    return table.iloc[:, -2].notna()  # the probability of the last class


def unusual_in_words(table: pd.DataFrame) -> str:
    """Which units are far from all training images, and what that means; "" where none is, or where it is not known."""
    if "unusual" not in table:
        return ""
    far = table[table["unusual"] >= FAR].sort_values("unusual", ascending=False, kind="stable")
    done = int(table["unusual"].notna().sum())
    if far.empty:
        return ""
    named = [f"{name} ({value:g})" for name, value in zip(far.iloc[:, 0], far["unusual"], strict=True)]
    text = (
        f"{len(far):,} of {done:,} {'is' if len(far) == 1 else 'are'} more unusual than {FAR:g} % of the training"
        f" images, so that their probabilities mean little, however high: {one_of(named, most=_SHOWN)}."
    )
    if len(far) < _SUSPICIOUS * done:
        return f"{text} Of images like the training images 1 in 100 is."
    return f"{text} Are they of another modality, body part or scanner?"
