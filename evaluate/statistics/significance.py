"""Tests in addition to the one that the verdict rests on, each with an assumption of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...base import ProbeError, did_you_mean, one_of
from ..metrics.registry import METRICS, Metric, evaluate
from ..results.predictions import ResamplePredictions, predictions_by_system, seeds_of
from ..results.run import Run
from .delong import DeLong, delong_test
from .multiple_testing import ALPHA, find_correction
from .paired_tests import mcnemar_test, twice_the_median, wilcoxon_test
from .pairing import COMPARISON_AXES, Pair, pairs
from .summary import require_metric


@dataclass(frozen=True)
class _Finding:
    """What one test says of one pair."""

    metric: str
    difference: float
    p: float
    label: str = ""
    """The class tested against the rest, for a test of one class at a time."""
    note: str = ""


_Both = Sequence[tuple[ResamplePredictions, ResamplePredictions]]
"""Two systems, resample by resample."""


def significance_tests(
    run: Run,
    *,
    between: str = "backbones",
    metric: str | None = None,
    tests: Sequence[str] | None = None,
    correction: str = "holm",
) -> pd.DataFrame:
    """Compares every two backbones within each probe, or every two probes on each backbone, by further tests.

    Args:
        run: the results.
        between: `backbones` or `probes`.
        metric: what `wilcoxon` compares; the run's own by default. `delong` compares ROC-AUC and `mcnemar` accuracy.
        tests: of `SIGNIFICANCE_TESTS`; all by default.
        correction: of `CORRECTIONS`, over all rows of one test.

    Returns:
        One row per test, pair and (for `delong`) class. `test`, `dataset`, `probe` or `backbone` (what both sides
        have), `budget`, `a`, `b`, `metric`, `class`, `difference` = a - b, `p`, `p_adjusted`, `correction`,
        `significant`, `n_seeds`, `note`. docs/statistics.md says what each test takes for granted.

    Raises:
        ProbeError: no such test, correction, metric or kind of comparison.
        ReportError: the run's predictions do not fit its facts.

    Examples:
        >>> from medprobe.evaluate import significance_tests
        >>> significance_tests(run, tests=["mcnemar"])[["test", "probe", "a", "b"]]
              test     probe              a              b
        0  mcnemar  centroid  timm:resnet18  timm:resnet50
        1  mcnemar       knn  timm:resnet18  timm:resnet50
    """
    chosen, adjust = require_metric(run, metric), find_correction(correction)
    systems = predictions_by_system(run)
    predicted = list(systems.values())
    found = list(pairs(list(systems), between))
    parts = []
    for name in _require_tests(tests):
        rows = [row for pair in found for row in _rows(name, pair, predicted, chosen, COMPARISON_AXES[between])]
        table = pd.DataFrame(rows, columns=_columns(between))
        table["p_adjusted"] = adjust(table["p"].to_numpy(np.float64))
        table["correction"] = correction
        table["significant"] = (table["p_adjusted"] < ALPHA).to_numpy(bool)
        parts.append(table)
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def _columns(between: str) -> list[str]:
    return [
        *("test", "dataset", COMPARISON_AXES[between], "budget", "a", "b", "metric", "class", "difference"),
        *("p", "p_adjusted", "correction", "significant", "n_seeds", "note"),
    ]


def _require_tests(names: Sequence[str] | None) -> list[str]:
    wanted = list(dict.fromkeys(SIGNIFICANCE_TESTS if names is None else names))
    unknown = [name for name in wanted if name not in SIGNIFICANCE_TESTS]
    if unknown or not wanted:
        near = "".join(did_you_mean(name, SIGNIFICANCE_TESTS) for name in unknown)
        raise ProbeError(
            f"unknown test {one_of(unknown) or '(none is named)'}; there are {one_of(SIGNIFICANCE_TESTS)}.{near}"
        )
    return wanted


def _rows(
    test: str, pair: Pair, predicted: Sequence[list[ResamplePredictions]], metric: Metric, within: str
) -> Iterator[dict[str, object]]:
    both = list(zip(predicted[pair.first], predicted[pair.second], strict=True))
    for finding in SIGNIFICANCE_TESTS[test](both, metric):
        yield {
            "test": test,
            "dataset": pair.dataset,
            within: pair.within,
            "budget": pair.budget,
            "a": pair.a,
            "b": pair.b,
            "metric": finding.metric,
            "class": finding.label,
            "difference": finding.difference,
            "p": finding.p,
            "n_seeds": len(seeds_of([a for a, _ in both])),
            "note": finding.note,
        }


def _wilcoxon(both: _Both, metric: Metric) -> Iterator[_Finding]:
    """Signed ranks of the resamples' differences."""
    values = np.array([[evaluate(metric, side.scored)[0][0] for side in sides] for sides in both])
    differences = values[np.isfinite(values).all(axis=1)] @ np.array([1.0, -1.0])
    mean = float(differences.mean()) if len(differences) else np.nan
    yield _Finding(metric.name, mean, wilcoxon_test(differences), note="" if len(differences) else "not defined")


