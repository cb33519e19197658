"""The engine of the probe `logreg`: the paths of many resamples side by side."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from ...evaluate.resampling.resample import Resample
from ...evaluate.results.fit_result import FAR, FitResult, far_note
from ..estimators.logistic import GRID, TOL, LogisticProbe
from ..logistic_solver.blas import columnwise
from ..logistic_solver.path import Guide, Predictor
from ..logistic_solver.problems import Problems, proba_of_logits
from ..logistic_solver.rows import Rows
from ..logistic_solver.solver import Solution, WarmStart, solve
from .model_selection import ModelSelector
from .parallel import Workers
from .settings import AsGrid, ProbeSettings
from .task import Fitted, ProbeTask

_WIDE = 80
"""Outputs of the problems solved side by side, at most about: as wide as a matrix product must be to be quick."""
_MIN_SHARE = 0.25
"""Share of the pool that a resample must learn from to be close to the mean of all."""
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
    tol: PositiveFloat = TOL
    """Relative gradient at which the solver stops for the model that is tested; the objective is then within about its
    square of the optimum. Twenty times that serves the choice of C."""
    max_iter: PositiveInt = 1000
    """Most steps of the solver for one value of C."""

    @property
    def path_tol(self) -> float:
        """Relative gradient along the path over C."""
        return 20 * self.tol


def solve_task(task: ProbeTask, workers: Workers, settings: LogisticSettings) -> Iterator[FitResult]:
    """Resamples in chunks: wide products for all of a chunk, chunks side by side.

    What resamples share follows from the pool alone, and products are exact, so that no result depends on the other
    resamples, on how they are divided, or on the number of workers. Those that learn from a small part of the pool
    share nothing.
    """
    with _divided(task, settings, ahead=workers.n_jobs > 1) as (parts, guides):
        for results in workers.map(partial(_solve_part, task, settings, guides), parts):
            yield from results


def fit_logreg(task: ProbeTask, settings: LogisticSettings, resample: Resample) -> Fitted:
    """The model that `solve_task` tests under this resample, one of the task's."""
    with _divided(replace(task, resamples=(resample,)), settings, ahead=False) as (parts, guides):
        shared, resamples = _shared_of(task, settings, guides, parts[0])
        [walk], [model] = _fit_chunk(shared, resamples)
    seen = task.y[task.fitted_on(resample)]
    estimator = LogisticProbe(
        walk.selector.params["C"],
        class_weight=settings.class_weight,
        standardize=True,
        tol=settings.tol,
        max_iter=settings.max_iter,
    ).from_solution(
        center=shared.rows.mean,
        scale=shared.rows.scale,
        weights=model.coefficients,
        intercepts=model.intercepts,
        classes=len(task.classes),
        constant={int(c): int(seen[0, c]) for c in np.flatnonzero((seen == seen[0]).all(axis=0))} if task.wide else {},
        multilabel=task.wide,
    )
    notes = _notes(settings, walk)
    return Fitted(estimator, walk.selector.params, walk.selector.proba, notes, model.converged)


@contextmanager
def _divided(
    task: ProbeTask, settings: LogisticSettings, *, ahead: bool
) -> Iterator[tuple[list[_Part], dict[float, _Shared]]]:
    """The resamples in parts that are solved together, and what those share that learn from a like share of the pool.

    `ahead`: the guides walk in threads of their own.
    """
    pool = np.flatnonzero(task.pool)
    shares = [_rounded_share(len(resample.train) / len(pool)) for resample in task.resamples]
    parts = [
        part
        for share, alike in groupby(zip(shares, task.resamples, strict=True), key=lambda pair: pair[0])
        for part in _chunks(task, share, [resample for _, resample in alike])
    ]
    with ExitStack() as stack:
        guides: dict[float, _Shared] = {}
        if any(shares):
            shared = _Shared.of(task, settings, pool, exact=True)
            for share in sorted(set(filter(None, shares))):
                guide = None if shared.rows.few else stack.enter_context(shared.guide(share, ahead=ahead))
                guides[share] = replace(shared, guide_path=guide)
        yield parts, guides


