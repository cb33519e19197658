"""The commands that make a run, or a part of it, again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from .schemas import SystemKey


def commands(info: Mapping[str, Any], systems: Iterable[SystemKey], *, seeds: Sequence[int], out: str) -> list[str]:
    """The commands that give these systems of a run under these seeds, as the folder `out`.

    Frozen systems that share their settings take one `medprobe probe`, each fine-tuned one a `medprobe finetune`;
    where there are several commands, a `medprobe merge` is the last.
    """
    systems = list(dict.fromkeys(system._replace(budget="") for system in systems))
    frozen = [system for system in systems if info["probes"][system.probe]["frozen"]]
    parts = list(_frozen_parts(info, frozen))
    parts += [_fine_tuned(info, system) for system in systems if system not in frozen]
    outs = [f"{out}-{place}" for place in range(1, len(parts) + 1)] if len(parts) > 1 else [out]
    shared = _shared_options(info, seeds)
    made = [
        ["medprobe", verb, f"{info['dataset']['name']}.parquet", *own, *shared, *last, "--out", folder]
        for (verb, own, last), folder in zip(parts, outs, strict=True)
    ]
    return list(map(shlex.join, made + ([["medprobe", "merge", *outs, "--out", out]] if len(outs) > 1 else [])))


_Part = tuple[str, list[str], list[str]]
"""The verb of a command, and its options before and after those that all commands of a run share."""


def _frozen_parts(info: Mapping[str, Any], systems: Sequence[SystemKey]) -> Iterator[_Part]:
    """One command for all probes of one kind that are fitted on the same features."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for probe in dict.fromkeys(system.probe for system in systems):
        poolings: dict[str, tuple[str, ...]] = {}
        for system in systems:
            if system.probe == probe:
                poolings[system.fingerprint] = (*poolings.get(system.fingerprint, ()), system.pooling)
        about = info["probes"][probe]
        for features in _products(info, poolings):
            groups.setdefault((about["aggregation"], about["refit"], features), []).append(probe)
    for (aggregation, refit, (fingerprints, poolings)), probes in groups.items():
        names = {cache["fingerprint"]: cache["spec"]["backbone"] for cache in info["caches"]}
        # With the fingerprint, so that a cache of another size or precision made since is not taken in.
        own = _repeated("--backbone", [f"{names[fingerprint]}@{fingerprint}" for fingerprint in fingerprints])
        own += _repeated("--pooling", poolings) + _repeated("--probe", probes)
        yield "probe", own, ["--aggregation", aggregation, "--refit" if refit else "--no-refit"]


def _products(
    info: Mapping[str, Any], poolings: Mapping[str, tuple[str, ...]]
) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Caches and poolings to name together: all in one command, unless it would probe what is not wanted."""
    every = tuple(dict.fromkeys(pooling for some in poolings.values() for pooling in some))
    held = {cache["fingerprint"]: set(cache["dims"]) for cache in info["caches"]}
    if all(held[fingerprint] & set(every) == set(some) for fingerprint, some in poolings.items()):
        return [(tuple(poolings), every)]
    return [((fingerprint,), some) for fingerprint, some in poolings.items()]


def _fine_tuned(info: Mapping[str, Any], system: SystemKey) -> _Part:
    backbone = next(cache for cache in info["caches"] if cache["fingerprint"] == system.fingerprint)
    # `finetune:partial:2:lr=0.001,recipe=huix2024`
    words = system.probe.split(":")[1:]
    changed = words.pop().split(",") if "=" in words[-1] else []
    own = ["--backbone", backbone["spec"]["backbone"], "--mode", ":".join(words)]
    for setting in changed:
        own += ["--recipe", setting.partition("=")[2]] if setting.startswith("recipe=") else ["--set", setting]
    return "finetune", own, []


def _shared_options(info: Mapping[str, Any], seeds: Sequence[int]) -> list[str]:
    """What is the same for all systems of a run."""
    words = ["--protocol", info["protocol"], "--seeds", seeds_option(seeds), "--metric", info["metric"]]
    if info["protocol"] == "kfold":
        words += ["--folds", str(info["protocol_settings"]["folds"])]
    if info["external"]:
        words += ["--external", f"{info['external']['name']}.parquet"]
    for option, fact in (("--shots", "shots"), ("--train-fraction", "train_fraction")):
        sizes = sorted(budget[fact] for budget in info["budgets"].values() if fact in budget)
        words += [option, ",".join(f"{size:.12g}" for size in sizes)] if sizes else []
    leaks = info["leaks"]
    return words + (["--keep-leaks"] if leaks["kept"] else ["--drop-near"] if leaks["near"] else [])


def seeds_option(seeds: Sequence[int]) -> str:
    """Seeds as the commands take them: `20` for the first twenty, `20:40` for a block, `3,5,7`.

    Examples:
        >>> from medprobe.evaluate.results.commands import seeds_option
        >>> seeds_option(range(20)), seeds_option([3, 5, 20, 21, 22, 23]), seeds_option([7])
        ('20', '3,5,20:24', '7,')
    """
    ordered = sorted(seeds)
    if ordered == list(range(len(ordered))):
        return str(len(ordered))
    ends = [place + 1 for place, (one, other) in enumerate(pairwise(ordered)) if other != one + 1]
    blocks = [ordered[start:end] for start, end in pairwise([0, *ends, len(ordered)])]
    words = [
        word for block in blocks for word in ([f"{block[0]}:{block[-1] + 1}"] if len(block) > 2 else map(str, block))
    ]
    return words[0] + "," if len(words) == 1 and ":" not in words[0] else ",".join(words)


def _repeated(option: str, values: Iterable[str]) -> list[str]:
    return [word for value in values for word in (option, value)]
