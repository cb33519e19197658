"""Vectors as points of a plane: PCA, t-SNE, UMAP."""

from __future__ import annotations

import warnings

import numpy as np
from threadpoolctl import threadpool_limits

from ..base import ProbeError, look_up, percent
from ..base.text import install_command

METHODS = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
_LEAST = 5
"""Points below which there is nothing to draw a map of."""
_COLUMNS = 50
"""Principal components that t-SNE and UMAP start from, as their authors recommend."""
_PERPLEXITY, _N_NEIGHBORS = 30, 15
"""Defaults of scikit-learn and of umap-learn."""


def project(
    X: np.ndarray, method: str, *, neighbours: int | None = None, seed: int = 0
) -> tuple[np.ndarray, tuple[str, str]]:
    """Places each row of X (n, D) in a plane.

    One thread computes it, because sums in another order give t-SNE and UMAP another map: the same input and seed
    give the same bytes on the same machine with the same libraries.

    Args:
        X: float32.
        method: `pca`; `tsne` (van der Maaten and Hinton 2008; scikit-learn's) or `umap` (McInnes et al. 2018, arXiv
            1802.03426; umap-learn's), both on the first 50 principal components.
        neighbours: the perplexity of t-SNE, 30 by default, or the neighbours of UMAP, 15 by default; PCA has none.
        seed: of t-SNE and UMAP, and of the randomised PCA of large matrices.

    Returns:
        Coordinates (n, 2) float64, and the names of the axes.

    Raises:
        ProbeError: an unknown method, too few rows or columns, an impossible number of neighbours, or umap-learn is
            not installed.
    """
    from sklearn.decomposition import PCA

    look_up("method", method, METHODS)
    if len(X) < _LEAST or X.shape[1] < 2:
        raise ProbeError(
            f"a map needs at least {_LEAST} units and 2 columns of features; here are {len(X):,} units and"
            f" {X.shape[1]:,} columns."
        )
    if neighbours is not None and (method == "pca" or not 2 <= neighbours < len(X)):
        why = "PCA has no neighbours" if method == "pca" else f"from 2 to {len(X) - 1:,}, one less than the units"
        raise ProbeError(f"neighbours (--neighbours) is {neighbours}: {why}.")
    with threadpool_limits(1):
        columns = 2 if method == "pca" else min(_COLUMNS, *X.shape)
        pca = PCA(columns, random_state=seed)
        reduced = pca.fit_transform(X)
        if method == "pca":
            shares = pca.explained_variance_ratio_
            return reduced.astype(np.float64), (_axis(1, shares[0]), _axis(2, shares[1]))
        place = _tsne if method == "tsne" else _umap
        return place(reduced, neighbours, seed).astype(np.float64), (f"{METHODS[method]} 1", f"{METHODS[method]} 2")


def _axis(place: int, share: float) -> str:
    return f"Principal component {place} ({percent(share)} of the variance)"


def _tsne(X: np.ndarray, neighbours: int | None, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    return TSNE(perplexity=neighbours or min(_PERPLEXITY, (len(X) - 1) / 3), random_state=seed).fit_transform(X)


def _umap(X: np.ndarray, neighbours: int | None, seed: int) -> np.ndarray:
    try:
        from umap import UMAP
    except ImportError as error:
        raise ProbeError(f"UMAP needs umap-learn: {install_command('map')}. PCA and t-SNE work without it.") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own choices for small data, about which a user can do nothing
        found = UMAP(n_neighbors=neighbours or min(_N_NEIGHBORS, len(X) - 1), random_state=seed, n_jobs=1)
        return np.asarray(found.fit_transform(X))
