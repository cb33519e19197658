"""DeLong's test of scores, for tests that compare it with others."""

from __future__ import annotations

import numpy as np
from medprobe.evaluate.statistics.delong import DeLong, RankedGroups, delong_test


def delong(truth: np.ndarray, a: np.ndarray, b: np.ndarray, group: np.ndarray) -> DeLong:
    """Of scores (S, n) of two systems, a row a model."""
    return delong_test(*([RankedGroups.of(truth, score, group) for score in side] for side in (a, b)))
