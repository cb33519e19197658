"""The commands that make a run, or a part of it, again."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from .schemas import SystemKey

NETWORK = "finetune:"
"""What the names of networks begin with, in the place of a probe's."""
RETRIEVAL = "retrieve"
"""Likewise of searches."""


def commands(info: Mapping[str, Any], systems: Iterable[SystemKey], *, seeds: Sequence[int], out: str) -> list[str]:
    """The commands that give these systems of a run under these seeds, as the folder `out`.

    Probes of one kind on the same features take one `medprobe probe`, networks of one mode and recipe one
    `medprobe finetune`, searches of one kind one `medprobe retrieve`; where there are several commands, a
    `medprobe merge` is the last.
    """
    systems = list(dict.fromkeys(system._replace(budget="") for system in systems))
    networks = [system for system in systems if system.probe.startswith(NETWORK)]
    searches = [system for system in systems if system.probe.startswith(RETRIEVAL)]
    probes = [system for system in systems if system not in {*networks, *searches}]
    shared = _shared_options(info, seeds)
    fitted = [*_probe_parts(info, probes), *_network_parts(info, networks)]
    parts = [(verb, [*own, *shared, *last]) for verb, own, last in fitted] + [*_search_parts(info, searches)]
    outs = [f"{out}-{place}" for place in range(1, len(parts) + 1)] if len(parts) > 1 else [out]
    made = [
        ["medprobe", verb, f"{info['dataset']['name']}.parquet", *options, "--out", folder]
        for (verb, options), folder in zip(parts, outs, strict=True)
    ]
    return list(map(shlex.join, made + ([["medprobe", "merge", *outs, "--out", out]] if len(outs) > 1 else [])))


_Part = tuple[str, list[str], list[str]]
"""The verb of a command, and its options before and after those that all commands of a run share."""


def _probe_parts(info: Mapping[str, Any], systems: Sequence[SystemKey]) -> Iterator[_Part]:
    """One command for all probes of one kind that are fitted on the same features."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for probe in dict.fromkeys(system.probe for system in systems):
        about = info["probes"][probe]
        for features in _features(info, [system for system in systems if system.probe == probe]):
            groups.setdefault((about["aggregation"], about["refit"], features), []).append(probe)
    for (aggregation, refit, features), probes in groups.items():
        own = [*features, *_repeated("--probe", probes)]
        yield "probe", own, ["--aggregation", aggregation, "--refit" if refit else "--no-refit"]


def _search_parts(info: Mapping[str, Any], systems: Sequence[SystemKey]) -> Iterator[tuple[str, list[str]]]:
    """One command for all features that are searched in one way."""
    for probe in dict.fromkeys(system.probe for system in systems):
        settings = info["probes"][probe]["settings"]
        how = ["--k", ",".join(map(str, settings["k"])), "--similarity", settings["similarity"]]
        how += ["--same-group"] if settings["same_group"] else []
        for features in _features(info, [system for system in systems if system.probe == probe]):
            yield "retrieve", [*features, *how]


def _features(info: Mapping[str, Any], systems: Sequence[SystemKey]) -> list[tuple[str, ...]]:
    """The options that name the features of some systems: all in one command, unless it would take what is not wanted.

    With the fingerprint, so that a cache of another size or precision made since is not taken in.
    """
    poolings: dict[str, tuple[str, ...]] = {}
    for system in systems:
        poolings[system.fingerprint] = (*poolings.get(system.fingerprint, ()), system.pooling)
    names = {cache["fingerprint"]: f"{cache['spec']['backbone']}@{cache['fingerprint']}" for cache in info["caches"]}
    return [
        (*_repeated("--backbone", [names[one] for one in fingerprints]), *_repeated("--pooling", some))
        for fingerprints, some in _products(info, poolings)
    ]


def _products(
    info: Mapping[str, Any], poolings: Mapping[str, tuple[str, ...]]
) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Caches and poolings to name together."""
    every = tuple(dict.fromkeys(pooling for some in poolings.values() for pooling in some))
    held = {cache["fingerprint"]: set(cache["dims"]) for cache in info["caches"]}
    if all(held[fingerprint] & set(every) == set(some) for fingerprint, some in poolings.items()):
        return [(tuple(poolings), every)]
    return [((fingerprint,), some) for fingerprint, some in poolings.items()]


def _network_parts(info: Mapping[str, Any], systems: Sequence[SystemKey]) -> Iterator[_Part]:
    """One command for all backbones that are trained in one mode, with one recipe, at one image size."""
    specs = {cache["fingerprint"]: cache["spec"] for cache in info["caches"]}
    groups: dict[tuple[str, int], list[str]] = {}
    for system in systems:
        spec = specs[system.fingerprint]
        groups.setdefault((system.probe, spec["transform"]["size"][0]), []).append(
            f"{spec['backbone']}[{system.pooling}]"
        )
    for (probe, size), backbones in groups.items():
        own = [*_repeated("--backbone", backbones), "--image-size", str(size)]
        yield "finetune", own + _training_options(probe, info["probes"][probe]["settings"]), []


def _training_options(probe: str, settings: Mapping[str, Any]) -> list[str]:
    """The mode, and what the name says of the recipe: `finetune:partial:2:lr=0.001,recipe=huix2024`."""
    words, grid = ["--mode", settings["mode"]], settings.get("search", {})
    changed = probe.removeprefix(f"{NETWORK}{settings['mode']}").removeprefix(":")
    for name in re.findall(r"(?:^|,)(\w+)=", changed):
        if name == "recipe":
            words += ["--recipe", settings["name"]]
        elif name not in grid:
            words += ["--set", f"{name}={_as_text(settings[name])}"]
    if grid:
        values = {name: ",".join(map(_as_text, values)) for name, values in grid.items()}
        words += ["--search", " ".join(f"{name}={listed}" for name, listed in values.items())]
    return words


def _as_text(value: Any) -> str:
    """A setting as the commands read it."""
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


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
