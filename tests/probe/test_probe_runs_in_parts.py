"""A seed gives the same bytes whatever other seeds are in its run, so that a run can be computed in parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
from medprobe.evaluate import METRICS, Resample
from medprobe.evaluate.results.fit_result import FitResult
from medprobe.probe import PROBES, ProbeTask
from medprobe.probe.engines.parallel import Workers
from medprobe.probe.logistic_solver.blas import WIDTHS, columnwise, rowwise
from sklearn.datasets import make_classification

SEEDS = 12


def _task(kind: str, *, n: int = 160, d: int = 24, share: float = 0.7, folds: int = 1, refit: bool = True) -> ProbeTask:
    """`SEEDS` seeds; each trains on a share of the rows, or there are folds, of which it tests one at a time."""
    X, y = make_classification(n, d, n_informative=8, n_classes=3, class_sep=0.5, random_state=0)
    X = X.astype(np.float32)
    y, classes = {
        "binary": (np.minimum(y, 1), "ab"),
        "multiclass": (y, "abc"),
        "multilabel": (np.stack([y == 0, y > 1, X[:, 0] > 0], axis=1).astype(np.int8), "abc"),
    }[kind]
    resamples = []
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(n)
        for fold in range(folds):
            test, rest = order[fold::5], np.setdiff1d(order, order[fold::5], assume_unique=True)
            train, val = rest[: int(share * n)], rest[-int(0.1 * n) :]
            resamples.append(Resample(seed, np.sort(train), np.sort(val), np.sort(test), fold))
    metric = METRICS["brier" if kind == "multilabel" else "log_loss"]
    pool = np.ones(n, bool)
    return ProbeTask(X, y, tuple(resamples), kind, tuple(classes), metric, refit=refit, learnable=pool)


def _solve(task: ProbeTask, seeds: list[int], jobs: int) -> Iterator[tuple[int, list[FitResult]]]:
    drawn = tuple(resample for seed in seeds for resample in task.resamples if resample.seed == seed)
    results = PROBES["logreg"].solve(replace(task, resamples=drawn), Workers(jobs))
    for seed, of_seed in groupby(results, key=lambda result: result.resample.seed):
        yield seed, list(of_seed)


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "binary"},
        {"kind": "multiclass"},
        {"kind": "multilabel"},
        {"kind": "multiclass", "folds": 3, "share": 0.64},
        {"kind": "multiclass", "share": 0.1, "refit": False},
        {"kind": "binary", "share": 0.3},
        {"kind": "multiclass", "d": 200},
        {"kind": "binary", "n": 2500, "d": 12, "refit": False},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_a_logistic_regression_is_the_same_alone_in_a_block_and_in_a_whole_run(options: dict) -> None:
    task = _task(**options)
    whole = dict(_solve(task, list(range(SEEDS)), jobs=2))
    assert list(whole) == list(range(SEEDS))
    for seeds, jobs in (([7], 1), ([10, 3, 7], 1), (list(range(6, 12)), 2)):
        for seed, results in _solve(task, seeds, jobs):
            for mine, theirs in zip(results, whole[seed], strict=True):
                np.testing.assert_array_equal(mine.val_proba, theirs.val_proba)
                np.testing.assert_array_equal(mine.test_proba, theirs.test_proba)
                assert (mine.params, mine.gradient, mine.notes) == (theirs.params, theirs.gradient, theirs.notes)


@pytest.mark.parametrize("shape", [(24, 24), (1024, 24), (100, 384), (700, 384)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_of_a_product_has_the_same_bits_whatever_is_beside_it(shape: tuple[int, int], dtype: type) -> None:
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((100, shape[0])).astype(dtype), rng.standard_normal(shape).astype(dtype)
    whole = rowwise(left, right, exact=True)
    np.testing.assert_allclose(whole, left @ right, atol=1e-3)
    for chosen in ([5], [99, 0, 3], list(range(50, 61)), list(range(WIDTHS[-1]))):
        np.testing.assert_array_equal(rowwise(left[chosen], right, exact=True), whole[chosen])
    columns = np.ascontiguousarray(rng.standard_normal((100, shape[1])).astype(dtype).T)
    across = columnwise(right, columns)
    np.testing.assert_allclose(across, right @ columns, atol=1e-3)
    np.testing.assert_array_equal(columnwise(right, columns[:, [99, 4]]), across[:, [99, 4]])
