"""How a run is repeated, and how it is cited."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from ...base import counted
from ...base.text import listed, lower_first, number
from ...evaluate import SystemKey
from ...evaluate.resampling.protocols import HOLDOUT
from ...evaluate.results.commands import commands as commands_of
from ...evaluate.statistics.comparison import VERDICT_TESTS
from .data import ReportData
from .verdict import on_test_learnt, on_trainings, rival_name, significance


def commands(data: ReportData) -> list[str]:
    """What repeats the run and this page, from the manifest and its caches; empty where there were none."""
    if _of_arrays(data):
        return []
    run, out = data.run, f"runs/{data.name}-again"
    made = commands_of(run.info, SystemKey.of_rows(run.timings), seeds=run.info["seeds"], out=out)
    return [*made, shlex.join(["medprobe", "report", out, "--metric", data.metric.name])]


def not_repeated(data: ReportData) -> str:
    """What the commands cannot repeat, or nothing."""
    info = data.run.info
    if _of_arrays(data):
        return "The features were arrays in memory: call medprobe.probe.evaluate in Python with the same ones."
    usual = dict(zip(("train", "val", "test"), HOLDOUT, strict=True))
    if info["protocol"] == "holdout" and info["protocol_settings"] != usual:
        return "The shares of the parts are not the usual ones; give them to run_probes in Python as `fractions`."
    return ""


def _of_arrays(data: ReportData) -> bool:
    return any("digest" in cache["spec"] for cache in data.run.info["caches"])


def sentence_to_cite(data: ReportData) -> str:
    """The result in a sentence for a paper, with what a reader of it needs."""
    best, info = data.best, data.run.info
    dataset, tested = info["dataset"], info.get("external")
    spread = "" if best["sd"] != best["sd"] else f", SD over seeds {number(best['sd'])}"
    ends = f"95 % CI {number(best['low'])}–{number(best['high'])}" if best["low"] == best["low"] else "no interval"
    on = f", tested on {tested['name']} ({tested['groups']:,} groups, {tested['units']:,} units)" if tested else ""
    clean = f", without {counted(data.left_out, 'training unit')} known to be in the test too" if data.left_out else ""
    trained = f" under the budget {best['budget'].replace('%', ' %')}" if data.has_curve else ""
    sentence = (
        f"Of {_compared(data)} on {data.name}"
        f" ({dataset['groups']:,} groups, {dataset['units']:,} units{clean}){on}, {data.system_name(best)}{trained}"
        f" had the best {lower_first(data.metric.label)}: {number(best['mean'])} ({ends} by a jackknife over"
        f" groups{spread};"
        f" {counted(len(info['seeds']), 'seed')}, protocol {info['protocol']};"
        f" medprobe {info['versions'].get('medprobe', '')})."
    )
    return " ".join([sentence, *_lead(data), *on_test_learnt(data), *on_trainings(data)])


def _compared(data: ReportData) -> str:
    """How many of what were compared: backbones, or probes on one, or both."""
    frozen, tuned = len(data.probes) - len(data.fine_tuned), len(data.fine_tuned)
    if data.between == "probes":
        kinds = [counted(count, kind) for count, kind in ((frozen, "frozen probe"), (tuned, "fine-tuning")) if count]
        return f"{listed(kinds)} of {data.best['label']}"
    how = "frozen and fine-tuned" if frozen and tuned else "fine-tuned" if tuned else "frozen"
    if data.between == "systems":
        names = {cache["backbone"]: cache["spec"]["backbone"] for cache in data.run.info["caches"]}
        count = data.summary["backbone"].map(names).nunique()
        return f"{counted(len(data.summary), 'system')} ({counted(count, 'backbone')}, {how})"
    return counted(data.summary["backbone"].nunique(), f"{how} backbone")


def _lead(data: ReportData) -> Iterator[str]:
    """The lead over the runner-up, and whether it is significant."""
    pair = data.runner_up
    if pair is not None:
        low, high = pair["advantage_low"], pair["advantage_high"]
        span = f", 95 % CI {number(low)} to {number(high)}" if low == low else ""
        what = "lead over" if pair["advantage"] else "difference from"
        lead = f"Its {what} {rival_name(data, pair)} ({number(pair['advantage'])}{span})"
        yield f"{lead} was {significance(data, pair)}; {VERDICT_TESTS[pair['test']]}."


def references(data: ReportData) -> list[str]:
    """What a paper that uses these numbers should cite."""
    info = data.run.info
    works = [f"The medprobe authors. medprobe, version {info['versions'].get('medprobe', '')}. Software."]
    if info["dataset"]["citation"]:
        works.append(f"Data set: {info['dataset']['citation']}")
    if info.get("external") and info["external"]["citation"]:
        works.append(f"External data set: {info['external']['citation']}")
    works.append("The papers of the backbones, and the licences of their weights.")
    if (data.comparisons["test"] == "corrected-t").any():
        works.append("Nadeau, Bengio. Inference for the generalization error. Machine Learning 52, 2003.")
        if info["protocol"] == "kfold":
            works.append("Bouckaert, Frank. Evaluating the replicability of significance tests. PAKDD 2004.")
    if data.comparisons["p"].notna().any():
        works.append("Holm. A simple sequentially rejective multiple test procedure. Scand. J. Statistics 6, 1979.")
    return works
