"""Comparisons as a report reads them: the better system first, or the fine-tuned one against the frozen one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ...evaluate import Run, SystemKey
from ...evaluate.results.commands import commands
from ...evaluate.statistics.pairing import COMPARISON_AXES

ADDED = (
    *("within", "within_label", "a_label", "b_label", "label_a", "label_b", "probe_a", "probe_b"),
    *("advantage", "advantage_low", "advantage_high"),
)
"""The columns that comparisons have here and not in files."""
_SIDES = (("a", "b"), ("mean_a", "mean_b"), ("a_label", "b_label"), ("label_a", "label_b"), ("probe_a", "probe_b"))


def report_columns(table: pd.DataFrame, summary: pd.DataFrame, between: str, sign: float) -> pd.DataFrame:
    """The comparisons with a and b swapped where b is the better, and further columns.

    `within`, what both have; `within_label`, `a_label` and `b_label`, as a text names them; `label_a`, `label_b` (the
    backbones), `probe_a` and `probe_b`; and those of `_turned`.
    """
    [axis] = COMPARISON_AXES[between] or ("",)
    table = table.assign(within=table[axis] if axis else "")
    sides = {(row["within"], row["side"]): row for row in summary.to_dict("records")}
    # By the order of the summary rather than by the sign of the difference, so that equal means have an order too.
    rank = {
        key: place for place, key in enumerate(zip(summary["within"], summary["budget"], summary["side"], strict=True))
    }
    pairs = table[["within", "budget", "a", "b"]].itertuples(index=False)
    where = np.array([rank[w, budget, b] < rank[w, budget, a] for w, budget, a, b in pairs], dtype=bool)
    out = _turned(table, where, sign)

    for side in ("a", "b"):
        rows = [sides[key] for key in zip(out["within"], out[side], strict=True)]
        out[f"{side}_label"] = [row["side_label"] for row in rows]
        out[f"label_{side}"], out[f"probe_{side}"] = [row["label"] for row in rows], [row["probe"] for row in rows]
    heads = {row["within"]: {"backbones": row["probe_label"], "probes": row["label"]} for row in sides.values()}
    return out.assign(within_label=[heads[within].get(between, "") for within in out["within"]])


def against_frozen(
    comparisons: pd.DataFrame, summary: pd.DataFrame, sign: float, fine_tuned: Sequence[str]
) -> pd.DataFrame:
    """Each fine-tuned system of a summary, compared with the best frozen probe on the same backbone and pooling.

    Returns:
        As `compare` between probes gives it, with `a` the fine-tuned and `b` the frozen probe, and the columns of
        `report_columns`. Empty where nothing was fine-tuned, or has no frozen probe beside it.
    """
    frozen = summary[~summary["probe"].isin(fine_tuned)].drop_duplicates("label").set_index("label")["probe"]
    table = comparisons[comparisons["label_a"] == comparisons["label_b"]]
    best = table["label_a"].map(frozen)
    where = (table["probe_a"] == best) & table["probe_b"].isin(fine_tuned)
    chosen = where | ((table["probe_b"] == best) & table["probe_a"].isin(fine_tuned))
    out = _turned(table[chosen], where[chosen].to_numpy(bool), sign).reset_index(drop=True)
    return out.assign(backbone=out["label_a"], a=out["probe_a"], b=out["probe_b"])


def without_frozen(run: Run, summary: pd.DataFrame, fine_tuned: Sequence[str]) -> Iterator[str]:
    """For each backbone whose frozen probes are on other vectors than its networks: in what, and what to do."""
    specs = {cache["fingerprint"]: cache["spec"] for cache in run.info["caches"]}
    systems = SystemKey.of_rows(summary)
    networks = {one.fingerprint: one for one in systems if one.probe in fine_tuned}
    frozen = [one for one in systems if one.probe not in fine_tuned]
    for network in networks.values():
        name = specs[network.fingerprint]["backbone"]
        others = [one for one in frozen if specs[one.fingerprint]["backbone"] == name]
        if not others or any(one[:4] == network[:4] for one in others):
            continue
        missing = [one._replace(fingerprint=network.fingerprint, pooling=network.pooling) for one in others]
        filling = commands(run.info, missing, seeds=run.info["seeds"], out=f"runs/{network.dataset}-frozen")
        sides = zip(*(_in_words(specs[one.fingerprint], one) for one in (others[0], network)), strict=True)
        unlike = [(one, other) for one, other in sides if one != other]
        one, other = unlike[0] if unlike else ("vectors", "vectors that are made in another way")
        yield (
            f"What unfreezing does to {name} is not shown, because its frozen probes are of {one}, its networks of"
            f" {other}: run `{' && '.join(filling)}` and merge its run with these."
        )


def _in_words(spec: Mapping[str, Any], system: SystemKey) -> list[str]:
    """What most often differs between vectors of one backbone."""
    size = spec.get("transform", {}).get("size", ())
    return [f"images of {' × '.join(map(str, size))} pixels", f"the pooling {system.pooling}"]


def _turned(table: pd.DataFrame, where: np.ndarray, sign: float) -> pd.DataFrame:
    """The comparisons with a and b swapped in the rows at `where`.

    `advantage`, `advantage_low` and `advantage_high` are the difference in the direction in which more is better.
    """
    out = table.copy()
    for one, other in _SIDES:
        if one in table:
            out[one], out[other] = table[one].mask(where, table[other]), table[other].mask(where, table[one])
    # 0 - x rather than -x: no row shall end in a minus zero.
    out["difference"] = table["difference"].mask(where, 0 - table["difference"])
    out["low"], out["high"] = table["low"].mask(where, 0 - table["high"]), table["high"].mask(where, 0 - table["low"])
    ends = np.sort(sign * out[["low", "high"]].to_numpy(np.float64), axis=1)
    return out.assign(advantage=sign * out["difference"], advantage_low=ends[:, 0], advantage_high=ends[:, 1])