def _rounded_share(share: float) -> float | None:
    """Of the guide for resamples that learn from about this share of the pool; None where it is too small for one."""
    return round(share, 1) if share >= _MIN_SHARE else None


_Part = tuple[float | None, list[Resample]]


def _chunks(task: ProbeTask, share: float | None, resamples: list[Resample]) -> list[_Part]:
    count, outputs = len(resamples), len(task.classes) if task.wide or len(task.classes) > 2 else 1
    chunks = min(count, 2 * -(-count * outputs // (2 * _WIDE)))  # even, so that two cores end together
    if share is None:
        chunks = count
    bounds = np.array_split(np.arange(count), chunks)
    return [(share, resamples[part[0] : part[-1] + 1]) for part in bounds]


def _solve_part(
    task: ProbeTask, settings: LogisticSettings, guides: dict[float, _Shared], part: _Part
) -> list[FitResult]:
    return _solve_chunk(*_shared_of(task, settings, guides, part))


def _shared_of(
    task: ProbeTask, settings: LogisticSettings, guides: dict[float, _Shared], part: _Part
) -> tuple[_Shared, list[Resample]]:
    share, resamples = part
    if share is not None:
        return guides[share], resamples
    (resample,) = resamples
    used = np.sort(np.r_[resample.train, resample.val])
    return _Shared.of(task, settings, used, exact=False), resamples


@dataclass(frozen=True, eq=False)
class _Shared:
    """The task and its shared rows, the same for all chunks."""

    task: ProbeTask
    settings: LogisticSettings
    rows: Rows
    used: np.ndarray
    """(n,) rows of the task that `rows` holds, in its order."""
    guide_path: Guide | None = None
    """Of the mean of the pool; None for resamples that are far from it."""

    @classmethod
    def of(cls, task: ProbeTask, settings: LogisticSettings, used: np.ndarray, *, exact: bool) -> _Shared:
        """With the rows `used` (n,), ascending."""
        if not task.wide and len(task.classes) > 2:
            used = used[np.argsort(task.y[used], kind="stable")]
        return cls(task, settings, Rows(task.X, used, exact=exact), used)

    def problems(self, parts: Sequence[np.ndarray]) -> Problems:
        """Learning from each of the parts, rows of the task."""
        inside = np.zeros((len(parts), len(self.task.X)), bool)
        for line, part in zip(inside, parts, strict=True):
            line[part] = True
        return self._problems(inside[:, self.used])

    def guide(self, share: float, *, ahead: bool) -> Guide:
        """Of resamples that learn from this share of all rows, each row as often as the others."""
        ours, mean = self.settings, np.full((1, len(self.used)), share)
        problems = replace(self, rows=self.rows.for_one())._problems(mean)
        return Guide(problems, ours.C, tol=ours.path_tol, max_iter=ours.max_iter, ahead=ahead)

    def guidance(self, C: float) -> WarmStart | None:
        """The guide's at one of the values of the grid."""
        return self.guide_path and self.guide_path.at(self.settings.C.index(C))

    def _problems(self, members: np.ndarray) -> Problems:
        classes = 2 if self.task.wide else len(self.task.classes)
        y = self.task.y[self.used]
        return Problems.of(self.rows, y, classes, members, class_weight=self.settings.class_weight)

    @property
    def labels(self) -> int:
        """Problems a resample."""
        return len(self.task.classes) if self.task.wide else 1


@dataclass(eq=False)
class _Walk:
    """The state of one resample along the path; `best` of its selector are points (labels, P)."""

    resample: Resample
    selector: ModelSelector
    val: np.ndarray
    """(n_val,) positions of the val rows among the shared rows."""
    last: float = 0.0
    stuck: list[float] = field(default_factory=list)
    """Values of C at which the solver did not reach its tolerance."""


@dataclass(frozen=True, eq=False)
class _Model:
    """Of one resample at one value of C."""

    coefficients: np.ndarray
    """(labels * K, d) float64 weights of the shared rows' columns."""
    intercepts: np.ndarray
    """(labels * K,) float64."""
    stretch: np.ndarray
    """(d,) float64: what a column of the shared rows is divided by is its inverse; 0 where it is constant."""
    gap: float
    """Relative gradient, the largest of all labels."""
    converged: bool

    @classmethod
    def all_of(cls, problems: Problems, found: Solution, labels: int) -> list[_Model]:
        """One for each resample, which has `labels` problems."""
        weights, intercepts = problems.coefficients(found.points)
        parts = [slice(start, start + labels) for start in range(0, len(problems), labels)]
        return [
            cls(
                coefficients=np.concatenate(weights[mine]),
                intercepts=intercepts[mine].ravel(),
                stretch=problems.stretch[mine.start],
                gap=float(found.gap[mine].max()),
                converged=bool(found.converged[mine].all()),
            )
            for mine in parts
        ]


def _solve_chunk(shared: _Shared, resamples: list[Resample]) -> list[FitResult]:
    start = time.perf_counter()
    walks, models = _fit_chunk(shared, resamples)
    fitted = time.perf_counter()
    tested, far = _tested(shared, walks, models)
    ended = time.perf_counter()
    return [
        shared.task.result(
            walk.resample,
            val_proba=walk.selector.proba,
            test_proba=proba,
            params=walk.selector.params,
            converged=model.converged,
            gradient=model.gap,
            notes=[*_notes(shared.settings, walk), *far_note(beyond)],
            fit_s=(fitted - start) / len(walks),
            predict_s=(ended - fitted) / len(walks),
        )
        for walk, proba, beyond, model in zip(walks, tested, far, models, strict=True)
    ]


def _fit_chunk(shared: _Shared, resamples: list[Resample]) -> tuple[list[_Walk], list[_Model]]:
    """Of each resample the choice of C on val, and the model that is tested."""
    walks = [_Walk(r, ModelSelector(shared.task, r), _places(shared.used, r.val)) for r in resamples]
    _walk(shared, walks)
    return walks, _refitted(shared, walks)


def _walk(shared: _Shared, walks: list[_Walk]) -> None:
    """Follows the path over C and scores each optimum on val; resamples whose path has ended drop out."""
    problems = shared.problems([walk.resample.train for walk in walks])
    predictor, moving, labels = Predictor(problems), list(walks), shared.labels
    for C in shared.settings.C:
        found = _solved(shared, problems.at(C), predictor)
        proba = found.probabilities()
        for s, walk in enumerate(moving):
            mine = slice(s * labels, (s + 1) * labels)
            walk.last = C
            if not found.converged[mine].all():
                walk.stuck.append(C)
            outputs = proba[:, mine, walk.val].reshape(-1, len(walk.val)).T
            if walk.selector.consider({"C": C}, _as_proba(shared.task, outputs, walk.resample.train)):
                walk.selector.best = found.points[mine]
        further = [s for s, walk in enumerate(moving) if not (shared.settings.stop_path and walk.selector.exhausted)]
        if not further:
            break
        if len(further) < len(moving):
            which = (np.array(further)[:, None] * labels + np.arange(labels)).ravel()
            problems, moving = problems.among(which), [moving[s] for s in further]
            predictor.keep(which)


def _solved(shared: _Shared, problems: Problems, predictor: Predictor) -> Solution:
    """All problems at one C, begun where the guide's optimum and the last differences from it point."""
    C = float(problems.C[0])
    guidance = shared.guidance(C)
    origin = 0.0 if guidance is None else np.tile(guidance.points, (len(problems) // shared.labels, 1))
    found = solve(
        problems,
        origin + predictor.at(C),
        tol=shared.settings.path_tol,
        max_iter=shared.settings.max_iter,
        warm_starts=[] if guidance is None else [(guidance, np.arange(len(problems)))],
        certify=False,
    )
    predictor.add(C, found.points - origin)
    return found


def _refitted(shared: _Shared, walks: list[_Walk]) -> list[_Model]:
    """At the chosen C, on what the tested model learns from."""
    chosen, labels = [walk.selector.params["C"] for walk in walks], shared.labels
    problems = shared.problems([shared.task.fitted_on(walk.resample) for walk in walks]).at(np.repeat(chosen, labels))
    starts = np.concatenate([walk.selector.best for walk in walks])
    warm_starts = []
    for C in sorted(set(chosen)):
        guidance = shared.guidance(C)
        if guidance is not None:
            warm_starts.append((guidance, np.flatnonzero(problems.C == C)))
    if warm_starts:
        # The guide knows the val rows, which at a large C are far off where they were not learnt from.
        shared_starts = starts.copy()
        for guidance, mine in warm_starts:
            shared_starts[mine] = np.tile(guidance.points, (len(mine) // labels, 1))
        better = problems.evaluate(shared_starts)[0] < problems.evaluate(starts)[0]
        starts[better] = shared_starts[better]
    ours = shared.settings
    found = solve(problems, starts, tol=ours.tol, max_iter=ours.max_iter, warm_starts=warm_starts)
    return _Model.all_of(problems, found, labels)


def _tested(shared: _Shared, walks: list[_Walk], models: list[_Model]) -> tuple[list[np.ndarray], list[int]]:
    """(n_test, C) probabilities of each model for its test rows, at once for those that have the same.

    And in how many features some of these are beyond `FAR` standard deviations.
    """
    walks_by: dict[bytes, list[int]] = defaultdict(list)
    for number, walk in enumerate(walks):
        walks_by[walk.resample.test.tobytes()].append(number)
    proba_by_walk: list[Any] = [None] * len(walks)
    far = [0] * len(walks)
    for numbers in walks_by.values():
        test = walks[numbers[0]].resample.test
        outputs, reach = _predict(shared, test, [models[n] for n in numbers])
        for number, of_one in zip(numbers, outputs, strict=True):
            proba_by_walk[number] = _as_proba(shared.task, of_one, shared.task.fitted_on(walks[number].resample))
            far[number] = int((reach * models[number].stretch > FAR).sum())
    return proba_by_walk, far


def _predict(shared: _Shared, test: np.ndarray, models: list[_Model]) -> tuple[np.ndarray, np.ndarray]:
    """(M, m, outputs) by each of the models for the same rows of the task, and (d,) how far these reach in a column."""
    weights = np.concatenate([model.coefficients for model in models]).T
    intercepts = np.stack([model.intercepts for model in models])
    out, reach = np.empty((*intercepts.shape, len(test))), np.zeros(shared.rows.width)
    for start in range(0, len(test), _AT_ONCE):  # a test may be as large as all else together
        part = slice(start, start + _AT_ONCE)
        # Summed in float64, as the estimator does: float32 rounds by the shape of the product.
        Z = shared.rows.standardized(shared.task.X[test[part]]).astype(np.float64)
        reach = np.maximum(reach, np.maximum(Z.max(axis=0), -Z.min(axis=0)))
        logits = columnwise(Z, weights)
        del Z  # or it would be in memory beside the next rows
        out[:, :, part] = logits.T.reshape(*intercepts.shape, -1) + intercepts[:, :, None]
    if shared.task.wide or len(shared.task.classes) == 2:
        return proba_of_logits(out[None])[0].transpose(0, 2, 1), reach
    return proba_of_logits(out.transpose(1, 0, 2)).transpose(1, 2, 0), reach


def _as_proba(task: ProbeTask, outputs: np.ndarray, learnt_from: np.ndarray) -> np.ndarray:
    """(m, C) probabilities from (m, outputs); a label that never changes where it is learnt is sure."""
    if task.wide:
        seen = task.y[learnt_from]
        constant = np.flatnonzero((seen == seen[0]).all(axis=0))
        outputs[:, constant] = seen[0, constant]
        return outputs
    return outputs if outputs.shape[1] > 1 else np.concatenate([1 - outputs, outputs], axis=1)


def _notes(settings: LogisticSettings, walk: _Walk) -> list[str]:
    notes = walk.selector.notes({"C": settings.C})
    if walk.stuck:
        where = ", ".join(f"{C:g}" for C in walk.stuck)
        notes.append(f"not converged after {settings.max_iter} steps at C={where}")
    if settings.C[-1] > walk.last:
        notes.append(f"path ended at C={walk.last:g}")
    return notes


def _places(used: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Positions of `rows` in `used`."""
    order = np.argsort(used, kind="stable")
    return order[np.searchsorted(used, rows, sorter=order)]
