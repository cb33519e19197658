"""p-values adjusted for how many there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from scipy import stats

from ...base import look_up

ALPHA = 0.05
"""Below which an adjusted p-value is called significant."""


def holm(p: np.ndarray) -> np.ndarray:
    """p-values adjusted for their number (Holm 1979, jstor 4615733); NaN stays NaN and is not counted.

    Examples:
        >>> import numpy as np
        >>> from medprobe.evaluate import holm
        >>> holm(np.array([0.01, 0.02, 0.04])).round(3).tolist()
        [0.03, 0.04, 0.04]
    """
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """p-values adjusted for the false discovery rate (Benjamini and Hochberg 1995), by SciPy; NaN is not counted.

    Examples:
        >>> import numpy as np
        >>> from medprobe.evaluate import benjamini_hochberg
        >>> benjamini_hochberg(np.array([0.01, 0.02, 0.04])).round(3).tolist()
        [0.03, 0.03, 0.04]
    """
    adjusted = np.full(len(p), np.nan)
    known = np.isfinite(p)
    if known.any():
        adjusted[known] = stats.false_discovery_control(p[known], method="bh")
    return adjusted


CORRECTIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {"holm": holm, "bh": benjamini_hochberg}
"""Ways of adjusting. A further one is one function and one entry here."""


def with_correction(table: pd.DataFrame, correction: str) -> pd.DataFrame:
    """A table with `p`, and `p_adjusted`, `correction` and `significant` filled in for the number of its rows.

    Raises:
        ProbeError: there is no such correction.
    """
    adjusted = look_up("correction", correction, CORRECTIONS)(table["p"].to_numpy(np.float64))
    return table.assign(p_adjusted=adjusted, correction=correction, significant=adjusted < ALPHA)
