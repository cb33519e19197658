"""Runs of one data set put together: other systems under the same resamples, further seeds, or both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ...base import counted, one_of
from ...base.errors import MergeError
from . import schemas
from .commands import commands
from .run import Run, backbone_labels, in_order
from .schemas import RESAMPLE, SYSTEM, SystemKey

_CELL = [*SYSTEM, *RESAMPLE]
"""The columns that say which fit a row is of."""
_FITTED = ("scores", "predictions", "scores_as_published", "epochs", "retrieved")
"""Tables whose rows follow from a fit: the same fit gives the same rows."""
_UNITED = ("seeds", "warnings", "warning_codes")
"""Facts of which the merged run has what any run has; all others must agree."""
_REMEDY = (
    "Make one of them again with the data, caches, options and versions of the other, or all systems in one command"
)


def merge_runs(runs: Sequence[Run], names: Sequence[str] = (), *, seeds: Sequence[int] | None = None) -> Run:
    """Makes one run of several: what a single run of all their systems and seeds would have been, to the byte.

    The order of the runs does not matter. A fit that several runs have must be the same in all of them; of its
    seconds and bytes the smaller are kept.

    Args:
        runs: of one data set, under one protocol.
        names: what messages call the runs, such as their folders.
        seeds: those that the merged run has, of the seeds of the runs; all by default.

    Raises:
        MergeError: a seed is in none of them, they differ in data, protocol, metric or versions, draw other units under
            one seed, hold other results of one fit, or one has a system under seeds or budgets that another system
            lacks; says which runs, and in what they differ.

    Examples:
        >>> from medprobe.evaluate import merge_runs
        >>> from medprobe.probe import run_probes
        >>> further = run_probes(manifest, caches, probes=["centroid", "knn"], seeds=[2, 3], n_jobs=1, progress=False)
        >>> merge_runs([run, further]).info["seeds"]
        [0, 1, 2, 3]
    """
    if not runs:
        raise MergeError("there are no runs to merge; name some.")
    names = names or [f"run {place}" for place in range(1, len(runs) + 1)]
    if seeds is not None:
        runs, names = _with_seeds(runs, names, seeds)
    info = _merged_facts(runs, names)
    runs = [_relabelled(run, info) for run in runs]
    _check_units(runs, names)
    _check_as_published(runs, names)
    schema_of = schemas.by_table(runs[0].task)
    fitted = {name: _united(name, [getattr(run, name) for run in runs], names, schema_of[name]) for name in _FITTED}
    # Of each fit the smaller seconds and bytes, which do not depend on the order of the runs.
    timings = pd.concat([run.timings for run in runs]).groupby(_CELL, sort=True).min().reset_index()
    merged = replace(runs[0], info=info, timings=timings, **fitted)
    _check_complete(merged)
    return merged


def merged_by_dataset(runs: Sequence[Run], names: Sequence[str]) -> list[Run]:
    """One run per data set, in the order in which the data sets come first; a run that is alone stays as it is.

    Raises:
        MergeError: runs of one data set cannot become one.
    """
    places: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        places.setdefault(run.info["dataset"]["name"], []).append(place)
    return [
        merge_runs([runs[place] for place in some], [names[place] for place in some]) if some[1:] else runs[some[0]]
        for some in places.values()
    ]


def _with_seeds(runs: Sequence[Run], names: Sequence[str], seeds: Sequence[int]) -> tuple[Sequence[Run], Sequence[str]]:
    """The runs that have some of the seeds, without their other seeds, and their names.

    Raises:
        MergeError: no run has one of them.
    """
    there = {seed for run in runs for seed in run.info["seeds"]}
    if absent := sorted(set(seeds) - there):
        raise MergeError(
            f"no run has {counted(len(absent), 'seed')} of those that are wanted: {one_of(map(str, absent))}."
        )
    found = [(_only(run, seeds), name) for run, name in zip(runs, names, strict=True)]
    found = [(run, name) for run, name in found if run.info["seeds"]]
    return [run for run, _ in found], [name for _, name in found]


def _only(run: Run, seeds: Sequence[int]) -> Run:
    info = {**run.info, "seeds": [seed for seed in run.info["seeds"] if seed in set(seeds)]}
    kept = _changed(run, lambda table: table[table["seed"].isin(seeds)].reset_index(drop=True))
    return replace(kept, info=info)


def _changed(run: Run, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Run:
    """The run with each of its tables that have a row per fit or more changed."""
    tables = {name: getattr(run, name) for name in (*_FITTED, "timings")}
    return replace(run, **{name: change(table) for name, table in tables.items() if table is not None})


# --- run.json


def _merged_facts(runs: Sequence[Run], names: Sequence[str]) -> dict[str, Any]:
    """The facts of all runs, with the labels of backbones as a single run would have them."""
    stated: dict[tuple[str, ...], tuple[Any, str]] = {}
    for run, name in zip(runs, names, strict=True):
        for where, value in _statements(run.info):
            first, other = stated.setdefault(where, (value, name))
            if first != value:
                path = ".".join(_first_difference(where, first, value))
                raise MergeError(f"{other} and {name} cannot be merged: {path} of run.json is not the same. {_REMEDY}.")
    by_name = {fact: {} for fact in _BY_NAME}
    for (fact, *entry), (value, _) in stated.items():
        if entry:
            by_name[fact][entry[0]] = value
    caches = list(by_name.pop("caches").values())
    labels = backbone_labels([(cache["spec"]["backbone"], cache["fingerprint"]) for cache in caches])
    caches = [{"backbone": label, **cache} for label, cache in zip(labels, caches, strict=True)]
    warnings = [warning for run in runs for warning in _relabelled_warnings(run.info, caches)]
    return in_order(
        {
            **runs[0].info,
            **by_name,
            "caches": caches,
            "seeds": {seed for run in runs for seed in run.info["seeds"]},
            "warnings": [message for _, message in warnings],
            "warning_codes": [code for code, _ in warnings],
        }
    )


_OF_A_CACHE = ("constant-features", "equal-vectors", "fine-tuned-on-test")
"""Warnings whose message begins with the label of a backbone."""
_BY_NAME = ("probes", "budgets", "versions", "caches")
"""Facts with an entry for each name, which are united; the entries of one name must agree."""


def _statements(info: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What must agree between runs that both state it: where it is, and the value."""
    for fact, value in info.items():
        if fact == "caches":
            for cache in value:
                # The label depends on the other caches of the run.
                yield (fact, cache["fingerprint"]), {key: cache[key] for key in cache if key != "backbone"}
        elif fact in _BY_NAME:
            yield from (((fact, name), entry) for name, entry in value.items())
        elif fact not in _UNITED:
            yield (fact,), value


