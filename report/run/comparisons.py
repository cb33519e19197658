"""Comparisons as a report reads them: the better system first, or the fine-tuned one against the frozen one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ...evaluate import Metric, Run, compare


def better_first(table: pd.DataFrame, summary: pd.DataFrame, sign: float) -> pd.DataFrame:
    """The comparisons of backbones with a and b swapped where b is the better; see `_turned`."""
    # By the order of the summary rather than by the sign of the difference, so that equal means have an order too.
    rank = {(row.probe, row.budget, row.label): place for place, row in enumerate(summary.itertuples())}
    sides = table[["probe", "budget", "a", "b"]].itertuples(index=False)
    where = np.array([rank[probe, budget, b] < rank[probe, budget, a] for probe, budget, a, b in sides], dtype=bool)
    return _turned(table, where, sign)


def against_frozen(run: Run, summary: pd.DataFrame, metric: Metric, fine_tuned: Sequence[str]) -> pd.DataFrame:
    """Each fine-tuned system of a summary, compared with the best frozen probe on the same backbone and pooling.

    Returns:
        As `compare` between probes gives it, with `a` the fine-tuned and `b` the frozen probe, the columns of
        `_turned`, and `compared`, the number of comparisons that p-values are corrected for: all between probes.
        Empty where nothing was fine-tuned, or has no frozen probe beside it.
    """
    if not fine_tuned:
        return pd.DataFrame()
    table = compare(run, "probes", metric=metric.name)
    table = table.assign(compared=int(table["p"].notna().sum()))
    frozen = summary[~summary["probe"].isin(fine_tuned)].drop_duplicates("label").set_index("label")["probe"]
    best = table["backbone"].map(frozen)
    where = (table["a"] == best) & table["b"].isin(fine_tuned)
    chosen = where | ((table["b"] == best) & table["a"].isin(fine_tuned))
    chosen &= table["budget"].isin(summary["budget"])
    return _turned(table[chosen], where[chosen].to_numpy(bool), metric.sign).reset_index(drop=True)


def _turned(table: pd.DataFrame, where: np.ndarray, sign: float) -> pd.DataFrame:
    """The comparisons with a and b swapped in the rows at `where`.

    `advantage`, `advantage_low` and `advantage_high` are the difference in the direction in which more is better.
    """
    out = table.copy()
    for one, other in (("a", "b"), ("mean_a", "mean_b")):
        out[one], out[other] = table[one].mask(where, table[other]), table[other].mask(where, table[one])
    # 0 - x rather than -x: no row shall end in a minus zero.
    out["difference"] = table["difference"].mask(where, 0 - table["difference"])
    out["low"], out["high"] = table["low"].mask(where, 0 - table["high"]), table["high"].mask(where, 0 - table["low"])
    ends = np.sort(sign * out[["low", "high"]].to_numpy(np.float64), axis=1)
    return out.assign(advantage=sign * out["difference"], advantage_low=ends[:, 0], advantage_high=ends[:, 1])
