"""A run as Python shows it: its tables, its figures, and itself in a notebook. `Run` looks these up by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, TypeVar

import pandas as pd

from ...base import ReportError, look_up, one_of
from ...evaluate import Run
from ...evaluate.statistics.run_warnings import run_warnings, warnings_in_words
from ..elements.html import render
from .data import ReportData, report_data
from .figures import FIGURES
from .tables import TABLES, summary_table
from .verdict import conclude

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_Made = TypeVar("_Made")
_MOST_ROWS = 40
"""Systems that a notebook shows."""

# Kept, because a notebook shows the same run again and again, and its intervals take most of the time.
_data = lru_cache(maxsize=4)(report_data)


class RunPlots:
    """The figures of a run's report, each drawn by the method of its name: `run.plot.scores()`.

    They are `scores`, `differences`, `unfreezing`, `epochs`, `learning`, `confusion`, `calibration` and `roc`;
    docs/report.md describes how each is read. A figure is a `matplotlib.figure.Figure`. `metric` is the run's own by
    default.

    Examples:
        >>> run.plot.scores(metric="accuracy").savefig("scores.pdf")
        >>> [name for name in dir(run.plot) if name.startswith("c")]
        ['calibration', 'confusion']
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def __getattr__(self, name: str) -> Callable[..., Figure]:
        if name not in FIGURES:
            raise AttributeError(f"a run has no figure {name!r}; there are {one_of(FIGURES)}")
        return partial(_draw, self._run, name)

    def __dir__(self) -> list[str]:
        return list(FIGURES)


def _draw(run: Run, name: str, *, metric: str | None = None) -> Figure:
    """Draws one figure.

    Raises:
        ReportError: the run has nothing to show in it; names those in which it has.
        ProbeError: no such metric.
    """
    return _made("figure", FIGURES, name, run, metric).figure()


def table_of(run: Run, name: str, metric: str | None) -> pd.DataFrame:
    """A table of the run's report at full precision; `Run.table` describes it."""
    return _made("table", TABLES, name, run, metric).raw.copy()


def _made(
    kind: str, makers: Mapping[str, Callable[[ReportData], _Made | None]], name: str, run: Run, metric: str | None
) -> _Made:
    """One of the figures or tables of the run's report."""
    make, data = look_up(kind, name, makers), _data(run, metric)
    if not data.has_values:
        raise ReportError(f"{data.name}: {data.metric.name} has no value for any system; name another metric.")
    if (made := make(data)) is not None:
        return made
    found = [other for other, another in makers.items() if another(data) is not None]
    raise ReportError(f'{data.name}: nothing to show in the {kind} "{name}"; there are {one_of(found)}.')


def html_of(run: Run) -> str | None:
    """The verdict, the systems and the warnings as HTML; None of a run that was read without its predictions."""
    if run.predictions.empty:
        return None
    data = _data(run, None)
    table = summary_table(data).without("Data set")
    if data.summary["pooling"].nunique() == 1:
        table = table.without("Pooling")
    content = {
        "name": data.name,
        "metric": data.metric,
        "verdict": conclude(data) if data.has_values else None,
        "table": table,
        "most_rows": _MOST_ROWS,
        "warnings": warnings_in_words(run_warnings(run, data.summary)),
    }
    return render("notebook.html.j2", content)
