"""Statistics on a terminal: tables of 80 columns, each with a line that says how it is to be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import TYPE_CHECKING

from ...base.text import NONE, counted, number, p_value
from ...evaluate import find_metric
from ...evaluate.resampling.train_size import FULL_TRAIN
from ...evaluate.statistics.comparison import VERDICT_TESTS
from ...evaluate.statistics.summary import budgets_in_order
from ...report.elements.table import Cell, Table, bounds, decimal, difference, p_of, words
from ..terminal.console import say, show_table, wrapped
from .summary import heading, on_spread, say_warnings, show, show_systems

if TYPE_CHECKING:
    import pandas as pd

    from ...evaluate import Run
    from ...evaluate.statistics.compute import Statistics
    from ...evaluate.statistics.ranking import Ranking

_MOST_ROWS = 60
"""Rows of one table that are shown; files have all."""


def show_statistics(runs: Sequence[Run], found: Statistics) -> None:
    """Prints the computed tables, run by run, then the ranks over all of them."""
    for run in runs:
        name = run.info["dataset"]["name"]
        tables = {key: table[table["dataset"] == name] for key, table in found.tables.items() if "dataset" in table}
        for key, show_one in _SHOWN.items():
            if key in tables and len(tables[key]):
                show_one(run, _in_order(run, tables[key]))
    for ranking in found.rankings:
        _show_ranking(ranking)


def _in_order(run: Run, table: pd.DataFrame) -> pd.DataFrame:
    """By probe, and on a low-data curve from the smallest budget to the largest."""
    # Tests keep the order of the list.
    ranks = {name: place for place, name in enumerate([*_TESTS, *budgets_in_order(run)])}
    keys = [table[key].tolist() for key in ("test", "probe", "budget") if key in table]
    order = sorted(range(len(table)), key=lambda at: [(ranks.get(key[at], -1), key[at]) for key in keys])
    return table.iloc[order]


def _show_summary(run: Run, table: pd.DataFrame) -> None:
    say(heading(run, find_metric(str(table["metric"].iloc[0]))))
    show_systems(table)
    say(on_spread(run, str(table["interval"].iloc[0])))
    say_warnings(run, table)


def _show_comparisons(run: Run, table: pd.DataFrame) -> None:
    correction = str(table["correction"].iloc[0])
    tests = " or ".join(VERDICT_TESTS[name] for name in sorted(set(table["test"])))
    say(f"\nDifferences: {_metric_label(table)}\n(p: {tests})")
    numbers = {"diff.": difference("difference"), "95 % interval": bounds, "p": p_of("p")}
    _show(table, _pair(table), numbers | {f"p ({correction})": p_of("p_adjusted")})


def _show_tests(run: Run, table: pd.DataFrame) -> None:
    for test, rows in table.groupby("test", sort=False):
        names = _pair(table)
        if test == "delong" and run.task != "binary":
            names |= {"class": words("class")}
        say(f"\n{_TESTS[str(test)].format(metric=_metric_label(rows))}")
        _show(rows, names, {"diff.": difference("difference"), "p": p_of("p"), "p (adj.)": p_of("p_adjusted")})


_TESTS = {
    "wilcoxon": "Wilcoxon's signed ranks over resamples: {metric}\n"
    "(assumes independent resamples, which they are not: its p is too small)",
    "delong": "DeLong's test: {metric}, each class against the rest\n(p: over other patients, for these fitted models)",
    "mcnemar": "McNemar's test: {metric}\n(p: over other patients, for these fitted models)",
}


def _show_calibration(run: Run, table: pd.DataFrame) -> None:
    columns = {
        "ECE": "ece", "Brier": "brier", "rel.": "reliability", "res.": "resolution",
        "unc.": "uncertainty", "within": "within",
    }  # fmt: skip
    say("\nCalibration on test, means over seeds\n(Brier = reliability - resolution + uncertainty + within)")
    _show(table, _SYSTEM, {title: decimal(name) for title, name in columns.items()})


def _show_temperature(run: Run, table: pd.DataFrame) -> None:
    def change(name: str) -> Cell:
        return lambda row: f"{number(row[name])} → {number(row[f'{name}_after'])}"

    numbers = {"log loss": change("log_loss"), "ECE": change("ece"), "Brier": change("brier")}
    say(
        "\nTemperature scaling: the effect on test of T fitted on val (before → after)"
        "\n(T: median over seeds, > 1 if probabilities were overconfident; others: means)"
    )
    _show(table, _SYSTEM, {"T": decimal("temperature", 2), **numbers})
    if any(about["refit"] for about in run.info["probes"].values()):
        say("note: the tested models were refitted with val; their own T may differ")


def _show_subgroups(run: Run, table: pd.DataFrame) -> None:
    names = {**_SYSTEM, "subgroup": lambda row: f"{row['attribute']}: {row['subgroup']}"}
    say(f"\nSubgroups: {_metric_label(table)}\n(units per seed; interval: over groups)")
    _show(table, names, {"units": decimal("n_test", 0), "mean": decimal("mean"), "95 % interval": bounds})
    why = table[table["reason"] != ""].drop_duplicates(["attribute", "subgroup", "reason"])
    for row in why.to_dict("records"):
        say(f"note: {row['attribute']}: {row['subgroup']} has no score: {row['reason']}")


def _show_gaps(run: Run, table: pd.DataFrame) -> None:
    sides = {"best, worst": lambda row: f"{row['attribute']}: {row['best'] or NONE}, {row['worst'] or NONE}"}
    differences = int(table["differences"].max())
    say("\nGaps between best and worst subgroup\n(both chosen by the scores shown, so the gap itself is too large)")
    _show(table, _SYSTEM | sides, {"gap": decimal("gap"), "95 % interval": bounds})
    scored, shown = int(table["gap"].count()), int((table["low"] > 0).sum())
    say(
        wrapped(
            f"{shown} of {counted(scored, 'gap')} exclude zero. The intervals are corrected for the choice among "
            f"{counted(differences, 'difference')} between subgroups (Bonferroni); where one holds zero, the data do "
            "not show that subgroups differ."
        )
    )
    for row in table[table["reason"] != ""].drop_duplicates(["attribute", "reason"]).to_dict("records"):
        say(f"note: {row['attribute']} has no gap: {row['reason']}")


def _show_ranking(ranking: Ranking) -> None:
    judged = ", ".join(dict.fromkeys(find_metric(name).label for name in ranking.metrics))
    budget = "" if ranking.budget == FULL_TRAIN else ranking.budget
    within = ", ".join(filter(None, (ranking.within, budget))) or "all"
    say(f"\nRanks of {ranking.between} over {len(ranking.datasets)} data sets: {within}\n({judged})")
    rows = [
        (f"{ranking.mean_ranks[place]:.2f}", name, ", ".join(ranking.tied_with(place)) or "-")
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
    tests += [f"by permutation {p_value(friedman.p)}"]
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


def _with_budget(column: str) -> Cell:
    return lambda row: row[column] if row["budget"] == FULL_TRAIN else f"{row[column]}, {row['budget']}"


_SYSTEM: dict[str, Cell] = {"probe": _with_budget("probe"), "backbone": words("backbone")}


def _pair(table: pd.DataFrame) -> dict[str, Cell]:
    within = {axis: _with_budget(axis) for axis in ("probe", "backbone") if axis in table}
    return (within or {"budget": words("budget")}) | {"a - b": lambda row: f"{row['a']} - {row['b']}"}


def _show(table: pd.DataFrame, names: dict[str, Cell], numbers: dict[str, Cell]) -> None:
    """The first rows of a table, with the pooling where a backbone has several; and each note once."""
    if "pooling" in table and table.groupby("backbone")["pooling"].nunique().max() > 1:
        names = names | {"backbone": lambda row: f"{row['backbone']}/{row['pooling']}"}
    show(Table.of("", "", table.head(_MOST_ROWS), names | numbers, len(names)))
    if len(table) > _MOST_ROWS:
        say(f"… and {len(table) - _MOST_ROWS} more rows; --out writes them all")
    noted = table[table["note"] != ""].groupby("note", sort=False) if "note" in table else ()
    for note, rows in noted:
        of = f", {len(rows)} of {len(table)} rows" if len(rows) < len(table) else ""
        if len(rows) == 1 < len(table):
            row = rows.to_dict("records")[0]
            of = f" on {', '.join(cell(row) for cell in names.values())}"
        say(f"note{of}: {note}")


def _metric_label(table: pd.DataFrame) -> str:
    return find_metric(str(table["metric"].iloc[0])).label
