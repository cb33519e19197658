"""Temperature scaling: one number, fitted on val, that makes probabilities more or less sure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy
from scipy.special import expit, log_expit, log_softmax, logit, softmax

from ..metrics.functions import SMALLEST, LabeledPredictions

RANGE = (0.05, 20.0)
"""Temperatures that are looked at. Where every unit of val is called right, ever colder is ever better."""


def fit_temperature(scored: LabeledPredictions) -> float:
    """The temperature with the least log-loss (Guo et al. 2017, arXiv 1706.04599); one for all labels of multilabel.

    Logits are the logarithms of the stored probabilities, none taken for smaller than 1.2e-7; for one class of many
    they are the model's own but for a constant, which the softmax does not see.

    Args:
        scored: the units of val, by the model fitted without them.

    Returns:
        The temperature, within `RANGE`: above 1 makes less sure. At an end of the range the least loss lies beyond.
    """
    logits = _logits(scored.proba, scored.multilabel)
    coldness = (1 / RANGE[1], 1 / RANGE[0])
    # The loss is convex in the coldness 1/T, but over three decades its logarithm is searched more evenly.
    found = scipy.optimize.minimize_scalar(
        lambda log_coldness: _loss(scored, logits * np.exp(log_coldness)),
        bounds=tuple(np.log(coldness)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(-found.x))


def at_edge(temperature: float) -> bool:
    """Whether a temperature is at an end of `RANGE`, within what the search leaves open."""
    return bool(temperature < RANGE[0] * 1.01 or temperature > RANGE[1] / 1.01)


def apply_temperature(scored: LabeledPredictions, temperature: float) -> LabeledPredictions:
    """The same units with their probabilities scaled; what is called stays the same."""
    return replace(scored, proba=scale_probabilities(scored.proba, temperature, multilabel=scored.multilabel))


def scale_probabilities(proba: np.ndarray, temperature: float, *, multilabel: bool) -> np.ndarray:
    """Probabilities (n, C) made more or less sure; a row sums to one, unless each column is a label of its own."""
    logits = _logits(proba, multilabel) / temperature
    return expit(logits) if multilabel else softmax(logits, axis=1)


def _logits(proba: np.ndarray, multilabel: bool) -> np.ndarray:
    proba = np.clip(proba, SMALLEST, 1 - SMALLEST)
    return logit(proba) if multilabel else np.log(proba)


def _loss(scored: LabeledPredictions, logits: np.ndarray) -> float:
    if scored.multilabel:
        return -float(log_expit(np.where(scored.truth, logits, -logits)).mean())
    return -float(log_softmax(logits, axis=1)[np.arange(len(scored)), scored.y].mean())
