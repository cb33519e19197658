"""What one system predicted for one resample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..metrics.retrieval import Retrieved
from ..resampling.resample import Resample

DIVERGED = "training ended where"
"""How the note of a fit begins whose loss became NaN."""
FAR = 1000
"""Standard deviations of the rows that a model learnt from beyond which a value decides its prediction alone."""
_FAR_OFF = f"test units over {FAR:,} standard deviations from train, features: "


def far_note(features: int) -> list[str]:
    """The note of a fit that tested units beyond `FAR` in that many of its standardised features; none for 0."""
    return [f"{_FAR_OFF}{features}"] if features else []


def far_features(note: str) -> int:
    """How many features a note of a fit is about that `far_note` gave; 0 for another note."""
    return int(note.removeprefix(_FAR_OFF)) if note.startswith(_FAR_OFF) else 0


@dataclass(frozen=True, eq=False)
class FitResult:
    """A fitted system's predictions for the val and test units of one resample, and how it was fitted.

    Probabilities are (n, C) float32, one row per unit in the order of the resample's part, columns in the order of
    the classes. They are rounded as they are stored, so that statistics of the stored predictions equal the run's.

    Examples:
        >>> import numpy as np
        >>> from medprobe.evaluate import FitResult, draw_resamples
        >>> [resample] = draw_resamples(manifest.units(), 1, classes=manifest.card.classes)
        >>> val, test = (np.full((len(part), 2), 0.5, np.float32) for part in (resample.val, resample.test))
        >>> FitResult(resample, val_proba=val, test_proba=test, params={"C": 1.0}).converged
        True
    """

    resample: Resample
    """In positions of the manifest's units."""
    val_proba: np.ndarray
    """Of the val units, by the chosen model fitted on train."""
    test_proba: np.ndarray
    """Of the test units, by the model that is tested."""
    params: Mapping[str, Any]
    """The chosen hyper-parameters, JSON-like."""
    converged: bool = True
    gradient: float | None = None
    """Relative gradient where the solver stopped; None for systems without one."""
    notes: Sequence[str] = ()
    """Remarks that a reader of the table must see."""
    fit_s: float = 0.0
    """Seconds of model selection and fitting."""
    predict_s: float = 0.0
    """Seconds of predicting the test part."""
    peak_bytes: int | None = None
    """The most memory in use while it was fitted, of the GPU where there is one; None where nobody looked."""
    curves: Sequence[Mapping[str, Any]] = ()
    """For systems that learn in epochs one mapping per epoch, in order: `epoch`, `train_loss`, `val_loss`,
    `val_metric` (the primary metric), `lr`, and `chosen`, whether the tested model is of this epoch."""
    retrieved: Retrieved | None = None
    """For a search: what it found for each test unit."""
