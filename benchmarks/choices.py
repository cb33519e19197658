"""What was tried on the way to the settings of the probes: the tables of docs/performance.md that have no peer.

    python benchmarks/choices.py presets [--folds 5]      settings of boosting, cross-validated in the training part;
                                                          --only WORD: those whose names contain it
    python benchmarks/choices.py few [--draws 8]          the same, learning from 120 images (--rows)
    python benchmarks/choices.py faiss                    our search of the 280 nearest beside an exact index

Nothing here looks at the test part. One line each; seconds are of one thread, of the processor for boosting.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import lightgbm as lgb
import numpy as np
from medprobe.probe import GBMProbe
from medprobe.probe.estimators import gbm as gbm_room
from medprobe.probe.estimators._neighbors import normalize_rows, search
from probe_engine import DATA, Task, real
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import StratifiedKFold, train_test_split
from threadpoolctl import threadpool_limits

_DENSE = dict(gbm_room.PRESETS["dense"])
_ROUNDED = {"use_quantized_grad": True, "num_grad_quant_bins": 32, "quant_train_renew_leaf": True}
_BINS = {"min_gain_to_split": 0.0}
_BEFORE = {**_BINS, "max_bin": 63, "bin_construct_sample_cnt": 200_000}
_CUTS = {**_BEFORE, "components": 128, "columns": None, "feature_fraction": 0.3, "extra_trees": False}
_RANDOM = {**_CUTS, "extra_trees": True}
_SLOW = {**_CUTS, "learning_rate": 0.1}
LIGHTGBM = {"preset": "lightgbm"}
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "128 components, 30 % of the columns a tree": _CUTS,
    "128 components, 30 %, rate 0.1": _SLOW,
    "128 components, 30 %, depth 6 and 31 leaves": {**_CUTS, "max_depth": 6, "num_leaves": 31},
    "128 components, 30 %, depth 3 and 8 leaves": {**_CUTS, "max_depth": 3, "num_leaves": 8},
    "128 components, 30 %, 255 bins": {**_CUTS, "max_bin": 255},
    "128 components, 30 %, L2 penalty 10": {**_CUTS, "lambda_l2": 10.0},
    "128 components, 30 %, 60 % of the rows a tree": {**_CUTS, "bagging_fraction": 0.6, "bagging_freq": 1},
    "256 components, rate 0.1, 20 %": {**_SLOW, "components": 256, "feature_fraction": 0.2},
    "no components, 5 %": {**_CUTS, "components": None, "feature_fraction": 0.05},
    "128 components, random cuts, 30 %": _RANDOM,
    "192 components, random cuts, 30 %": {**_RANDOM, "components": 192},
    "256 components, random cuts, 30 %": {**_RANDOM, "components": 256},
    "no components, random cuts, 5 %": {**_RANDOM, "components": None, "feature_fraction": 0.05},
    "192 components, random cuts, 40 columns (the earlier preset)": _BEFORE,
    "192 components, random cuts, 19 columns": {**_BEFORE, "columns": 19},
    "192 components, random cuts, 40 columns, rate 0.3": {**_BEFORE, "learning_rate": 0.3},
    "192 components, random cuts, 40 columns, depth 6 and 31 leaves": {**_BEFORE, "max_depth": 6, "num_leaves": 31},
    "the preset, no least gain": _BINS,
    "the preset, no refit continues": {"refit_continues_from": None},
    "the preset": {},
    "the preset, rounded gradients": _ROUNDED,
    "the preset, rounded gradients, least gain 0.05": {**_ROUNDED, "min_gain_to_split": 0.05},
    "the preset, rounded gradients, 28 columns": {**_ROUNDED, "columns": 28},
    "the preset, rounded gradients, rate 0.3": {**_ROUNDED, "learning_rate": 0.3},
    "the preset, half of the rows per five trees": {"bagging_fraction": 0.5, "bagging_freq": 5},
    "LightGBM's defaults, 100 rounds": LIGHTGBM,
}
"""What differs from the preset `dense`, which has 192 components, 40 columns a tree and random cuts."""
FEW = {
    "192 components, random cuts, 40 columns (the earlier preset)": _BEFORE,
    "the preset": {},
    "the preset, every refit continues": {"refit_continues_from": 0},
    "the preset, no refit continues": {"refit_continues_from": None},
    "the preset, a fifth of the columns": {"columns": None, "feature_fraction": 0.2},
    "128 components, 30 % of the columns a tree": _CUTS,
}


def fitted(X: np.ndarray, y: np.ndarray, changes: Mapping[str, Any]) -> tuple[Callable[..., Any], float]:
    """As the engine does it, early stopping and refit included: what predicts, and the processor's seconds."""
    start = time.process_time()
    if changes == LIGHTGBM:
        settings = {"objective": "multiclass", "num_class": int(y.max()) + 1, "num_threads": 1, "verbose": -1}
        booster = lgb.train(settings, lgb.Dataset(X, y, params=settings), 100)
        return booster.predict, time.process_time() - start
    trial = {"dense": {**_DENSE, **changes}}
    with threadpool_limits(1), mock.patch.object(gbm_room, "PRESETS", trial):
        train, val = train_test_split(np.arange(len(y)), test_size=0.2, stratify=y, random_state=0)
        probe = GBMProbe().fit(X, y, eval_set=val, rows=train, refit=True)
    return probe.predict_proba, time.process_time() - start


