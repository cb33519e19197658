"""Images to embeddings: backbones, their weights and preprocessing, the loader and the batch engine.

In: a manifest and the names of backbones. Out: one published cache per backbone.
Torch is imported when a name that needs it is first requested, so that listing the catalogue stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base import BackboneError
from ..base.lazy import lazy_names
from .catalogue import Entry, catalogue, list_backbones, resolve
from .weights.download import weights_here

if TYPE_CHECKING:
    from .adapters.own_encoder import Encoder
    from .architecture import preprocessing_of
    from .backbone import Backbone, load_backbone
    from .cost import estimate_cost
    from .device import choose_devices
    from .engine import extract
    from .multi_device import extract_on
    from .normalization import Normalization, dataset_normalization, read_normalization
    from .same_spec import load_spec

__all__ = [
    "Backbone",
    "Encoder",
    "Entry",
    "Normalization",
    "catalogue",
    "choose_devices",
    "dataset_normalization",
    "estimate_cost",
    "extract",
    "extract_on",
    "list_backbones",
    "load_backbone",
    "load_spec",
    "preprocessing_of",
    "read_normalization",
    "resolve",
    "weights_here",
]

_MODULES = {
    "Backbone": "backbone",
    "load_backbone": "backbone",
    "load_spec": "same_spec",
    "Encoder": "adapters.own_encoder",
    "preprocessing_of": "architecture",
    "extract": "engine",
    "Normalization": "normalization",
    "dataset_normalization": "normalization",
    "read_normalization": "normalization",
    "choose_devices": "device",
    "extract_on": "multi_device",
    "estimate_cost": "cost",
}

__getattr__ = lazy_names(__name__, _MODULES, "extract", BackboneError, "images cannot be embedded")
