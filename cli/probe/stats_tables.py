"""Statistics on a terminal: tables of 80 columns, each with a line that says how it is to be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import TYPE_CHECKING

from ...base.text import NONE, bare_p, interval, number, p_value, signed
from ..terminal.console import out, say, show_table
from ..terminal.wrapping import wrapped
from .summary import heading, on_spread, systems_table

if TYPE_CHECKING:
    import pandas as pd

    from ...evaluate import Run
    from ...evaluate.statistics.compute import Statistics
    from ...evaluate.statistics.ranking import Ranking

_MOST_ROWS = 60
"""Rows of one table that are shown; files have all."""
_Cells = dict[str, Callable[[dict], str]]


def show_statistics(runs: Sequence[Run], found: Statistics) -> None:
    """Prints the computed tables, run by run, then the ranks over all of them."""
    for run in runs:
        name = run.info["dataset"]["name"]
        tables = {key: table[table["dataset"] == name] for key, table in found.tables.items() if "dataset" in table}
        for key, show in _SHOWN.items():
            if key in tables and len(tables[key]):
                show(run, _in_order(run, tables[key]))
    for ranking in found.rankings:
        _show_ranking(ranking)


def _in_order(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """By probe, and on a low-data curve from the smallest budget to the largest."""
    from ...evaluate.statistics.summary import budgets_in_order

    # Tests keep the order of the list.
    ranks = {name: place for place, name in enumerate([*_TESTS, *budgets_in_order(run)])}
    keys = [table[key].tolist() for key in ("test", "probe", "budget") if key in table]
    order = sorted(range(len(table)), key=lambda at: [(ranks.get(key[at], -1), key[at]) for key in keys])
    return table.iloc[order]


def _show_summary(run: Run, table: pd.DataFrame) -> None:
    from ...evaluate import find_metric
    from ...evaluate.statistics.run_warnings import run_warnings

    say(heading(run, find_metric(str(table["metric"].iloc[0]))))
    out().print(systems_table(table), soft_wrap=False)
    say(on_spread(run, str(table["interval"].iloc[0])))
    for problem in run_warnings(run, table):
        say(wrapped(f"{problem.severity}: {problem}", rest="  "))


def _show_comparisons(run: Run, table: pd.DataFrame) -> None:
    from ...evaluate.statistics.comparison import VERDICT_TESTS

    within = "probe" if "probe" in table else "backbone"
    correction = str(table["correction"].iloc[0])
    cells: _Cells = {
        within: lambda row: _with_budget(row[within], row),
        "a - b": _pair,
        "diff.": lambda row: signed(row["difference"]),
        "95 % interval": _interval,
        "p": lambda row: bare_p(row["p"]),
        f"p ({correction})": lambda row: bare_p(row["p_adjusted"]),
    }
    tests = " or ".join(VERDICT_TESTS[name] for name in sorted(set(table["test"])))
    say(f"\nDifferences: {_metric_label(table)}\n(p: {tests})")
    _show(table, cells, names=(within, "a - b"))
    _say_notes(table)


def _show_tests(run: Run, table: pd.DataFrame) -> None:
    from ...evaluate import METRICS

    within = "probe" if "probe" in table else "backbone"
    for test, rows in table.groupby("test", sort=False):
        cells: _Cells = {
            within: lambda row: _with_budget(row[within], row),
            "a - b": _pair,
            **({"class": lambda row: row["class"]} if test == "delong" and run.task != "binary" else {}),
            "diff.": lambda row: signed(row["difference"]),
            "p": lambda row: bare_p(row["p"]),
            "p (adj.)": lambda row: bare_p(row["p_adjusted"]),
        }
        say(f"\n{_TESTS[str(test)].format(metric=METRICS[str(rows['metric'].iloc[0])].label)}")
        _show(rows, cells, names=(within, "a - b", "class"))
        _say_notes(rows)


_TESTS = {
    "wilcoxon": "Wilcoxon's signed ranks over resamples: {metric}\n"
    "(assumes independent resamples, which they are not: its p is too small)",
    "delong": "DeLong's test: {metric}, each class against the rest\n(p: over other patients, for these fitted models)",
    "mcnemar": "McNemar's test: {metric}\n(p: over other patients, for these fitted models)",
}


def _show_calibration(run: Run, table: pd.DataFrame) -> None:
    numbers = {
        "ECE": "ece", "Brier": "brier", "rel.": "reliability", "res.": "resolution",
        "unc.": "uncertainty", "within": "within",
    }  # fmt: skip
    say("\nCalibration on test, means over seeds\n(Brier = reliability - resolution + uncertainty + within)")
    _show(table, {**_SYSTEM, **_numbers(numbers)}, names=tuple(_SYSTEM))


def _show_temperature(run: Run, table: pd.DataFrame) -> None:
    def change(name: str) -> Callable[[dict], str]:
        return lambda row: f"{number(row[name])} → {number(row[f'{name}_after'])}"

    cells: _Cells = {
        **_SYSTEM,
        "T": lambda row: f"{row['temperature']:.2f}",
        "log loss": change("log_loss"),
        "ECE": change("ece"),
        "Brier": change("brier"),
    }
    say(
        "\nTemperature scaling: the effect on test of T fitted on val (before → after)"
        "\n(T: median over seeds, > 1 if probabilities were overconfident; others: means)"
    )
    _show(table, cells, names=tuple(_SYSTEM))
    for row in table[table["note"] != ""].to_dict("records"):
        say(f"note: {row['backbone']} {_with_budget(row['probe'], row)}: {row['note']}")
    if run.info["refit"]:
        say("note: the tested models were refitted with val; their own T may differ")


def _show_subgroups(run: Run, table: pd.DataFrame) -> None:
    cells: _Cells = {
        **_SYSTEM,
        "subgroup": lambda row: f"{row['attribute']}: {row['subgroup']}",
        "units": lambda row: f"{row['n_test']:.0f}",
        "mean": lambda row: number(row["mean"]),
        "95 % interval": _interval,
    }
    say(f"\nSubgroups: {_metric_label(table)}\n(units per seed; interval: bootstrap over groups)")
    _show(table, cells, names=(*_SYSTEM, "subgroup"))
    why = table[table["reason"] != ""].drop_duplicates(["attribute", "subgroup", "reason"])
    for row in why.to_dict("records"):
        say(f"note: {row['attribute']}: {row['subgroup']} has no score: {row['reason']}")
    _say_notes(table)


def _show_gaps(run: Run, table: pd.DataFrame) -> None:
    cells: _Cells = {
        **_SYSTEM,
        "best, worst": lambda row: f"{row['attribute']}: {row['best'] or NONE}, {row['worst'] or NONE}",
        "gap": lambda row: number(row["gap"]),
        "95 % interval": _interval,
    }
    say("\nGaps between best and worst subgroup\n(both chosen by the scores shown, so the gap is optimistic)")
    _show(table, cells, names=(*_SYSTEM, "best, worst"))
    for row in table[table["reason"] != ""].drop_duplicates(["attribute", "reason"]).to_dict("records"):
        say(f"note: {row['attribute']} has no gap: {row['reason']}")
    _say_notes(table)


def _show_ranking(ranking: Ranking) -> None:
    from ...evaluate import METRICS

    judged = ", ".join(dict.fromkeys(METRICS[name].label for name in ranking.metrics))
    within = _with_budget(ranking.within, {"budget": ranking.budget})
    say(f"\nRanks of {ranking.between} over {len(ranking.datasets)} data sets: {within}\n({judged})")
    significant = ranking.significant
    rows = [
        (
            f"{ranking.mean_ranks[place]:.2f}",
            name,
            ", ".join(other for at, other in enumerate(ranking.names) if at != place and not significant[place, at])
            or "-",
        )
        for place, name in enumerate(ranking.names)
    ]
    show_table(["mean rank", ranking.between[:-1], "no significant difference to"], rows, right=["mean rank"])
    say(_ranking_in_words(ranking))
    for note in ranking.notes:
        say(f"note: {note}")


def _ranking_in_words(ranking: Ranking) -> str:
    if ranking.friedman is None:
        return f"Wilcoxon's signed ranks over the data sets: {p_value(ranking.p[0, 1])}."
    friedman = ranking.friedman
    tests = [f"chi2 = {friedman.chi_square:.2f} ({p_value(friedman.p_chi_square)})"]
    tests += [f"F = {friedman.f:.2f} ({p_value(friedman.p_f)})"] if isfinite(friedman.f) else []
    tests += [f"exact {p_value(friedman.p_exact)}"] if isfinite(friedman.p_exact) else []
    found = "differ" if friedman.p < ranking.alpha else "are not shown to differ"
    return (
        f"Friedman: {', '.join(tests)}: they {found}.\nNemenyi: critical difference {ranking.critical_difference:.2f}."
    )


_SHOWN: dict[str, Callable[[Run, pd.DataFrame], None]] = {
    "summary": _show_summary,
    "comparisons": _show_comparisons,
    "tests": _show_tests,
    "calibration": _show_calibration,
    "temperature": _show_temperature,
    "subgroups": _show_subgroups,
    "gaps": _show_gaps,
}

_SYSTEM: _Cells = {
    "probe": lambda row: _with_budget(row["probe"], row),
    "backbone": lambda row: row["backbone"],
}


def _show(table: pd.DataFrame, cells: _Cells, *, names: Sequence[str]) -> None:
    """The first rows of a table; the pooling is shown where a backbone has several."""
    cells = dict(cells)
    if "pooling" in table and table.groupby("backbone")["pooling"].nunique().max() > 1:
        cells["backbone"] = lambda row: f"{row['backbone']}/{row['pooling']}"
    shown = table.head(_MOST_ROWS).to_dict("records")
    rows = [[cell(row) for cell in cells.values()] for row in shown]
    numbers = [name for name in cells if name not in names]
    show_table(list(cells), rows, right=numbers, whole=numbers)
    if len(shown) < len(table):
        say(f"… and {len(table) - len(shown)} more rows; --out writes them all")


def _say_notes(table: pd.DataFrame) -> None:
    """Each note once, with how many rows it is of; files have it beside its row."""
    for note, count in table["note"].value_counts(sort=False).items():
        if note:
            of = "" if count == len(table) else f", {count} of {len(table)} rows"
            say(f"note{of}: {note}")


def _numbers(columns: dict[str, str]) -> _Cells:
    def cell(name: str) -> Callable[[dict], str]:
        return lambda row: number(row[name])

    return {title: cell(name) for title, name in columns.items()}


def _with_budget(name: str, row: dict) -> str:
    from ...evaluate.resampling.train_size import FULL_TRAIN

    return name if row["budget"] == FULL_TRAIN else f"{name}, {row['budget']}"


def _metric_label(table: pd.DataFrame) -> str:
    from ...evaluate import METRICS

    return METRICS[str(table["metric"].iloc[0])].label


def _pair(row: dict) -> str:
    return f"{row['a']} - {row['b']}"


def _interval(row: dict) -> str:
    return interval(row["low"], row["high"])
