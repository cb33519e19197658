"""The answer to the reader's question, in plain words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from ...base import counted
from ..elements.text import interval, listed, lower_first, number, p_value
from .data import ReportData

FEW_SEEDS = 5
"""Below so many seeds their spread says little, and the verdict says so."""
FEW_GROUPS = 50
"""Below so many independent test cases an interval is wide and the verdict says why."""

Sureness = Literal["clear", "open", "alone"]


@dataclass(frozen=True)
class Conclusion:
    """What a reader takes away."""

    sureness: Sureness
    """`clear`: the lead over the best other backbone is significant; `open`: it is not, or cannot be told; `alone`:
    there is no other backbone."""
    badge: str
    """The sureness in a few words."""
    headline: str
    """Which backbone with which probe."""
    score: str
    """Its score, with the interval and apart from it the spread over seeds."""
    against: str
    """The runner-up, and whether the difference is significant."""
    surety: str
    """How sure one may be, and what speaks against it."""

    @property
    def lines(self) -> list[str]:
        """The whole of it, a line each."""
        return [line for line in (self.headline, self.score, self.against, self.surety) if line]


def conclude(findings: ReportData) -> Conclusion:
    """Says which backbone with which probe, how good, against what, and how sure."""
    rival = findings.runner_up
    sureness: Sureness = "alone" if rival is None else "clear" if rival["significant"] else "open"
    return Conclusion(
        sureness=sureness,
        badge={"clear": "Clear lead", "open": "No clear winner", "alone": "Nothing to compare with"}[sureness],
        headline=_headline(findings, rival),
        score=_score(findings),
        against=_against(findings, rival),
        surety=" ".join(_surety(findings, rival)),
    )


def _system(findings: ReportData, row: pd.Series) -> str:
    return f"{row['label']} with {lower_first(findings.probe_label(str(row['probe'])))}"


def _headline(findings: ReportData, rival: pd.Series | None) -> str:
    best = _system(findings, findings.best)
    if rival is None:
        return f"Best of those tried on {findings.name}: {best}."
    if rival["significant"]:
        return f"Use {best} for {findings.name}."
    return f"{best} scores best on {findings.name}, but its lead over {rival['b']} may be chance."


def _score(findings: ReportData) -> str:
    best, metric = findings.best, findings.metric
    direction = "" if metric.greater_is_better else " (lower is better)"
    span = interval(best["low"], best["high"])
    around = f" (95 % interval {span})" if not math.isnan(best["low"]) else " (no interval can be given)"
    seeds = int(best["n_seeds"])
    spread = (
        ""
        if math.isnan(best["sd"])
        else f"; apart from that, seeds differ by a standard deviation of {number(best['sd'])}"
    )
    where = counted(round(best["n_test"]), "test unit")
    external = findings.run.info.get("external")
    place = f" on {external['name']}" if external else ""
    trained = f", trained on {_on(str(best['budget']))}" if findings.has_curve else ""
    return (
        f"Its {lower_first(metric.label)}{place}{direction} is {number(best['mean'])}{around} over"
        f" {counted(seeds, 'seed')} and {where} a seed{trained}{spread}."
    )


def _on(budget: str) -> str:
    """`5 shots a class`, `10% of the training units`."""
    return f"{budget} a class" if "shot" in budget else f"{budget.replace('%', ' %')} of the training units"


def _against(findings: ReportData, rival: pd.Series | None) -> str:
    if rival is None:
        return "There is no other backbone in this run, so nothing can be said of which one to use."
    probe = lower_first(str(rival["probe_label"]))
    gap, span = number(rival["advantage"]), interval(rival["advantage_low"], rival["advantage_high"])
    worse = "lower" if findings.metric.greater_is_better else "higher"
    count = findings.tested
    holm = f" after Holm's correction for {counted(count, 'comparison')}" if count > 1 else ""
    told = "significant" if rival["significant"] else "not significant"
    between = f", 95 % interval of the difference {span}" if not math.isnan(rival["advantage_low"]) else ""
    # Seen side by side they seem to contradict each other.
    why = " The interval allows for other patients alone, the p-value also for other training sets" + (
        " and for the number of comparisons." if count > 1 else "."
    )
    apart = not rival["significant"] and rival["advantage_low"] > 0
    return (
        f"The best other backbone with {probe}, {rival['b']}, is {gap} {worse} ({number(rival['mean_b'])}{between}):"
        f" {told} ({p_value(rival['p_adjusted'])}{holm}).{why if apart else ''}"
    )


def _surety(findings: ReportData, rival: pd.Series | None) -> list[str]:
    said = []
    if rival is not None and not rival["significant"]:
        said.append("These data do not tell the two apart: choose by cost or licence, or test more cases.")
    if rival is not None:
        said += _other_probes(findings, rival)
    said += _same_backbone(findings)
    said += _smaller_budgets(findings)
    if len(findings.summary) > 1:
        said.append(
            f"It is the best of {len(findings.summary)} systems by the very scores shown, so its own score leans to"
            " the good side; confirm it on cases that no system has seen."
        )
    return said + _thin_data(findings)


def _other_probes(findings: ReportData, rival: pd.Series) -> list[str]:
    """Whether the other probes rank the two backbones the same way."""
    agree, against = [], []
    for probe in findings.probes:
        row = None if probe == findings.best["probe"] else findings.compared(str(rival["a"]), str(rival["b"]), probe)
        if row is None or row["advantage"] == 0:
            continue
        remark = lower_first(str(row["probe_label"])) + (" (significantly)" if row["significant"] else "")
        (agree if row["a"] == rival["a"] else against).append(remark)
    said = [f"{listed(agree)} {_verb(agree, 'ranks', 'rank')} the two the same way"] if agree else []
    said += [f"{listed(against)} {_verb(against, 'ranks', 'rank')} them the other way round"] if against else []
    return ["; ".join(said)[:1].upper() + "; ".join(said)[1:] + "."] if said else []


def _same_backbone(findings: ReportData) -> list[str]:
    """The next system overall, where it is the winning backbone again."""
    if len(findings.summary) < 2:
        return []
    second, best = findings.summary.iloc[1], findings.best
    if second["backbone"] != best["backbone"] or math.isnan(second["mean"]):
        return []
    return [f"Next of all systems is {_system(findings, second)} ({number(second['mean'])}), the same backbone."]


def _smaller_budgets(findings: ReportData) -> list[str]:
    """Whether the best system leads under the smaller budgets too."""
    best = findings.best
    smaller = [one for one in findings.verdicts if one.probe == best["probe"] and one.budget != best["budget"]]
    others = [f"{one.best} at {one.budget}" for one in smaller if one.best != best["label"]]
    if not smaller:
        return []
    if not others:
        return ["With less to train on it leads under the same probe too."]
    return [f"With less to train on others lead under the same probe: {listed(others)}."]


def _thin_data(findings: ReportData) -> list[str]:
    said = []
    seeds, groups = int(findings.best["n_seeds"]), int(findings.best["n_groups"])
    if seeds < FEW_SEEDS:
        said.append(f"With {counted(seeds, 'seed')} little is known of how training varies; 20 are better.")
    if groups < FEW_GROUPS:
        said.append(f"Only {counted(groups, 'independent case')} were tested, so every interval here is rough.")
    return said


def _verb(names: list[str], one: str, more: str) -> str:
    return one if len(names) == 1 else more
