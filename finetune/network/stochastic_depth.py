"""Stochastic depth (Huang et al. 2016, arXiv 1603.09382) in a network that is already there."""

from __future__ import annotations

from timm.layers import DropPath  # pyright: ignore[reportPrivateImportUsage]
from torch import nn

from .blocks import Blocks

_PLACES = ("drop_path", "drop_path1", "drop_path2")
"""What timm and transformers call the places where a block may be skipped, whatever module is there at rate 0."""


def set_drop_path(network: nn.Module, blocks: Blocks, rate: float) -> bool:
    """Sets the rate of the last block to `rate`; it rises linearly from 0 in the first.

    Returns:
        Whether the architecture has places for it.
    """
    found = False
    for place, module in list(network.named_modules()):
        numbers = {blocks.numbers[f"{place}.{name}" if place else name] for name, _ in module.named_parameters()}
        if len(numbers) != 1 or not 1 <= (number := numbers.pop()) <= blocks.count:
            continue
        for name in _PLACES:
            held = getattr(module, name, 0)
            if held is None or isinstance(held, nn.Identity) or hasattr(held, "drop_prob"):
                setattr(module, name, DropPath(rate * (number - 1) / max(1, blocks.count - 1)))
                found = True
    return found
