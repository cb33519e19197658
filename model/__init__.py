"""A fitted probe with its backbone, as a folder: what predicts new images.

In: a manifest and its embeddings, or a run whose best system is wanted. Out: `Model`, in memory or on disk, and tables
of predictions. Torch is imported when images are embedded, and not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base.lazy import lazy_names

if TYPE_CHECKING:
    from .fitting import fit_model
    from .images import manifest_of
    from .model import Model
    from .onnx_file import export_onnx
    from .predicting import predict_manifest
    from .run_choice import fit_run
    from .saved import load_model, save_model

__all__ = [
    "Model",
    "export_onnx",
    "fit_model",
    "fit_run",
    "load_model",
    "manifest_of",
    "predict_manifest",
    "save_model",
]

_MODULES = {
    "fit_model": "fitting",
    "manifest_of": "images",
    "Model": "model",
    "export_onnx": "onnx_file",
    "predict_manifest": "predicting",
    "fit_run": "run_choice",
    "load_model": "saved",
    "save_model": "saved",
}

__getattr__ = lazy_names(__name__, _MODULES)
