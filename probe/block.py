"""The door between the runner and a probe: one block of work in, one outcome a seed out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from .metrics import Metric
from .resampling import Resample
from .scores import Scored


@dataclass(frozen=True, eq=False)
class Block:
    """Everything that one probe is asked of one set of features: all resamples at once.

    Whole rather than seed by seed, so that an engine may share work between seeds and along its grid.
    """

    X: np.ndarray
    """(U, D) float32, finite, C-contiguous; to be read only. Workers may see it as a memory map."""
    y: np.ndarray
    """(U,) int64 codes, or (U, C) int8 for multilabel."""
    resamples: tuple[Resample, ...]
    task: str
    classes: tuple[str, ...]
    metric: Metric
    """What hyper-parameters are chosen by, on val."""
    refit: bool
    """Whether the chosen model is fitted again on train and val before the test."""

    @cached_property
    def wide(self) -> bool:
        """Whether there is a column of y per class (multilabel)."""
        return self.y.ndim == 2

    def fitted_on(self, resample: Resample) -> np.ndarray:
        """The units that the tested model is fitted on, sorted."""
        return np.sort(np.r_[resample.train, resample.val]) if self.refit else resample.train

    def scored(self, units: np.ndarray, proba: np.ndarray) -> Scored:
        """Predictions for `units` with their truth.

        Rounded as they are stored: every statistic computed from the stored predictions is then this very one.
        """
        return Scored(self.y[units], proba.astype(np.float32).astype(np.float64), self.task, self.classes)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a probe says of one resample. Probabilities are (n, C) in the order of the classes."""

    seed: int
    val_proba: np.ndarray
    """Of the units of val, by the chosen model fitted on train."""
    test_proba: np.ndarray
    """Of the units of test, by the model that is tested."""
    params: Mapping[str, Any]
    """What was chosen, JSON-like."""
    converged: bool = True
    notes: Sequence[str] = field(default_factory=tuple)
    """Remarks that a reader of the table must see."""
    fit_s: float = 0.0
    """Seconds of choosing and fitting."""
    predict_s: float = 0.0
    """Seconds of predicting the test units."""


class Workers(Protocol):
    """Where an engine sends work that can go side by side."""

    def map(
        self, function: Callable[..., Any], shared: Any, items: Sequence[Any], *, threads: bool = False
    ) -> Iterator[Any]:
        """`function(shared, item)` for each item, in the order of the items, one BLAS thread each.

        `shared` is a block, or what an engine has found out for all items; its large arrays travel as memory maps.
        `threads` asks for threads instead of processes: for short work that numpy does, which lets others run.
        """
        ...