def _first_difference(where: Sequence[str], a: Any, b: Any) -> Sequence[str]:
    """The keys that lead to what differs first between two facts."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        key = next(key for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key))
        return _first_difference([*where, key], a.get(key), b.get(key))
    return where


def _labels(caches: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {cache["fingerprint"]: cache["backbone"] for cache in caches}


def _relabelled_warnings(info: Mapping[str, Any], caches: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """The code and the text of each warning; those of a cache begin with its label."""
    labels = _labels(caches)
    for code, message in zip(info["warning_codes"], info["warnings"], strict=True):
        owner = next((c for c in info["caches"] if message.startswith(f"{c['backbone']}, ")), None)
        if code in _OF_A_CACHE and owner is not None:
            yield code, labels[owner["fingerprint"]] + message.removeprefix(owner["backbone"])
        else:
            yield code, message


def _relabelled(run: Run, info: Mapping[str, Any]) -> Run:
    labels = _labels(info["caches"])
    if all(labels[fingerprint] == label for fingerprint, label in _labels(run.info["caches"]).items()):
        return run
    return _changed(run, lambda table: table.assign(backbone=table["fingerprint"].map(labels)))


# --- what was drawn


def _check_units(runs: Sequence[Run], names: Sequence[str]) -> None:
    """Makes sure that a resample of several runs holds the same units, and that the units have the same attributes."""
    first: dict[tuple[Any, ...], tuple[pd.DataFrame, str]] = {}
    for run, name in zip(runs, names, strict=True):
        if not _same(run.units, runs[0].units, schemas.UNITS):
            raise MergeError(
                f"{names[0]} and {name} cannot be merged: units have other attributes in the second (units.parquet)."
                f" {_REMEDY}."
            )
        for draw, units in _drawn(run):
            there, other = first.setdefault(draw, (units, name))
            if not _same(there, units, _drawn_schema(run.task)):
                seed, fold, budget = draw
                raise MergeError(
                    f"{other} and {name} cannot be merged: {_resample(seed, fold)}, budget {budget}, has other units in"
                    f" the second. {_REMEDY}."
                )


def _drawn_schema(task: str) -> pa.Schema:
    kinds = schemas.by_table(task)
    columns = [kinds["predictions"].field(name) for name in ("split", "unit", "group", "y")]
    return pa.schema(columns + [kinds["scores"].field(name) for name in ("n_train", "n_val", "n_test")])


def _drawn(run: Run) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Each resample under each budget: its val and test units and the sizes of its parts, by its first system."""
    keys = [*RESAMPLE, "budget"]
    sizes = run.scores.drop_duplicates(keys)[[*keys, "n_train", "n_val", "n_test"]]
    fits = run.predictions.groupby(_CELL, sort=True).ngroup()
    first = fits.groupby([run.predictions[key] for key in keys]).transform("min")
    drawn = run.predictions.loc[fits == first, [*keys, "split", "unit", "group", "y"]]
    drawn = drawn.merge(sizes, on=keys, how="left", validate="many_to_one")
    yield from drawn.groupby(keys)  # pyright: ignore[reportReturnType]


