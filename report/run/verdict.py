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
MOST_NAMED = 2
"""Further systems that a sentence names; more are counted."""
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
    """`clear`: the lead over the best other backbone (probe, or system, as these differ) is significant, in a test of
    at least 50 independent cases; `open`: it is not, cannot be tested, or its network has learnt from the test;
    `alone`: there is no other."""
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


def question(data: ReportData) -> str:
    """What the verdict answers: which backbone, or how to use it, as the systems of the run differ."""
    tuned = len(data.fine_tuned) / len(data.probes)
    how = {0.0: ("frozen ", "probe"), 1.0: ("fine-tuned ", "way of fine-tuning")}.get(tuned, ("", ""))
    on = f"{data.best['label']} on {data.name}"
    if data.between == "backbones":
        return f"Which {how[0]}backbone for {data.name}?"
    if data.between == "probes":
        return f"Which {how[1]} for {on}?" if how[1] else f"{on}, frozen or fine-tuned: which is best?"
    return f"Which backbone for {data.name}, {'and how fine-tuned' if how[0] else 'frozen or fine-tuned'}?"


def conclude(data: ReportData) -> Conclusion:
    """Says which backbone with which probe is best, how good, against what, and how sure."""
    rival = data.runner_up
    few, learnt = int(data.best["n_groups"]) < FEW_GROUPS, data.best["backbone"] in data.run.fine_tuned_on_test
    significant = rival is not None and bool(rival["significant"])
    certainty: Certainty = "alone" if rival is None else "clear" if significant and not few and not learnt else "open"
    alone = "One system" if len(data.summary) == 1 else "No other backbone"
    badge = {"clear": "Clear lead", "open": "No clear winner", "alone": alone}[certainty]
    return Conclusion(
        certainty=certainty,
        badge="Learnt from the test" if learnt else "Small test" if significant and few else badge,
        headline=_headline(data, rival),
        score=_score(data),
        against=_against(data, rival),
        caveats=" ".join(_caveats(data, rival)),
    )


def _headline(data: ReportData, rival: pd.Series | None) -> str:
    best = data.system_name(data.best)
    if data.best["backbone"] in data.run.fine_tuned_on_test:
        return f"{best} scores best on {data.name}, but its network was fine-tuned on units of the test."
    if rival is None:
        return f"{'Best of those' if len(data.summary) > 1 else 'The one system'} tried on {data.name}: {best}."
    if rival["significant"] and (cases := int(data.best["n_groups"])) < FEW_GROUPS:
        return f"{best} leads on {data.name}, in a test of only {counted(cases, 'independent case')}."
    if rival["significant"]:
        return f"Use {best} for {data.name}."
    if rival["advantage"] == 0:
        return f"{best} and {rival_name(data, rival)} score the same on {data.name}."
    return f"{best} scores best on {data.name}, but its lead over {rival_name(data, rival)} may be chance."


def rival_name(data: ReportData, rival: pd.Series) -> str:
    """The runner-up in a sentence: a backbone, a probe, or both."""
    return lower_first(rival["b_label"]) if data.between == "probes" else str(rival["b_label"])


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
    if rival is None and len(data.summary) == 1:
        return "There is nothing in this run to compare it with."
    if rival is None:
        alone = data.summary["backbone"].nunique() == 1
        under = "" if alone else f" with {lower_first(data.probe_label(str(data.best['probe'])))}"
        return f"There is no other backbone{under} in this run to compare it with."
    where = {
        "backbones": f"backbone with {lower_first(rival['within_label'])}",
        "probes": f"probe on {rival['within']}",
    }
    gap, span = number(rival["advantage"]), interval(rival["advantage_low"], rival["advantage_high"])
    worse = "lower" if data.metric.greater_is_better else "higher"
    count = data.tested
    between = f", 95 % interval of the difference {span}" if not math.isnan(rival["advantage_low"]) else ""
    # Without this the interval and the p-value seem to contradict each other.
    why = " The interval covers the choice of test patients only, the p-value also that of training sets" + (
        " and the number of comparisons." if count > 1 else "."
    )
    if rival["significant"]:
        why = " The interval is made in part from those of both scores, which is more cautious than the test."
    by = f"is {gap} {worse}" if rival["advantage"] else "scores the same"
    unclear = rival["advantage_low"] <= 0 if rival["significant"] else rival["advantage_low"] > 0
    return (
        f"The best other {where.get(data.between, 'system')}, {rival_name(data, rival)}, {by}"
        f" ({number(rival['mean_b'])}{between}): {significance(data, rival)}.{why if unclear else ''}"
    )


def significance(data: ReportData, pair: pd.Series) -> str:
    """Whether a difference is significant, and its p-value: `not significant (p = 0.170 after Holm's ...)`."""
    holm = f" after Holm's correction for {counted(data.tested, 'comparison')}" if data.tested > 1 else ""
    return f"{'significant' if pair['significant'] else 'not significant'} ({p_value(pair['p_adjusted'])}{holm})"


