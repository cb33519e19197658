"""The engine of the probe `logreg`: the paths of many resamples side by side."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from .block import Block, Outcome, Workers
from .choosing import Chooser
from .kind import AsGrid, ProbeKind, ProbeSettings
from .linear import Predictor, Problems, Rows, Solution, solve
from .logistic import GRID
from .resampling import Resample

_WIDE = 40
"""Outputs of the problems solved side by side, about: as wide as a matrix product must be to be quick."""
_AT_ONCE = 8192
"""Test rows predicted at a time."""


class LogisticSettings(ProbeSettings):
    """How the probe `logreg` is fitted."""

    C: Annotated[tuple[PositiveFloat, ...], AsGrid, Field(examples=["C=[0.01,1,100], or --C 0.01,1,100"])] = GRID
    """Grid, chosen from on val."""
    class_weight: Literal["balanced"] | None = None
    """`balanced`: every class weighs the same."""
    stop_path: bool = True
    """Whether the path over C ends once values are worse on val."""
    tol: PositiveFloat = 1e-3
    """Relative gradient at which the solver stops along the path; the objective is then within about its square of
    the optimum. The model that is tested is solved to half of it."""
    max_iter: PositiveInt = 300
    """Most steps of the solver for one value of C."""


def solve_block(block: Block, workers: Workers, settings: LogisticSettings) -> Iterator[Outcome]:
    """Resamples in chunks: wide products for all of a chunk, chunks side by side.

    How resamples are divided follows from their number alone, so that no result depends on the number of workers.
    """
    used = np.unique(np.concatenate([np.r_[resample.train, resample.val] for resample in block.resamples]))
    if not block.wide and len(block.classes) > 2:
        used = used[np.argsort(block.y[used], kind="stable")]
    rows = Rows(block.X, used)
    shared = _Shared(block, settings, rows, used)
    wide = len(block.classes) if block.wide or len(block.classes) > 2 else 1
    count = len(block.resamples)
    chunks = max(min(2, count), -(-count * wide // _WIDE))
    parts = [block.resamples[part[0] : part[-1] + 1] for part in np.array_split(np.arange(count), chunks)]
    for outcomes in workers.map(_solve_chunk, shared, parts, threads=True):
        yield from outcomes


@dataclass(frozen=True, eq=False)
class _Shared:
    """What all chunks see."""

    block: Block
    settings: LogisticSettings
    rows: Rows
    used: np.ndarray
    """(n,) rows of the block that `rows` holds, in its order."""

    def problems(self, parts: list[np.ndarray]) -> Problems:
        """Learning from each of the parts, rows of the block."""
        inside = np.zeros((len(parts), len(self.block.X)), bool)
        for line, part in zip(inside, parts, strict=True):
            line[part] = True
        classes = 2 if self.block.wide else len(self.block.classes)
        y = self.block.y[self.used]
        return Problems.of(self.rows, y, classes, inside[:, self.used], class_weight=self.settings.class_weight)

    @property
    def labels(self) -> int:
        """Problems a resample."""
        return len(self.block.classes) if self.block.wide else 1


@dataclass(eq=False)
class _Walk:
    """One resample on its way along the path; `best` of its chooser is the point."""

    resample: Resample
    chooser: Chooser
    val: np.ndarray
    """(n_val,) where the val rows stand among the shared rows."""
    last: float = 0.0
    stuck: list[float] = field(default_factory=list)
    """Values of C at which the solver did not reach its tolerance."""


def _solve_chunk(shared: _Shared, resamples: tuple[Resample, ...]) -> list[Outcome]:
    start = time.perf_counter()
    walks = [_Walk(r, Chooser(shared.block, r), _places(shared.used, r.val)) for r in resamples]
    _walk(shared, walks)
    final, problems = _refitted(shared, walks)
    fitted = time.perf_counter()
    tested = [_tested(shared, problems, final.points, s, walk) for s, walk in enumerate(walks)]
    ended = time.perf_counter()
    each = (fitted - start) / len(walks), (ended - fitted) / len(walks)
    gaps, converged = final.gap.reshape(len(walks), -1), final.converged.reshape(len(walks), -1)
    return [
        _outcome(shared, walk, tested[s], float(gaps[s].max()), bool(converged[s].all()), each)
        for s, walk in enumerate(walks)
    ]


def _walk(shared: _Shared, walks: list[_Walk]) -> None:
    """Goes along C with all, and considers each optimum on val; a walk that has seen enough stays behind."""
    problems = shared.problems([walk.resample.train for walk in walks])
    predictor, moving, labels = Predictor(), list(walks), shared.labels
    for C in shared.settings.C:
        start = predictor.at(C) if shared.settings.C[0] < C else np.zeros((len(problems), problems.size))
        found = solve(problems.at(C), start, tol=shared.settings.tol, max_iter=shared.settings.max_iter)
        predictor.add(C, found.points)
        proba = problems.probabilities(found.points)
        for s, walk in enumerate(moving):
            mine = slice(s * labels, (s + 1) * labels)
            walk.last = C
            if not found.converged[mine].all():
                walk.stuck.append(C)
            said = _as_proba(shared.block, proba[:, mine, walk.val].reshape(-1, len(walk.val)).T, walk.resample.train)
            if walk.chooser.consider({"C": C}, said):
                walk.chooser.best = found.points[mine]
        further = [s for s, walk in enumerate(moving) if not (shared.settings.stop_path and walk.chooser.exhausted)]
        if not further:
            break
        if len(further) < len(moving):
            which = (np.array(further)[:, None] * labels + np.arange(labels)).ravel()
            problems, moving = problems.among(which), [moving[s] for s in further]
            predictor.keep(which)


def _refitted(shared: _Shared, walks: list[_Walk]) -> tuple[Solution, Problems]:
    """The tested models: at the chosen C, on train and val if that is asked."""
    problems = shared.problems([shared.block.fitted_on(walk.resample) for walk in walks])
    problems = problems.at(np.repeat([walk.chooser.params["C"] for walk in walks], shared.labels))
    start = np.concatenate([walk.chooser.best for walk in walks])
    return solve(problems, start, tol=shared.settings.tol / 2, max_iter=shared.settings.max_iter), problems


def _tested(shared: _Shared, problems: Problems, points: np.ndarray, s: int, walk: _Walk) -> np.ndarray:
    numbers, test = range(s * shared.labels, (s + 1) * shared.labels), walk.resample.test
    chances = np.empty((len(test), problems.outputs * shared.labels))
    for start in range(0, len(test), _AT_ONCE):  # a test may be as large as all else together
        part = slice(start, start + _AT_ONCE)
        Z = shared.rows.standardized(shared.block.X[test[part]])
        chances[part] = np.concatenate([problems.predict(points, number, Z) for number in numbers], axis=1)
    return _as_proba(shared.block, chances, shared.block.fitted_on(walk.resample))


def _as_proba(block: Block, chances: np.ndarray, learnt_from: np.ndarray) -> np.ndarray:
    """(m, C) probabilities from (m, outputs); a label that never changes where it is learnt is sure."""
    if block.wide:
        seen = block.y[learnt_from]
        constant = np.flatnonzero((seen == seen[0]).all(axis=0))
        chances[:, constant] = seen[0, constant]
        return chances
    return chances if chances.shape[1] > 1 else np.concatenate([1 - chances, chances], axis=1)


def _outcome(
    shared: _Shared, walk: _Walk, test_proba: np.ndarray, gap: float, converged: bool, seconds: tuple[float, float]
) -> Outcome:
    grid = shared.settings.C
    notes = walk.chooser.notes(len(grid))
    if walk.stuck:
        where = ", ".join(f"{C:g}" for C in walk.stuck)
        notes.append(f"not converged after {shared.settings.max_iter} steps at C={where}")
    if grid[-1] > walk.last:
        notes.append(f"path ended at C={walk.last:g}")
    return Outcome(
        seed=walk.resample.seed,
        fold=walk.resample.fold,
        val_proba=walk.chooser.proba,
        test_proba=test_proba,
        params=walk.chooser.params,
        converged=converged,
        gradient=gap,
        notes=notes,
        fit_s=seconds[0],
        predict_s=seconds[1],
    )


def _places(used: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Where each of `rows` stands in `used`."""
    order = np.argsort(used, kind="stable")
    return order[np.searchsorted(used, rows, sorter=order)]


LOGREG = ProbeKind("logreg", "Logistic regression", LogisticSettings(), solve_block)