def _check_as_published(runs: Sequence[Run], names: Sequence[str]) -> None:
    """Makes sure that a system which was fitted with what leaks too was so by every run that has it."""
    fitted: dict[tuple[SystemKey, bool], str] = {}
    for run, name in zip(runs, names, strict=True):
        published = set() if run.scores_as_published is None else _systems(run.scores_as_published)
        for system in _systems(run.scores):
            fitted[system, system in published] = name
    for system, _ in sorted(fitted):
        if (system, True) in fitted and (system, False) in fitted:
            raise MergeError(
                f"{fitted[system, True]} and {fitted[system, False]} cannot be merged: the first has scores as"
                f" published of {_words(system)}, the second has none. {_REMEDY}."
            )


# --- what was fitted


def _united(
    name: str, tables: Sequence[pd.DataFrame | None], names: Sequence[str], schema: pa.Schema
) -> pd.DataFrame | None:
    """The rows of all tables in the order of a run's; those of a fit that several runs have once."""
    there = [(table, label) for table, label in zip(tables, names, strict=True) if table is not None]
    if not there:
        return None
    whole = pd.concat([table for table, _ in there], ignore_index=True)
    run = np.repeat(np.arange(len(there)), [len(table) for table, _ in there])
    fit = whole.groupby(_CELL, sort=True).ngroup().to_numpy()
    first = pd.Series(run).groupby(fit).transform("min").to_numpy()
    for place in np.unique(run[run > first]):
        mine = (run == place) & (run > first)
        theirs = (run == first) & np.isin(fit, fit[mine])
        if _same(_by_fit(whole, fit, mine), _by_fit(whole, fit, theirs), schema):
            continue
        for one in np.unique(fit[mine]):
            ours, other = mine & (fit == one), theirs & (fit == one)
            if not _same(whole[ours], whole[other], schema):
                row = whole[ours].iloc[0]
                raise MergeError(
                    f"{there[run[other][0]][1]} and {there[place][1]} cannot be merged: both have"
                    f" {_words(SystemKey(*row[list(SYSTEM)]))}, {_resample(row['seed'], row['fold'])}, but with"
                    f" different {name.replace('_', ' ')}. Leave one out, or make it again without what both have."
                )
    kept = whole[run == first]
    parts = [*_CELL, "split"] if "split" in whole else _CELL
    order = kept.groupby(parts, sort=True).ngroup().to_numpy()
    return kept.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)


def _by_fit(table: pd.DataFrame, fit: np.ndarray, which: np.ndarray) -> pd.DataFrame:
    return table[which].iloc[np.argsort(fit[which], kind="stable")]


def _same(a: pd.DataFrame, b: pd.DataFrame, schema: pa.Schema) -> bool:
    return len(a) == len(b) and schemas.as_arrow(a, schema).equals(schemas.as_arrow(b, schema))


def _check_complete(run: Run) -> None:
    """Makes sure that every system has every budget and resample, since statistics are paired."""
    fits = run.scores[_CELL].drop_duplicates()
    there = set(fits.itertuples(index=False, name=None))
    systems = sorted({system._replace(budget="") for system in SystemKey.of_rows(fits)})
    draws = sorted(set(fits[list(RESAMPLE)].itertuples(index=False, name=None)))
    for system in systems:
        missing = [
            (budget, *draw)
            for budget, draw in product(run.info["budgets"], draws)
            if (*system._replace(budget=budget), *draw) not in there
        ]
        if missing:
            budget, seed, fold = missing[0]
            info = {**run.info, "budgets": {name: run.info["budgets"][name] for name, *_ in missing}}
            seeds = sorted({seed for _, seed, _ in missing})
            filling = "\n  ".join(commands(info, [system], seeds=seeds, out=f"runs/{run.info['dataset']['name']}-more"))
            raise MergeError(
                f"{_words(system._replace(budget=budget))}, lacks {_resample(seed, fold)}, which another system has;"
                " systems are compared on the same resamples, so each needs all. Make what is missing, and merge it"
                f" too:\n  {filling}"
            )


def _systems(table: pd.DataFrame) -> set[SystemKey]:
    return set(SystemKey.of_rows(table.drop_duplicates(list(SYSTEM))))


def _words(system: SystemKey) -> str:
    return f"{system.probe} on {system.backbone}/{system.pooling}, budget {system.budget}"


def _resample(seed: int, fold: int) -> str:
    return f"seed {seed}, fold {fold}" if fold else f"seed {seed}"
