"""The verdict of a run in sentences, the same on a terminal and on a page."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from ...base import counted
from ...base.text import interval, listed, lower_first, number, p_value
from ...evaluate import SystemKey
from ...evaluate.statistics.intervals import FEWEST_GROUPS
from .data import ReportData

FEW_SEEDS = 5
"""Below so many seeds their spread says little, and the verdict says so."""
FEW_GROUPS = 50
"""With fewer independent test cases an interval is wide, no lead counts as clear, and the verdict says why."""

Certainty = Literal["clear", "open", "alone"]


@dataclass(frozen=True)
class Conclusion:
    """The verdict of a run.

    Examples:
        >>> from medprobe.report import make_report
        >>> make_report(folder / "run").verdict.certainty
        'open'
    """

    certainty: Certainty
    """`clear`: the lead over the best other backbone is significant, in a test of at least 50 independent cases;
    `open`: it is not, or cannot be tested; `alone`: there is no other backbone."""
    badge: str
    """The certainty in a few words."""
    headline: str
    """Which backbone with which probe."""
    score: str
    """Its score, with the interval and the spread over seeds."""
    against: str
    """The runner-up, and whether the difference is significant."""
    caveats: str
    """How certain the answer is, and what speaks against it."""

    @property
    def lines(self) -> list[str]:
        """All of it, one line each."""
        return [line for line in (self.headline, self.score, self.against, self.caveats) if line]


def conclude(data: ReportData) -> Conclusion:
    """Says which backbone with which probe, how good, against what, and how sure."""
    rival = data.runner_up
    few = int(data.best["n_groups"]) < FEW_GROUPS
    significant = rival is not None and bool(rival["significant"])
    certainty: Certainty = "alone" if rival is None else "clear" if significant and not few else "open"
    badge = {"clear": "Clear lead", "open": "No clear winner", "alone": "No other backbone"}[certainty]
    return Conclusion(
        certainty=certainty,
        badge="Small test" if significant and few else badge,
        headline=_headline(data, rival),
        score=_score(data),
        against=_against(data, rival),
        caveats=" ".join(_caveats(data, rival)),
    )


def _headline(data: ReportData, rival: pd.Series | None) -> str:
    best = data.system_name(data.best)
    if rival is None:
        return f"Best of those tried on {data.name}: {best}."
    if rival["significant"] and (cases := int(data.best["n_groups"])) < FEW_GROUPS:
        return f"{best} leads on {data.name}, in a test of only {counted(cases, 'independent case')}."
    if rival["significant"]:
        return f"Use {best} for {data.name}."
    if rival["advantage"] == 0:
        return f"{best} and {rival['b']} score the same on {data.name}."
    return f"{best} scores best on {data.name}, but its lead over {rival['b']} may be chance."


def _score(data: ReportData) -> str:
    best, metric = data.best, data.metric
    span = "no interval" if math.isnan(best["low"]) else f"95 % interval {interval(best['low'], best['high'])}"
    spread = "" if math.isnan(best["sd"]) else f"; the standard deviation over seeds is {number(best['sd'])}"
    external = data.run.info.get("external")
    place = f" on {external['name']}" if external else ""
    budget = str(best["budget"])
    # `5 shots per class`, `10 % of the training units`
    on = f"{budget} per class" if "shot" in budget else f"{budget.replace('%', ' %')} of the training units"
    trained = f", trained on {on}" if data.has_curve else ""
    units = round(best["n_test"])
    over = f"{counted(int(best['n_seeds']), 'seed')} and {counted(units, 'test unit')} per seed{trained}{spread}"
    return (
        f"Its {lower_first(metric.label)}{place}{metric.direction} is {number(best['mean'])} ({span}) over"
        f" {counted(units, 'query', 'queries') if data.searched else over}."
    )


def _against(data: ReportData, rival: pd.Series | None) -> str:
    if rival is None:
        alone = data.summary["backbone"].nunique() == 1
        under = "" if alone else f" with {lower_first(data.probe_label(str(data.best['probe'])))}"
        return f"There is no other backbone{under} in this run to compare it with."
    probe = lower_first(str(rival["probe_label"]))
    gap, span = number(rival["advantage"]), interval(rival["advantage_low"], rival["advantage_high"])
    worse = "lower" if data.metric.greater_is_better else "higher"
    count = data.tested
    holm = f" after Holm's correction for {counted(count, 'comparison')}" if count > 1 else ""
    verdict = "significant" if rival["significant"] else "not significant"
    between = f", 95 % interval of the difference {span}" if not math.isnan(rival["advantage_low"]) else ""
    # Without this the interval and the p-value seem to contradict each other.
    why = " The interval covers the choice of test patients only, the p-value also that of training sets" + (
        " and the number of comparisons." if count > 1 else "."
    )
    if rival["significant"]:
        why = " The interval is made in part from those of both scores, which is more cautious than the test."
    unclear = rival["advantage_low"] <= 0 if rival["significant"] else rival["advantage_low"] > 0
    return (
        f"The best other backbone with {probe}, {rival['b']}, is {gap} {worse} ({number(rival['mean_b'])}{between}):"
        f" {verdict} ({p_value(rival['p_adjusted'])}{holm}).{why if unclear else ''}"
    )


def _caveats(data: ReportData, rival: pd.Series | None) -> Iterator[str]:
    """A sentence each."""
    yield from _leaks(data)
    if rival is not None and not rival["significant"]:
        yield "The difference may be chance: choose by cost or licence, or test more cases."
    if rival is not None:
        yield from _other_probes(data, rival)
    yield from _unfreezing(data)
    yield from _same_backbone(data)
    yield from _smaller_budgets(data)
    if len(data.summary) > 1:
        yield (
            f"It is the best of {len(data.summary)} systems, chosen by the scores shown, so its own score is"
            " optimistic; confirm it on new cases."
        )
    seeds, groups = int(data.best["n_seeds"]), int(data.best["n_groups"])
    if seeds < FEW_SEEDS and not data.searched:
        yield f"With {counted(seeds, 'seed')} the variation of training is poorly known; use 20."
    if groups < FEW_GROUPS:
        effect = "there is no interval" if groups < FEWEST_GROUPS else "every interval is rough"
        yield f"Only {counted(groups, 'independent case')} in the test, so {effect}."


def _leaks(data: ReportData) -> Iterator[str]:
    """What was left out, and which system leads with it."""
    systems = data.as_published
    if systems is None:
        return
    units = counted(data.left_out, "training unit")
    yield f"The verdict rests on clean units, without the {units} known to be in the test too."
    systems = systems[systems["budget"] == data.best["budget"]].dropna(subset="published")
    if len(systems):
        first = systems.loc[(data.metric.sign * systems["published"]).idxmax()]
        same = SystemKey.of_rows(first.to_frame().T)[0] == data.best_system
        who = "it leads too" if same else f"{data.system_name(first)} would lead"
        yield f"As published, with them, {who} ({number(first['published'])})."


def _other_probes(data: ReportData, rival: pd.Series) -> Iterator[str]:
    """Whether the other probes rank the two backbones the same way."""
    same: dict[bool, list[str]] = {True: [], False: []}
    for probe in data.probes:
        row = None if probe == data.best["probe"] else data.compared(str(rival["a"]), str(rival["b"]), probe)
        if row is not None and row["advantage"] != 0:
            significant = " (significantly)" if row["significant"] else ""
            same[row["a"] == rival["a"]].append(lower_first(str(row["probe_label"])) + significant)
    sentences = [
        f"{listed(names)} {'ranks' if len(names) == 1 else 'rank'} {how}"
        for names, how in ((same[True], "the two in the same order"), (same[False], "them in the opposite order"))
        if names
    ]
    if sentences:
        text = "; ".join(sentences)
        yield f"{text[0].upper()}{text[1:]}."


def _unfreezing(data: ReportData) -> Iterator[str]:
    """What fine-tuning changes on the winning backbone: of the best system, or of the best fine-tuned one."""
    pairs = data.against_frozen
    if pairs.empty:
        return
    pairs = pairs[pairs["backbone"] == data.best["label"]].sort_values("advantage", ascending=False, kind="stable")
    for _, row in pairs.head(1).iterrows():
        how = "better" if row["advantage"] > 0 else "worse"
        frozen = f"the best frozen probe, {lower_first(data.probe_label(row['b']))} ({number(row['mean_b'])})"
        by = f"{number(abs(row['advantage']))} {how} than {frozen}" if row["advantage"] else f"as good as {frozen}"
        judged = "significant" if row["significant"] else "not significant"
        yield (
            f"On this backbone, {lower_first(data.probe_label(row['a']))} is {by}: {judged}"
            f" ({p_value(row['p_adjusted'])} after Holm's correction for"
            f" {counted(int(row['compared']), 'comparison')} between probes)."
        )


def _same_backbone(data: ReportData) -> Iterator[str]:
    """The next system overall, where it is the winning backbone again."""
    for _, second in data.summary[1:2].iterrows():
        if second["backbone"] == data.best["backbone"] and not math.isnan(second["mean"]):
            yield f"Next of all systems is {data.system_name(second)} ({number(second['mean'])}), the same backbone."


def _smaller_budgets(data: ReportData) -> Iterator[str]:
    """Whether the best system leads under the smaller budgets too."""
    best = data.best
    smaller = [one for one in data.verdicts if one.probe == best["probe"] and one.budget != best["budget"]]
    others = [f"{one.best} at {one.budget}" for one in smaller if one.best != best["label"]]
    if others:
        yield f"With smaller training budgets, under the same probe, others lead: {listed(others)}."
    elif smaller:
        yield "It also leads with smaller training budgets, under the same probe."
