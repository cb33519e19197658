"""What of a matrix of features makes every score doubtful: columns without information, and vectors that are equal."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ...manifests.readers import of_one_colour
from ...manifests.validation.diagnostics import Diagnostic, diagnostic

_AT_ONCE = 1024
_FEW = 64
"""Columns that tell nearly all rows apart."""


def feature_warnings(name: str, X: np.ndarray, learnable: np.ndarray, digests: np.ndarray) -> list[Diagnostic]:
    """Warnings about the features called `name`, which are the same whatever seeds a run has.

    Args:
        name: of the backbone and pooling.
        X: (R, D) features.
        learnable: (R,) bool: rows that some seed may train or choose on; one at least.
        digests: (R, 16) uint8 of the pixels of a sample of each row.
    """
    constant, equal = _constant(X, learnable), _equal_vectors(X, digests)
    found = {
        "constant-features": (constant, f"constant features: {constant:,} of {X.shape[1]:,}"),
        "equal-vectors": (equal, f"vectors equal to that of an image with other pixels: {equal:,} of {len(X):,}"),
    }
    return [diagnostic(code, f"{name}: {text}", things=count) for code, (count, text) in found.items() if count]


def _constant(X: np.ndarray, learnable: np.ndarray) -> int:
    """How many columns of X (R, D) have one value in the rows (R,) bool."""
    rows, columns = np.flatnonzero(learnable), np.arange(X.shape[1])
    for start in range(0, len(rows), _AT_ONCE):
        part = X[np.ix_(rows[start : start + _AT_ONCE], columns)]
        columns = columns[(part == X[rows[0], columns]).all(axis=0)]
    return len(columns)


def _equal_vectors(X: np.ndarray, digests: np.ndarray) -> int:
    """How many rows of X (R, D) are equal to one with another digest (R, 16); images of one colour are not counted."""
    rows, vectors = np.flatnonzero(~of_one_colour(digests)), pd.Series(dtype=np.int64)
    for columns in (_FEW, X.shape[1]):
        # Not a list, whose numbers would be beside the matrix in memory.
        vectors = pd.Series(np.fromiter((hash(X[row, :columns].tobytes()) for row in rows), np.int64, len(rows)))
        alike = vectors.duplicated(keep=False).to_numpy()
        rows, vectors = rows[alike], vectors[alike]
    pixels = pd.Series([digests[row].tobytes() for row in rows], vectors.index, dtype=object)
    return int((pixels.groupby(vectors).transform("nunique") > 1).sum())
