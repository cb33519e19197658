"""What is compared with what: backbones under one probe, probes on one backbone, or systems of both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from ...base import look_up
from ..results.schemas import SystemKey

COMPARISON_AXES: dict[str, tuple[str, ...]] = {"backbones": ("probe",), "probes": ("backbone",), "systems": ()}
"""What may be compared, and the column of what is then the same on both sides; of systems nothing is."""


def pairs(systems: Sequence[SystemKey], between: str) -> Iterator[tuple[dict[str, str], int, int]]:
    """Every two that can be compared, in the order of the names: the columns of the pair, and where both are."""
    sides = list(zip(systems, sides_of(systems, between), strict=True))
    order = sorted(range(len(sides)), key=lambda i: (sides[i][1][0], sides[i][0].budget, sides[i][0]))
    for first, second in combinations(order, 2):
        (one, (within, a)), (other, (same, b)) = sides[first], sides[second]
        if (one.dataset, one.budget, within) == (other.dataset, other.budget, same):
            same_on_both = dict.fromkeys(COMPARISON_AXES[between], within)
            yield {"dataset": one.dataset, **same_on_both, "budget": one.budget, "a": a, "b": b}, first, second


def sides_of(systems: Sequence[SystemKey], between: str) -> list[tuple[str, str]]:
    """For each system, what stays the same in a comparison and what is compared.

    A probe and a backbone, or turned, or nothing and both, as `vit with knn`.

    Raises:
        ProbeError: `between` is none of `COMPARISON_AXES`.
    """
    look_up("kind of comparison", between, COMPARISON_AXES)
    labels = system_labels(list(systems))
    kinds = {
        "backbones": lambda probe, backbone: (probe, backbone),
        "probes": lambda probe, backbone: (backbone, probe),
        "systems": lambda probe, backbone: ("", f"{backbone} with {probe}"),
    }
    return [kinds[between](system.probe, labels[system]) for system in systems]


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
