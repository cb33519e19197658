"""k nearest neighbours over many resamples: one search serves every seed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from ...evaluate.resampling.resample import Resample
from ...evaluate.results.fit_result import FitResult
from ..estimators._neighbors import NeighbourLists, Question, list_neighbours
from ..estimators.knn import GRID, TEMPERATURE, vote
from .model_selection import ModelSelector
from .params import AsGrid, ProbeSettings
from .probe import Probe
from .task import ProbeTask, Workers


class KNNSettings(ProbeSettings):
    """How the probe `knn` is fitted."""

    k: Annotated[tuple[PositiveInt, ...], AsGrid, Field(examples=["k=[1,5,21]"])] = GRID
    """Grid, chosen from on val; values above the number of training rows are skipped."""
    metric: Literal["cosine", "euclidean"] = "cosine"
    """Distance between embeddings."""
    weights: Literal["distance", "uniform", "softmax"] = "distance"
    """Weight of a neighbour's vote: the inverse of its distance, the same for all, or exp(similarity / temperature)."""
    temperature: PositiveFloat = TEMPERATURE
    """Of `weights=softmax`."""

    def grid(self, rows: int) -> list[int]:
        """The values of k that `rows` training rows can answer; where they can answer none, all of them vote."""
        return [k for k in self.k if k <= rows] or [rows]


@dataclass(frozen=True, eq=False)
class _Shared:
    """The task and its neighbour lists, the same for all resamples."""

    task: ProbeTask
    settings: KNNSettings
    lists: NeighbourLists
    search_s: float
    """Seconds of finding the lists, by seed."""

    def votes(self, found: np.ndarray, rows: np.ndarray, ks: Sequence[int]) -> np.ndarray:
        """(len(ks), n, C) from the distances and rows of neighbours."""
        by = {"weights": self.settings.weights, "temperature": self.settings.temperature}
        return vote(found, self.task.y[rows], len(self.task.classes), ks, **by)


def solve(task: ProbeTask, workers: Workers, settings: KNNSettings) -> Iterator[FitResult]:
    """One search for all seeds; each seed's choice of k on val and its test are masks over the lists."""
    start = time.perf_counter()
    questions = [question for resample in task.resamples for question in _questions(task, settings, resample)]
    lists = list_neighbours(task.X, questions, workers, metric=settings.metric)
    search_s = (time.perf_counter() - start) / len(task.resamples)
    return workers.map(_solve_one, _Shared(task, settings, lists, search_s), task.resamples, threads=True)


def _questions(task: ProbeTask, settings: KNNSettings, resample: Resample) -> tuple[Question, Question]:
    """Of val and of test."""
    k = max(settings.k)
    return Question(resample.val, resample.train, k), Question(resample.test, task.fitted_on(resample), k)


def _solve_one(shared: _Shared, resample: Resample) -> FitResult:
    start = time.perf_counter()
    task, lists, settings = shared.task, shared.lists, shared.settings
    grid = settings.grid(len(resample.train))
    of_val, of_test = _questions(task, settings, resample)
    found, rows = lists.among(of_val, max(grid))
    selector = ModelSelector(task, resample)
    for k, proba in reversed(list(zip(grid, shared.votes(found, rows, grid), strict=True))):
        selector.consider({"k": k}, proba)  # many neighbours make the simpler model
    fitted = time.perf_counter()
    k = selector.params["k"]
    found, rows = lists.among(of_test, k)
    return task.result(
        resample,
        val_proba=selector.proba,
        test_proba=shared.votes(found, rows, [k])[0],
        params=selector.params,
        notes=[*selector.notes(len(grid), limit={"k": 1}), *_skipped_note(settings, len(resample.train))],
        fit_s=fitted - start + shared.search_s,
        predict_s=time.perf_counter() - fitted,
    )


def _skipped_note(settings: KNNSettings, rows: int) -> list[str]:
    over = [k for k in settings.k if k > rows]
    if len(over) == len(settings.k):
        return [f"train is smaller than k={over[0]}: all of it votes"]
    return [f"k from {over[0]} skipped: train is smaller"] if over else []


KNN = Probe("knn", "k nearest neighbours", KNNSettings(), solve)
