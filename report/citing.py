"""How a run is repeated, and how it is cited."""

from __future__ import annotations

import shlex

from ..base import counted
from ..probe import HOLDOUT
from .findings import Findings
from .words import lower_first, number


def commands(findings: Findings) -> list[str]:
    """What repeats the run and this page, from the manifest and its caches."""
    info = findings.run.info
    manifest, out = f"{findings.name}.parquet", f"runs/{findings.name}-again"
    words = ["medprobe", "probe", manifest]
    for cache in info["caches"]:
        # With the fingerprint, so that a cache of another size or precision made since is not taken in.
        words += ["--backbone", f"{cache['spec']['backbone']}@{cache['fingerprint']}"]
    for pooling in dict.fromkeys(findings.summary["pooling"]):
        words += ["--pooling", str(pooling)]
    for probe in info["probes"]:
        words += ["--probe", probe]
    words += ["--protocol", info["protocol"], "--seeds", _seeds(info["seeds"]), "--metric", info["metric"]]
    words += ["--fusing", info["fusing"], "--refit" if info["refit"] else "--no-refit", "--out", out]
    return [shlex.join(words), shlex.join(["medprobe", "report", out, "--metric", findings.metric.name])]


def unsaid(findings: Findings) -> str:
    """What the commands cannot repeat, or nothing."""
    info = findings.run.info
    usual = dict(zip(("train", "val", "test"), HOLDOUT, strict=True))
    if info["protocol"] == "holdout" and info["protocol_settings"] != usual:
        return "The shares of the parts are not the usual ones; give them to run_probes in Python as `fractions`."
    return ""


def _seeds(seeds: list[int]) -> str:
    if seeds == list(range(len(seeds))):
        return str(len(seeds))
    return ",".join(map(str, seeds)) + ("," if len(seeds) == 1 else "")


def sentence_to_cite(findings: Findings) -> str:
    """The result in a sentence for a paper, with what a reader of it needs."""
    best, info = findings.best, findings.run.info
    spread = "" if best["sd"] != best["sd"] else f", SD over seeds {number(best['sd'])}"
    ends = f"95 % CI {number(best['low'])}–{number(best['high'])}" if best["low"] == best["low"] else "no interval"
    backbones = counted(findings.summary["backbone"].nunique(), "frozen backbone")
    return (
        f"Of {backbones} on {findings.name} ({info['dataset']['groups']:,} groups, {info['dataset']['units']:,} units),"
        f" {best['label']} with {lower_first(best['probe_label'])} had the best {lower_first(findings.metric.label)}:"
        f" {number(best['mean'])} ({ends} by a bootstrap over groups{spread};"
        f" {counted(len(info['seeds']), 'seed')}, protocol {info['protocol']};"
        f" medprobe {info['versions'].get('medprobe', '')})."
    )


def references(findings: Findings) -> list[str]:
    """What a paper that uses these numbers should cite."""
    info = findings.run.info
    works = [f"The medprobe authors. medprobe, version {info['versions'].get('medprobe', '')}. Software."]
    if info["dataset"]["citation"]:
        works.append(f"Data set: {info['dataset']['citation']}")
    works.append("The papers of the backbones, and the licences of their weights.")
    if (findings.comparisons["test"] == "corrected-t").any():
        works.append("Nadeau, Bengio. Inference for the generalization error. Machine Learning 52, 2003.")
    if findings.comparisons["p"].notna().any():
        works.append("Holm. A simple sequentially rejective multiple test procedure. Scand. J. Statistics 6, 1979.")
    return works
