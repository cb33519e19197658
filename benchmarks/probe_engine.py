"""The kNN and boosting engines against scikit-learn and LightGBM: one line each, `name ours_s peer_s ratio`.

    python benchmarks/probe_engine.py [--only knn] [--seeds 100] [--rounds 3] [--data brain-mri-embeddings.npz]
    python benchmarks/probe_engine.py --whole [--seeds 100] [--peer-seeds 2]

Ours and the peer run in turn, on the same data and the same cores, with one BLAS thread a process or thread and as many
of these as there are cores; the peer's processes are started before anything is timed. Times are medians over rounds.
A peer that would take minutes is run on a few seeds, other ones in each round, and its time is scaled up; the line says
so. What both call the same test rows is compared: labels of kNN must be the same, boosting has its accuracy beside it.

`--whole` times a run as a user starts it, once: both backbones, all seeds, logistic regression over twelve C without an
early end, kNN over six k, boosting; reading the caches, drawing, refitting and scoring included. The peers do no more
than fit and predict, once a seed and candidate, on a few seeds, scaled up.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import joblib
import lightgbm as lgb
import numpy as np
import pandas as pd
from medprobe.cache import CacheDraft, EmbeddingCache, EmbeddingSpec, TransformSpec
from medprobe.manifests import DatasetCard, Manifest
from medprobe.probe import PROBES, GBMProbe, run_probes
from medprobe.probe.engines.parallel import Workers
from medprobe.probe.estimators._neighbors import NeighbourLists, Question, list_neighbours
from medprobe.probe.estimators._prediction import vote
from medprobe.probe.estimators.logistic import GRID
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

KS = (1, 5, 11, 21, 51, 101)
GBM_SEEDS = 20
DATA = Path(os.environ.get("MEDPROBE_TEST_DATA", "../shared/data")) / "brain-mri-embeddings.npz"


@dataclass(frozen=True, eq=False)
class Task:
    """One set of embeddings, and what each seed learns from: 90 % of its training rows."""

    name: str
    X: np.ndarray
    y: np.ndarray
    test: np.ndarray
    parts: list[np.ndarray]

    @classmethod
    def of(cls, name: str, X: np.ndarray, y: np.ndarray, train: np.ndarray, seeds: int) -> Task:
        """Test rows are those that are not for training."""
        drawn = (np.random.default_rng(seed).permutation(train) for seed in range(seeds))
        test = np.setdiff1d(np.arange(len(X)), train)
        return cls(name, X, y, test, [np.sort(order[: int(0.9 * len(train))]) for order in drawn])

    @property
    def classes(self) -> int:
        """How many."""
        return int(self.y.max()) + 1


def real(path: Path, seeds: int) -> Iterator[Task]:
    """A task a backbone."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    train = np.flatnonzero(arrays["split"].astype(str) == "train")
    for name in [name for name, array in arrays.items() if array.ndim == 2]:
        yield Task.of(name, arrays[name].astype(np.float32), arrays["y"].astype(np.int64), train, seeds)


