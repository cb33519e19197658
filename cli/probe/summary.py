"""A run in one screen: the table, which backbone wins with which probe, and what a reader must be told."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..terminal.console import out, say
from ..terminal.formatting import interval, number, p_value

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from ...evaluate import Metric, Run, Verdict


def show_summary(run: Run) -> None:
    """Prints the table of a run (mean, spread over seeds, 95 % interval), the winners and the warnings."""
    from ...evaluate import compare_backbones, find_metric, run_warnings, summarise, verdicts

    metric = find_metric(run.primary_metric)
    summary = summarise(run)
    comparisons = compare_backbones(run)
    say(heading(run, metric))
    out().print(systems_table(summary), soft_wrap=False)
    for verdict in verdicts(summary, comparisons):
        say(_sentence(run, verdict))
    say("\n" + _explanation(run))
    for problem in run_warnings(run, summary):
        say(f"{problem.severity}: {problem}")


def heading(run: Run, metric: Metric) -> str:
    """What is scored, on which data set, under which protocol."""
    seeds, protocol = len(run.info["seeds"]), run.info["protocol"]
    protocol += f" of {run.info['protocol_settings']['folds']}" if protocol == "kfold" else ""
    protocol += f" on {run.info['external']['name']}" if protocol == "external" else ""
    what = f"{metric.label} on test, {seeds} seed{'s' if seeds != 1 else ''}, protocol {protocol}"
    return f"\n{run.info['dataset']['name']}: {what}"


def systems_table(summary: pd.DataFrame) -> Table:
    """Every system with its mean, its spread over seeds and its interval, to be printed."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    poolings = summary.groupby("backbone")["pooling"].nunique().max() > 1
    shown = ["probe", *(["budget"] if _curve(summary) else []), "backbone", *(["pooling"] if poolings else [])]
    for name in shown:
        table.add_column(name, overflow="fold")
    for name in ("mean", "sd", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    apart = _stands_apart(summary)
    before = ()
    for row in summary.to_dict("records"):
        part = tuple(row[name] for name in apart)
        if before and part != before:
            table.add_section()
        before = part
        names = [row[name] for name in shown]
        cells = [number(row["mean"]), number(row["sd"]), interval(row["low"], row["high"])]
        table.add_row(*map(Text, [*names, *cells]))
    return table


def _stands_apart(summary: pd.DataFrame) -> list[str]:
    """What a line parts: what was compared; on the curves of one system each, the curves; else nothing."""
    for columns in (["probe", "budget"], ["probe"]):
        if summary.groupby(columns).size().max() > 1:
            return columns
    return []


def _curve(summary: pd.DataFrame) -> bool:
    """Whether train was cut down."""
    from ...evaluate import FULL_TRAIN

    return set(summary["budget"]) != {FULL_TRAIN}


def _sentence(run: Run, verdict: Verdict) -> str:
    from ...evaluate import FULL_TRAIN, find_metric

    label = run.info["probes"][verdict.probe]["label"]
    label += f", {verdict.budget}" if verdict.budget != FULL_TRAIN else ""
    if math.isnan(verdict.mean):
        return f"{label}: {find_metric(verdict.metric).label} is not defined for any backbone, so nothing is compared."
    if not verdict.second:
        return f"{label}: {verdict.best} at {number(verdict.mean)}; there is no other backbone to compare it with."
    if verdict.difference == 0:
        return f"{label}: {verdict.best} and {verdict.second} score the same, {number(verdict.mean)}."
    if verdict.significant:
        rest = f"; not told apart from {', '.join(verdict.tied)}" if verdict.tied else ""
        return (
            f"{label}: {verdict.best} wins by {number(verdict.difference)} over {verdict.second}"
            f" (significant, {p_value(verdict.p_adjusted)}){rest}."
        )
    beaten = f", which is better than {', '.join(verdict.beaten)}" if verdict.beaten else ""
    return (
        f"{label}: {verdict.best} leads by {number(verdict.difference)}{beaten}; its lead over {verdict.second}"
        f" is not significant ({p_value(verdict.p_adjusted)})."
    )


def _explanation(run: Run) -> str:
    from ...evaluate import FIXED_TEST, VERDICT_TESTS

    test = VERDICT_TESTS["bootstrap" if run.info["protocol"] in FIXED_TEST else "corrected-t"]
    return f"{on_spread(run)} Significance: {test}, Holm's correction."


def on_spread(run: Run, interval: str = "percentile") -> str:
    """How `sd` and the interval of a table of systems are to be read."""
    folds = ", of their means over folds" if run.info["protocol"] == "kfold" else ""
    kind = {"percentile": "percentile", "bca": "BCa"}[interval]
    return f"sd: over seeds{folds}. Interval: {kind} bootstrap over groups."
