"""Paths of logistic regression against scikit-learn's, on the same data and cores, in turn: `name ours_s peer_s ratio`.

    python benchmarks/logistic_path.py [--seeds 20] [--peer-seeds 4] [--rounds 3] [--data brain-mri-embeddings.npz]
    python benchmarks/logistic_path.py --rows 600 --seeds 100
    python benchmarks/logistic_path.py --rows 334 --columns 2048 --seeds 100

Twelve values of C from 1e-4 to 1e3. Ours is the probe's whole engine: standardising, the one-off work, the path, val.
The peers fit the path on standardised rows over joblib, one BLAS thread a process, on some of the seeds; their time is
scaled up to all. scikit-learn starts each C from zero, or (warm) at the optimum of the last one, with L-BFGS or, where
its Hessian is small enough, Newton steps. scikit-learn-intelex runs where it is installed, parallel over seeds and
serial with all its threads. A second ratio is of processor seconds, which other work on the machine changes less.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import joblib
import numpy as np
from medprobe.evaluate import Resample, find_metric
from medprobe.probe import PROBES, ProbeTask
from medprobe.probe.engines import logreg as logistic_engine
from medprobe.probe.engines.parallel import Workers
from medprobe.probe.estimators.logistic import GRID, TOL
from medprobe.probe.logistic_solver.solver import Solution, solve
from probe_engine import DATA, Task, real, synthetic
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

NEWTON_SIZE = 2000
"""Weights of a model up to which scikit-learn's Newton steps, which factor their Hessian, end in reasonable time."""


def widened(tasks: list[Task], columns: int) -> Task:
    """The columns of all tasks, and random combinations of them, rectified as a network would, up to that number."""
    X = np.concatenate([task.X for task in tasks], axis=1)
    mix = np.random.default_rng(0).standard_normal((X.shape[1], columns - X.shape[1]), np.float32)
    return replace(tasks[0], name=f"{columns}-columns", X=np.concatenate([X, np.maximum(X @ mix, 0)], axis=1))


def drawn_from(task: Task, rows: int, seeds: int) -> Task:
    """`rows` of its training rows, and its test."""
    train = np.setdiff1d(np.arange(len(task.X)), task.test)
    kept = np.r_[np.random.default_rng(0).permutation(train)[:rows], task.test]
    return Task.of(f"{task.name}-{rows}-rows", task.X[kept], task.y[kept], np.arange(rows), seeds)


def block_of(task: Task) -> ProbeTask:
    """Each seed learns from its part, 90 % of the training rows, and chooses on the rest of them."""
    train = np.setdiff1d(np.arange(len(task.X)), task.test)
    drawn = [Resample(s, part, np.setdiff1d(train, part), task.test) for s, part in enumerate(task.parts)]
    classes = tuple(map(str, range(task.classes)))
    return ProbeTask(task.X, task.y, tuple(drawn), "multiclass", classes, find_metric("accuracy"), refit=False)


def ours(block: ProbeTask, *, stop_path: bool) -> None:
    kind = PROBES["logreg"].configured(stop_path=stop_path)
    assert all(outcome.converged for outcome in kind.solve(block, Workers(-1)))


def peer_path(
    estimator: Callable[..., Any], Z: np.ndarray, y: np.ndarray, threads: int | None
) -> tuple[list[float], float]:
    """Fits for each C; returns scikit-learn's objective at what it found, and processor seconds."""
    warnings.simplefilter("ignore")
    model, found, spent = estimator(max_iter=1000), [], 0.0
    for C in GRID:
        start = time.process_time()
        with threadpool_limits(threads):
            model.set_params(C=C).fit(Z, y)
        spent += time.process_time() - start
        found.append(objective(Z, y, model.coef_, model.intercept_, C))
    return found, spent


def objective(Z: np.ndarray, y: np.ndarray, W: np.ndarray, b: np.ndarray, C: float) -> float:
    logits = Z.astype(np.float64) @ W.astype(np.float64).T + b
    top = logits.max(axis=1)
    loss = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top - logits[np.arange(len(y)), y]
    return float(C * loss.sum() + (W.astype(np.float64) ** 2).sum() / 2)


def peer(
    block: ProbeTask, seeds: int, estimator: Callable[..., Any], *, parallel: bool = True
) -> tuple[list[float], float]:
    parts = [resample.train for resample in block.resamples[:seeds]]
    scaled = [(StandardScaler().fit_transform(block.X[part]), block.y[part]) for part in parts]
    work = [(estimator, Z, y, 1 if parallel else None) for Z, y in scaled]
    jobs = joblib.Parallel(n_jobs=-1 if parallel else 1)
    found, spent = zip(*jobs(joblib.delayed(peer_path)(*one) for one in work), strict=True)
    return [value for of_seed in found for value in of_seed], sum(spent)


