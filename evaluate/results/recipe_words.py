"""What settings of a network's training mean where they are not set: the numbers that training uses, and words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RATE, RATE_OF_A_LINEAR_LAYER = 1e-3, 1e-2
"""Highest learning rates where a recipe has none: that of a linear layer where nothing else is trained."""
DECAY_WITH_ATTENTION = 0.75
"""Layer decay of networks with attention, as MAE (He et al. 2022) is fine-tuned. Convolutional networks learn more
where all blocks have the same rate."""

_UNSET = {
    "crop_scale": "the crop of the evaluation",
    "color_jitter": "no change",
    "auto_augment": "no policy",
    "layer_decay": f"{DECAY_WITH_ATTENTION:g} in networks with attention, else 1",
    "warmup_steps": "those of warmup_epochs",
    "clip_grad": "no bound",
    "class_weight": "1 for every unit",
    "ema": "no average of weights",
    "views": "fresh ones each epoch, where they are random",
    "patience": "all epochs are trained",
}


def setting_in_words(name: str, settings: Mapping[str, Any]) -> str:
    """A setting of a probe or a network, as run.json has it, for a reader: `0.001` for a rate that is not set.

    Examples:
        >>> from medprobe.evaluate.results.recipe_words import setting_in_words
        >>> setting_in_words("lr", {"mode": "linear", "lr": None}), setting_in_words("C", {"C": [0.1, 1]})
        ('0.01', '{0.1, 1}')
    """
    value = settings[name]
    if value is None and name == "lr" and "mode" in settings:
        is_linear = settings["mode"].rpartition("+")[2] == "linear"
        return f"{RATE_OF_A_LINEAR_LAYER if is_linear else RATE:g}"
    if value is None:
        return _UNSET.get(name, "none")
    if isinstance(value, Mapping):
        return "; ".join(f"{one} = {setting_in_words(one, value)}" for one in value)
    return f"{{{', '.join(map(str, value))}}}" if isinstance(value, list) else str(value)
