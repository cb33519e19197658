"""A run on a terminal: the table of systems, the verdict and the warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...base.text import interval, number
from ..terminal.console import out, say, show_table
from ..terminal.wrapping import wrapped

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from ...evaluate import Metric, Run


def show_summary(run: Run) -> None:
    """Prints the table of a run (mean, spread over seeds, 95 % interval), the verdict and the warnings."""
    from ...evaluate import summarise
    from ...evaluate.resampling.protocols import FIXED_TEST
    from ...evaluate.statistics.comparison import VERDICT_TESTS
    from ...evaluate.statistics.run_warnings import run_warnings
    from ...report.run.data import report_data
    from ...report.run.tables import budgets_table
    from ...report.run.verdict import conclude

    data, summary = report_data(run), summarise(run)
    say(heading(run, data.metric))
    out().print(systems_table(summary), soft_wrap=False)
    if data.has_values:
        say("\n".join(conclude(data).lines))
        budgets = budgets_table(data)
        if budgets is not None:
            names = budgets.columns[: budgets.names]
            show_table(budgets.columns, budgets.rows, right=[name for name in budgets.columns if name not in names])
    else:
        say(f"{data.metric.label} is not defined for any backbone, so nothing is compared.")
    test = VERDICT_TESTS["bootstrap" if run.info["protocol"] in FIXED_TEST else "corrected-t"]
    say(f"\n{on_spread(run)} Significance: {test}, Holm's correction.")
    for problem in run_warnings(run, summary):
        say(wrapped(f"{problem.severity}: {problem}", rest="  "))


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
    columns = _section_columns(summary)
    before = ()
    for row in summary.to_dict("records"):
        part = tuple(row[name] for name in columns)
        if before and part != before:
            table.add_section()
        before = part
        names = [row[name] for name in shown]
        cells = [number(row["mean"]), number(row["sd"]), interval(row["low"], row["high"])]
        table.add_row(*map(Text, [*names, *cells]))
    return table


def _section_columns(summary: pd.DataFrame) -> list[str]:
    """The columns whose change starts a new section: probe and budget, probe, or none."""
    for columns in (["probe", "budget"], ["probe"]):
        if summary.groupby(columns).size().max() > 1:
            return columns
    return []


def _curve(summary: pd.DataFrame) -> bool:
    """Whether there are training budgets."""
    from ...evaluate.resampling.train_size import FULL_TRAIN

    return set(summary["budget"]) != {FULL_TRAIN}


def on_spread(run: Run, interval: str = "percentile") -> str:
    """How `sd` and the interval of a table of systems were computed."""
    folds = ", of their means over folds" if run.info["protocol"] == "kfold" else ""
    kind = {"percentile": "percentile", "bca": "BCa"}[interval]
    return f"sd: over seeds{folds}. Interval: {kind} bootstrap over groups."
