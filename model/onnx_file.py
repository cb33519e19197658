"""Models as ONNX: a linear probe and its backbone in one file that needs neither medprobe nor torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base import ProbeError
from ..evaluate.metrics.functions import SMALLEST
from .estimators import FittedProbe
from .model import Model

if TYPE_CHECKING:
    from ..extract.onnx_export import LinearHead


def export_onnx(model: Model, file: Path | str) -> Path:
    """Writes backbone and probe as one ONNX file; returns the file.

    Its input `images` is uint8 (batch, channels, height, width), resized and cropped as its metadata `transform` says;
    its output `probabilities` is float32 (batch, classes), in the order of its metadata `classes`, calibrated where the
    model is. It computes in fp32.

    Args:
        model: with the probe `logreg` or `centroid`, and one vector per image.
        file: to write, e.g. `brain.onnx`.

    Raises:
        ProbeError: the probe is not linear, or the model combines modalities.
        BackboneError: the network cannot be exported.
        OutputError: the file cannot be written.

    Examples:
        >>> from medprobe.extract import extract, load_backbone
        >>> from medprobe.model import export_onnx, fit_model
        >>> backbone = load_backbone("timm:test_vit@random", device="cpu", runtime="torch", precision="fp32")
        >>> [cache] = extract(manifest, [backbone], folder / "linear", workers=0, show_progress=False)
        >>> export_onnx(fit_model(manifest, cache, progress=False), folder / "lesions.onnx").name
        'lesions.onnx'
    """
    facts, file = model.facts, Path(file)
    probe = require_linear(model)
    from ..extract.onnx_export import export_with_head

    metadata = {
        "classes": list(facts.classes),
        "task": facts.task,
        "backbone": facts.spec.backbone,
        "pooling": facts.pooling,
        "probe": facts.label,
    }
    export_with_head(model.backbone, facts.pooling, _head(model, probe), file, metadata)
    return file


def require_linear(model: Model) -> FittedProbe:
    """The probe of a model, which makes sure that it can be exported.

    Raises:
        ProbeError: it cannot.
    """
    if model.facts.family not in ("logreg", "centroid") or not isinstance(model.probe, FittedProbe):
        raise ProbeError(f"{model.facts.label} is not linear, so it has no ONNX export; choose logreg or centroid.")
    if model.facts.aggregation == "concat":
        raise ProbeError("a model that combines several modalities has no ONNX export: its probe reads several images.")
    return model.probe


def _head(model: Model, probe: FittedProbe) -> LinearHead:
    from ..extract.onnx_export import LinearHead

    parts: dict[str, Any] = {"constant": {}, "binary": False, "sigmoid": model.facts.multilabel}
    parts |= _of_logreg(probe) if model.facts.family == "logreg" else _of_centroid(probe)
    return LinearHead(**parts, temperature=model.facts.temperature, smallest=SMALLEST)


def _of_logreg(probe: FittedProbe) -> dict[str, Any]:
    arrays = probe.arrays
    parts: dict[str, Any] = {"shift": arrays["center"], "scale": arrays["scale"], "normalize": False}
    parts |= {"weights": arrays["weights"], "intercepts": arrays["intercepts"]}
    if probe.facts["multilabel"]:
        return {**parts, "constant": {int(label): value for label, value in probe.facts["constant"].items()}}
    is_one = len(arrays["weights"]) == 1
    return {**parts, "sigmoid": is_one, "binary": is_one}


def _of_centroid(probe: FittedProbe) -> dict[str, Any]:
    """The softmax over negative halves of squared distances is linear, up to what all classes share."""
    mean, centroids, settings = probe.arrays["mean"], probe.arrays["centroids"], probe.facts["params"]
    temperature = settings["temperature"]
    parts: dict[str, Any] = {"shift": mean, "scale": np.ones_like(mean), "normalize": settings["normalize"]}
    weights, intercepts = centroids / temperature, -(centroids**2).sum(axis=-1) / 2 / temperature
    if not probe.facts["multilabel"]:
        return {**parts, "weights": weights, "intercepts": intercepts}
    absent = np.isnan(centroids[:, :, 0])
    constant = {int(c): float(absent[c, 0]) for c in np.flatnonzero(absent.any(axis=1))}
    differences = {"weights": weights[:, 1] - weights[:, 0], "intercepts": intercepts[:, 1] - intercepts[:, 0]}
    return {**parts, **{name: np.nan_to_num(one) for name, one in differences.items()}, "constant": constant}