def our_objectives(block: ProbeTask) -> np.ndarray:
    """(seeds, 12) values that the engine ends at, heard at its solver; each C solved as if it were chosen."""
    heard: list[np.ndarray] = []

    def listening(*given: Any, **options: Any) -> Solution:
        found = solve(*given, **options)
        if options.get("certify") is False:  # along the path
            heard.append(found.value)
        return found

    with patch.object(logistic_engine, "solve", listening):
        list(PROBES["logreg"].configured(stop_path=False, tol=TOL / 20).solve(block, Workers(1)))
    chunks = [np.stack(heard[start : start + len(GRID)], axis=1) for start in range(0, len(heard), len(GRID))]
    return np.concatenate(chunks)


def peers(block: ProbeTask) -> Iterator[tuple[str, Callable[..., Any], bool]]:
    yield "scikit-learn", LogisticRegression, True
    yield "scikit-learn-warm", partial(LogisticRegression, warm_start=True), True
    if block.X.shape[1] * len(block.classes) < NEWTON_SIZE:
        yield "scikit-learn-newton", partial(LogisticRegression, warm_start=True, solver="newton-cholesky"), True
    try:
        from sklearnex.linear_model import LogisticRegression as Intel
    except ImportError:
        print("scikit-learn-intelex is not installed")
    else:
        yield "intelex-parallel", Intel, True
        yield "intelex-serial", Intel, False


def compare(name: str, block: ProbeTask, peer_seeds: int, rounds: int) -> None:
    ours(block, stop_path=False)  # the first call of each side loads libraries and starts processes
    peer(block, 1, LogisticRegression)
    times: dict[str, list[tuple[float, float]]] = {}
    values: dict[str, list[float]] = {}
    for _ in range(rounds):
        for mode in (False, True):
            start, processor = time.perf_counter(), time.process_time()
            ours(block, stop_path=mode)
            spent = time.perf_counter() - start, time.process_time() - processor
            times.setdefault("early-end" if mode else "full-path", []).append(spent)
        for label, estimator, parallel in peers(block):
            start, scale = time.perf_counter(), len(block.resamples) / peer_seeds
            values[label], processor = peer(block, peer_seeds, estimator, parallel=parallel)
            times.setdefault(label, []).append(((time.perf_counter() - start) * scale, processor * scale))
    mine = our_objectives(block)[:peer_seeds].ravel()
    for mode in ("full-path", "early-end"):
        for label, theirs in values.items():
            (a, ours_cpu), (b, theirs_cpu) = (
                map(statistics.median, zip(*times[of], strict=True)) for of in (mode, label)
            )
            excess = float((mine / np.array(theirs) - 1).max())
            theirs_over = float((np.array(theirs) / mine).max())
            print(
                f"logreg/{name}/{mode}/{label} {a:.2f} {b:.2f} {b / a:.1f}; processor {ours_cpu:.2f} "
                f"{theirs_cpu:.2f} {theirs_cpu / ours_cpu:.1f}; our objective at most {excess:+.1e} above, "
                f"theirs up to {theirs_over:.3g} times ours"
            )


def check_written_float64(name: str, block: ProbeTask) -> None:
    """The engine's values for C <= 1 against scikit-learn in float64, run until nothing moves."""
    grid = [C for C in GRID if C <= 1]
    mine, worst = our_objectives(block), 0.0
    for number, resample in enumerate(block.resamples[:2]):
        Z = StandardScaler().fit_transform(block.X[resample.train].astype(np.float64))
        y = block.y[resample.train]
        for place, C in enumerate(grid):
            exact = LogisticRegression(C=C, tol=1e-10, max_iter=100_000).fit(Z, y)
            wanted = objective(Z, y, exact.coef_, exact.intercept_, C)
            worst = max(worst, abs(mine[number, place] / wanted - 1))
    print(f"logreg/{name}/against-float64: at most {worst:.1e} away for C <= 1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="npz with one matrix a backbone, y and split")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--peer-seeds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, help="training rows, drawn at random [default: all]")
    parser.add_argument("--columns", type=int, help="add random combinations of both backbones, rectified, up to these")
    parser.add_argument("--synthetic", action="store_true", help="also 20,000 x 1,024 made-up rows of 10 classes")
    args = parser.parse_args()
    tasks = list(real(args.data, args.seeds))
    if args.columns:
        tasks = [widened(tasks, args.columns)]
    for task in tasks:
        if args.rows:
            task = drawn_from(task, args.rows, args.seeds)
        check_written_float64(task.name, block_of(task))
        compare(task.name, block_of(task), args.peer_seeds, args.rounds)
    if args.synthetic:
        compare("synthetic", block_of(synthetic(args.seeds)), min(2, args.peer_seeds), args.rounds)


if __name__ == "__main__":
    main()
