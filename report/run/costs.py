"""What systems cost to fit: time, memory, epochs, and how many parameters they train."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from ...evaluate import Run
from ...evaluate.results.schemas import RESAMPLE, SYSTEM

_FIT = [*SYSTEM, *RESAMPLE]
_COSTS = ["fit_s", "predict_s", "peak_bytes", "epochs", "trained_parameters"]


def costs_of(run: Run) -> pd.DataFrame:
    """A row per system.

    Returns:
        The columns of a `SystemKey`; `fit_s` and `predict_s`, seconds per fit, mean over the resamples; `peak_bytes`,
        the most of any; `epochs` that the tested model's training took, mean; `trained_parameters`. NaN where a system
        has no such number.
    """
    fits = run.scores.drop_duplicates(_FIT)
    trained = [json.loads(params).get("trained_parameters", np.nan) for params in fits["params"]]
    table = run.timings.merge(fits[_FIT].assign(trained_parameters=trained), on=_FIT)
    epochs = pd.DataFrame(columns=[*_FIT, "epochs"])
    if run.epochs is not None:
        epochs = run.epochs.groupby(_FIT)["epoch"].max().rename("epochs").reset_index()
    table = table.merge(epochs, on=_FIT, how="left")
    how = {**dict.fromkeys(_COSTS, "mean"), "peak_bytes": "max"}
    return table.groupby(list(SYSTEM))[_COSTS].agg(how).reset_index()
