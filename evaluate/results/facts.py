"""What run.json says of a run, in one order, whatever the order of options and of runs that were merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...manifests.validation.diagnostics import CODES, SEVERITIES


def in_order(info: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a run with what is listed in them sorted; warnings the most severe first, each once."""
    warnings = sorted(set(zip(info["warning_codes"], info["warnings"], strict=True)), key=_place_of_warning)
    return {
        **info,
        "seeds": sorted(info["seeds"]),
        **{name: dict(sorted(info[name].items())) for name in ("budgets", "probes", "versions")},
        "caches": sorted(info["caches"], key=lambda cache: (cache["backbone"], cache["fingerprint"])),
        "warnings": [message for _, message in warnings],
        "warning_codes": [code for code, _ in warnings],
    }


def _place_of_warning(warning: tuple[str, str]) -> tuple[int, str, str]:
    code, message = warning
    # A run of a newer version may have codes that are unknown here.
    return SEVERITIES.index(CODES[code].severity if code in CODES else "warning"), code, message


def backbone_labels(backbones: Sequence[tuple[str, str]]) -> list[str]:
    """What the backbone of each cache is called in a run, from its name and the fingerprint of the cache's spec.

    Examples:
        >>> from medprobe.evaluate.results.facts import backbone_labels
        >>> backbone_labels([("net", "0f"), ("other", "1a"), ("net", "2b")])
        ['net@0f', 'other', 'net@2b']
    """
    names = [name for name, _ in backbones]
    return [name if names.count(name) == 1 else f"{name}@{fingerprint}" for name, fingerprint in backbones]
