"""Scores of each class against the rest: what the means over classes are means of."""

from __future__ import annotations

import numpy as np

from .functions import LabeledPredictions, confusion, counts_of, one_auc, one_average_precision

CLASS_SCORES = ("recall", "specificity", "precision", "f1", "roc_auc", "average_precision")
"""Of one class against the rest."""


def class_scores(scored: LabeledPredictions) -> dict[str, np.ndarray]:
    """Every one of `CLASS_SCORES` of every class (or label): (C,) by name, NaN where it is not defined.

    As in macro F1, a class that no unit has has no F1.
    """
    once = np.ones((1, len(scored)))
    counts = counts_of(scored, once)
    ranked = {"roc_auc": one_auc, "average_precision": one_average_precision}
    columns = list(zip(scored.proba.T, scored.truth.T, strict=True))
    return {
        **{name: getattr(counts, name)[0] for name in ("recall", "specificity", "precision", "f1")},
        **{name: np.array([one(*column, once)[0] for column in columns]) for name, one in ranked.items()},
    }


def confusion_of(scored: LabeledPredictions) -> np.ndarray:
    """(C, C) units of class i that are called j; not for multilabel, where no class excludes another."""
    return confusion(scored, np.ones((1, len(scored))))[0]
