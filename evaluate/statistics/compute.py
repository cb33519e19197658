"""Every statistic of one or several runs as tables, from their predictions alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from ...base import ProbeError, did_you_mean, one_of
from ..results.run import Run
from .bootstrap import find_interval
from .calibration_tables import calibration_table, reliability_table, temperature_table
from .comparison import compare
from .multiple_testing import find_correction
from .pairing import sides_of
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
    interval: str = "percentile",
    tests: Sequence[str] | None = None,
    correction: str = "holm",
    subgroups: bool = False,
    calibration: bool = False,
    ranks_only: bool = False,
) -> Statistics:
    """Works out the statistics of runs, without fitting anything.

    Args:
        runs: one or several; of several, one a data set, there are ranks too.
        between: compare `backbones` within each probe, or `probes` on each backbone.
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
    further = _require_words(between, interval, tests, correction)
    for run in runs:
        require_metric(run, metric)
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
        looked_into = {
            "calibration": calibration_table, "reliability": reliability_table, "temperature": temperature_table
        }  # fmt: skip
        tables |= {name: _of_each(runs, table_of) for name, table_of in looked_into.items()}
    if subgroups:
        found = [subgroup_scores(run, metric=metric, interval=interval) for run in runs]
        tables["subgroups"], tables["gaps"] = (pd.concat(side, ignore_index=True) for side in zip(*found, strict=True))
    tables = {name: table.assign(interval=interval) if "low" in table else table for name, table in tables.items()}
    if rankings:
        tables |= {"ranks": rankings_table(rankings), "rank_pairs": rank_pairs_table(rankings)}
    return Statistics(tables, rankings)


def _require_words(between: str, interval: str, tests: Sequence[str] | None, correction: str) -> list[str]:
    """The requested further tests.

    Raises:
        ProbeError: a word has no meaning; before any work is done.
    """
    find_interval(interval)
    find_correction(correction)
    sides_of([], between)
    known = [VERDICT, *SIGNIFICANCE_TESTS]
    unknown = [name for name in tests or () if name not in known]
    if unknown:
        near = "".join(did_you_mean(name, known) for name in unknown)
        raise ProbeError(f"unknown test {one_of(unknown)}; there are {one_of(known)}.{near}")
    return [name for name in SIGNIFICANCE_TESTS if not tests or name in tests]


def _of_each(runs: Sequence[Run], table_of: Callable[[Run], pd.DataFrame]) -> pd.DataFrame:
    tables = [table_of(run) for run in runs]
    # An empty table says nothing of the types of its columns, and must not change those of the others.
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)
