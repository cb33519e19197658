"""What the probes' estimators share: labels as codes, and what they refuse of parameters, rows and labels.

scikit-learn's `check_scalar` lets NaN and infinities through, and its table of constraints is private, so parameters
are checked here, in `fit`, as its manners want. What has the wrong type is a TypeError, a wrong value a ValueError.
"""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d, validate_data

from ._prediction import LARGEST


def require_positive(name: str, value: Any, *, instead_of_infinite: str = "") -> None:
    """A finite number above 0; `instead_of_infinite` says what to give in place of an infinity."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number above 0, got {value!r}")
    if not 0 < float(value) < np.inf:
        hint = f"; {instead_of_infinite}" if instead_of_infinite and float(value) > 0 else ""
        raise ValueError(f"{name} must be a finite number above 0, got {value}{hint}")


def require_whole(name: str, value: Any, least: int = 1) -> None:
    """A whole number, `least` or more."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < least:
        error = ValueError if whole else TypeError
        raise error(f"{name} must be a whole number, {least} or more, got {value!r}")


def require_flag(name: str, value: Any) -> None:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def require_one_of(name: str, value: Any, words: Iterable[str]) -> None:
    """One of `words`."""
    known = tuple(words)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be one of {known}, got {value!r}")


def checked_rows(estimator: Any, X: Any) -> np.ndarray:
    """Rows (n, d) to predict, as float32 if that is what they were, else float64.

    Raises:
        ValueError: a wrong shape, NaN or infinite values, or values beyond `LARGEST`.
    """
    X = validate_data(estimator, X, dtype=(np.float64, np.float32), reset=False)
    return _within_limit(estimator, X)


def checked_pair(estimator: Any, X: Any, y: Any, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, d) and labels (n,) or (n, L) to fit, as `checked_rows`; `options` are of `validate_data`.

    Raises:
        ValueError: as `checked_rows`, or rows and labels that are not as many.
    """
    X, y = validate_data(estimator, X, y, dtype=(np.float64, np.float32), multi_output=True, **options)
    return _within_limit(estimator, X), y


def _within_limit(estimator: Any, X: np.ndarray) -> np.ndarray:
    if max(X.max(), -X.min()) > LARGEST:
        raise ValueError(
            f"{type(estimator).__name__}: X holds values beyond {LARGEST:g}, whose squares cannot be added up; scale"
            " the features, or look for faults in them"
        )
    return X


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