def _delong(both: _Both, metric: Metric) -> Iterator[_Finding]:
    """The area under each class's curve; on one shared test by the mean components of all seeds."""
    del metric
    scored = both[0][0].scored
    for column in scored.binary_columns:
        found = [_delong_of(sides, column) for sides in _by_test(both, one_a_fold=True)]
        p, note = _one_p([one.p for one in found])
        defined = [one.auc_a - one.auc_b for one in found if np.isfinite(one.auc_a)]
        mean = float(np.mean(defined)) if defined else np.nan
        why = note if np.isfinite(p) else _why_no_p(found)
        yield _Finding("roc_auc", mean, p, label=str(scored.classes[column]), note=why)


def _delong_of(sides: _Both, column: int) -> DeLong:
    first = sides[0][0]
    a, b = (np.stack([pair[side].scored.proba[:, column] for pair in sides]) for side in (0, 1))
    return delong_test(first.scored.truth[:, column], a, b, first.group)


def _why_no_p(found: Sequence[DeLong]) -> str:
    if any(np.isfinite(one.error) for one in found):
        return "no p: all groups rank equally, so the difference has no standard error"
    return "no p: a class is absent, or its units are of one group"


def _mcnemar(both: _Both, metric: Metric) -> Iterator[_Finding]:
    """Signs of the groups' differences in right calls."""
    del metric
    found = [_mcnemar_of(sides) for sides in _by_test(both, one_a_fold=False)]
    p, note = _one_p([p for p, _ in found])
    near = "" if all(exact for _, exact in found) else "normal approximation"
    differences = [
        evaluate(METRICS["accuracy"], a.scored)[0][0] - evaluate(METRICS["accuracy"], b.scored)[0][0] for a, b in both
    ]
    notes = "; ".join(part for part in (note, near) if part)
    yield _Finding("accuracy", float(np.mean(differences)), p, note=notes)


def _mcnemar_of(sides: _Both) -> tuple[float, bool]:
    group = np.concatenate([a.group for a, _ in sides])
    gained = np.concatenate([_right(a) - _right(b) for a, b in sides])
    _, code = np.unique(group, return_inverse=True)
    return mcnemar_test(np.rint(np.bincount(code, weights=gained)).astype(np.int64))


def _right(predicted: ResamplePredictions) -> np.ndarray:
    """(n,) right calls of each unit: 0 or 1, for multilabel up to the number of labels."""
    scored = predicted.scored
    return (scored.predicted == scored.y).reshape(len(scored), -1).sum(axis=1).astype(np.int64)


def _by_test(both: _Both, *, one_a_fold: bool) -> list[_Both]:
    """Resamples that may be tested together: all, where they share one test; else a fold, or a seed, at a time.

    Folds of a seed share no unit, so that their calls may be counted together; their ranks may not.
    """
    first = both[0][0].unit
    if all(np.array_equal(a.unit, first) for a, _ in both):
        return [both]
    parts: dict[tuple[int, int], list[tuple[ResamplePredictions, ResamplePredictions]]] = {}
    for a, b in both:
        parts.setdefault((a.seed, a.fold if one_a_fold else 0), []).append((a, b))
    return list(parts.values())


def _one_p(p: Sequence[float]) -> tuple[float, str]:
    known = int(np.isfinite(p).sum())
    return twice_the_median(np.array(p)), f"twice the median p of {known} tests" if known > 1 else ""


SIGNIFICANCE_TESTS: Mapping[str, Callable[[_Both, Metric], Iterator[_Finding]]] = {
    "wilcoxon": _wilcoxon,
    "delong": _delong,
    "mcnemar": _mcnemar,
}
"""The further tests. Another one is one function and one entry here."""
