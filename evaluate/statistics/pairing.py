"""What is compared with what: backbones under one probe, or probes on one backbone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from ...base import look_up
from ..results.schemas import SystemKey

COMPARISON_AXES = {"backbones": "probe", "probes": "backbone"}
"""What may be compared, and what is then the same on both sides."""


class Pair(NamedTuple):
    """Two systems of one data set and one budget."""

    dataset: str
    budget: str
    within: str
    """The probe or the backbone that both have."""
    a: str
    b: str
    first: int
    """Positions among the systems."""
    second: int

    def columns(self, between: str) -> dict[str, str]:
        """What the tables say of the pair."""
        same = {COMPARISON_AXES[between]: self.within}
        return {"dataset": self.dataset, **same, "budget": self.budget, "a": self.a, "b": self.b}


def pairs(systems: Sequence[SystemKey], between: str) -> Iterator[Pair]:
    """Every two that can be compared, in the order of the names.

    Raises:
        ProbeError: `between` is none of `COMPARISON_AXES`.
    """
    sides = list(zip(systems, sides_of(systems, between), strict=True))
    order = sorted(range(len(sides)), key=lambda i: (sides[i][1][0], sides[i][0].budget, sides[i][0]))
    for first, second in combinations(order, 2):
        (one, (within, a)), (other, (same, b)) = sides[first], sides[second]
        if (one.dataset, one.budget, within) == (other.dataset, other.budget, same):
            yield Pair(one.dataset, one.budget, within, a, b, first, second)


def sides_of(systems: Sequence[SystemKey], between: str) -> list[tuple[str, str]]:
    """For each system, what stays the same in a comparison and what is compared: a probe and a backbone, or turned.

    Raises:
        ProbeError: `between` is none of `COMPARISON_AXES`.
    """
    look_up("kind of comparison", between, COMPARISON_AXES)
    labels = system_labels(list(systems))
    named = [(system.probe, labels[system]) for system in systems]
    return named if between == "backbones" else [(backbone, probe) for probe, backbone in named]


def system_labels(systems: list[SystemKey]) -> dict[SystemKey, str]:
    """A label for each system within its probe: the backbone, with its pooling where it has several."""
    poolings: dict[tuple[str, str], set[str]] = {}
    for system in systems:
        poolings.setdefault((system.dataset, system.backbone), set()).add(system.pooling)
    return {
        system: f"{system.backbone}/{system.pooling}"
        if len(poolings[system.dataset, system.backbone]) > 1
        else system.backbone
        for system in systems
    }