def compare(
    task: Task, settings: Mapping[str, Mapping[str, Any]], splits: Callable[[np.ndarray], Iterator[tuple[Any, Any]]]
) -> None:
    inside = np.setdiff1d(np.arange(len(task.y)), task.test)
    X, y = task.X[inside], task.y[inside]
    for name, changes in settings.items():
        found = []
        for learnt, held_out in splits(y):
            predict, seconds = fitted(X[learnt], y[learnt], changes)
            proba = predict(X[held_out])
            truth = y[held_out]
            found.append((accuracy_score(truth, proba.argmax(axis=1)), log_loss(truth, proba), seconds))
        accuracy, loss, seconds = np.mean(found, axis=0)
        print(f"{task.name}: {name}: accuracy {accuracy:.3f}, log-loss {loss:.3f}, {seconds:.1f} s", flush=True)


def folds_of(count: int) -> Callable[[np.ndarray], Iterator[tuple[Any, Any]]]:
    folds = StratifiedKFold(count, shuffle=True, random_state=0)
    return lambda y: folds.split(y[:, None], y)


def draws_of(count: int, train: int, test: int = 1200) -> Callable[[np.ndarray], Iterator[tuple[Any, Any]]]:
    def splits(y: np.ndarray) -> Iterator[tuple[Any, Any]]:
        for seed in range(count):
            yield train_test_split(np.arange(len(y)), train_size=train, test_size=test, stratify=y, random_state=seed)

    return splits


def compare_with_faiss(rounds: int = 3) -> None:
    try:
        import faiss
    except ImportError:
        raise SystemExit("faiss is not installed; pip install -e '.[bench]'") from None
    rng = np.random.default_rng(0)
    faiss.omp_set_num_threads(1)
    for members, queries in ((7_000, 7_000), (20_000, 5_000), (100_000, 2_000)):
        X = normalize_rows(rng.standard_normal((members, 768), dtype=np.float32), "cosine")
        index = faiss.IndexFlatIP(768)
        index.add(X)
        own, other = [], []
        with threadpool_limits(1):
            for _ in range(rounds):
                start = time.perf_counter()
                _, place = search(X[:queries], X, 280, "cosine")
                own.append(time.perf_counter() - start)
                start = time.perf_counter()
                _, theirs = index.search(X[:queries], 280)
                other.append(time.perf_counter() - start)
        ours_s, theirs_s = statistics.median(own), statistics.median(other)
        differ = (place != theirs).mean()
        print(f"faiss/{members}x768 {ours_s:.2f} {theirs_s:.2f} {theirs_s / ours_s:.1f}; {differ:.2%} of places differ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["presets", "few", "faiss"])
    parser.add_argument("--data", type=Path, default=DATA, help="npz with one matrix a backbone, y and split")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", default="", help="settings of boosting whose names contain it")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--rows", type=int, default=120, help="that each draw learns from")
    args = parser.parse_args()
    if args.what == "faiss":
        compare_with_faiss()
        return
    settings, splits = (
        (SETTINGS, folds_of(args.folds)) if args.what == "presets" else (FEW, draws_of(args.draws, args.rows))
    )
    for task in real(args.data, 1):
        compare(task, {name: changes for name, changes in settings.items() if args.only in name}, splits)


if __name__ == "__main__":
    main()
