"""What the probes' estimators refuse: parameters that mean nothing, and rows that cannot be computed with.

scikit-learn's `check_scalar` lets NaN and infinities through, and its table of constraints is private, so parameters
are checked here, in `fit`, as its manners want. What has the wrong type is a TypeError, a wrong value a ValueError.
"""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

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