def synthetic(seeds: int) -> Task:
    """20,000 rows of 1,024 columns in ten classes that overlap."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 20_000)
    X = 0.1 * rng.standard_normal((10, 1024), dtype=np.float32)[y] + rng.standard_normal((len(y), 1024), np.float32)
    return Task.of("synthetic-20000x1024", X, y, np.arange(16_000), seeds)


# --- kNN


def our_neighbours(task: Task) -> np.ndarray:
    """(seeds, len(KS), n_test) labels: one search, then a mask a seed, as the engine does it."""
    workers = Workers(-1)
    questions = [Question(task.test, members, max(KS)) for members in task.parts]
    lists = list_neighbours(task.X, questions, workers.map)
    return np.stack(list(workers.map(partial(our_labels, lists, task), questions)))


def our_labels(lists: NeighbourLists, task: Task, question: Question) -> np.ndarray:
    found, rows = lists.among(question)
    return vote(found, task.y[rows], task.classes, KS).argmax(axis=2)


def per_seed_and_k(X: np.ndarray, y: np.ndarray, members: np.ndarray, test: np.ndarray) -> np.ndarray:
    with threadpool_limits(1):
        fits = (KNeighborsClassifier(k, algorithm="brute", metric="cosine", weights="distance") for k in KS)
        return np.stack([fit.fit(X[members], y[members]).predict(X[test]) for fit in fits])


def once_a_seed(X: np.ndarray, y: np.ndarray, members: np.ndarray, test: np.ndarray) -> np.ndarray:
    """One search for the largest k; the smaller ones vote from it, by our own `vote`."""
    with threadpool_limits(1):
        fit = KNeighborsClassifier(max(KS), algorithm="brute", metric="cosine").fit(X[members], y[members])
        found, place = fit.kneighbors(X[test])
        return vote(found, y[members][place], int(y.max()) + 1, KS).argmax(axis=2)


def compare_neighbours(task: Task, peer: Callable[..., np.ndarray], peer_seeds: int, rounds: int) -> None:
    own, other, differ, compared = [], [], 0, 0
    for chosen in batches(len(task.parts), peer_seeds, rounds):
        seconds, labels = timed(our_neighbours, task)
        own.append(seconds)
        seconds, theirs = timed(side_by_side, peer, task, chosen)
        other.append(seconds * len(task.parts) / len(chosen))
        differ += int((labels[chosen] != theirs).sum())
        compared += theirs.size
    tell(f"knn/{task.name}/{peer.__name__}", own, other, peer_seeds, f"{differ} of {compared:,} labels differ")


# --- boosting


def our_boosting(X: np.ndarray, y: np.ndarray, part: np.ndarray, test: np.ndarray) -> np.ndarray:
    """As the engine does it: a fifth of the rows says when to stop, then all of them are learnt from."""
    with threadpool_limits(1):
        train, val = train_test_split(part, test_size=0.2, stratify=y[part], random_state=0)
        probe = GBMProbe().fit(X, y, eval_set=val, rows=train, refit=True)
        return probe.predict_proba(X[test]).argmax(axis=1)


def lightgbm_100_rounds(X: np.ndarray, y: np.ndarray, part: np.ndarray, test: np.ndarray) -> np.ndarray:
    """LightGBM's defaults on one thread."""
    settings = {"objective": "multiclass", "num_class": int(y.max()) + 1, "num_threads": 1, "verbose": -1}
    booster = lgb.train(settings, lgb.Dataset(X[part], y[part], params=settings), 100)
    return np.asarray(booster.predict(X[test], num_threads=1)).argmax(axis=1)


def compare_boosting(task: Task, peer_seeds: int, rounds: int) -> None:
    own, other, right = [], [], []
    for chosen in batches(min(GBM_SEEDS, len(task.parts)), peer_seeds, rounds):
        seconds, labels = timed(side_by_side, our_boosting, task, chosen)
        own.append(seconds * GBM_SEEDS / len(chosen))
        seconds, theirs = timed(side_by_side, lightgbm_100_rounds, task, chosen)
        other.append(seconds * GBM_SEEDS / len(chosen))
        right += [[(found == task.y[task.test]).mean() for found in pair] for pair in zip(labels, theirs, strict=True)]
    ours, theirs = np.mean(right, axis=0)
    seen = f"accuracy over {len(right)} seeds {ours:.4f} and {theirs:.4f}"
    tell(f"gbm/{task.name}/lightgbm_100_rounds", own, other, peer_seeds, seen)


# --- the whole stage


def logistic_per_seed_and_C(X: np.ndarray, y: np.ndarray, members: np.ndarray, test: np.ndarray) -> np.ndarray:
    """scikit-learn's fits of one seed; at the larger C it stops at `max_iter` and warns."""
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scaler = StandardScaler().fit(X[members])
        Z, tested = scaler.transform(X[members]), scaler.transform(X[test])
        return np.stack([LogisticRegression(C=C, max_iter=1000).fit(Z, y[members]).predict(tested) for C in GRID])


PARTS = {
    "logreg": (PROBES["logreg"].configured(stop_path=False), logistic_per_seed_and_C),
    "knn": (PROBES["knn"].configured(k=KS), per_seed_and_k),
    "gbm": (PROBES["gbm"], lightgbm_100_rounds),
}
"""What is run, and what its peer does for one seed."""


def compare_whole(tasks: list[Task], peer_seeds: int) -> None:
    """Ours over all tasks at once, a run a probe, so that each has a line; then their sum."""
    total = np.zeros(2)
    with tempfile.TemporaryDirectory() as folder:
        manifest, caches = published(tasks, Path(folder))
        seeds = range(len(tasks[0].parts))
        for name, (kind, peer) in PARTS.items():
            options = {"probes": [kind], "protocol": "official", "metric": "accuracy", "progress": False}
            own, _ = timed(lambda o=options: run_probes(manifest, caches, seeds=seeds, **o))
            chosen = list(range(peer_seeds))
            other = sum(timed(side_by_side, peer, task, chosen)[0] for task in tasks) * len(seeds) / len(chosen)
            tell(f"whole/{name}", [own], [other], len(chosen), f"{len(tasks)} backbones, {len(seeds)} seeds")
            total += own, other
    tell("whole", [total[0]], [total[1]], peer_seeds, "the sum of these")


