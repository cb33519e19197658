"""What a block is: the stem, the numbered blocks and the tail of any network, by names of parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from timm.models import group_parameters
from torch import nn

from ...extract.adapters import Matcher


@dataclass(frozen=True)
class Blocks:
    """The parts of a network in the order in which they are run.

    A block is the finest part that the network's library counts: one of the 12 of a ViT-B, of the 16 of a ResNet50, of
    the 12 of a Swin-T. Before them comes the stem: patch embedding, positions, class token, first convolution. After
    them comes the tail: last norm, last 1 x 1 convolution, projection.
    """

    count: int
    numbers: Mapping[str, int]
    """By name of a parameter: 0 for the stem, 1 to `count` for the blocks, `count + 1` for the tail."""

    @classmethod
    def of(cls, network: nn.Module, matcher: Matcher | None) -> Blocks:
        """The parts of a network as its library divides it; without a matcher all of it is the tail."""
        names = [name for name, _ in network.named_parameters()]
        if matcher is None:
            return cls(0, dict.fromkeys(names, 1))
        if isinstance(matcher, Mapping):
            matcher = _without_tail(matcher)
        groups: Any = group_parameters(network, matcher, reverse=True)
        in_stem, in_tail = _ends(names, matcher)
        first = 0 if any(map(in_stem, names)) else 1
        count = max((groups[name] + first for name in names if not in_tail(name)), default=0)
        return cls(count, {name: groups[name] + first for name in names})

    def last(self, count: int) -> set[str]:
        """Names of the parameters of the last `count` blocks, without the tail's."""
        return {name for name, number in self.numbers.items() if self.count - count < number <= self.count}

    @property
    def tail(self) -> set[str]:
        """Names of the parameters after the last block."""
        return {name for name, number in self.numbers.items() if number > self.count}


def _specs(spec: Any) -> list[tuple[str, Any]]:
    """Pairs of a pattern and further numbers."""
    return [(spec, None)] if isinstance(spec, str) else list(spec)


def _without_tail(matcher: Mapping[str, Any]) -> dict[str, list[tuple[str, Any]]]:
    """Without the patterns that count nothing: with them timm adds the last norm to the last block."""
    parts = {name: [pair for pair in _specs(spec) if name == "stem" or _counts(pair)] for name, spec in matcher.items()}
    return {name: pairs for name, pairs in parts.items() if pairs}


def _counts(pair: tuple[str, Any]) -> bool:
    return re.compile(pair[0]).groups > 0


def _ends(names: list[str], matcher: Matcher) -> tuple[Callable[[str], bool], Callable[[str], bool]]:
    """Whether a name is of the stem, and whether of the tail."""
    if not isinstance(matcher, Mapping):
        ordinals = {name: matcher(name) for name in names}
        return lambda name: ordinals[name] == 0, lambda name: ordinals[name] == float("inf")
    all_pairs = [pair for pairs in matcher.values() for pair in pairs]
    return lambda name: _any(matcher.get("stem", []), name), lambda name: not _any(all_pairs, name)


def _any(pairs: list[tuple[str, Any]], name: str) -> bool:
    return any(re.match(pattern, name) for pattern, _ in pairs)
