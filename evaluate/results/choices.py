"""What was chosen on val: the values of each system over its resamples, in words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from statistics import median_low
from typing import Any

from .commands import NETWORK
from .run import Run
from .schemas import RESAMPLE, SYSTEM, SystemKey

_NOT_CHOSEN = ("trained_parameters",)
"""What `params` of the scores has besides."""


def chosen_in_words(run: Run) -> dict[SystemKey, str]:
    """For each system its chosen values: `C=0.1 (0.01 to 1)`, the median and, where resamples differ, the range; of
    words all, the most frequent first; "" where nothing was chosen.
    """
    fits = run.scores.drop_duplicates([*SYSTEM, *RESAMPLE])
    values: dict[SystemKey, dict[str, list[Any]]] = {}
    # A probe may have a value for each label. Elsewhere a list is one value: a range, or the sizes of layers.
    foreign = {name for name, about in run.info["probes"].items() if "estimator" in about["settings"]}
    for system, params in zip(SystemKey.of_rows(fits), fits["params"], strict=True):
        of_system = values.setdefault(system, {})
        for name, value in json.loads(params).items():
            if name not in _NOT_CHOSEN:
                is_one = system.probe.startswith(NETWORK) or system.probe in foreign
                several = isinstance(value, list) and not is_one
                of_system.setdefault(name, []).extend(value if several else [value])
    return {
        system: ", ".join(f"{name}={_in_words(some)}" for name, some in of_system.items())
        for system, of_system in values.items()
    }


def _in_words(values: Sequence[Any]) -> str:
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return "/".join(value for value, _ in Counter(map(str, values)).most_common())
    ends = (min(values), median_low(values), max(values))
    low, middle, high = (f"{value:.3g}" if isinstance(value, float) else str(value) for value in ends)
    return middle if low == high else f"{middle} ({low} to {high})"
