"""Paths of logistic regression against scikit-learn's, on the same data and cores, in turn: `name ours_s peer_s ratio`.

    python benchmarks/logistic_path.py [--seeds 20] [--peer-seeds 4] [--rounds 3] [--data brain-mri-embeddings.npz]

Twelve values of C from 1e-4 to 1e3. Ours is the probe's whole engine: standardising, the one-off work, the path, val.
The peers fit each C on standardised rows over joblib, one BLAS thread a process, on some of the seeds; their time is
scaled up to all. scikit-learn-intelex runs where it is installed, parallel over fits and serial with all its threads.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import joblib
import numpy as np
from medprobe.evaluate import Resample, find_metric
from medprobe.probe import PROBES, ProbeTask
from medprobe.probe.engines import logreg as logistic_engine
from medprobe.probe.engines.parallel import Workers
from medprobe.probe.estimators._logistic_solver.solver import Solution, solve
from medprobe.probe.estimators.logistic import GRID, TOL
from probe_engine import DATA, Task, real, synthetic
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits


def block_of(task: Task) -> ProbeTask:
    """Each seed learns from its part, 90 % of the training rows, and chooses on the rest of them."""
    train = np.setdiff1d(np.arange(len(task.X)), task.test)
    drawn = [Resample(s, part, np.setdiff1d(train, part), task.test) for s, part in enumerate(task.parts)]
    classes = tuple(map(str, range(task.classes)))
    return ProbeTask(task.X, task.y, tuple(drawn), "multiclass", classes, find_metric("accuracy"), refit=False)


def ours(block: ProbeTask, *, stop_path: bool) -> None:
    kind = PROBES["logreg"].configured(stop_path=stop_path)
    assert all(outcome.converged for outcome in kind.solve(block, Workers(-1)))


def peer_fit(estimator: Callable[..., Any], Z: np.ndarray, y: np.ndarray, C: float, threads: int | None) -> float:
    """Fits once; returns scikit-learn's objective at what it found."""
    warnings.simplefilter("ignore")
    with threadpool_limits(threads):
        model = estimator(C=C, max_iter=1000).fit(Z, y)
    return objective(Z, y, model.coef_, model.intercept_, C)


def objective(Z: np.ndarray, y: np.ndarray, W: np.ndarray, b: np.ndarray, C: float) -> float:
    logits = Z.astype(np.float64) @ W.astype(np.float64).T + b
    top = logits.max(axis=1)
    loss = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top - logits[np.arange(len(y)), y]
    return float(C * loss.sum() + (W.astype(np.float64) ** 2).sum() / 2)


def peer(block: ProbeTask, seeds: int, estimator: Callable[..., Any], *, parallel: bool = True) -> list[float]:
    parts = [resample.train for resample in block.resamples[:seeds]]
    scaled = [(StandardScaler().fit_transform(block.X[part]), block.y[part]) for part in parts]
    work = [(estimator, Z, y, C, 1 if parallel else None) for Z, y in scaled for C in GRID]
    if parallel:
        return joblib.Parallel(n_jobs=-1)(joblib.delayed(peer_fit)(*one) for one in work)
    return [peer_fit(*one) for one in work]


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


def peers() -> Iterator[tuple[str, Callable[..., Any], bool]]:
    yield "scikit-learn", LogisticRegression, True
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
    times: dict[str, list[float]] = {}
    values: dict[str, list[float]] = {}
    for _ in range(rounds):
        for mode in (False, True):
            start = time.perf_counter()
            ours(block, stop_path=mode)
            times.setdefault("early-end" if mode else "full-path", []).append(time.perf_counter() - start)
        for label, estimator, parallel in peers():
            start = time.perf_counter()
            values[label] = peer(block, peer_seeds, estimator, parallel=parallel)
            spent = (time.perf_counter() - start) * len(block.resamples) / peer_seeds
            times.setdefault(label, []).append(spent)
    mine = our_objectives(block)[:peer_seeds].ravel()
    for mode in ("full-path", "early-end"):
        for label, theirs in values.items():
            a, b = statistics.median(times[mode]), statistics.median(times[label])
            excess = float((mine / np.array(theirs) - 1).max())
            theirs_over = float((np.array(theirs) / mine).max())
            print(
                f"logreg/{name}/{mode}/{label} {a:.2f} {b:.2f} {b / a:.1f}; our objective at most {excess:+.1e} above, "
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
    parser.add_argument("--synthetic", action="store_true", help="also 20,000 x 1,024 made-up rows of 10 classes")
    asked = parser.parse_args()
    for task in real(asked.data, asked.seeds):
        check_written_float64(task.name, block_of(task))
        compare(task.name, block_of(task), asked.peer_seeds, asked.rounds)
    if asked.synthetic:
        compare("synthetic", block_of(synthetic(asked.seeds)), min(2, asked.peer_seeds), asked.rounds)


if __name__ == "__main__":
    main()
