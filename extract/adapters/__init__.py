"""One adapter per source library: how it builds an architecture, preprocesses for it, and what its outputs are called.

In: an `Entry`. Out: a network, its `TransformSpec`, and `Features` of a batch. A further library is one file and one
line here.
"""

from __future__ import annotations

from importlib import import_module

from ..catalogue import SourceLibrary
from .interface import Adapter, Features, Inside, Matcher, Place, Wanted

_PLACES: dict[SourceLibrary, tuple[str, str]] = {
    "timm": ("from_timm", "TimmAdapter"),
    "hf": ("from_transformers", "TransformersAdapter"),
    "open_clip": ("from_open_clip", "OpenClipAdapter"),
    "seem": ("from_seem", "SeemAdapter"),
    "python": ("from_python", "PythonAdapter"),
    "onnx": ("from_onnx", "OnnxAdapter"),
    "pt2": ("from_pt2", "Pt2Adapter"),
}


class _Adapters(dict[SourceLibrary, Adapter]):
    """Each library is imported when a backbone of it is first requested, as some take seconds."""

    def __missing__(self, source: SourceLibrary) -> Adapter:
        module, name = _PLACES[source]
        self[source] = getattr(import_module(f".{module}", __name__), name)()
        return self[source]


ADAPTERS = _Adapters()

__all__ = ["ADAPTERS", "Adapter", "Features", "Inside", "Matcher", "Place", "Wanted"]
