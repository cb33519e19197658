"""The probe engine against scikit-learn, on the same data, the same cores, in turn: `name ours_s peer_s ratio`.

    python benchmarks/probe_engine.py [--seeds 100] [--rounds 3] [--data brain-mri-embeddings.npz]

Both sides use one BLAS thread a process and as many processes as there are cores. A peer that would take minutes is
run on a part of the seeds and its time scaled up; the line says so. Labels are compared, and must be the same.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from medprobe.probe import Block, GBMProbe, Resample, find_metric
from medprobe.probe.knn import vote
from medprobe.probe.neighbours import list_neighbours
from medprobe.probe.workers import JoblibWorkers
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits

KS = (1, 5, 11, 21, 51, 101)
_DATA = Path(os.environ.get("MEDPROBE_TEST_DATA", "../shared/data")) / "brain-mri-embeddings.npz"


def draw(train: np.ndarray, seeds: int) -> list[np.ndarray]:
    """What each seed learns from: 90 % of the training rows."""
    return [np.sort(np.random.default_rng(seed).permutation(train)[: int(0.9 * len(train))]) for seed in range(seeds)]


def our_seed(shared: tuple[Any, ...], members: np.ndarray) -> np.ndarray:
    lists, y, test, classes = shared
    found, rows = lists.among(test, members, max(KS))
    labels = y[rows]
    return np.stack([vote(found[:, :k], labels[:, :k], classes).argmax(1) for k in KS])


def ours(X: np.ndarray, y: np.ndarray, parts: list[np.ndarray], test: np.ndarray) -> np.ndarray:
    workers = JoblibWorkers(-1)
    lists = list_neighbours(X, max(KS), min(map(len, parts)) / len(X), workers)
    return np.stack(list(workers.map(our_seed, (lists, y, test, int(y.max()) + 1), parts)))


def fit_per_k(X: np.ndarray, y: np.ndarray, members: np.ndarray, test: np.ndarray, k: int) -> np.ndarray:
    with threadpool_limits(1):
        model = KNeighborsClassifier(k, algorithm="brute", metric="cosine", weights="distance")
        return model.fit(X[members], y[members]).predict(X[test])


def peer_per_k(X: np.ndarray, y: np.ndarray, parts: list[np.ndarray], test: np.ndarray) -> np.ndarray:
    jobs = (joblib.delayed(fit_per_k)(X, y, members, test, k) for members in parts for k in KS)
    return np.stack(joblib.Parallel(n_jobs=-1)(jobs)).reshape(len(parts), len(KS), -1)


def fit_once(X: np.ndarray, y: np.ndarray, members: np.ndarray, test: np.ndarray) -> np.ndarray:
    with threadpool_limits(1):
        model = KNeighborsClassifier(max(KS), algorithm="brute", metric="cosine").fit(X[members], y[members])
        found, place = model.kneighbors(X[test])
        labels = y[members][place]
        return np.stack([vote(found[:, :k], labels[:, :k], int(y.max()) + 1).argmax(1) for k in KS])


def peer_once(X: np.ndarray, y: np.ndarray, parts: list[np.ndarray], test: np.ndarray) -> np.ndarray:
    jobs = (joblib.delayed(fit_once)(X, y, members, test) for members in parts)
    return np.stack(joblib.Parallel(n_jobs=-1)(jobs))


def our_boosting(block: Block, part: np.ndarray) -> np.ndarray:
    """As the engine does it: val says when to stop, then train and val together."""
    train, val = train_test_split(part, test_size=0.2, stratify=block.y[part], random_state=0)
    probe = GBMProbe().fit(block.X[train], block.y[train], eval_set=(block.X[val], block.y[val]))
    return probe.refit(block.X[part], block.y[part]).predict_proba(block.X[block.resamples[0].test]).argmax(1)


def peer_boosting(X: np.ndarray, y: np.ndarray, part: np.ndarray, test: np.ndarray) -> np.ndarray:
    """LightGBM's defaults at 100 rounds, on one thread."""
    import lightgbm as lgb

    settings = {"objective": "multiclass", "num_class": int(y.max()) + 1, "num_threads": 1, "verbose": -1}
    booster = lgb.train(settings, lgb.Dataset(X[part], y[part], params=settings), 100)
    return np.asarray(booster.predict(X[test], num_threads=1)).argmax(1)


def compare_boosting(name: str, data: tuple[Any, ...], peer_seeds: int) -> None:
    X, y, parts, test = data
    block = Block(X, y, (Resample(0, parts[0], parts[0], test),), "multiclass", (), find_metric("accuracy"), True)
    seconds, labels = timed(lambda: np.stack(list(JoblibWorkers(-1).map(our_boosting, block, parts))))
    jobs = [joblib.delayed(peer_boosting)(X, y, part, test) for part in parts[:peer_seeds]]
    other, theirs = timed(lambda: np.stack(joblib.Parallel(n_jobs=-1)(jobs)))
    other *= len(parts) / peer_seeds
    right = [float((found == y[test]).mean()) for found in (labels, theirs)]
    scaled = f"(peer: {peer_seeds} of {len(parts)} seeds, scaled)"
    print(
        f"{name} {seconds:.2f} {other:.2f} {other / seconds:.1f} {scaled}; accuracy {right[0]:.4f} and {right[1]:.4f}"
    )


def timed(work: Callable[..., np.ndarray], *arguments: Any) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    result = work(*arguments)
    return time.perf_counter() - start, result


def compare(name: str, data: tuple[Any, ...], peer: Callable[..., np.ndarray], peer_seeds: int, rounds: int) -> None:
    X, y, parts, test = data
    own, other = [], []
    mismatches = 0
    for _ in range(rounds):
        seconds, labels = timed(ours, X, y, parts, test)
        own.append(seconds)
        seconds, theirs = timed(peer, X, y, parts[:peer_seeds], test)
        other.append(seconds * len(parts) / peer_seeds)
        mismatches = int((labels[:peer_seeds] != theirs).sum())
    a, b = statistics.median(own), statistics.median(other)
    scaled = "" if peer_seeds == len(parts) else f" (peer: {peer_seeds} seeds, scaled)"
    print(f"{name} {a:.2f} {b:.2f} {b / a:.1f}{scaled}; {mismatches} of {labels[:peer_seeds].size:,} labels differ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=_DATA, help="npz with one matrix a backbone, y and split")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with np.load(asked.data) as file:
        arrays = {name: file[name] for name in file.files}
    y = arrays["y"].astype(np.int64)
    train, test = (np.flatnonzero(arrays["split"].astype(str) == part) for part in ("train", "test"))
    parts = draw(train, asked.seeds)
    for name in [name for name, array in arrays.items() if array.ndim == 2]:
        data = (arrays[name].astype(np.float32), y, parts, test)
        compare(f"knn/{name}/fitted-per-seed-and-k", data, peer_per_k, min(4, asked.seeds), asked.rounds)
        compare(f"knn/{name}/fitted-once-a-seed", data, peer_once, min(12, asked.seeds), asked.rounds)
        compare_boosting(f"gbm/{name}/lightgbm-100-rounds", (data[0], y, parts[:20], test), min(4, asked.seeds))


if __name__ == "__main__":
    main()
