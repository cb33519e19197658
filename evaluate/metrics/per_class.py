"""Scores of each class against the rest: what the means over classes are means of."""

from __future__ import annotations

import numpy as np

from .functions import LabeledPredictions, confusion, one_against_rest, one_auc, one_average_precision

CLASS_SCORES = ("recall", "specificity", "precision", "f1", "roc_auc", "average_precision")
"""Of one class against the rest."""


def class_scores(scored: LabeledPredictions) -> dict[str, np.ndarray]:
    """Every one of `CLASS_SCORES` of every class (or label): (C,) by name, NaN where it is not defined.

    As in macro F1, a class that no unit has has no F1.
    """
    once = np.ones((1, len(scored)))
    columns = list(zip(scored.proba.T, scored.truth.T, strict=True))
    return {
        **{name: values[0] for name, values in one_against_rest(scored, once).items()},
        "roc_auc": np.array([one_auc(*column, once)[0] for column in columns]),
        "average_precision": np.array([one_average_precision(*column, once)[0] for column in columns]),
    }


def confusion_of(scored: LabeledPredictions) -> np.ndarray:
    """(C, C) units of class i that are called j; not for multilabel, where no class excludes another."""
    return confusion(scored, np.ones((1, len(scored))))[0]
