"""The door between the runner and a probe: one block of work in, one outcome a seed out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from .fusing import fuse
from .metrics import Metric
from .resampling import Resample
from .scores import Scored


@dataclass(frozen=True, eq=False)
class Block:
    """Everything that one probe is asked of one set of features: all resamples at once.

    A probe fits rows and answers in rows. What stands behind a row is not its business: `scored` fuses the rows of a
    unit, and whoever scores or compares probabilities does it through `scored`.

    Whole rather than seed by seed, so that an engine may share work between seeds and along its grid.
    """

    X: np.ndarray
    """(R, D) float32, finite, C-contiguous; to be read only. Workers may see it as a memory map."""
    y: np.ndarray
    """(R,) int64 codes, or (R, C) int8 for multilabel."""
    resamples: tuple[Resample, ...]
    """In rows of X."""
    task: str
    classes: tuple[str, ...]
    metric: Metric
    """What hyper-parameters are chosen by, on val."""
    refit: bool
    """Whether the chosen model is fitted again on train and val before the test."""
    unit: np.ndarray | None = None
    """(R,) int64: the unit of each row, where predictions are fused; None where a row is a unit."""

    @cached_property
    def wide(self) -> bool:
        """Whether there is a column of y per class (multilabel)."""
        return self.y.ndim == 2

    @cached_property
    def _by_draw(self) -> dict[tuple[int, int], Resample]:
        return {(resample.seed, resample.fold): resample for resample in self.resamples}

    def resample(self, seed: int, fold: int) -> Resample:
        """The resample of that seed and fold."""
        return self._by_draw[seed, fold]

    def fitted_on(self, resample: Resample) -> np.ndarray:
        """The rows that the tested model is fitted on, sorted."""
        return np.sort(np.r_[resample.train, resample.val]) if self.refit else resample.train

    def units_of(self, rows: np.ndarray) -> np.ndarray:
        """The units that `rows` belong to, each once, sorted."""
        return rows if self.unit is None else np.unique(self.unit[rows])

    def fused(self, rows: np.ndarray, proba: np.ndarray) -> np.ndarray:
        """Probabilities of the units of `rows`, (n, C) float32: of each the mean over its rows.

        Rounded as they are stored: every statistic computed from the stored predictions is then the run's very own.
        """
        if self.unit is None:
            return proba.astype(np.float32)
        units, unit = np.unique(self.unit[rows], return_inverse=True)
        return fuse(proba, unit, len(units))

    def scored(self, rows: np.ndarray, proba: np.ndarray) -> Scored:
        """What is said of the units of `rows`, with their truth."""
        y = self.y[rows]
        if self.unit is not None:
            y = y[np.unique(self.unit[rows], return_index=True)[1]]
        return Scored(y, self.fused(rows, proba).astype(np.float64), self.task, self.classes)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a probe says of one resample. Probabilities are (n, C), a row of X each, in the order of the classes."""

    seed: int
    fold: int
    """Those of the resample."""
    val_proba: np.ndarray
    """Of the rows of val, by the chosen model fitted on train."""
    test_proba: np.ndarray
    """Of the rows of test, by the model that is tested."""
    params: Mapping[str, Any]
    """What was chosen, JSON-like."""
    converged: bool = True
    gradient: float | None = None
    """Relative gradient where a solver stopped; None for probes that have none."""
    notes: Sequence[str] = field(default_factory=tuple)
    """Remarks that a reader of the table must see."""
    fit_s: float = 0.0
    """Seconds of choosing and fitting."""
    predict_s: float = 0.0
    """Seconds of predicting the test rows."""


class Workers(Protocol):
    """Where an engine sends work that can go side by side."""

    n_jobs: int
    """How many at a time."""

    def map(
        self, function: Callable[..., Any], shared: Any, items: Sequence[Any], *, threads: bool = False
    ) -> Iterator[Any]:
        """`function(shared, item)` for each item, in the order of the items, one BLAS thread each.

        `shared` is a block, or what an engine has found out for all items; its large arrays travel as memory maps.
        `threads` asks for threads instead of processes: for short work that numpy does, which lets others run.
        """
        ...