def published(tasks: list[Task], folder: Path) -> tuple[Manifest, list[EmbeddingCache]]:
    """The tasks, which are of the same rows, as a manifest and its caches."""
    first = tasks[0]
    ids = np.array([f"{i:06d}" for i in range(len(first.y))], dtype=object)
    classes = [f"class {c}" for c in range(first.classes)]
    split = np.where(np.isin(np.arange(len(ids)), first.test), "test", "train")
    table = pd.DataFrame({"sample_id": ids, "path": "x", "label": np.array(classes)[first.y], "split": split})
    manifest = Manifest(table, DatasetCard(name="brain", task="multiclass", classes=classes))
    return manifest, [published_cache(task, ids, folder) for task in tasks]


def published_cache(task: Task, ids: np.ndarray, folder: Path) -> EmbeddingCache:
    plain = TransformSpec(
        size=(224, 224),
        resize="short-side",
        resize_to=256,
        interpolation="bicubic",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )
    spec = EmbeddingSpec(
        backbone=task.name,
        model=task.name,
        weights_digest="0" * 64,
        transform=plain,
        poolings=("cls",),
        precision="bf16",
    )
    stamps = np.arange(len(ids))
    with CacheDraft.open(folder, "brain", spec) as draft:
        draft.append(ids, np.array([f"{i:032x}" for i in stamps]), stamps, {"cls": task.X})
        return draft.publish(ids, stamps=stamps, device="cpu")


# --- all


def side_by_side(work: Callable[..., np.ndarray], task: Task, seeds: list[int]) -> np.ndarray:
    """(len(seeds), ...) what the work calls the test rows, a process a core."""
    jobs = (joblib.delayed(work)(task.X, task.y, task.parts[seed], task.test) for seed in seeds)
    return np.stack(joblib.Parallel(n_jobs=-1)(jobs))


def warm_up(task: Task) -> None:
    """Starts the processes and has each import what it needs, away from the clock."""
    few = Task.of(task.name, task.X[::15], task.y[::15], np.arange(300), 8)
    for work in (once_a_seed, our_boosting, lightgbm_100_rounds, logistic_per_seed_and_C):
        side_by_side(work, few, list(range(8)))


def batches(seeds: int, size: int, rounds: int) -> list[list[int]]:
    """Other seeds in each round, as long as there are others."""
    return [[(turn * size + place) % seeds for place in range(size)] for turn in range(rounds)]


def timed(work: Callable[..., np.ndarray], *arguments: object) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    result = work(*arguments)
    return time.perf_counter() - start, result


def tell(name: str, own: list[float], other: list[float], peer_seeds: int, seen: str) -> None:
    a, b = statistics.median(own), statistics.median(other)
    print(f"{name} {a:.2f} {b:.1f} {b / a:.1f} (peer: {peer_seeds} seeds a round, scaled); {seen}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="npz with one matrix a backbone, y and split")
    parser.add_argument("--only", choices=["knn", "gbm"], help="one engine alone")
    parser.add_argument("--whole", action="store_true", help="the whole stage as a user runs it, and nothing else")
    parser.add_argument("--seeds", type=int, default=100, help="of kNN and of the whole stage")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--peer-seeds",
        type=int,
        default=2,
        help="seeds a round of the slower peers; rounded up, so that every core has one",
    )
    args = parser.parse_args()
    cores = joblib.effective_n_jobs(-1)
    peer_seeds = min(args.seeds, -(-args.peer_seeds // cores) * cores)
    tasks = list(real(args.data, args.seeds))
    warm_up(tasks[0])
    if args.whole:
        compare_whole(tasks, peer_seeds)
        return
    tasks.append(synthetic(args.seeds))
    for task in tasks if args.only != "gbm" else ():
        compare_neighbours(task, per_seed_and_k, peer_seeds, args.rounds)
        compare_neighbours(task, once_a_seed, min(4 * peer_seeds, args.seeds), args.rounds)
    for task in tasks if args.only != "knn" else ():
        compare_boosting(task, min(peer_seeds, GBM_SEEDS), args.rounds)


if __name__ == "__main__":
    main()
