"""What the probes' estimators share about labels: codes, several labels a row, a label that is always the same."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d


def encode_labels(estimator: Any, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Labels as codes.

    Returns:
        y as (n,) int64 codes, its classes, False; or for a 0/1 matrix y as (n, L) int8, the column numbers, True.

    Raises:
        ValueError: y holds one class only, or is not a classification target (floats, several columns of classes).
    """
    check_classification_targets(y)
    kind = type_of_target(y, input_name="y")
    if kind == "multilabel-indicator":
        return np.asarray(y).astype(np.int8), np.arange(y.shape[1]), True
    if np.ndim(y) == 2 and y.shape[1] > 1:
        raise ValueError(f"y with several columns must hold only 0 and 1 (one column per label), got {kind} targets")
    y = column_or_1d(y, warn=True)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"{type(estimator).__name__} needs at least 2 classes, got one class: {classes.tolist()[0]!r}")
    return codes.astype(np.int64), classes, False


class MultilabelMixin:
    """`predict` from `predict_proba` for one class a row and for several, and the tag that says so."""

    classes_: np.ndarray
    multilabel_: bool

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probabilities; each probe has its own."""
        raise NotImplementedError

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row, or for multilabel 1 where the probability is at least 0.5."""
        proba = self.predict_proba(X)
        return (proba >= 0.5).astype(np.int64) if self.multilabel_ else self.classes_[proba.argmax(axis=1)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # pyright: ignore[reportAttributeAccessIssue]
        tags.classifier_tags.multi_label = True
        return tags
