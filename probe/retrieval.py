"""Search for similar images: the nearest ones of each image, and scores of their classes where test queries train."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..base import ProbeError, counted, look_up, one_of
from ..base import progress as show_progress
from ..evaluate.metrics.registry import primary_metric, retrieval_metrics
from ..evaluate.metrics.retrieval import Retrieved, majority
from ..evaluate.resampling.leaks import Leaks, find_leaks
from ..evaluate.resampling.protocols import HOLDOUT
from ..evaluate.resampling.resample import Resample
from ..evaluate.resampling.train_size import Budget
from ..evaluate.results.commands import RETRIEVAL
from ..evaluate.results.fit_result import FitResult
from ..evaluate.results.recorder import Recorder
from ..evaluate.results.run import Run
from ..evaluate.results.schemas import SystemKey
from ..manifests import Manifest, Units
from ..manifests.validation.diagnostics import Diagnostic, diagnostic
from .data.features import backbone_labels, choose_poolings
from .data.probe_data import ProbeData
from .draws import Design, Draws
from .estimators._neighbors import normalize_rows, search
from .experiment import Experiment
from .runner import Caches, some_caches

SIMILARITIES = {"cosine": "cosine similarity", "euclidean": "Euclidean distance"}
"""Similarity measures by name."""
_TIE = 1e-3
"""What the winner of a vote has beyond its votes: a tie is then won by the class of the nearest in `argmax` too."""


def retrieve(
    manifest: Manifest,
    caches: Caches,
    *,
    k: int | Sequence[int] = (1, 3, 5),
    similarity: str = "cosine",
    same_group: bool = False,
    poolings: str | Sequence[str] | None = None,
    progress: bool = True,
) -> Run:
    """Searches the train part of the manifest's split for the images nearest to each one of its test part.

    A retrieved unit is relevant where it has the query's class. Nothing is fitted, and val plays no part. For each k
    above 1 the scores are `accuracy_at_k`, `vote_at_k`, `map_at_k` and `map_all_at_k`, means over the queries; for 1,
    where all four are the same, `accuracy_at_1`. Queries for which train has no relevant unit are left out, with a
    warning. Predictions are the votes of the largest k (docs/retrieval.md).

    Args:
        manifest: the data set, of a task with one label.
        caches: embeddings of it; several of one backbone differ in their fingerprints.
        k: how many of the nearest are looked at; systems are compared in `map_at_k` of the largest.
        similarity: `cosine` or `euclidean`, of the vectors as they are.
        same_group: also find units of the query's own group (patient). By default these are passed over, and so are
            those of groups that share an image with it.
        poolings: of those that the caches hold; all by default.
        progress: show a bar.

    Raises:
        ManifestError: there are no labels; `nearest_images` needs none.
        ProbeError: the task has several labels, the manifest names no train or no test, train has fewer than k units
            for some query, or no query has a unit of its class to find.
        CacheError: a cache is damaged or does not hold the manifest's samples.

    Examples:
        >>> from medprobe.manifests import Manifest
        >>> from medprobe.probe import retrieve
        >>> split = ["test" if row % 4 == 0 else "train" for row in range(30) for _ in range(2)]
        >>> searched = Manifest(manifest.table.assign(split=split), manifest.card)
        >>> run = retrieve(searched, caches, k=[1, 5], progress=False)
        >>> run.scores["metric"].unique().tolist()
        ['accuracy_at_1', 'accuracy_at_5', 'vote_at_5', 'map_at_5', 'map_all_at_5']
    """
    ks, caches = _checked(k), some_caches(manifest, caches)
    look_up("similarity", similarity, SIMILARITIES)
    _require_one_label(manifest)
    data = ProbeData.of(manifest, caches)
    leaks = _leaks(data, same_group=same_group)
    units = leaks.clean
    parts = _parts(units, manifest).within(data.all_usable)
    group = None if same_group else units.group
    parts, relevant, warnings = _answerable(units, parts, group, max(ks), manifest)
    metrics = retrieval_metrics(ks)
    primary = next((metric for metric in metrics if metric.name == f"map_at_{max(ks)}"), metrics[0])
    budget = Budget()
    draws = Draws(units, leaks, [(budget, [parts])], None)
    design = Design(
        protocol="fixed",
        seeds=[parts.seed],
        budgets=[budget],
        fractions=HOLDOUT,
        folds=None,
        keep_leaks=same_group,
        drop_near=False,
    )
    experiment = Experiment(data, primary, design, draws)
    recorder = Recorder(manifest.card, "fixed", units, metrics=metrics)
    row_of = np.cumsum(data.all_usable) - 1
    name, about = _system(ks, similarity, same_group)
    labels, features = backbone_labels(caches), choose_poolings(caches, poolings)
    with show_progress(f"Searching {manifest.name}", len(features), unit="features", enabled=progress) as bar:
        for cache, pooling in features:
            start = time.perf_counter()
            X = data.features(cache, pooling)
            warnings += experiment.feature_warnings(f"{labels[cache]}, {pooling}", X)
            _, found = _nearest(normalize_rows(X, similarity), parts, row_of, max(ks), similarity, group)
            retrieved = Retrieved(found, units.y[found], relevant)
            votes = _votes(retrieved.label, len(manifest.card.classes))
            none = np.empty((0, votes.shape[1]), np.float32)
            seconds = time.perf_counter() - start
            key = SystemKey(manifest.card.name, labels[cache], caches[cache].spec.fingerprint, pooling, name)
            recorder.add(key, FitResult(parts, none, votes, {}, predict_s=seconds, retrieved=retrieved))
            bar.advance(note=labels[cache])
    return experiment.run(recorder, systems={name: about}, warnings=warnings)


def check_searchable(manifest: Manifest, k: int | Sequence[int], *, same_group: bool) -> None:
    """Makes sure that `retrieve` has what it needs of a manifest, as far as is known without embeddings.

    Raises:
        ProbeError: as for `retrieve`.
    """
    _require_one_label(manifest)
    units = manifest.units()
    _answerable(units, _parts(units, manifest), None if same_group else units.group, max(_checked(k)), manifest)


def _require_one_label(manifest: Manifest) -> None:
    primary_metric(manifest.card)  # which run.json names
    if manifest.card.require_task("scoring a search") == "multilabel":
        raise ProbeError(
            f"{manifest.name}: is multilabel, where two images may share some labels and not others, and nothing says"
            " whether one is then relevant to the other. Retrieval needs one label per image."
        )


def nearest_images(
    manifest: Manifest,
    caches: Caches,
    *,
    k: int = 5,
    similarity: str = "cosine",
    same_group: bool = False,
    poolings: str | Sequence[str] | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """The images whose embeddings are nearest to those of each image; no labels are needed.

    As in `retrieve`, test queries train where the manifest's split has both. Else every unit queries all others.

    Args:
        manifest: the data set.
        caches: embeddings of it; several of one backbone differ in their fingerprints.
        k: how many of the nearest are listed.
        similarity: `cosine` or `euclidean`, of the vectors as they are.
        same_group: also find units of the query's own group (patient), and copies of the query.
        poolings: of those that the caches hold; all by default.
        progress: show a bar.

    Returns:
        A row per backbone, pooling, query and rank, with the columns `backbone`, `pooling`, `query` and `found` (ids of
        units; of samples where the manifest names no units), `rank` (from 1) and `distance` (one minus the cosine
        similarity, or Euclidean).

    Raises:
        ProbeError: a query has fewer than k units to search.
        CacheError: a cache is damaged or does not hold the manifest's samples.

    Examples:
        >>> from medprobe.probe import nearest_images
        >>> table = nearest_images(manifest, caches, k=3, progress=False)
        >>> table[["backbone", "pooling", "rank"]].drop_duplicates().head(3)
                backbone pooling  rank
        0  timm:resnet50    mean     1
        1  timm:resnet50    mean     2
        2  timm:resnet50    mean     3
    """
    [k], caches = _checked(k), some_caches(manifest, caches)
    look_up("similarity", similarity, SIMILARITIES)
    data = ProbeData.of(manifest, caches)
    units = _leaks(data, same_group=same_group).clean
    if units.split is not None and {"train", "test"} <= set(units.split):
        parts, base, group = _parts(units, manifest), "train", None if same_group else units.group
    else:
        everything = np.arange(len(units))
        parts, base = Resample(0, everything, everything[:0], everything), "the data set"
        group = everything if same_group else units.group  # no query finds itself
    parts = parts.within(data.all_usable)
    _require_enough(parts, group, k, manifest, base=base)
    row_of = np.cumsum(data.all_usable) - 1
    labels, features, tables = backbone_labels(caches), choose_poolings(caches, poolings), []
    with show_progress(f"Searching {manifest.name}", len(features), unit="features", enabled=progress) as bar:
        for cache, pooling in features:
            X = normalize_rows(data.features(cache, pooling), similarity)
            distance, found = _nearest(X, parts, row_of, k, similarity, group)
            columns = {
                "query": np.repeat(units.unit_id[parts.test], k),
                "rank": np.tile(np.arange(1, k + 1), len(parts.test)),
                "found": units.unit_id[found.ravel()],
                "distance": distance.ravel(),
            }
            tables.append(pd.DataFrame({"backbone": labels[cache], "pooling": pooling, **columns}))
            bar.advance(note=labels[cache])
    return pd.concat(tables, ignore_index=True)


def _leaks(data: ProbeData, *, same_group: bool) -> Leaks:
    """The units whose groups a search passes over: groups that share an image are one, unless `same_group`."""
    if same_group:
        return Leaks.kept(data.units, apart=True)
    return find_leaks(data.units, data.all_sample_units, data.all_digests, fixed_test=False)


def _checked(k: int | Sequence[int]) -> list[int]:
    ks = sorted(set([k] if isinstance(k, int) else k))
    if not ks or any(int(one) != one or one < 1 for one in ks):
        raise ProbeError(f"k is the number of nearest images, a whole number from 1 or a list such as 1,3,5; got {k}.")
    return [int(one) for one in ks]


def _system(ks: Sequence[int], similarity: str, same_group: bool) -> tuple[str, dict[str, Any]]:
    """The name of the search in the tables, with what is not the default, and what run.json says of it."""
    changed = [f"similarity={similarity}"] if similarity != "cosine" else []
    changed += ["same_group=True"] if same_group else []
    settings = {"k": list(ks), "similarity": similarity, "same_group": same_group}
    facts = {"frozen": True, "aggregation": "mean", "refit": False, "settings": settings}
    label = f"Retrieval by {SIMILARITIES[similarity]}"
    return ":".join(filter(None, [RETRIEVAL, ",".join(changed)])), {"label": label, **facts}


def _parts(units: Units, manifest: Manifest) -> Resample:
    """The base as `train`, the queries as `test`.

    Raises:
        ProbeError: the manifest names no train or no test.
    """
    split = np.full(len(units), "") if units.split is None else units.split
    absent = [name for name in ("train", "test") if not (split == name).any()]
    if absent:
        raise ProbeError(
            f"{manifest.name}: the test part of the split queries its train part, and no unit is in {one_of(absent)}."
            " Add a `split` column (train, test) to the manifest."
        )
    base, queries = (np.flatnonzero(split == name) for name in ("train", "test"))
    return Resample(0, base, np.empty(0, np.int64), queries)


def _answerable(
    units: Units, parts: Resample, group: np.ndarray | None, k: int, manifest: Manifest
) -> tuple[Resample, np.ndarray, list[Diagnostic]]:
    """The parts with the queries that have something to find, how many units of its class each (n,) of them has in the
    base, without those of its own `group` (U,), and a warning about the other queries.

    Raises:
        ProbeError: there is no such query, or the base has fewer than `k` units for one of them.
    """
    classes, y = manifest.card.classes, units.y
    relevant = np.bincount(y[parts.train], minlength=len(classes))[y[parts.test]]
    without = _without(group)
    if group is not None:
        own = group.astype(np.int64) * len(classes) + y
        relevant = relevant - _times(own[parts.train], own[parts.test])
    kept = relevant > 0
    if not kept.any():
        raise ProbeError(
            f"{manifest.name}: train has no unit of the class of any query{without}: nothing can be found."
        )
    answered = replace(parts, test=parts.test[kept])
    _require_enough(answered, group, k, manifest)
    left, warnings = parts.test[~kept], []
    if len(left):
        queries = counted(len(left), "query is", "queries are")
        names = one_of(f'"{classes[label]}"' for label in np.unique(y[left]))
        message = f"{queries} left out: train has no unit of the class to find{without} ({names})"
        warnings.append(diagnostic("queries-left-out", message, things=len(left)))
    return answered, relevant[kept], warnings


def _without(group: np.ndarray | None) -> str:
    return "" if group is None else ", without those of a query's own patient (group)"


def _require_enough(
    parts: Resample, group: np.ndarray | None, k: int, manifest: Manifest, *, base: str = "train"
) -> None:
    """Makes sure that each query has `k` units to search, without those of its own `group` (U,).

    Raises:
        ProbeError: one has fewer.
    """
    all_of_base = np.full(len(parts.test), len(parts.train))
    if group is not None:
        all_of_base -= _times(group[parts.train], group[parts.test])
    fewest = int(all_of_base.min())
    if fewest < k:
        raise ProbeError(
            f"{manifest.name}: k = {k}, but {base} has {counted(fewest, 'unit')} to search{_without(group)}; give a"
            " smaller k."
        )


def _times(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """How often each of `wanted` is among the values."""
    ordered = np.sort(values)
    return np.searchsorted(ordered, wanted, "right") - np.searchsorted(ordered, wanted, "left")


def _nearest(
    X: np.ndarray, parts: Resample, row_of: np.ndarray, k: int, similarity: str, group: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Distances and units of the base that are nearest to each query, (n, k); `row_of` (U,) is a unit's row in X."""
    groups = None if group is None else (group[parts.test], group[parts.train])
    distance, place = search(X[row_of[parts.test]], X[row_of[parts.train]], k, similarity, groups=groups)
    return distance, parts.train[place]


def _votes(label: np.ndarray, classes: int) -> np.ndarray:
    """(n, C) float32 share of each class among the nearest (n, k)."""
    votes = np.zeros((len(label), classes))
    query = np.arange(len(label))
    for column in label.T:
        votes[query, column] += 1
    votes[query, majority(label)] += _TIE
    return (votes / votes.sum(axis=1, keepdims=True)).astype(np.float32)
