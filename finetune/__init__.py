"""Images to results with the backbone partly or wholly unfrozen, on the resamples and scores of the frozen probes.

In: a manifest, a backbone and a mode such as `partial:2`. Out: a `Run`, as a probe gives it.
Torch is imported when a name that needs it is first requested.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base.errors import FinetuneError
from ..base.lazy import lazy_names

if TYPE_CHECKING:
    from .network.describe import describe_modes
    from .network.saved import load_classifier
    from .runner import run_finetune
    from .training.checkpoint import Interrupted
    from .training.recipe import Recipe

__all__ = ["Interrupted", "Recipe", "describe_modes", "load_classifier", "run_finetune"]

_MODULES = {
    "Interrupted": "training.checkpoint",
    "Recipe": "training.recipe",
    "describe_modes": "network.describe",
    "load_classifier": "network.saved",
    "run_finetune": "runner",
}

__getattr__ = lazy_names(__name__, _MODULES, "finetune", FinetuneError, "nothing can be fine-tuned")
