"""Images to results with the backbone partly or wholly unfrozen, on the resamples and scores of the frozen probes.

In: a manifest, a backbone and a mode such as `partial:2`. Out: a `Run`, as a probe gives it.
Torch is imported when a name that needs it is first requested.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..base.errors import FinetuneError
from ..base.text import install_command

if TYPE_CHECKING:
    from .network.describe import describe_modes
    from .network.saved import load_classifier
    from .runner import run_finetune
    from .training.checkpoint import Interrupted
    from .training.recipe import Recipe

__all__ = ["Interrupted", "Recipe", "describe_modes", "load_classifier", "run_finetune"]

_LAZY = {
    "Interrupted": "training.checkpoint",
    "Recipe": "training.recipe",
    "describe_modes": "network.describe",
    "load_classifier": "network.saved",
    "run_finetune": "runner",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    except ModuleNotFoundError as error:
        raise FinetuneError(
            f"{error.name} is not installed, and nothing can be fine-tuned without it: {install_command('finetune')}."
            " Probes and reports work without it."
        ) from error
