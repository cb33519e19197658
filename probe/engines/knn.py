"""k nearest neighbours over many resamples: one search serves every seed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from ...evaluate.resampling.resample import Resample
from ...evaluate.results.fit_result import FitResult
from ..estimators._neighbors import NeighbourLists, Question, list_neighbours
from ..estimators._prediction import TEMPERATURE, vote
from ..estimators.knn import GRID, KNNProbe
from .model_selection import ModelSelector
from .parallel import Workers
from .settings import AsGrid, ProbeSettings
from .task import Fitted, ProbeTask

_AT_ONCE = 2048
"""Rows whose neighbours vote at a time."""


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


def solve_knn(task: ProbeTask, workers: Workers, settings: KNNSettings) -> Iterator[FitResult]:
    """One search for all seeds; each seed's choice of k on val and its test are masks over the lists."""
    start = time.perf_counter()
    questions = [question for resample in task.resamples for question in _questions(task, settings, resample)]
    lists = list_neighbours(task.X, questions, workers.map, metric=settings.metric)
    search_s = (time.perf_counter() - start) / len(task.resamples)
    return workers.map(partial(_solve_one, task, settings, lists, search_s), task.resamples)


def _questions(task: ProbeTask, settings: KNNSettings, resample: Resample) -> tuple[Question, Question]:
    """Of val and of test."""
    k = max(settings.k)
    return Question(resample.val, resample.train, k), Question(resample.test, task.fitted_on(resample), k)


def fit_knn(task: ProbeTask, settings: KNNSettings, resample: Resample) -> Fitted:
    """The k chosen on val, with train and val as the rows that vote."""
    of_val, _ = _questions(task, settings, resample)
    lists = list_neighbours(task.X, [of_val], Workers(1).map, metric=settings.metric)
    selector, notes = _choose(task, settings, lists, resample)
    rows, by = task.fitted_on(resample), settings.model_dump(include={"metric", "weights", "temperature"})
    probe = KNNProbe(selector.params["k"], **by).fit(task.X[rows], task.y[rows])
    return Fitted(probe, selector.params, selector.proba, notes)


def _solve_one(
    task: ProbeTask, settings: KNNSettings, lists: NeighbourLists, search_s: float, resample: Resample
) -> FitResult:
    start = time.perf_counter() - search_s
    selector, notes = _choose(task, settings, lists, resample)
    fitted = time.perf_counter()
    _, of_test = _questions(task, settings, resample)
    return task.result(
        resample,
        val_proba=selector.proba,
        test_proba=_votes(task, settings, lists, of_test, [selector.params["k"]])[0],
        params=selector.params,
        notes=notes,
        fit_s=fitted - start,
        predict_s=time.perf_counter() - fitted,
    )


def _votes(
    task: ProbeTask, settings: KNNSettings, lists: NeighbourLists, question: Question, ks: Sequence[int]
) -> np.ndarray:
    """(len(ks), n, C)."""
    proba = np.empty((len(ks), len(question.rows), len(task.classes)))
    by = {"weights": settings.weights, "temperature": settings.temperature}
    for start in range(0, len(question.rows), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        found, rows = lists.among(replace(question, rows=question.rows[part]), max(ks))
        proba[:, part] = vote(found, task.y[rows], len(task.classes), ks, **by)
    return proba


def _choose(
    task: ProbeTask, settings: KNNSettings, lists: NeighbourLists, resample: Resample
) -> tuple[ModelSelector, list[str]]:
    """The choice of k on val, and notes on it."""
    of_val, _ = _questions(task, settings, resample)
    members = len(resample.train)
    grid = [k for k in settings.k if k <= members] or [members]
    selector = ModelSelector(task, resample)
    for k, proba in reversed(list(zip(grid, _votes(task, settings, lists, of_val, grid), strict=True))):
        selector.consider({"k": k}, proba)  # many neighbours make the simpler model
    notes, over = selector.notes({"k": grid}, limit=1), [k for k in settings.k if k > members]
    if len(over) == len(settings.k):
        notes.append(f"train is smaller than k={over[0]}: all of it votes")
    elif over:
        notes.append(f"k from {over[0]} skipped: train is smaller")
    return selector, notes
