"""Whether intervals and tests keep their word: simulated cohorts, two equal backbones, the truth in closed form.

    python benchmarks/interval_coverage.py [--cohorts 500] [--protocols official,holdout,kfold] [--groups 15,30,80,200]
        [--images 1,4] [--intervals wilson,percentile] [--alike 0] [--seeds 10]

A row per metric, level, number of groups (patients) in the test and images of each: the share of 95 % intervals that
cover what the fitted models score on all patients there could be, of the interval of the difference likewise and its
mean width, and how often the test at 0.05 calls the two equal backbones different. Images of a patient share half of
their variance. Ten seeds; models are linear discriminants of eight features. Under `official` 100 further patients are
learnt from, of whom a seed draws 90 %; under `holdout` a seed tests 20 % of the patients and learns from the others;
under `kfold` it deals five folds.
`--alike` is the share of the noise that both backbones have in common. The error of a share p is the root of
p (1 - p) / (2 cohorts), 0.007 at the default.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import joblib
import numpy as np
from medprobe.evaluate import find_metric
from medprobe.evaluate.metrics.functions import LabeledPredictions
from medprobe.evaluate.results.predictions import ResamplePredictions
from medprobe.evaluate.results.schemas import SystemKey
from medprobe.evaluate.statistics.bootstrap import GroupDraws
from medprobe.evaluate.statistics.comparison import corrected_t_test, jackknife_test
from medprobe.evaluate.statistics.intervals import interval_of, interval_of_difference
from medprobe.evaluate.statistics.summary import MetricSamples
from scipy import special
from scipy.stats import norm

FEATURES, SHARED, LEARNT_FROM, TESTED, FOLDS = 8, 0.5, 100, 0.2, 5
METRICS = {
    "roc_auc": ("binary", (0.4,)),
    "accuracy": ("binary", (0.4,)),
    "balanced_accuracy": ("binary", (0.4,)),
    "quadratic_kappa": ("ordinal", (0.4,)),
    "roc_auc of 4 labels": ("multilabel", (0.5, 0.35, 0.3, 0.25)),
}


@dataclass(frozen=True)
class Cell:
    """What is simulated for one row."""

    protocol: str
    metric: str
    level: float
    groups: int
    images: int
    alike: float
    seeds: int = 10

    @property
    def name(self) -> str:
        """Of the metric, for `find_metric`."""
        return self.metric.split()[0]

    @property
    def task(self) -> str:
        """That the metric is of."""
        return METRICS[self.metric][0]

    @property
    def prevalence(self) -> np.ndarray:
        """(labels,) of patients."""
        return np.array(METRICS[self.metric][1])


Model = tuple[np.ndarray, float]


def fitted(X: np.ndarray, y: np.ndarray) -> Model:
    means = X[y].mean(axis=0), X[~y].mean(axis=0)
    rest = X - np.where(y[:, None], *means)
    w = np.linalg.solve(rest.T @ rest / len(X) + 0.05 * np.eye(FEATURES), means[0] - means[1])
    return w, float(-w @ (means[0] + means[1]) / 2 + np.log(y.mean() / (1 - y.mean())))


def truth(cell: Cell, models: list[Model], signal: float) -> float:
    """What models score on all patients: classes are Gaussians that differ in the first feature by `signal`."""
    found = []
    for (w, b), share in zip(models, cell.prevalence, strict=True):
        size, gap = np.linalg.norm(w), w[0] * signal
        sensitivity, specificity = norm.cdf((gap / 2 + b) / size), norm.cdf((gap / 2 - b) / size)
        right = share * sensitivity + (1 - share) * specificity
        called = share * sensitivity + (1 - share) * (1 - specificity)
        chance = share * called + (1 - share) * (1 - called)
        found.append(
            {
                "roc_auc": norm.cdf(gap / size / np.sqrt(2)),
                "accuracy": right,
                "balanced_accuracy": (sensitivity + specificity) / 2,
                "quadratic_kappa": (right - chance) / (1 - chance),
            }[cell.name]
        )
    return float(np.mean(found))


def noise(rng: np.random.Generator, y: np.ndarray, images: int) -> np.ndarray:
    """(G, images, labels, features) of groups with the labels (G, labels)."""
    shape = (len(y), images, y.shape[1], FEATURES)
    return np.sqrt(SHARED) * rng.normal(size=(len(y), 1, *shape[2:])) + np.sqrt(1 - SHARED) * rng.normal(size=shape)


def with_signal(X: np.ndarray, y: np.ndarray, signal: float) -> np.ndarray:
    """The same, with classes that differ in the first feature by `signal`."""
    first = np.arange(FEATURES) == 0
    return X + (y[:, None, :, None] - 0.5) * signal * first


def labels(rng: np.random.Generator, cell: Cell, groups: int, least: int) -> np.ndarray:
    """(G, labels) bool, each of them in at least `least` groups and absent from as many."""
    while True:
        y = rng.random((groups, len(cell.prevalence))) < cell.prevalence
        if (y.sum(axis=0) >= least).all() and ((~y).sum(axis=0) >= least).all():
            return y


def models_of(X: np.ndarray, y: np.ndarray) -> list[Model]:
    columns = range(y.shape[1])
    return [fitted(X[:, :, c].reshape(-1, FEATURES), np.repeat(y[:, c], X.shape[1])) for c in columns]


def signal_for(cell: Cell) -> float:
    """The signal at which models score the cell's level on average, by bisection."""
    groups = 90 if cell.protocol == "official" else round((1 - TESTED) * cell.groups)
    low, high = 0.05, 8.0
    for _ in range(14):
        middle, rng, found = (low + high) / 2, np.random.default_rng(2), []
        for _ in range(30):
            y = labels(rng, cell, groups, 2)
            found.append(truth(cell, models_of(with_signal(noise(rng, y, cell.images), y, middle), y), middle))
        low, high = (middle, high) if np.mean(found) < cell.level else (low, middle)
    return middle


