"""Every statistic of one or several runs as tables, from their predictions alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from ...base import look_up
from ..results.run import Run
from .calibration_tables import calibration_table, reliability_table, temperature_table
from .comparison import compare
from .intervals import INTERVAL, INTERVALS
from .p_values import CORRECTIONS
from .pairing import COMPARISON_AXES
from .ranking import Ranking, rank_over_datasets, rank_pairs_table, rankings_table
from .significance import SIGNIFICANCE_TESTS, significance_tests
from .subgroups import subgroup_scores
from .summary import require_metric, summarise

VERDICT = "verdict"
"""Stands for the test that the verdict rests on, where tests are chosen by name."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """The statistics of some runs."""

    tables: dict[str, pd.DataFrame]
    """By name, those that were requested and exist: `summary`, `comparisons`, `tests`, `calibration`,
    `reliability`, `temperature`, `subgroups`, `gaps`, `ranks`, `rank_pairs`.
    The functions that make them describe their columns. Where there are intervals, `interval` says of which kind."""
    rankings: list[Ranking]
    """One per probe or backbone; empty of one run."""


def compute_statistics(
    runs: Sequence[Run],
    *,
    between: str = "backbones",
    metric: str | None = None,
    interval: str = INTERVAL,
    tests: Sequence[str] | None = None,
    correction: str = "holm",
    subgroups: bool = False,
    calibration: bool = False,
    ranks_only: bool = False,
) -> Statistics:
    """Works out the statistics of runs, without fitting anything.

    Args:
        runs: one or several; of several, one a data set, there are ranks too.
        between: compare `backbones` within each probe, `probes` on each backbone, or `systems` of both.
        metric: its name; each run's own by default.
        interval: of `INTERVALS`.
        tests: of `SIGNIFICANCE_TESTS`, and `verdict` for none of them; all by default.
        correction: of `CORRECTIONS`; all that is called significant rests on it.
        subgroups: whether to score the subgroups of each attribute.
        calibration: whether to look into calibration and temperature scaling.
        ranks_only: leave out what concerns single runs.

    Raises:
        ProbeError: a requested statistic does not exist for these runs.
        ReportError: predictions do not fit their run's facts.

    Examples:
        >>> from medprobe.evaluate import compute_statistics
        >>> list(compute_statistics([run], calibration=True).tables)
        ['summary', 'comparisons', 'tests', 'calibration', 'reliability', 'temperature']
    """
    # Before any work is done.
    look_up("interval", interval, INTERVALS)
    look_up("correction", correction, CORRECTIONS)
    look_up("kind of comparison", between, COMPARISON_AXES)
    for name in tests or ():
        look_up("test", name, {VERDICT: None, **SIGNIFICANCE_TESTS})
    for run in runs:
        require_metric(run, metric)
    further = [name for name in SIGNIFICANCE_TESTS if not tests or name in tests]
    rankings = rank_over_datasets(runs, between=between, metric=metric) if len(runs) > 1 or ranks_only else []
    tables: dict[str, pd.DataFrame] = {}
    if not ranks_only:
        tables["summary"] = _of_each(runs, lambda run: summarise(run, metric=metric, interval=interval))
        rested = {"metric": metric, "interval": interval, "correction": correction}
        tables["comparisons"] = _of_each(runs, lambda run: compare(run, between, **rested))
    if further and not ranks_only:
        tests_of = {"between": between, "metric": metric, "tests": further, "correction": correction}
        tables["tests"] = _of_each(runs, lambda run: significance_tests(run, **tests_of))
    if calibration:
        tables["calibration"] = _of_each(runs, calibration_table)
        tables["reliability"] = _of_each(runs, reliability_table)
        tables["temperature"] = _of_each(runs, temperature_table)
    if subgroups:
        found = [subgroup_scores(run, metric=metric, interval=interval) for run in runs]
        tables["subgroups"], tables["gaps"] = (pd.concat(side, ignore_index=True) for side in zip(*found, strict=True))
    tables = {name: table.assign(interval=interval) if "low" in table else table for name, table in tables.items()}
    if rankings:
        tables |= {"ranks": rankings_table(rankings), "rank_pairs": rank_pairs_table(rankings)}
    return Statistics(tables, rankings)


def _of_each(runs: Sequence[Run], table_of: Callable[[Run], pd.DataFrame]) -> pd.DataFrame:
    tables = [table_of(run) for run in runs]
    # An empty table says nothing of the types of its columns, and must not change those of the others.
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)