def _caveats(data: ReportData, rival: pd.Series | None) -> Iterator[str]:
    """A sentence each."""
    yield from _leaks(data)
    yield from on_test_learnt(data)
    if rival is not None and not rival["significant"] and not data.run.fine_tuned_on_test:
        chance = "The difference may be chance: choose" if rival["advantage"] else "Choose"
        yield f"{chance} by cost or licence, or test more cases."
    if data.between == "backbones":
        yield from _other_probes(data, rival)
        yield from _same_backbone(data)
    yield from _unfreezing(data, rival)
    yield from on_trainings(data)
    if len(data.summary) > 1:
        yield (
            f"It is the best of {len(data.summary)} systems, chosen by the scores shown, so its own score is"
            " optimistic; confirm it on new cases."
        )
    seeds, groups = int(data.best["n_seeds"]), int(data.best["n_groups"])
    if seeds < FEW_SEEDS and not data.searched:
        enough = "5 or more" if data.fine_tuned else "20"
        yield f"With {counted(seeds, 'seed')} the variation of training is poorly known; use {enough}."
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
    whole = systems[systems["budget"] == data.best["budget"]]
    systems = whole.dropna(subset="published")
    if len(systems):
        first = systems.loc[(data.metric.sign * systems["published"]).idxmax()]
        same = SystemKey.of_rows(first.to_frame().T)[0] == data.best_system
        who = "it leads too" if same else f"{data.system_name(first)} would lead"
        who += " among the probes" if len(systems) < len(whole) else ""
        yield f"As published, with them, {who} ({number(first['published'])})."


def _other_probes(data: ReportData, rival: pd.Series | None) -> Iterator[str]:
    """Whether the other probes rank the two backbones the same way."""
    if rival is None:
        return
    same: dict[bool, list[str]] = {True: [], False: []}
    for probe in data.probes:
        row = None if probe == data.best["probe"] else data.compared(str(rival["a"]), str(rival["b"]), probe)
        if row is not None and row["advantage"] != 0:
            significant = " (significantly)" if row["significant"] else ""
            same[row["a"] == rival["a"]].append(lower_first(row["within_label"]) + significant)
    sentences = [
        f"{listed(names)} {'ranks' if len(names) == 1 else 'rank'} {how}"
        for names, how in ((same[True], "the two in the same order"), (same[False], "them in the opposite order"))
        if names
    ]
    if sentences:
        text = "; ".join(sentences)
        yield f"{text[0].upper()}{text[1:]}."


def _unfreezing(data: ReportData, rival: pd.Series | None) -> Iterator[str]:
    """What fine-tuning changes on the winning backbone: of the best system, or of the best fine-tuned one."""
    yield from data.without_frozen
    pairs = data.against_frozen
    pairs = pairs[pairs["backbone"] == data.best["label"]].sort_values("advantage", ascending=False, kind="stable")
    for _, row in pairs.head(1).iterrows():
        if rival is not None and {row["a_label"], row["b_label"]} == {rival["a_label"], rival["b_label"]}:
            continue  # that is the verdict
        how = "better" if row["advantage"] > 0 else "worse"
        frozen = f"the best frozen probe, {lower_first(data.probe_label(row['b']))} ({number(row['mean_b'])})"
        by = f"{number(abs(row['advantage']))} {how} than {frozen}" if row["advantage"] else f"as good as {frozen}"
        tuned = lower_first(data.probe_label(row["a"]))
        yield f"On this backbone, {tuned} is {by}: {significance(data, row)}."


def on_test_learnt(data: ReportData) -> Iterator[str]:
    """Which scores are too high, since the network knows the test."""
    if names := data.run.fine_tuned_on_test:
        yield f"Scores of {listed(names)} are too high: the network was fine-tuned on units that are tested."


def on_trainings(data: ReportData) -> Iterator[str]:
    """What speaks against the trainings of networks, a sentence for each kind of problem."""
    found: dict[str, list[tuple[str, str]]] = {}
    for system, (_, row) in zip(SystemKey.of_rows(data.summary), data.summary.iterrows(), strict=True):
        for problem in data.training_problems.get(system, []):
            found.setdefault(problem.code, []).append((data.system_name(row), problem.text))
    for (name, text), *others in found.values():
        names = [other for other, _ in others] if len(others) <= MOST_NAMED else [counted(len(others), "other system")]
        yield f"{name} {text}{f' (likewise {listed(names)})' if names else ''}."


def _same_backbone(data: ReportData) -> Iterator[str]:
    """The next system overall, where it is the winning backbone again."""
    for _, second in data.summary[1:2].iterrows():
        if second["backbone"] == data.best["backbone"] and not math.isnan(second["mean"]):
            yield f"Next of all systems is {data.system_name(second)} ({number(second['mean'])}), the same backbone."