def draws(rng: np.random.Generator, cell: Cell, y: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The groups that each seed learns from and tests."""
    for _ in range(cell.seeds):
        if cell.protocol == "official":
            yield rng.permutation(LEARNT_FROM)[: int(0.9 * LEARNT_FROM)], np.arange(LEARNT_FROM, len(y))
            continue
        parts = [rng.permutation(np.flatnonzero(y[:, 0] == value)) for value in (False, True)]
        if cell.protocol == "kfold":
            tests = [np.concatenate([part[fold::FOLDS] for part in parts]) for fold in range(FOLDS)]
            yield from ((np.setdiff1d(np.arange(len(y)), test), np.sort(test)) for test in tests)
        else:
            test = np.sort(np.concatenate([part[: max(1, round(TESTED * len(part)))] for part in parts]))
            yield np.setdiff1d(np.arange(len(y)), test), test


def predictions(
    cell: Cell, y: np.ndarray, X: np.ndarray, models: list[Model], test: np.ndarray, fold: int
) -> ResamplePredictions:
    columns = range(y.shape[1])
    chance = special.expit(np.stack([X[test][:, :, c] @ models[c][0] + models[c][1] for c in columns], axis=-1))
    chance, truths = chance.reshape(-1, len(columns)), np.repeat(y[test], cell.images, axis=0).astype(int)
    if cell.task != "multilabel":
        chance, truths = np.c_[1 - chance, chance], truths[:, 0]
    unit = (test[:, None] * cell.images + np.arange(cell.images)).ravel()
    scored = LabeledPredictions(truths, chance, cell.task, [str(c) for c in range(chance.shape[1])])
    return ResamplePredictions(0, unit, unit // cell.images, scored, fold)


def simulated(cell: Cell, cohorts: int, kinds: list[str]) -> dict[str, float]:
    """The shares of a row."""
    rng, metric, signal = np.random.default_rng(7), find_metric(cell.name), signal_for(cell)
    hits: dict[str, list[bool]] = {}
    for _ in range(cohorts):
        y = labels(rng, cell, cell.groups, 2)
        if cell.protocol == "official":
            y = np.concatenate([labels(rng, cell, LEARNT_FROM, 4), y])
        resamples, systems, truths = list(draws(rng, cell, y)), [], []
        same = noise(rng, y, cell.images)
        for _ in range(2):
            own = noise(rng, y, cell.images)
            X = with_signal(np.sqrt(cell.alike) * same + np.sqrt(1 - cell.alike) * own, y, signal)
            models = [models_of(X[train], y[train]) for train, _ in resamples]
            tested = enumerate(zip(models, (test for _, test in resamples), strict=True))
            folds = FOLDS if cell.protocol == "kfold" else 1
            systems.append([predictions(cell, y, X, m, test, n % folds) for n, (m, test) in tested])
            truths.append(np.mean([truth(cell, m, signal) for m in models]))
        groups = GroupDraws(systems[0])
        a, b = (MetricSamples(SystemKey(*6 * ("",)), metric, system, groups) for system in systems)
        for kind in kinds:
            for samples, wanted in ((a, truths[0]), (b, truths[1])):
                low, high, _ = interval_of(kind, samples.estimate(), 0.95)
                hits.setdefault(kind, []).append(low <= wanted <= high)
            low, high, _ = interval_of_difference(kind, a.estimate(), b.estimate(), 0.95)
            hits.setdefault(f"{kind} diff.", []).append(low <= truths[0] - truths[1] <= high)
            hits.setdefault(f"{kind} width", []).append(high - low)
        differences = (a.values - b.values)[np.isfinite(a.values - b.values)]
        if cell.protocol == "official":
            estimates = a.estimate(), b.estimate()
            left_out = estimates[0].left_out() - estimates[1].left_out()
            p, _ = jackknife_test(differences, left_out, groups=estimates[0].effective_groups)
        else:
            p = corrected_t_test(differences, TESTED / (1 - TESTED))
        hits.setdefault("test", []).append(p < 0.05)
    return {name: float(np.mean(values)) for name, values in hits.items()}


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=500)
    parser.add_argument("--protocols", default="official,holdout")
    parser.add_argument("--groups", type=numbers, default=[15, 30, 80, 200])
    parser.add_argument("--images", type=numbers, default=[1, 4])
    parser.add_argument("--intervals", default="wilson")
    parser.add_argument("--alike", type=float, default=0.0)
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    grid = itertools.product(args.protocols.split(","), METRICS, (0.6, 0.8, 0.95), args.groups, args.images)
    cells = [Cell(*values, args.alike, args.seeds) for values in grid if values[0] == "official" or values[3] >= 30]
    kinds = args.intervals.split(",")
    names = [name for kind in kinds for name in (kind, f"{kind} diff.", f"{kind} width")] + ["test"]
    print(f"{'protocol':<9}{'metric':<21}{'level':>6}{'groups':>7}{'images':>7}", *(f"{name:>16}" for name in names))
    rows = joblib.Parallel(n_jobs=-1, return_as="generator")(
        joblib.delayed(simulated)(cell, args.cohorts, kinds) for cell in cells
    )
    found: dict[str, list[float]] = {}
    for cell, row in zip(cells, rows, strict=True):
        about = f"{cell.protocol:<9}{cell.metric:<21}{cell.level:>6}{cell.groups:>7}{cell.images:>7}"
        print(about, *(f"{row[name]:>16.3f}" for name in names), flush=True)
        for name in names:
            found.setdefault(f"{cell.protocol} {name}", []).append(row[name])
    for name, values in found.items():
        if name.endswith("width"):
            continue
        bounds = (0.03, 0.055) if name.endswith("test") else (0.935, 0.965)
        inside = np.mean([bounds[0] <= value <= bounds[1] for value in values])
        print(f"{name}: mean {np.mean(values):.3f}, {min(values):.3f} to {max(values):.3f}, {inside:.0%} in {bounds}")


if __name__ == "__main__":
    main()
