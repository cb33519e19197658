"""A run on a terminal: the table of systems, the verdict and the warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...base import counted
from ...evaluate import Metric, Run, summarise
from ...evaluate.resampling.protocols import FIXED_TEST
from ...evaluate.resampling.train_size import FULL_TRAIN
from ...evaluate.results.commands import NETWORK
from ...evaluate.statistics.comparison import VERDICT_TESTS
from ...evaluate.statistics.intervals import INTERVAL
from ...evaluate.statistics.run_warnings import run_warnings, warnings_in_words
from ...report.elements.table import Table, bounds, decimal, words
from ...report.run.data import report_data
from ...report.run.tables import leaks_table
from ...report.run.verdict import conclude
from ..terminal.console import say, show_table, wrapped

if TYPE_CHECKING:
    from collections.abc import Container

    import pandas as pd


def show_summary(run: Run) -> None:
    """Prints the table of a run (mean, spread over seeds, 95 % interval), the verdict and the warnings."""
    data, summary = report_data(run), summarise(run)
    say(heading(run, data.metric))
    show_systems(summary)
    if data.has_values:
        say("\n".join(conclude(data).lines))
        leaks = leaks_table(data)
        if leaks is not None:
            say("\nWith and without what leaks:")
            show(leaks)
    else:
        say(f"{data.metric.label} is not defined for any backbone, so nothing is compared.")
    test = VERDICT_TESTS["jackknife" if run.info["protocol"] in FIXED_TEST else "corrected-t"]
    significance = f" Significance: {test}, Holm's correction." if data.tested else ""
    say(f"\n{on_spread(run)}{significance}")
    say_warnings(run, summary)


def say_warnings(run: Run, summary: pd.DataFrame) -> None:
    """Prints what a reader must know before relying on a run."""
    problems = run_warnings(run, summary)
    for problem, text in zip(problems, warnings_in_words(problems), strict=True):
        say(wrapped(f"{problem.severity}: {text}", rest="  "))


def show(table: Table, *, sections: Container[int] = ()) -> None:
    """Prints a table; numbers stay whole, names are folded where the terminal is narrow."""
    numbers = table.columns[table.names :]
    show_table(table.columns, table.rows, right=numbers, whole=numbers, sections=sections)


def heading(run: Run, metric: Metric) -> str:
    """What is scored, on which data set, under which protocol."""
    seeds, protocol = len(run.info["seeds"]), run.info["protocol"]
    protocol += f" of {run.info['protocol_settings']['folds']}" if protocol == "kfold" else ""
    protocol += f" on {run.info['external']['name']}" if protocol == "external" else ""
    what = f"{metric.label} on test, {counted(seeds, 'seed')}, protocol {protocol}"
    return f"\n{run.info['dataset']['name']}: {what}"


def show_systems(summary: pd.DataFrame) -> None:
    """Prints every system with its mean, its spread over seeds and its interval; a line between probes and budgets.

    Where some are networks, what was chosen on val is shown too: the settings of a search, and epochs.
    """
    curve = set(summary["budget"]) != {FULL_TRAIN}
    poolings = summary.groupby("backbone")["pooling"].nunique().max() > 1
    shown = ["probe", *(["budget"] if curve else []), "backbone", *(["pooling"] if poolings else [])]
    shown += ["chosen"] if summary["probe"].str.startswith(NETWORK).any() else []
    cells = {**{name: words(name) for name in shown}, "mean": decimal("mean"), "sd": decimal("sd")}
    by = next((by for by in (["probe", "budget"], ["probe"]) if summary.groupby(by).size().max() > 1), [])
    parts = list(summary[by].itertuples(index=False, name=None))
    sections = [place for place in range(1, len(parts)) if parts[place] != parts[place - 1]]
    show(Table.of("", "", summary, cells | {"95 % interval": bounds}, len(shown)), sections=sections)


def on_spread(run: Run, interval: str = INTERVAL) -> str:
    """How `sd` and the interval of a table of systems were computed."""
    folds = ", of their means over folds" if run.info["protocol"] == "kfold" else ""
    kind = {"wilson": "Wilson, by a jackknife", "percentile": "percentile bootstrap"}[interval]
    return f"sd: over seeds{folds}. Interval: {kind} over groups."
