"""What systems cost to fit: time, memory, and how many parameters they train."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from ...evaluate import Run, SystemKey
from ...evaluate.results.schemas import RESAMPLE, SYSTEM


def costs_of(run: Run) -> pd.DataFrame:
    """A row per system.

    Returns:
        The columns of a `SystemKey`; `fit_s` and `predict_s`, seconds per fit, mean over the resamples; `peak_bytes`,
        the most of any; `epochs`, mean; `trained_parameters`. NaN where a system has no such number.
    """
    seconds = run.timings.groupby(list(SYSTEM)).agg(
        fit_s=("fit_s", "mean"), predict_s=("predict_s", "mean"), peak_bytes=("peak_bytes", "max")
    )
    fits = run.scores.drop_duplicates([*SYSTEM, *RESAMPLE])
    stated = [json.loads(params) for params in fits["params"]]
    chosen = fits[list(SYSTEM)].assign(
        **{name: [one.get(name, np.nan) for one in stated] for name in ("epochs", "trained_parameters")}
    )
    means = chosen.groupby(list(SYSTEM))[["epochs", "trained_parameters"]].mean()
    return seconds.join(means).reset_index()[[*SystemKey._fields, *_COSTS]]


_COSTS = ["fit_s", "predict_s", "peak_bytes", "epochs", "trained_parameters"]
