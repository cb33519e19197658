"""Tests in addition to the one that the verdict rests on, each with an assumption of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from ...base import look_up
from ..metrics.registry import METRICS, Metric
from ..results.predictions import ResamplePredictions, predictions_by_system
from ..results.run import Run
from .delong import RankedGroups, delong_test
from .p_values import mcnemar_test, twice_the_median, wilcoxon_test, with_correction
from .pairing import COMPARISON_AXES, pairs
from .summary import require_metric


class _Finding(NamedTuple):
    """What one test says of one pair."""

    metric: str
    difference: float
    p: float
    note: str
    label: str = ""
    """The class tested against the rest, for a test of one class at a time."""


@dataclass(frozen=True, eq=False)
class _Tested:
    """A system on one test; what tests compute of it alone is computed once for all its comparisons."""

    predicted: ResamplePredictions
    metric: Metric

    @cached_property
    def value(self) -> float:
        """In the metric that is compared."""
        return self.metric.value(self.predicted.scored)

    @cached_property
    def accuracy(self) -> float:
        """Share of right calls."""
        return METRICS["accuracy"].value(self.predicted.scored)

    @cached_property
    def right(self) -> np.ndarray:
        """(n,) right calls of each unit: 0 or 1, for multilabel up to the number of labels."""
        scored = self.predicted.scored
        return (scored.predicted == scored.y).reshape(len(scored), -1).sum(axis=1)

    @cached_property
    def ranked(self) -> list[RankedGroups]:
        """For each class that has a curve, how its score ranks the units."""
        scored, group = self.predicted.scored, self.predicted.group
        return [RankedGroups.of(scored.truth[:, k], scored.proba[:, k], group) for k in scored.binary_columns]


_Both = Sequence[tuple[_Tested, _Tested]]
"""Two systems, resample by resample."""


def significance_tests(
    run: Run,
    *,
    between: str = "backbones",
    metric: str | None = None,
    tests: Sequence[str] | None = None,
    correction: str = "holm",
) -> pd.DataFrame:
    """Compares every two backbones within each probe, or others that `between` names, by further tests.

    Args:
        run: the results.
        between: as for `compare`.
        metric: what `wilcoxon` compares; the run's own by default. `delong` compares ROC-AUC and `mcnemar` accuracy.
        tests: of `SIGNIFICANCE_TESTS`; all by default.
        correction: of `CORRECTIONS`, over all rows of one test.

    Returns:
        One row per test, pair and (for `delong`) class. `test`, `dataset`, `probe` or `backbone` (what both sides
        have; systems neither), `budget`, `a`, `b`, `metric`, `class`, `difference` = a - b, `p`, `p_adjusted`,
        `correction`, `significant`, `n_seeds`, `note`. docs/statistics.md says what each test takes for granted.

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
    chosen = require_metric(run, metric)
    wanted = list(dict.fromkeys(SIGNIFICANCE_TESTS if tests is None else tests))
    for name in wanted or ["(none is named)"]:
        look_up("test", name, SIGNIFICANCE_TESTS)
    systems = predictions_by_system(run)
    predicted = [[_Tested(one, chosen) for one in resamples] for resamples in systems.values()]
    sides = [
        (names, list(zip(predicted[first], predicted[second], strict=True)))
        for names, first, second in pairs(list(systems), between)
    ]
    columns = [
        *("test", "dataset", *COMPARISON_AXES[between], "budget", "a", "b", "metric", "class", "difference"),
        *("p", "p_adjusted", "correction", "significant", "n_seeds", "note"),
    ]
    parts = []
    for name in wanted:
        rows = [
            {
                "test": name,
                **names,
                "n_seeds": len({a.predicted.seed for a, _ in both}),
                **found._asdict(),
                "class": found.label,
            }
            for names, both in sides
            for found in SIGNIFICANCE_TESTS[name](both)
        ]
        parts.append(with_correction(pd.DataFrame(rows, columns=columns), correction))
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def _wilcoxon(both: _Both) -> Iterator[_Finding]:
    """Signed ranks of the resamples' differences."""
    values = np.array([[a.value, b.value] for a, b in both])
    differences = values[np.isfinite(values).all(axis=1)] @ np.array([1.0, -1.0])
    mean = float(differences.mean()) if len(differences) else np.nan
    name = both[0][0].metric.name
    yield _Finding(name, mean, wilcoxon_test(differences), "" if len(differences) else "not defined")


def _delong(both: _Both) -> Iterator[_Finding]:
    """The area under each class's curve; on one shared test by the mean components of all seeds."""
    scored, tests = both[0][0].predicted.scored, _by_test(both, one_a_fold=True)
    for place, column in enumerate(scored.binary_columns):
        found = [
            delong_test(*([one.ranked[place] for one in side] for side in zip(*pairs, strict=True))) for pairs in tests
        ]
        p, note = _one_p([one.p for one in found])
        defined = [one.auc_a - one.auc_b for one in found if np.isfinite(one.auc_a)]
        mean = float(np.mean(defined)) if defined else np.nan
        if np.isnan(p):
            flat = any(np.isfinite(one.error) for one in found)
            why = "all groups rank equally, so the difference has no standard error"
            note = f"no p: {why if flat else 'a class is absent, or its units are of one group'}"
        yield _Finding("roc_auc", mean, p, note, label=str(scored.classes[column]))


def _mcnemar(both: _Both) -> Iterator[_Finding]:
    """Signs of the groups' differences in right calls."""
    found = []
    for sides in _by_test(both, one_a_fold=False):
        _, group = np.unique(np.concatenate([a.predicted.group for a, _ in sides]), return_inverse=True)
        gained = np.concatenate([a.right - b.right for a, b in sides])
        found.append(mcnemar_test(np.rint(np.bincount(group, weights=gained)).astype(np.int64)))
    p, note = _one_p([p for p, _ in found])
    near = "" if all(exact for _, exact in found) else "normal approximation"
    difference = float(np.mean([a.accuracy - b.accuracy for a, b in both]))
    yield _Finding("accuracy", difference, p, "; ".join(part for part in (note, near) if part))


def _by_test(both: _Both, *, one_a_fold: bool) -> list[_Both]:
    """Resamples that may be tested together: all, where they share one test; else a fold, or a seed, at a time.

    Folds of a seed share no unit, so that their calls may be counted together; their ranks may not.
    """
    first = both[0][0].predicted.unit
    if all(np.array_equal(a.predicted.unit, first) for a, _ in both):
        return [both]
    parts: dict[tuple[int, int], list[tuple[_Tested, _Tested]]] = {}
    for a, b in both:
        parts.setdefault((a.predicted.seed, a.predicted.fold if one_a_fold else 0), []).append((a, b))
    return list(parts.values())


def _one_p(p: Sequence[float]) -> tuple[float, str]:
    known = int(np.isfinite(p).sum())
    return twice_the_median(np.array(p)), f"twice the median p of {known} tests" if known > 1 else ""


SIGNIFICANCE_TESTS: Mapping[str, Callable[[_Both], Iterator[_Finding]]] = {
    "wilcoxon": _wilcoxon,
    "delong": _delong,
    "mcnemar": _mcnemar,
}
"""The further tests. Another one is one function and one entry here."""
