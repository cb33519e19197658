"""One adapter per source library: how it builds an architecture, preprocesses for it, and what its outputs are called.

In: an `Entry`. Out: a network, its `TransformSpec`, and `Features` of a batch. A further library is one file and one
line here.
"""

from __future__ import annotations

from ..catalogue import SourceLibrary
from .from_open_clip import OpenClipAdapter
from .from_seem import SeemAdapter
from .from_timm import TimmAdapter
from .from_transformers import TransformersAdapter
from .interface import Adapter, Features, Inside, Place, Wanted

ADAPTERS: dict[SourceLibrary, Adapter] = {
    "timm": TimmAdapter(),
    "hf": TransformersAdapter(),
    "open_clip": OpenClipAdapter(),
    "seem": SeemAdapter(),
}

__all__ = ["ADAPTERS", "Adapter", "Features", "Inside", "Place", "Wanted"]
