"""Probabilities from what a probe has learnt, by numpy: for the estimators, and for models that are read from disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ._neighbors import normalize_rows, search

LARGEST = 1e17
"""Sums of squares of larger values overflow in float32; those of a working network are below a thousand."""
TEMPERATURE = 0.07
"""Of DINO's kNN (Caron et al. 2021, arXiv 2104.14294)."""
_NEAREST = 1e-5
"""Share of a row's farthest distance below which distances count as equal: about what float32 can tell apart."""
_SMALLEST = np.finfo(np.float32).tiny


def linear_proba(
    X: np.ndarray,
    *,
    center: np.ndarray,
    scale: np.ndarray,
    weights: np.ndarray,
    intercepts: np.ndarray,
    constant: Mapping[int, int],
    multilabel: bool,
) -> np.ndarray:
    """Probabilities by several linear models of the same standardised features.

    Args:
        X: (n, d) float32 or float64.
        center: (d,) what is subtracted from the features.
        scale: (d,) what they are divided by then.
        weights: (M, 1 or C, d) float64, of the M models; one output is the second of two classes.
        intercepts: (M, 1 or C) float64.
        constant: labels that were the same in every row, and which.
        multilabel: whether each output is a label of its own.

    Returns:
        (M, n, C) float64.
    """
    # Scaled before the product, as the engine does it: with large weights float32 rounds otherwise.
    scaled = ((X - center.astype(X.dtype)) / scale.astype(X.dtype)).astype(np.float64)
    logits = np.stack([scaled @ own.T + free for own, free in zip(weights, intercepts, strict=True)])
    if multilabel or logits.shape[2] == 1:
        from scipy.special import expit  # here, since to import it takes longer than most predictions

        proba = expit(logits)
        proba = proba if multilabel else np.concatenate([1 - proba, proba], axis=2)
    else:
        proba = softmax(logits)
    for label, value in constant.items():
        proba[:, :, label] = value
    return proba


def centroid_proba(
    X: np.ndarray, *, mean: np.ndarray, centroids: np.ndarray, normalize: bool, temperature: float
) -> np.ndarray:
    """Probabilities (n, C) float64 by the distances of X (n, d) to class means (C, d), or for multilabel (C, 2, d)."""
    Z = centred(X, mean, normalize=normalize).astype(np.float64)

    def by_distance(means: np.ndarray) -> np.ndarray:
        # Negative halves of squared distances, up to what is the same for all classes of a row.
        return softmax((Z @ means.T - (means**2).sum(axis=1) / 2) / temperature)

    if centroids.ndim == 2:
        return by_distance(centroids)
    proba = np.stack([by_distance(sides)[:, 1] for sides in centroids], axis=1)
    # A label that was the same in every row is certain.
    absent = np.isnan(centroids[:, :, 0])
    return np.where(absent.any(axis=1), absent[:, 0], proba)


def centred(X: np.ndarray, mean: np.ndarray, *, normalize: bool) -> np.ndarray:
    """Rows (n, d) less the mean (d,), and of unit length."""
    return normalize_rows(X - mean, "cosine" if normalize else "euclidean")


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis; the bits of `scipy.special.softmax`."""
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def knn_proba(
    X: np.ndarray,
    *,
    members: np.ndarray,
    labels: np.ndarray,
    classes: int,
    k: int,
    metric: str,
    weights: str,
    temperature: float,
) -> np.ndarray:
    """Probabilities (n, C) float64 by the labels of the k nearest members (m, d); other arguments as for `vote`."""
    found, positions = search(normalize_rows(X, metric), members, k, metric)
    return vote(found, labels[positions], classes, [k], weights=weights, temperature=temperature)[0]


def vote(
    found: np.ndarray,
    labels: np.ndarray,
    classes: int,
    ks: Sequence[int],
    *,
    weights: str = "distance",
    temperature: float = TEMPERATURE,
) -> np.ndarray:
    """Probabilities from the labels of neighbours, for every k in one pass over them.

    Args:
        found: (n, m) distances, ascending; m is the largest k.
        labels: (n, m) codes, or (n, m, L) of 0 and 1 for multilabel.
        classes: how many, C; for multilabel L.
        ks: numbers of neighbours that vote, ascending.
        weights: one of `WEIGHTS`.
        temperature: of `softmax`.

    Returns:
        (len(ks), n, C) float64, each row summing to one; for multilabel the weighted share of neighbours that have the
        label.
    """
    if weights != "distance":
        votes = np.exp((found[:, :1] - found.astype(np.float64)) / temperature) if weights == "softmax" else None
        return _tally(votes, labels, classes, ks)
    proba = _tally(1 / np.maximum(found.astype(np.float64), _SMALLEST), labels, classes, ks)
    # What counts as no distance depends on the farthest neighbour, and so on k: copies of the row are voted on k by k.
    copies = np.flatnonzero(found[:, 0] <= _NEAREST * found[:, -1])
    for place, k in enumerate(ks if len(copies) else ()):
        near = found[copies, :k].astype(np.float64)
        floor = np.maximum(_NEAREST * near[:, -1:], _SMALLEST)
        proba[place, copies] = _tally(floor / np.maximum(near, floor), labels[copies, :k], classes, [k])[0]
    return proba


def _tally(votes: np.ndarray | None, labels: np.ndarray, classes: int, ks: Sequence[int]) -> np.ndarray:
    """Shares of the votes (n, m), or of as many equal ones, by k: (len(ks), n, C)."""
    # Each k adds a stretch of neighbours to the k before it: what is summed is each stretch, once.
    starts = np.array([0, *ks[:-1]])
    if labels.ndim == 3:
        weighted = labels * (1.0 if votes is None else votes[:, :, None])
        sums = np.cumsum(np.add.reduceat(weighted, starts, axis=1, dtype=np.float64), axis=1)
        given = np.ones(labels.shape[:2]) if votes is None else votes
        total = np.cumsum(np.add.reduceat(given, starts, axis=1), axis=1)[:, :, None]
        return np.minimum(sums / total, 1).transpose(1, 0, 2)
    stretch = np.searchsorted(ks, np.arange(labels.shape[1]), side="right")
    cells = labels + stretch * classes
    cells += np.arange(len(labels))[:, None] * (len(ks) * classes)
    weighing = None if votes is None else votes.ravel()
    sums = np.bincount(cells.ravel(), weighing, minlength=len(labels) * len(ks) * classes)
    sums = np.cumsum(sums.reshape(-1, len(ks), classes), axis=1, dtype=np.float64).transpose(1, 0, 2)
    return sums / sums.sum(axis=2, keepdims=True)
